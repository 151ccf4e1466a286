//! The last reliable messages of a room, for receivers whose channel is not there yet or came anew.
//!
//! Bounds: [`SENDER_BYTES_MAX`] of one sender, [`ROOM_BYTES_MAX`] in all, [`AGE_MS_MAX`]. Half of what one receiver may have waiting,
//! so all of it can be told to one at once. Bytes are shared with what is on its way.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;

use crate::signal::room::{GRACE_MS, MemberKey};

/// Kept of one sender, bytes.
pub const SENDER_BYTES_MAX: usize = 256 * 1024;
/// Kept of a room, bytes.
pub const ROOM_BYTES_MAX: usize = 1024 * 1024;
/// What a message costs beyond its bytes.
const MESSAGE_BYTES: usize = 256;
/// Kept for so long, milliseconds: a client that is away longer than the grace of its session joins anew.
pub const AGE_MS_MAX: u64 = GRACE_MS + 10_000;

/// Who is to receive a message, of those who were there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Audience {
    /// Everybody but its sender.
    Others,
    /// These.
    Only(Vec<MemberKey>),
}

impl Audience {
    /// Whether a member other than the sender belongs to it.
    pub fn has(&self, key: MemberKey) -> bool {
        match self {
            Self::Others => true,
            Self::Only(keys) => keys.contains(&key),
        }
    }
}

/// A message.
pub struct Kept {
    /// Who sent it.
    pub sender: MemberKey,
    /// Its number among the sender's; 0 without one.
    pub sequence: u32,
    /// For whom it was.
    pub audience: Audience,
    /// As sent.
    pub bytes: Bytes,
    at_ms: u64,
}

impl Kept {
    fn cost(&self) -> usize {
        let names = match &self.audience {
            Audience::Others => 0,
            Audience::Only(keys) => keys.len() * size_of::<MemberKey>(),
        };
        self.bytes.len() + names + MESSAGE_BYTES
    }
}

struct OfSender {
    /// Its participant id, by which it is known when it has left.
    sid: String,
    numbers: VecDeque<u64>,
    bytes: usize,
}

/// See the module.
#[derive(Default)]
pub struct History {
    messages: BTreeMap<u64, Kept>,
    senders: HashMap<MemberKey, OfSender>,
    bytes: usize,
    next: u64,
}

impl History {
    /// The number of the next message: all before it were said already.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Keeps a message of a sender, who is known by this participant id.
    pub fn push(
        &mut self,
        now_ms: u64,
        (sender, sid): (MemberKey, &str),
        sequence: u32,
        audience: Audience,
        bytes: Bytes,
    ) {
        let kept = Kept { sender, sequence, audience, bytes, at_ms: now_ms };
        let cost = kept.cost();
        let number = self.next;
        self.next += 1;
        self.messages.insert(number, kept);
        self.bytes += cost;
        let new = || OfSender { sid: sid.to_owned(), numbers: VecDeque::new(), bytes: 0 };
        let of_sender = self.senders.entry(sender).or_insert_with(new);
        of_sender.numbers.push_back(number);
        of_sender.bytes += cost;
        while let Some(of_sender) = self.senders.get(&sender)
            && of_sender.bytes > SENDER_BYTES_MAX
            && let Some(&oldest) = of_sender.numbers.front()
        {
            self.drop_one(oldest);
        }
        while let Some((&oldest, kept)) = self.messages.first_key_value()
            && (self.bytes > ROOM_BYTES_MAX || kept.at_ms + AGE_MS_MAX < now_ms)
        {
            self.drop_one(oldest);
        }
    }

    /// Messages from this number on, oldest first.
    pub fn since(&self, number: u64) -> impl Iterator<Item = (u64, &Kept)> {
        self.messages.range(number..).map(|(number, kept)| (*number, kept))
    }

    /// Whose messages are kept, by participant id; also of those who left.
    pub fn senders(&self) -> HashMap<&str, MemberKey> {
        self.senders.iter().map(|(key, of_sender)| (of_sender.sid.as_str(), *key)).collect()
    }

    /// One message, if it is still there.
    pub fn get(&self, number: u64) -> Option<&Kept> {
        self.messages.get(&number)
    }

    /// What it holds, bytes.
    #[cfg(test)]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    fn drop_one(&mut self, number: u64) {
        let Some(kept) = self.messages.remove(&number) else { return };
        self.bytes -= kept.cost();
        if let Some(of_sender) = self.senders.get_mut(&kept.sender) {
            of_sender.bytes -= kept.cost();
            of_sender.numbers.retain(|other| *other != number);
            if of_sender.numbers.is_empty() {
                self.senders.remove(&kept.sender);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_by_sender_by_room_and_by_age() {
        let mut history = History::default();
        let flooder = MemberKey(1);
        history.push(0, (MemberKey(0), "PA_0"), 1, Audience::Others, Bytes::from_static(b"first"));
        for sequence in 1..=10_000 {
            let bytes = Bytes::from(vec![0; 1_000]);
            history.push(1, (flooder, "PA_1"), sequence, Audience::Others, bytes);
        }
        assert!(history.bytes() <= SENDER_BYTES_MAX + 1_000);
        assert!(history.since(0).any(|(_, kept)| kept.sender == MemberKey(0)), "others' stay");
        assert_eq!(
            history.since(0).last().map(|(number, kept)| (number, kept.sequence)),
            Some((10_000, 10_000))
        );
        for sender in 2..100 {
            let only = Audience::Only(vec![flooder; 50]);
            let sid = format!("PA_{sender}");
            history.push(2, (MemberKey(sender), &sid), 1, only, Bytes::from(vec![0; 60_000]));
        }
        assert!(history.bytes() <= ROOM_BYTES_MAX);
        history.push(3 + AGE_MS_MAX, (flooder, "PA_1"), 1, Audience::Others, Bytes::from_static(b"late"));
        assert_eq!(history.since(0).count(), 1);
        assert_eq!((history.senders(), history.next()), (HashMap::from([("PA_1", flooder)]), 10_100));
    }
}
