//! Two clients joined by a relay that answers ICE and passes media and feedback on as it came.

use super::codec::VideoCodec;
use super::codec::scalability::Scalability;
use super::source::{Encoding, TrackConfig};
use super::*;
use dataplane::base::handoff::MasterKey;
use dataplane::base::ids::Label;
use dataplane::base::media::{Extension, ExtensionMap, MediaKind};
use dataplane::wire::stun::{StunMessage, write_success};
use kernels::HmacSha1;

const PWD: &str = "the password of the relay";
const VIDEO: Ssrc = Ssrc(100);
const VIDEO_RTX: Ssrc = Ssrc(101);
const AUDIO: Ssrc = Ssrc(200);

fn keys(seed: u8) -> SrtpKeys {
    let master = |byte| MasterKey { key: [byte; 32], salt: [byte; 14] };
    SrtpKeys { profile: SrtpProfile::AeadAes128Gcm, remote: master(seed), local: master(seed + 1) }
}

fn swapped(keys: &SrtpKeys) -> SrtpKeys {
    SrtpKeys { profile: keys.profile, remote: keys.local.clone(), local: keys.remote.clone() }
}

fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::default();
    map.set(Extension::Mid, 1);
    map.set(Extension::AudioLevel, 2);
    map.set(Extension::TransportCc, 3);
    map.set(Extension::AbsSendTime, 4);
    map.set(Extension::DependencyDescriptor, 5);
    map
}

fn track(track: u32, mid: &[u8], pt: u8, rtx_pt: Option<u8>) -> TrackConfig {
    let mid = Label::new(mid);
    TrackConfig { track, mid, pt, rtx_pt, extensions: extensions(), phase_us: 3_000, frames_max: None }
}

struct End {
    client: Client,
    relay: Pair,
}

/// What is published.
#[derive(Clone, Copy)]
struct Media {
    codec: VideoCodec,
    scalability: Scalability,
    red_pt: Option<u8>,
    audio_nack: bool,
}

impl Default for Media {
    fn default() -> Self {
        Self { codec: VideoCodec::Vp8, scalability: Scalability::L1T1, red_pt: None, audio_nack: false }
    }
}

struct World {
    ends: [End; 2],
    rng: Rng,
    loss_ppm: u32,
    now: Micros,
}

impl World {
    /// End 0 publishes audio and VP8 video, end 1 receives both.
    fn new(seed: u64, room_of_receiver: u64) -> Self {
        Self::with(seed, room_of_receiver, Media::default())
    }

    fn with(seed: u64, room_of_receiver: u64, media: Media) -> Self {
        let ends = [0_u8, 1].map(|number| {
            let keys = keys(10 * number + 1);
            let relay = Pair::new(Suite::detect(), &swapped(&keys));
            let client = Client::new(ClientConfig {
                room: if number == 0 { 1 } else { room_of_receiver },
                publisher: u32::from(number),
                ice: IceCredentials {
                    ufrag: format!("c{number}"),
                    pwd: "a password of the client".to_owned(),
                },
                security: Security::Keys(Box::new(keys)),
                suite: Suite::detect(),
                seed: seed + u64::from(number),
            });
            End { client, relay }
        });
        let mut world = Self { ends, rng: Rng::new(seed), loss_ppm: 0, now: Micros(0) };
        let [publisher, receiver] = &mut world.ends;
        let audio = AudioConfig {
            track: track(1, b"0", 111, None),
            ssrc: AUDIO,
            payload_bytes: 100,
            level: 30,
            red_pt: media.red_pt,
            nack: media.audio_nack,
        };
        publisher.client.publish_audio(Micros(0), audio);
        let encoding = Encoding {
            ssrc: VIDEO,
            rtx: Some(VIDEO_RTX),
            rid: None,
            frame_bytes: 3_000,
            keyframe_bytes: 9_000,
        };
        publisher.client.publish_video(
            Micros(0),
            VideoConfig {
                track: track(2, b"1", 96, Some(97)),
                codec: media.codec,
                scalability: media.scalability,
                encodings: vec![encoding],
                size: (640, 360),
                ramp_us: 0,
                frame_interval_us: 33_333,
                payload_bytes_max: 1_100,
                size_jitter_percent: 20,
            },
        );
        let receive = |ssrc, rtx, kind, pt, rtx_pt| ReceiveConfig {
            ssrc,
            rtx,
            kind,
            codec: media.codec,
            pt,
            rtx_pt,
            red_pt: media.red_pt,
            fec: false,
            transport_cc: Some(3),
            abs_send_time: Some(4),
            dependency: (media.codec != VideoCodec::Vp8).then_some(5),
            nack: kind == MediaKind::Video || media.audio_nack,
            expected: None,
        };
        receiver.client.receive(receive(AUDIO, None, MediaKind::Audio, 111, None));
        receiver.client.receive(receive(VIDEO, Some(VIDEO_RTX), MediaKind::Video, 96, Some(97)));
        let ice = IceCredentials { ufrag: "relay".to_owned(), pwd: PWD.to_owned() };
        let remote = Remote { ice, fingerprint: None };
        world.ends.iter_mut().for_each(|end| end.client.set_remote(Micros(0), &remote));
        world
    }

