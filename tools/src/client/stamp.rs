//! What every synthetic payload carries: who sent it, in which room, which packet of which frame it is, and when it left.
//!
//! Path: written by `source` into each packet before it is sealed, read by `receiver` after it was opened. It lets a test say
//! "nobody hears a foreign room", judge whether what arrived can be decoded, and measure delay without a side channel.
//! Promises: 56 bytes, then a fill that follows from them, so that a forwarder that mixes, shifts or truncates payloads is
//! caught although each packet authenticates. Not here: codec descriptors, which precede the stamp.

use dataplane::base::time::Micros;

/// Bytes of a stamp: the smallest synthetic payload.
pub const STAMP_BYTES: usize = 56;
/// What the check covers: everything in front of it.
const CHECK_AT: usize = 48;

const MAGIC: u32 = 0x6b61_6967;

/// The identity of one synthetic packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stamp {
    /// The room of the publisher, a number the test chose.
    pub room: u64,
    /// The publisher, a number the test chose.
    pub publisher: u32,
    /// The track, a number the test chose.
    pub track: u32,
    /// Frame number, from 0; all layers of one moment share it.
    pub frame: u32,
    /// Packet of the frame, from 0.
    pub packet: u16,
    /// Packets of the frame.
    pub packet_count: u16,
    /// Simulcast layer, 0 is the lowest.
    pub layer: u8,
    /// Whether the frame is a keyframe, or of a higher spatial layer of one.
    pub keyframe: bool,
    /// Spatial layer within the encoding; 0 without SVC.
    pub spatial: u8,
    /// Temporal layer; 0 without temporal layers.
    pub temporal: u8,
    /// The frame refers to the spatial layer below it in the same picture.
    pub inter_layer: bool,
    /// The earlier frames of its encoding and spatial layer that it refers to: how many frame numbers back; 0 is none.
    pub refers: [u16; 2],
    /// When the packet first left the client.
    pub sent: Micros,
}

/// Why a payload is not an intact synthetic one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StampError {
    /// No stamp where one should be: another sender, or the payload begins elsewhere.
    Missing,
    /// The stamp is there but the stamp or its fill was changed, or bytes are missing.
    Corrupt,
}

impl Stamp {
    /// Fills all of `payload`, at least [`STAMP_BYTES`], with the stamp and its fill.
    ///
    /// # Panics
    /// When `payload` is shorter than a stamp: the caller chose the size.
    pub fn write(&self, payload: &mut [u8]) {
        let bytes = payload.len();
        let (head, fill) = payload.split_at_mut(STAMP_BYTES);
        head[..4].copy_from_slice(&MAGIC.to_be_bytes());
        head[4..12].copy_from_slice(&self.room.to_be_bytes());
        head[12..16].copy_from_slice(&self.publisher.to_be_bytes());
        head[16..20].copy_from_slice(&self.track.to_be_bytes());
        head[20..24].copy_from_slice(&self.frame.to_be_bytes());
        head[24..26].copy_from_slice(&self.packet.to_be_bytes());
        head[26..28].copy_from_slice(&self.packet_count.to_be_bytes());
        head[28] = self.layer;
        head[29] = u8::from(self.keyframe) | u8::from(self.inter_layer) << 1;
        head[30..32].copy_from_slice(&(bytes as u16).to_be_bytes());
        head[32..40].copy_from_slice(&self.sent.0.to_be_bytes());
        head[40] = self.spatial;
        head[41] = self.temporal;
        head[42..44].fill(0);
        head[44..46].copy_from_slice(&self.refers[0].to_be_bytes());
        head[46..48].copy_from_slice(&self.refers[1].to_be_bytes());
        let check = digest(&head[..CHECK_AT]);
        head[CHECK_AT..].copy_from_slice(&check.to_be_bytes());
        let (words, rest) = fill.as_chunks_mut::<8>();
        for (index, word) in words.iter_mut().enumerate() {
            *word = fill_word(check, index);
        }
        let last = fill_word(check, words.len());
        rest.copy_from_slice(&last[..rest.len()]);
    }

