//! Identities of people and meetings: unguessable 63-bit numbers.

use std::fmt;

use dataplane::base::ids::MeetingId;
use serde::{Deserialize, Serialize};

/// Shards of the source's data model: a meeting's number is congruent to its host's modulo this.
pub const SHARDS: u64 = 8;
const MASK_63: u64 = u64::MAX >> 1;

/// A person, with an account or as a guest. Shown as `user_<decimal>`, which is also the participant's identity in a meeting.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(pub u64);

impl UserId {
    /// A new number nobody can guess.
    #[must_use]
    pub fn random() -> Self {
        Self(random_63())
    }

    /// Reads `user_<decimal>`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        decimal(text.strip_prefix("user_")?).map(Self)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user_{}", self.0)
    }
}

/// A new meeting number in its host's shard.
#[must_use]
pub fn random_meeting(host: UserId) -> MeetingId {
    MeetingId(loop {
        let id = (random_63() & !(SHARDS - 1)) | (host.0 % SHARDS);
        if id != 0 {
            break id;
        }
    })
}

/// Reads `meeting_<decimal>`.
#[must_use]
pub fn parse_meeting(text: &str) -> Option<MeetingId> {
    decimal(text.strip_prefix("meeting_")?).map(MeetingId)
}

/// A canonical decimal of 1 to 2^63 - 1: no sign, no leading zero.
fn decimal(digits: &str) -> Option<u64> {
    let plain = !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|id| plain && *id <= MASK_63)
}

fn random_63() -> u64 {
    loop {
        let id = random_u64() & MASK_63;
        if id != 0 {
            return id;
        }
    }
}

/// 64 random bits from the system.
///
/// # Panics
/// When the kernel has no random source: nothing that needs unguessable numbers can go on then.
#[must_use]
pub fn random_u64() -> u64 {
    getrandom::u64().expect("Linux always has a random source once it has booted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meeting_numbers_are_63_bit_and_stay_in_the_shard_of_their_host() {
        for _ in 0..1_000 {
            let host = UserId::random();
            let meeting = random_meeting(host);
            assert!(meeting.0 > 0 && meeting.0 < 1 << 63);
            assert_eq!(meeting.0 % 8, host.0 % 8);
        }
    }

    #[test]
    fn only_canonical_numbers_are_read() {
        assert_eq!(parse_meeting("meeting_42"), Some(MeetingId(42)));
        assert_eq!(parse_meeting("meeting_9223372036854775807"), Some(MeetingId(MASK_63)));
        for bad in [
            "",
            "42",
            "meeting_",
            "meeting_0",
            "meeting_042",
            "meeting_+1",
            "meeting_-1",
            "meeting_1 ",
            "meeting_9223372036854775808",
            "meeting_99999999999999999999",
            "user_42",
            "meeting_४२",
        ] {
            assert_eq!(parse_meeting(bad), None, "{bad}");
        }
        assert_eq!(UserId::parse(&UserId(9).to_string()), Some(UserId(9)));
    }
}
