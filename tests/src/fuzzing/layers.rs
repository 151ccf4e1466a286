//! A stream of packets through what is remembered of a publisher's layers: decode targets and picture ids.
//!
//! Input: a byte for the codec, then packets: bytes of dependency descriptor, bytes of payload, descriptor, payload.

use dataplane::base::media::Codec;
use dataplane::room::svc::Svc;
use dataplane::room::track::PictureIds;
use dataplane::wire::av1::dependency::Descriptor;
use dataplane::wire::payload::describe;

/// Targets an [`Svc`] can have.
const TARGETS: u8 = 32;

/// Whatever was said before, the newest structure alone counts, every answer names a target there is, and a picture's long number ends
/// in its short one.
pub fn layers(data: &[u8]) {
    let Some((&choice, mut rest)) = data.split_first() else { return };
    let codec = match choice % 3 {
        0 => Codec::Vp8,
        1 => Codec::Vp9 { profile: 0 },
        _ => Codec::Av1 { profile: 0 },
    };
    let mut svc = Svc::default();
    let mut pictures = PictureIds::default();
    while let [dependency_bytes, payload_bytes, packet @ ..] = rest {
        let (dependency, packet) = packet.split_at(usize::from(*dependency_bytes).min(packet.len()));
        let (payload, packet) = packet.split_at(usize::from(*payload_bytes).min(packet.len()));
        rest = packet;
        let dependency = (!dependency.is_empty()).then_some(dependency);
        let info = describe(codec, payload, dependency).unwrap_or_default();
        if let Some(id) = info.vp8.and_then(|vp8| vp8.picture_id) {
            let circle = if id.wide { 0x8000 } else { 0x80 };
            assert_eq!(pictures.extend(id) % circle, u64::from(id.value));
        }
        let marks = svc.read(&info, dependency);
        if dependency.is_some_and(has_structure) {
            let mut fresh = Svc::default();
            assert_eq!(fresh.read(&info, dependency), marks);
            assert_eq!(fresh.announced(), svc.announced());
            for target in 0..TARGETS {
                assert_eq!(fresh.layers(target), svc.layers(target));
            }
        }
        for goal in 0..TARGETS {
            let found = svc.target(goal / 8, goal % 8);
            assert!(found < TARGETS);
            for running in (goal % 5..TARGETS).step_by(5) {
                if let Some(next) = svc.join(running, goal, &marks) {
                    assert!(marks.switch >> next & 1 != 0 && next != running);
                    assert!(svc.is_within(next, goal) && svc.is_within(running, next));
                    assert_eq!(svc.layers(next).spatial, svc.layers(goal).spatial);
                }
            }
            let _ = svc.is_made_of(goal / 8, goal % 8);
        }
        if let Some((sent, count)) = svc.announced() {
            assert!((1..=4).contains(&count) && u32::from(sent) >> count == 0);
        }
    }
}

fn has_structure(value: &[u8]) -> bool {
    matches!(Descriptor::parse_with_structure(value), Ok((_, Some(_))))
}
