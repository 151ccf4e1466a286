//! Data channels against sctp-proto as the client, without DTLS: floods, slow receivers, and what nobody honest sends.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sctp_proto::PayloadProtocolIdentifier as Protocol;

use super::dcep::{Message, Open, Reliability};
use super::sctp::{Channels, Received};
use super::tests::{Channels as Client, start};
use crate::base::handoff::{ChannelDrops, ChannelsEnd};
use crate::base::limits::{
    CHANNEL_IN_FLIGHT_MESSAGES, CHANNEL_LOSSY_BYTES, CHANNEL_MESSAGE_BYTES_MAX, CHANNEL_MESSAGES_BURST,
    CHANNEL_MESSAGES_PER_SECOND, CHANNEL_RELIABLE_BYTES, CHANNEL_STREAMS, CHANNELS_PER_PEER,
};
use crate::base::rng::Rng;

const RELIABLE: u16 = 0;
const LOSSY: u16 = 2;
/// Ours on the other side.
const OUR_RELIABLE: u16 = 1;
const OUR_LOSSY: u16 = 3;

/// A client and our side of its channels, 5 ms apart.
struct Pair {
    now: Instant,
    client: Client,
    server: Channels,
    to_server: VecDeque<(Instant, Vec<u8>)>,
    to_client: VecDeque<(Instant, Vec<u8>)>,
    read: Vec<(u16, usize)>,
    ended: Option<ChannelsEnd>,
    closed: Vec<u16>,
    drops: ChannelDrops,
    /// Answers every message as routed to so many.
    copies: Option<u32>,
    /// The way to the client loses everything.
    deaf: bool,
    rng: Rng,
    loss_ppm: u32,
}

impl Pair {
    fn new() -> Self {
        let now = start();
        Self {
            now,
            client: Client::new(),
            server: Channels::new(now),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            read: Vec::new(),
            ended: None,
            closed: Vec::new(),
            drops: ChannelDrops::default(),
            copies: Some(1),
            deaf: false,
            rng: Rng::new(1),
            loss_ppm: 0,
        }
    }

    /// With a channel of each kind in each direction.
    fn open() -> Self {
        let mut pair = Self::new();
        pair.server.open("_reliable", true);
        pair.server.open("_lossy", false);
        pair.run(1_000, |pair| pair.client.got.len() == 2);
        for id in [OUR_RELIABLE, OUR_LOSSY] {
            pair.client.write(id, Protocol::Dcep, &Message::Ack.to_bytes());
        }
        for (id, reliability) in [(RELIABLE, Reliability::Reliable), (LOSSY, Reliability::Retransmits(0))] {
            pair.open_channel(id, reliability);
        }
        pair.run(1_000, |pair| pair.client.got.len() == 4);
        pair.step(Duration::from_millis(20));
        pair.client.got.clear();
        pair
    }

    fn open_channel(&mut self, id: u16, reliability: Reliability) {
        let open = Open { unordered: reliability != Reliability::Reliable, reliability, label: "x".into() };
        self.client.write(id, Protocol::Dcep, &Message::Open(open).to_bytes());
    }

    fn exchange(&mut self) {
        let later = self.now + Duration::from_millis(5);
        self.client.follow();
        for packet in self.client.poll(self.now) {
            if !self.rng.chance_ppm(self.loss_ppm) {
                self.to_server.push_back((later, packet));
            }
        }
        while self.server.is_readable(self.now)
            && let Some(received) = self.server.read(self.now)
        {
            match received {
                Received::Message { channel, bytes } => {
                    self.read.push((channel, bytes.len()));
                    if let Some(copies) = self.copies {
                        self.server.passed(self.now, bytes.len() as u32, copies, 0);
                    }
                }
                Received::Ended(end) => self.ended = Some(end),
                Received::Closed { channel } => self.closed.push(channel),
                Received::Open { .. } => {}
            }
        }
        while let Some(packet) = self.server.poll_packet(self.now) {
            if !self.deaf && !self.rng.chance_ppm(self.loss_ppm) {
                self.to_client.push_back((later, packet));
            }
        }
        self.server.take_drops(&mut self.drops);
    }

