//! AES-GCM with AES-NI and PCLMULQDQ: groups of eight blocks; the hash of one group runs between the AES rounds of another,
//! so both units stay busy. Copy fused.
//! Sketch: 1200 B are 75 blocks of 10 `aesenc` and 3 `pclmulqdq`, two per cycle: about 490 cycles, plus a tail of two
//! dependent reductions (about 60).
#![expect(unsafe_code, reason = "a function compiled for CPU features is entered from code that is not")]

use super::aes::{Aesni, encrypt, reverse};
use super::ghash::{Powers, Product};
use super::vector::{Group, LANES, groups, groups_mut, load, store};
use crate::BLOCK_BYTES;
use crate::schedule::{ROUND_KEYS_128, ROUND_KEYS_256, RoundKeys};
use crate::text::Text;
use std::arch::x86_64::*;

pub(crate) type AesniGcm128 = AesniGcm<ROUND_KEYS_128>;
pub(crate) type AesniGcm256 = AesniGcm<ROUND_KEYS_256>;

/// Round keys and powers of the hash key.
#[derive(Clone)]
pub(crate) struct AesniGcm<const KEYS: usize> {
    proof: Aesni,
    keys: RoundKeys<KEYS>,
    powers: Powers,
}

const _: () =
    assert!(ROUND_KEYS_128 - 2 >= LANES, "one block is hashed after each of the first eight middle rounds");

impl<const KEYS: usize> AesniGcm<KEYS> {
    pub(crate) fn new<const BYTES: usize>(proof: Aesni, key: &[u8; BYTES]) -> Self {
        let keys = proof.expand(key);
        // SAFETY: `powers` needs AES-NI, PCLMULQDQ and SSSE3, which `proof` proves.
        let powers = unsafe { powers(&keys) };
        Self { proof, keys, powers }
    }

    /// Encrypts and returns the tag.
    pub(crate) fn seal(&self, iv: &[u8; 12], aad: &[u8], text: Text<'_>) -> [u8; BLOCK_BYTES] {
        let Self { proof: Aesni { .. }, .. } = self;
        // SAFETY: `seal_text` needs AES-NI, PCLMULQDQ and SSE 4.1, which the token `proof` proves.
        unsafe { self.seal_text(iv, aad, text) }
    }

