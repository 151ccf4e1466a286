//! The end of a loop turn: timers, answers, handshake records, then every peer's queue, one peer after the other.
//!
//! Promises: what a full backend does not take stays queued, except feedback that will be said again; then the engine wants to run
//! at once.

use super::{Engine, State};
use crate::base::counters::Stage;
use crate::base::drops::DropReason;
use crate::base::limits::{PACED_US_MAX, TCP_LATE_US, TCP_RETRY_US};
use crate::base::net::{BuffersFull, Path, SendBuffers};
use crate::base::slab::Key;
use crate::base::time::Micros;
use crate::command::Report;
use crate::room::Turn;
use crate::room::queue::{Class, Item};

/// The cycle counter costs ~25 cycles to read and a header ~200 to write: one in this many is measured and counts for all.
const REWRITES_PER_SAMPLE: u64 = 16;

impl Engine {
    pub(super) fn run(&mut self, now: Micros, buffers: &mut impl SendBuffers) -> Micros {
        self.run_timers(now, buffers);
        let full = self.send_outbox(buffers).is_err() || self.send_queues(now, buffers).is_err();
        self.counters.keyframes_replayed = self.rooms.keyframes_replayed();
        if self.state == State::Stopping {
            self.state = State::Stopped;
            self.reports.state(Report::Stopped);
        }
        if full {
            now
        } else {
            self.peer_timers.next().min(self.speaker_timers.next()).min(self.paced.next())
        }
    }

    fn send_outbox(&mut self, buffers: &mut impl SendBuffers) -> Result<(), BuffersFull> {
        while let Some(answer) = self.outbox.answer() {
            if answer.keeps && answer.path.is_tcp() {
                buffers.keep(&answer.path);
            }
            let bytes = &answer.bytes[..answer.length];
            buffers.send(&answer.path, bytes.len(), |out| copy(bytes, out))?;
            self.outbox.answer_left();
        }
        while let Some((key, bytes)) = self.outbox.record() {
            match self.peers.get(*key).and_then(|peer| peer.ice.path()) {
                Some(path) => buffers.send(&path, bytes.len(), |out| copy(bytes, out))?,
                None => self.counters.drop(DropReason::NoPath),
            }
            self.outbox.record_left();
        }
        while let Some(path) = self.peers.poll_released() {
            buffers.close(&path);
        }
        Ok(())
    }

    fn send_queues(&mut self, now: Micros, buffers: &mut impl SendBuffers) -> Result<(), BuffersFull> {
        while let Some(index) = self.paced.pop_due(now) {
            // A probe goes on even if no media waits.
            if self.rooms.is_probing(index) {
                self.rooms.queue().list(index);
            } else {
                self.rooms.queue().resume(index);
            }
        }
        while let Some(index) = self.rooms.queue().waiting() {
            let resumes = match self.peers.key_at(index) {
                Some(key) => self.send_queue(now, key, buffers)?,
                None => {
                    self.rooms.drop_queue(index);
                    None
                }
            };
            self.rooms.queue().done();
            match resumes {
                Some(at) => self.paced.arm_by(index, at),
                None => self.paced.disarm(index),
            }
        }
        Ok(())
    }

