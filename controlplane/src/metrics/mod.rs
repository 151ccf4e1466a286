//! The Prometheus registry: every name of the contract exists from the first scrape on, zero where nothing happened yet.
//!
//! Path: packet cores publish counters on a page each; a scrape reads the pages (`cores`), asks the service who is connected
//! and writes the text format. Promises: scraping takes no lock a packet core could wait for.

mod cores;
mod data;
mod refusals;
mod tcp;

use std::sync::Arc;

use dataplane::base::counters::SharedCounters;
use dataplane::base::handoff::{DtlsVersion, SrtpProfile};
use dataplane::base::reason::Reason;
use dataplane::io::tcp::TcpCounts;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use cores::CoreCollector;
pub use data::DataMetrics;
pub use refusals::Refusal;
use tcp::TcpCollector;

/// Buckets of join times, seconds: the goal is 0.5, the source's limit 5.
const JOIN_BOUNDS: [f64; 10] = [0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0];
/// Buckets of HTTP answers, seconds: the source's limit is 0.2.
const HTTP_BOUNDS: [f64; 9] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 1.0];
/// Buckets of link estimates, bits per second: an audio call, a small video, a gallery, a link that limits nothing.
const LINK_BOUNDS: [f64; 10] = [1e5, 2e5, 3e5, 5e5, 1e6, 2e6, 3e6, 5e6, 1e7, 5e7];
/// Values of the label `state` of `kaigi_recordings_total` (the source's states).
pub const RECORDING_STATES: [&str; 3] = ["processing", "completed", "failed"];

/// What a signalling client did wrong, or how it was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A text frame.
    Text,
    /// A message over the limit.
    TooLong,
    /// Not a message of the protocol.
    Malformed,
    /// A session description that cannot be used.
    Description,
    /// A join request (protocol v1) that cannot be read.
    JoinRequest,
    /// More messages than may be.
    TooFast,
    /// Messages to it were not read.
    SlowReader,
    /// Nothing was heard of it.
    Silent,
}

impl Fault {
    const ALL: [Self; 8] = [
        Self::Text,
        Self::TooLong,
        Self::Malformed,
        Self::Description,
        Self::JoinRequest,
        Self::TooFast,
        Self::SlowReader,
        Self::Silent,
    ];

    /// Value of the label `reason`.
    const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Description => "description",
            Self::JoinRequest => "join_request",
            Self::TooFast => "too_fast",
            Self::SlowReader => "slow_reader",
            Self::Silent => "silent",
        }
    }
}

/// The registry and what is counted by hand.
pub struct Metrics {
    registry: Registry,
    cores: CoreCollector,
    tcp: TcpCollector,
    meetings: IntGauge,
    participants: IntGauge,
    draining: IntGauge,
    plane_info: IntGaugeVec,
    /// From opening `/rtc` to media keys in place, seconds.
    pub join_seconds: Histogram,
    /// Media associations that finished their handshake, by DTLS version and SRTP profile.
    peers_ready: IntCounterVec,
    /// What receivers' links are believed to carry, bits per second, one observation per report of a core.
    pub link_estimate_bps: Histogram,
    streams_reduced: IntGaugeVec,
    signal_faults: IntCounterVec,
    requests_refused: IntCounterVec,
    /// Messages of data channels.
    pub data: DataMetrics,
    /// Recordings by the state they reached.
    pub recordings: IntCounterVec,
    /// HTTP answers by method and status class, seconds to the answer's head.
    pub http_seconds: HistogramVec,
}

impl Metrics {
    /// A registry with every name and label in place.
    #[must_use]
    pub fn new() -> Self {
        Self::try_new().expect("names, labels and buckets are constants and distinct: the test makes one")
    }

