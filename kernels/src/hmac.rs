//! HMAC-SHA1 (RFC 2104) with the key blocks hashed ahead: STUN MESSAGE-INTEGRITY (RFC 8489 section 14.5) and the tag of
//! AES_CM_128_HMAC_SHA1_80. The key fills one block each way, so both states are computed once per key and a message costs
//! two compressions fewer.

use crate::Suite;
use crate::compare::equal;
use crate::detect::Sha1Unit;
use crate::scalar::ScalarSha1;
use crate::sha1::{
    BLOCK_BYTES, Compress, CompressMany, DIGEST_BYTES, INITIAL, LANES_MAX, Sha1, State, digest,
};
#[cfg(target_arch = "x86_64")]
use crate::x86_64::{Avx2, Avx512, Shani};
use std::fmt;
use zeroize::Zeroize;

/// HMAC-SHA1 under one key; the states are zeroed on drop.
#[derive(Clone)]
pub struct HmacSha1 {
    unit: Sha1Unit,
    inner: State,
    outer: State,
}

impl HmacSha1 {
    /// Bytes of an untruncated MAC.
    pub const MAC_BYTES: usize = DIGEST_BYTES;

    /// Prepares `key`, of any length; more than 64 bytes are hashed first, as RFC 2104 says.
    pub fn new(suite: Suite, key: &[u8]) -> Self {
        let unit = suite.sha1;
        let (inner, outer) = match unit {
            Sha1Unit::Scalar(kernel) => key_states(kernel, key),
            #[cfg(target_arch = "x86_64")]
            Sha1Unit::Avx2(kernel) => key_states(kernel, key),
            #[cfg(target_arch = "x86_64")]
            Sha1Unit::Shani(kernel) => key_states(kernel, key),
            #[cfg(target_arch = "x86_64")]
            Sha1Unit::Avx512(kernel) => key_states(kernel, key),
        };
        Self { unit, inner, outer }
    }

    /// The MAC of the concatenation of `parts`.
    ///
    /// Cost: one compression per 64 bytes, and two.
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; DIGEST_BYTES] {
        match self.unit {
            Sha1Unit::Scalar(kernel) => self.mac_with(kernel, parts),
            #[cfg(target_arch = "x86_64")]
            Sha1Unit::Avx2(kernel) => self.mac_with(kernel, parts),
            #[cfg(target_arch = "x86_64")]
            Sha1Unit::Shani(kernel) => self.mac_with(kernel, parts),
            #[cfg(target_arch = "x86_64")]
            Sha1Unit::Avx512(kernel) => self.mac_with(kernel, parts),
        }
    }

    /// True when `mac` is the full MAC of `parts`. Any other length than 20 bytes is false. Constant time in the content.
    #[must_use = "an unchecked MAC protects nothing"]
    pub fn verify(&self, parts: &[&[u8]], mac: &[u8]) -> bool {
        equal(&self.mac(parts), mac)
    }

    #[inline]
    fn mac_with<C: Compress>(&self, kernel: C, parts: &[&[u8]]) -> [u8; DIGEST_BYTES] {
        let mut inner = Sha1::resume(kernel, self.inner, BLOCK_BYTES);
        for part in parts {
            inner.update(part);
        }
        let mut outer = Sha1::resume(kernel, self.outer, BLOCK_BYTES);
        outer.update(&inner.finish());
        outer.finish()
    }
}

/// MACs that one call of [`macs`] has its kernel make together.
pub(crate) fn lanes(key: &HmacSha1) -> usize {
    match key.unit {
        Sha1Unit::Scalar(_) => ScalarSha1::LANES,
        #[cfg(target_arch = "x86_64")]
        Sha1Unit::Avx2(_) => Avx2::LANES,
        #[cfg(target_arch = "x86_64")]
        Sha1Unit::Shani(_) => Shani::LANES,
        #[cfg(target_arch = "x86_64")]
        Sha1Unit::Avx512(_) => Avx512::LANES,
    }
}

/// The MACs of `messages`, at most [`lanes`] of the first one's key and none missing, to the first elements of the answer.
pub(crate) fn macs(messages: &[Option<Message<'_>>]) -> [[u8; DIGEST_BYTES]; LANES_MAX] {
    let Some(Some(first)) = messages.first() else { return [[0; DIGEST_BYTES]; LANES_MAX] };
    match first.key.unit {
        Sha1Unit::Scalar(kernel) => macs_with(kernel, messages),
        #[cfg(target_arch = "x86_64")]
        Sha1Unit::Avx2(kernel) => macs_with(kernel, messages),
        #[cfg(target_arch = "x86_64")]
        Sha1Unit::Shani(kernel) => macs_with(kernel, messages),
        #[cfg(target_arch = "x86_64")]
        Sha1Unit::Avx512(kernel) => macs_with(kernel, messages),
    }
}

/// Longest header of a [`Message`], in bytes: an RTP header with every extension that a browser sends takes half.
pub(crate) const HEADER_BYTES_MAX: usize = 2 * BLOCK_BYTES;

/// What one lane of [`macs`] authenticates: header || text || trailer.
pub(crate) struct Message<'a> {
    /// The key.
    pub(crate) key: &'a HmacSha1,
    /// At most [`HEADER_BYTES_MAX`].
    pub(crate) header: &'a [u8],
    /// Hashed where it lies but for its ends.
    pub(crate) text: &'a [u8],
    /// The roll-over counter.
    pub(crate) trailer: [u8; 4],
}

