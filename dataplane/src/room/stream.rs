//! A stream: one track as sent to one peer.

use super::rewrite::Rewrite;
use super::template::Template;
use crate::base::ids::{Mid, Ssrc, StreamId};
use crate::base::media::{ExtensionMap, Format};
use crate::base::slab::Key;
use crate::command::Wanted;
use crate::session::reports::SenderStats;

/// Bytes of a canonical name: 16 hexadecimal digits.
pub const CNAME_BYTES: usize = 16;

/// One track as sent to one peer.
pub struct Stream {
    /// Its number.
    pub id: StreamId,
    /// Table index of the peer that receives it.
    pub member: usize,
    /// What is sent.
    pub track: Key,
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
    /// Layer that runs and its epoch; `None` until a stream starts and after a pause.
    pub current: Option<(u8, u32)>,
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
    /// Loss in the receiver's last report, parts per 256.
    pub loss: u8,
    /// Canonical name of the publisher.
    pub cname: [u8; CNAME_BYTES],
}

impl Stream {
    /// The SSRC and index of the next retransmission, when the receiver takes them on a stream of their own.
    #[must_use]
    pub fn retransmission(&self) -> Option<(Ssrc, u64)> {
        self.rtx.map(|ssrc| (ssrc, self.rtx_index))
    }
}
