//! Payload types and extension numbers of our own offers: the same for every peer and for its whole life.
//!
//! A payload type must mean one thing across a bundle (RFC 9143 section 9.1), so a codec that is not in this table is neither
//! accepted from publishers nor offered. H.264 is told apart by profile and packetization mode; its level is the decoder's
//! word about itself and does not separate formats (RFC 6184 section 8.2.2).

use dataplane::base::ids::Label;
use dataplane::base::media::{Codec, Extension, ExtensionMap, Format, MediaKind};

use super::answer::codec_name;

/// One row: codec as offered, payload type, retransmission payload type, parameters.
type Row = (Codec, u8, Option<u8>, &'static str);

const fn h264(profile_level_id: u32, packetization_mode: u8) -> Codec {
    Codec::H264 { profile_level_id, packetization_mode }
}

const ROWS: [Row; 18] = [
    (Codec::Opus, 111, None, "minptime=10;useinbandfec=1"),
    (Codec::Red, 63, None, "111/111"),
    (Codec::Vp8, 96, Some(97), ""),
    (Codec::Vp9 { profile: 0 }, 98, Some(99), "profile-id=0"),
    (Codec::Vp9 { profile: 1 }, 100, Some(101), "profile-id=1"),
    (Codec::Vp9 { profile: 2 }, 102, Some(103), "profile-id=2"),
    (Codec::Av1 { profile: 0 }, 45, Some(46), "profile=0"),
    (Codec::Av1 { profile: 1 }, 47, Some(48), "profile=1"),
    (
        h264(0x42_e0_1f, 1),
        108,
        Some(109),
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
    ),
    (
        h264(0x42_e0_1f, 0),
        114,
        Some(115),
        "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f",
    ),
    (
        h264(0x42_00_1f, 1),
        104,
        Some(105),
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f",
    ),
    (
        h264(0x42_00_1f, 0),
        106,
        Some(107),
        "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f",
    ),
    (
        h264(0x4d_00_1f, 1),
        116,
        Some(117),
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f",
    ),
    (
        h264(0x4d_00_1f, 0),
        118,
        Some(119),
        "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=4d001f",
    ),
    (
        h264(0x64_00_1f, 1),
        120,
        Some(121),
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f",
    ),
    (
        h264(0x64_00_1f, 0),
        122,
        Some(123),
        "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=64001f",
    ),
    (
        h264(0x64_0c_1f, 1),
        124,
        Some(125),
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640c1f",
    ),
    (
        h264(0x64_0c_1f, 0),
        126,
        Some(127),
        "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=640c1f",
    ),
];

/// The profile a `profile-level-id` names, as its first two bytes in the form the table uses (RFC 6184 table 5).
const fn h264_profile(profile_level_id: u32) -> Option<u32> {
    let (idc, iop) = (profile_level_id >> 16, (profile_level_id >> 8) & 0xff);
    match (idc, iop) {
        (0x42, iop) if iop & 0x40 != 0 => Some(0x42_e0),
        (0x4d, iop) if iop & 0x80 != 0 => Some(0x42_e0),
        (0x42, _) => Some(0x42_00),
        (0x4d, _) => Some(0x4d_00),
        (0x64, 0x0c) => Some(0x64_0c),
        (0x64, 0x00) => Some(0x64_00),
        _ => None,
    }
}

fn same(row: Codec, codec: Codec) -> bool {
    match (row, codec) {
        (
            Codec::H264 { profile_level_id: a, packetization_mode: m },
            Codec::H264 { profile_level_id: b, packetization_mode: n },
        ) => m == n && h264_profile(a) == h264_profile(b),
        _ => row == codec,
    }
}

/// Our format for a publisher's codec, with all feedback we take; `None` if we do not forward it.
#[must_use]
pub fn format(codec: Codec) -> Option<Format> {
    ROWS.into_iter().find(|(row, ..)| same(*row, codec)).map(of_row)
}

/// Whether two codecs are one row of the table, so that what one side sends as one the other decodes as the other.
#[must_use]
pub fn is_same(one: Codec, other: Codec) -> bool {
    format(one).is_some_and(|one| format(other).is_some_and(|other| one.pt == other.pt))
}

/// Our format with this payload type.
#[must_use]
pub fn format_of(pt: u8) -> Option<Format> {
    ROWS.into_iter().find(|(_, row, ..)| *row == pt).map(of_row)
}

fn of_row((codec, pt, rtx_pt, _): Row) -> Format {
    let video = !matches!(codec, Codec::Opus | Codec::Red);
    Format { codec, pt, rtx_pt, nack: video, pli: video }
}

/// Every codec of the table with this name, as in MIME types.
pub fn codecs_named(name: &str) -> impl Iterator<Item = Codec> + use<'_> {
    let named = move |codec: &Codec| codec_name(*codec).eq_ignore_ascii_case(name);
    ROWS.into_iter().map(|(codec, ..)| codec).filter(named)
}

