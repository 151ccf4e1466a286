//! The loads that systems are compared under.

use clap::ValueEnum;
use serde::Serialize;

use crate::forward::options::{Kind, Options};

/// A load whose size is one number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scenario {
    /// One camera in bursts of 9 packets of 1,150 B to many receivers; grows by packets per second
    Video,
    /// Meetings of one voice (160 B each 20 ms, never a burst) and 20 listeners; grows by meetings
    Audio,
    /// Ten-party meetings, everyone sends 90 packets/s of video and receives the nine others; grows by meetings
    Meetings,
}

impl Scenario {
    /// The smallest size a search begins with.
    pub const fn smallest(self) -> u32 {
        match self {
            Self::Video => 90,
            Self::Audio => 4,
            Self::Meetings => 1,
        }
    }

    /// What the size counts.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Video => "packets/s published",
            Self::Audio | Self::Meetings => "meetings",
        }
    }

    /// In words.
    pub fn describe(self, base: &Options) -> String {
        match self {
            Self::Video => format!(
                "one camera, frames of 9 packets of 1,150 B payload that leave at once, to {} receivers",
                base.subscribers
            ),
            Self::Audio => {
                "meetings of one voice, 160 B each 20 ms, and 20 listeners; no two packets leave at once".to_owned()
            }
            Self::Meetings => {
                "ten-party meetings: each of ten sends 30 frames/s of 3 packets of 1,150 B and receives the nine others"
                    .to_owned()
            }
        }
    }

    /// The load of a size. Everything that is no part of the scenario is as in `base`.
    pub fn options(self, base: &Options, size: u32) -> Options {
        let common = Options { search: false, nack: 0.0, rate_control: false, ..base.clone() };
        let size = size.max(1);
        match self {
            Self::Video => Options {
                meetings: 1,
                publishers: 1,
                everyone: false,
                kind: Kind::Video,
                payload: 1_150,
                burst: 9,
                pps: size,
                ..common
            },
            Self::Audio => Options {
                meetings: size,
                publishers: 1,
                subscribers: 20,
                everyone: false,
                kind: Kind::Audio,
                payload: 160,
                burst: 1,
                pps: 50,
                ..common
            },
            Self::Meetings => Options {
                meetings: size,
                publishers: 10,
                everyone: true,
                kind: Kind::Video,
                payload: 1_150,
                burst: 3,
                pps: 90,
                ..common
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_what_they_say() {
        let base = Options { subscribers: 100, ..Options::for_tests() };
        let pps = |scenario: Scenario, size| {
            let options = scenario.options(&base, size);
            options.check().expect("it can be run");
            options.streams() * u64::from(options.pps)
        };
        assert_eq!(pps(Scenario::Video, 270), 27_000);
        assert_eq!(pps(Scenario::Audio, 50), 50_000);
        assert_eq!(pps(Scenario::Meetings, 6), 6 * 90 * 90);
    }
}
