//! AES counter mode, eight registers in flight, copy fused.
//! Sketch: 1200 B are 75 blocks of 10 rounds. Two rounds issue per cycle: 375 cycles with one block a register, 190 with two.
#![expect(unsafe_code, reason = "a function compiled for CPU features is entered from code that is not")]

use super::aes::{self, Cm, Counter, FLIGHT, encrypt};
use super::vector::{Block, Vector};
use super::{Aesni, Vaes, Vaes512};
use crate::BLOCK_BYTES;
use crate::schedule::{KeyBytes, ROUND_KEYS_128, ROUND_KEYS_256, RoundKeys};
use crate::text::{GROUP_BYTES, Parts, Text};

/// Blocks that 16 bits count are a mebibyte.
const COUNTED_BYTES: usize = BLOCK_BYTES << 16;

/// An expanded key of either length.
#[derive(Clone)]
pub(crate) struct Ctr<V> {
    unit: V,
    keys: Keys,
}

#[derive(Clone)]
enum Keys {
    Aes128(RoundKeys<ROUND_KEYS_128>),
    Aes256(RoundKeys<ROUND_KEYS_256>),
}

impl<V: Vector> Ctr<V> {
    pub(crate) fn new(unit: V, key: KeyBytes<'_>) -> Self {
        let keys = match key {
            KeyBytes::Aes128(key) => Keys::Aes128(aes::expand(unit.single(), key)),
            KeyBytes::Aes256(key) => Keys::Aes256(aes::expand(unit.single(), key)),
        };
        Self { unit, keys }
    }

    /// Any counts, block by block.
    #[cold]
    #[inline(never)]
    fn apply_slowly(&self, iv: &Block, text: &mut [u8]) {
        let first = u128::from_be_bytes(*iv);
        for (index, bytes) in (0..).zip(text.chunks_mut(BLOCK_BYTES)) {
            let block = first.wrapping_add(index).to_be_bytes();
            for (byte, key) in bytes.iter_mut().zip(self.encrypt_block(&block)) {
                *byte ^= key;
            }
        }
    }

    fn encrypt_block(&self, block: &Block) -> Block {
        fn encrypt_one<const KEYS: usize>(unit: Aesni, keys: &RoundKeys<KEYS>, block: &Block) -> Block {
            let [encrypted] = encrypt(unit, keys, [aes::whitened(unit, keys, unit.load_block(block))]);
            unit.to_bytes(encrypted)
        }
        match &self.keys {
            Keys::Aes128(keys) => encrypt_one(self.unit.single(), keys, block),
            Keys::Aes256(keys) => encrypt_one(self.unit.single(), keys, block),
        }
    }

    #[inline(always)]
    fn apply_parts<const STEP: usize>(&self, iv: &Block, parts: Parts<'_>) {
        match &self.keys {
            Keys::Aes128(keys) => apply::<V, STEP, _>(self.unit, keys, iv, parts),
            Keys::Aes256(keys) => apply::<V, STEP, _>(self.unit, keys, iv, parts),
        }
    }
}

/// Whether the counts of a text of so many bytes fit the zero bits that `iv` ends in: always in SRTP.
#[inline(always)]
fn is_counted(iv: &Block, text_bytes: usize) -> bool {
    let [.., high, low] = *iv;
    [high, low] == [0, 0] && text_bytes <= COUNTED_BYTES
}

/// The entry for unit `$unit` with CPU features `$features`.
macro_rules! entry {
    ($unit:ident, $features:literal) => {
        impl Ctr<$unit> {
            /// Xors the key stream from counter block `iv` on onto `text`.
            pub(crate) fn apply(&self, iv: &Block, text: Text<'_>) {
                #[target_feature(enable = $features)]
                fn enter(ctr: &Ctr<$unit>, iv: &Block, parts: Parts<'_>) {
                    ctr.apply_parts::<{ FLIGHT * $unit::BLOCKS }>(iv, parts);
                }
                if !is_counted(iv, text.len()) {
                    return self.apply_slowly(iv, text.gathered());
                }
                // SAFETY: `enter` needs the features that the token in `self.unit` proves.
                unsafe { enter(self, iv, text.parts()) }
            }

            /// As [`Self::apply`], from `source` to `room`, which is as long: the packets without a prefix are most, and half of the
            /// code and of its variables is not for them.
            #[inline]
            pub(crate) fn apply_apart(&self, iv: &Block, source: &[u8], room: &mut [u8]) {
                #[target_feature(enable = $features)]
                fn enter(ctr: &Ctr<$unit>, iv: &Block, source: &[u8], room: &mut [u8]) {
                    ctr.apply_parts::<{ FLIGHT * $unit::BLOCKS }>(iv, (&mut [], source, room));
                }
                if !is_counted(iv, room.len()) {
                    return self.apply_slowly(iv, Text::apart(&[], source, room).gathered());
                }
                // SAFETY: `enter` needs the features that the token in `self.unit` proves.
                unsafe { enter(self, iv, source, room) }
            }
        }
    };
}

entry!(Aesni, "aes,pclmulqdq,sse4.1,ssse3");
entry!(Vaes, "aes,pclmulqdq,sse4.1,ssse3,avx2,vaes,vpclmulqdq");
entry!(Vaes512, "aes,pclmulqdq,sse4.1,ssse3,avx2,vaes,vpclmulqdq,avx512f,avx512bw,avx512vl,bmi2");

