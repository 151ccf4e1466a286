//! What a forwarding run is made of.

use clap::{Args, ValueEnum};
use dataplane::base::handoff::SrtpProfile;
use dataplane::io::IoChoice;
use serde::Serialize;

/// SRTP protection of every client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// AEAD_AES_256_GCM, what browsers get
    Gcm,
    /// AEAD_AES_128_GCM
    Gcm128,
    /// AES_CM_128_HMAC_SHA1_80, what old clients get
    Cm,
}

impl Profile {
    /// As the handshake names it.
    pub const fn srtp(self) -> SrtpProfile {
        match self {
            Self::Gcm => SrtpProfile::AeadAes256Gcm,
            Self::Gcm128 => SrtpProfile::AeadAes128Gcm,
            Self::Cm => SrtpProfile::Aes128CmSha1_80,
        }
    }
}

/// Where the packets travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Net {
    /// A veth pair between two network namespaces; needs root
    Veth,
    /// 127.0.0.1, without root; figures are not comparable
    Loopback,
}

/// Who cuts the server's GSO sends into packets on a veth pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Segmentation {
    /// Nobody: the pair hands them on whole, as to a NIC that segments
    Device,
    /// The kernel, on the server's CPU, as for a NIC that cannot
    Software,
}

/// What publishers send.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// VP8-like frames of `--burst` packets
    Video,
    /// One packet every 20 ms
    Audio,
}

/// Options of `kaigi-perf forward`.
#[derive(Args, Clone, Debug, Serialize)]
pub struct Options {
    /// Clients that send one track each and receive nothing
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub publishers: u32,
    /// Clients that receive every track
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub subscribers: u32,
    /// SRTP profile every client offers
    #[arg(long, value_enum, default_value_t = Profile::Gcm)]
    pub profile: Profile,
    /// RTP payload of each packet, bytes
    #[arg(long, default_value_t = 1_150, value_parser = clap::value_parser!(u16).range(64..=1_380))]
    pub payload: u16,
    /// Length of the measured window after one second of warm-up
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub seconds: u32,
    /// What publishers send
    #[arg(long, value_enum, default_value_t = Kind::Video)]
    pub kind: Kind,
    /// Packets per second of each video publisher, rounded to whole frames
    #[arg(long, default_value_t = 270, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub pps: u32,
    /// Packets of each video frame: they leave the publisher at once
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub burst: u32,
    /// Share of received packets that subscribers lose on purpose and ask for again, percent
    #[arg(long, default_value_t = 0.0)]
    pub nack: f64,
    /// What the server sends follows what each subscriber's link is found to carry; without it everything is sent at once
    #[arg(long)]
    pub rate_control: bool,
    /// Where the packets travel
    #[arg(long, value_enum, default_value_t = Net::Veth)]
    pub net: Net,
    /// Who cuts the server's GSO sends into packets (veth)
    #[arg(long, value_enum, default_value_t = Segmentation::Device)]
    pub segmentation: Segmentation,
    /// The server's I/O backend: auto, uring, epoll or xdp
    #[arg(long, default_value = "uring", value_parser = |text: &str| text.parse::<IoChoice>())]
    #[serde(skip)]
    pub io: IoChoice,
    /// CPU of the server's worker
    #[arg(long, default_value_t = 0)]
    pub cpu_server: usize,
    /// CPU of all clients
    #[arg(long, default_value_t = 1)]
    pub cpu_clients: usize,
    /// Crypto suite of the server by name instead of the best one
    #[arg(long)]
    #[serde(skip)]
    pub suite: Option<String>,
    /// Raise --pps until packets are lost or late, and report the highest rate that held
    #[arg(long)]
    pub search: bool,
}

impl Options {
    /// Time between two frames of a publisher, microseconds.
    pub fn frame_interval_us(&self) -> u64 {
        match self.kind {
            Kind::Audio => 20_000,
            Kind::Video => (u64::from(self.burst) * 1_000_000 / u64::from(self.pps)).max(1),
        }
    }

    /// Frames of one publisher: over warm-up, window and a little more, so that all still send when the window ends.
    pub fn frames(&self) -> u32 {
        let total_us = u64::from(self.seconds) * 1_000_000 + super::WARM_UP_US + super::TAIL_US;
        u32::try_from(total_us / self.frame_interval_us()).unwrap_or(u32::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn the_contracts_command_line_is_understood() {
        let line = "x --publishers 2 --subscribers 100 --profile cm --payload 1150 --seconds 3";
        let options = Cli::try_parse_from(line.split(' ')).map(|cli| cli.options).expect("valid");
        assert_eq!((options.publishers, options.subscribers, options.profile), (2, 100, Profile::Cm));
        assert_eq!(options.frame_interval_us(), 33_333);
        assert_eq!(options.frames(), 4_250_000 / 33_333);
        assert!(Cli::try_parse_from(["x", "--payload", "20"]).is_err());
        assert!(Cli::try_parse_from(["x", "--io", "carrier-pigeon"]).is_err());
    }
}
