//! Relations between peers: who receives what, which layer, and how its headers read. Sans-IO.
//!
//! Place: between `engine`, which opens and seals, and `session`, the memory of single peers.
//! A packet's way: [`Rooms::handle_rtp`] (`router`) finds track and layer, stores the packet once and queues references;
//! in `flush`, [`Rooms::prepare`] (`release`) writes each receiver's header, and after sealing [`Rooms::commit`] counts it.
//! What is copied: video once, into its layer's retransmission cache; audio once, into the pool; then only by sealing, which
//! reads the stored payload and writes ciphertext into the send buffer. A rewritten VP8 descriptor is a prefix of up to 8 bytes.
//! Promises: a track reaches peers of its own meeting only; no allocation outside commands; every table is bounded.
//! Not here: keys, paths and clocks (`engine`), who may see whom (the control plane).

pub mod allocate;
pub mod audio;
pub mod budget;
pub mod keyframe;
pub mod ladder;
pub mod layers;
pub mod order;
pub mod pool;
pub mod queue;
pub mod release;
pub mod reports;
pub mod rewrite;
pub mod roam;
pub mod router;
pub mod rtcp_in;
pub mod rtcp_out;
pub mod select;
pub mod skips;
pub mod speaker;
pub mod stream;
pub mod subscribe;
pub mod svc;
pub mod template;
pub mod track;
pub mod usual;

use crate::base::counters::Counters;
use crate::base::ids::{MeetingId, ParticipantId, PeerId, Seq, Ssrc, StreamId, TrackId};
use crate::base::limits::{
    PEERS_PER_CORE, POOL_PACKETS, QUEUE_ENTRIES, RESENDS_BURST, RESENDS_PER_SECOND, STREAMS_PER_CORE,
    TRACKS_PER_CORE,
};
use crate::base::media::ExtensionMap;
use crate::base::rate::RateLimit;
use crate::base::rng::Rng;
use crate::base::slab::{Key, Slab};
use crate::base::table::{SeededState, Table};
use crate::base::time::Micros;
use crate::session::reports::SourceClock;
use audio::Places;
use budget::{ReceiverLink, Sharing};
use pool::Pool;
use queue::{Class, Held, Item, SendQueue};
use reports::ReportQueue;
use router::Source;
use stream::Stream;
use track::Track;

/// What the operator decided about all meetings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Audio streams a receiver is sent at a time, at most, however many people speak; see [`audio`].
    pub audio_streams_max: u8,
    /// Whether what a receiver is sent follows what its link carries; without it everything wanted is sent at once. For benchmarks of
    /// the packet path, whose clients have no network.
    pub rate_control: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { audio_streams_max: 3, rate_control: true }
    }
}

/// What every call of one moment shares.
pub struct Turn<'a> {
    /// The time.
    pub now: Micros,
    /// What is counted.
    pub counters: &'a mut Counters,
    /// What the control plane is told.
    pub reports: &'a mut ReportQueue,
}

/// All meetings of a core.
pub struct Rooms {
    meetings: Slab<Meeting>,
    by_meeting: Table<MeetingId, Key>,
    tracks: Slab<Track>,
    by_track: Table<TrackId, Key>,
    streams: Slab<Stream>,
    by_stream: Table<StreamId, Key>,
    /// By the peer's table index.
    members: Vec<Option<Member>>,
    /// What an SSRC of a peer means.
    sources: Table<(u32, Ssrc), Source>,
    /// Streams by receiver and SSRC, media and retransmission.
    sinks: Table<(u32, Ssrc), Key>,
    queue: SendQueue,
    pool: Pool,
    /// Members whose upkeep should run in this turn.
    urgent: Vec<usize>,
    /// SSRCs of publishers that ended, by the peer's table index.
    retired: Vec<(usize, Ssrc)>,
    /// What the streams of one receiver could be and get, for the time of one sharing.
    sharing: Sharing,
    /// Meetings that began to hear voices and want [`Rooms::judge_speakers`] after an interval.
    listening: Vec<usize>,
    rng: Rng,
    seed: u64,
    /// NTP time minus our clock, microseconds.
    ntp_offset_us: u64,
    rules: Rules,
    /// Streams that began with a remembered keyframe.
    keyframes_replayed: u64,
}

struct Meeting {
    id: MeetingId,
    members: u32,
    /// Its tracks.
    tracks: Vec<Key>,
    /// Speakers in the last report, loudest first.
    speakers: [Option<TrackId>; crate::command::SPEAKERS_MAX],
    listening: bool,
    /// Audio tracks among its tracks.
    voices: usize,
    /// Whose voices are forwarded when there are more than places.
    places: Places,
}

impl Meeting {
    /// Whether only the loudest voices are forwarded.
    const fn is_crowded(&self) -> bool {
        self.voices > self.places.count()
    }
}

