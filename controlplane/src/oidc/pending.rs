//! Sign-ins on their way, each bound to one browser by a secret in a cookie, each used once.
//!
//! Sans-IO: the time is an argument. Lives in memory: after a restart people begin again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use openidconnect::{Nonce, PkceCodeVerifier};

use crate::auth::secret;
use crate::ids::UserId;

/// From leaving to coming back: a password, a second factor and a telephone that lies elsewhere.
pub const AGE_MAX: Duration = Duration::from_secs(10 * 60);
/// Sign-ins on their way: 8,192 x 1.5 KiB = 12 MiB. When it is full the oldest goes; each network begins a few a second.
const COUNT_MAX: usize = 8_192;

/// How far somebody is.
pub enum Stage {
    /// At the provider.
    Away(Box<Away>),
    /// Back, and known; the account's own code is missing.
    NeedsCode(UserId),
}

/// What must fit when somebody comes back.
pub struct Away {
    /// Comes back in the address.
    pub state: String,
    /// Comes back in the ID token.
    pub nonce: Nonce,
    /// Proves that who redeems the code asked for it (RFC 7636).
    pub verifier: PkceCodeVerifier,
    /// Where the provider sends people back to.
    pub redirect_uri: String,
    /// The page they wanted.
    pub next: String,
}

/// See the module.
#[derive(Default)]
pub struct Pending(HashMap<String, (Instant, Stage)>);

impl Pending {
    /// Keeps a stage; the cookie that leads to it. `None` when the system gives no randomness.
    pub fn put(&mut self, stage: Stage, now: Instant) -> Option<String> {
        self.0.retain(|_, (begun, _)| now.saturating_duration_since(*begun) < AGE_MAX);
        if self.0.len() >= COUNT_MAX {
            let oldest = self.0.iter().min_by_key(|(_, (begun, _))| *begun).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.0.remove(&key));
        }
        let cookie = secret::new()?;
        self.0.insert(secret::hash(&cookie), (now, stage));
        Some(cookie)
    }

    /// Takes somebody out who was away; whatever comes of it, this was the one time.
    pub fn take(&mut self, cookie: &str, now: Instant) -> Option<Away> {
        let (begun, stage) = self.0.remove(&secret::hash(cookie))?;
        match stage {
            Stage::Away(away) if now.saturating_duration_since(begun) < AGE_MAX => Some(*away),
            _ => None,
        }
    }

    /// Whose code is missing.
    #[must_use]
    pub fn needs_code(&self, cookie: &str, now: Instant) -> Option<UserId> {
        match self.0.get(&secret::hash(cookie))? {
            (begun, Stage::NeedsCode(user)) if now.saturating_duration_since(*begun) < AGE_MAX => Some(*user),
            _ => None,
        }
    }

    /// Forgets a sign-in.
    pub fn forget(&mut self, cookie: &str) {
        self.0.remove(&secret::hash(cookie));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away(state: &str) -> Stage {
        Stage::Away(Box::new(Away {
            state: state.to_owned(),
            nonce: Nonce::new("n".to_owned()),
            verifier: PkceCodeVerifier::new("v".repeat(43)),
            redirect_uri: String::new(),
            next: String::new(),
        }))
    }

    #[test]
    fn a_sign_in_is_used_once_and_in_time() {
        let mut pending = Pending::default();
        let now = Instant::now();
        let cookie = pending.put(away("a"), now).expect("randomness");
        let other = pending.put(away("b"), now).expect("randomness");
        assert_eq!(pending.take(&cookie, now).map(|away| away.state).as_deref(), Some("a"));
        assert!(pending.take(&cookie, now).is_none());
        assert!(pending.take("", now).is_none());
        assert!(pending.take(&other, now + AGE_MAX).is_none());
        let code = pending.put(Stage::NeedsCode(UserId(7)), now).expect("randomness");
        assert_eq!(pending.needs_code(&code, now), Some(UserId(7)));
        assert_eq!(pending.needs_code(&code, now + AGE_MAX), None);
        pending.forget(&code);
        assert_eq!(pending.needs_code(&code, now), None);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes() {
        let mut pending = Pending::default();
        let now = Instant::now();
        let first = pending.put(away("first"), now).expect("randomness");
        let later = now + Duration::from_secs(1);
        for _ in 1..COUNT_MAX {
            pending.put(away("x"), later);
        }
        let last = pending.put(away("last"), later).expect("randomness");
        assert_eq!(pending.0.len(), COUNT_MAX);
        assert!(pending.take(&first, later).is_none());
        assert!(pending.take(&last, later).is_some());
    }
}
