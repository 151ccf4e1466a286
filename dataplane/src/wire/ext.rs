//! RTP header extension elements, one-byte and two-byte form (RFC 8285).
//!
//! Path: read on every received packet (audio level, transport-wide sequence, mid, rid), written on every sent one.
//! Promises: reading is zero-copy and stops at the first element that contradicts the block's length; writing chooses the
//! one-byte form unless an identifier or a value needs the other.

use super::NoSpace;
use crate::base::ids::{Label, Seq};
use crate::base::time::Micros;

/// "Defined by profile" value of a block of one-byte elements.
pub const PROFILE_ONE_BYTE: u16 = 0xbede;
/// The same for two-byte elements; the low four bits are the application's.
pub const PROFILE_TWO_BYTE: u16 = 0x1000;

/// One element: identifier 1 to 14 (one-byte form) or 1 to 255 (two-byte form), value of 0 to 255 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Element<'a> {
    /// Identifier as negotiated by `a=extmap`.
    pub id: u8,
    /// The value's bytes.
    pub value: &'a [u8],
}

/// Iterator over the elements of one extension block.
#[derive(Clone, Copy, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
    form: Form,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    OneByte,
    TwoByte,
}

impl<'a> Elements<'a> {
    /// Reads a block: `profile` is its first 16 bits, `data` what follows the length field. A profile that RFC 8285 does
    /// not define has no elements.
    #[must_use]
    pub const fn new(profile: u16, data: &'a [u8]) -> Self {
        match profile {
            PROFILE_ONE_BYTE => Self { rest: data, form: Form::OneByte },
            _ if profile & 0xfff0 == PROFILE_TWO_BYTE => Self { rest: data, form: Form::TwoByte },
            _ => Self { rest: &[], form: Form::OneByte },
        }
    }

    /// The value of the first element with this identifier.
    #[must_use]
    pub fn find(mut self, id: u8) -> Option<&'a [u8]> {
        self.find_map(|element| (element.id == id).then_some(element.value))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        while let [0, rest @ ..] = self.rest {
            self.rest = rest;
        }
        let (id, bytes, after) = match (self.form, self.rest) {
            // 15 is reserved and 0 with a length is no padding: both end the block (RFC 8285 section 4.2).
            (Form::OneByte, [head, after @ ..]) if !matches!(head >> 4, 0 | 15) => {
                (head >> 4, usize::from(head & 15) + 1, after)
            }
            (Form::TwoByte, [id, bytes, after @ ..]) => (*id, usize::from(*bytes), after),
            _ => {
                self.rest = &[];
                return None;
            }
        };
        let Some((value, rest)) = after.split_at_checked(bytes) else {
            self.rest = &[];
            return None;
        };
        self.rest = rest;
        Some(Element { id, value })
    }
}

/// Writes a whole extension block (profile, length, elements, padding) and answers its bytes: 0 when there are no elements.
/// The block is a multiple of four bytes.
///
/// # Errors
/// [`NoSpace`] when `out` is too small, or when an identifier of 0 or a value over 255 bytes makes the block unwritable.
pub fn write_block(elements: &[Element<'_>], out: &mut [u8]) -> Result<usize, NoSpace> {
    if elements.is_empty() {
        return Ok(0);
    }
    let one_byte = elements.iter().all(|e| (1..=14).contains(&e.id) && (1..=16).contains(&e.value.len()));
    let mut at = 4;
    for element in elements {
        let bytes = element.value.len();
        let head = if one_byte { 1 } else { 2 };
        if element.id == 0 || bytes > 255 {
            return Err(NoSpace);
        }
        let slot = out.get_mut(at..at + head + bytes).ok_or(NoSpace)?;
        if one_byte {
            slot[0] = element.id << 4 | (bytes as u8 - 1);
        } else {
            slot[0] = element.id;
            slot[1] = bytes as u8;
        }
        slot[head..].copy_from_slice(element.value);
        at += head + bytes;
    }
    let end = at.next_multiple_of(4);
    out.get_mut(at..end).ok_or(NoSpace)?.fill(0);
    let words = u16::try_from(end / 4 - 1).map_err(|_| NoSpace)?;
    let profile = if one_byte { PROFILE_ONE_BYTE } else { PROFILE_TWO_BYTE };
    out[..2].copy_from_slice(&profile.to_be_bytes());
    out[2..4].copy_from_slice(&words.to_be_bytes());
    Ok(end)
}

/// Audio level of one packet (RFC 6464): 0 is loudest, 127 silence, in -dBov.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AudioLevel {
    /// Whether the encoder believes the packet holds voice.
    pub voice: bool,
    /// Level, 0 to 127.
    pub level: u8,
}

