//! HMAC-SHA1 (RFC 2104) with the key blocks hashed ahead: STUN MESSAGE-INTEGRITY (RFC 8489 section 14.5) and the tag of
//! AES_CM_128_HMAC_SHA1_80. The key fills one block each way, so both states are computed once per key and a message costs
//! two compressions fewer.

use crate::Suite;
use crate::compare::equal;
use crate::detect::Sha1Unit;
use crate::sha1::{BLOCK_BYTES, Compress, DIGEST_BYTES, INITIAL, Sha1, State};
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
            Sha1Unit::Shani(kernel) => key_states(kernel, key),
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
            Sha1Unit::Shani(kernel) => self.mac_with(kernel, parts),
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
