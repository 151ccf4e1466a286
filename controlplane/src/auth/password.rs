//! Account passwords at rest: argon2id (RFC 9106) with a salt per password, written as a PHC string.
//!
//! Promises: new hashes take the RFC's second recommended parameters (section 4: 64 MiB, three passes, four lanes); a check
//! takes the same time for an account without a password as for one with. Both cost tens of milliseconds and 64 MiB: callers
//! bound how many run at once and keep them off async threads. Not here: sign-in, throttling.

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::constant_time;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

/// Memory of one hash, KiB.
const MEMORY_KIB: u32 = 64 * 1024;
/// Passes over it.
const PASSES: u32 = 3;
/// Lanes it is divided into.
const LANES: u32 = 4;
/// Most memory a stored hash may ask for, KiB: a damaged record must not take the machine's.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
/// Most passes a stored hash may ask for.
const PASSES_MAX: u32 = 16;
/// Length of a hash, bytes.
const HASH_BYTES: usize = 32;

/// Shortest password, characters.
pub const CHARS_MIN: usize = 12;
/// Longest password, bytes: hashing is linear in it.
pub const BYTES_MAX: usize = 1_024;

/// Passwords of at least [`CHARS_MIN`] characters that lists of leaked ones begin with; compared without case.
const COMMON: &[&str] = &[
    "000000000000",
    "111111111111",
    "123123123123",
    "1234567890123",
    "123456789012",
    "12345678901234567890",
    "1q2w3e4r5t6y",
    "1qaz2wsx3edc",
    "abcdefghijkl",
    "adminadminadmin",
    "administrator",
    "aaaaaaaaaaaa",
    "changemechangeme",
    "correcthorsebatterystaple",
    "iloveyouiloveyou",
    "letmeinletmein",
    "passw0rdpassw0rd",
    "password1234",
    "password12345",
    "password123456",
    "passwordpassword",
    "qazwsxedcrfv",
    "qwerty123456",
    "qwertyqwerty",
    "qwertyuiopasdf",
    "qwertyuiop123",
    "qwertyuiop[]",
    "unknownunknown",
    "welcomewelcome",
    "zaq12wsxcde3",
];

/// What is wrong with a password somebody wants to have; `None` if nothing is.
#[must_use]
pub fn fault(password: &str) -> Option<String> {
    if password.chars().count() < CHARS_MIN {
        return Some(format!("must have at least {CHARS_MIN} characters"));
    }
    if password.len() > BYTES_MAX {
        return Some(format!("must be at most {BYTES_MAX} bytes long"));
    }
    if COMMON.contains(&password.to_lowercase().as_str()) {
        return Some("is among the first that are guessed; take one nobody else has".to_owned());
    }
    None
}

/// Hashes a password as `$argon2id$v=19$m=…,t=…,p=…$salt$hash`.
///
/// `None` when the system gives no randomness or no memory.
#[must_use]
pub fn hash(password: &str) -> Option<String> {
    let mut salt = [0; 16];
    SystemRandom::new().fill(&mut salt).ok()?;
    let derived = derive(MEMORY_KIB, PASSES, LANES, &salt, password)?;
    let (salt, derived) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(&derived[..]));
    Some(format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${derived}"))
}

/// Whether `password` is the one behind `hashed`. Without a hash it works as long and says no, so that nobody learns from
/// the time whether there is an account.
#[must_use]
pub fn matches(hashed: Option<&str>, password: &str) -> bool {
    match hashed.and_then(parse) {
        Some(stored) => derive(stored.memory_kib, stored.passes, stored.lanes, &stored.salt, password)
            .is_some_and(|derived| {
                constant_time::verify_slices_are_equal(&derived[..], &stored.hash).is_ok()
            }),
        None => {
            let _ = derive(MEMORY_KIB, PASSES, LANES, &[0; 16], password);
            false
        }
    }
}

struct Stored {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

fn parse(hashed: &str) -> Option<Stored> {
    let mut parts = hashed.strip_prefix("$argon2id$v=19$")?.split('$');
    let (costs, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
    let mut costs = costs.split(',');
    let mut cost = |name: &str| costs.next()?.strip_prefix(name)?.parse::<u32>().ok();
    let stored = Stored {
        memory_kib: cost("m=")?,
        passes: cost("t=")?,
        lanes: cost("p=")?,
        salt: STANDARD_NO_PAD.decode(salt).ok()?,
        hash: STANDARD_NO_PAD.decode(hash).ok()?,
    };
    let fits = stored.memory_kib <= MEMORY_KIB_MAX && stored.passes <= PASSES_MAX;
    (fits && stored.hash.len() == HASH_BYTES && parts.next().is_none()).then_some(stored)
}

fn derive(
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: &[u8],
    password: &str,
) -> Option<Zeroizing<[u8; HASH_BYTES]>> {
    let params = Params::new(memory_kib, passes, lanes, Some(HASH_BYTES)).ok()?;
    let mut derived = Zeroizing::new([0; HASH_BYTES]);
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into(password.as_bytes(), salt, &mut derived[..]).ok()?;
    Some(derived)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_matches_and_equal_ones_hash_apart() {
        let hashed = hash("correct horse 会議").expect("randomness");
        assert!(hashed.starts_with("$argon2id$v=19$m=65536,t=3,p=4$"), "{hashed}");
        assert!(matches(Some(&hashed), "correct horse 会議"));
        assert!(!matches(Some(&hashed), "correct horse"));
        assert!(!matches(None, ""));
        assert_ne!(Some(hashed), hash("correct horse 会議"));
    }

    #[test]
    fn the_hash_of_the_reference_implementation_matches() {
        // phc-winner-argon2, test.c: version 0x13, argon2id, t=2, m=2^16, p=1, "password", "somesalt".
        let reference =
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert!(matches(Some(reference), "password"));
        assert!(!matches(Some(reference), "differentpassword"));
    }

    #[test]
    fn a_damaged_hash_matches_nothing_and_asks_for_no_more_than_we_give() {
        let zeros = STANDARD_NO_PAD.encode([0; 32]);
        for damaged in [
            String::new(),
            "$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA".to_owned(),
            format!("$argon2id$v=19$m=4294967295,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA${zeros}"),
            format!("$argon2id$v=19$m=64,t=4294967295,p=4$AAAAAAAAAAAAAAAAAAAAAA${zeros}"),
            format!("$argon2i$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA${zeros}"),
            "$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$".to_owned(),
        ] {
            assert!(parse(&damaged).is_none(), "{damaged}");
        }
    }

    #[test]
    fn short_endless_and_common_passwords_are_refused_with_the_reason() {
        assert_eq!(fault("twelve chars"), None);
        assert_eq!(fault(&"x".repeat(BYTES_MAX)), None);
        assert!(fault("eleven char").is_some_and(|why| why.contains("12")));
        assert!(fault(&"x".repeat(BYTES_MAX + 1)).is_some_and(|why| why.contains("1024")));
        assert!(fault("PasswordPassword").is_some_and(|why| why.contains("guessed")));
        // Characters, not bytes: eleven of four bytes each are too few.
        assert!(fault(&"\u{1f600}".repeat(11)).is_some());
        assert!(
            COMMON.iter().all(|common| common.chars().count() >= CHARS_MIN),
            "others are too short anyway"
        );
    }
}
