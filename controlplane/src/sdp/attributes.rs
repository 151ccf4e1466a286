//! Values of single attributes: text to type and nothing else.
//!
//! Promises: no function here panics or allocates more than its input; what is not understood is `None`.

use dataplane::base::handoff::Fingerprint;
use dataplane::base::ids::{Label, Rid};
use dataplane::base::media::{Codec, Extension};

/// Direction of a media section or header extension (RFC 8866 section 6.7, RFC 8285 section 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Direction {
    /// Both ways; what no attribute means.
    #[default]
    SendRecv,
    /// The writer only sends.
    SendOnly,
    /// The writer only receives.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// The direction with this attribute name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "sendrecv" => Self::SendRecv,
            "sendonly" => Self::SendOnly,
            "recvonly" => Self::RecvOnly,
            "inactive" => Self::Inactive,
            _ => return None,
        })
    }

    /// Whether the side that wrote it sends.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the side that wrote it receives.
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// DTLS role (RFC 8842 section 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setup {
    /// Either role.
    ActPass,
    /// DTLS client.
    Active,
    /// DTLS server.
    Passive,
}

impl Setup {
    /// The role with this value of `a=setup`.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        Some(match value.trim() {
            "actpass" => Self::ActPass,
            "active" => Self::Active,
            "passive" => Self::Passive,
            _ => return None,
        })
    }
}

/// `a=rtpmap` (RFC 8866 section 6.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RtpMap<'a> {
    /// Payload type.
    pub pt: u8,
    /// Encoding name as written.
    pub name: &'a str,
    /// Clock rate, Hz.
    pub clock_hz: u32,
}

impl<'a> RtpMap<'a> {
    /// Reads `111 opus/48000/2`.
    #[must_use]
    pub fn parse(value: &'a str) -> Option<Self> {
        let (pt, encoding) = value.split_once(' ')?;
        let mut parts = encoding.trim().split('/');
        let name = parts.next()?;
        let clock_hz = parts.next()?.parse().ok()?;
        Some(Self { pt: payload_type(pt)?, name, clock_hz })
    }

    /// The codec this is with those format parameters, if we forward it.
    #[must_use]
    pub fn codec(&self, fmtp: &str) -> Option<Codec> {
        let is = |name: &str, clock_hz| self.name.eq_ignore_ascii_case(name) && self.clock_hz == clock_hz;
        let small = |key| parameter(fmtp, key).and_then(|v| v.parse().ok()).unwrap_or(0);
        Some(if is("opus", 48_000) {
            Codec::Opus
        } else if is("red", 48_000) {
            Codec::Red
        } else if is("VP8", 90_000) {
            Codec::Vp8
        } else if is("VP9", 90_000) {
            Codec::Vp9 { profile: small("profile-id") }
        } else if is("AV1", 90_000) {
            Codec::Av1 { profile: small("profile") }
        } else if is("H264", 90_000) {
            let level = parameter(fmtp, "profile-level-id");
            // RFC 6184 section 8.1: without it, Baseline level 1.
            let profile_level_id = level.map_or(Some(0x42_00_0a), |v| u32::from_str_radix(v, 16).ok())?;
            if profile_level_id > 0xff_ff_ff {
                return None;
            }
            Codec::H264 { profile_level_id, packetization_mode: small("packetization-mode") }
        } else {
            return None;
        })
    }
}

/// A payload type that may be used with RTCP multiplexed (RFC 5761 section 4): 0-63 and 96-127.
#[must_use]
pub fn payload_type(text: &str) -> Option<u8> {
    text.parse().ok().filter(|pt| *pt < 64 || (96..128).contains(pt))
}

/// The value of one `key=value` of an `a=fmtp`; keys are compared without case.
#[must_use]
pub fn parameter<'a>(fmtp: &'a str, key: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case(key).then_some(value.trim())
    })
}

/// Splits `97 apt=96` into payload type and the rest: `a=fmtp` and `a=rtcp-fb`.
#[must_use]
pub fn prefixed(value: &str) -> Option<(u8, &str)> {
    let (pt, rest) = value.split_once(' ')?;
    Some((payload_type(pt)?, rest.trim()))
}

/// `a=extmap` (RFC 8285 section 5) of an extension we know: identifier, extension and the writer's direction.
#[must_use]
pub fn extmap(value: &str) -> Option<(u8, Extension, Direction)> {
    let mut parts = value.split_ascii_whitespace();
    let number = parts.next()?;
    let uri = parts.next()?;
    let (id, direction) = match number.split_once('/') {
        Some((id, direction)) => (id, Direction::parse(direction)?),
        None => (number, Direction::SendRecv),
    };
    // 15 is reserved and 16 up needs two-byte headers even for small elements.
    let id = id.parse().ok().filter(|id| (1..=14).contains(id))?;
    let (extension, _) = Extension::ALL.iter().find(|(_, known)| *known == uri)?;
    Some((id, *extension, direction))
}

