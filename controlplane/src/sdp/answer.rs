//! The answer to a client's offer (RFC 8829 section 5.3): every section keeps its place, we receive what we forward.
//!
//! ICE-lite, DTLS server (`a=setup:passive`), one bundle. Formats keep the client's payload types, extensions its numbers.
//! A publisher only sends what the answer lists first, so the preferred codec leads; of video only that codec's formats are
//! taken, so that subscribers need one codec per track. A section in which the client only receives may carry a stream to it
//! (protocol v1): then the answer names the stream, in the stream's codecs.

use dataplane::base::ids::{Mid, Rid};
use dataplane::base::limits::CHANNEL_MESSAGE_BYTES_MAX;
use dataplane::base::media::{Codec, Extension, ExtensionMap, Format, MediaKind};

use super::SdpError;
use super::attributes::{Direction, Setup};
use super::description::{Description, OfferedExtension, OfferedFormat, Section, SectionKind};
use super::lines::{Lines, LocalTransport};
use super::offer::Sending;
use super::table;

/// What one accepted section was negotiated to: the parameters of a published track.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// The section.
    pub mid: Mid,
    /// Formats in the order of the answer.
    pub formats: Vec<Format>,
    /// Extension identifiers.
    pub extensions: ExtensionMap,
    /// Layers in the client's order; empty without simulcast.
    pub rids: Vec<Rid>,
}

/// Wishes for one section that the offer alone does not say.
#[derive(Clone, Copy, Default)]
pub struct Preferences<'a> {
    /// Codec names as in MIME types without the kind, most wanted first: `vp9`, `vp8`.
    pub codecs: &'a [&'a str],
    /// Whether redundant audio may be used.
    pub red: bool,
    /// Whether the audio is stereo.
    pub stereo: bool,
    /// Whether silence need not be sent (discontinuous transmission).
    pub dtx: bool,
    /// The stream that goes to the client in a section in which it only receives.
    pub carries: Option<Carried<'a>>,
}

/// A stream to the client, in a section of the client's offer.
#[derive(Clone, Copy)]
pub struct Carried<'a> {
    /// Its names and SSRCs.
    pub sending: &'a Sending,
    /// Codecs its track is or could be sent as.
    pub codecs: &'a [Codec],
}

/// An answer and what it agreed to.
pub struct Answer {
    /// The text.
    pub sdp: String,
    /// Sections that carry media to us, in order; one per accepted section that sends.
    pub accepted: Vec<Accepted>,
}

/// Answers an offer. `preferences` is asked once per media section that sends.
///
/// # Errors
/// [`SdpError::Setup`] if the client insists on being the DTLS server.
pub fn answer<'a>(
    offer: &Description,
    local: &LocalTransport<'_>,
    mut preferences: impl FnMut(&Section) -> Preferences<'a>,
) -> Result<Answer, SdpError> {
    if offer.transport.setup == Setup::Passive {
        return Err(SdpError::Setup);
    }
    let choices: Vec<Option<Choice<'_, 'a>>> =
        offer.sections.iter().map(|section| choose(section, &mut preferences)).collect();
    let mut lines = Lines::new(1024 + 1024 * offer.sections.len());
    let taken = offer.sections.iter().zip(&choices).filter(|(_, choice)| choice.is_some());
    lines.head(local, taken.map(|(section, _)| section.mid.as_str()), offer.mixed_extensions);
    let mut accepted = Vec::new();
    let mut first = true;
    for (section, choice) in offer.sections.iter().zip(&choices) {
        let Some(choice) = choice else {
            reject(&mut lines, section);
            continue;
        };
        match choice {
            Choice::Data => data(&mut lines, section, local, first),
            Choice::Media(formats, preferences) => {
                accepted.extend(media(&mut lines, section, formats, preferences, local, first));
            }
        }
        first = false;
    }
    Ok(Answer { sdp: lines.finish(), accepted })
}

enum Choice<'s, 'p> {
    Data,
    Media(Vec<&'s OfferedFormat>, Preferences<'p>),
}

