//! The second factor: an authenticator app's codes, and recovery codes for the day the telephone is gone.
//!
//! A code is looked at and its time step used up in one write, so the same code counts once however often it is sent at once.

use super::audit::Actor;
use super::signin::now_s;
use super::tables::Action;
use super::throttle::Guess;
use super::{Caller, Visitor};
use crate::auth::{secret, totp};
use crate::service::records::{Totp, User};
use crate::service::{Seen, Service, ServiceError};
use crate::store::Batch;

/// Recovery codes given out when codes are turned on.
pub const RECOVERY_CODES: usize = 10;
/// Characters of a recovery code without its dashes: 16 x 5 bits cannot be guessed, so a plain hash is enough.
const RECOVERY_CHARS: usize = 16;

/// Takes a code if it counts: the step of an app's, or a recovery code, is used up.
pub(super) fn use_code(factor: &mut Totp, code: &str, now_s: u64) -> bool {
    let plain: String =
        code.chars().filter(|c| !c.is_whitespace() && *c != '-').flat_map(char::to_uppercase).collect();
    if let Some(step) = totp::step_of(&factor.secret, &plain, now_s, factor.used_step) {
        factor.used_step = Some(step);
        return true;
    }
    let known = factor.recovery.iter().position(|hashed| secret::matches(hashed, &plain));
    known.inspect(|at| drop(factor.recovery.remove(*at))).is_some()
}

/// New recovery codes as they are shown, and what is kept of them.
fn recovery_codes() -> Option<(Vec<String>, Vec<String>)> {
    let mut codes = (Vec::with_capacity(RECOVERY_CODES), Vec::with_capacity(RECOVERY_CODES));
    for _ in 0..RECOVERY_CODES {
        let plain = &totp::base32(&totp::new_secret()?)[..RECOVERY_CHARS];
        let groups: Vec<&str> = (0..RECOVERY_CHARS).step_by(4).map(|at| &plain[at..at + 4]).collect();
        codes.0.push(groups.join("-"));
        codes.1.push(secret::hash(plain));
    }
    Some(codes)
}

impl Service {
    /// Begins to set up an authenticator app; what the app scans. Nothing changes until a code was confirmed.
    ///
    /// # Errors
    /// `NoToken`, `OutOfScope`, `SecondFactorOn`.
    pub async fn begin_totp(&self, caller: Caller) -> Result<String, ServiceError> {
        let user = self.own_account(caller)?;
        let secret = totp::new_secret().ok_or(ServiceError::Busy)?;
        let user = self
            .change_user(user.user_id, |user| {
                if user.needs_code() {
                    return Err(ServiceError::SecondFactorOn);
                }
                user.totp = Some(Totp {
                    secret: secret.to_vec(),
                    enabled: false,
                    used_step: None,
                    recovery: Vec::new(),
                });
                Ok(Batch::new())
            })
            .await?;
        Ok(totp::uri(&secret, user.email.as_deref().unwrap_or(&user.name)))
    }

    /// Turns codes on, shown one; the recovery codes, which nobody can see again.
    ///
    /// # Errors
    /// `NoToken`, `OutOfScope`, `NoSecondFactor`, `SecondFactorOn`, `WrongCode`, `TooManyAttempts`.
    pub async fn confirm_totp(
        &self,
        caller: Caller,
        visitor: &Visitor,
        code: &str,
    ) -> Result<Vec<String>, ServiceError> {
        let (shown, kept) = recovery_codes().ok_or(ServiceError::Busy)?;
        self.with_code(caller, visitor, Action::EnableTotp, |user| {
            if user.needs_code() {
                return Err(ServiceError::SecondFactorOn);
            }
            let factor = user.totp.as_mut().ok_or(ServiceError::NoSecondFactor)?;
            if !use_code(factor, code, now_s()) {
                return Err(ServiceError::WrongCode);
            }
            factor.enabled = true;
            factor.recovery.clone_from(&kept);
            Ok(())
        })
        .await?;
        Ok(shown)
    }

    /// Turns codes off, shown one.
    ///
    /// # Errors
    /// `NoToken`, `OutOfScope`, `NoSecondFactor`, `WrongCode`, `TooManyAttempts`.
    pub async fn remove_totp(
        &self,
        caller: Caller,
        visitor: &Visitor,
        code: &str,
        seen: &Seen,
    ) -> Result<(), ServiceError> {
        self.with_code(caller, visitor, Action::DisableTotp, |user| {
            let tag = user.tag();
            let factor = user.totp.as_mut().filter(|factor| factor.enabled);
            if !use_code(factor.ok_or(ServiceError::NoSecondFactor)?, code, now_s()) {
                return Err(ServiceError::WrongCode);
            }
            seen.holds(Some(&tag))?;
            user.totp = None;
            Ok(())
        })
        .await
    }

    /// A change that takes a code; guesses at codes of one account count together, wherever they are made.
    async fn with_code(
        &self,
        caller: Caller,
        visitor: &Visitor,
        action: Action,
        mut change: impl FnMut(&mut User) -> Result<(), ServiceError>,
    ) -> Result<(), ServiceError> {
        let user = self.own_account(caller)?.user_id;
        let guess = Guess::Code(user);
        self.attempt(&guess)?;
        let actor = Actor { user, visitor };
        let changed = self.change_user(user, |user| {
            change(user)?;
            Ok(actor.note(Batch::new(), action, user.user_id))
        });
        match changed.await {
            Ok(_) => self.forget(&guess),
            Err(ServiceError::WrongCode) => return Err(ServiceError::WrongCode),
            Err(error) => {
                self.take_back(&guess);
                return Err(error);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_code_counts_once_however_it_is_typed() {
        let (shown, kept) = recovery_codes().expect("randomness");
        assert_eq!((shown.len(), shown[0].len()), (RECOVERY_CODES, 19));
        let mut factor = Totp { secret: vec![7; 20], enabled: true, used_step: None, recovery: kept };
        let typed = format!(" {} ", shown[3].to_lowercase().replace('-', " "));
        assert!(use_code(&mut factor, &typed, 59));
        assert!(!use_code(&mut factor, &typed, 59));
        assert_eq!(factor.recovery.len(), RECOVERY_CODES - 1);
        assert!(use_code(&mut factor, &shown[4], 59));
        for wrong in ["", "-", "AAAA-AAAA-AAAA-AAAA", &shown[5][..18]] {
            assert!(!use_code(&mut factor, wrong, 59), "{wrong}");
        }
    }

    #[test]
    fn a_code_of_the_app_counts_once() {
        let secret = b"12345678901234567890".to_vec();
        let mut factor = Totp { secret, enabled: true, used_step: None, recovery: Vec::new() };
        assert!(use_code(&mut factor, "287 082", 59));
        assert!(!use_code(&mut factor, "287082", 59));
        assert_eq!(factor.used_step, Some(1));
    }
}
