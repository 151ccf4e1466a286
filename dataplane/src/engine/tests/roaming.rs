//! Streams that roam among tracks.

use super::*;
use crate::command::{OpenStream, Retarget};

impl House {
    /// The stream has the SSRC `stream` and retransmits on `stream` + 1.
    fn open_stream(&mut self, id: u32, stream: u32, kind: MediaKind) {
        self.command(Command::OpenStream(Box::new(OpenStream {
            stream: StreamId(stream),
            peer: PeerId(id),
            kind,
            mid: label("s"),
            ssrc: Ssrc(stream),
            rtx: (kind == MediaKind::Video).then_some(Ssrc(stream + 1)),
            extensions: extensions(),
        })));
    }

    fn retarget(&mut self, stream: u32, track: Option<u32>, kind: MediaKind) {
        let onto = track.map(|track| (TrackId(track), formats(kind)));
        self.command(Command::Retarget(Box::new(Retarget { stream: StreamId(stream), onto })));
    }

    /// One VP8 frame of one packet of the track whose SSRC is `ssrc`; its payload ends with `picture`.
    fn picture(&mut self, id: u32, ssrc: u32, picture: u8, keyframe: bool) {
        let payload = vp8(picture, keyframe);
        let index = u64::from(picture);
        let timestamp = 3_000 * u32::from(picture);
        let packet = Media { ssrc, index, timestamp, pt: VP8, payload: &payload, marker: true, ..MEDIA };
        self.send_rtp(id, &packet);
    }

    /// Last bytes of the pictures a client got under an SSRC.
    fn pictures(&mut self, id: u32, ssrc: u32) -> Vec<u8> {
        let payloads = self.client(id).payloads(ssrc);
        payloads.iter().filter_map(|(_, payload)| payload.last().copied()).collect()
    }

    /// Asserts that numbers and time of a stream only ever go on.
    fn assert_continuous(&mut self, id: u32, ssrc: u32) {
        let packets: Vec<(u16, u32)> = self
            .client(id)
            .rtp
            .iter()
            .filter(|(header, _)| header.ssrc == Ssrc(ssrc))
            .map(|(header, _)| (header.seq.0, header.timestamp))
            .collect();
        for pair in packets.windows(2) {
            assert_eq!(pair[1].0, pair[0].0.wrapping_add(1), "{packets:?}");
            let ahead = pair[1].1.wrapping_sub(pair[0].1);
            // Seconds may pass with nothing to show.
            assert!((1..900_000).contains(&ahead), "{packets:?}");
        }
    }
}

/// Publishers 1 and 2 with video tracks 1 and 2 under SSRCs of the same number, and a player 3 with stream 300.
fn stage() -> House {
    let mut house = House::new();
    for id in 1..=3 {
        house.join(id, 10);
    }
    for id in 1..=2 {
        house.publish(id, id, MediaKind::Video, &[id]);
    }
    house.open_stream(3, 300, MediaKind::Video);
    house
}

#[test]
fn a_picture_goes_on_until_the_next_one_can_be_shown() {
    let mut house = stage();
    house.picture(1, 1, 1, true);
    house.flush();
    assert!(house.pictures(3, 300).is_empty(), "it shows nothing yet");
    house.retarget(300, Some(1), MediaKind::Video);
    house.flush();
    assert_eq!(house.pictures(3, 300), [1], "from the remembered keyframe");
    for picture in 2..6 {
        house.run(33);
        house.picture(1, 1, picture, false);
        house.picture(2, 2, 100 + picture, picture == 2);
    }
    let asked = |house: &mut House| {
        let of_track =
            |event: &RtcpEvent<'_>| matches!(event, RtcpEvent::Pli { media, .. } if *media == Ssrc(2));
        house.client(2).count_rtcp(of_track)
    };
    house.flush();
    let before = asked(&mut house);
    house.retarget(300, Some(2), MediaKind::Video);
    house.run(33);
    assert_eq!(asked(&mut house), before + 1, "the new track is asked for a keyframe");
    house.picture(1, 1, 6, false);
    house.picture(2, 2, 106, false);
    house.run(33);
    house.picture(2, 2, 107, true);
    house.picture(1, 1, 7, false);
    house.run(33);
    house.picture(2, 2, 108, false);
    house.flush();
    assert_eq!(house.pictures(3, 300), [1, 2, 3, 4, 5, 6, 107, 108]);
    house.assert_continuous(3, 300);
    house.retarget(300, Some(1), MediaKind::Video);
    house.retarget(300, None, MediaKind::Video);
    house.run(33);
    house.picture(1, 1, 8, true);
    house.picture(2, 2, 109, false);
    house.flush();
    assert_eq!(house.pictures(3, 300).last(), Some(&108), "nothing is shown");
}

