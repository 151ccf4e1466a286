//! Everything at once, from a seed: simulcast, temporal and spatial layers, wishes, pauses, mutes, joins and leaves, losses and
//! reordering upstream, links that change, a backend that is full. What a receiver gets is one unbroken stream all the same.
//!
//! `CHAOS_SEEDS` (200) says how many seeds; each is a quarter of a minute of virtual time.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::base::rng::Rng;
use crate::command::Wanted;
use crate::wire::rtcp::ReportBlock;
use crate::wire::vp8::Vp8Descriptor;

const STEP_MS: u64 = 5;
const STEPS: u64 = 3_000;
/// A frame of every layer in so many steps.
const FRAME_STEPS: u64 = 7;
const SIMULCAST: u32 = 1;
const SCALABLE: u32 = 2;
const VOICE: u32 = 3;
const MEETING: u64 = 10;
/// Receivers that come and go.
const RECEIVERS: std::ops::Range<u32> = 10..14;

/// What one seed decides for the whole run.
#[derive(Clone, Copy)]
struct Weather {
    loss_ppm: u32,
    late_ppm: u32,
    restart_ppm: u32,
    full_ppm: u32,
}

/// One layer of the simulcast publisher, or the scalable stream.
#[derive(Clone, Copy, Default)]
struct Encoder {
    index: u64,
    clock: u32,
    picture: u16,
    base: u8,
    key_index: u8,
    frame: u64,
}

