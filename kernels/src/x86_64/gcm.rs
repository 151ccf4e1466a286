//! AES-GCM over any vector width: steps of eight registers; the hash of one step runs between the AES rounds of another, so
//! both units stay busy. Copy fused. Header, short text and lengths are one run with one reduction, and the block that masks the
//! tag is encrypted in a place that the last counter blocks leave free.
//! Sketch: 1200 B are 78 blocks to hash and 76 to encrypt. A multiplication takes its unit two cycles whatever its width (Zen 3
//! to 5), four to a register: 624 cycles with one block a register, 312 with two, 156 with four; ten AES rounds at two a cycle
//! hide behind that (380, 190, 95).
#![expect(unsafe_code, reason = "a function compiled for CPU features is entered from code that is not")]

use super::aes::{self, Counter, FLIGHT, encrypt};
use super::ctr::{steps, steps_mut};
use super::ghash::{POWERS, Powers, Product};
use super::vector::{Block, Vector};
use super::{Aesni, Vaes, Vaes512};
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
entries!(Vaes512, "aes,pclmulqdq,sse4.1,ssse3,avx2,vaes,vpclmulqdq,avx512f,avx512bw,avx512vl");

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
        let mut packet = Packet::new::<STEP, KEYS>(self, iv, aad, text.len());

        let is_short = text.len() < STEP * BLOCK_BYTES;
        let (filled, rest, room) = text.parts();
        if is_short {
            // No step: an audio packet, and its fixed cost counts.
            return if filled.is_empty() {
                self.finish::<true, STEP>(packet, None, Some(rest), room)
            } else {
                self.finish::<true, STEP>(packet, None, None, filled)
            };
        }
        let mut sealed: Option<&[Block; STEP]> = None;
        let (in_place, filled_tail) = steps_mut::<STEP>(filled);
        for step in in_place {
            let keystream: [_; FLIGHT] = self.keystream_and_hash(&mut packet, sealed);
            for (blocks, keystream) in step.chunks_exact_mut(V::BLOCKS).zip(keystream) {
                let text = unit.load(blocks);
                unit.store(blocks, unit.xor(text, keystream));
            }
            sealed = Some(step);
        }
        let (sources, rest_tail) = steps::<STEP>(rest);
        let (apart, room_tail) = steps_mut::<STEP>(room);
        for (source, step) in sources.iter().zip(apart) {
            let keystream: [_; FLIGHT] = self.keystream_and_hash(&mut packet, sealed);
            let blocks = source.chunks_exact(V::BLOCKS).zip(step.chunks_exact_mut(V::BLOCKS));
            for ((source, blocks), keystream) in blocks.zip(keystream) {
                unit.store(blocks, unit.xor(unit.load(source), keystream));
            }
            sealed = Some(step);
        }
        // One of the tails is empty: `Text` cuts on the grid of groups.
        if filled_tail.is_empty() {
            self.finish::<true, STEP>(packet, sealed, Some(rest_tail), room_tail)
        } else {
            self.finish::<true, STEP>(packet, sealed, None, filled_tail)
        }
    }

    #[inline(always)]
    fn open_text<const STEP: usize>(&self, iv: &[u8; 12], aad: &[u8], text: &mut [u8]) -> Block {
        let unit = self.unit;
        let mut packet = Packet::new::<STEP, KEYS>(self, iv, aad, text.len());
        if text.len() < STEP * BLOCK_BYTES {
            return self.finish::<false, STEP>(packet, None, None, text);
        }
        let (in_place, tail) = steps_mut::<STEP>(text);
        for step in in_place {
            let keystream: [_; FLIGHT] = self.keystream_and_hash(&mut packet, Some(step));
            for (blocks, keystream) in step.chunks_exact_mut(V::BLOCKS).zip(keystream) {
                let text = unit.load(blocks);
                unit.store(blocks, unit.xor(text, keystream));
            }
        }
        self.finish::<false, STEP>(packet, None, None, tail)
    }

    /// Encrypts the next `N` registers of counter blocks while hashing a step of ciphertext.
    #[inline(always)]
    fn keystream_and_hash<const N: usize, const STEP: usize>(
        &self,
        packet: &mut Packet<V>,
        hashed: Option<&[Block; STEP]>,
    ) -> [V::Register; N] {
        let blocks = packet.counter.blocks(self.unit);
        self.encrypt_and_hash(packet, blocks, hashed)
    }

    #[inline(always)]
    fn encrypt_and_hash<const N: usize, const STEP: usize>(
        &self,
        packet: &mut Packet<V>,
        mut blocks: [V::Register; N],
        hashed: Option<&[Block; STEP]>,
    ) -> [V::Register; N] {
        let unit = self.unit;
        let Some(hashed) = hashed else { return encrypt(unit, &self.keys, blocks) };
        let mut product = packet.take();
        aes::whiten(unit, &self.keys, &mut blocks);
        for round in 1..KEYS - 1 {
            aes::middle_round(unit, &self.keys, round, &mut blocks);
            if round <= FLIGHT {
                let at = (round - 1) * V::BLOCKS;
                let ciphertext = unit.reverse(unit.load(&hashed[at..]));
                product.add_at(&self.powers, packet.with_carried(ciphertext), STEP - at);
            }
        }
        aes::last_round(unit, &self.keys, &mut blocks);
        packet.carried = unit.widen(product.reduce());
        blocks
    }

    /// Transforms the last bytes, fewer than a step, from `source` or where they lie, and closes the hash over them and the
    /// lengths. Returns the tag.
    ///
    /// The block that masks the tag is encrypted beside the last counter blocks, in the highest place of the last register: so
    /// many registers that this place is free.
    #[inline(always)]
    fn finish<const SEAL: bool, const STEP: usize>(
        &self,
        packet: Packet<V>,
        hashed: Option<&[Block; STEP]>,
        source: Option<&[u8]>,
        tail: &mut [u8],
    ) -> Block {
        const { assert!(FLIGHT == 8, "as many arms as registers, and one") };
        let registers = (tail.len().div_ceil(BLOCK_BYTES) + 1).div_ceil(V::BLOCKS);
        match registers {
            1 => self.finish_with::<SEAL, STEP, 1>(packet, hashed, source, tail),
            2 => self.finish_with::<SEAL, STEP, 2>(packet, hashed, source, tail),
            3 => self.finish_with::<SEAL, STEP, 3>(packet, hashed, source, tail),
            4 => self.finish_with::<SEAL, STEP, 4>(packet, hashed, source, tail),
            5 => self.finish_with::<SEAL, STEP, 5>(packet, hashed, source, tail),
            6 => self.finish_with::<SEAL, STEP, 6>(packet, hashed, source, tail),
            7 => self.finish_with::<SEAL, STEP, 7>(packet, hashed, source, tail),
            8 => self.finish_with::<SEAL, STEP, 8>(packet, hashed, source, tail),
            _ => self.finish_with::<SEAL, STEP, 9>(packet, hashed, source, tail),
        }
    }

    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "an iterator over registers would keep them in memory")]
    fn finish_with<const SEAL: bool, const STEP: usize, const N: usize>(
        &self,
        mut packet: Packet<V>,
        hashed: Option<&[Block; STEP]>,
        source: Option<&[u8]>,
        tail: &mut [u8],
    ) -> Block {
        let (unit, single) = (self.unit, self.unit.single());
        let mut blocks: [_; N] = packet.counter.blocks(unit);
        blocks[N - 1] = unit.with_top(blocks[N - 1], packet.mask_counter);
        let keystream = self.encrypt_and_hash(&mut packet, blocks, hashed);
        let mask = unit.top(keystream[N - 1]);

        let mut product = packet.take();
        // Each block's power: those behind it, itself, and the lengths.
        let mut power = tail.len().div_ceil(BLOCK_BYTES) + 1;
        let (whole, part) = tail.split_at_mut(tail.len() - tail.len() % (V::BLOCKS * BLOCK_BYTES));
        let whole = whole.as_chunks_mut().0;
        let whole_registers = whole.len() / V::BLOCKS;
        let (source, source_part) = match source {
            Some(source) => {
                let (whole, part) = source.split_at(whole.len() * BLOCK_BYTES);
                (Some(whole), Some(part))
            }
            None => (None, None),
        };
        for index in 0..N {
            let Some(room) = whole.get_mut(index * V::BLOCKS..(index + 1) * V::BLOCKS) else { break };
            let text = match source {
                Some(source) => unit.load(&source.as_chunks().0[index * V::BLOCKS..]),
                None => unit.load(room),
            };
            let result = unit.xor(text, keystream[index]);
            unit.store(room, result);
            let ciphertext = unit.reverse(if SEAL { result } else { text });
            product.add_at(&self.powers, packet.with_carried(ciphertext), power);
            power -= V::BLOCKS;
        }
        if !part.is_empty() {
            // The last register, or the one before it when the last has the mask alone.
            let keystream =
                if whole_registers + 1 == N { keystream[N - 1] } else { keystream[N.saturating_sub(2)] };
            let text = unit.load_bytes(source_part.unwrap_or(part));
            let result = unit.xor(text, keystream);
            unit.store_bytes(part, result);
            let ciphertext = unit.reverse(if SEAL { unit.keep(result, part.len()) } else { text });
            // A register's blocks beyond the text are zero, so the powers they meet do not matter.
            product.add_at(&self.powers, packet.with_carried(ciphertext), power);
        }
        // The lengths meet H^1, alone in a register's lowest block.
        let last_power = unit.widen(self.powers.from(single, 1));
        product.add(packet.with_carried(unit.widen(packet.lengths)), last_power);
        single.to_bytes(single.xor(single.reverse(product.reduce()), mask))
    }
}