    fn run(&mut self, until: Micros) {
        while self.now < until {
            self.now = self.now.after_us(1_000);
            for number in 0..2 {
                self.turn(number);
            }
        }
    }

    /// Polls one end; what it sends reaches the other, or the relay, without delay.
    fn turn(&mut self, number: usize) {
        let now = self.now;
        let mut out = vec![0; TRANSMIT_BYTES_MIN];
        self.ends[number].client.handle_timeout(now);
        while let Some(bytes) = self.ends[number].client.poll_transmit(now, &mut out) {
            let mut datagram = out[..bytes].to_vec();
            if classify(&datagram) == Protocol::Stun {
                let hmac = HmacSha1::new(Suite::detect(), PWD.as_bytes());
                let request = StunMessage::parse(&datagram).expect("the client writes valid requests");
                let request = request.authenticate(|parts| hmac.mac(parts)).expect("the right password");
                let mut answer = [0; 128];
                let mapped = ([127, 0, 0, 1], 9).into();
                let bytes =
                    write_success(&request, mapped, &|parts| hmac.mac(parts), &mut answer).expect("fits");
                self.ends[number].client.handle_datagram(now, &mut answer[..bytes]);
                continue;
            }
            if self.rng.chance_ppm(self.loss_ppm) {
                continue;
            }
            let is_rtp = classify(&datagram) == Protocol::Rtp;
            let [first, second] = &mut self.ends;
            let (from, to) = if number == 0 { (first, second) } else { (second, first) };
            let mut passed = vec![0; TRANSMIT_BYTES_MIN];
            let bytes = if is_rtp {
                let plain = from.relay.open_rtp(&mut datagram).expect("the client seals with its keys");
                to.relay.seal_rtp(plain, &mut passed).expect("a packet that arrived fits")
            } else {
                let plain = from.relay.open_rtcp(&mut datagram).expect("the client seals with its keys");
                to.relay.seal_rtcp(plain, &mut passed).expect("a packet that arrived fits")
            };
            to.client.handle_datagram(now, &mut passed[..bytes]);
        }
    }

    fn reception(&self, ssrc: Ssrc) -> &Reception {
        self.ends[1].client.reception(ssrc).expect("it is expected")
    }
}

#[test]
fn everything_published_is_received_once_and_intact() {
    let mut world = World::new(1, 1);
    world.run(Micros(5_000_000));
    let published: Vec<_> = world.ends[0].client.sources().copied().collect();
    for (source, ssrc) in published.iter().zip([AUDIO, VIDEO]) {
        let reception = world.reception(ssrc);
        assert!(reception.packets > 100);
        assert_eq!(reception.packets, source.packets);
        assert_eq!(reception.content_hash, source.content_hash);
        assert_eq!(reception.frames, u64::from(source.frames));
        assert_eq!((reception.lost, reception.duplicates, reception.discontinuities), (0, 0, 0));
        assert_eq!((reception.foreign_room, reception.foreign_track, reception.corrupt), (0, 0, 0));
        assert!(!reception.began_without_keyframe);
        assert_eq!(reception.delays.max_us(), 0, "the relay takes no time");
    }
    let (publisher, receiver) = (&world.ends[0].client, &world.ends[1].client);
    assert_eq!((publisher.state(), receiver.state()), (ClientState::Ready, ClientState::Ready));
    assert!(publisher.statistics().report_blocks >= 4, "receiver reports arrive");
    assert!(receiver.statistics().sender_reports >= 4, "sender reports arrive");
    let statistics = publisher.statistics();
    assert!(statistics.twcc_received >= 40);
    assert!(statistics.twcc_reported <= statistics.rtp_sent);
    assert!(statistics.twcc_reported >= statistics.rtp_sent - 100);
    assert_eq!(statistics.twcc_missing, 0);
}

#[test]
fn a_lossy_link_is_repaired_by_nack_and_rtx() {
    let mut world = World::new(2, 1);
    world.loss_ppm = 50_000;
    world.run(Micros(8_000_000));
    world.loss_ppm = 0;
    world.ends[0].client.set_muted(SourceId(1), true);
    world.run(Micros(10_000_000));
    let source = *world.ends[0].client.source(SourceId(1)).expect("video is the second source");
    let reception = world.reception(VIDEO);
    assert!(reception.repaired > 20, "{}", reception.repaired);
    assert!(reception.nacks >= reception.repaired);
    assert_eq!(source.retransmitted, world.ends[0].client.statistics().rtp_sent - 500 - source.packets);
    assert_eq!(world.ends[1].client.missing(), 0);
    assert_eq!(reception.packets + reception.lost, source.packets, "nothing is unaccounted for");
    assert!(world.reception(AUDIO).repaired == 0);
    assert!(world.ends[0].client.statistics().twcc_missing > 0, "feedback names the losses");
}

