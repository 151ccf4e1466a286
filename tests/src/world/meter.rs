//! What a server puts into each link: the sim backend's send buffers, counted.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use dataplane::base::net::{BuffersFull, Path, SendBuffers};
use dataplane::base::time::Micros;
use dataplane::io::sim::ServerBuffers;
use tools::client::rates::Rates;

/// Send buffers of one turn that count what is written into them.
pub(super) struct Metered<'w> {
    now: Micros,
    inner: ServerBuffers<'w>,
    meters: &'w mut BTreeMap<SocketAddr, Rates>,
    /// The network's work is not the engine's.
    probe: fn(bool),
}

impl<'w> Metered<'w> {
    pub(super) const fn new(
        now: Micros,
        inner: ServerBuffers<'w>,
        meters: &'w mut BTreeMap<SocketAddr, Rates>,
        probe: fn(bool),
    ) -> Self {
        Self { now, inner, meters, probe }
    }
}

impl SendBuffers for Metered<'_> {
    fn send(
        &mut self,
        path: &Path,
        bytes_max: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), BuffersFull> {
        let probe = self.probe;
        let mut bytes = 0;
        probe(false);
        let taken = self.inner.send(path, bytes_max, |out| {
            probe(true);
            bytes = fill(out);
            probe(false);
            bytes
        });
        if taken.is_ok() {
            self.meters.entry(path.remote).or_default().insert(self.now, bytes);
        }
        probe(true);
        taken
    }

    fn is_congested(&self, path: &Path) -> bool {
        self.inner.is_congested(path)
    }
}
