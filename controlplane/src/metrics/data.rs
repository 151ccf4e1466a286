//! Messages of data channels.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// Values of the label `channel`.
const CHANNELS: [&str; 2] = ["reliable", "lossy"];
/// Values of the label `reason` of `kaigi_data_refused_total`.
const REFUSALS: [&str; 7] =
    ["malformed", "kind", "destinations", "too_long", "duplicate", "channel", "not_allowed"];

/// What is counted of data channels by hand; drops on the packet plane are `kaigi_packets_dropped_total{reason="channel_…"}`.
pub struct DataMetrics {
    /// Messages taken from participants, by channel.
    pub messages: IntCounterVec,
    /// Copies of them for receivers, by channel.
    pub copies: IntCounterVec,
    /// Messages that went to nobody, by reason.
    pub refused: IntCounterVec,
    /// Participants who had to join anew because too many messages waited for them.
    pub slow_receivers: IntCounter,
}

impl DataMetrics {
    /// All of them, registered, with every label in place.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let vec = |name: &str, help: &str, label: &str| IntCounterVec::new(Opts::new(name, help), &[label]);
        let metrics = Self {
            messages: vec(
                "kaigi_data_messages_total",
                "Data-channel messages taken from participants, by channel.",
                "channel",
            )?,
            copies: vec(
                "kaigi_data_copies_total",
                "Data-channel messages handed to receivers' queues, by channel.",
                "channel",
            )?,
            refused: vec(
                "kaigi_data_refused_total",
                "Data-channel messages that went to nobody, by reason.",
                "reason",
            )?,
            slow_receivers: IntCounter::new(
                "kaigi_data_slow_receivers_total",
                "Participants who had to join anew because too many data-channel messages waited for them.",
            )?,
        };
        for channel in CHANNELS {
            metrics.messages.get_metric_with_label_values(&[channel])?;
            metrics.copies.get_metric_with_label_values(&[channel])?;
        }
        for reason in REFUSALS {
            metrics.refused.get_metric_with_label_values(&[reason])?;
        }
        registry.register(Box::new(metrics.messages.clone()))?;
        registry.register(Box::new(metrics.copies.clone()))?;
        registry.register(Box::new(metrics.refused.clone()))?;
        registry.register(Box::new(metrics.slow_receivers.clone()))?;
        Ok(metrics)
    }
}
