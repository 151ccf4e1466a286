//! Session descriptions as a client writes and reads them.
//!
//! Reading is `controlplane::sdp`, plus candidates, which a server never reads. Writing is ours: offers of what is published,
//! answers to what is offered.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use controlplane::sdp::description::{Description, Section, SectionKind};
use dataplane::base::handoff::Fingerprint;
use dataplane::base::media::{Codec, Extension, ExtensionMap, Format, MediaKind};
use dataplane::command::IceCredentials;

use crate::client::codec::VideoCodec;
use crate::client::receiver::ReceiveConfig;

/// Extensions we offer and accept, with the identifiers of our offers.
const EXTENSIONS: [(u8, Extension); 4] = [
    (1, Extension::AudioLevel),
    (2, Extension::AbsSendTime),
    (3, Extension::TransportCc),
    (4, Extension::Mid),
];

/// Our side of a transport.
pub struct Local<'a> {
    /// Our ICE credentials.
    pub ice: &'a IceCredentials,
    /// Our certificate.
    pub fingerprint: Fingerprint,
    /// Number of the session.
    pub session: u64,
    /// Number of this description, growing.
    pub version: u64,
}

/// A track we offer to send.
pub struct Offered<'a> {
    /// Audio or video.
    pub kind: MediaKind,
    /// The identifier the server knows it by.
    pub cid: &'a str,
    /// Its SSRC.
    pub ssrc: u32,
    /// SSRC of its retransmissions.
    pub rtx: Option<u32>,
}

/// Writes an offer of one section per track, and one for each kind to receive; the mid is the section's index.
#[must_use]
pub fn offer(local: &Local<'_>, tracks: &[Offered<'_>], receiving: &[MediaKind]) -> String {
    let mids: Vec<String> = (0..tracks.len() + receiving.len()).map(|index| index.to_string()).collect();
    let mut text = head(local, &mids);
    let tracks = tracks.iter().map(|track| (track.kind, Some(track)));
    for ((kind, track), mid) in tracks.chain(receiving.iter().map(|kind| (*kind, None))).zip(&mids) {
        let (media, formats) = match kind {
            MediaKind::Audio => ("audio", "111"),
            MediaKind::Video => ("video", "96 97"),
        };
        line(&mut text, format_args!("m={media} 9 UDP/TLS/RTP/SAVPF {formats}"));
        transport(&mut text, local, "actpass");
        line(&mut text, format_args!("a=mid:{mid}"));
        for (id, extension) in EXTENSIONS {
            if kind == MediaKind::Audio || extension != Extension::AudioLevel {
                line(&mut text, format_args!("a=extmap:{id} {}", uri(extension)));
            }
        }
        line(&mut text, format_args!("a={}", if track.is_some() { "sendonly" } else { "recvonly" }));
        line(&mut text, format_args!("a=rtcp-mux"));
        line(&mut text, format_args!("a=rtcp-rsize"));
        match kind {
            MediaKind::Audio => {
                line(&mut text, format_args!("a=rtpmap:111 opus/48000/2"));
                line(&mut text, format_args!("a=rtcp-fb:111 transport-cc"));
                line(&mut text, format_args!("a=fmtp:111 minptime=10;useinbandfec=1"));
            }
            MediaKind::Video => {
                line(&mut text, format_args!("a=rtpmap:96 VP8/90000"));
                for feedback in ["transport-cc", "ccm fir", "nack", "nack pli"] {
                    line(&mut text, format_args!("a=rtcp-fb:96 {feedback}"));
                }
                line(&mut text, format_args!("a=rtpmap:97 rtx/90000"));
                line(&mut text, format_args!("a=fmtp:97 apt=96"));
            }
        }
        let Some(track) = track else { continue };
        line(&mut text, format_args!("a=msid:- {}", track.cid));
        let ssrc = track.ssrc;
        if let Some(rtx) = track.rtx {
            line(&mut text, format_args!("a=ssrc-group:FID {ssrc} {rtx}"));
            line(&mut text, format_args!("a=ssrc:{rtx} cname:kaigi-synthetic"));
        }
        line(&mut text, format_args!("a=ssrc:{ssrc} cname:kaigi-synthetic"));
        line(&mut text, format_args!("a=ssrc:{ssrc} msid:- {}", track.cid));
    }
    text
}

