//! The end of a loop turn: timers, answers, handshake records, then every peer's queue, one peer after the other.
//!
//! Promises: what a full backend does not take stays queued, except feedback that will be said again; then the engine wants to run
//! at once.

use super::peers::Srtp;
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

/// What became of packets that might be usual.
enum Usually {
    /// All of them left.
    Sent,
    /// What is left waits for the pacer.
    Paced(Micros),
    /// The first of what is left is not usual.
    Unusual,
}

impl Engine {
    pub(super) fn run(&mut self, now: Micros, buffers: &mut impl SendBuffers) -> Micros {
        self.run_timers(now, buffers);
        let full = self.send_outbox(buffers).is_err() || self.send_queues(now, buffers).is_err();
        self.tags.finish(&self.peers, buffers);
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
            while let Some((mut item, count)) = self.rooms.queue().first_run(index, class) {
                if class == Class::Video && stream.is_none() {
                    match self.send_usual(now, key, (&item, count), buffers)? {
                        Usually::Sent => continue,
                        Usually::Paced(at) => return Ok(Some(at)),
                        Usually::Unusual => {
                            // Some may have left before the first that is not usual.
                            let Some(first) = self.rooms.queue().first(index, class) else { break };
                            item = first;
                        }
                    }
                }
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

    /// Sends the first video packets that wait for a peer, if they are usual: `item` and the `count - 1` that follow it.
    fn send_usual(
        &mut self,
        now: Micros,
        key: Key,
        (item, count): (&Item, u32),
        buffers: &mut impl SendBuffers,
    ) -> Result<Usually, BuffersFull> {
        #[cfg(test)]
        if self.goes_the_long_way {
            return Ok(Usually::Unusual);
        }
        let peer = self.peers.get(key);
        let Some((srtp, path)) = peer.and_then(|peer| peer.srtp.as_ref().zip(peer.ice.path())) else {
            return Ok(Usually::Unusual);
        };
        self.runs = self.runs.wrapping_add(1);
        let sampled = self.runs.is_multiple_of(REWRITES_PER_SAMPLE);
        let read_cycles = || if sampled { (self.cycles)() } else { 0 };
        let mut begun = read_cycles();
        let mut rewriting = 0;
        let Some((mut outlet, queue)) = self.rooms.outlet(now, key.index(), item) else {
            return Ok(Usually::Unusual);
        };
        let overhead_bytes = srtp.outbound.rtp_overhead_bytes();
        let tags_later = tags_later(srtp, buffers);
        let mut ended = Ok(Usually::Sent);
        let mut again = false;
        for content in item.content..item.content + u64::from(count) {
            if let Some(at) = outlet.paced_until() {
                ended = Ok(Usually::Paced(at));
                break;
            }
            let Some(usual) = outlet.find(content) else {
                ended = Ok(Usually::Unusual);
                break;
            };
            rewriting += read_cycles().wrapping_sub(begun);
            let (mut bytes, mut header_bytes) = (0, 0);
            let room = outlet.datagram_bytes(&usual) + overhead_bytes;
            let fill = |out: &mut [u8]| {
                header_bytes = outlet.write_header(&usual, out);
                let (ssrc, index, payload) = (outlet.ssrc(), usual.index, usual.payload());
                let sealed = if tags_later {
                    srtp.outbound.encrypt_rtp_behind(ssrc, index, header_bytes, payload, out)
                } else {
                    srtp.outbound.seal_rtp_behind(ssrc, index, header_bytes, payload, out)
                };
                bytes = sealed.unwrap_or(0);
                bytes
            };
            let taken =
                if again { buffers.send_again(&path, room, fill) } else { buffers.send(&path, room, fill) };
            again = true;
            begun = read_cycles();
            if taken.is_err() {
                ended = Err(BuffersFull);
                break;
            }
            if bytes == 0 {
                // The long way finds out why it cannot be sealed.
                ended = Ok(Usually::Unusual);
                break;
            }
            if tags_later {
                self.tags.note(&self.peers, buffers, (key, usual.index));
            }
            outlet.note(&usual, bytes);
        }
        let sent = outlet.settle(&mut self.counters);
        queue.take(key.index(), Class::Video, sent);
        #[cfg(test)]
        {
            self.usual_packets += u64::from(sent);
        }
        self.counters.cycles[Stage::Rewrite as usize] += REWRITES_PER_SAMPLE * rewriting;
        ended
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
                let tags_later = !path.is_tcp() && tags_later(srtp, buffers);
                let header_bytes = prepared.header().len();
                let mut sealed = None;
                buffers.send(&path, room, |out| {
                    let (ssrc, index, payload) = (taken.ssrc, taken.index, prepared.payload());
                    let bytes = match out.get_mut(..header_bytes) {
                        None => Err(DropReason::TooLong),
                        Some(room) => {
                            room.copy_from_slice(prepared.header());
                            if tags_later {
                                srtp.outbound.encrypt_rtp_behind(ssrc, index, header_bytes, payload, out)
                            } else {
                                srtp.outbound.seal_rtp_behind(ssrc, index, header_bytes, payload, out)
                            }
                        }
                    };
                    sealed = Some(bytes);
                    bytes.unwrap_or(0)
                })?;
                if tags_later && matches!(sealed, Some(Ok(_))) {
                    self.tags.note(&self.peers, buffers, (key, taken.index));
                }
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

/// Whether packets for this peer are only encrypted while the turn's buffers fill, and tagged with others in the end.
fn tags_later<B: SendBuffers>(srtp: &Srtp, _: &B) -> bool {
    B::KEEPS_DATAGRAMS && srtp.outbound.has_separate_tags()
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