fn choose<'s, 'p>(
    section: &'s Section,
    preferences: &mut impl FnMut(&Section) -> Preferences<'p>,
) -> Option<Choice<'s, 'p>> {
    if section.rejected {
        return None;
    }
    match section.kind {
        SectionKind::Data => Some(Choice::Data),
        SectionKind::Other => None,
        SectionKind::Media(kind) => {
            let preferences = preferences(section);
            let formats = match kind {
                _ if preferences.carries.is_some() => {
                    preferences.carries.map_or_else(Vec::new, |carried| listed(section, carried.codecs))
                }
                MediaKind::Audio => audio_formats(section, &preferences),
                MediaKind::Video => video_formats(section, &preferences),
            };
            (!formats.is_empty()).then_some(Choice::Media(formats, preferences))
        }
    }
}

/// Formats we can pass on.
fn forwardable(section: &Section) -> impl Iterator<Item = &OfferedFormat> {
    section.formats.iter().filter(|f| table::format(f.format.codec).is_some())
}

/// The section's formats of these codecs, in the codecs' order.
fn listed<'s>(section: &'s Section, codecs: &[Codec]) -> Vec<&'s OfferedFormat> {
    let mut formats: Vec<&OfferedFormat> = Vec::new();
    for codec in codecs {
        let found = forwardable(section).find(|f| table::is_same(f.format.codec, *codec));
        formats.extend(found.filter(|f| formats.iter().all(|taken| taken.format.pt != f.format.pt)));
    }
    formats
}

/// Formats in which a section of a client's offer takes a stream of these codecs, with the client's payload types.
#[must_use]
pub fn taken_formats(section: &Section, codecs: &[Codec]) -> Vec<Format> {
    let feedback = |f: &OfferedFormat| {
        let ours = table::format(f.format.codec)?;
        Some(Format { nack: ours.nack && f.format.nack, pli: ours.pli && f.format.pli, ..f.format })
    };
    listed(section, codecs).into_iter().filter_map(feedback).collect()
}

/// Extensions that a stream in a section of a client's offer may have, with the client's numbers.
#[must_use]
pub fn taken_extensions(section: &Section) -> ExtensionMap {
    let mut map = ExtensionMap::default();
    for offered in received_extensions(section) {
        map.set(offered.extension, offered.id);
    }
    map
}

/// Extensions that we write and the client reads.
fn received_extensions(section: &Section) -> impl Iterator<Item = &OfferedExtension> {
    let ours = |extension: Extension| match section.kind {
        SectionKind::Media(kind) => table::extensions(kind).any(|(_, ours)| ours == extension),
        SectionKind::Data | SectionKind::Other => false,
    };
    section.extensions.iter().filter(move |offered| offered.direction.receives() && ours(offered.extension))
}

fn audio_formats<'a>(section: &'a Section, preferences: &Preferences<'_>) -> Vec<&'a OfferedFormat> {
    let mut formats: Vec<&OfferedFormat> = forwardable(section)
        .filter(|f| f.format.codec == Codec::Opus || (preferences.red && f.format.codec == Codec::Red))
        .collect();
    // Redundant audio first, or no browser would send it.
    formats.sort_by_key(|f| f.format.codec != Codec::Red);
    formats
}

/// The formats of the one codec the publisher is to send: its most wanted that is offered, else the first offered.
fn video_formats<'a>(section: &'a Section, preferences: &Preferences<'_>) -> Vec<&'a OfferedFormat> {
    let wanted = preferences
        .codecs
        .iter()
        .find(|name| forwardable(section).any(|f| name.eq_ignore_ascii_case(codec_name(f.format.codec))))
        .copied()
        .or_else(|| forwardable(section).next().map(|f| codec_name(f.format.codec)));
    let Some(wanted) = wanted else { return Vec::new() };
    forwardable(section).filter(|f| codec_name(f.format.codec).eq_ignore_ascii_case(wanted)).collect()
}

/// A codec's name as in its MIME type.
#[must_use]
pub const fn codec_name(codec: Codec) -> &'static str {
    match codec {
        Codec::Opus => "opus",
        Codec::Red => "red",
        Codec::Vp8 => "VP8",
        Codec::Vp9 { .. } => "VP9",
        Codec::H264 { .. } => "H264",
        Codec::Av1 { .. } => "AV1",
    }
}

pub(super) fn reject(lines: &mut Lines, section: &Section) {
    lines.line(format_args!("m={} 0 {} {}", section.media, section.proto, section.fmt));
    lines.text("c=IN IP4 0.0.0.0");
    lines.line(format_args!("a=mid:{}", section.mid.as_str()));
    lines.text("a=inactive");
}

