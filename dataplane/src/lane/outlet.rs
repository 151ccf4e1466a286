//! The sending end of a bounded queue, with a place to wait for what must not be lost.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use super::{Bell, ThreadBell};

/// What wakes the reader of a lane.
pub trait Ring {
    /// Wakes it if it sleeps.
    fn ring(&self);
}

impl Ring for Bell {
    fn ring(&self) {
        Self::ring(self);
    }
}

impl Ring for ThreadBell {
    fn ring(&self) {
        Self::ring(self);
    }
}

/// What became of an item that may be dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "a drop is counted"]
pub enum Sent {
    /// It is on its way.
    Yes,
    /// The lane is full; it is gone.
    Dropped,
}

/// The sending end of a lane.
pub struct Outlet<T, B> {
    queue: Arc<ArrayQueue<T>>,
    bell: Arc<B>,
    waiting: VecDeque<T>,
    unrung: bool,
}

impl<T, B: Ring> Outlet<T, B> {
    /// An outlet into `queue`, whose reader sleeps on `bell`.
    #[must_use]
    pub fn new(queue: Arc<ArrayQueue<T>>, bell: Arc<B>) -> Self {
        Self { queue, bell, waiting: VecDeque::new(), unrung: false }
    }

    /// Sends what must not be lost: it waits here, in order, while the lane is full.
    pub fn send(&mut self, item: T) {
        if !self.waiting.is_empty() {
            self.waiting.push_back(item);
            return;
        }
        match self.queue.push(item) {
            Ok(()) => self.unrung = true,
            Err(item) => self.waiting.push_back(item),
        }
    }

    /// Sends what may be lost.
    pub fn send_or_drop(&mut self, item: T) -> Sent {
        if !self.waiting.is_empty() || self.queue.push(item).is_err() {
            return Sent::Dropped;
        }
        self.unrung = true;
        Sent::Yes
    }

    /// Moves on what waits, as far as there is room, and rings once for all that was sent since the last flush.
    pub fn flush(&mut self) {
        while let Some(item) = self.waiting.pop_front() {
            if let Err(item) = self.queue.push(item) {
                self.waiting.push_front(item);
                break;
            }
            self.unrung = true;
        }
        if std::mem::take(&mut self.unrung) {
            self.bell.ring();
        }
    }

    /// How many items wait for room.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::bell::tests::bell_on_a_pipe;
    use super::*;

    #[test]
    fn what_must_not_be_lost_waits_in_order_and_the_rest_is_dropped() {
        let (bell, _reader) = bell_on_a_pipe();
        let queue = Arc::new(ArrayQueue::new(2));
        let mut outlet = Outlet::new(queue.clone(), bell);
        assert_eq!(outlet.send_or_drop(0), Sent::Yes);
        for number in 1..5 {
            outlet.send(number);
        }
        assert_eq!(outlet.send_or_drop(99), Sent::Dropped);
        let mut seen = Vec::new();
        while outlet.waiting() > 0 || !queue.is_empty() {
            outlet.flush();
            seen.extend(queue.pop());
        }
        assert_eq!(seen, [0, 1, 2, 3, 4]);
    }
}