    fn try_new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let cores = CoreCollector::default();
        let tcp = TcpCollector::new()?;
        let meetings = IntGauge::new("kaigi_meetings", "Meetings with somebody connected.")?;
        let participants = IntGauge::new("kaigi_participants", "People connected to meetings.")?;
        let draining = IntGauge::new("kaigi_draining", "1 while the server takes nothing new.")?;
        let join_seconds = Histogram::with_opts(
            HistogramOpts::new("kaigi_join_seconds", "From opening /rtc to media keys in place.")
                .buckets(JOIN_BOUNDS.to_vec()),
        )?;
        let peers_ready = IntCounterVec::new(
            Opts::new(
                "kaigi_peers_ready_total",
                "Media associations that finished their handshake, by DTLS version and SRTP profile.",
            ),
            &["dtls", "profile"],
        )?;
        let recordings = IntCounterVec::new(
            Opts::new("kaigi_recordings_total", "Recordings by the state they reached."),
            &["state"],
        )?;
        let http_seconds = HistogramVec::new(
            HistogramOpts::new("kaigi_http_seconds", "HTTP answers: time to the head of the answer.")
                .buckets(HTTP_BOUNDS.to_vec()),
            &["method", "status"],
        )?;
        let plane_info = IntGaugeVec::new(
            Opts::new("kaigi_plane_info", "1; the labels say how packets are moved and sealed."),
            &["io", "suite"],
        )?;
        for (dtls, profile) in
            DTLS_VERSIONS.into_iter().flat_map(|dtls| SRTP_PROFILES.map(|profile| (dtls, profile)))
        {
            peers_ready.get_metric_with_label_values(&[dtls_name(dtls), profile_name(profile)])?;
        }
        let link_estimate_bps = Histogram::with_opts(
            HistogramOpts::new(
                "kaigi_link_estimate_bps",
                "What receivers' links are believed to carry, bits per second.",
            )
            .buckets(LINK_BOUNDS.to_vec()),
        )?;
        let streams_reduced = IntGaugeVec::new(
            Opts::new("kaigi_streams_reduced", "Streams sent with less than there could be, by reason."),
            &["reason"],
        )?;
        let signal_faults = IntCounterVec::new(
            Opts::new(
                "kaigi_signal_faults_total",
                "Signalling clients refused or closed, by what was wrong.",
            ),
            &["reason"],
        )?;
        for fault in Fault::ALL {
            signal_faults.get_metric_with_label_values(&[fault.name()])?;
        }
        for reason in Reason::ALL {
            streams_reduced.get_metric_with_label_values(&[reason.name()])?;
        }
        for state in RECORDING_STATES {
            recordings.get_metric_with_label_values(&[state])?;
        }
        http_seconds.get_metric_with_label_values(&["GET", "2xx"])?;
        let build = IntGauge::with_opts(
            Opts::new("kaigi_build_info", "1; the label says which version runs.")
                .const_label("version", env!("CARGO_PKG_VERSION")),
        )?;
        build.set(1);
        registry.register(Box::new(build))?;
        let data = DataMetrics::register(&registry)?;
        let requests_refused = refusals::register(&registry)?;
        registry.register(Box::new(cores.clone()))?;
        registry.register(Box::new(tcp.clone()))?;
        registry.register(Box::new(meetings.clone()))?;
        registry.register(Box::new(participants.clone()))?;
        registry.register(Box::new(draining.clone()))?;
        registry.register(Box::new(plane_info.clone()))?;
        registry.register(Box::new(join_seconds.clone()))?;
        registry.register(Box::new(peers_ready.clone()))?;
        registry.register(Box::new(link_estimate_bps.clone()))?;
        registry.register(Box::new(streams_reduced.clone()))?;
        registry.register(Box::new(signal_faults.clone()))?;
        registry.register(Box::new(recordings.clone()))?;
        registry.register(Box::new(http_seconds.clone()))?;
        Ok(Self {
            registry,
            cores,
            tcp,
            meetings,
            participants,
            draining,
            plane_info,
            join_seconds,
            peers_ready,
            link_estimate_bps,
            streams_reduced,
            signal_faults,
            requests_refused,
            data,
            recordings,
            http_seconds,
        })
    }

    /// Counts one association whose media keys are in place.
    pub fn peer_ready(&self, dtls: DtlsVersion, profile: SrtpProfile) {
        self.peers_ready.with_label_values(&[dtls_name(dtls), profile_name(profile)]).inc();
    }

    /// This many streams more, or fewer, are reduced for this reason.
    pub fn streams_reduced(&self, reason: Reason, change: i64) {
        self.streams_reduced.with_label_values(&[reason.name()]).add(change);
    }

    /// Counts one signalling client that was refused or closed.
    pub fn signal_fault(&self, fault: Fault) {
        self.signal_faults.with_label_values(&[fault.name()]).inc();
    }

    /// Counts one request that was refused.
    pub fn request_refused(&self, reason: Refusal) {
        self.requests_refused.with_label_values(&[reason.name()]).inc();
    }

    /// From now on scrapes read these pages, one per core in the order of core numbers. The first call counts.
    pub fn attach_cores(&self, pages: Vec<Arc<SharedCounters>>) {
        self.cores.attach(pages);
    }

    /// From now on scrapes read these counters of TCP connections. The first call counts.
    pub fn attach_tcp(&self, counts: Arc<TcpCounts>) {
        self.tcp.attach(counts);
    }

    /// Shows which I/O backend and which crypto suite the packet plane chose.
    pub fn show_plane(&self, io: &str, suite: &str) {
        if let Ok(info) = self.plane_info.get_metric_with_label_values(&[io, suite]) {
            info.set(1);
        }
    }

    /// The text exposition format (version 0.0.4), with the live numbers given.
    #[must_use]
    pub fn text(&self, live_meetings: usize, live_people: usize, draining: bool) -> String {
        self.meetings.set(i64::try_from(live_meetings).unwrap_or(i64::MAX));
        self.participants.set(i64::try_from(live_people).unwrap_or(i64::MAX));
        self.draining.set(i64::from(draining));
        // Encoding fails only for families without metrics, and every family has one from the start.
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

const DTLS_VERSIONS: [DtlsVersion; 2] = [DtlsVersion::V12, DtlsVersion::V13];
const SRTP_PROFILES: [SrtpProfile; 3] =
    [SrtpProfile::AeadAes256Gcm, SrtpProfile::AeadAes128Gcm, SrtpProfile::Aes128CmSha1_80];

/// Value of the label `dtls`.
const fn dtls_name(version: DtlsVersion) -> &'static str {
    match version {
        DtlsVersion::V12 => "1.2",
        DtlsVersion::V13 => "1.3",
    }
}

