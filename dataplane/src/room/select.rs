//! What a stream does with one packet of its track: forward it, begin with it, leave it out, or wait.
//!
//! Place: asked by `router` for every packet and stream; no allocation, a few comparisons.
//! Rules: a stream begins at a keyframe, moves up where the codec says that a receiver can follow (a keyframe, a layer sync, a switch
//! indication), and down at once where what is left needs nothing of what is dropped. All packets of a frame share one fate.
//! A simulcast layer above what may be sent goes on without its upper temporal layers until the lower one's keyframe is there.

use super::layers::{Choice, choose};
use super::rewrite::RunStart;
use super::router::Arrived;
use super::stream::{Decided, Limit, Running, Stream};
use super::svc::Marks;
use super::track::Track;
use crate::base::media::MediaKind;

/// What becomes of a packet at one receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is the next packet of what runs.
    Forward,
    /// A new run begins with it.
    Begin,
    /// It belongs to what runs and is left out: what follows closes up.
    LeaveOut,
    /// Another layer runs.
    NotSelected,
    /// Nothing is sent of the track.
    Paused,
}

/// A verdict, and whether the packet's layer should send a keyframe so that the stream can start or change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Selected {
    /// What becomes of the packet.
    pub verdict: Verdict,
    /// A keyframe is needed.
    pub keyframe_needed: bool,
}

const fn only(verdict: Verdict) -> Selected {
    Selected { verdict, keyframe_needed: false }
}

/// Whether the packet, of a track that is not scalable and has layers that send, is a further one of a frame that is being forwarded:
/// most are, [`select`] would forward them, and nothing is to be noted.
#[inline]
#[must_use]
pub fn goes_on(stream: &Stream, packet: &Arrived) -> bool {
    let (Some(running), Some(decided)) = (&stream.current, &stream.decided) else { return false };
    decided.forward
        && packet.content > decided.content
        && decided.timestamp == packet.timestamp
        && decided.spatial == packet.marks.spatial
        && running.layer == packet.layer
        && running.epoch == packet.epoch
        && stream.limit.enabled
}

/// Judges one packet for one stream and notes what runs from now on; the caller begins the run or counts what is left out.
pub fn select(track: &Track, stream: &mut Stream, packet: &Arrived) -> Selected {
    if track.kind == MediaKind::Audio {
        return audio(track, stream, packet);
    }
    if !stream.limit.enabled {
        // The frame that has begun is sent to its end: half of it would be of no use.
        let of_layer = stream.current.is_some_and(|current| current.layer == packet.layer);
        if of_layer && decided(stream, packet) == Some(Verdict::Forward) {
            return only(Verdict::Forward);
        }
        if of_layer {
            stream.current = None;
        }
        return only(Verdict::Paused);
    }
    // A layer that began anew is another stream: it is shown from its next keyframe on.
    if stream.current.is_some_and(|current| current.layer == packet.layer && current.epoch != packet.epoch) {
        stream.current = None;
    }
    if let Some(running) = stream.current.filter(|_| is_late(stream, packet)) {
        // It comes behind its followers: it fills its gap or is left out, and changes nothing.
        let sent = is_frame_sent(track, stream, packet);
        let forward = sent.unwrap_or_else(|| is_part(track, running, &packet.marks));
        return only(if forward { Verdict::Forward } else { Verdict::LeaveOut });
    }
    if track.is_scalable { scalable(track, stream, packet) } else { simulcast(track, stream, packet) }
}

/// Whether the packet is of the running layer, and of a frame behind the newest that was judged.
fn is_late(stream: &Stream, packet: &Arrived) -> bool {
    stream.current.is_some_and(|running| running.layer == packet.layer)
        && stream.decided.is_some_and(|decided| packet.content < decided.content)
        && decided(stream, packet).is_none()
}

/// Whether the rest of a late packet's frame was sent, as far as a neighbour of the packet tells: what is sent may have changed since.
fn is_frame_sent(track: &Track, stream: &Stream, packet: &Arrived) -> Option<bool> {
    let cache = &track.layers.get(usize::from(packet.layer))?.video.as_ref()?.cache;
    let of_frame = |content: &u64| {
        let header = cache.find(*content).and_then(|(_, meta)| Some((meta.header?, meta.marks.spatial)));
        header.is_some_and(|(header, spatial)| {
            (header.timestamp, spatial) == (packet.timestamp, packet.marks.spatial)
        })
    };
    let neighbour = [packet.content.checked_sub(1)?, packet.content + 1].into_iter().find(of_frame)?;
    Some(!stream.rewrite.is_left_out(packet.layer, packet.epoch, neighbour))
}

/// Whether frames with these marks are part of what runs.
#[must_use]
pub fn is_part(track: &Track, running: Running, marks: &Marks) -> bool {
    match track.scalable() {
        Some(_) => marks.present >> running.target & 1 != 0,
        None => marks.temporal <= running.temporal,
    }
}

fn audio(track: &Track, stream: &mut Stream, packet: &Arrived) -> Selected {
    if !stream.wanted.enabled {
        stream.current = None;
        return only(Verdict::Paused);
    }
    // What was left out while it had no place leaves no gap.
    let epoch = packet.epoch.wrapping_add(track.voice.spurt());
    let running = Running { layer: 0, epoch, temporal: 0, target: 0 };
    let verdict = if stream.current == Some(running) { Verdict::Forward } else { Verdict::Begin };
    stream.current = Some(running);
    only(verdict)
}