/// `a=rid:q send ...` (RFC 8851): the identifier and whether its writer sends it.
#[must_use]
pub fn rid(value: &str) -> Option<(Rid, bool)> {
    let mut parts = value.split_ascii_whitespace();
    let rid = Label::new(parts.next()?.as_bytes())?;
    match parts.next()? {
        "send" => Some((rid, true)),
        "recv" => Some((rid, false)),
        _ => None,
    }
}

/// The identifiers that `a=simulcast` (RFC 8853) says its writer sends, in its order; of alternatives the first.
pub fn simulcast_send(value: &str) -> impl Iterator<Item = Rid> {
    let mut words = value.split_ascii_whitespace();
    let mut list = "";
    while let (Some(direction), Some(rids)) = (words.next(), words.next()) {
        if direction == "send" {
            list = rids;
        }
    }
    list.split(';').filter_map(|alternatives| {
        let first = alternatives.split(',').next()?;
        Label::new(first.trim_start_matches('~').as_bytes())
    })
}

/// A `sha-256` value of `a=fingerprint` (RFC 8122): 32 bytes in hexadecimal with colons.
#[must_use]
pub fn fingerprint_sha256(value: &str) -> Option<Fingerprint> {
    let (hash, digits) = value.split_once(' ')?;
    if !hash.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    let mut bytes = [0; 32];
    let mut pairs = digits.trim().split(':');
    for byte in &mut bytes {
        let pair = pairs.next()?;
        if pair.len() != 2 {
            return None;
        }
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    pairs.next().is_none().then_some(Fingerprint(bytes))
}

/// The number in front of an `a=ssrc` value.
#[must_use]
pub fn ssrc(value: &str) -> Option<u32> {
    value.split_ascii_whitespace().next()?.parse().ok()
}

/// The two SSRCs of `a=ssrc-group:FID media rtx` (RFC 5576, RFC 4588).
#[must_use]
pub fn fid_group(value: &str) -> Option<(u32, u32)> {
    let mut words = value.split_ascii_whitespace();
    if words.next()? != "FID" {
        return None;
    }
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// The track identifier of `a=msid:stream track` (RFC 8830); the stream's alone if there is no second word.
#[must_use]
pub fn msid_track(value: &str) -> Option<&str> {
    value.split_ascii_whitespace().last().filter(|track| track.len() <= 256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_are_told_apart_by_their_parameters() {
        let codec = |map: &str, fmtp: &str| RtpMap::parse(map).and_then(|m| m.codec(fmtp));
        assert_eq!(codec("111 opus/48000/2", ""), Some(Codec::Opus));
        assert_eq!(codec("96 OPUS/48000/2", ""), Some(Codec::Opus));
        assert_eq!(codec("63 red/48000/2", "111/111"), Some(Codec::Red));
        assert_eq!(codec("118 red/90000", ""), None);
        assert_eq!(codec("98 VP9/90000", "profile-id=2"), Some(Codec::Vp9 { profile: 2 }));
        assert_eq!(
            codec("102 H264/90000", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
            Some(Codec::H264 { profile_level_id: 0x42_e0_1f, packetization_mode: 1 })
        );
        assert_eq!(codec("102 H264/90000", "profile-level-id=zz"), None);
        assert_eq!(codec("9 G722/8000", ""), None);
    }

    #[test]
    fn payload_types_that_look_like_rtcp_are_refused() {
        assert_eq!(payload_type("63"), Some(63));
        assert_eq!(payload_type("64"), None);
        assert_eq!(payload_type("95"), None);
        assert_eq!(payload_type("127"), Some(127));
        assert_eq!(payload_type("128"), None);
        assert_eq!(payload_type("-1"), None);
    }

    #[test]
    fn extension_numbers_and_directions_are_read() {
        assert_eq!(
            extmap("9/sendonly urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"),
            Some((9, Extension::Rid, Direction::SendOnly))
        );
        assert_eq!(extmap("15 urn:ietf:params:rtp-hdrext:sdes:mid"), None);
        assert_eq!(extmap("4 urn:unknown"), None);
    }

    #[test]
    fn simulcast_lists_keep_their_order() {
        let rids: Vec<_> = simulcast_send("send q;~h;f,g recv x").map(|r| r.as_str().to_owned()).collect();
        assert_eq!(rids, ["q", "h", "f"]);
        assert_eq!(simulcast_send("recv q;h").count(), 0);
        assert_eq!(simulcast_send("").count(), 0);
    }

    #[test]
    fn fingerprints_are_32_bytes_of_sha256() {
        let digits = ["AB"; 32].join(":");
        assert_eq!(fingerprint_sha256(&format!("sha-256 {digits}")), Some(Fingerprint([0xab; 32])));
        assert_eq!(fingerprint_sha256(&format!("SHA-256 {digits}")), Some(Fingerprint([0xab; 32])));
        assert_eq!(fingerprint_sha256(&format!("sha-384 {digits}")), None);
        assert_eq!(fingerprint_sha256(&format!("sha-256 {digits}:AB")), None);
        assert_eq!(fingerprint_sha256("sha-256 AB:CD"), None);
    }
}
