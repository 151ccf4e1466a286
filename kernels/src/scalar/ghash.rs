//! GHASH (SP 800-38D section 6.4), bit by bit with masks in place of branches.

use crate::BLOCK_BYTES;

/// The running hash of one message under one hash key.
pub(crate) struct Ghash {
    key: u128,
    sum: u128,
}

impl Ghash {
    /// `key` is the hash key H, the encryption of the zero block.
    pub(crate) fn new(key: u128) -> Self {
        Self { key, sum: 0 }
    }

    /// Takes `bytes`, the last block padded with zeros.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(BLOCK_BYTES) {
            let mut block = [0; BLOCK_BYTES];
            block[..chunk.len()].copy_from_slice(chunk);
            self.sum = multiply(self.sum ^ u128::from_be_bytes(block), self.key);
        }
    }

    /// Takes the length block and yields the hash.
    pub(crate) fn finish(mut self, aad_bytes: usize, text_bytes: usize) -> u128 {
        let lengths = (aad_bytes as u128 * 8) << 64 | (text_bytes as u128 * 8);
        self.update(&lengths.to_be_bytes());
        self.sum
    }
}

/// Algorithm 1 of section 6.3. The most significant bit is the coefficient of x^0.
fn multiply(x: u128, y: u128) -> u128 {
    const R: u128 = 0xe1 << 120;
    let mut product = 0;
    let mut v = y;
    for bit in (0..128).rev() {
        product ^= v & (x >> bit & 1).wrapping_neg();
        v = v >> 1 ^ (R & (v & 1).wrapping_neg());
    }
    product
}