fn simulcast(track: &Track, stream: &mut Stream, packet: &Arrived) -> Selected {
    let running = stream.current.map(|current| current.layer);
    match choose(track.active, stream.limit, running, packet.layer, packet.info.keyframe_start) {
        Choice::Forward => only(temporal(track, stream, packet)),
        Choice::Switch => {
            begin(stream, packet, stream.limit.temporal_max, 0);
            only(Verdict::Begin)
        }
        Choice::NotSelected => only(Verdict::NotSelected),
        Choice::WaitsForKeyframe => Selected { verdict: Verdict::NotSelected, keyframe_needed: true },
        Choice::Paused => only(Verdict::Paused),
    }
}

fn begin(stream: &mut Stream, packet: &Arrived, temporal: u8, target: u8) {
    stream.current = Some(Running { layer: packet.layer, epoch: packet.epoch, temporal, target });
    stream.decided = None;
    decide(stream, packet, true);
}

fn decide(stream: &mut Stream, packet: &Arrived, forward: bool) {
    let content = stream.decided.map_or(packet.content, |decided| decided.content.max(packet.content));
    let (timestamp, spatial) = (packet.timestamp, packet.marks.spatial);
    stream.decided = Some(Decided { timestamp, content, spatial, forward });
}

/// What was decided about the packet's frame, if it is the frame of the moment.
fn decided(stream: &Stream, packet: &Arrived) -> Option<Verdict> {
    let decided = stream.decided?;
    let same = (decided.timestamp, decided.spatial) == (packet.timestamp, packet.marks.spatial);
    same.then_some(if decided.forward { Verdict::Forward } else { Verdict::LeaveOut })
}

/// Temporal layers of the running simulcast layer.
fn temporal(track: &Track, stream: &mut Stream, packet: &Arrived) -> Verdict {
    if let Some(verdict) = decided(stream, packet) {
        return verdict;
    }
    let above = track.active.target(stream.limit).is_some_and(|target| target < packet.layer);
    let most = if above { 0 } else { stream.limit.temporal_max };
    let layer = packet.marks.temporal;
    let Some(running) = &mut stream.current else { return Verdict::NotSelected };
    running.temporal = running.temporal.min(most);
    // One step at a time: a frame that syncs to the layers below may be what the next one refers to.
    if layer == running.temporal.saturating_add(1) && layer <= most && packet.info.switch_up {
        running.temporal = layer;
    }
    let forward = layer <= running.temporal;
    decide(stream, packet, forward);
    if forward { Verdict::Forward } else { Verdict::LeaveOut }
}

fn scalable(track: &Track, stream: &mut Stream, packet: &Arrived) -> Selected {
    let Some(svc) = track.scalable() else { return only(Verdict::Paused) };
    let Limit { quality_max, temporal_max, .. } = stream.limit;
    // Whether the layer is being sent does not matter: what is not sent is not missed, and comes by itself.
    let goal = svc.target(quality_max, temporal_max);
    let marks = packet.marks;
    let Some(running) = stream.current else {
        if packet.info.keyframe_start {
            begin(stream, packet, 0, goal);
            return only(Verdict::Begin);
        }
        return Selected { verdict: Verdict::NotSelected, keyframe_needed: true };
    };
    // A keyframe that comes behind what follows it begins nothing.
    let new_picture = stream
        .decided
        .is_none_or(|decided| decided.timestamp != packet.timestamp && packet.content > decided.content);
    let mut keyframe_needed = false;
    let mut target = running.target;
    if goal != running.target {
        let (now, then) = (svc.layers(running.target), svc.layers(goal));
        let starts_picture = new_picture && marks.starts && marks.spatial == 0;
        let keyframe = packet.info.keyframe_start && new_picture;
        if keyframe || starts_picture && svc.is_within(goal, running.target) {
            target = goal;
        } else if now.spatial == then.spatial {
            // More frames per second of the same size.
            if marks.spatial == then.spatial && decided(stream, packet).is_none() {
                target = svc.join(running.target, goal, &marks).unwrap_or(target);
            }
        } else {
            keyframe_needed = new_picture;
            // Less of what runs, until the keyframe is there.
            let reduced = svc.target(now.spatial, if then.spatial < now.spatial { 0 } else { temporal_max });
            if starts_picture && svc.is_within(reduced, running.target) {
                target = reduced;
            }
        }
    }
    let begins_run = svc.layers(target).spatial != svc.layers(running.target).spatial;
    if target != running.target {
        if begins_run {
            begin(stream, packet, 0, target);
            return Selected { verdict: Verdict::Begin, keyframe_needed };
        }
        stream.current = Some(Running { target, ..running });
    }
    let verdict = decided(stream, packet).unwrap_or_else(|| {
        let forward = marks.present >> target & 1 != 0;
        decide(stream, packet, forward);
        if forward { Verdict::Forward } else { Verdict::LeaveOut }
    });
    Selected { verdict, keyframe_needed }
}

/// What begins when a stream begins with this packet.
#[must_use]
pub fn run_start(track: &Track, stream: &Stream, packet: &Arrived) -> RunStart {
    let spatial = match (track.scalable(), stream.current) {
        (Some(svc), Some(running)) => svc.layers(running.target).spatial,
        _ => 0,
    };
    RunStart {
        layer: packet.layer,
        epoch: packet.epoch,
        spatial,
        content: packet.content,
        picture: packet.picture,
    }
}
