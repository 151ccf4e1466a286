//! Things that go wrong in the middle: paths lost, packets that cannot be sent, bursts of loss.

use super::*;
use crate::base::limits::DATAGRAM_BYTES_MAX;

#[test]
fn a_peer_that_lost_its_only_path_waits_for_another_and_the_core_goes_on() {
    let mut house = House::new();
    house.join(1, 10);
    house.join(2, 10);
    house.publish(1, 1, MediaKind::Audio, &[1]);
    house.subscribe(2, 100, 1, MediaKind::Audio);
    let (address, own) = (house.client(2).path, house.client(1).path);
    // One socket proves the passwords of both peers: the first one has no path left.
    house.client(2).path = own;
    house.client(1).path = path(200);
    house.check(2);
    house.run(3_000);
    // It comes back from elsewhere, and everything due is said again.
    house.client(1).path = address;
    house.check(1);
    house.flush();
    house.send_rtp(1, &MEDIA);
    house.run(3_000);
    assert_eq!(house.client(2).payloads(100).len(), 1);
    let reports = house.client(1).count_rtcp(|event| matches!(event, RtcpEvent::ReportBlock { .. }));
    assert!(reports >= 2, "{reports} receiver reports");
}

#[test]
fn a_record_that_no_datagram_can_hold_is_dropped_and_holds_up_nobody() {
    let mut house = House::new();
    house.join(1, 10);
    let bytes = vec![23; DATAGRAM_BYTES_MAX + 1].into();
    house.engine.handle_assist(house.now, AssistReply::Datagram { peer: PeerId(1), bytes });
    assert_eq!((house.dropped(DropReason::TooLong), house.engine.sizes().outbox), (1, 0));
}