#[test]
fn what_nack_cannot_repair_brings_a_keyframe() {
    let mut world = World::new(3, 1);
    world.run(Micros(1_000_000));
    assert_eq!(world.reception(VIDEO).keyframes, 1);
    // Longer than the sender remembers.
    world.loss_ppm = 1_000_000;
    world.run(Micros(7_000_000));
    world.loss_ppm = 0;
    world.run(Micros(10_000_000));
    let reception = world.reception(VIDEO);
    assert!(reception.lost > 0);
    assert!(reception.keyframes >= 2, "a request followed the loss");
    assert!(world.ends[0].client.statistics().keyframe_requests >= 1);
}

const LAYERED: [Media; 7] = {
    const fn media(codec: VideoCodec, scalability: Scalability) -> Media {
        Media { codec, scalability, red_pt: Some(63), audio_nack: true }
    }
    [
        media(VideoCodec::Vp8, Scalability::L1T2),
        media(VideoCodec::Vp8, Scalability::L1T3),
        media(VideoCodec::Vp9 { flexible: true }, Scalability::L3T3),
        media(VideoCodec::Vp9 { flexible: true }, Scalability::L3T3_KEY),
        media(VideoCodec::Vp9 { flexible: false }, Scalability::L1T3),
        media(VideoCodec::Av1, Scalability::L3T3),
        media(VideoCodec::Av1, Scalability::L1T3),
    ]
};

#[test]
fn every_codec_and_mode_is_decoded_whole() {
    for media in LAYERED {
        let name = format!("{:?} {:?}", media.codec, media.scalability);
        let mut world = World::with(7, 1, media);
        world.run(Micros(3_000_000));
        world.ends[0].client.send_keyframe(SourceId(1));
        world.run(Micros(5_000_000));
        let source = *world.ends[0].client.source(SourceId(1)).expect("video is the second source");
        let reception = world.reception(VIDEO);
        assert_eq!(
            (reception.packets, reception.content_hash),
            (source.packets, source.content_hash),
            "{name}"
        );
        assert_eq!(reception.decoded_frames, u64::from(source.frames), "{name}");
        let counts =
            [reception.undecodable_frames, reception.skipped_frames, reception.freezes, reception.corrupt];
        assert_eq!(counts, [0; 4], "{name}");
        let faults = [reception.discontinuities, reception.backward_timestamps, reception.descriptor_errors];
        assert_eq!(faults, [0; 3], "{name}");
        assert_eq!(reception.keyframes, 2, "{name}");
        for spatial in 0..media.scalability.spatial_layers {
            for temporal in 0..media.scalability.temporal_layers {
                let packets = reception.layer_packets[usize::from(spatial)][usize::from(temporal)];
                assert!(packets > 10, "{name}: layer {spatial} {temporal}: {packets}");
            }
        }
        let statistics = world.ends[1].client.statistics();
        assert_eq!((statistics.malformed, statistics.unknown_ssrc), (0, 0), "{name}");
    }
}

#[test]
fn losses_are_repaired_or_explained_in_every_mode() {
    for media in LAYERED {
        let name = format!("{:?} {:?}", media.codec, media.scalability);
        let mut world = World::with(8, 1, media);
        world.loss_ppm = 50_000;
        world.run(Micros(10_000_000));
        let end = world.now;
        world.ends[1].client.settle(end);
        let source = *world.ends[0].client.source(SourceId(1)).expect("video is the second source");
        let video = world.reception(VIDEO);
        assert!(video.decoded_frames * 10 > u64::from(source.frames) * 9, "{name}: {}", video.decoded_frames);
        assert_eq!((video.unexplained_frames, video.descriptor_errors), (0, 0), "{name}");
        let audio = world.reception(AUDIO);
        // One in twenty is lost; its repetition or a repair comes in time.
        assert!(
            audio.played_frames > 450 && audio.concealed_frames <= 2,
            "{name}: {}",
            audio.concealed_frames
        );
        assert_eq!((audio.corrupt, audio.unstamped, audio.wrong_pt), (0, 0, 0), "{name}");
    }
}

