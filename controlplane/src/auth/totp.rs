//! One-time codes of an authenticator app: TOTP (RFC 6238) with HMAC-SHA-1, six digits and steps of 30 s, what every app takes.
//!
//! Sans-IO: the time is an argument. Promises: a code counts for the step before, the present and the next, and never for a
//! step that was used. Not here: how often somebody may guess (`service::accounts`).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// Length of a secret, bytes (RFC 4226 section 4 recommends 160 bits).
pub const SECRET_BYTES: usize = 20;
/// Length of a step, seconds.
const STEP_SECONDS: u64 = 30;
/// Steps before and after the present one that count: clocks of telephones differ.
const STEPS_AROUND: u64 = 1;
const DIGITS: usize = 6;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A new secret; `None` when the system gives no randomness.
#[must_use]
pub fn new_secret() -> Option<[u8; SECRET_BYTES]> {
    let mut secret = [0; SECRET_BYTES];
    SystemRandom::new().fill(&mut secret).ok()?;
    Some(secret)
}

/// The step `code` is of, if it is right now (`now_s` in seconds since 1970) and later than `used`, the last step taken.
#[must_use]
pub fn step_of(secret: &[u8], code: &str, now_s: u64, used: Option<u64>) -> Option<u64> {
    let now = step_at(now_s);
    let fresh = |step: &u64| used.is_none_or(|used| *step > used);
    // All steps are looked at whichever matches.
    let mut found = None;
    for step in (now.saturating_sub(STEPS_AROUND)..=now + STEPS_AROUND).filter(fresh) {
        if verify_slices_are_equal(code_of(secret, step).as_bytes(), code.as_bytes()).is_ok() {
            found = Some(step);
        }
    }
    found
}

/// The step a time is in, seconds since 1970.
#[must_use]
pub const fn step_at(now_s: u64) -> u64 {
    now_s / STEP_SECONDS
}

/// The code of a step, as an app shows it.
#[must_use]
pub fn code_of(secret: &[u8], step: u64) -> String {
    format!("{:0DIGITS$}", hotp(secret, step) % 1_000_000)
}

/// What an authenticator app scans (the Key URI format): `account` is shown beside the issuer.
#[must_use]
pub fn uri(secret: &[u8], account: &str) -> String {
    let issuer = super::ISSUER;
    let (label, secret) = (percent_encoded(account), base32(secret));
    format!(
        "otpauth://totp/{issuer}:{label}?secret={secret}&issuer={issuer}&algorithm=SHA1&digits=6&period=30"
    )
}

/// Base 32 without padding (RFC 4648 section 6), in capitals.
#[must_use]
pub fn base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for group in bytes.chunks(5) {
        let mut bits = [0; 8];
        bits[3..3 + group.len()].copy_from_slice(group);
        let bits = u64::from_be_bytes(bits);
        for at in 0..(group.len() * 8).div_ceil(5) {
            let index = (bits >> (35 - 5 * at)) & 31;
            text.push(char::from(BASE32[usize::try_from(index).unwrap_or(0)]));
        }
    }
    text
}

/// The truncated number of RFC 4226 section 5.3, before it is cut to digits.
fn hotp(secret: &[u8], counter: u64) -> u32 {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &counter.to_be_bytes());
    let tag = tag.as_ref();
    let at = usize::from(tag[tag.len() - 1] & 0x0f);
    u32::from_be_bytes([tag[at], tag[at + 1], tag[at + 2], tag[at + 3]]) & 0x7fff_ffff
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"12345678901234567890";

    #[test]
    fn the_vectors_of_rfc_6238_appendix_b_come_out() {
        for (time, code) in [
            (59, 94_287_082),
            (1_111_111_109, 7_081_804),
            (1_111_111_111, 14_050_471),
            (1_234_567_890, 89_005_924),
            (2_000_000_000, 69_279_037),
            (20_000_000_000, 65_353_130),
        ] {
            assert_eq!(hotp(SECRET, step_at(time)) % 100_000_000, code, "{time}");
        }
    }

    #[test]
    fn the_vectors_of_rfc_4226_appendix_d_come_out() {
        let codes =
            [755_224, 287_082, 359_152, 969_429, 338_314, 254_676, 287_922, 162_583, 399_871, 520_489];
        for (counter, code) in (0_u64..).zip(codes) {
            assert_eq!(hotp(SECRET, counter) % 1_000_000, code);
        }
    }

    #[test]
    fn a_code_counts_for_its_neighbours_and_no_further() {
        assert_eq!(step_of(SECRET, "287082", 59, None), Some(1));
        assert_eq!(step_of(SECRET, "287082", 0, None), Some(1), "the next step");
        assert_eq!(step_of(SECRET, "287082", 89, None), Some(1), "the step before");
        assert_eq!(step_of(SECRET, "287082", 90, None), None);
        for wrong in ["", "287083", "2870821", "28708", "94287082", "２８７０８２"] {
            assert_eq!(step_of(SECRET, wrong, 59, None), None, "{wrong}");
        }
    }

    #[test]
    fn a_step_that_was_used_never_counts_again() {
        assert_eq!(step_of(SECRET, "287082", 59, Some(0)), Some(1));
        assert_eq!(step_of(SECRET, "287082", 59, Some(1)), None);
        assert_eq!(step_of(SECRET, "287082", 59, Some(2)), None);
    }

    #[test]
    fn secrets_read_like_rfc_4648_and_addresses_are_escaped() {
        for (bytes, text) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(bytes.as_bytes()), text);
        }
        let uri = uri(SECRET, "ada+x@example.org");
        assert_eq!(
            uri,
            "otpauth://totp/kaigi:ada%2Bx@example.org?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=kaigi&algorithm=SHA1&digits=6&period=30"
        );
    }
}