    /// Reads and checks a whole payload: stamp, length and fill.
    ///
    /// # Errors
    /// [`StampError`] says whether there is no stamp or a damaged one.
    pub fn read(payload: &[u8]) -> Result<Self, StampError> {
        let (head, fill) = payload.split_first_chunk::<STAMP_BYTES>().ok_or(StampError::Missing)?;
        if u32::from_be_bytes(array(head, 0)) != MAGIC {
            return Err(StampError::Missing);
        }
        let check = digest(&head[..CHECK_AT]);
        let bytes = u16::from_be_bytes(array(head, 30));
        if check != u64::from_be_bytes(array(head, CHECK_AT)) || usize::from(bytes) != payload.len() {
            return Err(StampError::Corrupt);
        }
        let (words, rest) = fill.as_chunks::<8>();
        // Every word is looked at: a loop without an exit can be vectorised.
        let difference = words.iter().enumerate().fold(0, |difference, (index, word)| {
            difference | (u64::from_ne_bytes(*word) ^ u64::from_ne_bytes(fill_word(check, index)))
        });
        if difference != 0 || *rest != fill_word(check, words.len())[..rest.len()] {
            return Err(StampError::Corrupt);
        }
        Ok(Self {
            room: u64::from_be_bytes(array(head, 4)),
            publisher: u32::from_be_bytes(array(head, 12)),
            track: u32::from_be_bytes(array(head, 16)),
            frame: u32::from_be_bytes(array(head, 20)),
            packet: u16::from_be_bytes(array(head, 24)),
            packet_count: u16::from_be_bytes(array(head, 26)),
            layer: head[28],
            keyframe: head[29] & 1 != 0,
            spatial: head[40],
            temporal: head[41],
            inter_layer: head[29] & 2 != 0,
            refers: [u16::from_be_bytes(array(head, 44)), u16::from_be_bytes(array(head, 46))],
            sent: Micros(u64::from_be_bytes(array(head, 32))),
        })
    }

    /// A hash of what the packet is, without when it left or what its frame refers to, which follows from keyframe requests:
    /// equal in two runs that send the same content at different times.
    #[must_use]
    pub fn content_hash(&self) -> u64 {
        let place = u64::from(self.frame) << 32 | u64::from(self.packet) << 16 | u64::from(self.packet_count);
        let owner = u64::from(self.publisher) << 32 | u64::from(self.track);
        mix(mix(mix(self.room, owner), place), u64::from(self.layer) | u64::from(self.spatial) << 8)
    }
}

/// Folds one word into a running hash; the order of calls counts.
#[must_use]
pub const fn mix(hash: u64, word: u64) -> u64 {
    let mut z = (hash ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Eight bytes of the fill. Little-endian, so that the common machines write and compare it as it is.
const fn fill_word(check: u64, index: usize) -> [u8; 8] {
    check.wrapping_add((index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes()
}

fn digest(bytes: &[u8]) -> u64 {
    bytes.chunks_exact(8).fold(1, |hash, chunk| mix(hash, u64::from_be_bytes(array(chunk, 0))))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp() -> Stamp {
        Stamp {
            room: 0x0102_0304_0506_0708,
            publisher: 7,
            track: 9,
            frame: 70_000,
            packet: 3,
            packet_count: 12,
            layer: 2,
            keyframe: true,
            spatial: 1,
            temporal: 2,
            inter_layer: true,
            refers: [4, 700],
            sent: Micros(1_234_567),
        }
    }

    #[test]
    fn a_stamp_survives_every_payload_size() {
        for bytes in STAMP_BYTES..STAMP_BYTES + 40 {
            let mut payload = vec![0; bytes];
            stamp().write(&mut payload);
            assert_eq!(Stamp::read(&payload), Ok(stamp()), "{bytes} bytes");
        }
    }

    #[test]
    fn a_changed_or_cut_payload_is_caught_at_every_byte() {
        let mut payload = vec![0; 101];
        stamp().write(&mut payload);
        for at in 0..payload.len() {
            let mut changed = payload.clone();
            changed[at] ^= 0x20;
            assert!(Stamp::read(&changed).is_err(), "byte {at}");
            assert!(Stamp::read(&payload[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(Stamp::read(&[0; 100]), Err(StampError::Missing));
    }

    #[test]
    fn the_content_hash_forgets_time_and_nothing_else() {
        let one = stamp();
        let later = Stamp { sent: Micros(99), keyframe: false, ..one };
        assert_eq!(one.content_hash(), later.content_hash());
        for other in [
            Stamp { room: 1, ..one },
            Stamp { publisher: 1, ..one },
            Stamp { track: 1, ..one },
            Stamp { frame: 1, ..one },
            Stamp { packet: 1, ..one },
            Stamp { packet_count: 1, ..one },
            Stamp { layer: 1, ..one },
            Stamp { spatial: 0, ..one },
        ] {
            assert_ne!(one.content_hash(), other.content_hash());
        }
    }
}