    /// Lets the time pass, millisecond by millisecond.
    fn step(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.exchange();
            self.now += Duration::from_millis(1);
            while self.to_server.front().is_some_and(|(due, _)| *due <= self.now) {
                let (_, packet) = self.to_server.pop_front().expect("it was there");
                self.server.handle_packet(self.now, &packet);
            }
            while self.to_client.front().is_some_and(|(due, _)| *due <= self.now) {
                let (_, packet) = self.to_client.pop_front().expect("it was there");
                self.client.handle(self.now, &packet);
            }
            self.server.handle_timeout(self.now);
            self.client.association.handle_timeout(self.now);
        }
        self.exchange();
    }

    fn run(&mut self, steps: u32, done: impl Fn(&Self) -> bool) {
        for _ in 0..steps {
            if done(self) {
                return;
            }
            self.step(Duration::from_millis(5));
        }
        panic!("not in {steps} steps");
    }

    fn read_on(&self, channel: u16) -> usize {
        self.read.iter().filter(|(from, _)| *from == channel).count()
    }
}

#[test]
fn a_reliable_flood_waits_with_its_sender_and_nothing_of_it_is_lost() {
    let mut pair = Pair::open();
    let count = CHANNEL_MESSAGES_BURST as usize + 2_000;
    for _ in 0..count {
        pair.client.write(RELIABLE, Protocol::Binary, &[7; 40]);
    }
    pair.step(Duration::from_secs(1));
    let allowed = (CHANNEL_MESSAGES_BURST + 2 * CHANNEL_MESSAGES_PER_SECOND) as usize;
    let first = pair.read_on(RELIABLE);
    assert!(first < allowed && first < count, "{first} in the first second");
    pair.run(3_000, |pair| pair.read_on(RELIABLE) == count);
    assert_eq!(pair.drops.throttled, 0);
    assert_eq!(pair.ended, None);
}

#[test]
fn a_lossy_flood_is_dropped_above_its_rate_and_reliable_messages_still_arrive() {
    let mut pair = Pair::open();
    for round in 0..400 {
        for _ in 0..20 {
            pair.client.write(LOSSY, Protocol::Binary, &[7; 40]);
        }
        if round % 100 == 0 {
            pair.client.write(RELIABLE, Protocol::Binary, &[1; 40]);
        }
        pair.step(Duration::from_millis(5));
    }
    pair.run(2_000, |pair| pair.read_on(RELIABLE) == 4);
    assert!(pair.drops.throttled > 500, "{:?}", pair.drops);
    let most = CHANNEL_MESSAGES_BURST + 20 * CHANNEL_MESSAGES_PER_SECOND;
    assert!(pair.read_on(LOSSY) > 1_000 && pair.read_on(LOSSY) < most as usize);
}

#[test]
fn what_is_not_passed_on_stops_its_sender_and_copies_slow_it_down() {
    let mut pair = Pair::open();
    pair.copies = None;
    for _ in 0..200 {
        pair.client.write(RELIABLE, Protocol::Binary, &[7; 40]);
    }
    pair.step(Duration::from_secs(2));
    assert_eq!(pair.read.len(), CHANNEL_IN_FLIGHT_MESSAGES as usize);
    for _ in 0..CHANNEL_IN_FLIGHT_MESSAGES {
        pair.server.passed(pair.now, 40, 10_000, 0);
    }
    pair.step(Duration::from_secs(10));
    assert_eq!(pair.read.len(), CHANNEL_IN_FLIGHT_MESSAGES as usize, "640,000 copies take a minute");
    pair.copies = Some(1);
    pair.step(Duration::from_secs(60));
    assert_eq!(pair.read.len(), 200);
}

