//! A peer that says anything at all over its data channels: SCTP chunks with a right checksum inside an association that stands,
//! channel establishment, messages, and a reader and senders on our side.
//!
//! Input: operations of one byte and what each takes.

use std::time::{Duration, Instant};

use dataplane::assist::{Channels, Received};
use dataplane::base::handoff::ChannelDrops;
use dataplane::base::limits::{CHANNEL_MESSAGE_BYTES_MAX, CHANNEL_RELIABLE_BYTES};

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const COOKIE_ECHO: u8 = 10;
const DATA: u8 = 0;
const SACK: u8 = 3;
/// Our verification tag and first number.
const TAG: u32 = 0x6b61_6967;
const ESTABLISHMENT: u32 = 50;

/// A peer by hand.
struct Peer {
    channels: Channels,
    now: Instant,
    /// What the other side wants to see in our packets.
    tag: u32,
    /// The next transmission sequence number.
    tsn: u32,
    /// The last number of theirs.
    their_tsn: u32,
    opened: usize,
}

/// Whatever comes: messages are no longer than allowed, what waits for the peer is bounded, no time to run at lies in the past for long,
/// and after the channels ended nothing more is said.
pub fn channels(data: &[u8]) {
    // An origin: time moves by the input alone.
    let mut peer = Peer::new(Instant::now());
    peer.connect();
    let mut rest = data;
    while let [operation, a, b, tail @ ..] = rest {
        let taken = if operation % 10 < 5 { usize::from(*b).min(tail.len()) } else { 0 };
        let (bytes, after) = tail.split_at(taken);
        rest = after;
        match operation % 10 {
            // A message, whole or a piece of one, of any protocol.
            0 => peer.data(u16::from(*a), operation >> 4, 51 + u32::from(operation % 3), bytes),
            1 => peer.data(u16::from(*a % 8), 3, ESTABLISHMENT, bytes),
            // An honest open.
            2 => {
                let mut open = vec![3, *a & 0x83, 0, 0, 0, 0, 0, *a, 0, bytes.len() as u8, 0, 0];
                open.extend_from_slice(bytes);
                peer.data(u16::from(*a % 64), 3, ESTABLISHMENT, &open);
            }
            // A chunk of any type, with any body.
            3 => {
                peer.chunk(*a, operation >> 4, bytes);
            }
            // The packet as it is.
            4 => peer.channels.handle_packet(peer.now, bytes),
            5 => peer.wait(Duration::from_millis(u64::from(*a) << (b % 8))),
            6 => peer.acknowledge(*a),
            7 => peer.send(u16::from(*a % 8), usize::from(*b) * 64),
            8 => peer.channels.passed(peer.now, u32::from(*b), u32::from(*a), usize::from(*a) << 12),
            _ => peer.read(),
        }
        peer.check();
    }
    peer.wait(Duration::from_secs(10));
    peer.read();
    peer.check();
}

impl Peer {
    fn new(now: Instant) -> Self {
        let mut channels = Channels::new(now);
        channels.open("_reliable", true);
        channels.open("_lossy", false);
        Self { channels, now, tag: 0, tsn: 1, their_tsn: 0, opened: 0 }
    }

    fn connect(&mut self) {
        // Tag, window, streams both ways, first number; forward-TSN is supported (RFC 3758 section 3.1).
        let mut init = TAG.to_be_bytes().to_vec();
        init.extend([0, 4, 0, 0, 0, 64, 0, 64]);
        init.extend(self.tsn.to_be_bytes());
        init.extend([0xc0, 0, 0, 4]);
        let answers = self.chunk(INIT, 0, &init);
        let answer = answers.into_iter().find(|packet| packet.get(12) == Some(&INIT_ACK));
        let Some(answer) = answer else { panic!("an INIT is answered") };
        self.tag = u32::from_be_bytes(answer[16..20].try_into().expect("four bytes"));
        self.their_tsn = u32::from_be_bytes(answer[28..32].try_into().expect("four bytes")).wrapping_sub(1);
        let mut at = 32;
        while let Some([high, low, length_high, length_low]) = answer.get(at..at + 4) {
            let length = usize::from(u16::from_be_bytes([*length_high, *length_low]));
            if (*high, *low) == (0, 7) {
                let cookie = answer[at + 4..at + length].to_vec();
                self.chunk(COOKIE_ECHO, 0, &cookie);
                break;
            }
            at += length.next_multiple_of(4).max(4);
        }
        self.acknowledge(0);
        for channel in [1, 3] {
            self.data(channel, 3, ESTABLISHMENT, &[2]);
        }
        self.read();
        assert_eq!(self.opened, 2, "ours are acknowledged");
    }

