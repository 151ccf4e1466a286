//! One publication: what the client announced, what was negotiated for it, what others are told.

use dataplane::base::ids::{PeerId, Rid, TrackId};
use dataplane::base::limits::LAYERS_PER_TRACK;
use dataplane::base::media::{Content, Format, MediaKind};
use dataplane::command::{Publish, SignalledSsrc, Wanted};
use livekit_protocol as proto;

use super::ids;
use crate::sdp::answer::{Accepted, Preferences, codec_name};
use crate::sdp::description::Section;

/// Longest text a client may put into a publication: names, ids, streams; bytes.
const TEXT_BYTES_MAX: usize = 256;
/// Most entries of lists a client may put into a publication.
const LIST_MAX: usize = 8;
/// Layers a subscriber gets until it says otherwise.
pub const LAYER_ANY: u8 = LAYERS_PER_TRACK as u8 - 1;

/// A publication of one participant.
pub struct Track {
    /// Its number on the packet plane.
    pub id: TrackId,
    /// Audio or video.
    pub kind: MediaKind,
    /// What others see.
    pub info: proto::TrackInfo,
    /// What was negotiated; `None` until the publisher's offer named it.
    pub published: Option<Accepted>,
    /// Whether the publisher was told that somebody subscribed.
    pub subscribed: bool,
    /// SSRCs the offer named.
    ssrcs: Vec<SignalledSsrc>,
    /// Track ids its media section may carry.
    cids: Vec<String>,
    /// Codec names wanted, most wanted first.
    codecs: Vec<String>,
    dtx: bool,
}

fn is_short(text: &str) -> bool {
    text.len() <= TEXT_BYTES_MAX
}

fn mime(kind: MediaKind, codec: &str) -> String {
    let kind = if kind == MediaKind::Audio { "audio" } else { "video" };
    format!("{kind}/{codec}")
}

impl Track {
    /// Takes an announcement; `None` if it is of no kind we forward or its texts are too long.
    #[must_use]
    #[expect(deprecated, reason = "older clients read and write the deprecated fields of the protocol")]
    pub fn announced(id: TrackId, request: proto::AddTrackRequest) -> Option<Self> {
        let kind = match proto::TrackType::try_from(request.r#type) {
            Ok(proto::TrackType::Audio) => MediaKind::Audio,
            Ok(proto::TrackType::Video) => MediaKind::Video,
            _ => return None,
        };
        if ![&request.cid, &request.name, &request.stream].into_iter().all(|text| is_short(text)) {
            return None;
        }
        let mut cids = vec![request.cid.clone()];
        let mut codecs = Vec::new();
        let mut infos = Vec::new();
        for wanted in request.simulcast_codecs.into_iter().take(LIST_MAX) {
            if !is_short(&wanted.codec) || !is_short(&wanted.cid) {
                return None;
            }
            let Some(name) = known_codec(&wanted.codec) else { continue };
            if !wanted.cid.is_empty() && !cids.contains(&wanted.cid) {
                cids.push(wanted.cid.clone());
            }
            let layers = if wanted.layers.is_empty() { request.layers.clone() } else { wanted.layers };
            infos.push(proto::SimulcastCodecInfo {
                mime_type: mime(kind, name),
                cid: wanted.cid,
                layers: layers.into_iter().take(LIST_MAX).collect(),
                video_layer_mode: wanted.video_layer_mode,
                ..Default::default()
            });
            codecs.push(name.to_owned());
        }
        let first =
            codecs.first().map_or(if kind == MediaKind::Audio { "opus" } else { "VP8" }, String::as_str);
        let features = |feature: proto::AudioTrackFeature| request.audio_features.contains(&feature.into());
        let stereo = request.stereo || features(proto::AudioTrackFeature::TfStereo);
        let disable_dtx = request.disable_dtx || features(proto::AudioTrackFeature::TfNoDtx);
        let info = proto::TrackInfo {
            sid: ids::sid("TR_"),
            r#type: request.r#type,
            name: request.name,
            muted: request.muted,
            width: request.width,
            height: request.height,
            disable_dtx,
            source: request.source,
            mime_type: mime(kind, first),
            codecs: infos,
            stereo,
            disable_red: request.disable_red,
            encryption: request.encryption,
            stream: request.stream,
            audio_features: request.audio_features.into_iter().take(LIST_MAX).collect(),
            backup_codec_policy: request.backup_codec_policy,
            packet_trailer_features: request.packet_trailer_features.into_iter().take(LIST_MAX).collect(),
            layers: request.layers.into_iter().take(LIST_MAX).collect(),
            ..Default::default()
        };
        let dtx = kind == MediaKind::Audio && !disable_dtx;
        Some(Self {
            id,
            kind,
            info,
            published: None,
            subscribed: false,
            ssrcs: Vec::new(),
            cids,
            codecs,
            dtx,
        })
    }

