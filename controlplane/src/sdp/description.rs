//! A client's offer or answer as typed media sections.
//!
//! Promises: unknown attributes and formats are skipped; a section that lacks what it needs is an error of the whole
//! description; a rejected section (port 0 outside a bundle) keeps its place and mid and nothing else.

use std::collections::HashSet;

use dataplane::base::handoff::Fingerprint;
use dataplane::base::ids::{Label, Mid, Rid, Ssrc};
use dataplane::base::limits::LAYERS_PER_TRACK;
use dataplane::base::media::{Codec, Extension, Format, MediaKind};
use dataplane::command::SignalledSsrc;
use sdp_types::{Media, Session};

use super::attributes::{self, Direction, RtpMap, Setup};
use super::{
    ATTRIBUTES_MAX, FMTP_BYTES_MAX, FORMATS_MAX, ICE_BYTES_MAX, SDP_BYTES_MAX, SECTIONS_MAX, SSRCS_MAX,
    SdpError,
};

/// What a media section carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SectionKind {
    /// RTP audio or video.
    Media(MediaKind),
    /// SCTP over DTLS (RFC 8841).
    Data,
    /// Something we do not take.
    Other,
}

/// A format we forward, as its writer listed it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OfferedFormat {
    /// Codec, payload types and feedback.
    pub format: Format,
    /// Its `a=fmtp` as written, printable and at most [`FMTP_BYTES_MAX`] long.
    pub fmtp: String,
    /// Whether `transport-cc` feedback is listed.
    pub transport_cc: bool,
    /// Whether `ccm fir` feedback is listed.
    pub fir: bool,
}

/// An extension we know, as its writer listed it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OfferedExtension {
    /// Its identifier, 1-14.
    pub id: u8,
    /// Which it is.
    pub extension: Extension,
    /// Who sends it, as the writer sees it.
    pub direction: Direction,
    /// Whether the writer stated the direction.
    pub stated: bool,
}

/// ICE and DTLS parameters of the side that wrote the description.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemoteTransport {
    /// Its ICE username fragment.
    pub ufrag: String,
    /// Its ICE password.
    pub pwd: String,
    /// Its certificate.
    pub fingerprint: Fingerprint,
    /// Its DTLS role.
    pub setup: Setup,
}

/// One media section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Section {
    /// Identification tag.
    pub mid: Mid,
    /// What it carries.
    pub kind: SectionKind,
    /// First word of the m-line, for mirroring.
    pub media: String,
    /// Transport protocol, for mirroring.
    pub proto: String,
    /// Formats of the m-line as written, for mirroring.
    pub fmt: String,
    /// Port 0 and not waiting for its bundle.
    pub rejected: bool,
    /// Direction, as the writer sees it.
    pub direction: Direction,
    /// Formats we forward, in the writer's order.
    pub formats: Vec<OfferedFormat>,
    /// Extensions we know.
    pub extensions: Vec<OfferedExtension>,
    /// Track identifier of `a=msid`, or of the older `a=ssrc:… msid:`.
    pub track: Option<String>,
    /// SSRCs named, with their retransmissions.
    pub ssrcs: Vec<SignalledSsrc>,
    /// Layers the writer sends with simulcast, in its order; empty without.
    pub rids: Vec<Rid>,
    /// `a=sctp-port`, 0 if absent.
    pub sctp_port: u16,
}

/// A client's description.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    /// Its media sections in order; at least one.
    pub sections: Vec<Section>,
    /// The transport all of them share (RFC 9143), from the first section that has one.
    pub transport: RemoteTransport,
    /// Whether one-byte and two-byte extension headers may be mixed (RFC 8285 section 4.1.2).
    pub mixed_extensions: bool,
    /// Whether all its sections can share one transport: they are one bundle, or there is but one.
    pub is_bundled: bool,
}

