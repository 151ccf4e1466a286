//! AES counter mode, eight registers in flight, copy fused.
//! Sketch: 1200 B are 75 blocks of 10 rounds. Two rounds issue per cycle: 375 cycles with one block a register, 190 with two.
#![expect(unsafe_code, reason = "a function compiled for CPU features is entered from code that is not")]

use super::aes::{self, Counter, FLIGHT, encrypt};
use super::vector::{Block, Vector};
use super::{Aesni, Vaes, Vaes512};
use crate::BLOCK_BYTES;
use crate::schedule::{KeyBytes, ROUND_KEYS_128, ROUND_KEYS_256, RoundKeys};
use crate::text::{GROUP_BYTES, Text};

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

    #[inline(always)]
    fn apply_text<const STEP: usize>(&self, iv: &Block, text: Text<'_>) {
        match &self.keys {
            Keys::Aes128(keys) => apply::<V, STEP, _>(self.unit, keys, iv, text),
            Keys::Aes256(keys) => apply::<V, STEP, _>(self.unit, keys, iv, text),
        }
    }
}

/// The entry for unit `$unit` with CPU features `$features`.
macro_rules! entry {
    ($unit:ident, $features:literal) => {
        impl Ctr<$unit> {
            /// Xors the key stream from counter block `iv` on onto `text`.
            pub(crate) fn apply(&self, iv: &Block, text: Text<'_>) {
                #[target_feature(enable = $features)]
                fn enter(ctr: &Ctr<$unit>, iv: &Block, text: Text<'_>) {
                    ctr.apply_text::<{ FLIGHT * $unit::BLOCKS }>(iv, text);
                }
                // SAFETY: `enter` needs the features that the token in `self.unit` proves.
                unsafe { enter(self, iv, text) }
            }
        }
    };
}

entry!(Aesni, "aes,pclmulqdq,sse4.1,ssse3");
entry!(Vaes, "aes,pclmulqdq,sse4.1,ssse3,avx2,vaes,vpclmulqdq");
entry!(Vaes512, "aes,pclmulqdq,sse4.1,ssse3,avx2,vaes,vpclmulqdq,avx512f,avx512bw,avx512vl");

/// `STEP` is the blocks of `FLIGHT` registers.
#[inline(always)]
fn apply<V: Vector, const STEP: usize, const KEYS: usize>(
    unit: V,
    keys: &RoundKeys<KEYS>,
    iv: &Block,
    text: Text<'_>,
) {
    const { assert!(STEP == FLIGHT * V::BLOCKS && GROUP_BYTES.is_multiple_of(STEP * BLOCK_BYTES)) };
    let first = u128::from_be_bytes(*iv);
    let Some(mut counter) = Counter::new(first, text.len().div_ceil(BLOCK_BYTES)) else {
        return apply_wrapping(unit.single(), keys, first, text.gathered());
    };
    let (filled, rest, room) = text.parts();

    let (in_place, filled_tail) = steps_mut::<STEP>(filled);
    for step in in_place {
        let keystream: [_; FLIGHT] = encrypt(unit, keys, counter.blocks(unit));
        for (blocks, keystream) in step.chunks_exact_mut(V::BLOCKS).zip(keystream) {
            let text = unit.load(blocks);
            unit.store(blocks, unit.xor(text, keystream));
        }
    }
    let (sources, rest_tail) = steps::<STEP>(rest);
    let (apart, room_tail) = steps_mut::<STEP>(room);
    for (source, step) in sources.iter().zip(apart) {
        let keystream: [_; FLIGHT] = encrypt(unit, keys, counter.blocks(unit));
        let blocks = source.chunks_exact(V::BLOCKS).zip(step.chunks_exact_mut(V::BLOCKS));
        for ((source, blocks), keystream) in blocks.zip(keystream) {
            unit.store(blocks, unit.xor(unit.load(source), keystream));
        }
    }
    // One of the tails is empty: `Text` cuts on the grid of groups.
    if filled_tail.is_empty() {
        finish(unit, keys, counter, Some(rest_tail), room_tail);
    } else {
        finish(unit, keys, counter, None, filled_tail);
    }
}

/// Transforms the last bytes, fewer than a step, from `source` or where they lie, with as many registers as they need.
#[inline(always)]
fn finish<V: Vector, const KEYS: usize>(
    unit: V,
    keys: &RoundKeys<KEYS>,
    counter: Counter,
    source: Option<&[u8]>,
    tail: &mut [u8],
) {
    const { assert!(FLIGHT == 8, "as many arms as registers") };
    match tail.len().div_ceil(V::BLOCKS * BLOCK_BYTES) {
        0 => {}
        1 => finish_with::<V, 1, KEYS>(unit, keys, counter, source, tail),
        2 => finish_with::<V, 2, KEYS>(unit, keys, counter, source, tail),
        3 => finish_with::<V, 3, KEYS>(unit, keys, counter, source, tail),
        4 => finish_with::<V, 4, KEYS>(unit, keys, counter, source, tail),
        5 => finish_with::<V, 5, KEYS>(unit, keys, counter, source, tail),
        6 => finish_with::<V, 6, KEYS>(unit, keys, counter, source, tail),
        7 => finish_with::<V, 7, KEYS>(unit, keys, counter, source, tail),
        _ => finish_with::<V, 8, KEYS>(unit, keys, counter, source, tail),
    }
}

#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "an iterator over registers would keep them in memory")]
fn finish_with<V: Vector, const N: usize, const KEYS: usize>(
    unit: V,
    keys: &RoundKeys<KEYS>,
    mut counter: Counter,
    source: Option<&[u8]>,
    tail: &mut [u8],
) {
    let keystream: [_; N] = encrypt(unit, keys, counter.blocks(unit));
    let (whole, part) = tail.split_at_mut(tail.len() - tail.len() % (V::BLOCKS * BLOCK_BYTES));
    let (source, source_part) = match source {
        Some(source) => {
            let (whole, part) = source.split_at(whole.len());
            (Some(whole), Some(part))
        }
        None => (None, None),
    };
    let whole = whole.as_chunks_mut().0;
    for index in 0..N {
        let Some(room) = whole.get_mut(index * V::BLOCKS..(index + 1) * V::BLOCKS) else { break };
        let text = match source {
            Some(source) => unit.load(&source.as_chunks().0[index * V::BLOCKS..]),
            None => unit.load(room),
        };
        unit.store(room, unit.xor(text, keystream[index]));
    }
    if !part.is_empty() {
        let text = unit.load_bytes(source_part.unwrap_or(part));
        unit.store_bytes(part, unit.xor(text, keystream[N - 1]));
    }
}

/// Where the low half of the counter wraps, block by block: rare, and never in SRTP, whose IV ends in 16 zero bits.
#[cold]
#[inline(never)]
fn apply_wrapping<const KEYS: usize>(unit: Aesni, keys: &RoundKeys<KEYS>, first: u128, text: &mut [u8]) {
    for (index, bytes) in (0..).zip(text.chunks_mut(BLOCK_BYTES)) {
        let block = first.wrapping_add(index).to_be_bytes();
        let [keystream] = encrypt(unit, keys, [unit.splat(&block)]);
        for (byte, key) in bytes.iter_mut().zip(unit.to_bytes(keystream)) {
            *byte ^= key;
        }
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