    /// The id the client gave it.
    #[must_use]
    pub fn cid(&self) -> &str {
        self.cids.first().map_or("", String::as_str)
    }

    /// Whether a media section that carries this track id is ours.
    #[must_use]
    pub fn is_called(&self, cid: &str) -> bool {
        self.cids.iter().any(|c| c == cid)
    }

    /// Wishes for the answer.
    #[must_use]
    #[expect(deprecated, reason = "stereo is told by a deprecated field that clients still read")]
    pub fn preferences(&self) -> Preferences<'_> {
        Preferences {
            codecs: &self.codecs,
            red: !self.info.disable_red,
            stereo: self.info.stereo,
            dtx: self.dtx,
        }
    }

    /// Takes what was negotiated; false if it is what it was.
    #[expect(deprecated, reason = "older clients read the deprecated simulcast fields")]
    pub fn negotiated(&mut self, mut accepted: Accepted, section: &Section) -> bool {
        accepted.rids = lowest_first(accepted.rids);
        let known = self.published.as_ref() == Some(&accepted) && self.ssrcs == section.ssrcs;
        if known {
            return false;
        }
        self.info.mid = accepted.mid.as_str().to_owned();
        self.info.simulcast = !accepted.rids.is_empty();
        if let Some(format) = accepted.formats.first() {
            self.info.mime_type = mime(self.kind, codec_name(format.codec));
        }
        let mime_type = self.info.mime_type.clone();
        if self.info.codecs.is_empty() {
            self.info.codecs.push(proto::SimulcastCodecInfo {
                cid: self.cid().to_owned(),
                layers: self.info.layers.clone(),
                ..Default::default()
            });
        }
        if let Some(codec) =
            self.info.codecs.iter_mut().find(|c| c.mime_type.is_empty() || c.mime_type == mime_type)
        {
            codec.mime_type = mime_type;
            codec.mid = self.info.mid.clone();
        }
        self.ssrcs.clone_from(&section.ssrcs);
        self.published = Some(accepted);
        true
    }

    /// The command that tells the packet plane; `None` before negotiation.
    #[must_use]
    pub fn publish(&self, peer: PeerId) -> Option<Publish> {
        let accepted = self.published.as_ref()?;
        Some(Publish {
            track: self.id,
            peer,
            kind: self.kind,
            content: self.content(),
            mid: accepted.mid,
            formats: accepted.formats.clone(),
            extensions: accepted.extensions,
            ssrcs: self.ssrcs.clone(),
            rids: accepted.rids.clone(),
        })
    }

    /// Formats the publisher sends.
    #[must_use]
    pub fn formats(&self) -> &[Format] {
        self.published.as_ref().map_or(&[], |p| &p.formats)
    }

    /// What a subscriber wants, from the size it shows the video at or the quality it names.
    #[must_use]
    #[expect(deprecated, reason = "clients announce their layers in the deprecated field")]
    pub fn wanted(&self, settings: &proto::UpdateTrackSettings) -> Wanted {
        let enabled = !settings.disabled;
        if self.kind == MediaKind::Audio {
            return Wanted { enabled, layer_max: LAYER_ANY, ..Wanted::ALL };
        }
        let layer_max = if settings.width > 0 || settings.height > 0 {
            let mut sizes: Vec<(u32, u32)> = self.info.layers.iter().map(|l| (l.width, l.height)).collect();
            sizes.sort_unstable();
            sizes
                .iter()
                .position(|(width, height)| *width >= settings.width && *height >= settings.height)
                .map_or(LAYER_ANY, |index| u8::try_from(index).unwrap_or(LAYER_ANY))
        } else {
            match proto::VideoQuality::try_from(settings.quality) {
                Ok(proto::VideoQuality::Low) => 0,
                Ok(proto::VideoQuality::Medium) => 1,
                _ => LAYER_ANY,
            }
        };
        Wanted { enabled, layer_max: layer_max.min(LAYER_ANY), ..Wanted::ALL }
    }

    /// What a video track shows.
    fn content(&self) -> Content {
        match proto::TrackSource::try_from(self.info.source) {
            Ok(proto::TrackSource::ScreenShare) => Content::Screen,
            _ => Content::Camera,
        }
    }
}

