//! The answer to a player's offer: it receives, we send; every section keeps its place, formats keep the player's payload types.
//!
//! ICE-lite, DTLS server (`a=setup:passive`), one bundle. One video section is taken and as many sections of audio as are
//! wanted; all formats in common are answered, because what is shown changes and may come in any of them.

use dataplane::base::ids::{Mid, Ssrc};
use dataplane::base::media::{Codec, ExtensionMap, Format, MediaKind};

use super::SdpError;
use super::answer::{payload_types, reject};
use super::attributes::{Direction, Setup};
use super::description::{Description, OfferedFormat, Section, SectionKind};
use super::lines::{Lines, LocalTransport};
use super::table;

/// A section that we send in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    /// The section.
    pub mid: Mid,
    /// Audio or video.
    pub kind: MediaKind,
    /// Formats in common, the player's.
    pub formats: Vec<Format>,
    /// Extension identifiers, the player's.
    pub extensions: ExtensionMap,
    /// The SSRC the player sees.
    pub ssrc: Ssrc,
    /// The SSRC of retransmissions, for video whose retransmissions the player takes.
    pub rtx: Option<Ssrc>,
}

/// The sections of an offer that can be sent in, in their order: the first of video and up to `audio_max` of audio. `number` gives
/// SSRCs.
pub fn choose(offer: &Description, audio_max: usize, mut number: impl FnMut() -> u32) -> Vec<Sent> {
    let left = |kind| match kind {
        MediaKind::Audio => audio_max,
        MediaKind::Video => 1,
    };
    let mut sent: Vec<Sent> = Vec::new();
    for section in &offer.sections {
        let SectionKind::Media(kind) = section.kind else { continue };
        let formats = common(section);
        let count = sent.iter().filter(|other| other.kind == kind).count();
        if section.rejected || !section.direction.receives() || formats.is_empty() || count >= left(kind) {
            continue;
        }
        let mut extensions = ExtensionMap::default();
        for offered in &section.extensions {
            let is_received = matches!(offered.direction, Direction::SendRecv | Direction::RecvOnly);
            if is_received && table::extensions(kind).any(|(_, ours)| ours == offered.extension) {
                extensions.set(offered.extension, offered.id);
            }
        }
        let rtx = formats.iter().any(|offered| offered.format.rtx_pt.is_some());
        sent.push(Sent {
            mid: section.mid,
            kind,
            formats: formats.iter().map(|offered| offered.format).collect(),
            extensions,
            ssrc: Ssrc(number()),
            rtx: (rtx && kind == MediaKind::Video).then(|| Ssrc(number())),
        });
    }
    sent
}

/// Formats of a section that we may send. Redundant audio is left out: its primary block can be sent to everybody.
fn common(section: &Section) -> Vec<&OfferedFormat> {
    let is_sent = |codec| codec != Codec::Red && table::format(codec).is_some();
    section.formats.iter().filter(|offered| is_sent(offered.format.codec)).collect()
}

/// Writes the answer; `stream` names what is sent, the same for sound and picture.
///
/// # Errors
/// [`SdpError::Setup`] if the player insists on being the DTLS server.
pub fn answer(
    offer: &Description,
    local: &LocalTransport<'_>,
    sent: &[Sent],
    stream: &str,
) -> Result<String, SdpError> {
    if offer.transport.setup == Setup::Passive {
        return Err(SdpError::Setup);
    }
    let mut lines = Lines::new(1024 + 1024 * offer.sections.len());
    lines.head(local, sent.iter().map(|sent| sent.mid.as_str()), offer.mixed_extensions);
    let mut first = true;
    for section in &offer.sections {
        match sent.iter().find(|sent| sent.mid == section.mid) {
            Some(sent) => {
                media(&mut lines, section, sent, local, stream, std::mem::replace(&mut first, false))
            }
            None => reject(&mut lines, section),
        }
    }
    Ok(lines.finish())
}

fn media(
    lines: &mut Lines,
    section: &Section,
    sent: &Sent,
    local: &LocalTransport<'_>,
    stream: &str,
    first: bool,
) {
    let fmt = payload_types(sent.formats.iter());
    lines.line(format_args!("m={} 9 {} {fmt}", section.media, section.proto));
    lines.transport(local, "passive", first);
    let mid = section.mid.as_str();
    lines.line(format_args!("a=mid:{mid}"));
    lines.text("a=sendonly");
    lines.text("a=rtcp-mux");
    lines.text("a=rtcp-rsize");
    for offered in &section.extensions {
        if sent.extensions.id(offered.extension) == Some(offered.id) {
            lines.extension(offered.id, if offered.stated { "/sendonly" } else { "" }, offered.extension);
        }
    }
    for offered in common(section) {
        let fmtp = match offered.format.codec {
            Codec::Opus => "minptime=10;useinbandfec=1",
            // VP8's parameters are the limits of whoever receives, and we have none.
            Codec::Vp8 => "",
            _ => &offered.fmtp,
        };
        lines.format(&offered.format, fmtp, offered.transport_cc, offered.fir);
    }
    lines.line(format_args!("a=msid:{stream} {stream}-{mid}"));
    if let Some(rtx) = sent.rtx {
        lines.line(format_args!("a=ssrc-group:FID {} {}", sent.ssrc.0, rtx.0));
    }
    for ssrc in [Some(sent.ssrc), sent.rtx].into_iter().flatten() {
        lines.line(format_args!("a=ssrc:{} cname:{stream}", ssrc.0));
        lines.line(format_args!("a=ssrc:{} msid:{stream} {stream}-{mid}", ssrc.0));
    }
}