struct Chaos {
    house: House,
    rng: Rng,
    weather: Weather,
    encoders: [Encoder; 4],
    voice: u64,
    /// On their way to the server: when, what.
    underway: Vec<(u64, Path, Vec<u8>)>,
    /// Receivers by number: the SSRC of their first stream.
    present: BTreeMap<u32, u32>,
    next_stream: u32,
    /// Receivers are told apart from their former selves.
    next_peer: u32,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        // Half of the seeds lose nothing, so that gaps cannot be the link's.
        let weather = match seed % 4 {
            0 => Weather { loss_ppm: 0, late_ppm: 0, restart_ppm: 0, full_ppm: 0 },
            1 => Weather { loss_ppm: 0, late_ppm: 0, restart_ppm: 300, full_ppm: 20_000 },
            2 => Weather { loss_ppm: 0, late_ppm: 30_000, restart_ppm: 0, full_ppm: 20_000 },
            _ => Weather { loss_ppm: 20_000, late_ppm: 30_000, restart_ppm: 300, full_ppm: 20_000 },
        };
        let mut house = House::new();
        for id in [SIMULCAST, SCALABLE, VOICE] {
            house.join(id, MEETING);
        }
        house.publish(SIMULCAST, SIMULCAST, MediaKind::Video, &[100, 101, 102]);
        house.publish(SCALABLE, SCALABLE, MediaKind::Video, &[103]);
        house.publish(VOICE, VOICE, MediaKind::Audio, &[104]);
        let encoders = [(); 4].map(|()| Encoder {
            index: rng.below(30_000),
            clock: rng.next_u64() as u32,
            picture: rng.next_u64() as u16 & 0x7fff,
            ..Encoder::default()
        });
        Self {
            house,
            rng,
            weather,
            encoders,
            voice: 0,
            underway: Vec::new(),
            present: BTreeMap::new(),
            next_stream: 1_000,
            next_peer: RECEIVERS.start,
        }
    }

    fn run(&mut self) {
        for step in 0..STEPS {
            if step % FRAME_STEPS == 0 {
                (0..3).for_each(|layer| self.simulcast(step, layer));
                self.scalable(step);
            }
            if step % 4 == 0 {
                self.voice += 1;
                let (index, timestamp) = (self.voice, self.voice as u32 * 960);
                self.send(step, VOICE, &Media { ssrc: 104, index, timestamp, ..MEDIA });
            }
            self.arrive(step);
            if step % 20 == 0 {
                self.meddle();
            }
            if step % 200 == 0 {
                self.report(step as u32);
            }
            if self.rng.chance_ppm(self.weather.full_ppm) {
                self.house.room = 1 + self.rng.below(3) as usize;
            } else if self.rng.chance_ppm(200_000) {
                self.house.room = usize::MAX;
            }
            self.turn();
        }
        self.house.room = usize::MAX;
        self.house.run(3_000);
    }

    /// A turn, and the time to the next; a full backend stays full meanwhile.
    fn turn(&mut self) {
        if self.house.room == usize::MAX {
            self.house.run(STEP_MS);
        } else {
            self.house.flush();
            self.house.now = self.house.now.after_ms(STEP_MS);
        }
    }

    /// A VP8 frame of one to three packets; T0 T2 T1 T2.
    fn simulcast(&mut self, step: u64, layer: usize) {
        let keyframe = self.encoders[layer].frame == 0 || self.rng.chance_ppm(25_000);
        self.maybe_restart(layer);
        let encoder = &mut self.encoders[layer];
        encoder.frame = if keyframe { 0 } else { encoder.frame };
        let (temporal, sync) = [(0, false), (2, true), (1, true), (2, false)][(encoder.frame % 4) as usize];
        encoder.base = encoder.base.wrapping_add(u8::from(temporal == 0));
        encoder.key_index = (encoder.key_index + u8::from(keyframe)) & 0x1f;
        encoder.picture = (encoder.picture + 1) & 0x7fff;
        encoder.clock = encoder.clock.wrapping_add(90 * (STEP_MS * FRAME_STEPS) as u32);
        encoder.frame += 1;
        let [high, low] = encoder.picture.to_be_bytes();
        let count = 1 + self.rng.below(3);
        for nth in 0..count {
            let encoder = &mut self.encoders[layer];
            encoder.index += 1;
            let Encoder { index, clock: timestamp, base, key_index, .. } = *encoder;
            let start = if nth == 0 { 0x10 } else { 0 };
            let layers = temporal << 6 | u8::from(sync) << 5 | key_index;
            let mut payload = vec![0x80 | start, 0xf0, 0x80 | high, low, base, layers, u8::from(!keyframe)];
            payload.extend_from_slice(&index.to_be_bytes());
            payload.resize(60 + 150 * layer + self.rng.below(60) as usize, layer as u8);
            let marker = nth + 1 == count;
            let ssrc = 100 + layer as u32;
            let packet = Media { ssrc, index, timestamp, pt: VP8, payload: &payload, marker, ..MEDIA };
            self.send(step, SIMULCAST, &packet);
        }
    }

    /// A VP9 picture of three spatial layers, each of one or two packets.
    fn scalable(&mut self, step: u64) {
        let keyframe = self.encoders[3].frame == 0 || self.rng.chance_ppm(25_000);
        self.maybe_restart(3);
        let encoder = &mut self.encoders[3];
        encoder.frame += 1;
        encoder.clock = encoder.clock.wrapping_add(90 * (STEP_MS * FRAME_STEPS) as u32);
        encoder.picture = (encoder.picture + 1) & 0x7f;
        for spatial in 0..3_u8 {
            let count = 1 + self.rng.below(2);
            for nth in 0..count {
                let encoder = &mut self.encoders[3];
                encoder.index += 1;
                let Encoder { index, clock: timestamp, picture, base, .. } = *encoder;
                let inter = if keyframe { 0 } else { 0x40 };
                let (begins, ends) = (u8::from(nth == 0) << 3, u8::from(nth + 1 == count) << 2);
                let layer = spatial << 1 | u8::from(spatial > 0);
                let mut payload = vec![0x80 | inter | 0x20 | begins | ends, picture as u8, layer, base];
                payload.extend_from_slice(&index.to_be_bytes());
                payload.resize(60 + 200 * usize::from(spatial), spatial);
                let marker = spatial == 2 && nth + 1 == count;
                let packet =
                    Media { ssrc: 103, index, timestamp, pt: VP9, payload: &payload, marker, ..MEDIA };
                self.send(step, SCALABLE, &packet);
            }
        }
        self.encoders[3].base = self.encoders[3].base.wrapping_add(1);
    }

    /// The encoder begins anew: numbers, clock and pictures jump, and its first frame is a keyframe.
    fn maybe_restart(&mut self, encoder: usize) {
        if self.rng.chance_ppm(self.weather.restart_ppm) {
            let encoder = &mut self.encoders[encoder];
            encoder.index += 5_000 + self.rng.below(20_000);
            encoder.clock = self.rng.next_u64() as u32;
            encoder.picture = self.rng.next_u64() as u16 & 0x7fff;
        }
    }

    fn send(&mut self, step: u64, id: u32, packet: &Media<'_>) {
        if self.rng.chance_ppm(self.weather.loss_ppm) {
            return;
        }
        let late = if self.rng.chance_ppm(self.weather.late_ppm) { 1 + self.rng.below(12) } else { 0 };
        let (path, bytes) = self.house.seal_rtp(id, packet);
        self.underway.push((step + late, path, bytes));
    }

    fn arrive(&mut self, step: u64) {
        let (due, rest) = std::mem::take(&mut self.underway).into_iter().partition(|(at, ..)| *at <= step);
        self.underway = rest;
        let due: Vec<(u64, Path, Vec<u8>)> = due;
        for (_, path, mut bytes) in due {
            self.house.engine.handle_datagram(self.house.now, path, &mut bytes);
        }
    }

    /// Somebody joins, leaves, changes a wish, complains, or a link changes.
    fn meddle(&mut self) {
        let chosen = {
            let nth = self.rng.below(self.present.len().max(1) as u64) as usize;
            self.present.iter().nth(nth).map(|(id, first)| (*id, *first))
        };
        let what = self.rng.below(20);
        match (what, chosen) {
            (0..3, _) | (_, None) => self.join(),
            (3, Some((id, _))) => self.leave(id),
            (4..9, Some((_, first))) => {
                let wanted = Wanted {
                    enabled: self.rng.below(3) > 0,
                    layer_max: self.rng.below(4) as u8,
                    fps_max: [0, 0, 8, 15][self.rng.below(4) as usize],
                    priority: self.rng.below(3) as u8,
                };
                let stream = StreamId(first + 2 * self.rng.below(3) as u32);
                self.house.command(Command::Want { stream, wanted });
            }
            (9..11, _) => {
                let muted = self.rng.below(3) == 0;
                let track = TrackId(1 + self.rng.below(3) as u32);
                self.house.command(Command::Mute { track, muted });
            }
            (11..15, Some((id, _))) => {
                let bps = 40_000 << self.rng.below(8);
                self.house.send_rtcp(id, |writer| writer.remb(Ssrc(9), bps, &[]).expect("fits"));
            }
            (15..17, Some((id, first))) => {
                let media = Ssrc(first + 2 * self.rng.below(2) as u32);
                self.house.send_rtcp(id, |writer| writer.pli(Ssrc(9), media).expect("fits"));
            }
            (_, Some((id, first))) => {
                let media = first + 2 * self.rng.below(2) as u32;
                let newest = self.house.client(id).payloads(media).last().map_or(0, |(seq, _)| *seq);
                let asked: Vec<Seq> =
                    (0..20).map(|_| Seq(newest.wrapping_sub(self.rng.below(60) as u16))).collect();
                let asked: BTreeSet<u16> = asked.into_iter().map(|seq| seq.0).collect();
                let asked = asked.into_iter().map(Seq);
                self.house.send_rtcp(id, |writer| writer.nack(Ssrc(9), Ssrc(media), asked).expect("fits"));
            }
        }
    }

    fn join(&mut self) {
        if self.present.len() >= RECEIVERS.len() {
            return;
        }
        let (id, first) = (self.next_peer, self.next_stream);
        self.next_peer += 1;
        self.next_stream += 10;
        self.house.join(id, MEETING);
        for (nth, track) in [SIMULCAST, SCALABLE, VOICE].into_iter().enumerate() {
            let kind = if track == VOICE { MediaKind::Audio } else { MediaKind::Video };
            self.house.subscribe(id, first + 2 * nth as u32, track, kind);
        }
        self.present.insert(id, first);
    }

    /// Receivers report that nothing is lost on their side.
    fn report(&mut self, highest_seq: u32) {
        for (id, first) in self.present.clone() {
            let blocks = [first, first + 2, first + 4].map(|ssrc| ReportBlock {
                ssrc: Ssrc(ssrc),
                fraction_lost: 0,
                cumulative_lost: 0,
                highest_seq,
                jitter: 0,
                last_sr: 0,
                delay_since_last_sr: 0,
            });
            self.house.send_rtcp(id, |writer| writer.receiver_report(Ssrc(9), &blocks).expect("fits"));
        }
    }

    fn leave(&mut self, id: u32) {
        self.present.remove(&id);
        self.house.command(Command::ClosePeer { peer: PeerId(id) });
    }

    fn end(&mut self) -> EngineSizes {
        for id in self.house.clients.iter().map(|client| client.id).collect::<Vec<_>>() {
            self.house.command(Command::ClosePeer { peer: id });
        }
        self.house.flush();
        self.house.engine.sizes()
    }
}

