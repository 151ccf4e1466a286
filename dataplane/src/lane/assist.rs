//! The lane between one core and one assist thread: handshake requests one way, replies the other.
//!
//! A datagram that finds the lane full is lost as on any network, and DTLS sends it again; everything else waits.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use super::{Bell, Outlet, Sent, ThreadBell};
use crate::base::handoff::{AssistReply, AssistRequest};
use crate::base::limits::ASSIST_LANE;

/// Makes a lane. `core` wakes the worker, `assist` the assist thread.
#[must_use]
pub fn assist(core: Arc<Bell>, assist: Arc<ThreadBell>) -> (CoreEnd, AssistEnd) {
    let requests = Arc::new(ArrayQueue::new(ASSIST_LANE));
    let replies = Arc::new(ArrayQueue::new(ASSIST_LANE));
    (
        CoreEnd { requests: Outlet::new(requests.clone(), assist), replies: replies.clone() },
        AssistEnd { requests, replies: Outlet::new(replies, core) },
    )
}

/// The core's end.
pub struct CoreEnd {
    requests: Outlet<AssistRequest, ThreadBell>,
    replies: Arc<ArrayQueue<AssistReply>>,
}

impl CoreEnd {
    /// Sends a request; a datagram may be dropped.
    pub fn request(&mut self, request: AssistRequest) -> Sent {
        if matches!(request, AssistRequest::Datagram { .. }) {
            return self.requests.send_or_drop(request);
        }
        self.requests.send(request);
        Sent::Yes
    }

    /// The next reply.
    pub fn poll_reply(&mut self) -> Option<AssistReply> {
        self.replies.pop()
    }

    /// Whether a reply waits.
    #[must_use]
    pub fn has_reply(&self) -> bool {
        !self.replies.is_empty()
    }

    /// Whether requests wait for room.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.requests.waiting() > 0
    }

    /// Whether the assist thread is gone: nobody will ever answer.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.replies) == 1
    }

    /// Ends a turn: moves on what waits and wakes the assist thread if there is something for it.
    pub fn flush(&mut self) {
        self.requests.flush();
    }
}

/// The assist thread's end.
pub struct AssistEnd {
    requests: Arc<ArrayQueue<AssistRequest>>,
    replies: Outlet<AssistReply, Bell>,
}

impl AssistEnd {
    /// The next request.
    pub fn poll_request(&mut self) -> Option<AssistRequest> {
        self.requests.pop()
    }

    /// Whether a request waits.
    #[must_use]
    pub fn has_request(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Sends a reply; a datagram may be dropped.
    pub fn reply(&mut self, reply: AssistReply) -> Sent {
        if matches!(reply, AssistReply::Datagram { .. }) {
            return self.replies.send_or_drop(reply);
        }
        self.replies.send(reply);
        Sent::Yes
    }

    /// Whether replies wait for room: take no more requests until they have moved on.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.replies.waiting() > 0
    }

    /// Ends a turn: moves on what waits and wakes the core if there is something for it.
    pub fn flush(&mut self) {
        self.replies.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::super::bell::tests::bell_on_a_pipe;
    use super::*;
    use crate::base::ids::PeerId;

    #[test]
    fn a_full_lane_drops_datagrams_and_keeps_the_rest() {
        let (core_bell, _core_reader) = bell_on_a_pipe();
        let (mut core, mut thread) = assist(core_bell, Arc::default());
        let peer = PeerId(1);
        let datagram = || AssistRequest::Datagram { peer, bytes: Box::new([22]) };
        for _ in 0..ASSIST_LANE {
            assert_eq!(core.request(datagram()), Sent::Yes);
        }
        assert_eq!(core.request(datagram()), Sent::Dropped);
        assert_eq!(core.request(AssistRequest::Close { peer }), Sent::Yes);
        assert_eq!(
            core.request(datagram()),
            Sent::Dropped,
            "the close waits, so the datagram may not pass it"
        );
        let mut datagrams = 0;
        let mut closed = false;
        while !closed {
            core.flush();
            match thread.poll_request() {
                Some(AssistRequest::Datagram { .. }) => datagrams += 1,
                Some(AssistRequest::Close { .. }) => closed = true,
                _ => panic!("the close is lost"),
            }
        }
        assert_eq!(datagrams, ASSIST_LANE);
        assert!(!core.is_abandoned());
        drop(thread);
        assert!(core.is_abandoned());
    }
}