/// What a publisher sends, in the formats that a player which takes `taken` can be sent it in.
#[must_use]
pub fn formats(publisher: &[Format], taken: &[Format]) -> Vec<Format> {
    let row = |codec| table::format(codec).map(|format| format.pt);
    publisher
        .iter()
        .filter_map(|theirs| {
            let taken = taken.iter().find(|taken| row(taken.codec) == row(theirs.codec))?;
            row(theirs.codec)?;
            Some(Format { codec: theirs.codec, ..*taken })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use dataplane::base::handoff::Fingerprint;
    use dataplane::base::media::Extension;
    use dataplane::command::IceCredentials;

    use super::super::description::tests::{OFFERS, offer};
    use super::super::lines::Candidate;
    use super::*;

    fn player(name: &str) -> Description {
        let mut offer = offer(name);
        for section in &mut offer.sections {
            section.direction = Direction::RecvOnly;
        }
        offer
    }

    fn answered(offer: &Description, audio_max: usize) -> (Vec<Sent>, String) {
        let ice = IceCredentials { ufrag: "00000000010badcafe".into(), pwd: "0123456789abcdef012345".into() };
        let candidates = [Candidate::udp("192.0.2.1:7882".parse().expect("an address"))];
        let local = LocalTransport {
            ice: &ice,
            fingerprint: Fingerprint([0x5a; 32]),
            candidates: &candidates,
            session: 7,
            version: 1,
        };
        let mut last = 0;
        let sent = choose(offer, audio_max, || {
            last += 1;
            last
        });
        let text = answer(offer, &local, &sent, "player").expect("answerable");
        (sent, text)
    }

    #[test]
    fn every_real_offer_is_answered_with_one_picture_and_one_voice() {
        for (name, _) in OFFERS {
            let offer = player(name);
            let (sent, text) = answered(&offer, 1);
            let parsed = Description::parse(&text).unwrap_or_else(|e| panic!("{name}: {e}\n{text}"));
            assert_eq!(parsed.sections.len(), offer.sections.len(), "{name}");
            let open: Vec<&Section> = parsed.sections.iter().filter(|s| !s.rejected).collect();
            assert_eq!(open.len(), sent.len(), "{name}");
            assert_eq!(sent.iter().filter(|s| s.kind == MediaKind::Video).count(), 1, "{name}");
            assert_eq!(sent.iter().filter(|s| s.kind == MediaKind::Audio).count(), 1, "{name}");
            for (section, sent) in open.iter().zip(&sent) {
                assert_eq!((section.mid, section.direction), (sent.mid, Direction::SendOnly), "{name}");
                assert_eq!(section.ssrcs[0].ssrc, sent.ssrc, "{name}");
                let formats: Vec<Format> = section.formats.iter().map(|f| f.format).collect();
                assert_eq!(formats, sent.formats, "{name}");
                for extension in &section.extensions {
                    assert_eq!(sent.extensions.id(extension.extension), Some(extension.id), "{name}");
                }
            }
            assert_eq!(text.matches("a=candidate:").count(), 1, "{name}");
        }
    }

    #[test]
    fn what_a_player_does_not_receive_is_not_sent() {
        let mut offer = player("chromium");
        let (sent, _) = answered(&offer, 3);
        let ids = sent[1].extensions;
        assert!(ids.id(Extension::Mid).is_some() && ids.id(Extension::TransportCc).is_some());
        assert!(ids.id(Extension::Rid).is_none(), "layers are ours to choose");
        assert!(sent[0].formats.iter().all(|format| format.codec == Codec::Opus));
        for section in &mut offer.sections {
            section.direction = Direction::SendOnly;
        }
        assert!(answered(&offer, 3).0.is_empty());
    }

    #[test]
    fn publishers_formats_are_found_by_what_decoders_tell_apart() {
        let format = |codec, pt| Format { codec, pt, rtx_pt: None, nack: true, pli: true };
        let h264 = |id| Codec::H264 { profile_level_id: id, packetization_mode: 1 };
        let taken = [format(Codec::Vp8, 100), format(h264(0x42_e0_1f), 101)];
        let sent = formats(&[format(h264(0x42_c0_34), 96), format(Codec::Red, 63)], &taken);
        assert_eq!(sent, [format(h264(0x42_c0_34), 101)], "another level of the same profile");
        assert_eq!(formats(&[format(Codec::Vp9 { profile: 0 }, 96)], &taken), []);
    }
}
