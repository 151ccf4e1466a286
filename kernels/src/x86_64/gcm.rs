//! AES-GCM over any vector width: steps of eight registers; the hash of one step runs between the AES rounds of another, so
//! both units stay busy. Copy fused.
//! Sketch: 1200 B are 75 blocks of 10 rounds and 4 multiplications, two instructions issued per cycle: 525 cycles with one block
//! a register, 265 with two, plus an end of two dependent reductions (about 60).
#![expect(unsafe_code, reason = "a function compiled for CPU features is entered from code that is not")]

use super::aes::{self, Counter, FLIGHT, encrypt};
use super::ctr::{steps, steps_mut};
use super::ghash::{POWERS, Powers, Product};
use super::vector::{Block, Vector};
use super::{Aesni, Vaes};
use crate::BLOCK_BYTES;
use crate::schedule::RoundKeys;
use crate::text::{GROUP_BYTES, Text};
use std::arch::x86_64::__m128i;

/// Round keys and powers of the hash key.
#[derive(Clone)]
pub(crate) struct Gcm<V, const KEYS: usize> {
    unit: V,
    keys: RoundKeys<KEYS>,
    powers: Powers,
}

/// The entries for unit `$unit` with CPU features `$features`.
macro_rules! entries {
    ($unit:ident, $features:literal) => {
        impl<const KEYS: usize> Gcm<$unit, KEYS> {
            pub(crate) fn new<const BYTES: usize>(unit: $unit, key: &[u8; BYTES]) -> Self {
                #[target_feature(enable = $features)]
                fn enter<const KEYS: usize>(unit: Aesni, keys: &RoundKeys<KEYS>) -> Powers {
                    let [hash_key] = encrypt(unit, keys, [unit.zero()]);
                    Powers::new(unit, unit.to_bytes(hash_key))
                }
                let keys = aes::expand(unit.single(), key);
                // SAFETY: `enter` needs the features that the token `unit` proves.
                let powers = unsafe { enter(unit.single(), &keys) };
                Self { unit, keys, powers }
            }

            /// Encrypts and returns the tag.
            pub(crate) fn seal(&self, iv: &[u8; 12], aad: &[u8], text: Text<'_>) -> Block {
                #[target_feature(enable = $features)]
                fn enter<const KEYS: usize>(
                    gcm: &Gcm<$unit, KEYS>,
                    iv: &[u8; 12],
                    aad: &[u8],
                    text: Text<'_>,
                ) -> Block {
                    gcm.seal_text::<{ FLIGHT * $unit::BLOCKS }>(iv, aad, text)
                }
                // SAFETY: `enter` needs the features that the token in `self.unit` proves.
                unsafe { enter(self, iv, aad, text) }
            }

            /// Decrypts and returns the tag that the ciphertext should have had.
            pub(crate) fn open(&self, iv: &[u8; 12], aad: &[u8], text: &mut [u8]) -> Block {
                #[target_feature(enable = $features)]
                fn enter<const KEYS: usize>(
                    gcm: &Gcm<$unit, KEYS>,
                    iv: &[u8; 12],
                    aad: &[u8],
                    text: &mut [u8],
                ) -> Block {
                    gcm.open_text::<{ FLIGHT * $unit::BLOCKS }>(iv, aad, text)
                }
                // SAFETY: `enter` needs the features that the token in `self.unit` proves.
                unsafe { enter(self, iv, aad, text) }
            }
        }
    };
}

entries!(Aesni, "aes,pclmulqdq,sse4.1,ssse3");
entries!(Vaes, "aes,pclmulqdq,sse4.1,ssse3,avx2,vaes,vpclmulqdq");

/// `STEP` is the blocks of `FLIGHT` registers.
impl<V: Vector, const KEYS: usize> Gcm<V, KEYS> {
    #[inline(always)]
    fn seal_text<const STEP: usize>(&self, iv: &[u8; 12], aad: &[u8], text: Text<'_>) -> Block {
        const {
            assert!(STEP == FLIGHT * V::BLOCKS && GROUP_BYTES.is_multiple_of(STEP * BLOCK_BYTES));
            assert!(STEP < POWERS, "the last run is a step and the lengths");
            assert!(FLIGHT <= KEYS - 2, "one register is hashed after each of the first middle rounds");
        }
        let unit = self.unit;
        let lengths = lengths(unit.single(), aad.len(), text.len());
        let mut counter = Counter::new(&first_counter(iv));
        let [mask] = encrypt(unit.single(), &self.keys, counter.blocks(unit.single()));
        let mut sum = self.powers.absorb_bytes(unit.single(), unit.single().zero(), aad);

        let (filled, rest, room) = text.parts();
        let mut sealed: Option<&[Block; STEP]> = None;
        let (in_place, filled_tail) = steps_mut::<STEP>(filled);
        for step in in_place {
            let keystream = self.keystream_and_hash(counter.blocks(unit), &mut sum, sealed);
            for (blocks, keystream) in step.chunks_exact_mut(V::BLOCKS).zip(keystream) {
                let text = unit.load(blocks);
                unit.store(blocks, unit.xor(text, keystream));
            }
            sealed = Some(step);
        }
        let (sources, rest_tail) = steps::<STEP>(rest);
        let (apart, room_tail) = steps_mut::<STEP>(room);
        for (source, step) in sources.iter().zip(apart) {
            let keystream = self.keystream_and_hash(counter.blocks(unit), &mut sum, sealed);
            let blocks = source.chunks_exact(V::BLOCKS).zip(step.chunks_exact_mut(V::BLOCKS));
            for ((source, blocks), keystream) in blocks.zip(keystream) {
                unit.store(blocks, unit.xor(unit.load(source), keystream));
            }
            sealed = Some(step);
        }
        room_tail.copy_from_slice(rest_tail);
        // One of the tails is empty: `Text` cuts on the grid of groups.
        let tail = if filled_tail.is_empty() { room_tail } else { filled_tail };
        let keystream = self.keystream_and_hash(counter.blocks(unit), &mut sum, sealed);
        self.finish::<true>(sum, tail, keystream, mask, lengths)
    }

