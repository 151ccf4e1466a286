//! One guest of a simulated meeting: what he negotiates, publishes and receives.

use std::collections::BTreeMap;

use dataplane::base::handoff::{MasterKey, SrtpKeys, SrtpProfile};
use dataplane::base::ids::{Label, Mid, Rid, Ssrc};
use dataplane::base::media::{Codec, Extension, ExtensionMap, Format, MediaKind};
use dataplane::base::net::Path;
use dataplane::base::rng::Rng;
use dataplane::base::time::Micros;
use dataplane::command::SignalledSsrc;
use tools::client::codec::VideoCodec;
use tools::client::codec::scalability::Scalability;
use tools::client::receiver::ReceiveConfig;
use tools::client::source::{AudioConfig, Encoding, TrackConfig, VideoConfig};
use tools::client::{Client, Feedback, SourceId};

const OPUS: u8 = 111;
const RED: u8 = 63;

/// What a guest negotiates and publishes.
#[derive(Clone, Debug)]
pub struct Terms {
    /// His microphone.
    pub microphone: Option<Microphone>,
    /// His camera.
    pub camera: Option<Camera>,
    /// Audio is sent and taken with redundancy.
    pub red: bool,
    /// Missing audio is asked for, and sent again.
    pub audio_nack: bool,
    /// What he tells the server about his link.
    pub feedback: Feedback,
}

/// An audio track.
#[derive(Clone, Copy, Debug)]
pub struct Microphone {
    /// Bytes of a frame.
    pub frame_bytes: usize,
    /// Level as in RFC 6464.
    pub level: u8,
}

/// A video track.
#[derive(Clone, Debug)]
pub struct Camera {
    /// How it is packetised.
    pub codec: VideoCodec,
    /// Layers of each encoding.
    pub scalability: Scalability,
    /// Simulcast layers from the lowest: bytes of a delta picture and of a key picture.
    pub encodings: Vec<(usize, usize)>,
    /// Layers are told apart by rid; else their SSRCs are signalled.
    pub rids: bool,
    /// Time between pictures, microseconds.
    pub interval_us: u64,
    /// Pictures grow to their size over this time, microseconds.
    pub ramp_us: u64,
}

/// A participant: one association that sends and receives.
pub struct Guest {
    /// His client.
    pub client: Client,
    /// His address, as the server sees it.
    pub path: Path,
    /// The meeting he is in.
    pub meeting: u64,
    /// What he negotiates and publishes.
    pub terms: Terms,
    /// His microphone, if he has one.
    pub microphone: Option<SourceId>,
    /// His camera, if he has one.
    pub camera: Option<SourceId>,
    /// Publisher and kind of each stream he receives, by its SSRC.
    pub streams: BTreeMap<u32, (u32, MediaKind)>,
    pub(super) keys: SrtpKeys,
    pub(super) due: Micros,
}

impl Terms {
    /// Header extensions he negotiates.
    #[must_use]
    pub fn extensions(&self) -> ExtensionMap {
        let mut map = ExtensionMap::default();
        for (id, extension) in [
            (1, Extension::AudioLevel),
            (2, Extension::AbsSendTime),
            (3, Extension::TransportCc),
            (4, Extension::Mid),
            (5, Extension::DependencyDescriptor),
            (10, Extension::Rid),
            (11, Extension::RepairedRid),
        ] {
            if extension != Extension::TransportCc || self.feedback == Feedback::TransportWide {
                map.set(extension, id);
            }
        }
        map
    }
}

impl Guest {
    /// A guest who publishes and receives nothing yet.
    #[must_use]
    pub fn new(client: Client, path: Path, meeting: u64, keys: SrtpKeys, terms: Terms) -> Self {
        Self {
            client,
            path,
            meeting,
            terms,
            microphone: None,
            camera: None,
            streams: BTreeMap::new(),
            keys,
            due: Micros(0),
        }
    }

