//! Retransmission cache: the last packets of one layer, in plaintext, shared by all its subscribers.
//!
//! Path: filled by `room` with every forwarded packet, read by the pacer at release and by NACK later.
//! Memory: [`RTX_PACKETS_PER_LAYER`] x [`SLOT_BYTES`] = 512 x 1,536 B = 768 KiB per video layer, taken at construction; the kernel
//! gives pages only as slots are first written.
//! Promises: O(1) insert and find; the oldest is overwritten, never something newer; holds plaintext, so zeroed on drop.
//! Not here: deciding whether to resend (`session::nack`), pacing (`session::pacer`).

use zeroize::Zeroize;

use crate::base::drops::DropReason;
use crate::base::limits::{RTX_PACKETS_PER_LAYER, SLOT_BYTES};

/// Index that no packet has: an empty slot.
const EMPTY: u64 = u64::MAX;

/// Cached packets by index (roll-over counter and sequence number). `M` is what the owner wants to know of a packet without
/// parsing it again.
pub struct RtxCache<M> {
    slots: Box<[Slot<M>]>,
    /// `SLOT_BYTES` per slot.
    bytes: Box<[u8]>,
}

#[derive(Clone, Copy)]
struct Slot<M> {
    index: u64,
    len: u16,
    meta: M,
}

impl<M: Copy + Default> RtxCache<M> {
    /// An empty cache of the full size.
    #[must_use]
    pub fn new() -> Self {
        Self::with_packets(RTX_PACKETS_PER_LAYER)
    }

    /// An empty cache of fewer packets: a power of two up to [`RTX_PACKETS_PER_LAYER`]. Audio wants fewer.
    ///
    /// # Panics
    /// For any other number: the caller's bug.
    #[must_use]
    pub fn with_packets(packets: usize) -> Self {
        assert!(packets.is_power_of_two() && packets <= RTX_PACKETS_PER_LAYER, "{packets} packets");
        let empty = Slot { index: EMPTY, len: 0, meta: M::default() };
        Self {
            slots: vec![empty; packets].into_boxed_slice(),
            bytes: vec![0; packets * SLOT_BYTES].into_boxed_slice(),
        }
    }

    /// Keeps a packet. One with the same index is replaced.
    ///
    /// # Errors
    /// `TooLong` for more than [`SLOT_BYTES`]; `TooLate` when its slot holds a newer packet.
    pub fn insert(&mut self, index: u64, packet: &[u8], meta: M) -> Result<(), DropReason> {
        if packet.len() > SLOT_BYTES {
            return Err(DropReason::TooLong);
        }
        let at = self.place(index);
        let slot = &mut self.slots[at];
        if slot.index != EMPTY && slot.index > index {
            return Err(DropReason::TooLate);
        }
        self.bytes[at * SLOT_BYTES..][..packet.len()].copy_from_slice(packet);
        *slot = Slot { index, len: packet.len() as u16, meta };
        Ok(())
    }

    /// The packet with this index, if it is still here.
    #[inline]
    #[must_use]
    pub fn find(&self, index: u64) -> Option<(&[u8], &M)> {
        let at = self.place(index);
        let slot = &self.slots[at];
        if slot.index != index || index == EMPTY {
            return None;
        }
        let start = at * SLOT_BYTES;
        Some((&self.bytes[start..start + usize::from(slot.len)], &slot.meta))
    }

    /// How many packets it can hold.
    #[must_use]
    pub fn packets_max(&self) -> usize {
        self.slots.len()
    }

    /// Forgets everything, as when a publisher starts a stream anew.
    pub fn clear(&mut self) {
        self.zero();
    }

    fn place(&self, index: u64) -> usize {
        index as usize & (self.slots.len() - 1)
    }
}

impl<M> RtxCache<M> {
    /// Zeroes what was written: whole slots, because a longer packet may have been there before.
    fn zero(&mut self) {
        for (slot, bytes) in self.slots.iter_mut().zip(self.bytes.chunks_exact_mut(SLOT_BYTES)) {
            if slot.index != EMPTY {
                bytes.zeroize();
                slot.index = EMPTY;
            }
        }
    }
}

impl<M: Copy + Default> Default for RtxCache<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M> Drop for RtxCache<M> {
    fn drop(&mut self) {
        self.zero();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn a_packet_is_found_until_its_slot_is_taken() {
        let mut cache = RtxCache::<u32>::new();
        assert!(cache.find(5).is_none());
        cache.insert(5, b"five", 55).expect("room");
        assert_eq!(cache.find(5), Some((&b"five"[..], &55)));
        let next = 5 + cache.packets_max() as u64;
        assert!(cache.find(next).is_none(), "same slot, other packet");
        cache.insert(next, b"next", 1).expect("room");
        assert!(cache.find(5).is_none());
        assert_eq!(cache.insert(5, b"five", 55), Err(DropReason::TooLate));
        assert_eq!(cache.find(next), Some((&b"next"[..], &1)));
    }

    #[test]
    fn it_holds_exactly_the_last_packets() {
        let mut rng = Rng::new(50);
        let mut cache = RtxCache::<u64>::with_packets(64);
        let first = (1 << 16) - 100;
        for index in first..first + 1_000 {
            let packet = vec![index as u8; 1 + rng.below(SLOT_BYTES as u64) as usize];
            cache.insert(index, &packet, index).expect("room");
            for past in index.saturating_sub(100).max(first)..=index {
                let found = cache.find(past);
                assert_eq!(found.is_some(), past + 64 > index);
                if let Some((bytes, meta)) = found {
                    assert_eq!(*meta, past);
                    assert!(bytes.iter().all(|&byte| byte == past as u8));
                }
            }
        }
    }

    #[test]
    fn a_packet_longer_than_a_slot_is_refused_in_every_slot() {
        let mut cache = RtxCache::<()>::with_packets(2);
        for index in 0..2 {
            assert_eq!(cache.insert(index, &[1; SLOT_BYTES + 1], ()), Err(DropReason::TooLong));
            assert_eq!(cache.insert(index, &[1; 10 * SLOT_BYTES], ()), Err(DropReason::TooLong));
            assert!(cache.find(index).is_none());
            assert!(cache.insert(index, &[1; SLOT_BYTES], ()).is_ok());
        }
    }

    #[test]
    fn forgetting_leaves_no_plaintext() {
        let mut cache = RtxCache::<()>::with_packets(8);
        for index in 0..20 {
            cache.insert(index, &[0xaa; 1_000], ()).expect("room");
            cache.insert(index, &[0xbb; 10], ()).expect("room");
        }
        cache.clear();
        assert!(cache.bytes.iter().all(|&byte| byte == 0));
        assert!((0..20).all(|index| cache.find(index).is_none()));
        assert!(cache.find(u64::MAX).is_none());
    }
}