/// Payload types of formats and their retransmissions, as an m-line lists them.
pub(super) fn payload_types<'a>(formats: impl Iterator<Item = &'a Format>) -> String {
    let types: Vec<String> =
        formats.flat_map(|f| [Some(f.pt), f.rtx_pt]).flatten().map(|pt| pt.to_string()).collect();
    types.join(" ")
}

fn data(lines: &mut Lines, section: &Section, local: &LocalTransport<'_>, first: bool) {
    lines.line(format_args!("m=application 9 {} {}", section.proto, section.fmt));
    lines.transport(local, "passive", first);
    lines.line(format_args!("a=mid:{}", section.mid.as_str()));
    lines.text("a=sctp-port:5000");
    lines.line(format_args!("a=max-message-size:{CHANNEL_MESSAGE_BYTES_MAX}"));
}

fn media(
    lines: &mut Lines,
    section: &Section,
    formats: &[&OfferedFormat],
    preferences: &Preferences<'_>,
    local: &LocalTransport<'_>,
    first: bool,
) -> Option<Accepted> {
    let fmt = payload_types(formats.iter().map(|f| &f.format));
    lines.line(format_args!("m={} 9 {} {fmt}", section.media, section.proto));
    lines.transport(local, "passive", first);
    lines.line(format_args!("a=mid:{}", section.mid.as_str()));
    let carries = preferences.carries.map(|carried| carried.sending);
    let sends = section.direction.sends() && carries.is_none();
    lines.text(match carries {
        Some(_) => "a=sendonly",
        None if sends => "a=recvonly",
        None => "a=inactive",
    });
    lines.text("a=rtcp-mux");
    lines.text("a=rtcp-rsize");
    let mut extensions = ExtensionMap::default();
    if carries.is_some() {
        // Also those we never write: a browser leaves out of later sections what it was refused in one, and simulcast needs `rid`.
        for offered in section.extensions.iter().filter(|offered| offered.direction.receives()) {
            lines.extension(offered.id, if offered.stated { "/sendonly" } else { "" }, offered.extension);
        }
    }
    for offered in section.extensions.iter().filter(|_| carries.is_none()) {
        // An extension the client only receives is of no use in a section that only it sends.
        if offered.direction == Direction::RecvOnly || offered.direction == Direction::Inactive {
            continue;
        }
        let simulcast_only = matches!(offered.extension, Extension::Rid | Extension::RepairedRid);
        if simulcast_only && section.kind != SectionKind::Media(MediaKind::Video) {
            continue;
        }
        extensions.set(offered.extension, offered.id);
        lines.extension(offered.id, if offered.stated { "/recvonly" } else { "" }, offered.extension);
    }
    for offered in formats {
        let fmtp = parameters(offered, preferences);
        lines.format(&offered.format, &fmtp, offered.transport_cc, offered.fir);
    }
    if let Some(sending) = carries {
        lines.stream(sending);
    }
    if !section.rids.is_empty() && sends {
        for rid in &section.rids {
            lines.line(format_args!("a=rid:{} recv", rid.as_str()));
        }
        let list: Vec<&str> = section.rids.iter().map(Rid::as_str).collect();
        lines.line(format_args!("a=simulcast:recv {}", list.join(";")));
    }
    sends.then(|| Accepted {
        mid: section.mid,
        formats: formats.iter().map(|f| f.format).collect(),
        extensions,
        rids: section.rids.clone(),
    })
}

/// Our format parameters: what we want to be sent.
fn parameters(offered: &OfferedFormat, preferences: &Preferences<'_>) -> String {
    match offered.format.codec {
        Codec::Opus => {
            let mut fmtp = String::from("minptime=10;useinbandfec=1");
            if preferences.dtx {
                fmtp.push_str(";usedtx=1");
            }
            if preferences.stereo {
                fmtp.push_str(";stereo=1;maxaveragebitrate=510000");
            }
            if preferences.carries.is_some_and(|carried| carried.sending.stereo) {
                fmtp.push_str(";sprop-stereo=1");
            }
            fmtp
        }
        // VP8's parameters are the limits of whoever receives, and we have none.
        Codec::Vp8 => String::new(),
        Codec::Red | Codec::Vp9 { .. } | Codec::H264 { .. } | Codec::Av1 { .. } => offered.fmtp.clone(),
    }
}

#[cfg(test)]
mod tests {

    use dataplane::base::handoff::Fingerprint;
    use dataplane::command::IceCredentials;