/// One received packet of a stream.
struct Got {
    seq: u64,
    timestamp: u32,
    payload: Vec<u8>,
}

/// Packets of an SSRC by sequence number without wrap. That none comes twice is what opening them has proved.
fn in_order(client: &Client, ssrc: u32) -> Vec<Got> {
    let mut highest = None;
    let mut all: Vec<Got> = Vec::new();
    for (header, packet) in client.rtp.iter().filter(|(header, _)| header.ssrc == Ssrc(ssrc)) {
        let before = *highest.get_or_insert(0x1_0000 + u64::from(header.seq.0));
        let seq = before.wrapping_add_signed(i64::from(header.seq.0.wrapping_sub(before as u16) as i16));
        highest = Some(before.max(seq));
        all.push(Got { seq, timestamp: header.timestamp, payload: packet[header.payload()].to_vec() });
    }
    all.sort_by_key(|got| got.seq);
    all
}

/// What a receiver can rely on, whatever happened. `whole`: the link to the server lost nothing and kept the order.
fn judge(client: &Client, first: u32, seed: u64, whole: bool) -> usize {
    let mut count = 0;
    for (nth, media) in [first, first + 2, first + 4].into_iter().enumerate() {
        let who = format!("seed {seed}, {:?}, stream {media}", client.id);
        let got = in_order(client, media);
        count += got.len();
        for pair in got.windows(2) {
            assert_ne!(pair[0].seq, pair[1].seq, "{who}: a number twice");
            assert!(!whole || pair[1].seq == pair[0].seq + 1, "{who}: {} is missing", pair[0].seq + 1);
            let ahead = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
            assert!(ahead < 1 << 31, "{who}: time runs back by {} at {}", ahead.wrapping_neg(), pair[1].seq);
        }
        if nth == 0 {
            judge_pictures(&got, &who, whole);
        }
        // Repeated under the retransmission stream: word by word what was, or would have been, sent.
        let sent: BTreeMap<u16, &Vec<u8>> = got.iter().map(|got| (got.seq as u16, &got.payload)).collect();
        for (_, payload) in client.payloads(media + 1).iter().filter(|(_, payload)| payload.len() > 2) {
            let original = u16::from_be_bytes([payload[0], payload[1]]);
            if let Some(sent) = sent.get(&original) {
                assert!(payload[2..] == sent[..], "{who}: {original} reads differently when repeated");
            }
        }
    }
    count
}

