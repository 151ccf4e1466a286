//! The cores' counters as metric families, read from their pages on every scrape.

use std::sync::{Arc, OnceLock};

use dataplane::base::counters::{Counters, DELAY_BOUNDS_US, SharedCounters, Stage};
use dataplane::base::drops::DropReason;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

/// Reads the pages of all cores; before any is attached it shows one core that counts nothing.
#[derive(Clone, Default)]
pub(super) struct CoreCollector(Arc<OnceLock<Vec<Arc<SharedCounters>>>>);

/// One number per core.
struct Scalar {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    read: fn(&Counters) -> u64,
}

const SCALARS: [Scalar; 13] = [
    Scalar {
        name: "kaigi_packets_received_total",
        help: "Datagrams received, of every protocol.",
        kind: MetricType::COUNTER,
        read: |c| c.packets_received,
    },
    Scalar {
        name: "kaigi_received_bytes_total",
        help: "Bytes of datagrams received.",
        kind: MetricType::COUNTER,
        read: |c| c.bytes_received,
    },
    Scalar {
        name: "kaigi_packets_forwarded_total",
        help: "RTP packets sent to subscribers, retransmissions not counted.",
        kind: MetricType::COUNTER,
        read: |c| c.packets_forwarded,
    },
    Scalar {
        name: "kaigi_forwarded_bytes_total",
        help: "Bytes of RTP packets sent to subscribers.",
        kind: MetricType::COUNTER,
        read: |c| c.bytes_forwarded,
    },
    Scalar {
        name: "kaigi_packets_retransmitted_total",
        help: "RTP packets retransmitted to subscribers.",
        kind: MetricType::COUNTER,
        read: |c| c.packets_retransmitted,
    },
    Scalar {
        name: "kaigi_packets_padding_total",
        help: "RTP packets sent to subscribers only to find out what their links carry.",
        kind: MetricType::COUNTER,
        read: |c| c.packets_padding,
    },
    Scalar {
        name: "kaigi_keyframes_replayed_total",
        help: "Streams that began with a keyframe still remembered instead of asking for one.",
        kind: MetricType::COUNTER,
        read: |c| c.keyframes_replayed,
    },
    Scalar {
        name: "kaigi_feedback_refused_total",
        help: "Transport-wide feedback about packets never sent or at impossible times.",
        kind: MetricType::COUNTER,
        read: |c| c.feedback_refused,
    },
    Scalar {
        name: "kaigi_keyframe_requests_total",
        help: "Keyframe requests sent to publishers.",
        kind: MetricType::COUNTER,
        read: |c| c.keyframe_requests,
    },
    Scalar {
        name: "kaigi_sends_total",
        help: "Sends handed to the kernel; one may carry several datagrams (GSO).",
        kind: MetricType::COUNTER,
        read: |c| c.sends,
    },
    Scalar {
        name: "kaigi_datagrams_sent_total",
        help: "Datagrams handed to the kernel, of every protocol.",
        kind: MetricType::COUNTER,
        read: |c| c.datagrams_sent,
    },
    Scalar {
        name: "kaigi_peers",
        help: "Associations with keys.",
        kind: MetricType::GAUGE,
        read: |c| c.peers,
    },
    Scalar {
        name: "kaigi_core_meetings",
        help: "Meetings on this core.",
        kind: MetricType::GAUGE,
        read: |c| c.meetings,
    },
];

const DROPPED: (&str, &str) = ("kaigi_packets_dropped_total", "Packets dropped, by reason.");
const CYCLES: (&str, &str) = ("kaigi_cycles_total", "CPU cycles by stage of the loop.");
const DELAY: (&str, &str) =
    ("kaigi_forward_delay_seconds", "From receiving a packet to handing its copy to the kernel.");

impl CoreCollector {
    pub(super) fn attach(&self, pages: Vec<Arc<SharedCounters>>) {
        // A second set of pages would be a second dataplane: the first stays.
        let _ = self.0.set(pages);
    }

    fn read(&self) -> Vec<Counters> {
        match self.0.get() {
            Some(pages) if !pages.is_empty() => pages.iter().map(|page| page.read()).collect(),
            _ => vec![Counters::default()],
        }
    }
}

impl Collector for CoreCollector {
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let cores = self.read();
        let mut families = Vec::with_capacity(SCALARS.len() + 3);
        for scalar in &SCALARS {
            let metrics = each(&cores).map(|(core, counters)| {
                let value = (scalar.read)(counters) as f64;
                let metric = Metric::from_label(vec![label("core", core)]);
                if scalar.kind == MetricType::GAUGE { gauge(metric, value) } else { counter(metric, value) }
            });
            families.push(family((scalar.name, scalar.help), scalar.kind, metrics.collect()));
        }
        let dropped = each(&cores).flat_map(|(core, counters)| {
            let core = label("core", core);
            DropReason::ALL.iter().zip(counters.dropped).map(move |(reason, count)| {
                let labels = vec![core.clone(), label("reason", reason.name().to_owned())];
                counter(Metric::from_label(labels), count as f64)
            })
        });
        families.push(family(DROPPED, MetricType::COUNTER, dropped.collect()));
        let cycles = each(&cores).flat_map(|(core, counters)| {
            let core = label("core", core);
            Stage::ALL.iter().zip(counters.cycles).map(move |((_, stage), count)| {
                let labels = vec![core.clone(), label("stage", (*stage).to_owned())];
                counter(Metric::from_label(labels), count as f64)
            })
        });
        families.push(family(CYCLES, MetricType::COUNTER, cycles.collect()));
        let delays = each(&cores).map(|(core, counters)| {
            let mut metric = Metric::from_label(vec![label("core", core)]);
            metric.set_histogram(delay(counters));
            metric
        });
        families.push(family(DELAY, MetricType::HISTOGRAM, delays.collect()));
        families
    }
}

fn each(cores: &[Counters]) -> impl Iterator<Item = (String, &Counters)> {
    cores.iter().enumerate().map(|(core, counters)| (core.to_string(), counters))
}

/// Prometheus buckets are cumulative and in seconds; the cores' are neither.
fn delay(counters: &Counters) -> Histogram {
    let mut cumulative = 0;
    let mut buckets = Vec::with_capacity(DELAY_BOUNDS_US.len());
    for (bound_us, count) in DELAY_BOUNDS_US.iter().zip(counters.delay_buckets) {
        cumulative += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound_us as f64 / 1e6);
        bucket.set_cumulative_count(cumulative);
        buckets.push(bucket);
    }
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets);
    histogram.set_sample_count(counters.delay_buckets.iter().sum());
    histogram.set_sample_sum(counters.delay_sum_us as f64 / 1e6);
    histogram
}

pub(super) fn family((name, help): (&str, &str), kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

pub(super) fn counter(mut metric: Metric, value: f64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value);
    metric.set_counter(counter);
    metric
}

pub(super) fn gauge(mut metric: Metric, value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    metric.set_gauge(gauge);
    metric
}

pub(super) fn label(name: &str, value: String) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value);
    label
}