/// Writes the answer to an offer of the server: everything it sends is taken, as the DTLS client.
#[must_use]
pub fn answer(local: &Local<'_>, offer: &Description) -> String {
    let mids: Vec<String> = offer.sections.iter().map(|section| section.mid.as_str().to_owned()).collect();
    let mut text = head(local, &mids);
    for section in &offer.sections {
        let Section { media, proto, fmt, .. } = section;
        let port = if section.rejected { 0 } else { 9 };
        line(&mut text, format_args!("m={media} {port} {proto} {fmt}"));
        transport(&mut text, local, "active");
        line(&mut text, format_args!("a=mid:{}", section.mid.as_str()));
        match section.kind {
            SectionKind::Data => line(&mut text, format_args!("a=sctp-port:{}", section.sctp_port)),
            SectionKind::Other => {}
            SectionKind::Media(_) => {
                let takes = !section.rejected && section.direction.sends();
                line(&mut text, format_args!("a={}", if takes { "recvonly" } else { "inactive" }));
                line(&mut text, format_args!("a=rtcp-mux"));
                line(&mut text, format_args!("a=rtcp-rsize"));
                for extension in &section.extensions {
                    if EXTENSIONS.iter().any(|(_, known)| *known == extension.extension) {
                        line(
                            &mut text,
                            format_args!("a=extmap:{} {}", extension.id, uri(extension.extension)),
                        );
                    }
                }
                for offered in &section.formats {
                    format_lines(&mut text, &offered.format, &offered.fmtp, offered.transport_cc);
                }
            }
        }
    }
    text
}

/// The stream that a section of the server's offer carries, if it is one we can take apart.
#[must_use]
pub fn receive(section: &Section) -> Option<ReceiveConfig> {
    let SectionKind::Media(kind) = section.kind else { return None };
    if section.rejected || !section.direction.sends() {
        return None;
    }
    let ssrc = section.ssrcs.first()?;
    let wanted = |codec: Codec| matches!(codec, Codec::Opus | Codec::Vp8);
    let format = section.formats.iter().map(|offered| offered.format).find(|format| wanted(format.codec))?;
    let extension =
        |wanted: Extension| section.extensions.iter().find(|e| e.extension == wanted).map(|e| e.id);
    Some(ReceiveConfig {
        ssrc: ssrc.ssrc,
        rtx: ssrc.rtx,
        kind,
        codec: VideoCodec::Vp8,
        pt: format.pt,
        rtx_pt: format.rtx_pt,
        red_pt: None,
        fec: true,
        transport_cc: extension(Extension::TransportCc),
        abs_send_time: extension(Extension::AbsSendTime),
        dependency: None,
        nack: format.nack,
        expected: None,
    })
}

/// What the server's answer says about a track we offered: payload types and extensions.
#[must_use]
pub fn accepted(section: &Section) -> Option<(Format, ExtensionMap)> {
    if section.rejected {
        return None;
    }
    let format = section.formats.first()?.format;
    let mut map = ExtensionMap::default();
    for extension in &section.extensions {
        map.set(extension.extension, extension.id);
    }
    Some((format, map))
}

/// Addresses of the UDP host candidates, in the order written.
#[must_use]
pub fn candidates(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("a=candidate:"))
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let (transport, address) = (fields.nth(2)?, fields.nth(1)?);
            let port: u16 = fields.next()?.parse().ok()?;
            let ip: IpAddr = address.parse().ok()?;
            (transport.eq_ignore_ascii_case("udp") && port != 0).then_some(SocketAddr::new(ip, port))
        })
        .collect()
}

fn head(local: &Local<'_>, mids: &[String]) -> String {
    let mut text = String::with_capacity(1_024 * (mids.len() + 1));
    line(&mut text, format_args!("v=0"));
    line(&mut text, format_args!("o=- {} {} IN IP4 127.0.0.1", local.session, local.version));
    line(&mut text, format_args!("s=-"));
    line(&mut text, format_args!("t=0 0"));
    line(&mut text, format_args!("a=group:BUNDLE {}", mids.join(" ")));
    line(&mut text, format_args!("a=extmap-allow-mixed"));
    text
}

fn transport(text: &mut String, local: &Local<'_>, setup: &str) {
    line(text, format_args!("c=IN IP4 0.0.0.0"));
    line(text, format_args!("a=ice-ufrag:{}", local.ice.ufrag));
    line(text, format_args!("a=ice-pwd:{}", local.ice.pwd));
    text.push_str("a=fingerprint:sha-256 ");
    for (index, byte) in local.fingerprint.0.iter().enumerate() {
        let _ = write!(text, "{}{byte:02X}", if index == 0 { "" } else { ":" });
    }
    text.push_str("\r\n");
    line(text, format_args!("a=setup:{setup}"));
}

fn format_lines(text: &mut String, format: &Format, fmtp: &str, transport_cc: bool) {
    let pt = format.pt;
    let name = match format.codec {
        Codec::Opus => "opus/48000/2",
        Codec::Red => "red/48000/2",
        Codec::Vp8 => "VP8/90000",
        Codec::Vp9 { .. } => "VP9/90000",
        Codec::H264 { .. } => "H264/90000",
        Codec::Av1 { .. } => "AV1/90000",
    };
    line(text, format_args!("a=rtpmap:{pt} {name}"));
    for (has, feedback) in [(transport_cc, "transport-cc"), (format.nack, "nack"), (format.pli, "nack pli")] {
        if has {
            line(text, format_args!("a=rtcp-fb:{pt} {feedback}"));
        }
    }
    if !fmtp.is_empty() {
        line(text, format_args!("a=fmtp:{pt} {fmtp}"));
    }
    if let Some(rtx) = format.rtx_pt {
        line(text, format_args!("a=rtpmap:{rtx} rtx/90000"));
        line(text, format_args!("a=fmtp:{rtx} apt={pt}"));
    }
}