#[test]
fn a_slow_receiver_loses_first_what_may_be_lost_and_then_its_channels() {
    let mut pair = Pair::open();
    pair.deaf = true;
    let message = Bytes::from(vec![1; 16_000]);
    let mut sent = 0;
    while sent + message.len() <= CHANNEL_LOSSY_BYTES {
        pair.server.send(OUR_RELIABLE, message.clone());
        sent += message.len();
    }
    pair.server.send(OUR_LOSSY, message.clone());
    pair.step(Duration::from_millis(10));
    assert_eq!((pair.drops.full, pair.ended), (1, None));
    assert!(pair.server.waiting_bytes() <= CHANNEL_LOSSY_BYTES);
    while pair.ended.is_none() {
        assert!(sent < CHANNEL_RELIABLE_BYTES + message.len(), "it is bounded");
        pair.server.send(OUR_RELIABLE, message.clone());
        sent += message.len();
        pair.exchange();
        assert!(pair.server.waiting_bytes() <= CHANNEL_RELIABLE_BYTES);
    }
    assert_eq!(pair.ended, Some(ChannelsEnd::SlowReceiver));
    assert_eq!(pair.server.waiting_bytes(), 0);
    assert!(message.is_unique(), "nobody else holds its bytes any more");
    pair.server.send(OUR_RELIABLE, message);
    pair.exchange();
    assert!(pair.drops.closed > 0);
}

#[test]
fn a_message_is_kept_once_however_many_receive_it() {
    let mut pairs: Vec<Pair> = (0..3).map(|_| Pair::open()).collect();
    let message = Bytes::from(vec![1; 60_000]);
    for pair in &mut pairs {
        pair.server.send(OUR_RELIABLE, message.clone());
    }
    assert!(!message.is_unique());
    for pair in &mut pairs {
        pair.run(1_000, |pair| pair.client.got.len() == 1);
        assert_eq!(pair.client.got[0].2, message);
        pair.run(1_000, |pair| pair.to_client.is_empty() && pair.to_server.is_empty());
        pair.step(Duration::from_secs(1));
    }
    assert!(message.is_unique(), "acknowledged by all");
}

#[test]
fn on_a_lossy_link_reliable_messages_come_in_order_and_lossy_ones_do_not_wait_for_them() {
    let mut pair = Pair::open();
    pair.loss_ppm = 20_000;
    const COUNT: u32 = 1_000;
    for number in 0..COUNT {
        let bytes = Bytes::from(number.to_be_bytes().to_vec());
        pair.server.send(OUR_RELIABLE, bytes.clone());
        pair.server.send(OUR_LOSSY, bytes);
        pair.step(Duration::from_millis(2));
    }
    pair.step(Duration::from_secs(10));
    let got = |channel| {
        let of_it = pair.client.got.iter().filter(move |(from, ..)| *from == channel);
        of_it.map(|(_, _, bytes)| u32::from_be_bytes(bytes[..].try_into().expect("four bytes")))
    };
    assert!(got(OUR_RELIABLE).eq(0..COUNT), "all, in order");
    let lossy: Vec<u32> = got(OUR_LOSSY).collect();
    assert!(lossy.len() as u32 > COUNT * 9 / 10 && (lossy.len() as u32) < COUNT, "{} lossy", lossy.len());
    // Behind a lost reliable message the next reliable ones wait; the lossy ones that were sent with them came first.
    let mut reliable_next = 0;
    let mut ahead = 0;
    for (channel, _, bytes) in &pair.client.got {
        let number = u32::from_be_bytes(bytes[..].try_into().expect("four bytes"));
        if *channel == OUR_RELIABLE {
            reliable_next = number + 1;
        } else if number > reliable_next + 3 {
            ahead += 1;
        }
    }
    assert!(ahead > 10, "{ahead} lossy messages came before reliable ones of their time");
}

