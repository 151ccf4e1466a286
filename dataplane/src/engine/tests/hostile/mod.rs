//! Participants with keys who lie: what they do is counted, bounded, and nobody else notices.
//!
//! [`play`] runs one meeting: 1 publishes voice and camera, 2 receives them and says truthfully what arrived, 3 receives them too, 4
//! publishes. Each test lets 3 or 4 misbehave and compares what 2 got with a meeting in which nobody did.

mod publishers;
mod receivers;

use super::*;
use crate::session::twcc::TwccRecorder;

/// Steps of 20 ms.
const STEPS: u64 = 200;
/// SSRCs of the streams that 2 and 3 get of 1: voice, camera.
const HONEST: [u32; 2] = [200, 210];
const LIAR: [u32; 2] = [300, 310];
/// Streams that 2 gets of 4: voice, camera.
const OF_ABUSER: [u32; 2] = [400, 410];
/// What 4 publishes: voice, camera.
const ABUSER: [u32; 2] = [41, 42];

/// What is left of a meeting.
struct Played {
    house: House,
    /// Estimates of the honest receiver's link.
    estimates: Vec<u32>,
}

/// A packet as it was received: sequence number, timestamp, payload.
type Received = (u16, u32, Vec<u8>);

impl Played {
    fn received(&self, client: u32, ssrc: u32) -> Vec<Received> {
        let client = self.house.clients.iter().find(|other| other.id == PeerId(client)).expect("joined");
        let of_stream = client.rtp.iter().filter(|(header, _)| header.ssrc == Ssrc(ssrc));
        of_stream
            .map(|(header, packet)| (header.seq.0, header.timestamp, packet[header.payload()].to_vec()))
            .collect()
    }

    fn feedback_refused(&self) -> u64 {
        self.house.engine.counters().feedback_refused
    }

    /// Requests for keyframes that reached the honest publisher.
    fn keyframe_requests(&mut self) -> usize {
        self.house.client(1).count_rtcp(|event| matches!(event, RtcpEvent::Pli { .. }))
    }

    /// The honest receiver got what it would have got among honest people.
    fn assert_unharmed(&self, by: &str) {
        let alone = play(|_, _| {});
        for ssrc in HONEST {
            let (expected, found) = (alone.received(2, ssrc), self.received(2, ssrc));
            assert!(expected.len() > 90, "{by}: the meeting itself works");
            assert_eq!(found.len(), expected.len(), "{by}: packets of stream {ssrc}");
            assert!(found == expected, "{by}: stream {ssrc} reads differently");
            assert!(found.windows(2).all(|pair| pair[1].0 == pair[0].0.wrapping_add(1)), "{by}: gaps");
        }
    }

    /// And its link is believed to carry the same.
    fn assert_unmoved(&self, by: &str) {
        self.assert_unharmed(by);
        assert_eq!(self.estimates, play(|_, _| {}).estimates, "{by}: the estimate of another's link");
    }
}

/// Runs a meeting in which `abuse` does what it likes before each step.
fn play(mut abuse: impl FnMut(&mut House, u64)) -> Played {
    let mut house = House::new();
    for id in 1..=4 {
        house.join(id, 10);
    }
    house.publish(1, 1, MediaKind::Audio, &[1]);
    house.publish(1, 2, MediaKind::Video, &[2]);
    house.publish(4, ABUSER[0], MediaKind::Audio, &[ABUSER[0]]);
    house.publish(4, ABUSER[1], MediaKind::Video, &[ABUSER[1]]);
    for (receiver, streams) in [(2, HONEST), (3, LIAR)] {
        house.subscribe(receiver, streams[0], 1, MediaKind::Audio);
        house.subscribe(receiver, streams[1], 2, MediaKind::Video);
    }
    house.subscribe(2, OF_ABUSER[0], ABUSER[0], MediaKind::Audio);
    house.subscribe(2, OF_ABUSER[1], ABUSER[1], MediaKind::Video);
    let mut recorder = TwccRecorder::new();
    let mut read = 0;
    for step in 0..STEPS {
        let index = step + 1;
        house.send_rtp(1, &Media { ssrc: 1, index, timestamp: index as u32 * 960, ..MEDIA });
        if step % 2 == 0 {
            camera(&mut house, 1, 2, step / 2);
        }
        abuse(&mut house, step);
        house.run(20);
        // The honest receiver reports ten times a second.
        let now = house.now;
        let client = house.client(2);
        for (header, packet) in &client.rtp[read..] {
            let seq = header.elements(packet).find(3).and_then(crate::wire::ext::parse_transport_cc);
            recorder.record(now, seq.expect("negotiated"));
        }
        read = client.rtp.len();
        if step % 5 == 4 {
            house.send_rtcp(2, |writer| {
                recorder.write_feedback(Ssrc(9), Ssrc(0), writer).expect("fits");
            });
        }
    }
    let estimates = house.reports.iter().filter_map(|report| match report {
        Report::Quality { peer: PeerId(2), estimate_bps, .. } => Some(*estimate_bps),
        _ => None,
    });
    let estimates = estimates.collect();
    Played { house, estimates }
}

/// One frame of two packets; the first and the hundredth are keyframes.
fn camera(house: &mut House, id: u32, ssrc: u32, frame: u64) {
    let first = vp8(frame as u8 & 0x7f, frame.is_multiple_of(STEPS / 2));
    let mut second = first;
    second[0] = 0x80;
    for (nth, payload) in [first, second].into_iter().enumerate() {
        let packet = Media {
            ssrc,
            index: 2 * frame + 1 + nth as u64,
            timestamp: frame as u32 * 3_600,
            pt: VP8,
            marker: nth == 1,
            payload: &payload,
            ..MEDIA
        };
        house.send_rtp(id, &packet);
    }
}

/// Seals and sends a packet with a header that no writer of ours would write.
fn send_header(house: &mut House, id: u32, index: u64, header: &[u8], payload: &[u8]) {
    let ssrc = crate::wire::rtp::ssrc(header).expect("twelve bytes");
    let client = house.client(id);
    let mut out = vec![0; header.len() + payload.len() + 64];
    let outbound = &client.srtp.as_ref().expect("has keys").outbound;
    let bytes = outbound.seal_rtp(ssrc, index, header, [payload, &[]], &mut out).expect("fits");
    let path = client.path;
    house.engine.handle_datagram(house.now, path, &mut out[..bytes]);
}

/// A fixed header with an extension block of this profile and these words, which may claim another length.
fn extended(ssrc: u32, index: u64, pt: u8, profile: u16, claimed_words: u16, block: &[u8]) -> Vec<u8> {
    let mut header = vec![0x90, pt];
    header.extend_from_slice(&(index as u16).to_be_bytes());
    header.extend_from_slice(&(index as u32 * 960).to_be_bytes());
    header.extend_from_slice(&ssrc.to_be_bytes());
    header.extend_from_slice(&profile.to_be_bytes());
    header.extend_from_slice(&claimed_words.to_be_bytes());
    header.extend_from_slice(block);
    header
}
