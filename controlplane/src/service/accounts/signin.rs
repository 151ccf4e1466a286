//! Signing in: address and password, a code where the account wants one, and the session that comes of it.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Visitor;
use super::audit::Actor;
use super::input::normal_email;
use super::second_factor::use_code;
use super::tables::{Action, SessionId};
use super::throttle::Guess;
use crate::service::records::User;
use crate::service::{Service, ServiceError};
use crate::store::Batch;

/// What somebody signs in with.
pub struct Credentials {
    /// The account's address.
    pub email: String,
    /// Its password in clear.
    pub password: String,
    /// A code of the authenticator app, or a recovery code.
    pub code: Option<String>,
}

/// Somebody who is signed in now.
pub struct SignedIn {
    /// The account.
    pub user: User,
    /// The session.
    pub session: SessionId,
    /// What the browser keeps: the session's secret.
    pub cookie: String,
}

impl Service {
    /// Signs somebody in.
    ///
    /// # Errors
    /// `WrongCredentials` without saying which is wrong, `CodeRequired` and `WrongCode` only to who knows the password, the same
    /// for `AccountDisabled`; `TooManyAttempts`, `Busy`.
    pub async fn sign_in(&self, visitor: &Visitor, given: Credentials) -> Result<SignedIn, ServiceError> {
        // What is no address is nobody's; it takes as long and counts as much.
        let email = normal_email(&given.email);
        let from = Guess::From(visitor.ip.into());
        let guess = Guess::Password(email.clone().unwrap_or_default(), visitor.ip.into());
        self.attempt(&from)?;
        self.attempt(&guess)?;
        let found = email.as_deref().map(|email| self.user_by_email(email)).transpose()?.flatten();
        let hashed = found.as_ref().and_then(|user| user.password.clone());
        let right = self.password_matches(hashed.clone(), given.password).await?;
        let account = found.as_ref().map(|user| user.user_id);
        let Some(user) = found.filter(|_| right) else {
            self.note_failure(visitor, account);
            return Err(ServiceError::WrongCredentials);
        };
        self.take_back(&from);
        self.forget(&guess);
        if user.disabled {
            return Err(ServiceError::AccountDisabled);
        }
        let code_guess = Guess::Code(user.user_id);
        if user.needs_code() {
            if given.code.is_none() {
                return Err(ServiceError::CodeRequired);
            }
            self.attempt(&code_guess)?;
        }
        let still = |user: &User| match user.password == hashed {
            true => Ok(()),
            false => Err(ServiceError::WrongCredentials),
        };
        let signed_in = self.open_session(visitor, &user, given.code.as_deref(), still).await;
        if matches!(signed_in, Err(ServiceError::WrongCode)) {
            self.note_failure(visitor, account);
        }
        let signed_in = signed_in?;
        self.forget(&code_guess);
        Ok(signed_in)
    }

    /// A session of somebody who showed who it is, as the account is now: password, second factor and whether it is disabled
    /// may have changed meanwhile.
    pub(super) async fn open_session(
        &self,
        visitor: &Visitor,
        user: &User,
        code: Option<&str>,
        still: impl Fn(&User) -> Result<(), ServiceError>,
    ) -> Result<SignedIn, ServiceError> {
        let (session, cookie) = self.new_session(user, visitor)?;
        let id = session.session_id;
        let actor = Actor { user: user.user_id, visitor };
        let changed = self.change_user(user.user_id, |user| {
            still(user)?;
            if user.disabled {
                return Err(ServiceError::AccountDisabled);
            }
            if let Some(totp) = user.totp.as_mut().filter(|totp| totp.enabled) {
                let code = code.ok_or(ServiceError::CodeRequired)?;
                if !use_code(totp, code, now_s()) {
                    return Err(ServiceError::WrongCode);
                }
            }
            let session = super::tables::Session { generation: user.generation, ..session.clone() };
            let batch = self.with_session(Batch::new(), &session)?;
            Ok(actor.note(batch, Action::SignIn, user.user_id))
        });
        let user = changed.await?;
        Ok(SignedIn { user, session: id, cookie })
    }
}

/// The wall clock, seconds since 1970.
pub(super) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
