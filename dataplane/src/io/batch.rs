//! The sends of one loop turn: datagrams written one after the other into one arena, runs of equal size to one peer joined into
//! one GSO send.
//!
//! Path: `engine::flush` fills it through [`Batch::send`], a backend empties it. Memory: [`SEND_BYTES_PER_TURN`] per core.
//! Promises: no allocation after construction; a datagram is copied nowhere, it is written where the kernel reads it.

use crate::base::limits::{
    DATAGRAM_BYTES_MAX, GSO_BYTES_MAX, GSO_SEGMENTS_MAX, SEND_BYTES_PER_TURN, SENDS_PER_TURN,
};
use crate::base::net::{BuffersFull, Datagram, Path};

/// One send: one datagram, or a run of datagrams of `segment_bytes` each, of which the last may be shorter.
#[derive(Clone, Copy, Debug)]
pub struct Send {
    /// Where from and where to.
    pub path: Path,
    /// Where its bytes begin in the arena.
    pub offset: usize,
    /// All its bytes.
    pub bytes: usize,
    /// Bytes of each datagram.
    pub segment_bytes: usize,
    /// How many datagrams.
    pub count: usize,
    /// The last one is as long as the others: another may follow.
    pub is_open: bool,
}

impl Send {
    #[inline]
    const fn takes(&self, bytes: usize) -> bool {
        self.is_open
            && bytes <= self.segment_bytes
            && self.count < GSO_SEGMENTS_MAX
            && self.bytes + bytes <= GSO_BYTES_MAX
    }
}

/// All sends of a turn.
pub struct Batch {
    arena: Box<[u8]>,
    used: usize,
    /// Where the last datagram begins.
    last: usize,
    sends: Vec<Send>,
    segmenting: bool,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            arena: vec![0; SEND_BYTES_PER_TURN].into_boxed_slice(),
            used: 0,
            last: 0,
            sends: Vec::with_capacity(SENDS_PER_TURN),
            segmenting: true,
        }
    }
}

impl Batch {
    /// See [`crate::base::net::SendBuffers::send`].
    ///
    /// # Errors
    /// [`BuffersFull`] when the arena or the table of sends is full.
    pub fn send(
        &mut self,
        path: &Path,
        bytes_max: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), BuffersFull> {
        let is_same = self.sends.last().is_some_and(|send| send.path == *path);
        self.put(path, is_same, bytes_max, fill)
    }

    /// See [`crate::base::net::SendBuffers::send_again`].
    ///
    /// # Errors
    /// As [`Self::send`].
    #[inline]
    pub fn send_again(
        &mut self,
        path: &Path,
        bytes_max: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), BuffersFull> {
        debug_assert!(self.sends.last().is_none_or(|send| send.path == *path), "the path of the call before");
        self.put(path, true, bytes_max, fill)
    }

    #[inline]
    fn put(
        &mut self,
        path: &Path,
        is_same: bool,
        bytes_max: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), BuffersFull> {
        if bytes_max > DATAGRAM_BYTES_MAX || self.sends.len() == SENDS_PER_TURN {
            return Err(BuffersFull);
        }
        let buffer = self.arena.get_mut(self.used..self.used + bytes_max).ok_or(BuffersFull)?;
        let bytes = fill(buffer);
        assert!(bytes <= bytes_max, "the engine wrote more than it asked for");
        if bytes == 0 {
            return Ok(());
        }
        match self.sends.last_mut() {
            Some(send) if is_same && self.segmenting && send.takes(bytes) => {
                send.bytes += bytes;
                send.count += 1;
                send.is_open = bytes == send.segment_bytes;
            }
            _ => self.sends.push(Send {
                path: *path,
                offset: self.used,
                bytes,
                segment_bytes: bytes,
                count: 1,
                is_open: true,
            }),
        }
        self.last = self.used;
        self.used += bytes;
        Ok(())
    }

    /// See [`crate::base::net::SendBuffers::last`].
    #[must_use]
    pub const fn last(&self) -> Option<Datagram> {
        if self.used == 0 { None } else { Some(Datagram { at: self.last, bytes: self.used - self.last }) }
    }

