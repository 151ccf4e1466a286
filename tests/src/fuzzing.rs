//! What the fuzz targets do with their input: one function per target. `tests/fuzz` runs them under a coverage-guided fuzzer,
//! `tests/tests/corpus.rs` runs the committed corpus through them in every plain test run.
//!
//! Each asserts more than "no panic": what was parsed lies within the input, survives being written, or is refused without effect.
//! The fuzzing workspace includes this file as it is; that is why its parts are named by path, and why what they use is in its manifest too.

#[path = "fuzzing/channels.rs"]
mod channels;
#[path = "fuzzing/engine.rs"]
mod engine;
#[path = "fuzzing/feedback.rs"]
mod feedback;
#[path = "fuzzing/frames.rs"]
mod frames;
#[path = "fuzzing/layers.rs"]
mod layers;
#[path = "fuzzing/signalling.rs"]
mod signalling;

use dataplane::base::handoff::{MasterKey, SrtpProfile};
use dataplane::base::ids::{PayloadType, Seq, Ssrc};
use dataplane::base::media::Codec;
use dataplane::session::srtp::{Inbound, Outbound, RTCP_OVERHEAD_BYTES, RTP_OVERHEAD_BYTES};
use dataplane::wire::av1::dependency::Descriptor;
use dataplane::wire::demux::{Protocol, classify};
use dataplane::wire::ext::{self, Element, Elements};
use dataplane::wire::payload::describe;
use dataplane::wire::rtcp::{RtcpEvent, RtcpWriter, parse};
use dataplane::wire::rtp::{HeaderFields, RtpHeader, header_bytes, write_header};
use dataplane::wire::stun::{self, StunMessage};
use dataplane::wire::vp8::{DESCRIPTOR_BYTES_MAX, Vp8Descriptor};

pub use channels::channels;
pub use engine::engine;
pub use feedback::feedback;
pub use frames::frames;
pub use layers::layers;
pub use signalling::signalling;

/// A target: takes any bytes, panics when a promise is broken.
pub type Target = fn(&[u8]);

/// All targets by the name of their file in `fuzz_targets` and their folder in `corpus`.
pub const TARGETS: [(&str, Target); 13] = [
    ("channels", channels),
    ("demux", demux),
    ("descriptors", descriptors),
    ("engine", engine),
    ("ext", extensions),
    ("feedback", feedback),
    ("frames", frames),
    ("layers", layers),
    ("rtcp", rtcp),
    ("rtp", rtp),
    ("signalling", signalling),
    ("srtp", srtp),
    ("stun", stun),
];

/// Every datagram has one protocol, and what it is given to can read at least its header.
pub fn demux(data: &[u8]) {
    match classify(data) {
        Protocol::Stun => assert!(data[0] < 4),
        Protocol::Dtls => assert!((20..64).contains(&data[0])),
        Protocol::Rtp => assert!(data.len() >= 12 && data[0] >> 6 == 2),
        Protocol::Rtcp => assert!(data.len() >= 8 && (192..=223).contains(&data[1])),
        Protocol::Unknown => {}
    }
}

/// A header's ranges lie within its packet, and its fields survive being written.
pub fn rtp(data: &[u8]) {
    let Ok(header) = RtpHeader::parse(data) else { return };
    assert_eq!(header_bytes(data), Ok(header.header_bytes()));
    assert!(header.header_bytes() <= header.payload().start);
    assert_eq!(header.payload().end + usize::from(header.padding_bytes), data.len());
    assert!(data.get(header.payload()).is_some() && data.get(header.extension()).is_some());
    let elements: Vec<_> = header.elements(data).collect();
    let fields = HeaderFields {
        ssrc: header.ssrc,
        seq: header.seq,
        timestamp: header.timestamp,
        marker: header.marker,
        pt: header.pt,
        padding: header.padding_bytes > 0,
    };
    let mut out = vec![0; data.len() * 2 + 64];
    let written = write_header(&fields, &elements, &mut out).expect("twice the input and more is enough");
    out.truncate(written);
    out.extend_from_slice(&data[header.header_bytes()..]);
    let again = RtpHeader::parse(&out).expect("we wrote it");
    assert_eq!(
        (again.ssrc, again.seq, again.timestamp, again.marker, again.pt, again.padding_bytes),
        (header.ssrc, header.seq, header.timestamp, header.marker, header.pt, header.padding_bytes)
    );
    assert!(again.elements(&out).eq(elements));
    assert_eq!(&out[again.payload()], &data[header.payload()]);
}