impl Description {
    /// Reads a description.
    ///
    /// # Errors
    /// What is wrong with it; nothing of it is kept.
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        if text.len() > SDP_BYTES_MAX {
            return Err(SdpError::TooLong);
        }
        let session = Session::parse(text.as_bytes()).map_err(|_| SdpError::Syntax)?;
        if session.medias.is_empty() || session.medias.len() > SECTIONS_MAX {
            return Err(SdpError::SectionCount);
        }
        let attributes = session.medias.iter().map(|m| m.attributes.len()).chain([session.attributes.len()]);
        if attributes.max() > Some(ATTRIBUTES_MAX) {
            return Err(SdpError::AttributeCount);
        }
        let bundle: HashSet<&str> = session
            .attributes
            .iter()
            .filter(|a| a.attribute == "group")
            .filter_map(|a| a.value.as_deref()?.strip_prefix("BUNDLE"))
            .flat_map(str::split_ascii_whitespace)
            .collect();
        let mut is_bundled = true;
        let mut sections: Vec<Section> = Vec::with_capacity(session.medias.len());
        for media in &session.medias {
            let section = section(media, &bundle)?;
            if sections.iter().any(|s| s.mid == section.mid) {
                return Err(SdpError::Mid);
            }
            is_bundled &=
                section.rejected || session.medias.len() == 1 || bundle.contains(section.mid.as_str());
            sections.push(section);
        }
        let with_ice = session
            .medias
            .iter()
            .zip(&sections)
            .find(|(media, section)| !section.rejected && value(media, "ice-ufrag").is_some())
            .map(|(media, _)| media);
        let transport = transport(&session, with_ice)?;
        let mixed = |attributes: &[sdp_types::Attribute]| {
            attributes.iter().any(|a| a.attribute == "extmap-allow-mixed")
        };
        let mixed_extensions =
            mixed(&session.attributes) || session.medias.iter().any(|m| mixed(&m.attributes));
        Ok(Self { sections, transport, mixed_extensions, is_bundled })
    }
}

fn value<'a>(media: &'a Media, name: &str) -> Option<&'a str> {
    values(media, name).next()
}

fn values<'a>(media: &'a Media, name: &str) -> impl Iterator<Item = &'a str> {
    media.attributes.iter().filter(move |a| a.attribute == name).filter_map(|a| a.value.as_deref())
}

/// The shared transport: attributes of the section, with the session's as fallback (RFC 8829 section 5.8).
fn transport(session: &Session, media: Option<&Media>) -> Result<RemoteTransport, SdpError> {
    let section = media.map_or(&[][..], |m| &m.attributes);
    let find = |name: &'static str| {
        section
            .iter()
            .chain(&session.attributes)
            .filter(move |a| a.attribute == name)
            .filter_map(|a| a.value.as_deref())
    };
    let ice = |name, bytes_min| {
        find(name)
            .next()
            .filter(|v: &&str| (bytes_min..=ICE_BYTES_MAX).contains(&v.len()))
            .filter(|v| {
                v.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/' || b == b'-' || b == b'_')
            })
            .ok_or(SdpError::Ice)
    };
    Ok(RemoteTransport {
        ufrag: ice("ice-ufrag", 4)?.to_owned(),
        pwd: ice("ice-pwd", 22)?.to_owned(),
        fingerprint: find("fingerprint")
            .find_map(attributes::fingerprint_sha256)
            .ok_or(SdpError::Fingerprint)?,
        setup: find("setup").find_map(Setup::parse).ok_or(SdpError::Setup)?,
    })
}

fn section(media: &Media, bundle: &HashSet<&str>) -> Result<Section, SdpError> {
    let mid = value(media, "mid").and_then(|v| Label::new(v.as_bytes())).ok_or(SdpError::Mid)?;
    let bundled = bundle.contains(mid.as_str());
    let bundle_only = media.attributes.iter().any(|a| a.attribute == "bundle-only");
    let kind = match media.media.as_str() {
        "audio" => SectionKind::Media(MediaKind::Audio),
        "video" => SectionKind::Media(MediaKind::Video),
        "application" if media.proto.contains("SCTP") => SectionKind::Data,
        _ => SectionKind::Other,
    };
    let direction = media
        .attributes
        .iter()
        .find_map(|a| a.value.is_none().then(|| Direction::parse(&a.attribute))?)
        .unwrap_or_default();
    let printable = |text: &str| -> String {
        text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(FMTP_BYTES_MAX).collect()
    };
    let is_media = matches!(kind, SectionKind::Media(_));
    Ok(Section {
        mid,
        kind,
        media: printable(&media.media),
        proto: printable(&media.proto),
        fmt: printable(&media.fmt),
        // RFC 9143 section 6: a zero port with bundle-only is not a rejection.
        rejected: media.port == 0 && !(bundle_only && bundled),
        direction,
        formats: if is_media { formats(media, kind) } else { Vec::new() },
        extensions: if is_media { extensions(media) } else { Vec::new() },
        track: track(media),
        ssrcs: ssrcs(media),
        rids: rids(media),
        sctp_port: value(media, "sctp-port").and_then(|v| v.parse().ok()).unwrap_or(0),
    })
}

