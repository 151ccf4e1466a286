//! The log: one line per event on standard error, as text or JSON, its level changeable while running.
//!
//! Promise: libraries log from `warn` up only, whatever the level: their finer lines may hold headers or frames, and those
//! hold tokens.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::{LogFormat, LogLevel};

/// Changes the level of the running log.
pub struct LogHandle(reload::Handle<Targets, Registry>);

impl LogHandle {
    /// From now on lines less severe than `level` are left out.
    pub fn set_level(&self, level: LogLevel) {
        // Fails only when the subscriber is gone, and then nothing is logged anyway.
        let _ = self.0.reload(filter(level));
    }
}

/// Starts the log of this process. A second call changes nothing.
#[must_use]
pub fn start(format: LogFormat, level: LogLevel) -> LogHandle {
    let (filter, handle) = reload::Layer::new(filter(level));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // Already set in tests that start several appliances in one process.
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
    LogHandle(handle)
}

fn filter(level: LogLevel) -> Targets {
    let own = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let others = own.min(LevelFilter::WARN);
    Targets::new()
        .with_default(others)
        .with_target("controlplane", own)
        .with_target("dataplane", own)
        .with_target("kaigid", own)
}