    /// See [`crate::base::net::SendBuffers::datagram`].
    #[must_use]
    pub fn datagram(&self, datagram: Datagram) -> &[u8] {
        self.arena.get(datagram.at..datagram.at + datagram.bytes).unwrap_or(&[])
    }

    /// See [`crate::base::net::SendBuffers::datagram_mut`].
    pub fn datagram_mut(&mut self, datagram: Datagram) -> &mut [u8] {
        self.arena.get_mut(datagram.at..datagram.at + datagram.bytes).unwrap_or(&mut [])
    }

    /// From now on every datagram is a send of its own: the host refuses GSO.
    pub fn stop_segmenting(&mut self) {
        self.segmenting = false;
    }

    /// Forgets the sends; their bytes may be overwritten.
    pub fn clear(&mut self) {
        self.sends.clear();
        (self.used, self.last) = (0, 0);
    }

    /// The sends, in order.
    #[must_use]
    pub fn sends(&self) -> &[Send] {
        &self.sends
    }

    /// The bytes of one send.
    #[must_use]
    pub fn bytes(&self, send: &Send) -> &[u8] {
        &self.arena[send.offset..send.offset + send.bytes]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(port: u16) -> Path {
        Path { local: ([127, 0, 0, 1], 7882).into(), remote: ([127, 0, 0, 1], port).into() }
    }

    fn push(batch: &mut Batch, port: u16, bytes: usize) {
        assert_eq!(batch.send(&path(port), DATAGRAM_BYTES_MAX, |_| bytes), Ok(()));
    }

    fn shape(batch: &Batch) -> Vec<(usize, usize)> {
        batch.sends().iter().map(|send| (send.segment_bytes, send.count)).collect()
    }

    #[test]
    fn equal_datagrams_to_one_peer_join_and_a_shorter_one_ends_the_run() {
        let mut batch = Batch::default();
        for bytes in [1200, 1200, 700, 1200, 1300] {
            push(&mut batch, 1, bytes);
        }
        push(&mut batch, 2, 1300);
        push(&mut batch, 1, 1300);
        assert_eq!(shape(&batch), [(1200, 3), (1200, 1), (1300, 1), (1300, 1), (1300, 1)]);
        let first = batch.sends()[0];
        assert_eq!(batch.bytes(&first).len(), 3100);
    }

    #[test]
    fn a_run_stays_within_the_limits_of_one_gso_send() {
        let mut batch = Batch::default();
        for _ in 0..130 {
            push(&mut batch, 1, 100);
        }
        assert_eq!(shape(&batch), [(100, 64), (100, 64), (100, 2)]);
        batch.clear();
        for _ in 0..60 {
            push(&mut batch, 1, 1452);
        }
        assert_eq!(shape(&batch), [(1452, 44), (1452, 16)]);
        assert!(batch.sends().iter().all(|send| send.bytes <= GSO_BYTES_MAX));
    }

    #[test]
    fn a_cancelled_datagram_leaves_nothing_and_refused_gso_joins_nothing() {
        let mut batch = Batch::default();
        push(&mut batch, 1, 0);
        assert!(batch.sends().is_empty());
        batch.stop_segmenting();
        push(&mut batch, 1, 50);
        push(&mut batch, 1, 50);
        assert_eq!(shape(&batch), [(50, 1), (50, 1)]);
    }

    #[test]
    fn a_full_batch_refuses_and_serves_again_after_it_is_cleared() {
        let mut batch = Batch::default();
        let mut taken = 0;
        while batch.send(&path(taken as u16), 100, |_| 100).is_ok() {
            taken += 1;
        }
        assert_eq!(taken, SENDS_PER_TURN);
        batch.clear();
        let mut bytes = 0;
        while batch.send(&path(1), 1400, |_| 1400).is_ok() {
            bytes += 1400;
        }
        assert!(bytes > SEND_BYTES_PER_TURN - 1400 && bytes <= SEND_BYTES_PER_TURN);
        assert_eq!(batch.send(&path(1), DATAGRAM_BYTES_MAX + 1, |_| 1), Err(BuffersFull));
    }
}
