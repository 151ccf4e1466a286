//! The loop of an assist thread: lanes in, lanes out, and a sleep until the next timer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Assist, Identity};
use crate::base::limits::ASSIST_REQUESTS_PER_TURN;
use crate::lane::{AssistEnd, Sent, ThreadBell};

/// Longest sleep; everything that matters wakes the thread earlier.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Sleep while a core has no room for replies: it does not ring when it makes some.
const SLEEP_BLOCKED: Duration = Duration::from_millis(1);

/// Tells assist threads to end.
#[derive(Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From now on the threads end at their next turn; ring their bells.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

fn clock() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "the assist thread reads the clock for the sans-IO parts")]
    Instant::now()
}

/// Serves `lanes`, one per core, until `stop`. Runs on a thread of its own.
pub fn run(identity: &Identity, lanes: Vec<AssistEnd>, bell: &ThreadBell, stop: &Stop) {
    bell.attach();
    let mut cores: Vec<(AssistEnd, Assist)> =
        lanes.into_iter().map(|lane| (lane, Assist::new(identity.clone()))).collect();
    while !stop.is_set() {
        let mut sleep = SLEEP_MAX;
        for (lane, assist) in &mut cores {
            serve(lane, assist);
            if lane.is_blocked() {
                sleep = sleep.min(SLEEP_BLOCKED);
            } else if let Some(due) = assist.poll_timeout() {
                sleep = sleep.min(due.saturating_duration_since(clock()));
            }
        }
        bell.sleep(sleep, || {
            stop.is_set() || cores.iter().any(|(lane, _)| lane.has_request() && !lane.is_blocked())
        });
    }
    // Stopping is a close like any other: what was asked for before the stop still goes out.
    for (lane, assist) in &mut cores {
        serve(lane, assist);
    }
}

/// One turn for one core. While replies wait for room nothing more is taken: the lane fills, and the core drops datagrams.
fn serve(lane: &mut AssistEnd, assist: &mut Assist) {
    lane.flush();
    for _ in 0..ASSIST_REQUESTS_PER_TURN {
        if lane.is_blocked() {
            return;
        }
        let Some(request) = lane.poll_request() else { break };
        assist.handle_request(clock(), request);
        forward(lane, assist);
    }
    assist.handle_timeout(clock());
    forward(lane, assist);
}

fn forward(lane: &mut AssistEnd, assist: &mut Assist) {
    while !lane.is_blocked() {
        let Some(reply) = assist.poll_reply(clock()) else { break };
        // A dropped datagram is a lost datagram: DTLS sends it again.
        let (Sent::Yes | Sent::Dropped) = lane.reply(reply);
    }
    lane.flush();
}