/// Format parameters of one of our payload types.
#[must_use]
pub fn parameters(pt: u8) -> &'static str {
    ROWS.iter().find(|(_, row, ..)| *row == pt).map_or("", |(.., parameters)| parameters)
}

/// Extensions of our offers with their identifiers; what a subscriber can use of what a publisher sent.
const EXTENSIONS: [(Extension, u8, bool, bool); 9] = [
    // extension, identifier, for audio, for video
    (Extension::Mid, 1, true, true),
    (Extension::TransportCc, 2, true, true),
    (Extension::AbsCaptureTime, 3, true, true),
    (Extension::AudioLevel, 4, true, false),
    (Extension::DependencyDescriptor, 5, false, true),
    (Extension::VideoOrientation, 6, false, true),
    (Extension::PlayoutDelay, 7, false, true),
    (Extension::VideoContentType, 8, false, true),
    // For receivers that estimate by themselves (REMB) instead of giving transport-wide feedback.
    (Extension::AbsSendTime, 9, false, true),
];

/// Extensions offered in sections of a kind.
pub fn extensions(kind: MediaKind) -> impl Iterator<Item = (u8, Extension)> {
    EXTENSIONS
        .into_iter()
        .filter(move |(_, _, audio, video)| if kind == MediaKind::Audio { *audio } else { *video })
        .map(|(extension, id, ..)| (id, extension))
}

/// The identifiers of an answer to our offer that are ours. Who gives transport-wide feedback needs no send times.
#[must_use]
pub fn accepted_extensions(
    kind: MediaKind,
    answered: &[super::description::OfferedExtension],
) -> ExtensionMap {
    let mut map = ExtensionMap::default();
    for (id, extension) in extensions(kind) {
        if answered.iter().any(|a| a.id == id && a.extension == extension) {
            map.set(extension, id);
        }
    }
    if map.id(Extension::TransportCc).is_some() {
        map.set(Extension::AbsSendTime, 0);
    }
    map
}

/// The tag of a media section by its place; the data section is the first.
#[must_use]
pub fn mid(index: usize) -> Label {
    Label::new(index.to_string().as_bytes()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_payload_type_or_identifier_is_used_twice() {
        let mut types: Vec<u8> =
            ROWS.iter().flat_map(|(_, pt, rtx, _)| [Some(*pt), *rtx]).flatten().collect();
        assert!(types.iter().all(|pt| *pt < 64 || (96..128).contains(pt)));
        let count = types.len();
        types.sort_unstable();
        types.dedup();
        assert_eq!(types.len(), count);
        let mut ids: Vec<u8> = EXTENSIONS.iter().map(|(_, id, ..)| *id).collect();
        ids.dedup();
        assert_eq!(ids.len(), EXTENSIONS.len());
        assert!(ids.iter().all(|id| (1..=14).contains(id)));
    }

    #[test]
    fn send_times_go_only_to_those_without_transport_wide_feedback() {
        let answered = |taken: &[Extension]| {
            let offered = extensions(MediaKind::Video).filter(|(_, extension)| taken.contains(extension));
            let answered: Vec<_> = offered
                .map(|(id, extension)| super::super::description::OfferedExtension {
                    id,
                    extension,
                    direction: super::super::attributes::Direction::SendRecv,
                    stated: false,
                })
                .collect();
            accepted_extensions(MediaKind::Video, &answered)
        };
        let legacy = answered(&[Extension::Mid, Extension::AbsSendTime]);
        assert_eq!(legacy.id(Extension::AbsSendTime), Some(9));
        let modern = answered(&[Extension::Mid, Extension::AbsSendTime, Extension::TransportCc]);
        assert_eq!((modern.id(Extension::AbsSendTime), modern.id(Extension::TransportCc)), (None, Some(2)));
    }

    #[test]
    fn video_sections_describe_layers_and_codecs_are_found_by_name() {
        let described = |kind| extensions(kind).any(|(_, e)| e == Extension::DependencyDescriptor);
        assert!(described(MediaKind::Video) && !described(MediaKind::Audio));
        assert_eq!(codecs_named("av1").count(), 2);
        assert!(codecs_named("H264").count() > 2 && codecs_named("h265").count() == 0);
        assert_eq!(format_of(96).map(|format| format.codec), Some(Codec::Vp8));
        assert_eq!(format_of(97), None, "a retransmission is no format of its own");
    }

    #[test]
    fn a_level_does_not_separate_h264_formats_but_profile_and_mode_do() {
        let pt = |id, mode| format(h264(id, mode)).map(|f| f.pt);
        assert_eq!(pt(0x42_e0_34, 1), Some(108));
        assert_eq!(pt(0x42_c0_1f, 1), Some(108));
        assert_eq!(pt(0x42_e0_1f, 0), Some(114));
        assert_eq!(pt(0x42_00_1f, 1), Some(104));
        assert_eq!(pt(0x64_00_28, 1), Some(120));
        assert_eq!(pt(0x58_00_1f, 1), None);
        assert_eq!(format(Codec::Vp9 { profile: 3 }), None);
    }
}