impl AudioLevel {
    /// Reads the element's value; bytes after the first are ignored (the two-byte form pads).
    #[must_use]
    pub const fn parse(value: &[u8]) -> Option<Self> {
        match *value {
            [byte, ..] => Some(Self { voice: byte & 0x80 != 0, level: byte & 0x7f }),
            [] => None,
        }
    }

    /// The element's value.
    #[must_use]
    pub const fn to_value(self) -> [u8; 1] {
        [(self.voice as u8) << 7 | (self.level & 0x7f)]
    }
}

/// Reads a transport-wide sequence number; the second version's extra bytes are ignored.
#[must_use]
pub const fn parse_transport_cc(value: &[u8]) -> Option<Seq> {
    match value {
        [high, low, ..] => Some(Seq(u16::from_be_bytes([*high, *low]))),
        _ => None,
    }
}

/// The value of a transport-wide sequence number element.
#[must_use]
pub const fn transport_cc_value(seq: Seq) -> [u8; 2] {
    seq.0.to_be_bytes()
}

/// Absolute send time: seconds modulo 64 as 6.18 fixed point in 24 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AbsSendTime(pub u32);

impl AbsSendTime {
    /// The send time of a packet leaving at `now`.
    #[must_use]
    pub const fn at(now: Micros) -> Self {
        // 64 s is 2^24 units: reduce first, so that the shift by 18 stays within 64 bits.
        Self((((now.0 % 64_000_000) << 18) / 1_000_000) as u32)
    }

    /// Reads the element's value.
    #[must_use]
    pub const fn parse(value: &[u8]) -> Option<Self> {
        match value {
            [a, b, c, ..] => Some(Self(u32::from_be_bytes([0, *a, *b, *c]))),
            _ => None,
        }
    }

    /// The element's value.
    #[must_use]
    pub const fn to_value(self) -> [u8; 3] {
        let [_, a, b, c] = self.0.to_be_bytes();
        [a, b, c]
    }
}

