//! What waits to be sent to each peer: references to packets, in order, until `flush` writes, numbers and seals them.
//!
//! Place: filled by `router` while datagrams come in, emptied peer by peer in `flush`, so that a peer's packets leave as one
//! GSO send. Promises: all entries are allocated at boot; a peer has at most [`QUEUE_PER_PEER`]; O(1) push and pop.

use super::pool::Slot;
use crate::base::limits::QUEUE_PER_PEER;
use crate::base::slab::Key;
use crate::base::time::Micros;

/// Where the bytes of a packet are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Held {
    /// In the layer's retransmission cache, under the item's layer and content number.
    Cached,
    /// In the pool; the item owns one reference.
    Pooled(Slot),
}

/// What a queued packet is to its receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The next packet of its run.
    Media,
    /// The first packet of a new run: after a switch, pause or restart.
    RunStart,
    /// Once more, because the receiver missed it.
    Resend,
}

/// One packet for one receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Item {
    /// The stream; a stale key drops the item.
    pub stream: Key,
    /// Content number in its layer.
    pub content: u64,
    /// When it was received.
    pub received: Micros,
    /// Where its bytes are.
    pub held: Held,
    /// The layer it came from.
    pub layer: u8,
    /// What it is to the receiver.
    pub role: Role,
}

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Entry {
    item: Option<Item>,
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    first: u32,
    last: u32,
    count: u32,
    listed: bool,
}

const EMPTY: Head = Head { first: NONE, last: NONE, count: 0, listed: false };

/// Queues of all peers of a core.
#[derive(Debug)]
pub struct SendQueue {
    entries: Vec<Entry>,
    free: u32,
    heads: Vec<Head>,
    /// Peers that have something waiting, in the order in which they got it.
    waiting: std::collections::VecDeque<u32>,
    count: usize,
}

/// The queue is full; the item was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

impl SendQueue {
    /// Queues with `entries` entries together.
    #[must_use]
    pub fn new(entries: usize) -> Self {
        let last = entries.saturating_sub(1);
        let entry = |index| Entry { item: None, next: if index == last { NONE } else { index as u32 + 1 } };
        Self {
            entries: (0..entries).map(entry).collect(),
            free: if entries == 0 { NONE } else { 0 },
            heads: Vec::new(),
            waiting: std::collections::VecDeque::new(),
            count: 0,
        }
    }

    /// Makes room for the peer at `index`.
    pub fn admit(&mut self, index: usize) {
        if index >= self.heads.len() {
            self.heads.resize(index + 1, EMPTY);
            self.waiting.reserve(self.heads.len() - self.waiting.len());
        }
    }

    /// Puts an item at the end of a peer's queue.
    ///
    /// # Errors
    /// [`Full`] when the peer or the core has too much waiting.
    pub fn push(&mut self, index: usize, item: Item) -> Result<(), Full> {
        let head = self.heads.get_mut(index).ok_or(Full)?;
        let slot = self.free;
        if head.count >= QUEUE_PER_PEER || slot == NONE {
            return Err(Full);
        }
        let entry = &mut self.entries[slot as usize];
        self.free = entry.next;
        *entry = Entry { item: Some(item), next: NONE };
        match head.last {
            NONE => head.first = slot,
            last => self.entries[last as usize].next = slot,
        }
        head.last = slot;
        head.count += 1;
        self.count += 1;
        if !head.listed {
            head.listed = true;
            self.waiting.push_back(index as u32);
        }
        Ok(())
    }

    /// The oldest item of a peer.
    #[must_use]
    pub fn first(&self, index: usize) -> Option<Item> {
        let head = self.heads.get(index)?;
        self.entries.get(head.first as usize)?.item
    }

    /// Takes the oldest item of a peer.
    pub fn pop(&mut self, index: usize) -> Option<Item> {
        let head = self.heads.get_mut(index)?;
        let slot = head.first;
        let entry = self.entries.get_mut(slot as usize)?;
        let item = entry.item.take();
        head.first = entry.next;
        if head.first == NONE {
            head.last = NONE;
        }
        head.count -= 1;
        self.count -= 1;
        entry.next = self.free;
        self.free = slot;
        item
    }

    /// The peer that waits longest; it stays listed until [`SendQueue::done`].
    #[must_use]
    pub fn waiting(&self) -> Option<usize> {
        self.waiting.front().map(|&index| index as usize)
    }

    /// The peer that waits longest has been served: it goes from the list, or to its end if something is left.
    pub fn done(&mut self) {
        let Some(index) = self.waiting.pop_front() else { return };
        let head = &mut self.heads[index as usize];
        if head.count == 0 {
            head.listed = false;
        } else {
            self.waiting.push_back(index);
        }
    }

    /// Items of all peers.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::slab::Slab;

    fn item(content: u64) -> Item {
        let stream = Slab::new(1).insert(()).expect("room");
        Item { stream, content, received: Micros(0), held: Held::Cached, layer: 0, role: Role::Media }
    }

    #[test]
    fn each_peer_gets_its_items_in_order() {
        let mut queue = SendQueue::new(4);
        queue.admit(1);
        for (index, content) in [(0, 1), (1, 2), (0, 3)] {
            queue.push(index, item(content)).expect("room");
        }
        assert_eq!(queue.waiting(), Some(0));
        assert_eq!(queue.first(0).map(|item| item.content), Some(1));
        assert_eq!(queue.pop(0).map(|item| item.content), Some(1));
        queue.done();
        assert_eq!(queue.waiting(), Some(1), "what is left waits behind the others");
        assert_eq!(queue.pop(1).map(|item| item.content), Some(2));
        queue.done();
        assert_eq!(queue.pop(0).map(|item| item.content), Some(3));
        assert_eq!(queue.pop(0), None);
        queue.done();
        assert_eq!((queue.waiting(), queue.count()), (None, 0));
    }

    #[test]
    fn full_queues_refuse_and_recover() {
        let mut queue = SendQueue::new(2);
        queue.admit(0);
        queue.push(0, item(1)).expect("room");
        queue.push(0, item(2)).expect("room");
        assert_eq!(queue.push(0, item(3)), Err(Full));
        assert_eq!(queue.push(7, item(3)), Err(Full), "never admitted");
        queue.pop(0);
        assert_eq!(queue.push(0, item(4)), Ok(()));
        assert_eq!(
            [queue.pop(0), queue.pop(0)].map(|item| item.map(|item| item.content)),
            [Some(2), Some(4)]
        );
    }

    #[test]
    fn one_peer_cannot_take_more_than_its_share() {
        let mut queue = SendQueue::new(QUEUE_PER_PEER as usize + 1);
        queue.admit(1);
        let taken = (0..u64::from(QUEUE_PER_PEER) * 2).filter(|&n| queue.push(0, item(n)).is_ok()).count();
        assert_eq!(taken, QUEUE_PER_PEER as usize);
        assert_eq!(queue.push(1, item(0)), Ok(()));
    }
}
