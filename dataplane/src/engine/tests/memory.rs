//! What a peer costs, and that nothing of it stays: the README's table "Memory" counts with these sizes.

use super::*;
use crate::engine::peers::Peer;
use crate::session::bwe::Estimator;
use crate::session::twcc::TwccRecorder;

#[test]
fn a_peer_does_not_grow_unnoticed() {
    let sizes = [
        ("Peer", size_of::<Peer>(), 896),
        ("Srtp", size_of::<Srtp>(), 4_096),
        ("Estimator", size_of::<Estimator>(), 2_560),
        ("TwccRecorder", size_of::<TwccRecorder>(), 48),
    ];
    for (name, bytes, bound) in sizes {
        println!("{name}: {bytes} B");
        assert!(bytes <= bound, "{name} grew to {bytes} B: the README counts with {bound} B");
    }
}

#[test]
fn after_the_last_leave_every_table_is_empty() {
    let mut house = House::new();
    for round in 0..3 {
        let ids: Vec<u32> = (1..=30).map(|nth| 100 * round + nth).collect();
        for &id in &ids {
            house.join(id, 10);
            house.publish(id, 2 * id, MediaKind::Audio, &[2 * id]);
            house.publish_layers(id, 2 * id + 1, MediaKind::Video, Vec::new(), &["q", "h", "f"]);
        }
        for (&to, &from) in ids.iter().flat_map(|to| ids.iter().map(move |from| (to, from))) {
            let stream = 100_000 * to + 10 * from;
            house.subscribe(to, stream, 2 * from, MediaKind::Audio);
            house.subscribe(to, stream + 2, 2 * from + 1, MediaKind::Video);
        }
        for index in 1..=3 {
            for &id in &ids {
                house.send_rtp(id, &Media { ssrc: 2 * id, index, ..MEDIA });
                let mid = format!("m{}", 2 * id + 1);
                for (layer, rid) in ["q", "h", "f"].into_iter().enumerate() {
                    let (ssrc, payload) = (1_000 * id + layer as u32, vp8(index as u8, index == 1));
                    let labels = [(4, mid.as_str()), (10, rid)];
                    house.send_rtp(
                        id,
                        &Media { ssrc, index, pt: VP8, payload: &payload, labels: &labels, ..MEDIA },
                    );
                }
            }
            house.run(20);
        }
        let sizes = house.engine.sizes();
        assert_eq!((sizes.peers, sizes.rooms.tracks, sizes.rooms.streams), (30, 60, 1_800), "{sizes:?}");
        assert_eq!(sizes.rooms.sources, 30 * 5, "a voice with its repair and three layers each");
        // They leave with packets still queued for them.
        for &id in &ids {
            house.send_rtp(id, &Media { ssrc: 2 * id, index: 9, ..MEDIA });
        }
        for id in ids {
            house.command(Command::ClosePeer { peer: PeerId(id) });
        }
        house.flush();
        assert_eq!(house.engine.sizes(), EngineSizes::default(), "round {round}");
        house.clients.clear();
    }
}
