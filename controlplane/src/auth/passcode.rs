//! Meeting passcodes at rest: PBKDF2-HMAC-SHA256 (RFC 8018) with a salt per meeting. They are short by nature; the hash keeps
//! them out of backups and logs, not out of reach of an attacker who may guess for days.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Iterations of new hashes: about 20 ms of one core.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(60_000).expect("not zero");

/// Hashes a passcode as `pbkdf2-sha256$iterations$salt$hash`. Takes milliseconds: not for an async thread.
///
/// `None` when the system gives no randomness.
#[must_use]
pub fn hash(passcode: &str) -> Option<String> {
    let mut salt = [0; 16];
    SystemRandom::new().fill(&mut salt).ok()?;
    let mut derived = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, &salt, passcode.as_bytes(), &mut derived);
    let (salt, derived) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(derived));
    Some(format!("pbkdf2-sha256${ITERATIONS}${salt}${derived}"))
}

/// Whether `passcode` is the one behind `hashed`; constant time in the passcode. Takes milliseconds.
#[must_use]
pub fn matches(hashed: &str, passcode: &str) -> bool {
    let mut parts = hashed.split('$');
    let (Some("pbkdf2-sha256"), Some(iterations), Some(salt), Some(derived), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let (Ok(iterations), Ok(salt), Ok(derived)) =
        (iterations.parse::<NonZeroU32>(), STANDARD_NO_PAD.decode(salt), STANDARD_NO_PAD.decode(derived))
    else {
        return false;
    };
    pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, passcode.as_bytes(), &derived).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_passcode_matches_and_equal_ones_hash_apart() {
        let hashed = hash("1234 会議").expect("randomness");
        assert!(matches(&hashed, "1234 会議"));
        assert!(!matches(&hashed, "1234"));
        assert!(!matches(&hashed, ""));
        assert_ne!(Some(hashed), hash("1234 会議"));
    }

    #[test]
    fn a_damaged_hash_matches_nothing() {
        for damaged in
            ["", "$", "pbkdf2-sha256$0$AA$AA", "pbkdf2-sha256$x$AA$AA", "md5$1$AA$AA", "pbkdf2-sha256$1$!$!"]
        {
            assert!(!matches(damaged, ""), "{damaged}");
        }
    }
}