#[test]
fn a_paused_layer_sends_nothing_and_returns_with_a_keyframe() {
    for media in [LAYERED[1], LAYERED[2], LAYERED[5]] {
        let name = format!("{:?} {:?}", media.codec, media.scalability);
        let layered = media.scalability.spatial_layers > 1;
        let layer = u8::from(layered);
        let mut world = World::with(9, 1, media);
        world.run(Micros(2_000_000));
        world.ends[0].client.set_layer_active(SourceId(1), layer, false);
        world.run(Micros(2_500_000));
        let before = world.reception(VIDEO).clone();
        world.run(Micros(4_000_000));
        let paused = world.reception(VIDEO).clone();
        assert_eq!(
            paused.layer_packets[usize::from(layer)..],
            before.layer_packets[usize::from(layer)..],
            "{name}"
        );
        assert_eq!(paused.packets > before.packets, layered, "{name}: the layers below go on");
        assert_eq!(paused.keyframes, 1, "{name}");
        world.ends[0].client.set_layer_active(SourceId(1), layer, true);
        world.run(Micros(5_000_000));
        let resumed = world.reception(VIDEO);
        assert!(
            resumed.layer_packets[usize::from(layer)] > paused.layer_packets[usize::from(layer)],
            "{name}"
        );
        assert_eq!(resumed.keyframes, 2, "{name}");
        assert_eq!((resumed.undecodable_frames, resumed.discontinuities), (0, 0), "{name}");
        assert_eq!(resumed.freezes, u64::from(!layered), "{name}");
    }
}

#[test]
fn silence_is_sent_now_and_then_and_is_no_loss() {
    let mut world = World::with(10, 1, LAYERED[0]);
    world.run(Micros(1_000_000));
    world.ends[0].client.set_silent(SourceId(0), true);
    world.run(Micros(5_000_000));
    let quiet = world.reception(AUDIO).packets;
    assert!((55..65).contains(&quiet), "{quiet}");
    world.ends[0].client.set_silent(SourceId(0), false);
    world.run(Micros(6_000_000));
    let end = world.now;
    world.ends[1].client.settle(end);
    let audio = world.reception(AUDIO);
    assert!(audio.played_frames >= quiet + 40, "{}", audio.played_frames);
    assert_eq!((audio.concealed_frames, audio.corrupt, audio.discontinuities), (0, 0, 0));
}

#[test]
fn clients_without_transport_wide_feedback_send_remb_or_nothing() {
    for (feedback, rembs) in [(Feedback::Remb, 4..=6), (Feedback::ReportsOnly, 0..=0)] {
        let mut world = World::new(11, 1);
        world.ends[1].client.set_feedback(feedback);
        world.run(Micros(5_000_000));
        let statistics = world.ends[0].client.statistics();
        assert_eq!(statistics.twcc_received, 0);
        assert!(rembs.contains(&statistics.remb_received), "{}", statistics.remb_received);
        assert!(statistics.report_blocks >= 4);
    }
}

#[test]
fn a_foreign_room_is_heard_as_foreign() {
    let mut world = World::new(4, 2);
    world.run(Micros(500_000));
    assert!(world.reception(AUDIO).foreign_room > 10);
    assert_eq!(world.reception(AUDIO).foreign_room, world.reception(AUDIO).packets);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut world = World::new(seed, 1);
        world.loss_ppm = 30_000;
        world.run(Micros(3_000_000));
        [AUDIO, VIDEO].map(|ssrc| world.reception(ssrc).order_hash)
    };
    for seed in 1..=5 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
    assert_ne!(run(1), run(2));
}

#[test]
fn consent_ends_when_the_server_is_silent() {
    let mut world = World::new(5, 1);
    world.run(Micros(100_000));
    let client = &mut world.ends[0].client;
    assert_eq!(client.state(), ClientState::Ready);
    client.handle_timeout(Micros(31_000_000));
    assert_eq!(client.state(), ClientState::Failed(ClientError::ConsentExpired));
    assert_eq!(client.next_timeout(), Micros::NEVER);
    let mut out = [0; TRANSMIT_BYTES_MIN];
    assert_eq!(client.poll_transmit(Micros(31_000_000), &mut out), None);
}

#[test]
fn random_datagrams_of_every_class_change_nothing() {
    let mut world = World::new(6, 1);
    world.run(Micros(200_000));
    let mut rng = Rng::new(9);
    let client = &mut world.ends[1].client;
    let before = client.reception(VIDEO).expect("expected").order_hash;
    for first in [0_u8, 1, 20, 22, 63, 128, 144, 191, 200, 255] {
        for length in 0..120 {
            let mut bytes: Vec<u8> = (0..length).map(|_| rng.next_u64() as u8).collect();
            if let Some(byte) = bytes.first_mut() {
                *byte = first;
            }
            client.handle_datagram(Micros(200_000), &mut bytes);
        }
    }
    assert_eq!(client.state(), ClientState::Ready);
    assert_eq!(client.reception(VIDEO).expect("expected").order_hash, before);
    assert!(client.statistics().bad_tag + client.statistics().refused > 100);
}
