//! Texts that only who shows a secret again can read: sealed with a key made of the secret, which is not kept.
//!
//! AES-256-GCM (NIST SP 800-38D) under HKDF-SHA-256 (RFC 5869) of the secret with a random salt of 256 bits: each text has a key of its
//! own, so the one nonce is used once.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};

const SALT_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
/// What sealing adds to a text.
pub const HELD_BYTES: usize = SALT_BYTES + TAG_BYTES;

/// Seals a text, bound to `context`: `salt || ciphertext || tag`. `None` without randomness.
#[must_use]
pub fn seal(secret: &str, context: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    let mut salt = [0; SALT_BYTES];
    SystemRandom::new().fill(&mut salt).ok()?;
    let mut sealed = text.to_vec();
    key(secret, &salt)?.seal_in_place_append_tag(nonce(), Aad::from(context), &mut sealed).ok()?;
    Some([&salt[..], &sealed].concat())
}

/// Opens what [`seal`] made; `None` with another secret or context, and for anything else.
#[must_use]
pub fn open(secret: &str, context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (salt, sealed) = sealed.split_at_checked(SALT_BYTES)?;
    let mut text = sealed.to_vec();
    let bytes = key(secret, salt)?.open_in_place(nonce(), Aad::from(context), &mut text).ok()?.len();
    text.truncate(bytes);
    Some(text)
}

fn key(secret: &str, salt: &[u8]) -> Option<LessSafeKey> {
    let extracted = Salt::new(HKDF_SHA256, salt).extract(secret.as_bytes());
    let expanded = extracted.expand(&[b"kaigi held text"], &AES_256_GCM).ok()?;
    Some(LessSafeKey::new(UnboundKey::from(expanded)))
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secret_opens_it_and_only_where_it_belongs() {
        let sealed = seal("secret", b"here", b"text").expect("randomness");
        assert_eq!(sealed.len(), 4 + HELD_BYTES);
        assert_eq!(open("secret", b"here", &sealed).as_deref(), Some(b"text".as_slice()));
        assert_eq!(open("Secret", b"here", &sealed), None);
        assert_eq!(open("secret", b"there", &sealed), None);
        assert_ne!(seal("secret", b"here", b"text"), Some(sealed.clone()), "a key of its own each time");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(open("secret", b"here", &changed), None, "byte {at}");
            assert_eq!(open("secret", b"here", &sealed[..at]), None, "cut at {at}");
        }
    }
}