/// What a peer is in its meeting.
struct Member {
    peer: PeerId,
    participant: ParticipantId,
    meeting: Key,
    /// It has a path and keys.
    ready: bool,
    urgent: bool,
    /// Union of the extensions of its media sections: with BUNDLE an identifier means the same in all (RFC 8843 section 7.1.2).
    extensions: ExtensionMap,
    tracks: Vec<Key>,
    streams: Vec<Key>,
    sources: usize,
    /// Our SSRC in feedback to it.
    ssrc: Ssrc,
    transport_seq: Seq,
    resends: RateLimit,
    /// What its link carries, and who gets how much of it.
    link: ReceiverLink,
    /// How its wall clock relates to ours.
    clock: SourceClock,
    rtt_us: u32,
    /// Loss of what it sends to us, in our last reports, parts per 256.
    loss_up: u8,
    fir_count: u8,
}

/// Sizes of all tables, to prove that nothing is left behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RoomSizes {
    /// Meetings.
    pub meetings: usize,
    /// Peers in meetings.
    pub members: usize,
    /// Published tracks.
    pub tracks: usize,
    /// Streams.
    pub streams: usize,
    /// Known SSRCs of publishers.
    pub sources: usize,
    /// SSRCs of streams.
    pub sinks: usize,
    /// Queued packets.
    pub queued: usize,
    /// Stored packets.
    pub pooled: usize,
}

impl Rooms {
    /// No meetings yet. All packet memory is allocated here.
    #[must_use]
    pub fn new(seed: u64, ntp_offset_us: u64, rules: Rules) -> Self {
        let state = SeededState::new(seed);
        Self {
            meetings: Slab::new(PEERS_PER_CORE),
            by_meeting: Table::with_hasher(state),
            tracks: Slab::new(TRACKS_PER_CORE),
            by_track: Table::with_hasher(state),
            streams: Slab::new(STREAMS_PER_CORE),
            by_stream: Table::with_hasher(state),
            members: Vec::new(),
            sources: Table::with_hasher(state),
            sinks: Table::with_hasher(state),
            queue: SendQueue::new(QUEUE_ENTRIES),
            pool: Pool::new(POOL_PACKETS),
            urgent: Vec::new(),
            retired: Vec::new(),
            sharing: Sharing::default(),
            listening: Vec::new(),
            rng: Rng::new(seed),
            seed,
            ntp_offset_us,
            rules,
            keyframes_replayed: 0,
        }
    }

    /// NTP time minus our clock, microseconds.
    pub const fn set_wall_clock(&mut self, ntp_offset_us: u64) {
        self.ntp_offset_us = ntp_offset_us;
    }

    /// A peer joins its meeting, which begins with its first peer. False when there is no room.
    pub fn admit(
        &mut self,
        index: usize,
        peer: PeerId,
        participant: ParticipantId,
        meeting: MeetingId,
    ) -> bool {
        let key = match self.by_meeting.get(&meeting) {
            Some(key) => *key,
            None => {
                let begun = Meeting {
                    id: meeting,
                    members: 0,
                    tracks: Vec::new(),
                    speakers: [None; crate::command::SPEAKERS_MAX],
                    listening: false,
                    voices: 0,
                    places: Places::new(self.rules.audio_streams_max),
                };
                let Ok(key) = self.meetings.insert(begun) else { return false };
                self.by_meeting.insert(meeting, key);
                key
            }
        };
        if let Some(meeting) = self.meetings.get_mut(key) {
            meeting.members += 1;
        }
        if index >= self.members.len() {
            self.members.resize_with(index + 1, || None);
            // So that marking a peer urgent, or a meeting as listening, never allocates on the packet path.
            self.urgent.reserve(self.members.len() - self.urgent.len());
            self.listening.reserve(self.members.len() - self.listening.len());
        }
        self.queue.admit(index);
        self.members[index] = Some(Member {
            peer,
            participant,
            meeting: key,
            ready: false,
            urgent: false,
            extensions: ExtensionMap::default(),
            tracks: Vec::new(),
            streams: Vec::new(),
            sources: 0,
            ssrc: Ssrc(self.rng.next_u64() as u32 | 1),
            transport_seq: Seq(1),
            resends: RateLimit::new(RESENDS_PER_SECOND, RESENDS_BURST),
            link: ReceiverLink::new(self.rules.rate_control),
            clock: SourceClock::new(),
            rtt_us: 0,
            loss_up: 0,
            fir_count: 0,
        });
        true
    }