    use super::super::description::tests::{OFFERS, offer};
    use super::*;
    use crate::sdp::lines::Candidate;

    fn answer_to(description: &Description, codecs: &[&str]) -> Answer {
        let ice = IceCredentials {
            ufrag: "00000000010badcafe".into(),
            pwd: "0123456789abcdef0123456789abcdef".into(),
        };
        let address = |text: &str| text.parse().expect("an address");
        let candidates = [
            Candidate::udp(address("192.0.2.1:7882")),
            Candidate::udp(address("[2001:db8::1]:7882")),
            Candidate::tcp(address("192.0.2.1:7881")),
        ];
        let local = LocalTransport {
            ice: &ice,
            fingerprint: Fingerprint([0x5a; 32]),
            candidates: &candidates,
            session: 7,
            version: 1,
        };
        let preferences = Preferences { codecs, red: false, stereo: false, dtx: true, carries: None };
        answer(description, &local, |_| preferences).expect("answerable")
    }

    #[test]
    fn every_real_offer_gets_an_answer_with_its_sections_in_place() {
        for (name, _) in OFFERS {
            let description = offer(name);
            let answer = answer_to(&description, &[]);
            let parsed =
                Description::parse(&answer.sdp).unwrap_or_else(|e| panic!("{name}: {e}\n{}", answer.sdp));
            assert_eq!(parsed.transport.setup, Setup::Passive, "{name}");
            assert_eq!(parsed.sections.len(), description.sections.len(), "{name}");
            for (ours, theirs) in parsed.sections.iter().zip(&description.sections) {
                assert_eq!(ours.mid, theirs.mid, "{name}");
                assert_eq!(ours.kind, theirs.kind, "{name}");
                assert!(!ours.rejected, "{name}");
                if ours.kind == SectionKind::Data {
                    assert_eq!(ours.sctp_port, 5000);
                } else {
                    assert_eq!(ours.direction, Direction::RecvOnly, "{name}");
                    for format in &ours.formats {
                        assert!(
                            theirs.formats.iter().any(|f| f.format == format.format),
                            "{name} {format:?}"
                        );
                    }
                    for extension in &ours.extensions {
                        assert!(
                            theirs
                                .extensions
                                .iter()
                                .any(|e| e.id == extension.id && e.extension == extension.extension)
                        );
                    }
                }
            }
            assert_eq!(answer.sdp.matches("a=candidate:").count(), 3, "{name}");
            assert_eq!(answer.sdp.matches("a=end-of-candidates").count(), 1, "{name}");
            assert!(answer.sdp.contains("a=ice-lite\r\n"), "{name}");
            assert!(answer.sdp.lines().all(|l| l.is_ascii()), "{name}");
        }
    }

    #[test]
    fn the_preferred_codec_is_the_only_one_answered() {
        let description = offer("chromium");
        let names = |wanted: &[&str]| {
            let answer = answer_to(&description, wanted);
            let mut names: Vec<_> = answer.accepted[1].formats.iter().map(|f| codec_name(f.codec)).collect();
            names.dedup();
            names
        };
        assert_eq!(names(&[]), ["VP8"]);
        assert_eq!(names(&["vp9"]), ["VP9"]);
        assert_eq!(names(&["h265", "h264"]), ["H264"]);
        assert_eq!(names(&["h265"]), ["VP8"]);
    }

    #[test]
    fn whoever_sends_several_layers_in_one_stream_describes_them() {
        let description = offer("chromium");
        for codec in ["vp9", "av1"] {
            let answer = answer_to(&description, &[codec]);
            for video in &answer.accepted[1..] {
                assert!(video.extensions.id(Extension::DependencyDescriptor).is_some(), "{codec}");
                assert!(video.formats.iter().all(|f| codec_name(f.codec).eq_ignore_ascii_case(codec)));
            }
        }
    }

    #[test]
    fn redundant_audio_leads_where_it_is_wanted_and_offered() {
        let codecs = |name: &str, red| {
            let preferences = Preferences { red, ..Preferences::default() };
            let description = offer(name);
            let audio = description.sections.iter().find(|s| s.kind == SectionKind::Media(MediaKind::Audio));
            audio_formats(audio.expect("every offer has audio"), &preferences)
                .iter()
                .map(|f| f.format.codec)
                .collect::<Vec<_>>()
        };
        assert_eq!(codecs("chromium", true), [Codec::Red, Codec::Opus]);
        assert_eq!(codecs("chromium", false), [Codec::Opus]);
        assert_eq!(codecs("firefox", true), [Codec::Opus]);
    }

