//! Our offers to subscribers (RFC 8829 section 5.2): the data section first, then one section per stream, never fewer than
//! before.
//!
//! ICE-lite, `a=setup:actpass` (RFC 8842 section 5.2; the answer must choose to be the client), one bundle. A section without
//! a stream is inactive and keeps its codecs.

use dataplane::base::ids::{Mid, Ssrc};
use dataplane::base::limits::CHANNEL_MESSAGE_BYTES_MAX;
use dataplane::base::media::{Codec, Format, MediaKind};

use super::SdpError;
use super::attributes::Setup;
use super::description::{Description, Section, SectionKind};
use super::lines::{Lines, LocalTransport};
use super::table;

/// The stream that a section carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sending {
    /// Publisher's participant id, the first half of the stream id.
    pub participant: String,
    /// Track id, the second half and the track's own.
    pub track: String,
    /// The SSRC the receiver sees.
    pub ssrc: Ssrc,
    /// The SSRC of retransmissions.
    pub rtx: Option<Ssrc>,
    /// Whether the audio is stereo.
    pub stereo: bool,
}

/// One media section of an offer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OfferSection {
    /// Its tag.
    pub mid: Mid,
    /// Audio or video, for ever.
    pub kind: MediaKind,
    /// Codecs of the stream it carries or last carried.
    pub codecs: Vec<Codec>,
    /// What it carries now.
    pub sending: Option<Sending>,
}

/// Writes an offer.
#[must_use]
pub fn offer(local: &LocalTransport<'_>, sections: &[OfferSection]) -> String {
    let mut lines = Lines::new(1024 + 1024 * sections.len());
    let data = table::mid(0);
    let mids = std::iter::once(data.as_str()).chain(sections.iter().map(|s| s.mid.as_str()));
    lines.head(local, mids, true);
    lines.text("m=application 9 UDP/DTLS/SCTP webrtc-datachannel");
    lines.transport(local, "actpass", true);
    lines.line(format_args!("a=mid:{}", data.as_str()));
    lines.text("a=sctp-port:5000");
    lines.line(format_args!("a=max-message-size:{CHANNEL_MESSAGE_BYTES_MAX}"));
    for section in sections {
        media(&mut lines, section, local);
    }
    lines.finish()
}

fn media(lines: &mut Lines, section: &OfferSection, local: &LocalTransport<'_>) {
    let mut formats: Vec<Format> = Vec::new();
    for format in section.codecs.iter().filter_map(|codec| table::format(*codec)) {
        if formats.iter().all(|f| f.pt != format.pt) {
            formats.push(format);
        }
    }
    let kind = if section.kind == MediaKind::Audio { "audio" } else { "video" };
    let mut fmt = String::new();
    for pt in formats.iter().flat_map(|f| [Some(f.pt), f.rtx_pt]).flatten() {
        fmt.push(' ');
        fmt.push_str(&pt.to_string());
    }
    lines.line(format_args!("m={kind} 9 UDP/TLS/RTP/SAVPF{fmt}"));
    lines.transport(local, "actpass", false);
    lines.line(format_args!("a=mid:{}", section.mid.as_str()));
    lines.text(if section.sending.is_some() { "a=sendonly" } else { "a=inactive" });
    lines.text("a=rtcp-mux");
    lines.text("a=rtcp-rsize");
    for (id, extension) in table::extensions(section.kind) {
        lines.extension(id, "", extension);
    }
    let stereo = section.sending.as_ref().is_some_and(|s| s.stereo);
    for format in &formats {
        let mut fmtp = table::parameters(format.pt).to_owned();
        if format.codec == Codec::Opus && stereo {
            fmtp.push_str(";sprop-stereo=1");
        }
        lines.format(format, &fmtp, true, section.kind == MediaKind::Video);
        if section.kind == MediaKind::Video {
            lines.line(format_args!("a=rtcp-fb:{} goog-remb", format.pt));
        }
    }
    if let Some(sending) = &section.sending {
        lines.stream(sending);
    }
}

/// Checks that an answer fits the offer of these sections and that its writer is the DTLS client.
///
/// # Errors
/// [`SdpError::Mismatch`] or [`SdpError::Setup`].
pub fn check_answer(answer: &Description, sections: &[OfferSection]) -> Result<(), SdpError> {
    if answer.transport.setup != Setup::Active {
        return Err(SdpError::Setup);
    }
    let mut answered = answer.sections.iter();
    let data = answered.next().ok_or(SdpError::Mismatch)?;
    if data.kind != SectionKind::Data || answer.sections.len() != sections.len() + 1 {
        return Err(SdpError::Mismatch);
    }
    let fits = answered
        .zip(sections)
        .all(|(theirs, ours)| theirs.mid == ours.mid && theirs.kind == SectionKind::Media(ours.kind));
    if fits { Ok(()) } else { Err(SdpError::Mismatch) }
}

