//! What a forwarding run is made of.

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use dataplane::base::handoff::SrtpProfile;
use dataplane::base::limits::{PEERS_PER_CORE, STREAMS_PER_PEER};
use dataplane::base::media::MediaKind;
use dataplane::io::IoChoice;
use serde::Serialize;

/// A core takes no more.
const ASSOCIATIONS_MAX: u32 = PEERS_PER_CORE as u32;

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
#[group(skip)]
pub struct Options {
    /// Meetings, all alike
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4_000))]
    pub meetings: u32,
    /// Clients of a meeting that send one track each and receive nothing
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub publishers: u32,
    /// Clients of a meeting that receive every track
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub subscribers: u32,
    /// Everyone sends and receives: instead of --subscribers each publisher has a second association that receives all others
    #[arg(long)]
    pub everyone: bool,
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

/// Where and how a comparison runs: what is not part of its loads.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Site {
    /// Length of each measured window after one second of warm-up
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub seconds: u32,
    /// SRTP profile every client offers
    #[arg(long, value_enum, default_value_t = Profile::Gcm)]
    pub profile: Profile,
    /// Where the packets travel
    #[arg(long, value_enum, default_value_t = Net::Veth)]
    pub net: Net,
    /// Who cuts kaigi's GSO sends into packets (veth)
    #[arg(long, value_enum, default_value_t = Segmentation::Device)]
    pub segmentation: Segmentation,
    /// Kaigi's I/O backend: auto, uring, epoll or xdp
    #[arg(long, default_value = "uring", value_parser = |text: &str| text.parse::<IoChoice>())]
    pub io: IoChoice,
    /// CPU of the server
    #[arg(long, default_value_t = 0)]
    pub cpu_server: usize,
    /// CPU of all clients
    #[arg(long, default_value_t = 1)]
    pub cpu_clients: usize,
}

impl Site {
    /// A load here; everything else is as the command line's defaults.
    pub fn load(&self) -> Options {
        Options {
            seconds: self.seconds,
            profile: self.profile,
            net: self.net,
            segmentation: self.segmentation,
            io: self.io,
            cpu_server: self.cpu_server,
            cpu_clients: self.cpu_clients,
            ..Options::default()
        }
    }
}

impl Default for Options {
    /// As the command line's defaults, which a test compares.
    fn default() -> Self {
        Self {
            meetings: 1,
            publishers: 1,
            subscribers: 20,
            everyone: false,
            profile: Profile::Gcm,
            payload: 1_150,
            seconds: 5,
            kind: Kind::Video,
            pps: 270,
            burst: 9,
            nack: 0.0,
            rate_control: false,
            net: Net::Veth,
            segmentation: Segmentation::Device,
            io: IoChoice::Uring,
            cpu_server: 0,
            cpu_clients: 1,
            suite: None,
            search: false,
        }
    }
}

impl Options {
    /// Clients of a meeting that receive.
    pub const fn receivers(&self) -> u32 {
        if self.everyone { self.publishers } else { self.subscribers }
    }

    /// Clients of all meetings.
    pub const fn associations(&self) -> u32 {
        self.meetings * (self.publishers + self.receivers())
    }

    /// Receivers of each packet.
    pub const fn fan_out(&self) -> u32 {
        if self.everyone { self.publishers - 1 } else { self.subscribers }
    }

    /// How many streams the server sends.
    pub const fn streams(&self) -> u64 {
        self.meetings as u64 * self.publishers as u64 * self.fan_out() as u64
    }

    /// As the dataplane names it.
    pub const fn media_kind(&self) -> MediaKind {
        match self.kind {
            Kind::Video => MediaKind::Video,
            Kind::Audio => MediaKind::Audio,
        }
    }

    /// Whether there is anything to measure, and few enough clients for one machine.
    pub fn check(&self) -> Result<()> {
        if self.everyone && self.publishers < 2 {
            bail!("--everyone needs two --publishers at least: nobody is sent their own media");
        }
        if self.associations() > ASSOCIATIONS_MAX {
            bail!("{} clients are more than one core takes: {ASSOCIATIONS_MAX}", self.associations());
        }
        if self.streams_per_receiver() > STREAMS_PER_PEER as u32 {
            bail!("more than {STREAMS_PER_PEER} streams for one client");
        }
        Ok(())
    }

    const fn streams_per_receiver(&self) -> u32 {
        if self.everyone { self.publishers - 1 } else { self.publishers }
    }

    /// Time between two frames of a publisher, microseconds.
    pub fn frame_interval_us(&self) -> u64 {
        match self.kind {
            Kind::Audio => 20_000,
            Kind::Video => (u64::from(self.burst) * 1_000_000 / u64::from(self.pps)).max(1),
        }
    }

    /// Packets per second that the server is to send.
    pub fn nominal_pps(&self) -> f64 {
        let frame_packets = if self.kind == Kind::Audio { 1 } else { self.burst };
        self.streams() as f64 * f64::from(frame_packets) * 1e6 / self.frame_interval_us() as f64
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

    impl Site {
        /// Over loopback and for one second.
        pub fn for_tests() -> Self {
            let Options { profile, segmentation, cpu_server, cpu_clients, .. } = Options::default();
            let (net, io) = (Net::Loopback, IoChoice::Epoll);
            Self { seconds: 1, profile, net, segmentation, io, cpu_server, cpu_clients }
        }
    }

    impl Options {
        /// What the command line's defaults are, but over loopback and for one second.
        pub fn for_tests() -> Self {
            Self { net: Net::Loopback, seconds: 1, io: IoChoice::Epoll, ..Self::default() }
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_command_line() {
        let parsed = Cli::try_parse_from(["x"]).expect("the defaults are valid").options;
        assert_eq!(format!("{parsed:?}"), format!("{:?}", Options::default()));
    }

    #[test]
    fn what_cannot_be_run_is_said() {
        assert!(Options::for_tests().check().is_ok());
        let alone = Options { everyone: true, publishers: 1, ..Options::for_tests() };
        assert!(alone.check().is_err());
        let crowd = Options { meetings: 4_000, subscribers: 20, ..Options::for_tests() };
        assert!(crowd.check().expect_err("84,000 clients").to_string().contains("84000"));
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