/// `STEP` is the blocks of `FLIGHT` registers.
#[inline(always)]
fn apply<V: Vector, const STEP: usize, const KEYS: usize>(
    unit: V,
    keys: &RoundKeys<KEYS>,
    iv: &Block,
    (filled, rest, room): Parts<'_>,
) {
    const { assert!(STEP == FLIGHT * V::BLOCKS && GROUP_BYTES.is_multiple_of(STEP * BLOCK_BYTES)) };
    let counter = Counter::<V, Cm>::new(unit, keys, unit.single().load_block(iv));
    let mut at = 0;
    let (in_place, filled_tail) = steps_mut::<STEP>(filled);
    for step in in_place {
        transform(unit, None, step, encrypt(unit, keys, counter.blocks(at)));
        at += STEP;
    }
    let (sources, rest_tail) = steps::<STEP>(rest);
    let (apart, room_tail) = steps_mut::<STEP>(room);
    for (source, step) in sources.iter().zip(apart) {
        transform(unit, Some(source), step, encrypt(unit, keys, counter.blocks(at)));
        at += STEP;
    }
    // One of the tails is empty: `Text` cuts on the grid of groups.
    if filled_tail.is_empty() {
        finish(unit, keys, &counter, at, Some(rest_tail), room_tail);
    } else {
        finish(unit, keys, &counter, at, None, filled_tail);
    }
}

/// Transforms the last bytes, fewer than a step, from `source` or where they lie, with as many registers as they need.
#[inline(always)]
fn finish<V: Vector, const KEYS: usize>(
    unit: V,
    keys: &RoundKeys<KEYS>,
    counter: &Counter<V, Cm>,
    at: usize,
    source: Option<&[u8]>,
    tail: &mut [u8],
) {
    const { assert!(FLIGHT == 8, "as many arms as registers") };
    match tail.len().div_ceil(V::BLOCKS * BLOCK_BYTES) {
        0 => {}
        1 => finish_with::<V, 1, KEYS>(unit, keys, counter, at, source, tail),
        2 => finish_with::<V, 2, KEYS>(unit, keys, counter, at, source, tail),
        3 => finish_with::<V, 3, KEYS>(unit, keys, counter, at, source, tail),
        4 => finish_with::<V, 4, KEYS>(unit, keys, counter, at, source, tail),
        5 => finish_with::<V, 5, KEYS>(unit, keys, counter, at, source, tail),
        6 => finish_with::<V, 6, KEYS>(unit, keys, counter, at, source, tail),
        7 => finish_with::<V, 7, KEYS>(unit, keys, counter, at, source, tail),
        _ => finish_with::<V, 8, KEYS>(unit, keys, counter, at, source, tail),
    }
}

#[inline(always)]
fn finish_with<V: Vector, const N: usize, const KEYS: usize>(
    unit: V,
    keys: &RoundKeys<KEYS>,
    counter: &Counter<V, Cm>,
    at: usize,
    source: Option<&[u8]>,
    tail: &mut [u8],
) {
    let keystream: [_; N] = encrypt(unit, keys, counter.blocks(at));
    // All registers are full but perhaps the last.
    let (full, part) = tail.split_at_mut((N - 1) * V::BLOCKS * BLOCK_BYTES);
    let (source, source_part) = match source {
        Some(source) => {
            let (full, part) = source.split_at(full.len());
            (Some(full), Some(part))
        }
        None => (None, None),
    };
    let full = full.as_chunks_mut().0;
    for index in 0..N - 1 {
        let room = &mut full[index * V::BLOCKS..];
        let text = match source {
            Some(source) => unit.load(&source.as_chunks().0[index * V::BLOCKS..]),
            None => unit.load(room),
        };
        unit.store(room, unit.xor(text, keystream[index]));
    }
    let text = unit.load_bytes(source_part.unwrap_or(part));
    unit.store_bytes(part, unit.xor(text, keystream[N - 1]));
}

/// Xors `keystream` onto the text of `source`, or of `step` itself, into `step`.
#[inline(always)]
pub(super) fn transform<V: Vector, const STEP: usize>(
    unit: V,
    source: Option<&[Block; STEP]>,
    step: &mut [Block; STEP],
    keystream: [V::Register; FLIGHT],
) {
    for (index, keystream) in keystream.into_iter().enumerate() {
        let room = &mut step[index * V::BLOCKS..];
        let text = match source {
            Some(source) => unit.load(&source[index * V::BLOCKS..]),
            None => unit.load(room),
        };
        unit.store(room, unit.xor(text, keystream));
    }
}

/// `bytes` as whole steps of blocks, and fewer bytes than a step behind them.
#[inline(always)]
pub(super) fn steps<const STEP: usize>(bytes: &[u8]) -> (&[[Block; STEP]], &[u8]) {
    let (whole, tail) = bytes.split_at(bytes.len() - bytes.len() % (STEP * BLOCK_BYTES));
    (whole.as_chunks().0.as_chunks().0, tail)
}

/// As [`steps`], to write to.
#[inline(always)]
pub(super) fn steps_mut<const STEP: usize>(bytes: &mut [u8]) -> (&mut [[Block; STEP]], &mut [u8]) {
    let (whole, tail) = bytes.split_at_mut(bytes.len() - bytes.len() % (STEP * BLOCK_BYTES));
    (whole.as_chunks_mut().0.as_chunks_mut().0, tail)
}