fn formats(media: &Media, kind: SectionKind) -> Vec<OfferedFormat> {
    let maps: Vec<RtpMap<'_>> = values(media, "rtpmap").take(FORMATS_MAX).filter_map(RtpMap::parse).collect();
    let fmtps: Vec<(u8, &str)> =
        values(media, "fmtp").filter_map(attributes::prefixed).take(FORMATS_MAX).collect();
    let fmtp_of = |pt: u8| fmtps.iter().find(|(of, _)| *of == pt).map_or("", |(_, fmtp)| fmtp);
    let rtx_of = |pt: u8| {
        maps.iter().filter(|m| m.name.eq_ignore_ascii_case("rtx")).find_map(|m| {
            let apt = attributes::parameter(fmtp_of(m.pt), "apt")?;
            (apt.parse() == Ok(pt)).then_some(m.pt)
        })
    };
    media
        .fmt
        .split_ascii_whitespace()
        .take(FORMATS_MAX)
        .filter_map(attributes::payload_type)
        .filter_map(|pt| {
            let fmtp = fmtp_of(pt);
            let codec = maps.iter().find(|m| m.pt == pt)?.codec(fmtp)?;
            let audio = matches!(codec, Codec::Opus | Codec::Red);
            if audio != (kind == SectionKind::Media(MediaKind::Audio)) {
                return None;
            }
            let feedback = |wanted: &str| {
                values(media, "rtcp-fb").any(|v| {
                    v.split_once(' ').is_some_and(|(of, what)| {
                        (of == "*" || of.parse() == Ok(pt)) && what.trim() == wanted
                    })
                })
            };
            Some(OfferedFormat {
                format: Format {
                    codec,
                    pt,
                    rtx_pt: rtx_of(pt),
                    nack: feedback("nack"),
                    pli: feedback("nack pli"),
                },
                fmtp: fmtp
                    .chars()
                    .filter(|c| c.is_ascii_graphic() || *c == ' ')
                    .take(FMTP_BYTES_MAX)
                    .collect(),
                transport_cc: feedback("transport-cc"),
                fir: feedback("ccm fir"),
            })
        })
        .collect()
}

fn extensions(media: &Media) -> Vec<OfferedExtension> {
    let mut found: Vec<OfferedExtension> = Vec::new();
    for text in values(media, "extmap") {
        let Some((id, extension, direction)) = attributes::extmap(text) else { continue };
        if found.iter().all(|e| e.id != id && e.extension != extension) {
            let stated = text.split_ascii_whitespace().next().is_some_and(|n| n.contains('/'));
            found.push(OfferedExtension { id, extension, direction, stated });
        }
    }
    found
}

fn track(media: &Media) -> Option<String> {
    let of_ssrc = || {
        values(media, "ssrc")
            .find_map(|v| v.split_once(' ').and_then(|(_, rest)| rest.trim().strip_prefix("msid:")))
    };
    value(media, "msid").or_else(of_ssrc).and_then(attributes::msid_track).map(str::to_owned)
}

fn ssrcs(media: &Media) -> Vec<SignalledSsrc> {
    let pairs: Vec<(u32, u32)> =
        values(media, "ssrc-group").filter_map(attributes::fid_group).take(SSRCS_MAX).collect();
    let mut found: Vec<SignalledSsrc> = Vec::new();
    for ssrc in values(media, "ssrc").filter_map(attributes::ssrc) {
        let is_rtx = pairs.iter().any(|(_, rtx)| *rtx == ssrc);
        if is_rtx || found.len() == SSRCS_MAX || found.iter().any(|s| s.ssrc == Ssrc(ssrc)) {
            continue;
        }
        let rtx = pairs.iter().find(|(media, _)| *media == ssrc).map(|(_, rtx)| Ssrc(*rtx));
        found.push(SignalledSsrc { ssrc: Ssrc(ssrc), rtx, rid: None });
    }
    found
}

