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
    /// Nowhere: padding without content.
    Nothing,
}

/// What a queued packet is to its receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The next packet of its run.
    Media,
    /// The first packet of a new run: after a switch, pause or restart.
    RunStart,
    /// The same, and it begins a keyframe: what was sent before does not matter.
    KeyStart,
    /// Once more, because the receiver missed it.
    Resend,
    /// Asked for by the receiver, but left out of what it is sent: an empty retransmission closes the gap.
    Vacant,
    /// Once more, to find out what the link carries: on the retransmission stream or not at all.
    Padding,
}

impl Role {
    /// Whether a run begins with it.
    #[must_use]
    pub const fn starts_run(self) -> bool {
        matches!(self, Self::RunStart | Self::KeyStart)
    }
}

/// Which of a peer's queues: what leaves first when a link is short.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Class {
    /// Sound, which is never held back.
    Audio,
    /// Repairs: what the receiver waits for.
    Repair,
    /// Pictures.
    Video,
}

impl Class {
    /// All of them, first things first.
    pub const ALL: [Self; 3] = [Self::Audio, Self::Repair, Self::Video];
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

/// The queues of one peer, by class.
#[derive(Clone, Copy, Debug)]
struct Head {
    ends: [Ends; Class::ALL.len()],
    count: u32,
    listed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    first: u32,
    last: u32,
}

const EMPTY: Head =
    Head { ends: [Ends { first: NONE, last: NONE }; Class::ALL.len()], count: 0, listed: false };

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

    /// Puts an item at the end of one of a peer's queues.
    ///
    /// # Errors
    /// [`Full`] when the peer or the core has too much waiting.
    pub fn push(&mut self, index: usize, class: Class, item: Item) -> Result<(), Full> {
        let head = self.heads.get_mut(index).ok_or(Full)?;
        let slot = self.free;
        if head.count >= QUEUE_PER_PEER || slot == NONE {
            return Err(Full);
        }
        let entry = &mut self.entries[slot as usize];
        self.free = entry.next;
        *entry = Entry { item: Some(item), next: NONE };
        let ends = &mut head.ends[class as usize];
        match ends.last {
            NONE => ends.first = slot,
            last => self.entries[last as usize].next = slot,
        }
        ends.last = slot;
        head.count += 1;
        self.count += 1;
        if !head.listed {
            head.listed = true;
            self.waiting.push_back(index as u32);
        }
        Ok(())
    }

    /// The oldest item of one of a peer's queues.
    #[must_use]
    pub fn first(&self, index: usize, class: Class) -> Option<Item> {
        let head = self.heads.get(index)?;
        self.entries.get(head.ends[class as usize].first as usize)?.item
    }

    /// Takes the oldest item of one of a peer's queues.
    pub fn pop(&mut self, index: usize, class: Class) -> Option<Item> {
        let head = self.heads.get_mut(index)?;
        let ends = &mut head.ends[class as usize];
        let slot = ends.first;
        let entry = self.entries.get_mut(slot as usize)?;
        let item = entry.item.take();
        ends.first = entry.next;
        if ends.first == NONE {
            ends.last = NONE;
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

    /// The peer that waits longest has been served: it goes from the list. What is left, if anything, its pacer holds back: it
    /// waits for [`SendQueue::resume`] or for the next item.
    pub fn done(&mut self) {
        let Some(index) = self.waiting.pop_front() else { return };
        self.heads[index as usize].listed = false;
    }

    /// Lists a peer again, if something of it waits.
    pub fn resume(&mut self, index: usize) {
        if let Some(head) = self.heads.get_mut(index)
            && head.count > 0
            && !std::mem::replace(&mut head.listed, true)
        {
            self.waiting.push_back(index as u32);
        }
    }

    /// Lists a peer for which something is to be made when its turn comes, whether anything waits or not.
    pub fn list(&mut self, index: usize) {
        if let Some(head) = self.heads.get_mut(index)
            && !std::mem::replace(&mut head.listed, true)
        {
            self.waiting.push_back(index as u32);
        }
    }

    /// How many items of a peer wait.
    #[must_use]
    pub fn count_of(&self, index: usize) -> u32 {
        self.heads.get(index).map_or(0, |head| head.count)
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

    fn pop(queue: &mut SendQueue, index: usize) -> Option<u64> {
        Class::ALL.into_iter().find_map(|class| queue.pop(index, class)).map(|item| item.content)
    }

    #[test]
    fn each_peer_gets_its_items_in_order() {
        let mut queue = SendQueue::new(4);
        queue.admit(1);
        for (index, content) in [(0, 1), (1, 2), (0, 3)] {
            queue.push(index, Class::Video, item(content)).expect("room");
        }
        assert_eq!(queue.waiting(), Some(0));
        assert_eq!(queue.first(0, Class::Video).map(|item| item.content), Some(1));
        assert_eq!(pop(&mut queue, 0), Some(1));
        queue.done();
        assert_eq!(queue.waiting(), Some(1), "what is left is held back");
        assert_eq!(pop(&mut queue, 1), Some(2));
        queue.done();
        assert_eq!((queue.waiting(), queue.count_of(0)), (None, 1));
        queue.resume(0);
        queue.resume(1);
        assert_eq!(queue.waiting(), Some(0));
        assert_eq!((pop(&mut queue, 0), pop(&mut queue, 0)), (Some(3), None));
        queue.done();
        assert_eq!((queue.waiting(), queue.count()), (None, 0));
    }

    #[test]
    fn sound_leaves_before_repairs_and_pictures() {
        let mut queue = SendQueue::new(4);
        queue.admit(0);
        for (class, content) in [(Class::Video, 1), (Class::Repair, 2), (Class::Audio, 3), (Class::Audio, 4)]
        {
            queue.push(0, class, item(content)).expect("room");
        }
        assert_eq!([(); 4].map(|()| pop(&mut queue, 0)), [Some(3), Some(4), Some(2), Some(1)]);
    }

    #[test]
    fn full_queues_refuse_and_recover() {
        let mut queue = SendQueue::new(2);
        queue.admit(0);
        queue.push(0, Class::Video, item(1)).expect("room");
        queue.push(0, Class::Video, item(2)).expect("room");
        assert_eq!(queue.push(0, Class::Audio, item(3)), Err(Full));
        assert_eq!(queue.push(7, Class::Video, item(3)), Err(Full), "never admitted");
        pop(&mut queue, 0);
        assert_eq!(queue.push(0, Class::Video, item(4)), Ok(()));
        assert_eq!([pop(&mut queue, 0), pop(&mut queue, 0)], [Some(2), Some(4)]);
    }

    #[test]
    fn one_peer_cannot_take_more_than_its_share() {
        let mut queue = SendQueue::new(QUEUE_PER_PEER as usize + 1);
        queue.admit(1);
        let push = |n: &u64| queue.push(0, Class::Video, item(*n)).is_ok();
        let taken = (0..u64::from(QUEUE_PER_PEER) * 2).filter(push).count();
        assert_eq!(taken, QUEUE_PER_PEER as usize);
        assert_eq!(queue.push(1, Class::Video, item(0)), Ok(()));
    }
}
