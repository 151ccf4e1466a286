//! AES (FIPS 197), bitsliced over eight blocks.
//!
//! `Planes[b][p]` holds bit `b` of byte `p` of all eight blocks, one block per bit. The S-box is then arithmetic on planes,
//! x^254 in GF(2^8) and an affine map, with neither table nor branch, and ShiftRows is a permutation of bytes.

use crate::BLOCK_BYTES;
use crate::schedule::{KeyBytes, ROUND_KEYS_128, ROUND_KEYS_256, RoundKeys};

/// Blocks encrypted at once: the bits of the byte that a plane holds per position.
const LANES: usize = 8;

/// One bit of each byte of eight blocks. As a `u128` its little-endian bytes are the positions 0 to 15.
type Planes = [u128; 8];

/// Expanded AES key and block encryption.
#[derive(Clone)]
pub(crate) enum Aes {
    Aes128(RoundKeys<ROUND_KEYS_128>),
    Aes256(RoundKeys<ROUND_KEYS_256>),
}

impl Aes {
    pub(crate) fn new(key: KeyBytes<'_>) -> Self {
        match key {
            KeyBytes::Aes128(key) => Self::Aes128(RoundKeys::expand(key, sub_word)),
            KeyBytes::Aes256(key) => Self::Aes256(RoundKeys::expand(key, sub_word)),
        }
    }

    /// One block.
    pub(crate) fn encrypt(&self, block: &[u8; BLOCK_BYTES]) -> [u8; BLOCK_BYTES] {
        let mut blocks = [*block; LANES];
        self.encrypt_lanes(&mut blocks);
        blocks[0]
    }

    /// Xors the keystream of consecutive `counters` onto `text` (SP 800-38A section 6.5).
    pub(crate) fn ctr(&self, mut counters: impl Iterator<Item = [u8; BLOCK_BYTES]>, text: &mut [u8]) {
        for group in text.chunks_mut(LANES * BLOCK_BYTES) {
            let mut keystream = [[0; BLOCK_BYTES]; LANES];
            for (block, counter) in keystream.iter_mut().zip(&mut counters) {
                *block = counter;
            }
            self.encrypt_lanes(&mut keystream);
            for (byte, key) in group.iter_mut().zip(keystream.as_flattened()) {
                *byte ^= key;
            }
        }
    }

    fn encrypt_lanes(&self, blocks: &mut [[u8; BLOCK_BYTES]; LANES]) {
        match self {
            Self::Aes128(keys) => encrypt(&keys.0, blocks),
            Self::Aes256(keys) => encrypt(&keys.0, blocks),
        }
    }
}

fn encrypt(round_keys: &[[u8; BLOCK_BYTES]], blocks: &mut [[u8; BLOCK_BYTES]; LANES]) {
    let mut state = slice(blocks);
    let last = round_keys.len() - 1;
    for (round, key) in round_keys.iter().enumerate() {
        if round > 0 {
            state = sub_bytes(&state);
            state = state.map(shift_rows);
            if round < last {
                state = mix_columns(&state);
            }
        }
        let key = slice(&[*key; LANES]);
        state = std::array::from_fn(|bit| state[bit] ^ key[bit]);
    }
    *blocks = unslice(&state);
}

fn slice(blocks: &[[u8; BLOCK_BYTES]; LANES]) -> Planes {
    std::array::from_fn(|bit| {
        u128::from_le_bytes(std::array::from_fn(|position| {
            (0..LANES).fold(0, |byte, lane| byte | ((blocks[lane][position] >> bit & 1) << lane))
        }))
    })
}

fn unslice(planes: &Planes) -> [[u8; BLOCK_BYTES]; LANES] {
    let planes = planes.map(u128::to_le_bytes);
    std::array::from_fn(|lane| {
        std::array::from_fn(|position| {
            (0..8).fold(0, |byte, bit| byte | ((planes[bit][position] >> lane & 1) << bit))
        })
    })
}

