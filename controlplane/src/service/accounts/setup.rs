//! The first account: an admin, made once by whoever has the set-up link that the daemon prints.
//!
//! The link's secret is kept as a hash in memory: a restart makes another one, the old one is dead. That nobody set the server
//! up is a condition of the write that makes the account, so of two who try at once one does.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::audit::Actor;
use super::input::NewAccount;
use super::signin::SignedIn;
use super::tables::{self, Action};
use super::{Accounts, Visitor};
use crate::auth::secret;
use crate::service::records::{Role, UserKind};
use crate::service::{CAS_ATTEMPTS, Service, ServiceError, new_user};
use crate::store::StoreError;

/// How long a set-up link counts.
pub const SETUP_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// A set-up link that was given out.
pub(super) struct SetupLink {
    secret: String,
    until: Instant,
}

impl Accounts {
    fn setup_link(&self) -> std::sync::MutexGuard<'_, Option<SetupLink>> {
        self.setup.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service {
    /// A new secret for the set-up link; the one before no longer counts.
    ///
    /// # Errors
    /// `AlreadySetUp` once there is an admin.
    pub fn new_setup_secret(&self) -> Result<String, ServiceError> {
        if self.has_admin()? {
            return Err(ServiceError::AlreadySetUp);
        }
        let secret = secret::new().ok_or(ServiceError::Busy)?;
        let link = SetupLink { secret: secret::hash(&secret), until: Instant::now() + SETUP_TTL };
        *self.0.accounts.setup_link() = Some(link);
        Ok(secret)
    }

    /// Makes the first admin and signs it in.
    ///
    /// # Errors
    /// `AlreadySetUp`, `DeadLink`, `Invalid`, `NameTaken`, `EmailTaken`, `Busy`.
    pub async fn set_up(
        &self,
        visitor: &Visitor,
        given: &str,
        mut new: NewAccount,
    ) -> Result<SignedIn, ServiceError> {
        self.setup_is_open(given)?;
        new.role = Role::Admin;
        // Nobody could invite the first admin: the password comes now.
        let clear = new.password.get_or_insert_default().clone();
        new.check()?;
        let password = self.hash_password(clear).await?;
        let mut user = new_user(UserKind::User, &new.name);
        user.email = Some(new.email);
        user.role = Role::Admin;
        user.password = Some(password);
        let actor = Actor { user: user.user_id, visitor };
        let (session, cookie) = self.new_session(&user, visitor)?;
        for _ in 0..CAS_ATTEMPTS {
            // Again: somebody else may have been faster, or asked for another link.
            self.setup_is_open(given)?;
            let first = self.making(&user)?.expect(tables::admins_key(), None);
            let batch = self.with_admins(first, user.user_id, true)?;
            let batch = actor.note(self.with_session(batch, &session)?, Action::SetUp, user.user_id);
            match self.commit(batch).await {
                Ok(()) => {
                    *self.0.accounts.setup_link() = None;
                    return Ok(SignedIn { user, session: session.session_id, cookie });
                }
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ServiceError::Busy)
    }

    fn setup_is_open(&self, given: &str) -> Result<(), ServiceError> {
        // The condition of the write: the list of admins is absent.
        if self.0.store.get(&tables::admins_key())?.is_some() {
            return Err(ServiceError::AlreadySetUp);
        }
        let link = self.0.accounts.setup_link();
        let right = link
            .as_ref()
            .is_some_and(|link| link.until > Instant::now() && secret::matches(&link.secret, given));
        if right { Ok(()) } else { Err(ServiceError::DeadLink) }
    }
}
