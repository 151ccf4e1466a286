//! The sans-IO engine of one core: many `handle_*` in a loop turn, then one `flush`.
//!
//! Place: driven by `worker` (or by a test with a virtual clock), between the I/O backend and the rooms.
//! Promises: no clock, socket, thread, lock or log; time, bytes and randomness are arguments, so the same inputs give the same
//! outputs. Whatever the network sends is answered, forwarded or dropped with a reason, and never panics. Nothing on the packet
//! path allocates after a peer's keys are installed; handshakes and commands may. Only authenticated STUN is answered.
//! Not here: sockets (`io`), handshakes (`assist`), rules about meetings (the control plane).

mod commands;
mod demux;
mod flush;
mod outbox;
mod peers;
mod roam;
mod tags;
#[cfg(test)]
mod tests;
mod timers;
mod upkeep;

use std::collections::VecDeque;

use crate::base::counters::Counters;
use crate::base::drops::DropReason;
use crate::base::handoff::{AssistReply, AssistRequest};
use crate::base::ids::CoreId;
use crate::base::limits::{
    ASSIST_LANE, DATAGRAM_BYTES_MAX, QUALITY_INTERVAL_US, REPORT_INTERVAL_US, ROAMS_PER_SECOND,
    STUN_FAILURES_PER_SECOND,
};
use crate::base::net::{Path, SendBuffers};
use crate::base::rate::RateLimit;
use crate::base::slab::Key;
use crate::base::time::Micros;
use crate::command::{Command, PeerEnd, Report};
pub use demux::core_of_check;

pub use crate::room::Rules;
use crate::room::release::Scratch;
use crate::room::reports::ReportQueue;
use crate::room::{RoomSizes, Rooms, Turn};
use crate::session::reports::NTP_UNIX_OFFSET_US;
use crate::session::srtp::{Inbound, Outbound};
use outbox::Outbox;
use peers::{Peers, Srtp};
use tags::Tags;
use timers::Wheel;

/// What an engine is built from.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// The core it runs on; local ufrags name it.
    pub core: CoreId,
    /// The kernels it seals and opens with.
    pub suite: kernels::Suite,
    /// Seed of everything random that is not a secret.
    pub seed: u64,
    /// What the operator decided about all meetings.
    pub rules: Rules,
}

/// All state of one core.
pub struct Engine {
    config: EngineConfig,
    peers: Peers,
    rooms: Rooms,
    outbox: Outbox,
    peer_timers: Wheel,
    speaker_timers: Wheel,
    /// Peers whose pacer holds something back.
    paced: Wheel,
    assist: VecDeque<AssistRequest>,
    reports: ReportQueue,
    counters: Counters,
    /// Bounds the work that STUN with a wrong MESSAGE-INTEGRITY can cause.
    stun_failures: RateLimit,
    /// Bounds the search for peers that moved.
    roams: RateLimit,
    /// Early packets of all peers.
    early_count: usize,
    state: State,
    /// Reads the cycle counter of whoever drives the engine.
    cycles: fn() -> u64,
    /// Runs of usual packets, to measure some of them.
    runs: u64,
    /// For tests that compare both ways out: whether nothing is usual, and how many packets were.
    #[cfg(test)]
    goes_the_long_way: bool,
    #[cfg(test)]
    usual_packets: u64,
    scratch: Scratch,
    tags: Tags,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Running,
    /// `Shutdown` was handled; the next flush is the last.
    Stopping,
    Stopped,
}

/// Sizes of all tables of an engine, to prove that nothing is left behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EngineSizes {
    /// Peers.
    pub peers: usize,
    /// Known paths.
    pub paths: usize,
    /// Datagrams waiting in the outbox.
    pub outbox: usize,
    /// Packets waiting for keys.
    pub early: usize,
    /// Tables of the rooms.
    pub rooms: RoomSizes,
}

impl Engine {
    /// An engine without peers. All packet memory is allocated here.
    #[must_use]
    pub fn new(config: EngineConfig) -> Self {
        Self {
            peers: Peers::new(config.seed),
            rooms: Rooms::new(config.seed, NTP_UNIX_OFFSET_US, config.rules),
            outbox: Outbox::default(),
            peer_timers: Wheel::default(),
            speaker_timers: Wheel::default(),
            paced: Wheel::default(),
            assist: VecDeque::with_capacity(256),
            reports: ReportQueue::default(),
            counters: Counters::default(),
            stun_failures: RateLimit::new(STUN_FAILURES_PER_SECOND, STUN_FAILURES_PER_SECOND / 10),
            roams: RateLimit::new(ROAMS_PER_SECOND, ROAMS_PER_SECOND / 5),
            early_count: 0,
            state: State::Running,
            cycles: || 0,
            runs: 0,
            #[cfg(test)]
            goes_the_long_way: false,
            #[cfg(test)]
            usual_packets: 0,
            scratch: Scratch::default(),
            tags: Tags::default(),
            config,
        }
    }

    /// Sets the wall clock of sender reports: NTP time minus [`Micros`], microseconds. Without it the origin of [`Micros`] counts
    /// as 1970, which receivers cannot tell from a clock that is wrong, and need not.
    pub const fn set_wall_clock(&mut self, ntp_offset_us: u64) {
        self.rooms.set_wall_clock(ntp_offset_us);
    }

    /// Has the engine book under [`Stage::Route`](crate::base::counters::Stage) and `Rewrite` what it spends there, of the time that
    /// its caller measures around `handle_datagram` and `flush`. Without a reader, which a sans-IO engine does not have, both are zero.
    pub const fn set_cycles(&mut self, read: fn() -> u64) {
        self.cycles = read;
    }