    #[inline(always)]
    fn open_text<const STEP: usize>(&self, iv: &[u8; 12], aad: &[u8], text: &mut [u8]) -> Block {
        let unit = self.unit;
        let lengths = lengths(unit.single(), aad.len(), text.len());
        let mut counter = Counter::new(&first_counter(iv));
        let [mask] = encrypt(unit.single(), &self.keys, counter.blocks(unit.single()));
        let mut sum = self.powers.absorb_bytes(unit.single(), unit.single().zero(), aad);

        let (in_place, tail) = steps_mut::<STEP>(text);
        for step in in_place {
            let keystream = self.keystream_and_hash(counter.blocks(unit), &mut sum, Some(step));
            for (blocks, keystream) in step.chunks_exact_mut(V::BLOCKS).zip(keystream) {
                let text = unit.load(blocks);
                unit.store(blocks, unit.xor(text, keystream));
            }
        }
        let keystream = encrypt(unit, &self.keys, counter.blocks(unit));
        self.finish::<false>(sum, tail, keystream, mask, lengths)
    }

    /// Encrypts a step of counter blocks while hashing a step of ciphertext into `sum`.
    #[inline(always)]
    fn keystream_and_hash<const STEP: usize>(
        &self,
        mut blocks: [V::Register; FLIGHT],
        sum: &mut __m128i,
        hashed: Option<&[Block; STEP]>,
    ) -> [V::Register; FLIGHT] {
        let unit = self.unit;
        let Some(hashed) = hashed else { return encrypt(unit, &self.keys, blocks) };
        let mut product = Product::zero(unit);
        let mut carried = unit.widen(*sum);
        aes::whiten(unit, &self.keys, &mut blocks);
        for round in 1..KEYS - 1 {
            aes::middle_round(unit, &self.keys, round, &mut blocks);
            if round <= FLIGHT {
                let at = (round - 1) * V::BLOCKS;
                let ciphertext = unit.reverse(unit.load(&hashed[at..]));
                product.add(unit.xor(ciphertext, carried), self.powers.from(unit, STEP - at));
                carried = unit.zero();
            }
        }
        aes::last_round(unit, &self.keys, &mut blocks);
        *sum = product.reduce();
        blocks
    }

    /// Transforms the last bytes, fewer than a step, and closes the hash over them and the lengths. Returns the tag.
    #[inline(always)]
    fn finish<const SEAL: bool>(
        &self,
        sum: __m128i,
        tail: &mut [u8],
        keystream: [V::Register; FLIGHT],
        mask: __m128i,
        lengths: __m128i,
    ) -> Block {
        let (unit, single) = (self.unit, self.unit.single());
        let mut product = Product::zero(unit);
        let mut carried = unit.widen(sum);
        // Each block's power: those behind it, itself, and the lengths.
        let mut power = tail.len().div_ceil(BLOCK_BYTES) + 1;
        let mut keystream = keystream.into_iter();
        let (blocks, last) = tail.split_at_mut(tail.len() - tail.len() % (V::BLOCKS * BLOCK_BYTES));
        for (blocks, keystream) in blocks.as_chunks_mut().0.chunks_exact_mut(V::BLOCKS).zip(&mut keystream) {
            let text = unit.load(blocks);
            let result = unit.xor(text, keystream);
            unit.store(blocks, result);
            let ciphertext = unit.reverse(if SEAL { result } else { text });
            product.add(unit.xor(ciphertext, carried), self.powers.from(unit, power));
            carried = unit.zero();
            power -= V::BLOCKS;
        }
        if let (false, Some(keystream)) = (last.is_empty(), keystream.next()) {
            let mut padded = [[0; BLOCK_BYTES]; FLIGHT];
            padded.as_flattened_mut()[..last.len()].copy_from_slice(last);
            let text = unit.load(&padded);
            unit.store(&mut padded, unit.xor(text, keystream));
            last.copy_from_slice(&padded.as_flattened()[..last.len()]);
            padded.as_flattened_mut()[last.len()..].fill(0);
            let ciphertext = unit.reverse(if SEAL { unit.load(&padded) } else { text });
            // A register's blocks beyond the text are zero, so the powers they meet do not matter.
            product.add(unit.xor(ciphertext, carried), self.powers.from(unit, power));
            carried = unit.zero();
        }
        // The lengths meet H^1, alone in a register's lowest block.
        let last_power = unit.widen(self.powers.from(single, 1));
        product.add(unit.xor(unit.widen(lengths), carried), last_power);
        single.to_bytes(single.xor(single.reverse(product.reduce()), mask))
    }
}

/// Count 1, whose block masks the tag.
#[inline(always)]
fn first_counter(iv: &[u8; 12]) -> Block {
    let mut block = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    block[..12].copy_from_slice(iv);
    block
}

/// The last block of GHASH, reversed: both lengths in bits.
#[inline(always)]
fn lengths(unit: Aesni, aad_bytes: usize, text_bytes: usize) -> __m128i {
    unit.count_from((aad_bytes as u128 * 8) << 64 | (text_bytes as u128 * 8))
}