/// Blocks of a message that do not lie in memory as they are hashed: those with the header, and the padded last ones.
type End = [[u8; BLOCK_BYTES]; 2];
const EMPTY_END: End = [[0; BLOCK_BYTES]; 2];
const _: () = assert!(size_of::<End>() >= HEADER_BYTES_MAX, "the header's blocks fit");

impl Message<'_> {
    /// Fills in the blocks with the header, which are zeros; answers how many there are.
    fn write_head(&self, head: &mut End) -> usize {
        let bytes = self.header.len() + self.text.len();
        let blocks = self.header.len().div_ceil(BLOCK_BYTES).min(bytes / BLOCK_BYTES);
        self.copy(0, &mut head.as_flattened_mut()[..blocks * BLOCK_BYTES]);
        blocks
    }

    /// Fills in the padded last blocks, which are zeros; answers how many there are.
    fn write_tail(&self, tail: &mut End) -> usize {
        let bytes = self.header.len() + self.text.len();
        let held = bytes % BLOCK_BYTES;
        let tail = tail.as_flattened_mut();
        match self.text.len().checked_sub(held) {
            Some(at) => tail[..held].copy_from_slice(&self.text[at..]),
            None => self.copy(bytes - held, &mut tail[..held]),
        }
        let end = held + self.trailer.len();
        tail[held..end].copy_from_slice(&self.trailer);
        tail[end] = 0x80;
        let bits = ((BLOCK_BYTES + bytes + self.trailer.len()) as u64 * 8).to_be_bytes();
        let blocks = (end + 1 + bits.len()).div_ceil(BLOCK_BYTES);
        tail[blocks * BLOCK_BYTES - bits.len()..][..bits.len()].copy_from_slice(&bits);
        blocks
    }

    /// Fills `out` with header || text from byte `from` on, which has that many.
    fn copy(&self, from: usize, out: &mut [u8]) {
        let header = self.header.get(from..).unwrap_or_default();
        let (of_header, of_text) = out.split_at_mut(header.len().min(out.len()));
        of_header.copy_from_slice(&header[..of_header.len()]);
        let at = (from + of_header.len()).saturating_sub(self.header.len());
        of_text.copy_from_slice(&self.text[at..at + of_text.len()]);
    }

    /// The whole blocks of text between the ends, of which the first has so many.
    fn middle(&self, head_blocks: usize) -> &[[u8; BLOCK_BYTES]] {
        let head = head_blocks * BLOCK_BYTES;
        self.text.get(head.saturating_sub(self.header.len())..).unwrap_or_default().as_chunks().0
    }
}

