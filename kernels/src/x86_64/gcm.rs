//! AES-GCM over any vector width: steps of eight registers; the hash of one step runs between the AES rounds of another, so
//! both units stay busy. Copy fused. Header, short text and lengths are one run with one reduction, and the block that masks the
//! tag is encrypted in a place that the last counter blocks leave free.
//! Sketch: 1200 B are 78 blocks to hash and 76 to encrypt. A multiplication takes its unit two cycles whatever its width (Zen 3
//! to 5), four to a register: 624 cycles with one block a register, 312 with two, 156 with four; ten AES rounds at two a cycle
//! hide behind that (380, 190, 95).
#![expect(unsafe_code, reason = "a function compiled for CPU features is entered from code that is not")]

use super::aes::{self, Counter, FLIGHT, encrypt};
use super::ctr::{steps, steps_mut, transform};
use super::ghash::{POWERS, Powers, Product};
use super::vector::{Block, Vector};
use super::{Aesni, Vaes, Vaes512};
use crate::BLOCK_BYTES;
use crate::schedule::RoundKeys;
use crate::text::{GROUP_BYTES, Parts, Text};
use std::arch::asm;
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
                    let [hash_key] = encrypt(unit, keys, [aes::whitened(unit, keys, unit.zero())]);
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
                    parts: Parts<'_>,
                ) -> Block {
                    gcm.seal_text::<{ FLIGHT * $unit::BLOCKS }>(iv, aad, parts)
                }
                // SAFETY: `enter` needs the features that the token in `self.unit` proves.
                unsafe { enter(self, iv, aad, text.parts()) }
            }

            /// As [`Self::seal`], from `source` to `room`, which is as long: the packets without a prefix are most, and half of the
            /// code and of its variables is not for them.
            #[inline]
            pub(crate) fn seal_apart(
                &self,
                iv: &[u8; 12],
                aad: &[u8],
                source: &[u8],
                room: &mut [u8],
            ) -> Block {
                #[target_feature(enable = $features)]
                fn enter<const KEYS: usize>(
                    gcm: &Gcm<$unit, KEYS>,
                    iv: &[u8; 12],
                    aad: &[u8],
                    source: &[u8],
                    room: &mut [u8],
                ) -> Block {
                    gcm.seal_text::<{ FLIGHT * $unit::BLOCKS }>(iv, aad, (&mut [], source, room))
                }
                // SAFETY: `enter` needs the features that the token in `self.unit` proves.
                unsafe { enter(self, iv, aad, source, room) }
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
entries!(Vaes512, "aes,pclmulqdq,sse4.1,ssse3,avx2,vaes,vpclmulqdq,avx512f,avx512bw,avx512vl,bmi2");

/// `STEP` is the blocks of `FLIGHT` registers.
impl<V: Vector, const KEYS: usize> Gcm<V, KEYS> {
    #[inline(always)]
    fn seal_text<const STEP: usize>(
        &self,
        iv: &[u8; 12],
        aad: &[u8],
        (filled, rest, room): Parts<'_>,
    ) -> Block {
        const {
            assert!(STEP == FLIGHT * V::BLOCKS && GROUP_BYTES.is_multiple_of(STEP * BLOCK_BYTES));
            assert!(STEP < POWERS, "the last run is a step and the lengths");
            assert!(FLIGHT <= KEYS - 2, "one register is hashed after each of the first middle rounds");
        }
        let unit = self.unit;
        let text_bytes = filled.len() + room.len();
        let mut packet = Packet::new::<STEP, KEYS>(self, iv, aad, text_bytes);
        if text_bytes < STEP * BLOCK_BYTES {
            // No step: an audio packet, and its fixed cost counts.
            return if filled.is_empty() {
                self.finish::<true, STEP>(packet, None, Some(rest), room)
            } else {
                self.finish::<true, STEP>(packet, None, None, filled)
            };
        }
        let (in_place, filled_tail) = steps_mut::<STEP>(filled);
        let (sources, rest_tail) = steps::<STEP>(rest);
        let (apart, room_tail) = steps_mut::<STEP>(room);
        let mut in_place = in_place.iter_mut();
        let mut apart = sources.iter().zip(apart);
        // Nothing is hashed beside the first step.
        let keystream = encrypt(unit, &self.keys, packet.blocks::<FLIGHT>());
        let mut sealed: &[Block; STEP] = if let Some(step) = in_place.next() {
            transform(unit, None, step, keystream);
            step
        } else {
            let (source, step) = apart.next().expect("a text of a step has one");
            transform(unit, Some(source), step, keystream);
            step
        };
        for step in in_place {
            let keystream = self.step(&mut packet, sealed);
            transform(unit, None, step, keystream);
            sealed = step;
        }
        for (source, step) in apart {
            let keystream = self.step(&mut packet, sealed);
            transform(unit, Some(source), step, keystream);
            sealed = step;
        }
        // One of the tails is empty: `Text` cuts on the grid of groups.
        if filled_tail.is_empty() {
            self.finish::<true, STEP>(packet, Some(sealed), Some(rest_tail), room_tail)
        } else {
            self.finish::<true, STEP>(packet, Some(sealed), None, filled_tail)
        }
    }

    #[inline(always)]
    fn open_text<const STEP: usize>(&self, iv: &[u8; 12], aad: &[u8], text: &mut [u8]) -> Block {
        let mut packet = Packet::new::<STEP, KEYS>(self, iv, aad, text.len());
        if text.len() < STEP * BLOCK_BYTES {
            return self.finish::<false, STEP>(packet, None, None, text);
        }
        let (in_place, tail) = steps_mut::<STEP>(text);
        for step in in_place {
            let keystream = self.step(&mut packet, step);
            transform(self.unit, None, step, keystream);
        }
        self.finish::<false, STEP>(packet, None, None, tail)
    }

    /// The keystream of the next step, made while a step of ciphertext is hashed.
    #[inline(always)]
    fn step<const STEP: usize>(
        &self,
        packet: &mut Packet<V>,
        hashed: &[Block; STEP],
    ) -> [V::Register; FLIGHT] {
        let blocks = packet.blocks();
        self.encrypt_and_hash(packet, blocks, hashed)
    }

    #[inline(always)]
    fn encrypt_and_hash<const N: usize, const STEP: usize>(
        &self,
        packet: &mut Packet<V>,
        mut blocks: [V::Register; N],
        hashed: &[Block; STEP],
    ) -> [V::Register; N] {
        let Self { keys, powers, .. } = anew(self);
        let unit = self.unit;
        let mut product = packet.take();
        for round in 1..KEYS - 1 {
            aes::middle_round(unit, keys, round, &mut blocks);
            if round <= FLIGHT {
                let at = (round - 1) * V::BLOCKS;
                let ciphertext = unit.reverse(unit.load(&hashed[at..]));
                product.add_at(powers, packet.with_carried(ciphertext), STEP - at);
            }
        }
        aes::last_round(unit, keys, &mut blocks);
        packet.carried = unit.widen(product.reduce());
        blocks
    }

    /// Transforms the last bytes, fewer than a step, from `source` or where they lie, and closes the hash over them and the
    /// lengths. Returns the tag.
    ///
    /// The lengths are hashed as the block behind the text, and the block that masks the tag is encrypted beside the last
    /// counter blocks, in the highest place of the last register: so many registers that both places are free.
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
    fn finish_with<const SEAL: bool, const STEP: usize, const N: usize>(
        &self,
        mut packet: Packet<V>,
        hashed: Option<&[Block; STEP]>,
        source: Option<&[u8]>,
        tail: &mut [u8],
    ) -> Block {
        let (unit, single) = (self.unit, self.unit.single());
        let mut blocks: [_; N] = packet.blocks();
        blocks[N - 1] = unit.with_top(blocks[N - 1], packet.counter.block(1));
        let keystream = match hashed {
            Some(hashed) => self.encrypt_and_hash(&mut packet, blocks, hashed),
            None => encrypt(unit, &self.keys, blocks),
        };
        let mask = unit.top(keystream[N - 1]);

        let mut product = packet.take();
        let text_blocks = tail.len().div_ceil(BLOCK_BYTES);
        // Each block's power: those behind it, itself, and the lengths.
        let powers = self.powers.from(text_blocks + 1);
        assert!(powers.len() >= N * V::BLOCKS, "a block of powers for each, and the padding");
        // All registers are full but the last two. The last has its highest place free, and perhaps no text at all.
        let register_bytes = V::BLOCKS * BLOCK_BYTES;
        let (full, mut tail) = tail.split_at_mut(N.saturating_sub(2) * register_bytes);
        let (source, mut source_tail) = match source {
            Some(source) => {
                let (full, tail) = source.split_at(full.len());
                (Some(full), Some(tail))
            }
            None => (None, None),
        };
        let full = full.as_chunks_mut().0;
        for index in 0..N.saturating_sub(2) {
            let room = &mut full[index * V::BLOCKS..];
            let text = match source {
                Some(source) => unit.load(&source.as_chunks().0[index * V::BLOCKS..]),
                None => unit.load(room),
            };
            let result = unit.xor(text, keystream[index]);
            unit.store(room, result);
            let ciphertext = unit.reverse(if SEAL { result } else { text });
            product.add(packet.with_carried(ciphertext), unit.load(&powers[index * V::BLOCKS..]));
        }
        for index in N.saturating_sub(2)..N {
            // With one block a register the last is the lengths' alone.
            let bytes = if V::BLOCKS == 1 && index == N - 1 { 0 } else { tail.len().min(register_bytes) };
            let (room, tail_behind) = tail.split_at_mut(bytes);
            let text = match source_tail {
                Some(tail) => {
                    let (source, behind) = tail.split_at(bytes);
                    source_tail = Some(behind);
                    unit.load_bytes(source)
                }
                None => unit.load_bytes(room),
            };
            let result = unit.xor(text, keystream[index]);
            unit.store_bytes(room, result);
            tail = tail_behind;
            // Blocks beyond the text are zero.
            let mut ciphertext = unit.reverse(if SEAL { unit.keep(result, bytes) } else { text });
            if index == N - 1 {
                ciphertext = unit.with_last(ciphertext, text_blocks % V::BLOCKS, packet.lengths);
            }
            product.add(packet.with_carried(ciphertext), unit.load(&powers[index * V::BLOCKS..]));
        }
        single.to_bytes(single.xor(single.reverse(product.reduce()), mask))
    }
}

/// `this`, unknown to the compiler: keys and powers that it knows to be the same as a step before would be kept in registers,
/// which there are not, so they would be loaded, stored and loaded again.
#[inline(always)]
#[expect(clippy::pointers_in_nomem_asm_block, reason = "an address is passed, nothing is read or written")]
fn anew<T>(this: &T) -> &T {
    let mut address: *const T = this;
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(reg) address, options(pure, nomem, nostack, preserves_flags)) };
    // SAFETY: the address is as it came, and that of a reference with this lifetime.
    unsafe { &*address }
}

/// One packet under way.
struct Packet<V: Vector> {
    unit: V,
    /// The text's counter blocks.
    counter: Counter<V, aes::Gcm>,
    /// The text's blocks before the next ones.
    at: usize,
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
        // Blocks of the first run: a step, or all of a text that is shorter and the lengths.
        let behind =
            if text_bytes < STEP * BLOCK_BYTES { text_bytes.div_ceil(BLOCK_BYTES) + 1 } else { STEP };
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *iv;
        let low = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let high = u32::from_le_bytes([i, j, k, l]);
        let begin = single.load_number(u128::from(high) << 64 | u128::from(low));
        Self {
            unit,
            counter: Counter::new(unit, &gcm.keys, begin),
            at: 0,
            lengths: single.load_number((aad.len() as u128 * 8) << 64 | (text_bytes as u128 * 8)),
            begun: gcm.powers.begin(unit, aad, behind),
            carried: unit.zero(),
        }
    }

    /// The next `N` registers of counter blocks, whitened.
    #[inline(always)]
    fn blocks<const N: usize>(&mut self) -> [V::Register; N] {
        let blocks = self.counter.blocks(self.at);
        self.at += N * V::BLOCKS;
        blocks
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
