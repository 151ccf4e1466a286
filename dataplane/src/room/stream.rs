//! A stream: one track as sent to one peer.

use super::rewrite::Rewrite;
use super::template::Template;
use crate::base::ids::{Mid, Ssrc, StreamId};
use crate::base::media::{ExtensionMap, Format, MediaKind};
use crate::base::rate::RateLimit;
use crate::base::slab::Key;
use crate::base::time::Micros;
use crate::command::{Delivery, Wanted};
use crate::session::reports::SenderStats;

/// Bytes of a canonical name: 16 hexadecimal digits.
pub const CNAME_BYTES: usize = 16;

/// What a stream forwards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Running {
    /// Layer of the track (its SSRC).
    pub layer: u8,
    /// Epoch of the layer, or how often an audio track was chosen.
    pub epoch: u32,
    /// Highest temporal layer forwarded, where they are told apart by number (VP8).
    pub temporal: u8,
    /// Decode target, of an SVC track.
    pub target: u8,
}

/// The most that a stream may forward: what the receiver wants and what its link carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// False pauses the stream.
    pub enabled: bool,
    /// Highest quality: simulcast layer, or spatial layer.
    pub quality_max: u8,
    /// Highest temporal layer.
    pub temporal_max: u8,
}

impl Limit {
    /// Everything.
    pub const ALL: Self = Self { enabled: true, quality_max: u8::MAX, temporal_max: u8::MAX };
}

/// What was decided about the frame whose packets come now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decided {
    /// RTP timestamp of the publisher.
    pub timestamp: u32,
    /// Highest content number since the run began: a frame below it comes late and is no new picture.
    pub content: u64,
    /// Spatial layer.
    pub spatial: u8,
    /// Whether it is forwarded.
    pub forward: bool,
}

/// Where a stream that roams goes next.
pub struct Next {
    /// The track.
    pub track: Key,
    /// What the receiver takes of it.
    pub formats: Vec<Format>,
}

/// One track as sent to one peer.
pub struct Stream {
    /// Its number.
    pub id: StreamId,
    /// Table index of the peer that receives it.
    pub member: usize,
    /// What is sent; nowhere while a stream that roams shows nothing.
    pub track: Key,
    /// It roams (see `roam`) among tracks of this kind.
    pub roams: Option<MediaKind>,
    /// The track whose keyframe it waits for, while it shows another.
    pub next: Option<Box<Next>>,
    /// The SSRC the receiver sees.
    pub ssrc: Ssrc,
    /// The SSRC of retransmissions the receiver sees.
    pub rtx: Option<Ssrc>,
    /// The receiver's media section.
    pub mid: Mid,
    /// What the receiver negotiated, to rebuild the header when the track changes.
    pub formats: Vec<Format>,
    /// The same for extensions.
    pub extensions: ExtensionMap,
    /// What the receiver wants.
    pub wanted: Wanted,
    /// Quality and temporal layer that the receiver's link was last found to carry; `None` pauses. [`Stream::limit`] follows it.
    pub granted: Option<(u8, u8)>,
    /// The most that may be forwarded now.
    pub limit: Limit,
    /// What runs; `None` until a stream starts and after a pause.
    pub current: Option<Running>,
    /// The frame that is being forwarded or left out.
    pub decided: Option<Decided>,
    /// Layer, epoch and content number of the newest packet that was queued: nothing that is or was in the queue is queued again.
    pub queued: Option<(u8, u32, u64)>,
    /// Its queue got too old and was dropped: nothing leaves until a keyframe has.
    pub stale: bool,
    /// What the control plane was told, and when.
    pub told: Option<(Delivery, Micros)>,
    /// Continuity.
    pub rewrite: Rewrite,
    /// Header.
    pub template: Template,
    /// The header changed after packets were sent: an earlier packet would now be written differently, and two contents under
    /// one SRTP index give its keystream away (RFC 3711 section 9.1). Such a stream resends on its own SSRC no more.
    pub header_changed: bool,
    /// Next index of the retransmission stream.
    pub rtx_index: u64,
    /// What was sent, retransmissions not counted.
    pub stats: SenderStats,
    /// The receiver has not reported on the stream yet.
    pub unconfirmed: bool,
    /// Keyframes that its receiver may ask for.
    pub wishes: RateLimit,
    /// Loss in the receiver's last report, parts per 256.
    pub loss: u8,
    /// Highest sequence number the receiver reported, roll-overs above it.
    pub reported_seq: Option<u32>,
    /// Canonical name of the publisher.
    pub cname: [u8; CNAME_BYTES],
}

impl Stream {
    /// Brings the limit in line with what is wanted and granted.
    pub fn relimit(&mut self) {
        let granted = self.granted.unwrap_or((0, 0));
        let was_enabled = self.limit.enabled;
        self.limit = Limit {
            enabled: self.wanted.enabled && self.granted.is_some(),
            quality_max: self.wanted.layer_max.min(granted.0),
            temporal_max: granted.1,
        };
        // What was paused begins anew; what is paused now ends with its frame.
        if !was_enabled && self.limit.enabled {
            self.current = None;
        }
    }

    /// Whether a run may begin with this packet: what follows it was not queued before under other numbers.
    #[must_use]
    pub fn may_begin(&self, layer: u8, epoch: u32, content: u64) -> bool {
        self.queued.is_none_or(|queued| (queued.0, queued.1) != (layer, epoch) || content > queued.2)
    }

    /// A packet was queued.
    #[inline]
    pub fn note_queued(&mut self, layer: u8, epoch: u32, content: u64) {
        match &mut self.queued {
            Some(queued) if (queued.0, queued.1) == (layer, epoch) => queued.2 = queued.2.max(content),
            queued => *queued = Some((layer, epoch, content)),
        }
    }

    /// The packet was queued behind the one before it, of the same layer and epoch.
    #[inline]
    pub const fn note_queued_behind(&mut self, content: u64) {
        if let Some(queued) = &mut self.queued
            && queued.2 < content
        {
            queued.2 = content;
        }
    }

    /// The SSRC and index of the next retransmission, when the receiver takes them on a stream of their own.
    #[must_use]
    pub fn retransmission(&self) -> Option<(Ssrc, u64)> {
        self.rtx.map(|ssrc| (ssrc, self.rtx_index))
    }
}
