//! What waits to be sent to each peer: references to packets, in order, until `flush` writes, numbers and seals them.
//!
//! Place: filled by `router` while datagrams come in, emptied peer by peer in `flush`, so that a peer's packets leave as one
//! GSO send. Promises: all entries are allocated at boot; a peer has at most [`QUEUE_PER_PEER`] packets; O(1) push and pop.
//! Packets of a frame that came together and follow each other share an entry.

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
    /// Packets behind `item` that differ from it by their content numbers, which follow.
    more: u32,
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
        let entry =
            |index| Entry { item: None, more: 0, next: if index == last { NONE } else { index as u32 + 1 } };
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
        if head.count >= QUEUE_PER_PEER {
            return Err(Full);
        }
        let ends = &mut head.ends[class as usize];
        let slot = self.free;
        let entry = self.entries.get_mut(slot as usize).ok_or(Full)?;
        self.free = entry.next;
        *entry = Entry { item: Some(item), more: 0, next: NONE };
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

    /// Puts an item that is [`Role::Media`] and [`Held::Cached`] at the end of a peer's pictures, if the item before it is the same but
    /// for its content number, which is one less. False, and nothing happens, if it is not, or there is no room.
    #[inline]
    pub fn extend(&mut self, index: usize, stream: Key, layer: u8, content: u64, received: Micros) -> bool {
        let Some(head) = self.heads.get_mut(index) else { return false };
        let last = head.ends[Class::Video as usize].last;
        let Some(Entry { item: Some(item), more, .. }) = self.entries.get_mut(last as usize) else {
            return false;
        };
        let follows = item.content + u64::from(*more) + 1 == content
            && item.stream == stream
            && item.received == received
            && item.layer == layer
            && item.role == Role::Media
            && item.held == Held::Cached
            && head.listed
            && head.count < QUEUE_PER_PEER;
        if follows {
            *more += 1;
            head.count += 1;
            self.count += 1;
        }
        follows
    }

    /// The oldest item of one of a peer's queues.
    #[inline]
    #[must_use]
    pub fn first(&self, index: usize, class: Class) -> Option<Item> {
        self.first_run(index, class).map(|(item, _)| item)
    }

    /// The oldest item of one of a peer's queues, and how many items there are from it on that differ by their content numbers,
    /// which follow each other.
    #[inline]
    #[must_use]
    pub fn first_run(&self, index: usize, class: Class) -> Option<(Item, u32)> {
        let head = self.heads.get(index)?;
        let entry = self.entries.get(head.ends[class as usize].first as usize)?;
        Some((entry.item?, entry.more + 1))
    }

    /// Takes the oldest item of one of a peer's queues.
    pub fn pop(&mut self, index: usize, class: Class) -> Option<Item> {
        let item = self.first(index, class)?;
        self.take(index, class, 1);
        Some(item)
    }

    /// Takes some of the oldest items of one of a peer's queues: as many as [`SendQueue::first_run`] says at most.
    pub fn take(&mut self, index: usize, class: Class, count: u32) {
        let Some(head) = self.heads.get_mut(index) else { return };
        let ends = &mut head.ends[class as usize];
        let slot = ends.first;
        let Some(entry) = self.entries.get_mut(slot as usize) else { return };
        let count = count.min(entry.more + 1);
        head.count -= count;
        self.count -= count as usize;
        if count <= entry.more {
            entry.more -= count;
            if let Some(item) = &mut entry.item {
                item.content += u64::from(count);
            }
            return;
        }
        entry.item = None;
        ends.first = entry.next;
        if ends.first == NONE {
            ends.last = NONE;
        }
        entry.next = self.free;
        self.free = slot;
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
    fn packets_that_follow_each_other_share_an_entry_and_leave_one_by_one_or_together() {
        let mut queue = SendQueue::new(4);
        queue.admit(0);
        let switch = Item { role: Role::RunStart, ..item(9) };
        let late = Item { received: Micros(1), ..item(13) };
        for next in [switch, item(10), item(11), item(12), late, item(15)] {
            let Item { stream, layer, content, received, .. } = next;
            if !queue.extend(0, stream, layer, content, received) {
                queue.push(0, Class::Video, next).expect("room");
            }
        }
        assert_eq!((queue.count(), queue.count_of(0)), (6, 6));
        assert_eq!(queue.push(0, Class::Audio, item(1)), Err(Full), "four entries");
        assert_eq!(queue.first_run(0, Class::Video), Some((switch, 1)));
        assert_eq!(pop(&mut queue, 0), Some(9));
        assert_eq!(queue.first_run(0, Class::Video), Some((item(10), 3)));
        assert_eq!(pop(&mut queue, 0), Some(10));
        queue.take(0, Class::Video, 2);
        assert_eq!(queue.first_run(0, Class::Video), Some((late, 1)));
        queue.take(0, Class::Video, 7);
        assert_eq!((pop(&mut queue, 0), pop(&mut queue, 0)), (Some(15), None));
        assert_eq!((queue.count(), queue.count_of(0)), (0, 0));
    }

    #[test]
    fn full_queues_refuse_and_recover() {
        let mut queue = SendQueue::new(2);
        queue.admit(0);
        queue.push(0, Class::Video, item(1)).expect("room");
        queue.push(0, Class::Video, item(5)).expect("room");
        assert_eq!(queue.push(0, Class::Audio, item(3)), Err(Full));
        assert_eq!(queue.push(7, Class::Video, item(3)), Err(Full), "never admitted");
        pop(&mut queue, 0);
        assert_eq!(queue.push(0, Class::Video, item(4)), Ok(()));
        assert_eq!([pop(&mut queue, 0), pop(&mut queue, 0)], [Some(5), Some(4)]);
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