    /// The kinds he publishes.
    #[must_use]
    pub fn kinds(&self) -> Vec<MediaKind> {
        let audio = self.terms.microphone.map(|_| MediaKind::Audio);
        let video = self.terms.camera.as_ref().map(|_| MediaKind::Video);
        audio.into_iter().chain(video).collect()
    }

    /// Has his client act on what a test told it.
    pub const fn wake(&mut self) {
        self.due = Micros(0);
    }

    pub(super) fn mute(&mut self) {
        for source in self.microphone.into_iter().chain(self.camera) {
            self.client.set_muted(source, true);
        }
    }

    /// Starts what his terms say of a kind.
    pub fn publish(&mut self, now: Micros, peer: u32, kind: MediaKind, rng: &mut Rng) {
        let format = format(kind, self.codec());
        let track = TrackConfig {
            track: track_number(peer, kind),
            mid: Some(mid(peer, kind)),
            pt: format.pt,
            rtx_pt: format.rtx_pt,
            extensions: self.terms.extensions(),
            phase_us: rng.below(60_000),
            frames_max: None,
        };
        let ssrc = Ssrc(published_ssrc(peer, kind, 0));
        if let (MediaKind::Audio, Some(microphone)) = (kind, self.terms.microphone) {
            let audio = AudioConfig {
                track,
                ssrc,
                payload_bytes: microphone.frame_bytes,
                level: microphone.level,
                red_pt: self.terms.red.then_some(RED),
                nack: self.terms.audio_nack,
            };
            self.microphone = Some(self.client.publish_audio(now, audio));
        } else if let (MediaKind::Video, Some(camera)) = (kind, &self.terms.camera) {
            let rids = self.rids(kind);
            let encoding = |(layer, &(frame_bytes, keyframe_bytes)): (usize, &(usize, usize))| {
                let ssrc = published_ssrc(peer, kind, layer as u32);
                let rid = rids.get(layer).copied();
                Encoding { ssrc: Ssrc(ssrc), rtx: Some(Ssrc(ssrc + 1)), rid, frame_bytes, keyframe_bytes }
            };
            let video = VideoConfig {
                track,
                codec: camera.codec,
                scalability: camera.scalability,
                encodings: camera.encodings.iter().enumerate().map(encoding).collect(),
                size: (1280, 720),
                frame_interval_us: camera.interval_us,
                payload_bytes_max: 1_100,
                size_jitter_percent: 30,
                ramp_us: camera.ramp_us,
            };
            self.camera = Some(self.client.publish_video(now, video));
        }
    }

