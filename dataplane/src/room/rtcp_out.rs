//! What we tell peers by RTCP: gaps and keyframe requests to publishers, receiver reports to them, sender reports to subscribers.
//!
//! Place: the engine calls these when a peer's timer fires or its room marked it urgent; compounds go to a sink that seals them.
//! Promises: keyframe requests are throttled per layer; a compound is at most [`COMPOUND_BYTES_MAX`]; no allocation.

use super::track::{Layer, Track};
use super::{Rooms, Turn};
use crate::base::ids::{Seq, Ssrc};
use crate::base::limits::NACK_INTERVAL_US;
use crate::base::media::MediaKind;
use crate::base::slab::Key;
use crate::base::time::Micros;
use crate::command::{Report, SPEAKERS_MAX, SpeakerLevel};
use crate::session::reports::ClockAnchor;
use crate::session::twcc::TwccRecorder;
use crate::wire::NoSpace;
use crate::wire::rtcp::{ReportBlock, RtcpWriter};

/// Largest compound we build: fits every path and, sealed, the smallest tunnel.
pub const COMPOUND_BYTES_MAX: usize = 1_200;
/// Sequence numbers in one NACK.
const NACKS_PER_PACKET: usize = 128;
/// Layers that one receiver report speaks of.
const BLOCKS_PER_REPORT: usize = 31;

/// Takes finished compounds: seals and sends them.
pub trait CompoundSink {
    /// One compound, in plaintext.
    fn compound(&mut self, bytes: &[u8]);
}

/// Collects packets into compounds.
pub struct Compounds<'s, S: CompoundSink> {
    bytes: [u8; COMPOUND_BYTES_MAX],
    used: usize,
    sink: &'s mut S,
}

impl<'s, S: CompoundSink> Compounds<'s, S> {
    /// Compounds for one peer.
    pub const fn new(sink: &'s mut S) -> Self {
        Self { bytes: [0; COMPOUND_BYTES_MAX], used: 0, sink }
    }

    /// Adds what `write` writes, in one piece: to this compound or, if it is full, to the next.
    pub fn put(&mut self, mut write: impl FnMut(&mut RtcpWriter<'_>) -> Result<(), NoSpace>) {
        for _ in 0..2 {
            let mut writer = RtcpWriter::new(&mut self.bytes[self.used..]);
            if write(&mut writer).is_ok() {
                self.used += writer.bytes();
                return;
            }
            self.finish();
        }
    }

    /// Hands over what was collected.
    pub fn finish(&mut self) {
        if self.used > 0 {
            self.sink.compound(&self.bytes[..self.used]);
            self.used = 0;
        }
    }
}

impl Rooms {
    /// NACKs and keyframe requests that are due to the publisher at `index`. Answers when it next wants to be called.
    pub fn write_requests<S: CompoundSink>(
        &mut self,
        turn: &mut Turn<'_>,
        index: usize,
        out: &mut Compounds<'_, S>,
    ) -> Micros {
        let Some(member) = self.members.get_mut(index).and_then(Option::as_mut) else { return Micros::NEVER };
        let (ours, rtt_us) = (member.ssrc, u64::from(member.rtt_us));
        let mut next = Micros::NEVER;
        for key in &member.tracks {
            let Some(track) = self.tracks.get_mut(*key) else { continue };
            if track.kind != MediaKind::Video {
                continue;
            }
            let asks = asks(track);
            for layer in &mut track.layers {
                let Some(media) = layer.ssrc else { continue };
                let mut given_up = false;
                if let Some(video) = &mut layer.video
                    && asks.nack
                {
                    let mut missing = [Seq(0); NACKS_PER_PACKET];
                    let count = video.gaps.poll_nack(turn.now, rtt_us, &mut missing);
                    if count > 0 {
                        out.put(|writer| writer.nack(ours, media, missing[..count].iter().copied()));
                    }
                    given_up = video.gaps.take_given_up();
                    // Never sooner than the interval, so that a jittery stream cannot make the engine spin.
                    next = next.min(video.gaps.next_timeout().max(turn.now.after_us(NACK_INTERVAL_US / 4)));
                }
                if given_up && !track.streams.is_empty() {
                    layer.want_keyframe();
                }
                if layer.ask_keyframe(turn.now) {
                    turn.counters.keyframe_requests += 1;
                    if asks.pli {
                        out.put(|writer| writer.pli(ours, media));
                    } else {
                        member.fir_count = member.fir_count.wrapping_add(1);
                        out.put(|writer| writer.fir(ours, media, member.fir_count));
                    }
                }
                next = layer.keyframe_due().map_or(next, |at| next.min(at));
            }
        }
        next
    }