    /// Takes one command. May allocate: commands are not the packet path.
    pub fn handle_command(&mut self, now: Micros, command: Command) {
        self.command(now, command);
    }

    /// Takes one received datagram. The bytes are opened in place.
    pub fn handle_datagram(&mut self, now: Micros, path: Path, bytes: &mut [u8]) {
        self.counters.packets_received += 1;
        self.counters.bytes_received += bytes.len() as u64;
        if let Err(reason) = self.demux(now, path, bytes) {
            self.counters.drop(reason);
        }
    }

    /// Takes one reply of an assist thread.
    pub fn handle_assist(&mut self, now: Micros, reply: AssistReply) {
        match reply {
            AssistReply::Datagram { peer, bytes } => {
                let Some(key) = self.peers.key_of(peer) else { return };
                // No backend would ever take it, and what follows would wait behind it.
                if bytes.len() > DATAGRAM_BYTES_MAX {
                    self.counters.drop(DropReason::TooLong);
                } else if !self.outbox.push_record(key, bytes) {
                    self.counters.drop(DropReason::QueueFull);
                }
            }
            AssistReply::Keys { peer, version, keys } => {
                let Some(key) = self.peers.key_of(peer) else { return };
                let Some(found) = self.peers.get_mut(key) else { return };
                // Keys come once per association; others would restart the packet indices.
                if found.srtp.is_some() {
                    return;
                }
                let suite = self.config.suite;
                found.srtp = Some(Box::new(Srtp {
                    inbound: Inbound::new(suite, keys.profile, &keys.remote),
                    outbound: Outbound::new(suite, keys.profile, &keys.local),
                }));
                found.due.reports = now.after_us(REPORT_INTERVAL_US);
                found.due.quality = now.after_us(QUALITY_INTERVAL_US);
                let ready = found.ice.path().is_some();
                let early = found.early.take();
                self.counters.peers += 1;
                self.reports.state(Report::PeerReady { peer, dtls: version, profile: keys.profile });
                self.rooms.set_ready(now, key.index(), ready);
                self.early_count -= early.len();
                for slot in early {
                    self.replay(now, key, slot);
                }
                self.arm(key);
            }
            AssistReply::ChannelOpen { peer, channel, label, ours } => {
                if self.peers.key_of(peer).is_some() {
                    self.reports.state(Report::ChannelOpen { peer, channel, label, ours });
                }
            }
            AssistReply::ChannelClosed { peer, channel } => {
                if self.peers.key_of(peer).is_some() {
                    self.reports.state(Report::ChannelClosed { peer, channel });
                }
            }
            AssistReply::ChannelsEnded { peer, end } => {
                if self.peers.key_of(peer).is_some() {
                    self.reports.state(Report::ChannelsEnded { peer, end });
                }
            }
            AssistReply::ChannelDrops(drops) => {
                for (reason, count) in [
                    (DropReason::ChannelThrottled, drops.throttled),
                    (DropReason::ChannelFull, drops.full),
                    (DropReason::ChannelClosed, drops.closed),
                    (DropReason::ChannelRefused, drops.refused),
                ] {
                    self.counters.dropped[reason as usize] += u64::from(count);
                }
            }
            AssistReply::Message { peer, channel, bytes } => {
                // Never lost: a peer may have a bounded number of them unanswered.
                if self.peers.key_of(peer).is_some() {
                    self.reports.state(Report::Message { peer, channel, bytes });
                }
            }
            AssistReply::Closed { peer, reason } => {
                if let Some(key) = self.peers.key_of(peer) {
                    self.end_peer(key, PeerEnd::Assist(reason));
                }
            }
        }
    }

    /// Runs what is due at `now`, seals and hands over everything queued; returns when the engine next wants to run.
    #[must_use = "the caller sleeps until this time"]
    pub fn flush(&mut self, now: Micros, buffers: &mut impl SendBuffers) -> Micros {
        self.run(now, buffers)
    }

    /// The next request to the assist threads.
    pub fn poll_assist(&mut self) -> Option<AssistRequest> {
        self.assist.pop_front()
    }

    /// The next report to the control plane.
    pub fn poll_report(&mut self) -> Option<Report> {
        self.reports.poll()
    }

    /// What this core counted.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// For the worker to count what the engine cannot see: sends, cycles, kernel drops.
    pub const fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// Whether `Shutdown` was handled and the last datagrams were flushed.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.state == State::Stopped
    }

    /// Sizes of all tables.
    #[must_use]
    pub fn sizes(&self) -> EngineSizes {
        let (peers, paths) = self.peers.sizes();
        EngineSizes {
            peers,
            paths,
            outbox: self.outbox.count(),
            early: self.early_count,
            rooms: self.rooms.sizes(),
        }
    }

    /// Queues a request that must not be lost: state of the association.
    fn request(&mut self, request: AssistRequest) {
        self.assist.push_back(request);
    }

    /// Queues a received record; the peer repeats what is dropped.
    fn request_datagram(&mut self, request: AssistRequest) -> Result<(), DropReason> {
        if self.assist.len() >= ASSIST_LANE {
            return Err(DropReason::AssistFull);
        }
        self.assist.push_back(request);
        Ok(())
    }

    /// Sets a peer's timer to the first of its deadlines.
    fn arm(&mut self, key: Key) {
        if let Some(peer) = self.peers.get(key) {
            self.peer_timers.arm(key.index(), peer.due.first().min(peer.ends()));
        }
    }

    /// Rooms, and what their calls share.
    fn rooms(&mut self, now: Micros) -> (&mut Rooms, Turn<'_>) {
        let turn = Turn { now, counters: &mut self.counters, reports: &mut self.reports };
        (&mut self.rooms, turn)
    }
}
