//! What one participant receives and publishes, and why it is not more: plain data for whoever asks from outside.

use dataplane::base::ids::TrackId;
use dataplane::base::media::MediaKind;
use dataplane::base::reason::Reason;
use dataplane::command::{Delivery, Wanted};
use livekit_protocol as proto;

use super::streams::{Player, Stream, Supply};
use super::{Latest, Member, Room};
use crate::ids::UserId;
use crate::signal::dynacast::Quality;
use crate::signal::settings::Settings;
use crate::signal::track::Track;
use crate::signal::variant::Variant;

/// A participant's media at one moment.
#[derive(Debug)]
pub struct MediaView {
    /// What was last reported of its connections.
    pub link: Latest,
    /// Every track it is subscribed to or cannot decode.
    pub receives: Vec<Receives>,
    /// Every codec of every track it publishes.
    pub publishes: Vec<Publishes>,
}

/// A track on its way to a participant.
#[derive(Debug)]
pub struct Receives {
    /// The track's id in the protocol.
    pub track_id: String,
    /// Identity of the publisher.
    pub from: String,
    /// The publisher's name.
    pub from_name: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// What the track is.
    pub source: proto::TrackSource,
    /// MIME type of the codec sent, or of the primary while none is.
    pub codec: String,
    /// What the participant wants.
    pub wanted: Wanted,
    /// What the packet core sends; `None` until it has said.
    pub delivery: Option<Delivery>,
    /// Width and height of the layer sent, as announced.
    pub size: Option<(u32, u32)>,
    /// Why it is not more.
    pub reason: Option<Reason>,
    /// Names of the codecs that it would have to decode, when it decodes none.
    pub missing_codecs: Vec<&'static str>,
}

/// One codec of a published track.
#[derive(Debug)]
pub struct Publishes {
    /// The track's id in the protocol.
    pub track_id: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// What the track is.
    pub source: proto::TrackSource,
    /// MIME type of the codec.
    pub codec: String,
    /// Its layers from the lowest; empty for audio.
    pub layers: Vec<Layer>,
    /// Streams it feeds.
    pub subscribers: usize,
}

/// A layer of a published video.
#[derive(Debug)]
pub struct Layer {
    /// Its name in the protocol.
    pub quality: Quality,
    /// Width and height, as announced.
    pub size: (u32, u32),
    /// Whether the publisher was told that somebody wants it.
    pub wanted: bool,
}

impl Room {
    /// The media of one person; `None` if it is not in the room.
    #[must_use]
    pub fn media(&self, user: UserId) -> Option<MediaView> {
        let member = self.members.values().find(|member| member.admission.user == user)?;
        let streams = member.subscriber.streams.iter().map(|(sid, stream)| (sid, Some(stream)));
        let refused = member.subscriber.undecodable.iter().map(|sid| (sid, None));
        Some(MediaView {
            link: member.latest,
            receives: streams
                .chain(refused)
                .filter_map(|(sid, stream)| self.receives(member, sid, stream))
                .chain(self.played(member))
                .collect(),
            publishes: member.tracks.iter().flat_map(|track| self.publishes(track)).collect(),
        })
    }

    fn receives(&self, member: &Member, sid: &str, stream: Option<&Stream>) -> Option<Receives> {
        let (publisher, track) = match stream {
            Some(stream) => self.track_by_id(stream.track)?,
            None => self.track(sid)?,
        };
        let publisher = self.members.get(&publisher)?;
        let sent = stream.and_then(Stream::sent);
        let shown = sent.unwrap_or(track.id());
        let settings = member.subscriber.settings.get(sid).copied().unwrap_or(Settings::unsaid());
        let delivery = stream.and_then(|stream| stream.delivery);
        Some(Receives {
            track_id: sid.to_owned(),
            from: publisher.admission.identity.clone(),
            from_name: publisher.name.clone(),
            kind: track.kind,
            source: source(track),
            codec: track.mime_type(shown),
            wanted: track.wanted(shown, &settings),
            delivery,
            size: size(track, shown, delivery),
            reason: stream.map_or(Some(Reason::CodecMissing), Stream::reason),
            missing_codecs: match stream.map(|stream| stream.supply) {
                None => track.variants().filter_map(Variant::codec).collect(),
                Some(Supply::Waiting(_)) => track.primary.codec().into_iter().collect(),
                Some(Supply::Offered | Supply::Sent(_)) => Vec::new(),
            },
        })
    }

    /// What a player is shown: it wants everything, and takes one codec of each track.
    fn played<'a>(&'a self, member: &'a Member) -> impl Iterator<Item = Receives> + 'a {
        let player = member.http.as_ref().and_then(|http| http.player.as_ref());
        let shown = player.into_iter().flat_map(Player::shown);
        shown.filter_map(|(variant, delivery)| {
            let (publisher, track) = self.track_by_id(variant)?;
            let publisher = self.members.get(&publisher)?;
            Some(Receives {
                track_id: track.info.sid.clone(),
                from: publisher.admission.identity.clone(),
                from_name: publisher.name.clone(),
                kind: track.kind,
                source: source(track),
                codec: track.mime_type(variant),
                wanted: Wanted::ALL,
                delivery,
                size: size(track, variant, delivery),
                reason: delivery.and_then(|delivery| delivery.reason),
                missing_codecs: Vec::new(),
            })
        })
    }

    fn publishes<'a>(&'a self, track: &'a Track) -> impl Iterator<Item = Publishes> + 'a {
        track.variants().filter(|variant| variant.published.is_some()).map(|variant| Publishes {
            track_id: track.info.sid.clone(),
            kind: track.kind,
            source: source(track),
            codec: track.mime_type(variant.id),
            layers: layers_of(track, variant),
            subscribers: self.subscribers(track, variant.id),
        })
    }

    /// Streams that one codec of a track feeds.
    fn subscribers(&self, track: &Track, variant: TrackId) -> usize {
        let streams = self.members.values().filter_map(|m| m.subscriber.streams.get(&track.info.sid));
        streams.filter(|stream| stream.sent() == Some(variant)).count() + self.players_shown(variant)
    }
}

/// Width and height of the layer sent, as announced.
fn size(track: &Track, variant: TrackId, delivery: Option<Delivery>) -> Option<(u32, u32)> {
    let layers = track.layers(variant);
    let layer = layers.get(usize::from(delivery?.layer))?;
    Some((layer.width, layer.height)).filter(|size| *size != (0, 0))
}

fn source(track: &Track) -> proto::TrackSource {
    proto::TrackSource::try_from(track.info.source).unwrap_or(proto::TrackSource::Unknown)
}

fn layers_of(track: &Track, variant: &Variant) -> Vec<Layer> {
    if track.kind == MediaKind::Audio {
        return Vec::new();
    }
    let layers = track.layers(variant.id);
    let count = layers.len();
    let layer = |(index, layer): (usize, proto::VideoLayer)| {
        let quality = Quality::of_layer(index, count);
        let wanted = variant.dynacast.told() >= quality;
        Layer { quality, size: (layer.width, layer.height), wanted }
    };
    layers.into_iter().enumerate().map(layer).collect()
}