    /// Decrypts and returns the tag that the ciphertext should have had.
    pub(crate) fn open(&self, iv: &[u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; BLOCK_BYTES] {
        let Self { proof: Aesni { .. }, .. } = self;
        // SAFETY: `open_text` needs AES-NI, PCLMULQDQ and SSE 4.1, which the token `proof` proves.
        unsafe { self.open_text(iv, aad, text) }
    }

    #[target_feature(enable = "aes,pclmulqdq,sse4.1,ssse3")]
    fn seal_text(&self, iv: &[u8; 12], aad: &[u8], text: Text<'_>) -> [u8; BLOCK_BYTES] {
        let text_bytes = text.len();
        let mut counter = Counter::new(iv);
        let [mask] = encrypt(&self.keys, counter.blocks());
        let mut sum = self.powers.absorb_bytes(_mm_setzero_si128(), aad);

        let (filled, rest, room) = text.parts();
        let mut sealed: Option<&Group> = None;
        let (in_place, filled_tail) = groups_mut(filled);
        for group in in_place {
            let keystream = self.keystream_and_hash(counter.blocks(), &mut sum, sealed);
            for (block, keystream) in group.iter_mut().zip(keystream) {
                let text = load(block);
                store(block, _mm_xor_si128(text, keystream));
            }
            sealed = Some(group);
        }
        let (sources, rest_tail) = groups(rest);
        let (apart, room_tail) = groups_mut(room);
        for (source, group) in sources.iter().zip(apart) {
            let keystream = self.keystream_and_hash(counter.blocks(), &mut sum, sealed);
            for ((source, block), keystream) in source.iter().zip(&mut *group).zip(keystream) {
                store(block, _mm_xor_si128(load(source), keystream));
            }
            sealed = Some(group);
        }
        room_tail.copy_from_slice(rest_tail);
        // One of the tails is empty: `Text` cuts on the grid of groups.
        let tail = if filled_tail.is_empty() { room_tail } else { filled_tail };
        let keystream = self.keystream_and_hash(counter.blocks(), &mut sum, sealed);
        self.finish::<true>(sum, tail, keystream, mask, lengths(aad.len(), text_bytes))
    }

    #[target_feature(enable = "aes,pclmulqdq,sse4.1,ssse3")]
    fn open_text(&self, iv: &[u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; BLOCK_BYTES] {
        let lengths = lengths(aad.len(), text.len());
        let mut counter = Counter::new(iv);
        let [mask] = encrypt(&self.keys, counter.blocks());
        let mut sum = self.powers.absorb_bytes(_mm_setzero_si128(), aad);

        let (groups, tail) = groups_mut(text);
        for group in groups {
            let keystream = self.keystream_and_hash(counter.blocks(), &mut sum, Some(group));
            for (block, keystream) in group.iter_mut().zip(keystream) {
                let text = load(block);
                store(block, _mm_xor_si128(text, keystream));
            }
        }
        let keystream = encrypt(&self.keys, counter.blocks());
        self.finish::<false>(sum, tail, keystream, mask, lengths)
    }

    /// Encrypts a group of counter blocks while hashing a group of ciphertext into `sum`.
    #[inline]
    #[target_feature(enable = "aes,pclmulqdq,sse4.1,ssse3")]
    fn keystream_and_hash(
        &self,
        mut blocks: [__m128i; LANES],
        sum: &mut __m128i,
        hashed: Option<&Group>,
    ) -> [__m128i; LANES] {
        let Some(hashed) = hashed else { return encrypt(&self.keys, blocks) };
        let mut product = Product::zero();
        let key = load(&self.keys.0[0]);
        for block in &mut blocks {
            *block = _mm_xor_si128(*block, key);
        }
        for (round, key) in self.keys.0[1..KEYS - 1].iter().enumerate() {
            let key = load(key);
            for block in &mut blocks {
                *block = _mm_aesenc_si128(*block, key);
            }
            if let Some(bytes) = hashed.get(round) {
                let block = reverse(load(bytes));
                let block = if round == 0 { _mm_xor_si128(block, *sum) } else { block };
                self.powers.add(&mut product, round, block);
            }
        }
        let key = load(&self.keys.0[KEYS - 1]);
        for block in &mut blocks {
            *block = _mm_aesenclast_si128(*block, key);
        }
        *sum = product.reduce();
        blocks
    }

    /// Transforms the last bytes, fewer than a group, and closes the hash over them and the lengths. Returns the tag.
    #[inline]
    #[target_feature(enable = "aes,pclmulqdq,sse4.1,ssse3")]
    fn finish<const SEAL: bool>(
        &self,
        sum: __m128i,
        tail: &mut [u8],
        keystream: [__m128i; LANES],
        mask: __m128i,
        lengths: __m128i,
    ) -> [u8; BLOCK_BYTES] {
        let mut hashed = [_mm_setzero_si128(); LANES + 1];
        let mut count = 0;
        let (blocks, last) = tail.as_chunks_mut::<BLOCK_BYTES>();
        for block in blocks {
            let text = load(block);
            let result = _mm_xor_si128(text, keystream[count]);
            store(block, result);
            hashed[count] = reverse(if SEAL { result } else { text });
            count += 1;
        }
        if !last.is_empty() {
            let mut padded = [0; BLOCK_BYTES];
            padded[..last.len()].copy_from_slice(last);
            let text = load(&padded);
            store(&mut padded, _mm_xor_si128(text, keystream[count]));
            last.copy_from_slice(&padded[..last.len()]);
            padded[last.len()..].fill(0);
            hashed[count] = reverse(if SEAL { load(&padded) } else { text });
            count += 1;
        }
        hashed[count] = lengths;
        let (run, beyond) = hashed[..=count].split_at(LANES.min(count + 1));
        let mut sum = self.powers.absorb(sum, run);
        if !beyond.is_empty() {
            sum = self.powers.absorb(sum, beyond);
        }
        let mut tag = [0; BLOCK_BYTES];
        store(&mut tag, _mm_xor_si128(reverse(sum), mask));
        tag
    }
}

/// The powers of the hash key of an expanded key.
#[target_feature(enable = "aes,pclmulqdq,sse4.1,ssse3")]
fn powers<const KEYS: usize>(keys: &RoundKeys<KEYS>) -> Powers {
    let [block] = encrypt(keys, [_mm_setzero_si128()]);
    let mut hash_key = [0; BLOCK_BYTES];
    store(&mut hash_key, block);
    Powers::new(hash_key)
}

/// The last block of GHASH, reversed: both lengths in bits.
#[inline]
#[target_feature(enable = "sse2")]
fn lengths(aad_bytes: usize, text_bytes: usize) -> __m128i {
    _mm_set_epi64x(aad_bytes as i64 * 8, text_bytes as i64 * 8)
}

/// The next counter block, byte-reversed so that the 32-bit count is a vector's lowest lane. It cannot wrap: 2^32 blocks are
/// 64 GiB.
struct Counter(__m128i);

impl Counter {
    /// Count 1, whose block masks the tag.
    #[inline]
    #[target_feature(enable = "ssse3")]
    fn new(iv: &[u8; 12]) -> Self {
        let mut block = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        block[..12].copy_from_slice(iv);
        Self(reverse(load(&block)))
    }

    /// The next `N` counter blocks, ready to encrypt.
    #[inline]
    #[target_feature(enable = "ssse3")]
    fn blocks<const N: usize>(&mut self) -> [__m128i; N] {
        let mut blocks = [_mm_setzero_si128(); N];
        for block in &mut blocks {
            *block = reverse(self.0);
            self.0 = _mm_add_epi32(self.0, _mm_set_epi32(0, 0, 0, 1));
        }
        blocks
    }
}