    /// Transport-wide feedback about the peer at `index`.
    pub fn write_arrivals<S: CompoundSink>(
        &mut self,
        index: usize,
        recorder: &mut TwccRecorder,
        out: &mut Compounds<'_, S>,
    ) {
        let Some(member) = self.member(index) else { return };
        let ours = member.ssrc;
        let first = |key: &Key| self.tracks.get(*key)?.layers.iter().find_map(|layer| layer.ssrc);
        let media = member.tracks.iter().find_map(first).unwrap_or(Ssrc(0));
        // A window holds three feedbacks' worth; the bound is for the reader.
        for _ in 0..4 {
            if !recorder.has_pending() {
                break;
            }
            out.put(|writer| recorder.write_feedback(ours, media, writer));
        }
    }

    /// Receiver reports about the tracks of the peer at `index` and sender reports about the streams to it.
    pub fn write_reports<S: CompoundSink>(
        &mut self,
        turn: &mut Turn<'_>,
        index: usize,
        out: &mut Compounds<'_, S>,
    ) {
        let Some(member) = self.members.get_mut(index).and_then(Option::as_mut) else { return };
        let ours = member.ssrc;
        let mut worst = 0;
        let mut blocks = [EMPTY_BLOCK; BLOCKS_PER_REPORT];
        let mut count = 0;
        for key in &member.tracks {
            let Some(track) = self.tracks.get_mut(*key) else { continue };
            track.judge_layers();
            for layer in &mut track.layers {
                let Some(block) = block(turn.now, layer) else { continue };
                worst = worst.max(block.fraction_lost);
                if count == BLOCKS_PER_REPORT {
                    out.put(|writer| writer.receiver_report(ours, &blocks));
                    count = 0;
                }
                blocks[count] = block;
                count += 1;
            }
        }
        member.loss_up = worst;
        if count > 0 {
            out.put(|writer| writer.receiver_report(ours, &blocks[..count]));
            out.put(|writer| writer.sdes_cname(ours, b"kaigi"));
        }
        let member = &self.members[index];
        for key in member.iter().flat_map(|member| &member.streams) {
            let Some(stream) = self.streams.get(*key) else { continue };
            let Some(info) = stream.stats.sender_info(turn.now, self.ntp_offset_us, self.anchor(*key)) else {
                continue;
            };
            out.put(|writer| {
                writer.sender_report(stream.ssrc, &info, &[])?;
                writer.sdes_cname(stream.ssrc, &stream.cname)
            });
        }
    }

    /// The publisher's clock as the receiver of a stream sees it.
    fn anchor(&self, key: Key) -> Option<ClockAnchor> {
        let stream = self.streams.get(key)?;
        let track = self.tracks.get(stream.track)?;
        let (layer, epoch, offset) = stream.rewrite.clock()?;
        let layer = track.layers.get(usize::from(layer))?;
        if layer.epoch() != epoch {
            return None;
        }
        let mut anchor = self.member(track.member)?.clock.anchor(&layer.clock?)?;
        anchor.timestamp = anchor.timestamp.wrapping_add(offset);
        Some(anchor)
    }