fn macs_with<C: CompressMany>(
    kernel: C,
    messages: &[Option<Message<'_>>],
) -> [[u8; DIGEST_BYTES]; LANES_MAX] {
    let mut answer = [[0; DIGEST_BYTES]; LANES_MAX];
    macro_rules! arms {
        ($($count:literal)*) => {
            match messages.len() {
                $($count if $count <= C::LANES => {
                    let messages = messages.first_chunk().expect("as many as there are");
                    answer[..$count].copy_from_slice(&macs_of::<$count, C>(kernel, messages));
                })*
                _ => unreachable!("a group has at most as many messages as its kernel has lanes"),
            }
        };
    }
    arms!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
    answer
}

/// The block of the outer hash, whose digest is still to be put in.
const OUTER_BLOCK: [u8; BLOCK_BYTES] = {
    let mut block = [0; BLOCK_BYTES];
    block[DIGEST_BYTES] = 0x80;
    let bits = ((BLOCK_BYTES + DIGEST_BYTES) as u16 * 8).to_be_bytes();
    (block[BLOCK_BYTES - 2], block[BLOCK_BYTES - 1]) = (bits[0], bits[1]);
    block
};

/// The MACs of `messages`, side by side as far as they are equally long.
fn macs_of<const N: usize, C: CompressMany>(
    kernel: C,
    messages: &[Option<Message<'_>>; N],
) -> [[u8; DIGEST_BYTES]; N] {
    let messages: [&Message<'_>; N] =
        std::array::from_fn(|lane| messages[lane].as_ref().expect("no message is missing"));
    let mut states: [State; N] = std::array::from_fn(|lane| messages[lane].key.inner);
    let head_blocks = hash_heads(kernel, &mut states, &messages);
    compress_each(kernel, &mut states, std::array::from_fn(|lane| messages[lane].middle(head_blocks[lane])));
    let mut tails = [EMPTY_END; N];
    let tail_blocks: [usize; N] = std::array::from_fn(|lane| messages[lane].write_tail(&mut tails[lane]));
    compress_each(kernel, &mut states, std::array::from_fn(|lane| &tails[lane][..tail_blocks[lane]]));

    let mut outer_states: [State; N] = std::array::from_fn(|lane| messages[lane].key.outer);
    let mut outer_blocks = [[OUTER_BLOCK]; N];
    for ([block], state) in outer_blocks.iter_mut().zip(&states) {
        block[..DIGEST_BYTES].copy_from_slice(&digest(state));
    }
    kernel.compress_many(&mut outer_states, std::array::from_fn(|lane| &outer_blocks[lane][..]));
    outer_states.map(|state| digest(&state))
}

/// Hashes the blocks with the messages' headers into `states`; answers how many each has.
fn hash_heads<const N: usize, C: CompressMany>(
    kernel: C,
    states: &mut [State; N],
    messages: &[&Message<'_>; N],
) -> [usize; N] {
    let mut blocks = [0; N];
    if messages.iter().any(|message| !message.header.is_empty()) {
        let mut heads = [EMPTY_END; N];
        blocks = std::array::from_fn(|lane| messages[lane].write_head(&mut heads[lane]));
        compress_each(kernel, states, std::array::from_fn(|lane| &heads[lane][..blocks[lane]]));
    }
    blocks
}

/// Hashes `blocks[lane]` into `states[lane]`: all lanes together as long as each has blocks, and the longer ones on their own.
fn compress_each<const N: usize, C: CompressMany>(
    kernel: C,
    states: &mut [State; N],
    blocks: [&[[u8; BLOCK_BYTES]]; N],
) {
    let common = blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
    if common > 0 {
        kernel.compress_many(states, blocks.map(|blocks| &blocks[..common]));
    }
    for (state, blocks) in states.iter_mut().zip(blocks) {
        if blocks.len() > common {
            kernel.compress(state, &blocks[common..]);
        }
    }
}

impl Drop for HmacSha1 {
    fn drop(&mut self) {
        self.inner.zeroize();
        self.outer.zeroize();
    }
}

impl fmt::Debug for HmacSha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HmacSha1(..)")
    }
}

fn key_states<C: Compress>(kernel: C, key: &[u8]) -> (State, State) {
    let mut block = [0; BLOCK_BYTES];
    if key.len() > BLOCK_BYTES {
        let mut hash = Sha1::resume(kernel, INITIAL, 0);
        hash.update(key);
        block[..DIGEST_BYTES].copy_from_slice(&hash.finish());
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let mut padded = [block.map(|byte| byte ^ 0x36), block.map(|byte| byte ^ 0x5c)];
    block.zeroize();
    let (mut inner, mut outer) = (INITIAL, INITIAL);
    kernel.compress(&mut inner, &padded[..1]);
    kernel.compress(&mut outer, &padded[1..]);
    padded.zeroize();
    (inner, outer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2202 section 3, tests 1, 2 and 6 (a key longer than a block); all seven are in `tests/vectors`.
    #[test]
    fn rfc_2202_examples_hold() {
        for suite in Suite::available() {
            let name = suite.name();
            let short = HmacSha1::new(suite, &[0x0b; 20]);
            assert_eq!(short.mac(&[b"Hi There"])[..4], [0xb6, 0x17, 0x31, 0x86], "{name}");
            let jefe = HmacSha1::new(suite, b"Jefe");
            let split: [&[u8]; 3] = [b"what do ya want ", b"", b"for nothing?"];
            assert_eq!(jefe.mac(&split)[..4], [0xef, 0xfc, 0xdf, 0x6a], "{name}");
            let long = HmacSha1::new(suite, &[0xaa; 80]);
            let text: &[u8] = b"Test Using Larger Than Block-Size Key - Hash Key First";
            assert_eq!(long.mac(&[text])[..4], [0xaa, 0x4a, 0xe5, 0xe1], "{name}");
        }
    }

    #[test]
    fn a_truncated_or_empty_mac_never_verifies() {
        let key = HmacSha1::new(Suite::scalar(), b"key");
        let mac = key.mac(&[b"text"]);
        assert!(key.verify(&[b"te", b"xt"], &mac));
        for len in 0..mac.len() {
            assert!(!key.verify(&[b"text"], &mac[..len]), "{len}");
        }
    }
}