/// The table's spelling of a codec name we can forward.
fn known_codec(name: &str) -> Option<&'static str> {
    ["VP8", "VP9", "H264", "AV1", "opus"].into_iter().find(|known| known.eq_ignore_ascii_case(name))
}

/// Layers from lowest to highest: the names browsers' SDKs use say it, other names keep their order.
fn lowest_first(mut rids: Vec<Rid>) -> Vec<Rid> {
    const NAMES: [&str; 3] = ["q", "h", "f"];
    let place = |rid: &Rid| NAMES.iter().position(|name| *name == rid.as_str());
    if rids.iter().all(|rid| place(rid).is_some()) {
        rids.sort_by_key(place);
    }
    rids
}

#[cfg(test)]
mod tests {
    use dataplane::base::ids::Label;

    use super::*;

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
            simulcast_codecs: vec![proto::SimulcastCodec {
                codec: "vp9".into(),
                cid: "camera-1".into(),
                ..Default::default()
            }],
            encryption: proto::encryption::Type::Gcm.into(),
            ..Default::default()
        }
    }

    #[test]
    fn an_announcement_keeps_what_others_need() {
        let track = Track::announced(TrackId(1), request(proto::TrackType::Video)).expect("a video track");
        assert_eq!(track.info.mime_type, "video/VP9");
        assert_eq!(track.info.encryption, i32::from(proto::encryption::Type::Gcm));
        assert_eq!(track.info.codecs[0].cid, "camera-1");
        assert_eq!(track.preferences().codecs, ["VP9"]);
        assert!(track.is_called("camera-1") && !track.is_called("camera-2"));
        assert!(Track::announced(TrackId(1), request(proto::TrackType::Data)).is_none());
        let long = proto::AddTrackRequest { name: "x".repeat(300), ..request(proto::TrackType::Video) };
        assert!(Track::announced(TrackId(1), long).is_none());
    }

    #[test]
    fn the_layer_wanted_follows_the_shown_size_or_the_named_quality() {
        let track = Track::announced(TrackId(1), request(proto::TrackType::Video)).expect("a video track");
        let sized = |width, height| {
            track.wanted(&proto::UpdateTrackSettings { width, height, ..Default::default() }).layer_max
        };
        assert_eq!(sized(100, 50), 0);
        assert_eq!(sized(161, 90), 1);
        assert_eq!(sized(1920, 1080), 2);
        let quality = |quality: proto::VideoQuality| {
            track
                .wanted(&proto::UpdateTrackSettings { quality: quality.into(), ..Default::default() })
                .layer_max
        };
        assert_eq!(quality(proto::VideoQuality::Low), 0);
        assert_eq!(quality(proto::VideoQuality::High), 2);
        assert!(!track.wanted(&proto::UpdateTrackSettings { disabled: true, ..Default::default() }).enabled);
    }

    #[test]
    fn layers_are_ordered_from_lowest_to_highest() {
        let rids = |names: &[&str]| -> Vec<Rid> {
            names.iter().filter_map(|name| Label::new(name.as_bytes())).collect()
        };
        assert_eq!(lowest_first(rids(&["f", "h", "q"])), rids(&["q", "h", "f"]));
        assert_eq!(lowest_first(rids(&["h", "q"])), rids(&["q", "h"]));
        assert_eq!(lowest_first(rids(&["a", "q"])), rids(&["a", "q"]));
    }
}