#[test]
fn channels_beyond_the_negotiated_ones_end_them_all_and_too_many_are_refused() {
    let mut pair = Pair::open();
    for id in (4..CHANNEL_STREAMS).step_by(2) {
        pair.open_channel(id, Reliability::Reliable);
    }
    pair.step(Duration::from_secs(1));
    let opened = pair.client.got.iter().filter(|(_, _, bytes)| *bytes == Message::Ack.to_bytes()).count();
    assert_eq!(opened, CHANNELS_PER_PEER - 4);
    assert!(pair.drops.refused > 0 && pair.ended.is_none());
    // sctp-proto as a client does not care what was negotiated.
    for id in (CHANNEL_STREAMS..u16::MAX).step_by(2) {
        pair.open_channel(id, Reliability::Reliable);
        if id % 512 == 0 {
            pair.step(Duration::from_millis(1));
        }
    }
    pair.step(Duration::from_secs(1));
    assert_eq!(pair.ended, Some(ChannelsEnd::Violation));
    assert_eq!(pair.server.poll_timeout(pair.now), None, "nothing is left of it");
}

#[test]
fn a_channel_that_the_peer_closes_is_reported() {
    let mut pair = Pair::open();
    let mut stream = pair.client.association.stream(RELIABLE).expect("it is open");
    stream.close().expect("it closes");
    pair.run(1_000, |pair| pair.closed == [RELIABLE]);
    pair.server.send(RELIABLE, Bytes::from_static(b"late"));
    pair.exchange();
    assert_eq!(pair.drops.closed, 1);
}

#[test]
fn a_message_over_the_limit_goes_nowhere() {
    let mut pair = Pair::open();
    pair.client.association.set_max_send_message_size(4 * CHANNEL_MESSAGE_BYTES_MAX);
    pair.client.write(RELIABLE, Protocol::Binary, &vec![1; CHANNEL_MESSAGE_BYTES_MAX as usize]);
    pair.run(1_000, |pair| pair.read == [(RELIABLE, CHANNEL_MESSAGE_BYTES_MAX as usize)]);
    pair.client.write(RELIABLE, Protocol::Binary, &vec![1; CHANNEL_MESSAGE_BYTES_MAX as usize + 1]);
    pair.step(Duration::from_secs(5));
    assert_eq!(pair.read.len(), 1);
}

#[test]
fn packets_wrong_at_any_byte_do_no_harm() {
    let mut pair = Pair::open();
    pair.client.write(RELIABLE, Protocol::Binary, &[1; 100]);
    pair.client.write(LOSSY, Protocol::Binary, &[2; 30]);
    pair.client.follow();
    let packets = pair.client.poll(pair.now);
    assert!(!packets.is_empty());
    for packet in &packets {
        for end in 0..packet.len() {
            pair.server.handle_packet(pair.now, &packet[..end]);
            pair.server.handle_packet(pair.now, &with_checksum(packet[..end].to_vec()));
        }
        for at in 12..packet.len() {
            // The stream number is another test's.
            for value in [0, 1, 0x7f, 0xff, packet[at] ^ 1, packet[at] ^ 0x80] {
                let mut wrong = packet.clone();
                wrong[at] = value;
                let before = pair.server.waiting_bytes();
                pair.server.handle_packet(pair.now, &with_checksum(wrong));
                while pair.server.is_readable(pair.now) && pair.server.read(pair.now).is_some() {}
                while pair.server.poll_packet(pair.now).is_some() {}
                assert!(pair.server.waiting_bytes() <= before + 100);
            }
        }
    }
}

/// CRC-32C of a packet, as SCTP wants it (RFC 9260 appendix A).
fn with_checksum(mut packet: Vec<u8>) -> Vec<u8> {
    let Some(field) = packet.get_mut(8..12) else { return packet };
    field.fill(0);
    let mut crc = u32::MAX;
    for byte in &packet {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    packet[8..12].copy_from_slice(&(!crc).to_le_bytes());
    packet
}