    #[test]
    fn simulcast_is_answered_with_rids_and_their_extensions() {
        for name in ["chromium", "firefox"] {
            let answer = answer_to(&offer(name), &[]);
            assert!(answer.sdp.contains("a=simulcast:recv q;h;f\r\n"), "{name}");
            assert!(answer.sdp.contains("a=rid:q recv\r\n"), "{name}");
            let video = &answer.accepted[1];
            assert_eq!(video.rids.len(), 3, "{name}");
            assert!(video.extensions.id(Extension::Rid).is_some(), "{name}");
            assert!(video.extensions.id(Extension::RepairedRid).is_some(), "{name}");
        }
        // Firefox states who sends the extension, so the answer turns it round.
        let firefox = answer_to(&offer("firefox"), &[]);
        assert!(
            firefox.sdp.contains("a=extmap:9/recvonly urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n")
        );
        assert!(!firefox.sdp.contains("playout-delay"));
    }

    #[test]
    fn a_rejected_or_foreign_section_keeps_its_place_with_port_zero() {
        let mut description = offer("chromium");
        description.sections[1].rejected = true;
        description.sections[2].formats.clear();
        let answer = answer_to(&description, &[]);
        let parsed = Description::parse(&answer.sdp).expect("a description");
        assert!(parsed.sections[1].rejected && parsed.sections[2].rejected);
        assert!(answer.sdp.contains("a=group:BUNDLE 0 3\r\n"));
        assert_eq!(answer.accepted.len(), 1);
    }

    #[test]
    fn a_section_that_does_not_send_is_inactive_and_no_track() {
        let mut description = offer("chromium");
        description.sections[1].direction = Direction::Inactive;
        let answer = answer_to(&description, &[]);
        let parsed = Description::parse(&answer.sdp).expect("a description");
        assert_eq!(parsed.sections[1].direction, Direction::Inactive);
        assert_eq!(answer.accepted.len(), 2);
    }

    #[test]
    fn a_client_that_insists_on_the_server_role_is_refused() {
        let mut description = offer("chromium");
        description.transport.setup = Setup::Passive;
        let ice = IceCredentials { ufrag: "abcd".into(), pwd: "0123456789abcdef012345".into() };
        let local = LocalTransport {
            ice: &ice,
            fingerprint: Fingerprint([0; 32]),
            candidates: &[],
            session: 1,
            version: 1,
        };
        assert_eq!(answer(&description, &local, |_| Preferences::default()).err(), Some(SdpError::Setup));
    }

    #[test]
    fn the_answer_for_audio_reads_as_written_here() {
        let mut description = offer("chromium");
        description.sections.truncate(1);
        let answer = answer_to(&description, &[]);
        let fingerprint = ["5A"; 32].join(":");
        let expected = format!(
            "v=0\n\
             o=- 7 1 IN IP4 0.0.0.0\n\
             s=-\n\
             t=0 0\n\
             a=group:BUNDLE 0\n\
             a=extmap-allow-mixed\n\
             a=msid-semantic: WMS *\n\
             a=ice-lite\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 111\n\
             c=IN IP4 0.0.0.0\n\
             a=ice-ufrag:00000000010badcafe\n\
             a=ice-pwd:0123456789abcdef0123456789abcdef\n\
             a=fingerprint:sha-256 {fingerprint}\n\
             a=setup:passive\n\
             a=candidate:1 1 udp 2130706431 192.0.2.1 7882 typ host\n\
             a=candidate:2 1 udp 2130706175 2001:db8::1 7882 typ host\n\
             a=candidate:3 1 tcp 1520434687 192.0.2.1 7881 typ host tcptype passive\n\
             a=end-of-candidates\n\
             a=mid:0\n\
             a=recvonly\n\
             a=rtcp-mux\n\
             a=rtcp-rsize\n\
             a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\n\
             a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\n\
             a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\n\
             a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\n\
             a=rtpmap:111 opus/48000/2\n\
             a=rtcp-fb:111 transport-cc\n\
             a=fmtp:111 minptime=10;useinbandfec=1;usedtx=1\n"
        );
        assert_eq!(answer.sdp.replace("\r\n", "\n"), expected);
    }
}