/// Reads a mid, rid or repaired rid (RFC 8843 section 15, RFC 8852). Zero padding, which some senders of the two-byte form
/// add, is not part of the label.
#[must_use]
pub fn parse_label(value: &[u8]) -> Option<Label> {
    let end = value.iter().position(|&byte| byte == 0).unwrap_or(value.len());
    Label::new(&value[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    fn read(block: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let profile = u16::from_be_bytes([block[0], block[1]]);
        let words = usize::from(u16::from_be_bytes([block[2], block[3]]));
        assert_eq!(block.len(), 4 + 4 * words);
        Elements::new(profile, &block[4..]).map(|e| (e.id, e.value.to_vec())).collect()
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let mut rng = Rng::new(1);
        for _ in 0..2_000 {
            let values: Vec<(u8, Vec<u8>)> = (0..1 + rng.below(6))
                .map(|_| {
                    let wide = rng.chance_ppm(50_000);
                    let id = 1 + rng.below(if wide { 255 } else { 14 }) as u8;
                    let bytes = if wide { rng.below(40) } else { 1 + rng.below(16) };
                    (id, (0..bytes).map(|_| rng.next_u64() as u8).collect())
                })
                .collect();
            let elements: Vec<_> = values.iter().map(|(id, value)| Element { id: *id, value }).collect();
            let mut out = [0xaa; 512];
            let bytes = write_block(&elements, &mut out).expect("512 bytes hold six small elements");
            assert_eq!(read(&out[..bytes]), values);
            for short in 0..bytes {
                assert_eq!(write_block(&elements, &mut vec![0; short]), Err(NoSpace));
            }
        }
    }

    #[test]
    fn the_one_byte_form_is_chosen_when_it_fits() {
        let mut out = [0; 64];
        write_block(&[Element { id: 14, value: &[1; 16] }], &mut out).expect("fits");
        assert_eq!(&out[..2], &[0xbe, 0xde]);
        for element in [
            Element { id: 15, value: &[1] },
            Element { id: 1, value: &[] },
            Element { id: 1, value: &[1; 17] },
        ] {
            write_block(&[element], &mut out).expect("fits");
            assert_eq!(&out[..2], &[0x10, 0x00]);
        }
        assert_eq!(write_block(&[], &mut []), Ok(0));
        assert_eq!(write_block(&[Element { id: 0, value: &[1] }], &mut out), Err(NoSpace));
    }

    #[test]
    fn one_byte_blocks_skip_padding_and_end_at_15() {
        // RFC 8285 section 4.2 with padding between the elements, then a reserved identifier.
        let data = [0x10, 0xaa, 0x00, 0x21, 0xbb, 0xcc, 0x00, 0xf0, 0x30, 0xdd];
        let elements: Vec<_> = Elements::new(PROFILE_ONE_BYTE, &data).collect();
        assert_eq!(elements, [Element { id: 1, value: &[0xaa] }, Element { id: 2, value: &[0xbb, 0xcc] }]);
        assert_eq!(Elements::new(PROFILE_ONE_BYTE, &data).find(2), Some(&[0xbb, 0xcc][..]));
        assert_eq!(Elements::new(0x4242, &data).count(), 0);
    }

    #[test]
    fn an_element_longer_than_its_block_ends_the_reading() {
        for length in 0..=16 {
            let data = [0x1f; 17];
            assert_eq!(Elements::new(PROFILE_ONE_BYTE, &data[..length]).count(), 0);
            assert_eq!(Elements::new(PROFILE_TWO_BYTE, &data[..length]).count(), 0);
        }
        assert_eq!(Elements::new(PROFILE_TWO_BYTE + 5, &[7, 0, 9]).count(), 1);
    }

    #[test]
    fn random_blocks_never_yield_bytes_beyond_themselves() {
        let mut rng = Rng::new(2);
        for _ in 0..20_000 {
            let data: Vec<u8> = (0..rng.below(40)).map(|_| rng.next_u64() as u8).collect();
            for profile in [PROFILE_ONE_BYTE, PROFILE_TWO_BYTE] {
                let total: usize = Elements::new(profile, &data).map(|e| e.value.len() + 1).sum();
                assert!(total <= data.len());
            }
        }
    }

    #[test]
    fn values_survive_their_bytes() {
        let level = AudioLevel { voice: true, level: 42 };
        assert_eq!(AudioLevel::parse(&level.to_value()), Some(level));
        assert_eq!(AudioLevel::parse(&[]), None);
        assert_eq!(parse_transport_cc(&transport_cc_value(Seq(0xabcd))), Some(Seq(0xabcd)));
        assert_eq!(parse_transport_cc(&[1]), None);
        let time = AbsSendTime::at(Micros(63_999_999));
        assert_eq!(AbsSendTime::parse(&time.to_value()), Some(time));
        assert!(time.0 < 1 << 24);
        assert_eq!(AbsSendTime::at(Micros(64_500_000)).0, 1 << 17, "half a second after the wrap");
        assert_eq!(parse_label(b"hi\0\0").map(|l| l.as_str().to_owned()), Some("hi".to_owned()));
        assert!(parse_label(b"\0").is_none());
    }
}
