//! Kinds, codecs and header extensions as both planes name them.

/// Audio or video.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MediaKind {
    /// An audio track.
    Audio,
    /// A video track: camera or screen.
    Video,
}

/// What a video track shows; it decides what is given up first when a link is short.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Content {
    /// A camera: smooth before sharp.
    #[default]
    Camera,
    /// A shared screen: sharp before smooth, and before everything else.
    Screen,
}

/// A codec with the parameters that decide whether two sides mean the same format.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Codec {
    /// Opus (RFC 7587).
    Opus,
    /// Redundant audio over Opus (RFC 2198).
    Red,
    /// VP8 (RFC 7741).
    Vp8,
    /// VP9 (RFC 9628) with its `profile-id`.
    Vp9 {
        /// `profile-id`, 0 unless stated.
        profile: u8,
    },
    /// H.264 (RFC 6184).
    H264 {
        /// `profile-level-id`, three bytes.
        profile_level_id: u32,
        /// `packetization-mode`, 0 or 1.
        packetization_mode: u8,
    },
    /// AV1 (AV1 RTP specification) with its `profile`.
    Av1 {
        /// `profile`, 0 unless stated.
        profile: u8,
    },
}

/// One negotiated payload format of a media section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Format {
    /// What the payload is.
    pub codec: Codec,
    /// Its payload type.
    pub pt: u8,
    /// Payload type of its retransmissions (RFC 4588), if negotiated.
    pub rtx_pt: Option<u8>,
    /// Whether `nack` feedback was negotiated.
    pub nack: bool,
    /// Whether `nack pli` feedback was negotiated.
    pub pli: bool,
}

/// Header extensions the dataplane reads or writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Extension {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid` (RFC 9143).
    Mid,
    /// `urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id` (RFC 8852).
    Rid,
    /// `urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id` (RFC 8852).
    RepairedRid,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level` (RFC 6464).
    AudioLevel,
    /// Transport-wide sequence number (draft-holmer-rmcat-transport-wide-cc-extensions-01).
    TransportCc,
    /// Absolute send time.
    AbsSendTime,
    /// AV1 dependency descriptor.
    DependencyDescriptor,
    /// `urn:3gpp:video-orientation`.
    VideoOrientation,
    /// Playout delay limits.
    PlayoutDelay,
    /// Absolute capture time.
    AbsCaptureTime,
    /// Video content type (screen share).
    VideoContentType,
}

impl Extension {
    /// How many there are.
    pub const COUNT: usize = 11;
    /// All of them with their URIs, in the order of their discriminants.
    pub const ALL: [(Self, &'static str); Self::COUNT] = [
        (Self::Mid, "urn:ietf:params:rtp-hdrext:sdes:mid"),
        (Self::Rid, "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"),
        (Self::RepairedRid, "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"),
        (Self::AudioLevel, "urn:ietf:params:rtp-hdrext:ssrc-audio-level"),
        (Self::TransportCc, "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"),
        (Self::AbsSendTime, "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"),
        (
            Self::DependencyDescriptor,
            "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension",
        ),
        (Self::VideoOrientation, "urn:3gpp:video-orientation"),
        (Self::PlayoutDelay, "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"),
        (Self::AbsCaptureTime, "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time"),
        (Self::VideoContentType, "http://www.webrtc.org/experiments/rtp-hdrext/video-content-type"),
    ];
}

/// Negotiated extension identifiers of one media section, both ways: 1 to 14 fit one-byte headers (RFC 8285).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ExtensionMap {
    ids: [u8; Extension::COUNT],
}

impl ExtensionMap {
    /// Sets the identifier of an extension; 0 means not negotiated.
    pub fn set(&mut self, extension: Extension, id: u8) {
        self.ids[extension as usize] = id;
    }

    /// The identifier of an extension, if negotiated.
    #[must_use]
    pub fn id(&self, extension: Extension) -> Option<u8> {
        match self.ids[extension as usize] {
            0 => None,
            id => Some(id),
        }
    }

    /// The extension with this identifier, if any.
    #[must_use]
    pub fn extension(&self, id: u8) -> Option<Extension> {
        if id == 0 {
            return None;
        }
        Extension::ALL.iter().map(|(extension, _)| *extension).find(|&e| self.ids[e as usize] == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_extensions_is_in_order() {
        for (index, (extension, _)) in Extension::ALL.iter().enumerate() {
            assert_eq!(*extension as usize, index);
        }
    }

    #[test]
    fn an_extension_is_found_by_its_identifier_and_back() {
        let mut map = ExtensionMap::default();
        map.set(Extension::TransportCc, 3);
        assert_eq!(map.id(Extension::TransportCc), Some(3));
        assert_eq!(map.extension(3), Some(Extension::TransportCc));
        assert_eq!(map.extension(0), None);
        assert_eq!(map.id(Extension::Mid), None);
    }
}