    /// How the link of the peer at `index` does; nothing when it neither sends nor receives media.
    pub fn report_quality(&self, turn: &mut Turn<'_>, index: usize) {
        let Some(member) = self.member(index) else { return };
        if member.tracks.is_empty() && member.streams.is_empty() {
            return;
        }
        let losses = member.streams.iter().filter_map(|key| self.streams.get(*key)).map(|stream| stream.loss);
        turn.reports.sample(Report::Quality {
            peer: member.peer,
            loss_up: member.loss_up,
            loss_down: losses.max().unwrap_or(0),
            rtt_us: member.rtt_us,
            estimate_bps: member.link.rate_bps().min(u64::from(u32::MAX)) as u32,
            sent_bps: member.link.sent_bps(turn.now).min(u64::from(u32::MAX)) as u32,
        });
    }

    /// Notes which layers of the peer at `index` fell silent and measures what the others send. Answers whether it publishes at all.
    pub fn judge_layers(&mut self, now: Micros, index: usize) -> bool {
        let Some(member) = self.members.get(index).and_then(Option::as_ref) else { return false };
        for key in &member.tracks {
            if let Some(track) = self.tracks.get_mut(*key) {
                if track.layers.len() > 1 || track.is_scalable {
                    track.judge_layers();
                }
                track.measure(now);
            }
        }
        !member.tracks.is_empty()
    }

    /// Ends an interval of the meeting at a table index: reports who speaks, when somebody does or did. Answers whether it should
    /// be called after another interval.
    pub fn judge_speakers(&mut self, turn: &mut Turn<'_>, meeting_index: usize) -> bool {
        let Some(meeting) = self.meetings.key_at(meeting_index).and_then(|key| self.meetings.get_mut(key))
        else {
            return false;
        };
        let mut levels: [Option<SpeakerLevel>; SPEAKERS_MAX] = [None; SPEAKERS_MAX];
        let mut heard = false;
        for key in &meeting.tracks {
            let Some(track) = self.tracks.get_mut(*key) else { continue };
            heard |= track.meter.heard();
            let Some(level) = track.meter.judge() else { continue };
            let track = track.id;
            // Insertion into a short sorted list: loudest (lowest number) first, then by number.
            let louder = |other: &Option<SpeakerLevel>| {
                other.is_none_or(|other| (level, track.0) < (other.level, other.track.0))
            };
            if let Some(at) = levels.iter().position(louder) {
                levels[at..].rotate_right(1);
                levels[at] = Some(SpeakerLevel { track, level });
            }
        }
        let speakers = levels.map(|level| level.map(|level| level.track));
        let count = levels.iter().flatten().count();
        let silence = SpeakerLevel { track: crate::base::ids::TrackId(0), level: super::speaker::SILENCE };
        if count > 0 || meeting.speakers != speakers {
            let told = turn.reports.sample(Report::Speakers {
                meeting: meeting.id,
                levels: levels.map(|level| level.unwrap_or(silence)),
                count: count as u8,
            });
            if told {
                meeting.speakers = speakers;
            }
        }
        let goes_on = heard || count > 0 || meeting.speakers.iter().any(Option::is_some);
        meeting.listening = goes_on;
        goes_on
    }
}

/// What the publisher of a track can be asked for.
struct Asks {
    nack: bool,
    pli: bool,
}

fn asks(track: &Track) -> Asks {
    Asks {
        nack: track.formats.iter().any(|format| format.nack),
        pli: track.formats.iter().any(|format| format.pli),
    }
}

const EMPTY_BLOCK: ReportBlock = ReportBlock {
    ssrc: Ssrc(0),
    fraction_lost: 0,
    cumulative_lost: 0,
    highest_seq: 0,
    jitter: 0,
    last_sr: 0,
    delay_since_last_sr: 0,
};

fn block(now: Micros, layer: &mut Layer) -> Option<ReportBlock> {
    let ssrc = layer.ssrc?;
    layer.stats.report_block(now, ssrc)
}