/// The S-box (section 5.1.1): inverse in GF(2^8), then the affine map b_i + b_(i+4) + b_(i+5) + b_(i+6) + b_(i+7) + c_i.
fn sub_bytes(x: &Planes) -> Planes {
    const C: u8 = 0x63;
    let y = inverse(x);
    std::array::from_fn(|i| {
        let constant = if C >> i & 1 == 1 { u128::MAX } else { 0 };
        y[i] ^ y[(i + 4) % 8] ^ y[(i + 5) % 8] ^ y[(i + 6) % 8] ^ y[(i + 7) % 8] ^ constant
    })
}

/// x^254, which is 1/x, and 0 for 0: 254 = 2 + 4 + 8 + 16 + 32 + 64 + 128.
fn inverse(x: &Planes) -> Planes {
    let x2 = multiply(x, x);
    let mut power = x2;
    let mut product = x2;
    for _ in 0..6 {
        power = multiply(&power, &power);
        product = multiply(&product, &power);
    }
    product
}

/// Product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1 (section 4.2), lane by lane.
fn multiply(a: &Planes, b: &Planes) -> Planes {
    let mut wide = [0u128; 15];
    for (i, a) in a.iter().enumerate() {
        for (j, b) in b.iter().enumerate() {
            wide[i + j] ^= a & b;
        }
    }
    for high in (8..15).rev() {
        for low in [0, 1, 3, 4] {
            wide[high - 8 + low] ^= wide[high];
        }
    }
    std::array::from_fn(|bit| wide[bit])
}

/// Section 5.1.2: row r of the state, bytes r, r + 4, r + 8 and r + 12, moves left by r columns.
fn shift_rows(plane: u128) -> u128 {
    let bytes = plane.to_le_bytes();
    u128::from_le_bytes(std::array::from_fn(|p| bytes[(p + 4 * (p % 4)) % BLOCK_BYTES]))
}

/// Section 5.1.3, as 2(a_r + a_(r+1)) + a_(r+1) + a_(r+2) + a_(r+3).
fn mix_columns(state: &Planes) -> Planes {
    let next = |plane: u128, by: usize| {
        let bytes = plane.to_le_bytes();
        u128::from_le_bytes(std::array::from_fn(|p| bytes[p / 4 * 4 + (p % 4 + by) % 4]))
    };
    let sum: Planes = std::array::from_fn(|bit| state[bit] ^ next(state[bit], 1));
    let doubled: Planes = std::array::from_fn(|bit| match bit {
        0 => sum[7],
        1 | 3 | 4 => sum[bit - 1] ^ sum[7],
        _ => sum[bit - 1],
    });
    std::array::from_fn(|bit| doubled[bit] ^ next(state[bit], 1) ^ next(state[bit], 2) ^ next(state[bit], 3))
}

/// The S-box on the four bytes of a word, for the key schedule.
fn sub_word(word: [u8; 4]) -> [u8; 4] {
    let mut block = [0; BLOCK_BYTES];
    block[..4].copy_from_slice(&word);
    let block = unslice(&sub_bytes(&slice(&[block; LANES])))[0];
    [block[0], block[1], block[2], block[3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 197 appendix C: key and plaintext count up.
    #[test]
    fn fips_197_examples_hold() {
        let plaintext: [u8; 16] = std::array::from_fn(|i| 0x11 * i as u8);
        let key: [u8; 32] = std::array::from_fn(|i| i as u8);
        let aes128 = Aes::new(KeyBytes::Aes128(key.first_chunk().expect("32 bytes hold 16")));
        assert_eq!(u128::from_be_bytes(aes128.encrypt(&plaintext)), 0x69c4e0d8_6a7b0430_d8cdb780_70b4c55a);
        let aes256 = Aes::new(KeyBytes::Aes256(&key));
        assert_eq!(u128::from_be_bytes(aes256.encrypt(&plaintext)), 0x8ea2b7ca_516745bf_eafc4990_4b496089);
    }

    #[test]
    fn the_inverse_undoes_every_element_and_keeps_zero() {
        for x in 0..=255u8 {
            let planes: Planes = std::array::from_fn(|bit| (x >> bit & 1).into());
            let product = multiply(&planes, &inverse(&planes));
            let value = (0..8).fold(0, |byte, bit| byte | ((product[bit] as u8 & 1) << bit));
            assert_eq!(value, u8::from(x != 0), "element {x}");
        }
    }
}