/// Value of the label `profile`: the registered name without its `SRTP_` (RFC 5764 section 4.1.2, RFC 7714 section 14.2).
const fn profile_name(profile: SrtpProfile) -> &'static str {
    match profile {
        SrtpProfile::AeadAes256Gcm => "AEAD_AES_256_GCM",
        SrtpProfile::AeadAes128Gcm => "AEAD_AES_128_GCM",
        SrtpProfile::Aes128CmSha1_80 => "AES128_CM_HMAC_SHA1_80",
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use dataplane::base::counters::Counters;
    use dataplane::base::drops::DropReason;

    use super::*;

    #[test]
    fn every_name_of_the_contract_is_there_before_anything_happened() {
        let text = Metrics::new().text(0, 0, false);
        for line in [
            "kaigi_packets_received_total{core=\"0\"} 0",
            "kaigi_packets_forwarded_total{core=\"0\"} 0",
            "kaigi_packets_dropped_total{core=\"0\",reason=\"bad_tag\"} 0",
            "kaigi_cycles_total{core=\"0\",stage=\"seal\"} 0",
            "kaigi_forward_delay_seconds_bucket{core=\"0\",le=\"0.001\"} 0",
            "kaigi_forward_delay_seconds_count{core=\"0\"} 0",
            "kaigi_link_estimate_bps_bucket{le=\"300000\"} 0",
            "kaigi_streams_reduced{reason=\"link_estimate\"} 0",
            "kaigi_streams_reduced{reason=\"codec_missing\"} 0",
            "kaigi_signal_faults_total{reason=\"join_request\"} 0",
            "kaigi_requests_refused_total{reason=\"scanner\"} 0",
            "kaigi_data_messages_total{channel=\"reliable\"} 0",
            "kaigi_data_copies_total{channel=\"lossy\"} 0",
            "kaigi_data_refused_total{reason=\"malformed\"} 0",
            "kaigi_data_slow_receivers_total 0",
            "kaigi_meetings 0",
            "kaigi_participants 0",
            "kaigi_join_seconds_count 0",
            "kaigi_peers_ready_total{dtls=\"1.2\",profile=\"AEAD_AES_256_GCM\"} 0",
            "kaigi_recordings_total{state=\"completed\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
        let reasons = text.lines().filter(|l| l.starts_with("kaigi_packets_dropped_total")).count();
        assert_eq!(reasons, DropReason::COUNT);
    }

    #[test]
    fn a_scrape_shows_what_each_core_published() {
        let metrics = Metrics::new();
        metrics.show_plane("uring", "scalar");
        let pages: Vec<Arc<SharedCounters>> = (0..2).map(|_| Arc::default()).collect();
        metrics.attach_cores(pages.clone());
        let mut counters = Counters { packets_forwarded: 7, ..Counters::default() };
        counters.delay(10);
        counters.delay(400);
        counters.delay(1_000_000);
        counters.dropped[DropReason::Replayed as usize] = 3;
        pages[1].publish(&counters);
        let text = metrics.text(2, 5, true);
        for line in [
            "kaigi_packets_forwarded_total{core=\"0\"} 0",
            "kaigi_packets_forwarded_total{core=\"1\"} 7",
            "kaigi_packets_dropped_total{core=\"1\",reason=\"replayed\"} 3",
            "kaigi_forward_delay_seconds_bucket{core=\"1\",le=\"0.00001\"} 1",
            "kaigi_forward_delay_seconds_bucket{core=\"1\",le=\"0.0005\"} 2",
            "kaigi_forward_delay_seconds_bucket{core=\"1\",le=\"0.25\"} 2",
            "kaigi_forward_delay_seconds_bucket{core=\"1\",le=\"+Inf\"} 3",
            "kaigi_forward_delay_seconds_count{core=\"1\"} 3",
            "kaigi_meetings 2",
            "kaigi_participants 5",
            "kaigi_draining 1",
            "kaigi_plane_info{io=\"uring\",suite=\"scalar\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
    }
}
