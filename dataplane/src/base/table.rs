//! Hash tables whose hash is keyed by the engine's seed: fast for small keys, and the same on every machine for one seed.
//!
//! Keys come from commands or from authenticated datagrams, so an attacker cannot fill a bucket from outside.
//! Nothing iterates these tables where the order could matter.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

/// A hash table keyed by the engine's seed.
pub type Table<K, V> = HashMap<K, V, SeededState>;

/// Builds hashers from a seed.
#[derive(Clone, Copy, Debug)]
pub struct SeededState(u64);

impl SeededState {
    /// The state of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }
}

impl BuildHasher for SeededState {
    type Hasher = FoldHasher;

    fn build_hasher(&self) -> FoldHasher {
        FoldHasher(self.0)
    }
}

/// Multiplies 64 by 64 bits and folds the halves, once per word.
#[derive(Clone, Copy, Debug)]
pub struct FoldHasher(u64);

impl FoldHasher {
    const fn word(&mut self, word: u64) {
        let product = (self.0 ^ word) as u128 * 0xa076_1d64_78bd_642f_u128;
        self.0 = (product as u64) ^ ((product >> 64) as u64) ^ 0xe703_7ed1_a0b4_28db;
    }
}

impl Hasher for FoldHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.word(u64::from(value));
    }

    fn write_u16(&mut self, value: u16) {
        self.word(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.word(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.word(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.word(value as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    #[test]
    fn one_seed_hashes_alike_and_neighbours_spread() {
        let (a, b) = (SeededState::new(1), SeededState::new(2));
        let address = |port: u16| SocketAddr::from(([10, 0, 0, 1], port));
        assert_eq!(a.hash_one(address(1)), SeededState::new(1).hash_one(address(1)));
        assert_ne!(a.hash_one(address(1)), b.hash_one(address(1)));
        let mut buckets = [0_u32; 64];
        for port in 0..6_400 {
            buckets[(a.hash_one(address(port)) % 64) as usize] += 1;
        }
        assert!(buckets.iter().all(|&count| (40..=180).contains(&count)), "{buckets:?}");
    }
}
