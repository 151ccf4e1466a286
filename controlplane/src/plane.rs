//! From configuration to a running packet plane.

use std::fs;

use dataplane::boot::{self, BootError, Plane, PlaneConfig};
use dataplane::engine::Rules;
use dataplane::io::IoChoice;

use crate::config::{Config, Io};
use crate::ids::random_u64;

/// One assist thread per this many cores: a handshake takes a few milliseconds, a core holds a few hundred people.
const CORES_PER_ASSIST: usize = 4;

/// Starts the packet plane this configuration asks for.
///
/// # Errors
/// See [`BootError`]; each says what to do.
pub fn start(config: &Config) -> Result<Plane, BootError> {
    let plane = boot::start(&plane_config(config))?;
    if let Some(refused) = plane.io_refused() {
        tracing::warn!("epoll moves the packets: {refused}");
    }
    if let Some(trial) = plane.io_trial() {
        tracing::info!("{} moves the packets: {trial}", plane.io_name());
    }
    tracing::info!(
        cores = plane.cores().len(),
        io = plane.io_name(),
        suite = plane.suite_name(),
        "packet plane started"
    );
    Ok(plane)
}

/// Why a core no longer carries packets, if one does not. A worker ends by itself only by a fault of the host or of ours.
#[must_use]
pub fn fault(plane: &Plane) -> Option<String> {
    let core = plane.cores().iter().find(|core| core.lane.is_stopped())?;
    let why = core.fault().unwrap_or("it stopped");
    Some(format!("core {} carries no packets: {why}", core.id.0))
}

fn plane_config(config: &Config) -> PlaneConfig {
    let cpus: Vec<usize> = match &config.cores {
        Some(cores) => cores.0.iter().map(|cpu| usize::from(*cpu)).collect(),
        None => allowed_cpus(),
    };
    PlaneConfig {
        assist_threads: cpus.len().div_ceil(CORES_PER_ASSIST).max(1),
        cpus,
        udp_port: config.udp_port,
        tcp_port: Some(config.tcp_port),
        io: match config.io {
            Io::Auto => IoChoice::Auto,
            Io::Uring => IoChoice::Uring,
            Io::Epoll => IoChoice::Epoll,
            Io::Xdp => IoChoice::Xdp,
        },
        suite: None,
        seed: random_u64(),
        rules: Rules { audio_streams_max: config.audio_streams, ..Rules::default() },
        bind: None,
    }
}

/// The CPUs this process may run on, as its cpuset says.
#[must_use]
pub fn allowed_cpus() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let cpus = list.map(|list| cpu_list(list.trim())).unwrap_or_default();
    if !cpus.is_empty() {
        return cpus;
    }
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    (0..count).collect()
}

/// The kernel's list format, `0-3,8`.
fn cpu_list(text: &str) -> Vec<usize> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            cpus.extend((first..=last).take(1_024));
        }
    }
    cpus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_cpu_list_is_understood() {
        assert_eq!(cpu_list("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(cpu_list("7"), [7]);
        assert_eq!(cpu_list(""), [0; 0]);
        assert!(!allowed_cpus().is_empty());
    }
}