#[test]
fn a_stream_that_roams_outlives_its_tracks_and_never_uses_a_number_twice() {
    let mut house = stage();
    house.retarget(300, Some(1), MediaKind::Video);
    for round in 0..3_u8 {
        house.picture(1, 1, 1 + 10 * round, true);
        house.run(33);
        house.picture(1, 1, 2 + 10 * round, false);
        house.run(33);
        // Queued and not sent when its track goes.
        house.picture(1, 1, 3 + 10 * round, false);
        house.command(Command::Unpublish { track: TrackId(1) });
        house.flush();
        house.publish(1, 1, MediaKind::Video, &[1]);
        house.retarget(300, Some(1), MediaKind::Video);
    }
    assert_eq!(house.pictures(3, 300), [1, 2, 11, 12, 21, 22]);
    house.assert_continuous(3, 300);
    // The track it waits for goes: it stays; the track it shows goes while it waits: it leaves at once.
    house.picture(1, 1, 31, true);
    house.flush();
    house.retarget(300, Some(2), MediaKind::Video);
    house.command(Command::Unpublish { track: TrackId(2) });
    house.run(33);
    house.picture(1, 1, 32, false);
    house.flush();
    house.publish(2, 2, MediaKind::Video, &[2]);
    house.retarget(300, Some(2), MediaKind::Video);
    house.command(Command::ClosePeer { peer: PeerId(1) });
    house.run(33);
    house.picture(2, 2, 201, true);
    house.flush();
    assert_eq!(house.pictures(3, 300)[6..], [31, 32, 201]);
    house.assert_continuous(3, 300);
    house.command(Command::ClosePeer { peer: PeerId(3) });
    house.command(Command::ClosePeer { peer: PeerId(2) });
    house.run(1_000);
    assert_eq!(house.engine.sizes(), EngineSizes::default());
}

#[test]
fn sound_changes_at_once_and_the_kind_never() {
    let mut house = House::new();
    for id in 1..=3 {
        house.join(id, 10);
    }
    house.join(4, 11);
    for id in 1..=2 {
        house.publish(id, id, MediaKind::Audio, &[id]);
    }
    house.publish(4, 4, MediaKind::Audio, &[4]);
    house.publish(1, 5, MediaKind::Video, &[5]);
    house.open_stream(3, 300, MediaKind::Audio);
    house.retarget(300, Some(1), MediaKind::Audio);
    for index in 1..=20_u64 {
        house.run(20);
        match index {
            5 => house.retarget(300, Some(2), MediaKind::Audio),
            // Of another kind, of another meeting, of nobody.
            10 => house.retarget(300, Some(5), MediaKind::Video),
            11 => house.retarget(300, Some(4), MediaKind::Audio),
            12 => house.retarget(300, Some(99), MediaKind::Audio),
            15 => house.retarget(300, Some(1), MediaKind::Audio),
            _ => {}
        }
        for id in 1..=2 {
            let timestamp = 960 * index as u32 + id * 77_777;
            let payload = [id as u8];
            house.send_rtp(id, &Media { ssrc: id, index, timestamp, payload: &payload, ..MEDIA });
        }
        house.flush();
    }
    let heard = house.pictures(3, 300);
    assert_eq!(heard, [[1; 4].as_slice(), &[2; 10], &[1; 6]].concat());
    house.assert_continuous(3, 300);
}

/// Tracks come, go, change codec and keyframes are rare; the backend is full now and then; the stream is sent from one to another.
#[test]
fn whatever_happens_a_stream_that_roams_is_one_unbroken_sequence() {
    for seed in 1..=60 {
        let mut rng = crate::base::rng::Rng::new(seed);
        let mut house = stage();
        let mut sent = [0_u64; 3];
        for step in 0..800_u64 {
            let id = 1 + rng.below(2) as u32;
            let any = 1 + rng.below(2) as u32;
            match rng.below(40) {
                0 => house.command(Command::Unpublish { track: TrackId(any) }),
                1..=3 => house.publish(any, any, MediaKind::Video, &[any]),
                4..=6 => house.retarget(300, Some(any), MediaKind::Video),
                7 => house.retarget(300, None, MediaKind::Video),
                8 => house.command(Command::Mute { track: TrackId(any), muted: rng.below(3) == 0 }),
                9 => house.room = 1 + rng.below(2) as usize,
                10..=14 => house.room = usize::MAX,
                15 => {
                    let seq = house.client(3).payloads(300).last().map_or(0, |(seq, _)| *seq);
                    let lost = [Seq(seq.wrapping_sub(rng.below(20) as u16))];
                    house.send_rtcp(3, |writer| writer.nack(Ssrc(1), Ssrc(300), lost).expect("fits"));
                }
                _ => {}
            }
            sent[id as usize] += 1;
            let index = sent[id as usize];
            let keyframe = index == 1 || rng.below(15) == 0;
            let timestamp = id * 1_000_000 + 300 * step as u32;
            let mut payload = vp8(index as u8, keyframe).to_vec();
            payload.extend_from_slice(&(u64::from(id) << 32 | index).to_be_bytes());
            let packet =
                Media { ssrc: id, index, timestamp, pt: VP8, payload: &payload, marker: true, ..MEDIA };
            house.send_rtp(id, &packet);
            house.flush();
            house.now = house.now.after_ms(3);
        }
        house.room = usize::MAX;
        house.run(500);
        house.assert_continuous(3, 300);
        let packets = house.client(3).payloads(300);
        let origin = |payload: &[u8]| payload[payload.len() - 8..].to_vec();
        let mut shown: Vec<Vec<u8>> = packets.iter().map(|(_, payload)| origin(payload)).collect();
        assert!(shown.len() > 20, "seed {seed}: {} packets", shown.len());
        shown.sort();
        let count = shown.len();
        shown.dedup();
        assert_eq!(count, shown.len(), "seed {seed}: something was shown twice");
        for id in 1..=3 {
            house.command(Command::ClosePeer { peer: PeerId(id) });
        }
        house.run(1_000);
        assert_eq!(house.engine.sizes(), EngineSizes::default(), "seed {seed}");
    }
}
