//! SHA-1 (FIPS 180-4) as a stream of parts over any compression kernel.
//! Whole blocks are hashed where they lie; only the bytes around a part's edges pass through the block buffer.
//! Not for anything but HMAC: SHA-1 alone no longer resists collisions.

/// SHA-1 block in bytes.
pub(crate) const BLOCK_BYTES: usize = 64;
/// SHA-1 digest in bytes.
pub(crate) const DIGEST_BYTES: usize = 20;

/// The five chaining words.
pub(crate) type State = [u32; 5];

/// FIPS 180-4 section 5.3.1.
pub(crate) const INITIAL: State = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

/// A compression kernel. Holding the value is the proof that this CPU runs it.
pub(crate) trait Compress: Copy {
    /// Hashes `blocks` into `state`.
    fn compress(self, state: &mut State, blocks: &[[u8; BLOCK_BYTES]]);
}

/// A compression kernel that takes several messages side by side.
pub(crate) trait CompressMany: Compress {
    /// Messages that are worth taking at a time, 1 to [`LANES_MAX`].
    const LANES: usize;

    /// Hashes `blocks[lane]` into `states[lane]`. `N` is at most `LANES`; all lanes have the same number of blocks.
    fn compress_many<const N: usize>(self, states: &mut [State; N], blocks: [&[[u8; BLOCK_BYTES]]; N]);
}

/// The most lanes of any kernel.
pub(crate) const LANES_MAX: usize = 16;

/// A hash under way.
pub(crate) struct Sha1<C> {
    kernel: C,
    state: State,
    block: [u8; BLOCK_BYTES],
    /// Bytes of `block` in use, always fewer than a block.
    held: usize,
    /// Bytes hashed and held so far.
    total: usize,
}

impl<C: Compress> Sha1<C> {
    /// Goes on from `state`, reached after `total` bytes, which is a multiple of the block.
    #[inline]
    pub(crate) fn resume(kernel: C, state: State, total: usize) -> Self {
        Self { kernel, state, block: [0; BLOCK_BYTES], held: 0, total }
    }

    #[inline]
    pub(crate) fn update(&mut self, mut part: &[u8]) {
        self.total += part.len();
        if self.held > 0 {
            let (now, later) = part.split_at(part.len().min(BLOCK_BYTES - self.held));
            self.block[self.held..self.held + now.len()].copy_from_slice(now);
            self.held += now.len();
            part = later;
            if self.held < BLOCK_BYTES {
                return;
            }
            self.kernel.compress(&mut self.state, &[self.block]);
            self.held = 0;
        }
        let (blocks, tail) = part.as_chunks();
        if !blocks.is_empty() {
            self.kernel.compress(&mut self.state, blocks);
        }
        self.block[..tail.len()].copy_from_slice(tail);
        self.held = tail.len();
    }

    /// Pads (section 5.1.1) and returns the digest.
    #[inline]
    pub(crate) fn finish(mut self) -> [u8; DIGEST_BYTES] {
        let bits = (self.total as u64 * 8).to_be_bytes();
        let mut padded = [[0; BLOCK_BYTES]; 2];
        padded[0][..self.held].copy_from_slice(&self.block[..self.held]);
        padded[0][self.held] = 0x80;
        let count = if self.held + 1 + bits.len() <= BLOCK_BYTES { 1 } else { 2 };
        padded[count - 1][BLOCK_BYTES - bits.len()..].copy_from_slice(&bits);
        self.kernel.compress(&mut self.state, &padded[..count]);
        digest(&self.state)
    }
}

/// The digest of a finished hash.
#[inline]
pub(crate) fn digest(state: &State) -> [u8; DIGEST_BYTES] {
    let mut digest = [0; DIGEST_BYTES];
    for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}
