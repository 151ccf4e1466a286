//! AES counter mode, eight registers in flight, copy fused.
//! Sketch: 1200 B are 75 blocks of 10 rounds. Two rounds issue per cycle: 375 cycles with one block a register, 190 with two.
#![expect(unsafe_code, reason = "a function compiled for CPU features is entered from code that is not")]

use super::aes::{self, Counter, FLIGHT, encrypt};
use super::vector::{Block, Vector};
use super::{Aesni, Vaes};
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

/// `STEP` is the blocks of `FLIGHT` registers.
#[inline(always)]
fn apply<V: Vector, const STEP: usize, const KEYS: usize>(
    unit: V,
    keys: &RoundKeys<KEYS>,
    iv: &Block,
    text: Text<'_>,
) {
    const { assert!(STEP == FLIGHT * V::BLOCKS && GROUP_BYTES.is_multiple_of(STEP * BLOCK_BYTES)) };
    let mut counter = Counter::new(iv);
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
    room_tail.copy_from_slice(rest_tail);
    // One of the tails is empty: `Text` cuts on the grid of groups.
    let tail = if filled_tail.is_empty() { room_tail } else { filled_tail };
    if !tail.is_empty() {
        let keystream: [_; FLIGHT] = encrypt(unit, keys, counter.blocks(unit));
        let mut bytes = [[0; BLOCK_BYTES]; STEP];
        for (blocks, keystream) in bytes.chunks_exact_mut(V::BLOCKS).zip(keystream) {
            unit.store(blocks, keystream);
        }
        for (byte, key) in tail.iter_mut().zip(bytes.as_flattened()) {
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
