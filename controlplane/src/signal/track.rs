//! One publication: what the client announced, what was negotiated for it, what others are told.

use dataplane::base::ids::{PeerId, Rid, TrackId};
use dataplane::base::media::{Content, MediaKind};
use dataplane::command::{Publish, Wanted};
use livekit_protocol as proto;
use proto::video_layer::Mode;

use super::ids;
use super::settings::Settings;
use super::variant::Variant;
use crate::sdp::answer::{Accepted, Preferences, codec_name};
use crate::sdp::description::Section;

/// Longest text a client may put into a publication: names, ids, streams; bytes.
const TEXT_BYTES_MAX: usize = 256;
/// Most entries of lists a client may put into a publication.
const LIST_MAX: usize = 8;

/// A publication of one participant.
pub struct Track {
    /// Audio or video.
    pub kind: MediaKind,
    /// What others see.
    pub info: proto::TrackInfo,
    /// Whether the publisher was told that somebody subscribed.
    pub subscribed: bool,
    /// The codec it is sent as.
    pub primary: Variant,
    /// Codecs it can be sent as beside that, for those who decode no other; one per codec name.
    pub backups: Vec<Variant>,
    dtx: bool,
}

/// Those that the protocol knows: what others read is written as names too, and an unknown number has none.
fn known<E: TryFrom<i32>>(numbers: &[i32]) -> Vec<i32> {
    numbers.iter().copied().filter(|number| E::try_from(*number).is_ok()).take(LIST_MAX).collect()
}

/// What a client says of its audio, as others are told.
pub fn audio_features(numbers: &[i32]) -> Vec<i32> {
    known::<proto::AudioTrackFeature>(numbers)
}

fn is_short(text: &str) -> bool {
    text.len() <= TEXT_BYTES_MAX
}

fn mime(kind: MediaKind, codec: &str) -> String {
    let kind = if kind == MediaKind::Audio { "audio" } else { "video" };
    format!("{kind}/{codec}")
}

impl Track {
    /// Takes an announcement; `None` if it is of no kind we forward or its texts are too long. `number` gives each codec its
    /// number on the packet plane.
    #[must_use]
    #[expect(deprecated, reason = "older clients read and write the deprecated fields of the protocol")]
    pub fn announced(mut number: impl FnMut() -> TrackId, request: proto::AddTrackRequest) -> Option<Self> {
        let kind = match proto::TrackType::try_from(request.r#type) {
            Ok(proto::TrackType::Audio) => MediaKind::Audio,
            Ok(proto::TrackType::Video) => MediaKind::Video,
            _ => return None,
        };
        if ![&request.cid, &request.name, &request.stream].into_iter().all(|text| is_short(text)) {
            return None;
        }
        let announced = bounded(request.layers.clone());
        let mut cids = vec![request.cid.clone()];
        let mut codecs: Vec<&'static str> = Vec::new();
        let mut infos = Vec::new();
        for wanted in request.simulcast_codecs.iter().take(LIST_MAX) {
            if !is_short(&wanted.codec) || !is_short(&wanted.cid) {
                return None;
            }
            let Some(name) = known_codec(&wanted.codec).filter(|name| !codecs.contains(name)) else {
                continue;
            };
            if codecs.is_empty() && !wanted.cid.is_empty() && !cids.contains(&wanted.cid) {
                cids.push(wanted.cid.clone());
            }
            let own = bounded(wanted.layers.clone());
            infos.push(proto::SimulcastCodecInfo {
                mime_type: mime(kind, name),
                video_layer_mode: wanted.video_layer_mode().into(),
                cid: wanted.cid.clone(),
                layers: if own.is_empty() { announced.clone() } else { own },
                ..Default::default()
            });
            codecs.push(name);
        }
        let first = codecs.first().copied();
        let usual = if kind == MediaKind::Audio { "opus" } else { "VP8" };
        let features = |feature: proto::AudioTrackFeature| request.audio_features.contains(&feature.into());
        let stereo = request.stereo || features(proto::AudioTrackFeature::TfStereo);
        let disable_dtx = request.disable_dtx || features(proto::AudioTrackFeature::TfNoDtx);
        let info = proto::TrackInfo {
            sid: ids::sid("TR_"),
            r#type: request.r#type,
            muted: request.muted,
            width: request.width,
            height: request.height,
            disable_dtx,
            // An unknown number is the default.
            source: request.source().into(),
            encryption: request.encryption().into(),
            backup_codec_policy: request.backup_codec_policy().into(),
            audio_features: audio_features(&request.audio_features),
            packet_trailer_features: known::<proto::PacketTrailerFeature>(&request.packet_trailer_features),
            mime_type: mime(kind, first.unwrap_or(usual)),
            codecs: infos,
            stereo,
            disable_red: request.disable_red,
            name: request.name,
            stream: request.stream,
            layers: announced,
            ..Default::default()
        };
        let others = if kind == MediaKind::Video { codecs.get(1..).unwrap_or_default() } else { &[] };
        let others = others.to_vec();
        Some(Self {
            kind,
            info,
            subscribed: false,
            // Where its own codec is not offered the primary falls back to one announced as backup.
            primary: Variant::primary(number(), codecs, cids),
            backups: others.into_iter().map(|codec| Variant::backup(number(), vec![codec])).collect(),
            dtx: kind == MediaKind::Audio && !disable_dtx,
        })
    }