    fn data(&mut self, stream: u16, flags: u8, protocol: u32, bytes: &[u8]) {
        let mut body = self.tsn.to_be_bytes().to_vec();
        body.extend(stream.to_be_bytes());
        body.extend([0, 0]);
        body.extend(protocol.to_be_bytes());
        body.extend_from_slice(bytes);
        self.tsn = self.tsn.wrapping_add(1);
        // Unordered: else the order of each stream would have to be kept.
        self.chunk(DATA, flags | 4, &body);
    }

    /// Sends one chunk, as a packet of its own; what is answered.
    fn chunk(&mut self, kind: u8, flags: u8, body: &[u8]) -> Vec<Vec<u8>> {
        let mut packet = vec![0x13, 0x88, 0x13, 0x88];
        packet.extend(self.tag.to_be_bytes());
        packet.extend([0; 4]);
        packet.extend([kind, flags]);
        packet.extend((body.len() as u16 + 4).to_be_bytes());
        packet.extend_from_slice(body);
        packet.resize(packet.len().next_multiple_of(4), 0);
        let checksum = crc32c(&packet).to_le_bytes();
        packet[8..12].copy_from_slice(&checksum);
        self.channels.handle_packet(self.now, &packet);
        self.packets()
    }

    fn acknowledge(&mut self, back: u8) {
        let mut body = self.their_tsn.wrapping_sub(u32::from(back)).to_be_bytes().to_vec();
        body.extend([0, 4, 0, 0, 0, 0, 0, 0]);
        self.chunk(SACK, 0, &body);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.channels.handle_timeout(self.now);
        self.packets();
    }

    fn send(&mut self, channel: u16, bytes: usize) {
        self.channels.send(channel, vec![7; bytes].into());
        self.packets();
    }

    /// What is sent to the peer; its numbers are learned.
    fn packets(&mut self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        while let Some(packet) = self.channels.poll_packet(self.now) {
            if packet.get(12) == Some(&DATA)
                && let Some(number) = packet.get(16..20)
            {
                let tsn = u32::from_be_bytes(number.try_into().expect("four bytes"));
                if tsn.wrapping_sub(self.their_tsn) < 1 << 31 {
                    self.their_tsn = tsn;
                }
            }
            packets.push(packet);
            assert!(packets.len() < 10_000, "a turn has an end");
        }
        packets
    }

    fn read(&mut self) {
        let mut count = 0;
        while let Some(received) = self.channels.read(self.now) {
            count += 1;
            assert!(count < 10_000, "reading has an end");
            match received {
                Received::Message { bytes, .. } => {
                    assert!(bytes.len() <= CHANNEL_MESSAGE_BYTES_MAX as usize);
                    self.channels.passed(self.now, bytes.len() as u32, 1, 0);
                }
                Received::Open { .. } => self.opened += 1,
                Received::Closed { .. } => {}
                Received::Ended(_) => {
                    assert!(!self.channels.is_readable(self.now), "nothing comes after the end");
                    assert_eq!(self.channels.poll_timeout(self.now), None);
                }
            }
        }
    }

    fn check(&mut self) {
        assert!(self.channels.waiting_bytes() <= CHANNEL_RELIABLE_BYTES + CHANNEL_MESSAGE_BYTES_MAX as usize);
        let mut drops = ChannelDrops::default();
        self.channels.take_drops(&mut drops);
        // A time to run at that is over is gone once it ran.
        for _ in 0..100 {
            match self.channels.poll_timeout(self.now) {
                Some(due) if due <= self.now => self.wait(Duration::from_millis(1)),
                _ => return,
            }
        }
        panic!("it asks for a time that is over, again and again");
    }
}

/// CRC-32C (RFC 9260 appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}
