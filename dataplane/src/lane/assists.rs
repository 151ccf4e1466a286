//! A core's lanes to all assist threads: every peer of a meeting is with the same thread.
//!
//! Who says something and who receives it must meet on one thread: a slow receiver's queue is what slows its senders down
//! (`assist`). Which thread a meeting is with follows from its number alone, so that cores with few meetings each share the threads.
//! Cost: one look-up per request; memory is taken when a peer opens and given back when it closes.

use super::{AssistCoreEnd, Sent};
use crate::base::handoff::{AssistReply, AssistRequest};
use crate::base::ids::{MeetingId, PeerId};
use crate::base::table::{SeededState, Table};

/// See the module.
pub struct AssistLanes {
    lanes: Vec<AssistCoreEnd>,
    lane_of: Table<PeerId, usize>,
}

impl AssistLanes {
    /// One lane per thread.
    ///
    /// # Panics
    /// Without any: `boot` makes at least one.
    #[must_use]
    pub fn new(lanes: Vec<AssistCoreEnd>) -> Self {
        assert!(!lanes.is_empty(), "boot starts at least one assist thread");
        Self { lanes, lane_of: Table::with_hasher(SeededState::new(0)) }
    }

    /// Sends a request to the thread of its peer's meeting; a datagram may be dropped.
    pub fn request(&mut self, request: AssistRequest) -> Sent {
        let peer = request.peer();
        let lane = match &request {
            AssistRequest::Open { meeting, .. } => {
                let lane = self.lane_of_meeting(*meeting);
                self.lane_of.insert(peer, lane);
                lane
            }
            AssistRequest::Close { .. } => self.lane_of.remove(&peer).unwrap_or(0),
            _ => self.lane_of.get(&peer).copied().unwrap_or(0),
        };
        // What no thread knows, any thread ignores.
        self.lanes[lane].request(request)
    }

    /// The next reply of the lane at `index`.
    pub fn poll_reply(&mut self, index: usize) -> Option<AssistReply> {
        self.lanes.get_mut(index)?.poll_reply()
    }

    /// Ends a turn: see [`AssistCoreEnd::flush`].
    pub fn flush(&mut self) {
        self.lanes.iter_mut().for_each(AssistCoreEnd::flush);
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.lanes.len()
    }

    /// Whether a reply waits on any.
    #[must_use]
    pub fn has_reply(&self) -> bool {
        self.lanes.iter().any(AssistCoreEnd::has_reply)
    }

    /// Whether requests wait for room on any.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.lanes.iter().any(AssistCoreEnd::is_blocked)
    }

    /// Whether a thread is gone: nobody will ever answer its peers.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.lanes.iter().any(AssistCoreEnd::is_abandoned)
    }

    const fn lane_of_meeting(&self, meeting: MeetingId) -> usize {
        // The low bits of a number that somebody chose may all be even.
        let folded = (meeting.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
        folded % self.lanes.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::base::handoff::{DtlsVersion, Fingerprint};
    use crate::lane::bell::tests::bell_on_a_pipe;
    use crate::lane::{AssistEnd, assist};

    const THREADS: usize = 4;

    fn lanes() -> (AssistLanes, Vec<AssistEnd>) {
        let (cores, ends) = (0..THREADS).map(|_| assist(bell_on_a_pipe().0, Arc::default())).unzip();
        (AssistLanes::new(cores), ends)
    }

    fn open(peer: u32, meeting: u64) -> AssistRequest {
        let meeting = MeetingId(meeting);
        AssistRequest::Open { peer: PeerId(peer), meeting, version: DtlsVersion::V12 }
    }

    #[test]
    fn all_peers_of_a_meeting_are_with_one_thread_and_meetings_share_the_threads() {
        let (mut lanes, mut ends) = lanes();
        for meeting in 0..64_u64 {
            for peer in 0..8 {
                let number = meeting as u32 * 8 + peer;
                let peer = PeerId(number);
                let bytes = Bytes::from_static(b"hello");
                for request in [
                    open(number, 2 * meeting),
                    AssistRequest::Expect { peer, fingerprint: Fingerprint([7; 32]) },
                    AssistRequest::Datagram { peer, bytes: Box::new([22]) },
                    AssistRequest::OpenChannel { peer, label: "x", reliable: true },
                    AssistRequest::SendMessage { peer, channel: 1, bytes, answers: true },
                    AssistRequest::MessagePassed { peer, bytes: 5, copies: 1 },
                    AssistRequest::Close { peer },
                ] {
                    assert_eq!(lanes.request(request), Sent::Yes);
                }
            }
        }
        lanes.flush();
        let mut threads_of = std::collections::BTreeMap::<u32, Vec<usize>>::new();
        let mut requests = [0; THREADS];
        for (thread, end) in ends.iter_mut().enumerate() {
            while let Some(request) = end.poll_request() {
                threads_of.entry(request.peer().0 / 8).or_default().push(thread);
                requests[thread] += 1;
            }
        }
        for (meeting, threads) in threads_of {
            assert_eq!(threads, vec![threads[0]; 8 * 7], "meeting {meeting}");
        }
        assert!(requests.iter().all(|count| *count >= 8 * 8 * 7), "{requests:?}");
        assert!(lanes.lane_of.is_empty(), "nothing is kept of peers that closed");
    }

    #[test]
    fn a_request_about_a_peer_that_never_opened_is_some_threads_to_ignore() {
        let (mut lanes, mut ends) = lanes();
        assert_eq!(lanes.request(AssistRequest::Close { peer: PeerId(1) }), Sent::Yes);
        assert!(ends.iter_mut().any(|end| end.poll_request().is_some()));
    }
}