    /// A peer leaves; its tracks and streams go with it, and the meeting with its last peer.
    pub fn dismiss(&mut self, index: usize) {
        let Some(member) = self.members.get(index).and_then(Option::as_ref) else { return };
        let (meeting, tracks, streams) = (member.meeting, member.tracks.clone(), member.streams.clone());
        for key in tracks {
            self.remove_track(key);
        }
        for key in streams {
            self.remove_stream(key);
        }
        self.drop_queue(index);
        self.members[index] = None;
        self.urgent.retain(|&other| other != index);
        let empty = self.meetings.get_mut(meeting).is_some_and(|meeting| {
            meeting.members -= 1;
            meeting.members == 0
        });
        if empty && let Some(gone) = self.meetings.remove(meeting) {
            self.by_meeting.remove(&gone.id);
        }
    }

    /// Whether the peer can be sent to: it has a path and keys.
    pub fn set_ready(&mut self, now: Micros, index: usize, ready: bool) {
        if let Some(member) = self.member_mut(index) {
            member.ready = ready;
        }
        if !ready {
            return;
        }
        let streams = self.member(index).map(|member| member.streams.clone()).unwrap_or_default();
        for key in streams {
            self.begin_picture(now, key);
        }
        self.mark_urgent(index);
    }

    /// Drops everything that waits for a peer.
    pub fn drop_queue(&mut self, index: usize) {
        for class in Class::ALL {
            while let Some(item) = self.queue.pop(index, class) {
                self.drop_item(&item);
            }
        }
    }

    /// Gives back what a queued item holds.
    pub fn drop_item(&mut self, item: &Item) {
        if let Held::Pooled(slot) = item.held {
            self.pool.release(slot);
        }
    }

    /// The storage, shared with early packets that wait for keys.
    pub const fn pool(&mut self) -> &mut Pool {
        &mut self.pool
    }

    /// What waits to be sent.
    pub const fn queue(&mut self) -> &mut SendQueue {
        &mut self.queue
    }

    /// A member whose upkeep should run now.
    pub fn poll_urgent(&mut self) -> Option<usize> {
        let index = self.urgent.pop()?;
        if let Some(member) = self.member_mut(index) {
            member.urgent = false;
        }
        Some(index)
    }

    /// An SSRC that a peer no longer sends under: its place in SRTP may be given to another.
    pub fn poll_retired(&mut self) -> Option<(usize, Ssrc)> {
        self.retired.pop()
    }

    /// A meeting that began to hear voices: its table index.
    pub fn poll_listening(&mut self) -> Option<usize> {
        self.listening.pop()
    }

    /// Streams that began with a remembered keyframe, since boot.
    #[must_use]
    pub const fn keyframes_replayed(&self) -> u64 {
        self.keyframes_replayed
    }

    /// How many meetings there are.
    #[must_use]
    pub fn meetings(&self) -> usize {
        self.meetings.count()
    }

    /// Sizes of all tables.
    #[must_use]
    pub fn sizes(&self) -> RoomSizes {
        RoomSizes {
            meetings: self.meetings.count(),
            members: self.members.iter().flatten().count(),
            tracks: self.tracks.count(),
            streams: self.streams.count(),
            sources: self.sources.len(),
            sinks: self.sinks.len(),
            queued: self.queue.count(),
            pooled: self.pool.count(),
        }
    }

    /// Identifier of an extension in a peer's packets.
    #[must_use]
    pub fn extensions(&self, index: usize) -> Option<&ExtensionMap> {
        self.member(index).map(|member| &member.extensions)
    }

    fn member(&self, index: usize) -> Option<&Member> {
        self.members.get(index)?.as_ref()
    }

    fn member_mut(&mut self, index: usize) -> Option<&mut Member> {
        self.members.get_mut(index)?.as_mut()
    }

    fn mark_urgent(&mut self, index: usize) {
        if let Some(member) = self.members.get_mut(index).and_then(Option::as_mut)
            && !std::mem::replace(&mut member.urgent, true)
        {
            self.urgent.push(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::track::{CachedMeta, Layer};
    use super::*;
    use crate::base::media::Format;
    use svc::Svc;

    /// What the table "Memory" of the README counts with: growth should be seen, and put down there.
    #[test]
    fn nothing_grows_unnoticed() {
        let sizes = [
            ("Stream", size_of::<Stream>(), 1_440),
            ("Track", size_of::<Track>(), 768),
            ("Layer", size_of::<Layer>(), 672),
            ("Svc", size_of::<Svc>(), 2_176),
            ("Member", size_of::<Member>(), 416),
            ("Meeting", size_of::<Meeting>(), 384),
            ("CachedMeta", size_of::<CachedMeta>(), 80),
            ("Format", size_of::<Format>(), 16),
            ("queued item", size_of::<Item>(), 40),
            ("source", size_of::<((u32, Ssrc), Source)>(), 24),
            ("sink", size_of::<((u32, Ssrc), Key)>(), 16),
        ];
        for (name, bytes, bound) in sizes {
            println!("{name}: {bytes} B");
            assert!(bytes <= bound, "{name} grew to {bytes} B: the README counts with {bound} B");
        }
    }
}