/// Formats of our offer that an answered section takes, with its payload types and feedback; empty if it takes none.
#[must_use]
pub fn taken_formats(answered: &Section) -> Vec<Format> {
    if answered.rejected || !answered.direction.receives() {
        return Vec::new();
    }
    answered
        .formats
        .iter()
        .filter_map(|f| {
            let ours = table::format_of(f.format.pt)?;
            Some(Format {
                rtx_pt: ours.rtx_pt.filter(|pt| f.format.rtx_pt == Some(*pt)),
                nack: ours.nack && f.format.nack,
                pli: ours.pli && f.format.pli,
                ..ours
            })
        })
        .collect()
}

/// Formats for a stream: the publisher's codecs, as far as a receiver that takes these formats can decode them.
#[must_use]
pub fn accepted_formats(publisher: &[Format], taken: &[Format]) -> Vec<Format> {
    publisher
        .iter()
        .filter_map(|theirs| {
            let ours = table::format(theirs.codec)?;
            let taken = taken.iter().find(|taken| table::is_same(taken.codec, ours.codec))?;
            Some(Format { codec: theirs.codec, ..*taken })
        })
        .collect()
}

#[cfg(test)]
mod tests {

    use dataplane::base::handoff::Fingerprint;
    use dataplane::command::IceCredentials;

    use super::super::attributes::Direction;
    use super::*;
    use crate::sdp::lines::Candidate;

    fn sections() -> Vec<OfferSection> {
        let sending = |track: &str, ssrc| Sending {
            participant: "PA_a".into(),
            track: track.into(),
            ssrc: Ssrc(ssrc),
            rtx: (ssrc > 1).then_some(Ssrc(ssrc + 1)),
            stereo: false,
        };
        vec![
            OfferSection {
                mid: table::mid(1),
                kind: MediaKind::Audio,
                codecs: vec![Codec::Opus],
                sending: Some(sending("TR_a", 1)),
            },
            OfferSection {
                mid: table::mid(2),
                kind: MediaKind::Video,
                codecs: vec![Codec::H264 { profile_level_id: 0x42_e0_34, packetization_mode: 1 }],
                sending: Some(sending("TR_v", 2)),
            },
            OfferSection {
                mid: table::mid(3),
                kind: MediaKind::Video,
                codecs: vec![Codec::Vp8],
                sending: None,
            },
        ]
    }

    fn written() -> String {
        let ice = IceCredentials {
            ufrag: "00000000010badcafe".into(),
            pwd: "0123456789abcdef0123456789abcdef".into(),
        };
        let candidates = [Candidate::udp("192.0.2.1:7882".parse().expect("an address"))];
        let local = LocalTransport {
            ice: &ice,
            fingerprint: Fingerprint([0x5a; 32]),
            candidates: &candidates,
            session: 7,
            version: 1,
        };
        offer(&local, &sections())
    }

    #[test]
    fn an_offer_has_the_data_section_first_and_streams_with_their_names() {
        let text = written();
        let parsed = Description::parse(&text).expect("a description");
        assert_eq!(parsed.sections.len(), 4);
        assert_eq!(parsed.sections[0].kind, SectionKind::Data);
        assert_eq!(parsed.sections[0].sctp_port, 5000);
        assert_eq!(parsed.transport.setup, Setup::ActPass);
        let video = &parsed.sections[2];
        assert_eq!(video.direction, Direction::SendOnly);
        assert_eq!(video.track.as_deref(), Some("TR_v"));
        assert_eq!((video.ssrcs[0].ssrc, video.ssrcs[0].rtx), (Ssrc(2), Some(Ssrc(3))));
        assert!(text.contains("a=msid:PA_a|TR_v TR_v\r\n"));
        assert!(text.contains("a=group:BUNDLE 0 1 2 3\r\n"));
        assert_eq!(parsed.sections[3].direction, Direction::Inactive);
        assert_eq!(parsed.sections[3].track, None);
    }

    #[test]
    fn an_answer_must_fit_and_take_the_client_role() {
        let mut answer = Description::parse(&written()).expect("a description");
        assert_eq!(check_answer(&answer, &sections()), Err(SdpError::Setup));
        answer.transport.setup = Setup::Active;
        assert_eq!(check_answer(&answer, &sections()), Ok(()));
        answer.sections.swap(1, 2);
        assert_eq!(check_answer(&answer, &sections()), Err(SdpError::Mismatch));
        answer.sections.pop();
        assert_eq!(check_answer(&answer, &sections()), Err(SdpError::Mismatch));
    }

    #[test]
    fn a_stream_gets_the_publishers_codec_with_our_payload_type() {
        let publisher = [Format {
            codec: Codec::H264 { profile_level_id: 0x42_e0_34, packetization_mode: 1 },
            pt: 126,
            rtx_pt: Some(127),
            nack: true,
            pli: true,
        }];
        let mut answered = Description::parse(&written()).expect("a description").sections.remove(2);
        answered.direction = Direction::RecvOnly;
        let formats = accepted_formats(&publisher, &taken_formats(&answered));
        assert_eq!(formats, [Format { pt: 108, rtx_pt: Some(109), ..publisher[0] }]);
        answered.formats[0].format.rtx_pt = None;
        assert_eq!(accepted_formats(&publisher, &taken_formats(&answered))[0].rtx_pt, None);
        answered.direction = Direction::Inactive;
        assert_eq!(accepted_formats(&publisher, &taken_formats(&answered)), []);
    }
}