/// The first two bytes are the profile. What is read is written to a block that reads the same.
pub fn extensions(data: &[u8]) {
    let Some((profile, block)) = data.split_first_chunk::<2>() else { return };
    let elements: Vec<Element<'_>> = Elements::new(u16::from_be_bytes(*profile), block).collect();
    let bytes: usize = elements.iter().map(|element| element.value.len() + 1).sum();
    assert!(bytes <= block.len());
    for element in &elements {
        let _ = ext::AudioLevel::parse(element.value);
        let _ = ext::AbsSendTime::parse(element.value);
        let _ = ext::parse_transport_cc(element.value);
        let _ = ext::parse_label(element.value);
        let _ = Descriptor::parse_with_structure(element.value);
    }
    let mut out = vec![0; 2 * data.len() + 8];
    let written = ext::write_block(&elements, &mut out).expect("twice the input and more is enough");
    if !elements.is_empty() {
        let profile = u16::from_be_bytes([out[0], out[1]]);
        assert!(Elements::new(profile, &out[4..written]).eq(elements.iter().copied()));
    }
}

/// A refused compound has no effect; what an accepted one says can be said again.
pub fn rtcp(data: &[u8]) {
    let mut count = 0;
    let mut out = vec![0; 4 * data.len() + 64];
    let accepted = parse(data, |event| {
        count += 1;
        let mut writer = RtcpWriter::new(&mut out);
        // A list of 65,535 pads to more than the buffer for the shortest input: not written then.
        let _ = match event {
            RtcpEvent::SenderReport { sender, info } => writer.sender_report(sender, &info, &[]),
            RtcpEvent::ReportBlock { reporter, block } => writer.receiver_report(reporter, &[block]),
            RtcpEvent::Bye { ssrc } => writer.bye(&[ssrc]),
            RtcpEvent::Nack { sender, media, list } => writer.nack(sender, media, list.iter()),
            RtcpEvent::Pli { sender, media } => writer.pli(sender, media),
            RtcpEvent::Fir { sender, media, command } => writer.fir(sender, media, command),
            RtcpEvent::Twcc { sender, media, feedback } => {
                let statuses: Vec<_> = feedback.packets().map(|(_, status)| status).collect();
                assert_eq!(statuses.len(), usize::from(feedback.status_count()));
                writer.twcc(
                    (sender, media),
                    feedback.base(),
                    feedback.reference_ticks(),
                    feedback.count(),
                    &statuses,
                )
            }
            RtcpEvent::Remb { sender, bitrate_bps, ssrcs } => {
                let ssrcs: Vec<_> = ssrcs.iter().collect();
                writer.remb(sender, bitrate_bps, &ssrcs)
            }
            RtcpEvent::Ignored { .. } => Ok(()),
        };
        let bytes = writer.bytes();
        if bytes > 0 {
            let mut same = false;
            let result = parse(&out[..bytes], |again| {
                same |= match (again, event) {
                    (RtcpEvent::Twcc { feedback: a, .. }, RtcpEvent::Twcc { feedback: b, .. }) => {
                        a.packets().eq(b.packets()) && a.reference_ticks() == b.reference_ticks()
                    }
                    // A NACK may name a packet twice or out of order: written, it is shorter.
                    (RtcpEvent::Nack { .. }, RtcpEvent::Nack { .. }) => true,
                    (RtcpEvent::Remb { bitrate_bps: a, .. }, RtcpEvent::Remb { bitrate_bps: b, .. }) => {
                        a <= b && b - a <= b >> 17
                    }
                    (again, event) => again == event,
                };
            });
            assert!(result.is_ok() && same, "{event:?} was not read back");
        }
    });
    assert!(accepted.is_ok() || count == 0, "a refused compound had effects");
}

/// The input as it is, then as the attributes of a binding request with a right fingerprint: without it nothing gets past the CRC.
pub fn stun(data: &[u8]) {
    let _ = StunMessage::parse(data);
    let attributes = &data[..data.len().min(1_400) & !3];
    let mut message = vec![0, 1, 0, 0];
    message[2..4].copy_from_slice(&((attributes.len() + 8) as u16).to_be_bytes());
    message.extend_from_slice(&stun::MAGIC_COOKIE);
    message.extend_from_slice(b"transaction!");
    message.extend_from_slice(attributes);
    let fingerprint = stun::crc32(&message) ^ stun::FINGERPRINT_XOR;
    message.extend_from_slice(&[0x80, 0x28, 0, 4]);
    message.extend_from_slice(&fingerprint.to_be_bytes());
    let Ok(parsed) = StunMessage::parse(&message) else { return };
    if let Some((local, remote)) = parsed.ufrags() {
        assert!(local.len() + remote.len() < message.len());
    }
    // The attribute's own bytes taken for the right tag: what is authentic can be answered.
    let mut tag = [0; 20];
    let found = message.windows(4).position(|window| window == [0, 8, 0, 20]);
    if let Some(bytes) = found.and_then(|at| message.get(at + 4..at + 24)) {
        tag.copy_from_slice(bytes);
    }
    let Ok(authenticated) = parsed.authenticate(|_| tag) else { return };
    let mut out = [0; 128];
    let bytes = stun::write_error(&authenticated, stun::ErrorCode::UnknownAttribute, &|_| [7; 20], &mut out)
        .expect("an error response is at most 20 + 24 + 12 + 24 + 8 bytes");
    assert!(bytes <= message.len() + 64);
    let answer = StunMessage::parse(&out[..bytes]).expect("we wrote it");
    assert_eq!((answer.transaction, answer.error_code), (parsed.transaction, Some(420)));
}