    pub(super) fn rids(&self, kind: MediaKind) -> Vec<Rid> {
        match &self.terms.camera {
            Some(camera) if kind == MediaKind::Video && camera.rids => {
                ["l", "m", "h"].iter().take(camera.encodings.len()).map(|rid| label(rid)).collect()
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn signalled(&self, peer: u32, kind: MediaKind) -> Vec<SignalledSsrc> {
        if !self.rids(kind).is_empty() {
            return Vec::new();
        }
        let ssrc = Ssrc(published_ssrc(peer, kind, 0));
        let rtx = (kind == MediaKind::Video).then_some(Ssrc(ssrc.0 + 1));
        vec![SignalledSsrc { ssrc, rtx, rid: None }]
    }

    pub(super) fn sent_formats(&self, kind: MediaKind) -> Vec<Format> {
        match kind {
            MediaKind::Audio => formats(kind, &self.terms),
            MediaKind::Video => vec![format(kind, self.codec())],
        }
    }

    /// Expects a track of another guest.
    pub fn receive(&mut self, peer: u32, publisher: u32, kind: MediaKind, codec: VideoCodec) {
        let number = stream_number(peer, publisher, kind);
        let extensions = self.terms.extensions();
        let format = format(kind, codec);
        let audio = kind == MediaKind::Audio;
        self.client.receive(ReceiveConfig {
            ssrc: Ssrc(number),
            rtx: (!audio).then_some(Ssrc(number + 1)),
            kind,
            codec,
            pt: format.pt,
            rtx_pt: format.rtx_pt,
            red_pt: (audio && self.terms.red).then_some(RED),
            fec: true,
            transport_cc: extensions.id(Extension::TransportCc),
            abs_send_time: extensions.id(Extension::AbsSendTime),
            dependency: extensions.id(Extension::DependencyDescriptor),
            nack: !audio || self.terms.audio_nack,
            expected: Some((publisher, track_number(publisher, kind))),
        });
        self.streams.insert(number, (publisher, kind));
    }

    /// How his camera is packetised.
    #[must_use]
    pub fn codec(&self) -> VideoCodec {
        self.terms.camera.as_ref().map(|camera| camera.codec).unwrap_or_default()
    }
}

/// Everything a guest takes.
pub(super) fn formats(kind: MediaKind, terms: &Terms) -> Vec<Format> {
    match kind {
        MediaKind::Audio => {
            let nack = terms.audio_nack;
            let opus = Format { nack, ..format(kind, VideoCodec::Vp8) };
            let red = terms.red.then_some(Format { codec: Codec::Red, pt: RED, ..opus });
            red.into_iter().chain([opus]).collect()
        }
        MediaKind::Video => [VideoCodec::Vp8, VideoCodec::Vp9 { flexible: true }, VideoCodec::Av1]
            .map(|codec| format(kind, codec))
            .to_vec(),
    }
}

fn format(kind: MediaKind, codec: VideoCodec) -> Format {
    let (codec, pt) = match (kind, codec) {
        (MediaKind::Audio, _) => (Codec::Opus, OPUS),
        (MediaKind::Video, VideoCodec::Vp8) => (Codec::Vp8, 96),
        (MediaKind::Video, VideoCodec::Vp9 { .. }) => (Codec::Vp9 { profile: 0 }, 98),
        (MediaKind::Video, VideoCodec::Av1) => (Codec::Av1 { profile: 0 }, 100),
    };
    let video = kind == MediaKind::Video;
    Format { codec, pt, rtx_pt: video.then_some(pt + 1), nack: video, pli: video }
}

/// Media SSRC of a publisher's layer; its retransmissions are one above.
#[must_use]
pub fn published_ssrc(peer: u32, kind: MediaKind, layer: u32) -> u32 {
    100_000_000 + peer * 1_000 + layer * 10 + if kind == MediaKind::Video { 500 } else { 0 }
}

/// The track of a publisher.
#[must_use]
pub const fn track_number(peer: u32, kind: MediaKind) -> u32 {
    2 * peer + matches!(kind, MediaKind::Video) as u32
}

/// The stream of a track to a receiver, and its SSRC; its retransmissions are one above.
#[must_use]
pub const fn stream_number(receiver: u32, publisher: u32, kind: MediaKind) -> u32 {
    receiver * 10_000 + track_number(publisher, kind) * 10
}

pub(super) fn mid(publisher: u32, kind: MediaKind) -> Mid {
    label(&track_number(publisher, kind).to_string())
}

fn label(text: &str) -> Label {
    Label::new(text.as_bytes()).expect("short")
}

pub(super) fn keys(rng: &mut Rng, peer: u32) -> SrtpKeys {
    let mut master = || MasterKey {
        key: std::array::from_fn(|_| rng.next_u64() as u8),
        salt: std::array::from_fn(|_| rng.next_u64() as u8),
    };
    let profile = [SrtpProfile::AeadAes256Gcm, SrtpProfile::AeadAes128Gcm, SrtpProfile::Aes128CmSha1_80];
    SrtpKeys { profile: profile[peer as usize % 3], remote: master(), local: master() }
}

pub(super) fn swapped(keys: &SrtpKeys) -> SrtpKeys {
    SrtpKeys { profile: keys.profile, remote: keys.local.clone(), local: keys.remote.clone() }
}