fn uri(extension: Extension) -> &'static str {
    Extension::ALL[extension as usize].1
}

/// Writing to a `String` cannot fail.
fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(arguments);
    text.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use controlplane::sdp::attributes::{Direction, Setup};
    use controlplane::sdp::lines::{Candidate, LocalTransport};
    use controlplane::sdp::offer::{OfferSection, Sending, check_answer};
    use controlplane::sdp::table;
    use dataplane::base::ids::Ssrc;

    fn ice() -> IceCredentials {
        IceCredentials { ufrag: "abcd1234".to_owned(), pwd: "0123456789abcdef0123456789".to_owned() }
    }

    fn local(ice: &IceCredentials) -> Local<'_> {
        Local { ice, fingerprint: Fingerprint([0xab; 32]), session: 7, version: 1 }
    }

    #[test]
    fn an_offer_says_what_is_published() {
        let ice = ice();
        let tracks = [
            Offered { kind: MediaKind::Audio, cid: "mic", ssrc: 11, rtx: None },
            Offered { kind: MediaKind::Video, cid: "cam", ssrc: 21, rtx: Some(22) },
        ];
        let read =
            Description::parse(&offer(&local(&ice), &tracks, &[MediaKind::Video])).expect("a valid offer");
        assert_eq!((read.transport.ufrag.as_str(), read.transport.setup), ("abcd1234", Setup::ActPass));
        let [audio, video, free] = &read.sections[..] else { panic!("three sections") };
        assert_eq!((free.direction, free.track.as_deref(), free.ssrcs.len()), (Direction::RecvOnly, None, 0));
        assert_eq!((audio.track.as_deref(), video.track.as_deref()), (Some("mic"), Some("cam")));
        assert_eq!(video.ssrcs[0].ssrc, Ssrc(21));
        assert_eq!(video.ssrcs[0].rtx, Some(Ssrc(22)));
        let vp8 = video.formats[0].format;
        assert_eq!(
            (vp8.codec, vp8.pt, vp8.rtx_pt, vp8.nack, vp8.pli),
            (Codec::Vp8, 96, Some(97), true, true)
        );
        assert_eq!(audio.direction, Direction::SendOnly);
        let (_, map) = accepted(audio).expect("not rejected");
        assert_eq!(map.id(Extension::AudioLevel), Some(1));
    }

    #[test]
    fn a_servers_offer_is_answered_so_that_it_accepts() {
        let theirs = ice();
        let address = "10.1.2.3:7882".parse().expect("an address");
        let candidates_of_server = [Candidate::udp(address)];
        let server = LocalTransport {
            ice: &theirs,
            fingerprint: Fingerprint([1; 32]),
            candidates: &candidates_of_server,
            session: 1,
            version: 1,
        };
        let sections = [OfferSection {
            mid: table::mid(1),
            kind: MediaKind::Video,
            codecs: vec![Codec::Vp8],
            sending: Some(Sending {
                participant: "PA_x".to_owned(),
                track: "TR_x".to_owned(),
                ssrc: Ssrc(5),
                rtx: Some(Ssrc(6)),
                stereo: false,
            }),
        }];
        let text = controlplane::sdp::offer::offer(&server, &sections);
        assert_eq!(candidates(&text), [address]);
        let offer = Description::parse(&text).expect("a valid offer");
        let stream = offer.sections.iter().find_map(receive).expect("it sends a stream");
        assert_eq!((stream.ssrc, stream.rtx, stream.kind), (Ssrc(5), Some(Ssrc(6)), MediaKind::Video));
        assert!(stream.nack && stream.rtx_pt.is_some() && stream.transport_cc.is_some());
        let ours = ice();
        let read = Description::parse(&answer(&local(&ours), &offer)).expect("a valid answer");
        assert_eq!(check_answer(&read, &sections), Ok(()));
        assert_eq!(read.sections[1].formats[0].format.pt, stream.pt);
    }

    #[test]
    fn candidates_other_than_udp_hosts_are_skipped() {
        let text = "a=candidate:1 1 tcp 1 10.0.0.1 9 typ host\r\na=candidate:2 1 UDP 1 10.0.0.2 99 typ host\r\n\
                    a=candidate:3 1 udp 1 name.local 99 typ host\r\na=candidate:\r\n";
        assert_eq!(candidates(text), ["10.0.0.2:99".parse().expect("an address")]);
    }
}