/// One packet under way.
struct Packet<V: Vector> {
    unit: V,
    /// The next counter blocks.
    counter: Counter,
    /// Count 1, whose block masks the tag.
    mask_counter: __m128i,
    /// The last block of GHASH, reversed: both lengths in bits.
    lengths: __m128i,
    /// The products of the header until the first run takes them.
    begun: Product<V>,
    /// The sum of the runs before, until the next block takes it.
    carried: V::Register,
}

impl<V: Vector> Packet<V> {
    #[inline(always)]
    fn new<const STEP: usize, const KEYS: usize>(
        gcm: &Gcm<V, KEYS>,
        iv: &[u8; 12],
        aad: &[u8],
        text_bytes: usize,
    ) -> Self {
        let (unit, single) = (gcm.unit, gcm.unit.single());
        let (counter, mask_counter) = Counter::gcm(iv);
        // Blocks of the first run: a step, or all of a text that is shorter and the lengths.
        let behind =
            if text_bytes < STEP * BLOCK_BYTES { text_bytes.div_ceil(BLOCK_BYTES) + 1 } else { STEP };
        Self {
            unit,
            counter,
            mask_counter: single.reverse(single.count_from(mask_counter)),
            lengths: single.count_from((aad.len() as u128 * 8) << 64 | (text_bytes as u128 * 8)),
            begun: gcm.powers.begin(unit, aad, behind),
            carried: unit.zero(),
        }
    }

    /// The products with which the next run begins.
    #[inline(always)]
    fn take(&mut self) -> Product<V> {
        std::mem::replace(&mut self.begun, Product::zero(self.unit))
    }

    /// `block` with the sum of the runs before added, if nothing has taken it yet.
    #[inline(always)]
    fn with_carried(&mut self, block: V::Register) -> V::Register {
        let zero = self.unit.zero();
        self.unit.xor(block, std::mem::replace(&mut self.carried, zero))
    }
}
