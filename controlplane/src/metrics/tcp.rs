//! What became of TCP connections for media, as metric families.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use dataplane::io::tcp::{TcpCounts, TcpEnd};
use prometheus::core::{Collector, Desc};
use prometheus::proto::Metric;
use prometheus::proto::{MetricFamily, MetricType};

use super::cores::{counter, family, gauge, label};

/// Reads the counters that the door and the cores share; before they are attached it shows zeros.
#[derive(Clone)]
pub(super) struct TcpCollector {
    counts: Arc<OnceLock<Arc<TcpCounts>>>,
    /// The registry tells collectors apart by what they describe.
    described: Desc,
}

const ACCEPTED: (&str, &str) =
    ("kaigi_tcp_connections_accepted_total", "TCP connections for media accepted.");
const OPEN: (&str, &str) = ("kaigi_tcp_connections", "TCP connections for media that are open.");
const CLOSED: (&str, &str) =
    ("kaigi_tcp_connections_closed_total", "TCP connections for media that ended, by reason.");

impl TcpCollector {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let (name, help) = ACCEPTED;
        let described = Desc::new(name.to_owned(), help.to_owned(), Vec::new(), HashMap::new())?;
        Ok(Self { counts: Arc::default(), described })
    }

    pub(super) fn attach(&self, counts: Arc<TcpCounts>) {
        // A second set would be a second dataplane: the first stays.
        let _ = self.counts.set(counts);
    }
}

impl Collector for TcpCollector {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.described]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let counts = self.counts.get().cloned().unwrap_or_default();
        let closed = TcpEnd::ALL.iter().map(|end| {
            let labels = vec![label("reason", end.name().to_owned())];
            counter(Metric::from_label(labels), counts.ended(*end) as f64)
        });
        let open = gauge(Metric::default(), counts.open() as f64);
        vec![
            family(CLOSED, MetricType::COUNTER, closed.collect()),
            family(OPEN, MetricType::GAUGE, vec![open]),
            family(ACCEPTED, MetricType::COUNTER, vec![counter(Metric::default(), counts.accepted() as f64)]),
        ]
    }
}
