//! A doorbell: wakes a thread that sleeps on a file descriptor, and costs nothing while that thread is awake.
//!
//! The sleeper arms the bell, looks at its queues once more, and sleeps; a producer pushes, then rings. A ring writes only if the
//! bell is armed, and disarms it. Either the producer sees the arming or the sleeper sees the push: both sides put a
//! sequentially consistent fence between their store and their load.
//! Not here: making the descriptor (an eventfd from `boot`).

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::thread::{self, Thread};
use std::time::Duration;

/// A doorbell on an eventfd (or, in tests, the write end of a pipe).
pub struct Bell {
    file: File,
    armed: AtomicBool,
}

impl Bell {
    /// A bell that is not armed.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        Self { file: File::from(fd), armed: AtomicBool::new(false) }
    }

    /// Wakes the sleeper if it armed the bell. Call after the push it should see.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.armed.load(Ordering::Relaxed) && self.armed.swap(false, Ordering::AcqRel) {
            // A failed write means the counter is full, so the descriptor is readable already.
            let _ = (&self.file).write(&1_u64.to_ne_bytes());
        }
    }

    /// Announces sleep. The sleeper looks at its queues once more after this, then waits on the descriptor.
    pub fn arm(&self) {
        self.armed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Announces being awake: rings cost nothing from now on.
    pub fn disarm(&self) {
        self.armed.store(false, Ordering::Relaxed);
    }

    /// Empties the descriptor and arms the bell again, for a sleeper whose descriptor does not block. Look at the queues after this.
    pub fn clear(&self) {
        let mut count = [0; 8];
        let _ = (&self.file).read(&mut count);
        self.arm();
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The same for a thread that sleeps by parking: an assist thread has no descriptors.
#[derive(Default)]
pub struct ThreadBell {
    thread: OnceLock<Thread>,
    armed: AtomicBool,
}

impl ThreadBell {
    /// The calling thread is the one to wake. Before this there is nobody to wake, and nobody has looked at the queues.
    pub fn attach(&self) {
        let _ = self.thread.set(thread::current());
    }

    /// See [`Bell::ring`].
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.armed.load(Ordering::Relaxed)
            && self.armed.swap(false, Ordering::AcqRel)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Sleeps until a ring or until the time is over, unless `has_work` finds something after the arming.
    pub fn sleep(&self, time: Duration, has_work: impl FnOnce() -> bool) {
        self.armed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !has_work() {
            thread::park_timeout(time);
        }
        self.armed.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::sync::Arc;

    /// A bell and the pipe end on which its rings arrive.
    pub(crate) fn bell_on_a_pipe() -> (Arc<Bell>, std::io::PipeReader) {
        let (reader, writer) = std::io::pipe().expect("the test process has descriptors left");
        (Arc::new(Bell::new(writer.into())), reader)
    }

    #[test]
    fn an_armed_bell_rings_once_and_a_disarmed_one_never() {
        let (bell, mut reader) = bell_on_a_pipe();
        bell.ring();
        bell.arm();
        bell.ring();
        bell.ring();
        bell.arm();
        bell.disarm();
        bell.ring();
        drop(bell);
        let mut rung = Vec::new();
        reader.read_to_end(&mut rung).expect("the write end is closed");
        assert_eq!(rung.len(), 8, "exactly one ring");
    }

    #[test]
    fn no_push_is_missed_by_a_parking_thread() {
        const COUNT: u32 = 20_000;
        let bell = Arc::new(ThreadBell::default());
        let queue = Arc::new(crossbeam::queue::ArrayQueue::new(4));
        let sleeper = std::thread::spawn({
            let (bell, queue) = (bell.clone(), queue.clone());
            move || {
                bell.attach();
                let mut next = 0;
                while next < COUNT {
                    // Ten minutes: a missed ring would hang the test.
                    bell.sleep(Duration::from_secs(600), || !queue.is_empty());
                    while let Some(number) = queue.pop() {
                        assert_eq!(number, next);
                        next += 1;
                    }
                }
            }
        });
        for number in 0..COUNT {
            while queue.push(number).is_err() {
                std::thread::yield_now();
            }
            bell.ring();
        }
        sleeper.join().expect("it saw every number in order");
    }

    #[test]
    fn no_push_is_missed_between_arming_and_sleeping() {
        let (bell, mut reader) = bell_on_a_pipe();
        let queue = Arc::new(crossbeam::queue::ArrayQueue::new(4));
        const COUNT: u32 = 20_000;
        let producer = std::thread::spawn({
            let (bell, queue) = (bell.clone(), queue.clone());
            move || {
                for number in 0..COUNT {
                    while queue.push(number).is_err() {
                        std::thread::yield_now();
                    }
                    bell.ring();
                }
            }
        });
        let mut next = 0;
        while next < COUNT {
            bell.arm();
            if queue.is_empty() {
                let mut rung = [0; 8];
                reader.read_exact(&mut rung).expect("the bell lives");
            } else {
                bell.disarm();
            }
            while let Some(number) = queue.pop() {
                assert_eq!(number, next);
                next += 1;
            }
        }
        producer.join().expect("the producer only pushes and rings");
    }
}
