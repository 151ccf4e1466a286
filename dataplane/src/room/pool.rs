//! Packets that outlive the datagram they came in: one copy each, shared by every receiver, until the last one has left.
//!
//! Place: audio of a loop turn and early packets that wait for keys. Video is referenced in its layer's retransmission cache instead.
//! Promises: all memory is allocated at boot; full means a refusal; bytes are zeroed when the last reference goes, because they
//! may be plaintext.

use crate::base::limits::SLOT_BYTES;

/// A stored packet. `Copy`, because queue entries are plain data: whoever stored or retained it releases it exactly once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot(u32);

/// The storage.
#[derive(Debug)]
pub struct Pool {
    bytes: Vec<u8>,
    slots: Vec<Use>,
    free: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Use {
    bytes: u16,
    references: u32,
}

impl Pool {
    /// A pool of `count` packets.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self {
            bytes: vec![0; count * SLOT_BYTES],
            slots: vec![Use::default(); count],
            // Low slots first, so that a quiet core touches little memory.
            free: (0..count as u32).rev().collect(),
        }
    }

    /// Copies a packet in, with one reference; `None` when the pool is full or the packet larger than a slot.
    pub fn store(&mut self, packet: &[u8]) -> Option<Slot> {
        if packet.len() > SLOT_BYTES {
            return None;
        }
        let index = self.free.pop()?;
        let start = index as usize * SLOT_BYTES;
        self.bytes[start..start + packet.len()].copy_from_slice(packet);
        self.slots[index as usize] = Use { bytes: packet.len() as u16, references: 1 };
        Some(Slot(index))
    }

    /// One more reference.
    pub fn retain(&mut self, slot: Slot) {
        self.slots[slot.0 as usize].references += 1;
    }

    /// One reference less; the last one frees the slot.
    pub fn release(&mut self, slot: Slot) {
        let Use { bytes, references } = &mut self.slots[slot.0 as usize];
        debug_assert!(*references > 0, "a slot is released once per reference");
        *references = references.saturating_sub(1);
        if *references == 0 {
            let start = slot.0 as usize * SLOT_BYTES;
            self.bytes[start..start + usize::from(*bytes)].fill(0);
            *bytes = 0;
            self.free.push(slot.0);
        }
    }

    /// The packet.
    #[must_use]
    pub fn packet(&self, slot: Slot) -> &[u8] {
        let start = slot.0 as usize * SLOT_BYTES;
        &self.bytes[start..start + usize::from(self.slots[slot.0 as usize].bytes)]
    }

    /// The packet, to be changed in place.
    pub fn packet_mut(&mut self, slot: Slot) -> &mut [u8] {
        let start = slot.0 as usize * SLOT_BYTES;
        &mut self.bytes[start..start + usize::from(self.slots[slot.0 as usize].bytes)]
    }

    /// How many packets are stored.
    #[must_use]
    pub fn count(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_lives_until_its_last_reference_goes() {
        let mut pool = Pool::new(2);
        let slot = pool.store(b"packet").expect("room");
        pool.retain(slot);
        pool.release(slot);
        assert_eq!(pool.packet(slot), b"packet");
        pool.release(slot);
        assert_eq!(pool.count(), 0);
        assert!(pool.bytes.iter().all(|&byte| byte == 0), "nothing is left behind");
    }

    #[test]
    fn a_full_pool_and_an_oversize_packet_are_refused() {
        let mut pool = Pool::new(1);
        assert!(pool.store(&[0; SLOT_BYTES + 1]).is_none());
        assert!(pool.store(&[1; SLOT_BYTES]).is_some());
        assert!(pool.store(&[]).is_none());
    }
}
