//! Secrets we hand out and must recognise: 256 random bits, kept as their SHA-256 alone.
//!
//! So many bits cannot be guessed, hence no salt and no slow hash.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A new secret, 43 characters that need no escaping in a URL or cookie; `None` when the system gives no randomness.
#[must_use]
pub fn new() -> Option<String> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

/// What is kept of a secret.
#[must_use]
pub fn hash(secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, secret.as_bytes()))
}

/// Whether `secret` is the one behind `hashed`; constant time.
#[must_use]
pub fn matches(hashed: &str, secret: &str) -> bool {
    verify_slices_are_equal(hashed.as_bytes(), hash(secret).as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_recognised_by_its_hash_alone() {
        let secret = new().expect("randomness");
        assert_eq!(secret.len(), 43);
        assert!(matches(&hash(&secret), &secret));
        assert!(!matches(&hash(&secret), ""));
        assert!(!matches("", &secret));
        assert_ne!(new(), Some(secret));
    }
}