    /// Its number on the packet plane: its primary codec's.
    #[must_use]
    pub const fn id(&self) -> TrackId {
        self.primary.id
    }

    /// Whether the publisher's offer has named it.
    #[must_use]
    pub const fn is_published(&self) -> bool {
        self.primary.published.is_some()
    }

    /// All its codecs, the primary first.
    pub fn variants(&self) -> impl Iterator<Item = &Variant> {
        std::iter::once(&self.primary).chain(&self.backups)
    }

    /// See [`Track::variants`].
    pub fn variants_mut(&mut self) -> impl Iterator<Item = &mut Variant> {
        std::iter::once(&mut self.primary).chain(&mut self.backups)
    }

    /// The codec of this number.
    #[must_use]
    pub fn variant(&self, id: TrackId) -> Option<&Variant> {
        self.variants().find(|variant| variant.id == id)
    }

    /// Wishes for the answer to the media section of one of its codecs.
    #[must_use]
    #[expect(deprecated, reason = "stereo is told by a deprecated field that clients still read")]
    pub fn preferences(&self, id: TrackId) -> Preferences<'_> {
        Preferences {
            codecs: self.variant(id).map_or(&[], Variant::choices),
            red: !self.info.disable_red,
            stereo: self.info.stereo,
            dtx: self.dtx,
            carries: None,
        }
    }

    /// The publisher is about to send a backup: a second announcement that names this track. The variant's number; `None` if
    /// no such codec was announced.
    pub fn backup_announced(&mut self, request: &proto::AddTrackRequest) -> Option<TrackId> {
        let codec = request.simulcast_codecs.first()?;
        let name = known_codec(&codec.codec)?;
        if !is_short(&request.cid) || !is_short(&codec.cid) {
            return None;
        }
        let variant = self.backups.iter_mut().find(|backup| backup.codec() == Some(name))?;
        variant.comes_as([&request.cid, &codec.cid].into_iter());
        let id = variant.id;
        let mime_type = mime(self.kind, name);
        if let Some(info) = self.info.codecs.iter_mut().find(|info| info.mime_type == mime_type) {
            info.cid.clone_from(&request.cid);
            let layers = if codec.layers.is_empty() { &request.layers } else { &codec.layers };
            if !layers.is_empty() {
                info.layers = bounded(layers.iter().take(LIST_MAX).cloned().collect());
            }
        }
        Some(id)
    }

    /// Takes what was negotiated for one of its codecs; false if it is what it was.
    #[expect(deprecated, reason = "older clients read the deprecated simulcast fields")]
    pub fn negotiated(&mut self, id: TrackId, accepted: Accepted, section: &Section) -> bool {
        let mid = accepted.mid.as_str().to_owned();
        let codec = accepted.formats.first().map(|format| codec_name(format.codec));
        let Some(variant) = self.variants_mut().find(|variant| variant.id == id) else { return false };
        if !variant.negotiated(accepted, section) {
            return false;
        }
        let mime_type = codec.map_or_else(|| self.info.mime_type.clone(), |codec| mime(self.kind, codec));
        if id == self.primary.id {
            self.info.mid.clone_from(&mid);
            self.info.simulcast = !self.primary.rids().is_empty();
            self.info.mime_type.clone_from(&mime_type);
            // What the primary is sent as need not come a second time.
            self.backups.retain(|backup| backup.published.is_some() || backup.codec() != codec);
            if self.info.codecs.is_empty() {
                self.info.codecs.push(proto::SimulcastCodecInfo {
                    cid: self.primary.cid().to_owned(),
                    layers: self.info.layers.clone(),
                    ..Default::default()
                });
            }
        }
        let rids: Vec<Rid> = self.variant(id).map(|variant| variant.rids().to_vec()).unwrap_or_default();
        if id == self.primary.id {
            place_layers(&mut self.info.layers, &rids);
        }
        if let Some(info) =
            self.info.codecs.iter_mut().find(|c| c.mime_type.is_empty() || c.mime_type == mime_type)
        {
            info.mime_type = mime_type;
            info.mid = mid;
            place_layers(&mut info.layers, &rids);
            if self.kind == MediaKind::Video && info.video_layer_mode == i32::from(Mode::Unused) {
                let is_svc = rids.is_empty() && matches!(codec, Some("VP9" | "AV1"));
                let one = Mode::OneSpatialLayerPerStream;
                info.video_layer_mode =
                    if is_svc { Mode::MultipleSpatialLayersPerStream } else { one }.into();
            }
        }
        true
    }

    /// The publisher no longer sends this backup. The codec as it was; it may come again under another number.
    pub fn backup_ended(&mut self, id: TrackId, number: impl FnOnce() -> TrackId) -> Option<Variant> {
        let kind = self.kind;
        let variant = self.backups.iter_mut().find(|backup| backup.id == id)?;
        let codecs = variant.choices().to_vec();
        let mime_type = mime(kind, variant.codec().unwrap_or_default());
        let ended = std::mem::replace(variant, Variant::backup(number(), codecs));
        if let Some(info) = self.info.codecs.iter_mut().find(|info| info.mime_type == mime_type) {
            info.mid.clear();
            info.cid.clear();
        }
        Some(ended)
    }

    /// The command that tells the packet plane about one of its codecs; `None` before negotiation.
    #[must_use]
    pub fn publish(&self, id: TrackId, peer: PeerId) -> Option<Publish> {
        self.variant(id)?.publish(peer, self.kind, self.content())
    }

    /// What a subscriber with these settings wants of it, when it is sent as this codec.
    #[must_use]
    pub fn wanted(&self, id: TrackId, settings: &Settings) -> Wanted {
        match self.kind {
            MediaKind::Audio => settings.of_audio(),
            MediaKind::Video => settings.of_video(&self.sizes(id)),
        }
    }

    /// Widths and heights of the layers announced for one of its codecs, smallest first.
    #[must_use]
    pub fn sizes(&self, id: TrackId) -> Vec<(u32, u32)> {
        self.layers(id).iter().map(|layer| (layer.width, layer.height)).collect()
    }

    /// The MIME type of one of its codecs: as sent, else as announced.
    #[must_use]
    pub fn mime_type(&self, id: TrackId) -> String {
        let variant = self.variant(id);
        let codec = variant.and_then(|variant| variant.sent_codec().or_else(|| variant.codec()));
        codec.map_or_else(|| self.info.mime_type.clone(), |codec| mime(self.kind, codec))
    }

    /// Layers announced for one of its codecs, smallest first.
    #[must_use]
    #[expect(deprecated, reason = "older clients announce their layers in the deprecated field")]
    pub fn layers(&self, id: TrackId) -> Vec<proto::VideoLayer> {
        let mime_type = self.mime_type(id);
        let own = self.info.codecs.iter().find(|info| info.mime_type == mime_type);
        let own = own.map(|info| &info.layers).filter(|layers| !layers.is_empty());
        let mut layers = own.unwrap_or(&self.info.layers).clone();
        layers.sort_by_key(|layer| u64::from(layer.width) * u64::from(layer.height));
        layers
    }

    /// What a video track shows.
    fn content(&self) -> Content {
        match proto::TrackSource::try_from(self.info.source) {
            Ok(proto::TrackSource::ScreenShare) => Content::Screen,
            _ => Content::Camera,
        }
    }
}

