//! Where a store is in its history: the last group of writes it holds, and what everything it holds adds up to.
//!
//! A history begins with a base (a backup, empty for a new store) and goes on in the journal. The tag chains groups, so that a
//! missing one is noticed; the sum tells a store that lost or kept something it should not have. Written with every group.

use aws_lc_rs::{digest, rand};

use super::StoreError;
use super::seal::TAG_BYTES;

/// Bytes of an encoded place.
pub(super) const PLACE_BYTES: usize = 8 + 8 + TAG_BYTES;

/// The last group of a history that somebody has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// Which history.
    pub(super) history: u64,
    /// Its groups so far.
    pub(super) seq: u64,
    /// The authentication tag of the last one; zero before the first.
    pub(super) tag: [u8; TAG_BYTES],
}

impl Place {
    /// The beginning of a new history.
    pub(super) fn begin() -> Result<Self, StoreError> {
        let mut history = [0; 8];
        rand::fill(&mut history).map_err(|_| StoreError::NoRandomness)?;
        Ok(Self { history: u64::from_be_bytes(history), seq: 0, tag: [0; TAG_BYTES] })
    }

    pub(super) fn encode(&self) -> [u8; PLACE_BYTES] {
        let mut bytes = [0; PLACE_BYTES];
        bytes[..8].copy_from_slice(&self.history.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.seq.to_be_bytes());
        bytes[16..].copy_from_slice(&self.tag);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; PLACE_BYTES] = bytes.try_into().ok()?;
        let (history, rest) = bytes.split_first_chunk::<8>()?;
        let (seq, rest) = rest.split_first_chunk::<8>()?;
        Some(Self {
            history: u64::from_be_bytes(*history),
            seq: u64::from_be_bytes(*seq),
            tag: rest.try_into().ok()?,
        })
    }
}

/// What the entries of a store add up to, in any order: the sum of 128 bits of each one's SHA-256, modulo 2^128.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Sum(u128);

impl Sum {
    /// Takes an entry in. The end of a sealed value is its tag, which stands for all of it.
    pub(super) fn add(&mut self, place: &[u8], sealed: &[u8]) {
        self.0 = self.0.wrapping_add(weight(place, sealed));
    }

    /// Takes an entry out.
    pub(super) fn subtract(&mut self, place: &[u8], sealed: &[u8]) {
        self.0 = self.0.wrapping_sub(weight(place, sealed));
    }

    pub(super) const fn encode(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self(u128::from_be_bytes(bytes.try_into().ok()?)))
    }
}

fn weight(place: &[u8], sealed: &[u8]) -> u128 {
    let tag = &sealed[sealed.len().saturating_sub(TAG_BYTES)..];
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(place);
    context.update(tag);
    let hash = context.finish();
    hash.as_ref().iter().take(16).fold(0, |sum, byte| sum << 8 | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back() {
        let place = Place { history: 7, seq: 9, tag: [3; TAG_BYTES] };
        assert_eq!(Place::decode(&place.encode()), Some(place));
        assert_eq!(Place::decode(&place.encode()[1..]), None);
    }

    #[test]
    fn a_sum_depends_on_what_is_there_and_not_on_the_way_there() {
        let (mut one, mut other) = (Sum::default(), Sum::default());
        one.add(b"a", b"1");
        one.add(b"b", b"2");
        other.add(b"b", b"2");
        other.add(b"a", b"3");
        assert_ne!(one, other);
        other.subtract(b"a", b"3");
        other.add(b"a", b"1");
        assert_eq!(one, other);
        assert_eq!(Sum::decode(&one.encode()), Some(one));
    }
}
