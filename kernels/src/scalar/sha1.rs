//! The SHA-1 compression function (FIPS 180-4 section 6.1.2).

use crate::sha1::{BLOCK_BYTES, Compress, CompressMany, State};

/// SHA-1 without special instructions.
#[derive(Clone, Copy)]
pub(crate) struct ScalarSha1;

impl Compress for ScalarSha1 {
    fn compress(self, state: &mut State, blocks: &[[u8; BLOCK_BYTES]]) {
        for block in blocks {
            compress(state, block);
        }
    }
}

impl CompressMany for ScalarSha1 {
    const LANES: usize = 1;

    fn compress_many<const N: usize>(self, states: &mut [State; N], blocks: [&[[u8; BLOCK_BYTES]]; N]) {
        for (state, blocks) in states.iter_mut().zip(blocks) {
            self.compress(state, blocks);
        }
    }
}

fn compress(state: &mut State, block: &[u8; BLOCK_BYTES]) {
    let mut schedule = [0u32; 80];
    for (word, bytes) in schedule.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    for t in 16..80 {
        schedule[t] =
            (schedule[t - 3] ^ schedule[t - 8] ^ schedule[t - 14] ^ schedule[t - 16]).rotate_left(1);
    }
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    for (t, word) in schedule.iter().enumerate() {
        let (mix, constant) = match t / 20 {
            0 => (b & c | !b & d, 0x5a82_7999),
            1 => (b ^ c ^ d, 0x6ed9_eba1),
            2 => (b & c | b & d | c & d, 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6u32),
        };
        let sum =
            a.rotate_left(5).wrapping_add(mix).wrapping_add(e).wrapping_add(constant).wrapping_add(*word);
        (a, b, c, d, e) = (sum, a, b.rotate_left(30), c, d);
    }
    for (word, add) in state.iter_mut().zip([a, b, c, d, e]) {
        *word = word.wrapping_add(add);
    }
}