/// Layers as others are told of them; the name of a layer's stream is ours to say.
fn bounded(mut layers: Vec<proto::VideoLayer>) -> Vec<proto::VideoLayer> {
    layers.truncate(LIST_MAX);
    for layer in &mut layers {
        layer.quality = layer.quality().into();
    }
    layers.iter_mut().filter(|layer| !is_short(&layer.rid)).for_each(|layer| layer.rid.clear());
    layers
}

/// Says of each announced layer which it is: its place from the smallest, and its stream when each has one of its own.
fn place_layers(layers: &mut [proto::VideoLayer], rids: &[Rid]) {
    let area = |layer: &proto::VideoLayer| u64::from(layer.width) * u64::from(layer.height);
    let areas: Vec<u64> = layers.iter().map(area).collect();
    for (index, layer) in layers.iter_mut().enumerate() {
        let smaller =
            (0..areas.len()).filter(|other| (areas[*other], *other) < (areas[index], index)).count();
        layer.spatial_layer = i32::try_from(smaller).unwrap_or(i32::MAX);
        if let Some(rid) = rids.get(smaller) {
            layer.rid = rid.as_str().to_owned();
        }
    }
}

/// The table's spelling of a codec name we can forward.
fn known_codec(name: &str) -> Option<&'static str> {
    ["VP8", "VP9", "H264", "AV1", "opus"].into_iter().find(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers() -> impl FnMut() -> TrackId {
        let mut last = 0;
        move || {
            last += 1;
            TrackId(last)
        }
    }

    fn codec(name: &str, cid: &str) -> proto::SimulcastCodec {
        proto::SimulcastCodec { codec: name.into(), cid: cid.into(), ..Default::default() }
    }

    fn request(kind: proto::TrackType) -> proto::AddTrackRequest {
        proto::AddTrackRequest {
            cid: "camera-1".into(),
            r#type: kind.into(),
            source: proto::TrackSource::Camera.into(),
            width: 640,
            height: 360,
            layers: [(0, 160, 90), (1, 320, 180), (2, 640, 360)]
                .map(|(quality, width, height)| proto::VideoLayer {
                    quality,
                    width,
                    height,
                    ..Default::default()
                })
                .into(),
            simulcast_codecs: vec![codec("vp9", "camera-1"), codec("vp8", "")],
            encryption: proto::encryption::Type::Gcm.into(),
            ..Default::default()
        }
    }

    fn video() -> Track {
        Track::announced(numbers(), request(proto::TrackType::Video)).expect("a video track")
    }

    #[test]
    fn an_announcement_keeps_what_others_need() {
        let track = video();
        assert_eq!(track.info.mime_type, "video/VP9");
        assert_eq!(track.info.encryption, i32::from(proto::encryption::Type::Gcm));
        assert_eq!(track.info.codecs[0].cid, "camera-1");
        assert_eq!(track.preferences(track.id()).codecs, ["VP9", "VP8"]);
        assert!(track.primary.is_called("camera-1") && !track.primary.is_called("camera-2"));
        assert!(Track::announced(numbers(), request(proto::TrackType::Data)).is_none());
        let long = proto::AddTrackRequest { name: "x".repeat(300), ..request(proto::TrackType::Video) };
        assert!(Track::announced(numbers(), long).is_none());
    }

    #[test]
    fn a_backup_has_a_number_and_later_a_name_and_layers_of_its_own() {
        let mut track = video();
        assert_eq!(track.backups.len(), 1);
        let id = track.backups[0].id;
        assert_ne!(id, track.id());
        assert_eq!(track.preferences(id).codecs, ["VP8"]);
        assert!(!track.backups[0].is_coming());
        let second = proto::AddTrackRequest {
            cid: "clone-1".into(),
            sid: track.info.sid.clone(),
            layers: vec![proto::VideoLayer { width: 320, height: 180, ..Default::default() }],
            simulcast_codecs: vec![codec("vp8", "clone-1")],
            ..Default::default()
        };
        assert_eq!(track.backup_announced(&second), Some(id));
        assert!(track.backups[0].is_called("clone-1") && track.backups[0].is_coming());
        assert_eq!((track.layers(id).len(), track.layers(track.id()).len()), (1, 3));
        assert_eq!(track.info.codecs[1].cid, "clone-1");
        let unannounced =
            proto::AddTrackRequest { simulcast_codecs: vec![codec("av1", "clone-2")], ..second.clone() };
        assert_eq!(track.backup_announced(&unannounced), None);
        let nameless = proto::AddTrackRequest { simulcast_codecs: Vec::new(), ..second };
        assert_eq!(track.backup_announced(&nameless), None);
    }

    #[test]
    #[expect(deprecated, reason = "older clients read the deprecated field")]
    fn what_others_are_told_of_layers_is_bounded() {
        let endless = proto::VideoLayer { rid: "x".repeat(1_000_000), width: 9, ..Default::default() };
        let mut many = request(proto::TrackType::Video);
        many.layers = vec![endless.clone(); 100];
        many.simulcast_codecs = vec![codec("vp9", "camera-1"), codec("vp8", "")];
        many.simulcast_codecs[0].layers = vec![endless.clone(); 100];
        let mut track = Track::announced(numbers(), many).expect("a video track");
        let mut second = codec("vp8", "clone-1");
        second.layers = vec![endless; 100];
        let second = proto::AddTrackRequest {
            cid: "clone-1".into(),
            simulcast_codecs: vec![second],
            ..Default::default()
        };
        assert!(track.backup_announced(&second).is_some());
        let lists = track.info.codecs.iter().map(|info| &info.layers).chain([&track.info.layers]);
        for layers in lists {
            assert_eq!((layers.len(), layers[0].width), (LIST_MAX, 9));
            assert!(layers.iter().all(|layer| layer.rid.is_empty()));
        }
    }

    #[test]
    #[expect(deprecated, reason = "older clients read the deprecated field")]
    fn numbers_the_protocol_does_not_know_are_told_to_nobody() {
        let mut strange = request(proto::TrackType::Video);
        (strange.source, strange.encryption, strange.backup_codec_policy) = (99, -1, 99);
        strange.audio_features = vec![99, proto::AudioTrackFeature::TfStereo.into(), -1];
        strange.packet_trailer_features = vec![99, 1];
        strange.layers[0].quality = 99;
        strange.simulcast_codecs[0].video_layer_mode = 99;
        strange.simulcast_codecs[0].layers = vec![proto::VideoLayer { quality: -1, ..Default::default() }];
        let mut track = Track::announced(numbers(), strange).expect("a video track");
        let second = proto::AddTrackRequest {
            cid: "clone-1".into(),
            simulcast_codecs: vec![codec("vp8", "clone-1")],
            layers: vec![proto::VideoLayer { quality: 99, ..Default::default() }],
            ..Default::default()
        };
        assert!(track.backup_announced(&second).is_some());
        let info = &track.info;
        assert_eq!((info.source, info.encryption, info.backup_codec_policy), (0, 0, 0));
        assert_eq!((info.audio_features.len(), info.packet_trailer_features.as_slice()), (1, &[1][..]));
        assert_eq!(info.codecs[0].video_layer_mode, 0);
        for layers in info.codecs.iter().map(|codec| &codec.layers).chain([&info.layers]) {
            assert_eq!(layers[0].quality, 0);
        }
        serde_json::to_string(info).expect("every number has its name");
    }

    #[test]
    fn each_layer_says_its_place_and_its_stream() {
        let rids: Vec<Rid> = ["q", "h", "f"].iter().filter_map(|rid| Rid::new(rid.as_bytes())).collect();
        let mut layers = video().layers(TrackId(1));
        layers.reverse();
        place_layers(&mut layers, &rids);
        let places: Vec<_> = layers.iter().map(|l| (l.width, l.spatial_layer, l.rid.as_str())).collect();
        assert_eq!(places, [(640, 2, "f"), (320, 1, "h"), (160, 0, "q")]);
        place_layers(&mut layers[..1], &[]);
        assert_eq!(layers[0].spatial_layer, 0, "a single layer is the first");
    }

    #[test]
    fn announced_codecs_are_told_apart_by_name_and_of_audio_there_is_one() {
        let mut many = request(proto::TrackType::Video);
        many.simulcast_codecs =
            ["vp8", "VP8", "h265", "vp9", "av1", "h264", "vp9"].map(|n| codec(n, "")).into();
        let track = Track::announced(numbers(), many).expect("a video track");
        let names: Vec<_> = track.variants().map(Variant::codec).collect();
        assert_eq!(names, [Some("VP8"), Some("VP9"), Some("AV1"), Some("H264")]);
        let audio = Track::announced(numbers(), request(proto::TrackType::Audio)).expect("an audio track");
        assert!(audio.backups.is_empty());
    }

    #[test]
    fn the_layer_wanted_is_one_of_those_announced() {
        let track = video();
        let sized = |width, height| {
            let message = proto::UpdateTrackSettings { width, height, ..Default::default() };
            track.wanted(track.id(), &Settings::read(&message)).layer_max
        };
        assert_eq!((sized(100, 50), sized(161, 90), sized(1920, 1080)), (0, 1, Wanted::ALL.layer_max));
        let audio = Track::announced(numbers(), request(proto::TrackType::Audio)).expect("an audio track");
        let paused = Wanted { enabled: false, ..Wanted::ALL };
        assert_eq!(audio.wanted(audio.id(), &Settings::unsaid().paused()), paused);
    }
}
