//! The caller's own account: name and password.

use super::audit::Actor;
use super::input::{ProfileChange, check_password};
use super::sessions::OwnSession;
use super::tables::{self, Action};
use super::throttle::Guess;
use super::{Caller, Visitor};
use crate::service::input::user_name;
use crate::service::records::{self, Record, User};
use crate::service::{FieldError, Service, ServiceError};
use crate::store::Batch;

impl Service {
    /// Changes the caller's own account. A new password ends every session but `own`, the one it is changed in.
    ///
    /// # Errors
    /// `NoToken`, `OutOfScope`, `Invalid`, `WrongPassword`, `TooManyAttempts`, `NameTaken`, `ChangedMeanwhile`, `Busy`.
    pub async fn change_profile(
        &self,
        caller: Caller,
        own: Option<OwnSession>,
        visitor: &Visitor,
        change: ProfileChange,
    ) -> Result<User, ServiceError> {
        let user = self.own_account(caller)?;
        let name = change.name.as_deref().map(user_name).transpose()?;
        let hashed = match change.password {
            Some(clear) => Some(self.new_password(&user, visitor, change.current_password, clear).await?),
            None => None,
        };
        let kept = own.map(|own| self.stored_session(own)).transpose()?.flatten();
        let actor = Actor { user: user.user_id, visitor };
        let shown = user;
        self.change_user(shown.user_id, |user| {
            change.seen.holds(Some(&user.tag()))?;
            let mut batch = Batch::new();
            if let Some(name) = name.as_ref().filter(|name| **name != user.name) {
                batch = batch.delete(records::user_name_key(&user.name));
                user.name.clone_from(name);
                batch = self.with_name(batch, user)?;
            }
            if let Some(hashed) = &hashed {
                // The present password was checked against this hash.
                if user.password != shown.password {
                    return Err(ServiceError::ChangedMeanwhile);
                }
                user.password = Some(hashed.clone());
                user.generation = user.generation.wrapping_add(1);
                if let Some(kept) = &kept {
                    let session = tables::Session { generation: user.generation, ..kept.clone() };
                    batch =
                        batch.put(tables::session_key(user.user_id, session.session_id), session.encode());
                }
                batch = actor.note(batch, Action::ChangePassword, user.user_id);
            }
            Ok(batch)
        })
        .await
    }

    async fn new_password(
        &self,
        user: &User,
        visitor: &Visitor,
        current: Option<String>,
        clear: String,
    ) -> Result<String, ServiceError> {
        let missing = || vec![FieldError::new("/current_password", "is required to change the password")];
        let current = current.ok_or_else(|| ServiceError::Invalid(missing()))?;
        check_password(&clear)?;
        let guess = Guess::Password(user.email.clone().unwrap_or_default(), visitor.ip.into());
        self.attempt(&guess)?;
        if !self.password_matches(user.password.clone(), current).await? {
            return Err(ServiceError::WrongPassword);
        }
        self.forget(&guess);
        self.hash_password(clear).await
    }
}