/// The first byte chooses the codec; for AV1 the second says how much of the rest is a dependency descriptor.
pub fn descriptors(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else { return };
    let codec = match choice % 5 {
        0 => Codec::Vp8,
        1 => Codec::Vp9 { profile: 0 },
        2 => Codec::H264 { profile_level_id: 0x42_e01f, packetization_mode: 1 },
        3 => Codec::Av1 { profile: 0 },
        _ => Codec::Opus,
    };
    let (dependency, payload) = match (codec, rest) {
        (Codec::Av1 { .. }, [bytes, rest @ ..]) => {
            let (dependency, payload) = rest.split_at(usize::from(*bytes).min(rest.len()));
            (Some(dependency), payload)
        }
        _ => (None, rest),
    };
    if let Some(value) = dependency
        && let Ok((descriptor, Some(structure))) = Descriptor::parse_with_structure(value)
    {
        assert!(descriptor.has_structure && !structure.templates().is_empty());
        let layers = structure.templates().iter().map(|template| template.spatial).max();
        assert!(
            structure.sizes().is_empty()
                || layers.map(|l| usize::from(l) + 1) == Some(structure.sizes().len())
        );
        let _ = Descriptor::active_targets_change(value, &structure);
    }
    let Ok(info) = describe(codec, payload, dependency) else { return };
    if let Some(descriptor) = info.vp8 {
        let mut out = [0; DESCRIPTOR_BYTES_MAX + 1];
        let bytes = descriptor.write(&mut out).expect("room for the longest");
        let again = Vp8Descriptor::parse(&out[..=bytes]).expect("we wrote it, and one byte follows");
        assert_eq!(Vp8Descriptor { bytes: descriptor.bytes, ..again }, descriptor);
    }
}

/// The first byte chooses the profile and whether the input arrives from the network or is first sealed by us.
pub fn srtp(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else { return };
    let profile = match choice % 3 {
        0 => SrtpProfile::Aes128CmSha1_80,
        1 => SrtpProfile::AeadAes128Gcm,
        _ => SrtpProfile::AeadAes256Gcm,
    };
    let suite = kernels::Suite::detect();
    let master = MasterKey { key: [0x42; 32], salt: [0x24; 14] };
    let mut inbound = Inbound::new(suite, profile, &master);
    if choice & 0x80 == 0 {
        // Nobody guesses a tag.
        assert!(inbound.open_rtp(&mut rest.to_vec()).is_err());
        assert!(inbound.open_rtcp(&mut rest.to_vec()).is_err());
        return;
    }
    let mut outbound = Outbound::new(suite, profile, &master);
    let mut out = vec![0; rest.len() + 12 + RTP_OVERHEAD_BYTES.max(RTCP_OVERHEAD_BYTES)];
    let fields = HeaderFields {
        ssrc: Ssrc(1),
        seq: Seq(2),
        timestamp: 3,
        marker: false,
        pt: PayloadType(96),
        padding: false,
    };
    let mut header = [0; 12];
    write_header(&fields, &[], &mut header).expect("twelve bytes");
    let (prefix, body) = rest.split_at(rest.len().min(usize::from(choice & 0x7f)));
    let bytes = outbound.seal_rtp(Ssrc(1), 2, &header, [prefix, body], &mut out).expect("it fits");
    let opened = inbound.open_rtp(&mut out[..bytes]).expect("authentic");
    assert_eq!(&out[opened.header_bytes..opened.bytes], rest);
    if let Ok(bytes) = outbound.seal_rtcp(rest, &mut out) {
        let plain = inbound.open_rtcp(&mut out[..bytes]).expect("authentic").bytes;
        assert_eq!(&out[..plain], rest);
    }
}
