//! What the packet core reports: readiness, ends, speakers, link quality.

use std::time::Duration;

use dataplane::command::{Command, Report, SPEAKERS_MAX, SpeakerLevel};
use livekit_protocol as proto;
use proto::ConnectionQuality;
use proto::participant_info::State;

use super::member::Link;
use super::peer::Side;
use super::{Effect, Member, MemberKey, QUALITY_MS, Room};
use crate::signal::messages;

/// Levels above this (quieter; RFC 6464, -dBov) do not make a speaker.
const SPEAKING_LEVEL_MAX: u8 = 50;
/// A level must move by this much to be told again.
const SPEAKING_LEVEL_STEP: u8 = 6;

impl Room {
    pub(super) fn watch(&mut self, now_ms: u64, report: Report) {
        match report {
            Report::PeerReady { peer, dtls, profile } => {
                let Some((key, side)) = self.peers.get(&peer).copied() else { return };
                self.effects.push(Effect::Keyed(dtls, profile));
                let Some(member) = self.members.get_mut(&key) else { return };
                let ours = match side {
                    Side::Publisher => member.publisher.as_mut(),
                    Side::Subscriber | Side::Both => Some(&mut member.subscriber.peer),
                };
                if let Some(ours) = ours {
                    ours.ready = true;
                }
                if !member.ready_told {
                    member.ready_told = true;
                    let took = Duration::from_millis(now_ms.saturating_sub(member.accepted_ms));
                    self.effects.push(Effect::Ready(took));
                }
                if let Some(member) = self.members.get_mut(&key)
                    && member.state != State::Active
                {
                    member.state = State::Active;
                    self.announce(key);
                }
            }
            Report::PeerEnded { peer, .. } => {
                let Some((key, _)) = self.peers.get(&peer).copied() else { return };
                if let Some(member) = self.members.get_mut(&key) {
                    // A client that leaves closes its connections just before its word arrives.
                    member.ended_ms.get_or_insert(now_ms);
                }
            }
            Report::Speakers { levels, count, .. } => {
                self.hear(now_ms, &levels, count);
                self.speakers(&levels, count);
            }
            Report::Quality { peer, loss_up, loss_down, rtt_us, estimate_bps, sent_bps } => {
                let Some((key, side)) = self.peers.get(&peer).copied() else { return };
                let Some(member) = self.members.get_mut(&key) else { return };
                let link = member.link.get_or_insert_default();
                link.loss = link.loss.max(loss_up).max(loss_down);
                link.rtt_us = link.rtt_us.max(rtt_us);
                member.latest.rtt_us = rtt_us;
                if side != Side::Subscriber {
                    member.latest.loss_up = loss_up;
                }
                if side != Side::Publisher {
                    member.latest.loss_down = loss_down;
                    member.latest.estimate_bps = estimate_bps;
                    member.latest.sent_bps = sent_bps;
                    if estimate_bps > 0 {
                        self.effects.push(Effect::LinkEstimate(estimate_bps));
                    }
                }
            }
            Report::Delivery { stream, delivery } => self.delivered(stream, delivery),
            Report::TrackStarted { track } => {
                // Subscribers that were there first wait for a picture.
                if self
                    .track_by_id(track)
                    .is_some_and(|(_, t)| t.kind == dataplane::base::media::MediaKind::Video)
                {
                    self.command(Command::RequestKeyframe { track });
                }
            }
            Report::ChannelOpen { peer, channel, label, ours } => {
                self.channel_open(now_ms, (peer, channel), &label, ours);
            }
            Report::ChannelClosed { peer, channel } => self.channel_closed(now_ms, (peer, channel)),
            Report::ChannelsEnded { peer, end } => self.channels_ended(now_ms, peer, end),
            Report::Message { peer, channel, bytes } => {
                self.channel_message(now_ms, (peer, channel), &bytes);
            }
            Report::PeerPath { .. } | Report::StreamStarted { .. } | Report::Stopped => {}
        }
    }

    /// Tells who began to speak, stopped, or became much louder or quieter.
    fn speakers(&mut self, levels: &[SpeakerLevel; SPEAKERS_MAX], count: u8) {
        let mut now: Vec<(MemberKey, u8)> = Vec::new();
        for SpeakerLevel { track, level } in levels.iter().take(usize::from(count)) {
            let Some(key) = self.tracks.get(track) else { continue };
            if *level <= SPEAKING_LEVEL_MAX && now.iter().all(|(k, _)| k != key) {
                now.push((*key, *level));
            }
        }
        let mut changed = Vec::new();
        for (key, member) in &mut self.members {
            let level = now.iter().find(|(k, _)| k == key).map(|(_, level)| *level);
            let is_told = match (member.speaking, level) {
                (None, None) => true,
                (Some(before), Some(after)) => before.abs_diff(after) < SPEAKING_LEVEL_STEP,
                _ => false,
            };
            if is_told {
                continue;
            }
            member.speaking = level;
            changed.push(proto::SpeakerInfo {
                sid: member.sid.clone(),
                level: level.map_or(0.0, linear),
                active: level.is_some(),
            });
        }
        if !changed.is_empty() {
            self.broadcast(None, &messages::speakers(changed));
        }
    }

    /// Tells everybody whose link became better or worse, and how many people there are.
    pub(super) fn send_qualities(&mut self, now_ms: u64) {
        if now_ms < self.quality_at {
            return;
        }
        self.quality_at = now_ms + QUALITY_MS;
        let mut updates = Vec::new();
        for member in self.members.values_mut() {
            let quality = quality_of(member);
            member.link = None;
            let Some(quality) = quality else { continue };
            if member.quality.replace(quality) == Some(quality) {
                continue;
            }
            updates.push(proto::ConnectionQualityInfo {
                participant_sid: member.sid.clone(),
                quality: quality.into(),
                score: score(quality),
            });
        }
        if !updates.is_empty() {
            self.broadcast(None, &messages::quality(updates));
        }
        let count = self.count();
        if std::mem::replace(&mut self.told, count) != count {
            let message = messages::room_update(self.info());
            self.broadcast(None, &message);
        }
    }
}

/// Loudness between 0 and 1 from -dBov.
fn linear(level: u8) -> f32 {
    10_f32.powf(-f32::from(level) / 20.0)
}

fn quality_of(member: &Member) -> Option<ConnectionQuality> {
    if member.connection.is_none() && member.http.is_none() {
        return Some(ConnectionQuality::Lost);
    }
    let Some(Link { loss, rtt_us }) = member.link else {
        // Back, and not measured yet.
        return (member.quality == Some(ConnectionQuality::Lost)).then_some(ConnectionQuality::Good);
    };
    // Parts per 256: 2 % is 5, 8 % is 20.
    Some(if loss <= 5 && rtt_us <= 200_000 {
        ConnectionQuality::Excellent
    } else if loss <= 20 && rtt_us <= 500_000 {
        ConnectionQuality::Good
    } else {
        ConnectionQuality::Poor
    })
}

const fn score(quality: ConnectionQuality) -> f32 {
    match quality {
        ConnectionQuality::Excellent => 5.0,
        ConnectionQuality::Good => 4.0,
        ConnectionQuality::Poor => 2.0,
        ConnectionQuality::Lost => 1.0,
    }
}