    /// Everything that waits for one peer and may leave, consecutively, so that equal sizes leave as one GSO send. Answers when its
    /// pacer lets more through, if it holds anything back.
    fn send_queue(
        &mut self,
        now: Micros,
        key: Key,
        buffers: &mut impl SendBuffers,
    ) -> Result<Option<Micros>, BuffersFull> {
        let index = key.index();
        let stream = self.stream_path(key);
        if let Some(path) = stream {
            self.rooms.watch_connection(now, index, buffers.is_congested(&path));
        }
        let mut resumes = None;
        for class in Class::ALL {
            while let Some(item) = self.rooms.queue().first(index, class) {
                if class != Class::Audio
                    && let Some(at) = self.rooms.paced_until(now, index)
                {
                    return Ok(Some(at));
                }
                let congested =
                    class != Class::Audio && stream.is_some_and(|path| buffers.is_congested(&path));
                let (patience_us, late) = if congested {
                    (TCP_LATE_US, DropReason::TcpLate)
                } else {
                    (PACED_US_MAX, DropReason::PacedTooLong)
                };
                if class == Class::Video && self.rooms.is_expired(now, &item, patience_us) {
                    self.counters.drop(late);
                } else if congested {
                    // Pictures behind a repair that waits grow old all the same.
                    resumes = Some(now.after_us(TCP_RETRY_US));
                    break;
                } else {
                    self.send_item(now, key, &item, buffers)?;
                }
                self.rooms.queue().pop(index, class);
                self.rooms.drop_item(&item);
            }
        }
        if resumes.is_some() {
            return Ok(resumes);
        }
        if stream.is_some_and(|path| buffers.is_congested(&path)) {
            return Ok(self.rooms.is_probing(index).then(|| now.after_us(TCP_RETRY_US)));
        }
        while let Some(item) = self.rooms.padding(now, index) {
            self.send_item(now, key, &item, buffers)?;
        }
        // A probe that is not done goes on as soon as its rate allows.
        Ok(self.rooms.paced_until(now, index).filter(|_| self.rooms.is_probing(index)))
    }

    /// The peer's path if it is a TCP connection: it has a queue of its own, and pictures wait for it while voices do not.
    fn stream_path(&self, key: Key) -> Option<Path> {
        self.peers.get(key).and_then(|peer| peer.ice.path()).filter(Path::is_tcp)
    }

    /// Writes, seals and hands over one packet; one that cannot be sent is counted.
    fn send_item(
        &mut self,
        now: Micros,
        key: Key,
        item: &Item,
        buffers: &mut impl SendBuffers,
    ) -> Result<(), BuffersFull> {
        let peer = self.peers.get(key);
        let ready = peer.and_then(|peer| peer.srtp.as_ref().zip(peer.ice.path()));
        let mut turn = Turn { now, counters: &mut self.counters, reports: &mut self.reports };
        let Some((srtp, path)) = ready else {
            self.rooms.give_up(item, DropReason::NoPath);
            turn.counters.drop(DropReason::NoPath);
            return Ok(());
        };
        let sampled = turn.counters.packets_forwarded.is_multiple_of(REWRITES_PER_SAMPLE);
        let begun = if sampled { (self.cycles)() } else { 0 };
        let outcome = match self.rooms.prepare(now, item, &mut self.scratch) {
            Ok(prepared) => {
                if sampled {
                    let cycles = (self.cycles)().wrapping_sub(begun);
                    turn.counters.cycles[Stage::Rewrite as usize] += REWRITES_PER_SAMPLE * cycles;
                }
                let taken = prepared.taken;
                let room = prepared.bytes() + srtp.outbound.rtp_overhead_bytes();
                let mut sealed = None;
                buffers.send(&path, room, |out| {
                    let (header, payload) = (prepared.header(), prepared.payload());
                    let bytes = srtp.outbound.seal_rtp(taken.ssrc, taken.index, header, payload, out);
                    sealed = Some(bytes);
                    bytes.unwrap_or(0)
                })?;
                match sealed {
                    Some(bytes) => bytes.map(|bytes| (taken, bytes)),
                    // Its connection dropped and counted it.
                    None => {
                        self.rooms.lose(now, item, &taken, room);
                        return Ok(());
                    }
                }
            }
            Err(reason) => Err(reason),
        };
        match outcome {
            Ok((taken, bytes)) => self.rooms.commit(&mut turn, item, &taken, bytes),
            Err(reason) => {
                self.rooms.give_up(item, reason);
                turn.counters.drop(reason);
            }
        }
        Ok(())
    }
}

fn copy(bytes: &[u8], out: &mut [u8]) -> usize {
    match out.get_mut(..bytes.len()) {
        Some(out) => {
            out.copy_from_slice(bytes);
            bytes.len()
        }
        None => 0,
    }
}