fn rids(media: &Media) -> Vec<Rid> {
    let sent: Vec<Rid> = values(media, "rid")
        .filter_map(attributes::rid)
        .filter(|(_, send)| *send)
        .map(|(rid, _)| rid)
        .collect();
    values(media, "simulcast")
        .flat_map(attributes::simulcast_send)
        .filter(|rid| sent.contains(rid))
        .take(LAYERS_PER_TRACK)
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use dataplane::base::rng::Rng;
    use dataplane::command::IceCredentials;

    use super::super::answer::{Preferences, answer};
    use super::super::lines::LocalTransport;
    use super::*;

    /// Offers of real clients, by name.
    pub(crate) const OFFERS: [(&str, &str); 6] = [
        ("aiortc", include_str!("../../tests/data/clients/aiortc_offer.sdp")),
        ("chromium", include_str!("../../tests/data/clients/chromium_offer.sdp")),
        ("firefox", include_str!("../../tests/data/clients/firefox_offer.sdp")),
        ("gst", include_str!("../../tests/data/clients/gst_offer.sdp")),
        ("werift", include_str!("../../tests/data/clients/werift_offer.sdp")),
        ("wrtc", include_str!("../../tests/data/clients/wrtc_offer.sdp")),
    ];

    pub(crate) fn offer(name: &str) -> Description {
        let (_, text) = OFFERS.iter().find(|(n, _)| *n == name).expect("the name is in the table");
        Description::parse(text).expect("real offers parse")
    }

    #[test]
    fn every_real_offer_parses() {
        for (name, text) in OFFERS {
            let description = Description::parse(text).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(description.transport.setup, Setup::ActPass, "{name}");
            assert!(description.sections.iter().all(|s| !s.rejected), "{name}");
            for section in &description.sections {
                match section.kind {
                    SectionKind::Media(_) => assert!(!section.formats.is_empty(), "{name} {:?}", section.mid),
                    SectionKind::Data => assert_eq!(section.sctp_port, 5000, "{name}"),
                    SectionKind::Other => panic!("{name} has an unknown section"),
                }
            }
        }
    }

    #[test]
    fn chromium_names_its_layers_by_rid_and_firefox_also_by_ssrc() {
        let chromium = offer("chromium");
        let video = &chromium.sections[1];
        assert_eq!(video.rids.iter().map(Rid::as_str).collect::<Vec<_>>(), ["q", "h", "f"]);
        assert!(video.ssrcs.is_empty());
        let share = &chromium.sections[2];
        assert!(share.rids.is_empty());
        assert_eq!(share.ssrcs.len(), 1);
        assert_eq!(share.ssrcs[0].rtx, Some(Ssrc(3_081_728_406)));
        assert_eq!(share.track.as_deref(), Some("d73ed8e4-fc00-425a-aa76-a7a5f84594eb"));
        let firefox = offer("firefox");
        assert_eq!(firefox.sections[1].rids.len(), 3);
        assert_eq!(firefox.sections[1].ssrcs.len(), 3);
        assert!(firefox.sections[1].ssrcs.iter().all(|s| s.rtx.is_some()));
    }

    #[test]
    fn retransmission_and_feedback_belong_to_their_format() {
        let chromium = offer("chromium");
        let vp8 = &chromium.sections[1].formats[0];
        assert_eq!(vp8.format, Format { codec: Codec::Vp8, pt: 96, rtx_pt: Some(97), nack: true, pli: true });
        assert!(vp8.transport_cc && vp8.fir);
        let gst = offer("gst");
        let vp8 = &gst.sections[0].formats[0];
        assert_eq!(vp8.format, Format { codec: Codec::Vp8, pt: 96, rtx_pt: None, nack: false, pli: true });
    }

    #[test]
    fn a_bundle_only_section_with_port_zero_is_not_rejected() {
        let gst = offer("gst");
        assert!(!gst.sections[1].rejected && !gst.sections[2].rejected);
        let text = OFFERS[3].1.replace("a=bundle-only\r\n", "").replace("a=bundle-only\n", "");
        let rejected = Description::parse(&text).expect("still a description");
        assert!(rejected.sections[1].rejected && rejected.sections[2].rejected);
    }

    #[test]
    fn cut_or_damaged_descriptions_never_panic() {
        for (_, text) in OFFERS {
            for end in 0..text.len() {
                if text.is_char_boundary(end) {
                    let _ = Description::parse(&text[..end]);
                }
            }
            for (index, _) in text.match_indices(['=', ' ', ':', '/']).take(400) {
                let mut damaged = text.to_owned();
                damaged.replace_range(index..=index, "\u{fffd}");
                let _ = Description::parse(&damaged);
            }
        }
    }

    #[test]
    fn a_description_of_the_largest_size_is_read_in_bounded_time() {
        let head = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n";
        let line = "a=fmtp:96 apt=97\r\n";
        let section = format!("m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n{}", line.repeat(ATTRIBUTES_MAX));
        assert_eq!(Description::parse(&format!("{head}{section}")), Err(SdpError::AttributeCount));
        let many: String = (0..=SECTIONS_MAX).map(|n| format!("m=audio 9 X 0\r\na=mid:{n}\r\n")).collect();
        assert_eq!(Description::parse(&format!("{head}{many}")), Err(SdpError::SectionCount));
    }

    #[test]
    fn what_is_read_from_mutated_offers_can_be_answered_or_is_refused() {
        let mut rng = Rng::new(7);
        for _ in 0..2_000 {
            let (_, text) = OFFERS[rng.below(OFFERS.len() as u64) as usize];
            let mut lines: Vec<&str> = text.lines().collect();
            for _ in 0..=rng.below(4) {
                let (from, to) =
                    (rng.below(lines.len() as u64) as usize, rng.below(lines.len() as u64) as usize);
                match rng.below(3) {
                    0 => drop(lines.remove(from)),
                    1 => lines.swap(from, to),
                    _ => lines.insert(to, lines[from]),
                }
            }
            let Ok(description) = Description::parse(&lines.join("\r\n")) else { continue };
            let ice = IceCredentials { ufrag: "abcd".into(), pwd: "0123456789abcdef012345".into() };
            let local = LocalTransport {
                ice: &ice,
                fingerprint: Fingerprint([0; 32]),
                candidates: &[],
                session: 1,
                version: 1,
            };
            if let Ok(answer) = answer(&description, &local, |_| Preferences::default()) {
                let parsed = Description::parse(&answer.sdp);
                let has_transport = parsed.is_ok_and(|p| p.sections.len() == description.sections.len());
                let all_rejected = !answer.sdp.contains("a=setup:passive");
                assert!(has_transport || all_rejected, "{}", answer.sdp);
            }
        }
    }

    #[test]
    fn missing_parts_are_named() {
        let text = OFFERS[4].1;
        let without = |prefix: &str| -> String {
            text.lines().filter(|l| !l.starts_with(prefix)).map(|l| format!("{l}\r\n")).collect()
        };
        assert_eq!(Description::parse(&without("a=mid")), Err(SdpError::Mid));
        assert_eq!(Description::parse(&without("a=ice-ufrag")), Err(SdpError::Ice));
        assert_eq!(Description::parse(&without("a=ice-pwd")), Err(SdpError::Ice));
        assert_eq!(Description::parse(&without("a=fingerprint")), Err(SdpError::Fingerprint));
        assert_eq!(Description::parse(&without("a=setup")), Err(SdpError::Setup));
        assert_eq!(Description::parse("hello"), Err(SdpError::Syntax));
        assert_eq!(
            Description::parse("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"),
            Err(SdpError::SectionCount)
        );
        assert_eq!(Description::parse(&" ".repeat(SDP_BYTES_MAX + 1)), Err(SdpError::TooLong));
        assert_eq!(Description::parse(&text.replace("a=mid:1", "a=mid:0")), Err(SdpError::Mid));
    }
}
