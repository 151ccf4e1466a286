//! Datagrams that are ready as they are and wait for `flush`: STUN answers and handshake records.

use std::collections::VecDeque;

use crate::base::limits::{ASSIST_LANE, STUN_ANSWERS_PER_TURN};
use crate::base::net::Path;
use crate::base::slab::Key;
use crate::session::ice::ANSWER_BYTES_MAX;

/// A STUN answer and where it goes: the address the check came from.
#[derive(Clone, Copy)]
pub struct Answer {
    /// Where to.
    pub path: Path,
    /// The answer, in a buffer of the largest size.
    pub bytes: [u8; ANSWER_BYTES_MAX],
    /// How many bytes count.
    pub length: usize,
    /// The path is its peer's from now on.
    pub keeps: bool,
}

/// What waits.
pub struct Outbox {
    answers: VecDeque<Answer>,
    records: VecDeque<(Key, Box<[u8]>)>,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { answers: VecDeque::with_capacity(STUN_ANSWERS_PER_TURN), records: VecDeque::with_capacity(64) }
    }
}

impl Outbox {
    /// Queues an answer; false when there are too many.
    pub fn push_answer(&mut self, answer: Answer) -> bool {
        let room = self.answers.len() < STUN_ANSWERS_PER_TURN;
        if room {
            self.answers.push_back(answer);
        }
        room
    }

    /// Queues a handshake record for a peer; false when there are too many.
    pub fn push_record(&mut self, peer: Key, bytes: Box<[u8]>) -> bool {
        let room = self.records.len() < ASSIST_LANE;
        if room {
            self.records.push_back((peer, bytes));
        }
        room
    }

    /// The oldest answer.
    pub fn answer(&self) -> Option<&Answer> {
        self.answers.front()
    }

    /// The oldest answer has left.
    pub fn answer_left(&mut self) {
        self.answers.pop_front();
    }

    /// The oldest record.
    pub fn record(&self) -> Option<&(Key, Box<[u8]>)> {
        self.records.front()
    }

    /// The oldest record has left.
    pub fn record_left(&mut self) {
        self.records.pop_front();
    }

    /// How much waits.
    pub fn count(&self) -> usize {
        self.answers.len() + self.records.len()
    }
}