fn judge_pictures(got: &[Got], who: &str, whole: bool) {
    let read = |got: &Got| Vp8Descriptor::parse(&got.payload).expect("ours");
    for pair in got.windows(2) {
        let (before, after) = (read(&pair[0]), read(&pair[1]));
        let id = |vp8: &Vp8Descriptor| vp8.picture_id.expect("has one").value;
        let ahead = id(&after).wrapping_sub(id(&before)) & 0x7fff;
        let same = pair[0].timestamp == pair[1].timestamp;
        assert!(ahead < 0x4000, "{who}: pictures go back by {} at {}", 0x8000 - ahead, pair[1].seq);
        if whole {
            assert_eq!(ahead, u16::from(!same), "{who}: picture ids at {}", pair[1].seq);
        }
        let base = after.tl0_index.expect("has one").wrapping_sub(before.tl0_index.expect("has one"));
        assert!(base < 128, "{who}: TL0PICIDX goes back at {}", pair[1].seq);
    }
}

fn play(seed: u64) -> (u64, usize) {
    let mut chaos = Chaos::new(seed);
    chaos.run();
    let whole = chaos.weather.loss_ppm == 0 && chaos.weather.late_ppm == 0;
    let mut count = 0;
    let mut hash = 0_u64;
    for client in chaos.house.clients.iter().filter(|client| client.id.0 >= RECEIVERS.start) {
        let first = 1_000 + 10 * (client.id.0 - RECEIVERS.start);
        count += judge(client, first, seed, whole);
        for byte in client.rtp.iter().flat_map(|(_, packet)| packet) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    assert_eq!(chaos.end(), EngineSizes::default(), "seed {seed}: something was left behind");
    (hash, count)
}

fn seeds() -> u64 {
    std::env::var("CHAOS_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(200)
}

#[test]
fn whatever_happens_streams_stay_unbroken_and_nothing_is_left_behind() {
    let seeds = seeds();
    let only: Option<u64> = std::env::var("CHAOS_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut total = 0;
    for seed in only.map_or(0..seeds, |only| only..only + 1) {
        total += play(seed).1;
    }
    println!("{total} packets judged");
    assert!(only.is_some() || total as u64 > seeds * 500, "{total}");
}

#[test]
fn the_same_seed_gives_the_same_chaos() {
    for seed in 0..4 {
        assert_eq!(play(seed), play(seed), "seed {seed}");
    }
}

#[test]
fn the_short_way_out_sends_and_counts_what_the_long_one_does() {
    let mut usual_packets = 0;
    let seeds = seeds().div_ceil(8);
    for seed in 0..seeds {
        let mut both = [false, true].map(|long| {
            let mut chaos = Chaos::new(seed);
            chaos.house.engine.goes_the_long_way = long;
            chaos.run();
            chaos
        });
        let [short, long] = &mut both;
        usual_packets += short.house.engine.usual_packets;
        assert_eq!(long.house.engine.usual_packets, 0);
        assert_eq!(short.house.clients.len(), long.house.clients.len(), "seed {seed}");
        for (short, long) in short.house.clients.iter().zip(&long.house.clients) {
            assert_eq!(short.id, long.id);
            assert!(short.rtp == long.rtp, "seed {seed}: client {} was sent something else", short.id.0);
            assert!(short.rtcp == long.rtcp, "seed {seed}: client {} was told something else", short.id.0);
        }
        assert_eq!(short.house.engine.counters(), long.house.engine.counters(), "seed {seed}");
    }
    println!("{usual_packets} packets went the short way");
    assert!(usual_packets > 400 * seeds, "{usual_packets}");
}

#[test]
fn a_keyframe_that_still_waits_is_not_queued_again_by_a_pause() {
    let mut house = House::new();
    house.join(1, MEETING);
    house.join(2, MEETING);
    house.publish(1, 2, MediaKind::Video, &[2]);
    house.subscribe(2, 200, 2, MediaKind::Video);
    house.flush();
    for index in 1..=4 {
        let payload = vp8(index as u8, index == 1);
        let timestamp = index as u32 * 3_000;
        house.send_rtp(1, &Media { ssrc: 2, index, timestamp, pt: VP8, payload: &payload, ..MEDIA });
    }
    // Nothing has left yet.
    for wanted in [Wanted::NOTHING, Wanted::ALL] {
        house.command(Command::Want { stream: StreamId(200), wanted });
    }
    house.run(20);
    let got = in_order(house.client(2), 200);
    let frames: Vec<u8> = got.iter().map(|got| got.payload[11]).collect();
    assert_eq!(frames, [1, 2, 3, 4], "each once");
    assert!(got.windows(2).all(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp) == 3_000));
}
