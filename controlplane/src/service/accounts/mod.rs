//! Accounts: how the first one comes to be, who signs in and how, what each may do, and what is written down of it.
//!
//! Path: `http` -> here -> `store`. Promises: a password, code, link or cookie is kept as a hash only (a TOTP secret as a value
//! of its record); whether an address has an account is not told, nor shown by the time an answer takes; a change and its
//! line in the audit log are one write; somebody who may manage accounts is always left. Not here: cookies and status codes
//! (`http`), hashing and codes (`auth`).

pub mod admin;
pub mod api_keys;
pub mod audit;
pub mod external;
pub mod failures;
pub mod input;
pub mod profile;
pub mod second_factor;
pub mod sessions;
pub mod setup;
pub mod signin;
pub mod tables;
#[cfg(test)]
mod tests;
pub mod throttle;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::records::{self, Record, Role, User};
use super::{CAS_ATTEMPTS, Caller, Service, ServiceError, off_thread};
use crate::auth::password;
use crate::ids::UserId;
use crate::store::{Batch, StoreError};
use tables::Admins;
use throttle::{Guess, Throttle};

/// Passwords hashed at a time: two cores and 128 MiB at most.
const HASHES_AT_ONCE: usize = 2;
/// Who waits longer than this for its turn is asked to come again.
const HASH_WAIT_MAX: Duration = Duration::from_secs(10);

/// Where a request comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Visitor {
    /// The network address.
    pub ip: IpAddr,
    /// Browser and system, for people.
    pub agent: String,
}

/// What accounts keep in memory.
pub(super) struct Accounts {
    throttle: Mutex<Throttle>,
    hashing: Arc<Semaphore>,
    setup: Mutex<Option<setup::SetupLink>>,
    failures: Mutex<failures::Failures>,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            throttle: Mutex::default(),
            hashing: Arc::new(Semaphore::new(HASHES_AT_ONCE)),
            setup: Mutex::default(),
            failures: Mutex::default(),
        }
    }
}

impl Accounts {
    fn throttle(&self) -> MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl User {
    /// Whether this account manages accounts and can sign in to do so.
    #[must_use]
    pub fn is_acting_admin(&self) -> bool {
        self.role == Role::Admin && !self.disabled && self.password.is_some()
    }

    /// Whether signing in takes a code.
    #[must_use]
    pub fn needs_code(&self) -> bool {
        self.totp.as_ref().is_some_and(|totp| totp.enabled)
    }

    /// Changes with everything an owner or admin sees or sets; an entity tag without its quotes.
    #[must_use]
    pub fn tag(&self) -> String {
        let codes_left = self.totp.as_ref().filter(|totp| totp.enabled).map(|totp| totp.recovery.len());
        let waits = self.invitation.is_some();
        let shown = (&self.name, &self.email, self.role, self.disabled, codes_left, waits, &self.password);
        let text = serde_json::to_string(&shown).unwrap_or_default();
        crate::auth::secret::hash(&text)[..22].to_owned()
    }
}

impl Caller {
    /// The account that asks.
    ///
    /// # Errors
    /// `NoToken`, or `OutOfScope` for a token of one meeting or of an OAuth client.
    pub const fn account(self) -> Result<UserId, ServiceError> {
        match self {
            Self::User(user) => Ok(user),
            Self::Nobody => Err(ServiceError::NoToken),
            Self::Delegated(..) | Self::Host(..) | Self::Participant(..) => Err(ServiceError::OutOfScope),
        }
    }
}

impl Service {
    /// The caller's own account.
    ///
    /// # Errors
    /// `NoToken`, `OutOfScope`, `UnknownUser`.
    pub fn own_account(&self, caller: Caller) -> Result<User, ServiceError> {
        self.user(caller.account()?)
    }

    /// Lets `change` edit an account and say what else is written with it, until nobody else wrote meanwhile. Who may manage
    /// accounts is kept in step.
    ///
    /// # Errors
    /// `NoSuchUser`, `LastAdmin`, what `change` says, `Busy`.
    async fn change_user(
        &self,
        user: UserId,
        mut change: impl FnMut(&mut User) -> Result<Batch, ServiceError>,
    ) -> Result<User, ServiceError> {
        let key = records::user_key(user);
        for _ in 0..CAS_ATTEMPTS {
            let bytes = self.0.store.get(&key)?.ok_or(ServiceError::NoSuchUser)?;
            let before = User::decode(&bytes)?;
            let mut after = before.clone();
            let mut batch = change(&mut after)?.expect(key.clone(), Some(bytes));
            if after != before {
                batch = batch.put(key.clone(), after.encode());
            }
            if before.is_acting_admin() != after.is_acting_admin() {
                batch = self.with_admins(batch, user, after.is_acting_admin())?;
            }
            match self.commit(batch).await {
                Ok(()) => return Ok(after),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ServiceError::Busy)
    }

    fn with_admins(&self, batch: Batch, user: UserId, admin: bool) -> Result<Batch, ServiceError> {
        let bytes = self.0.store.get(&tables::admins_key())?;
        let mut admins = bytes.as_deref().map(Admins::decode).transpose()?.unwrap_or_default();
        admins.set(user, admin)?;
        Ok(batch.expect(tables::admins_key(), bytes).put(tables::admins_key(), admins.encode()))
    }

    /// Whether somebody may manage accounts.
    fn has_admin(&self) -> Result<bool, ServiceError> {
        Ok(self.0.store.get(&tables::admins_key())?.is_some())
    }

    /// The write that makes an account whose name and address nobody has.
    fn making(&self, user: &User) -> Result<Batch, ServiceError> {
        let number = user.user_id.0.to_be_bytes();
        let batch = Batch::new().expect(records::user_key(user.user_id), None);
        let mut batch = self.with_name(batch, user)?.put(records::user_key(user.user_id), user.encode());
        if let Some(email) = &user.email {
            let key = records::user_email_key(email);
            if self.0.store.get(&key)?.is_some() {
                return Err(ServiceError::EmailTaken);
            }
            batch = batch.expect(key.clone(), None).put(key, number);
        }
        Ok(batch)
    }

    fn with_name(&self, batch: Batch, user: &User) -> Result<Batch, ServiceError> {
        let key = records::user_name_key(&user.name);
        if self.0.store.get(&key)?.is_some() {
            return Err(ServiceError::NameTaken);
        }
        Ok(batch.expect(key.clone(), None).put(key, user.user_id.0.to_be_bytes()))
    }

    /// The account that signs in with this normalised address.
    fn user_by_email(&self, email: &str) -> Result<Option<User>, ServiceError> {
        let Some(number) = self.0.store.get(&records::user_email_key(email))? else { return Ok(None) };
        self.user(records::user_of_entry(number)?).map(Some)
    }

    /// Hashes a new password, a few at a time.
    async fn hash_password(&self, clear: String) -> Result<String, ServiceError> {
        self.hashing(move || password::hash(&clear)).await?.ok_or(ServiceError::Busy)
    }

    /// Whether a password is right; takes as long where there is none.
    async fn password_matches(&self, hashed: Option<String>, clear: String) -> Result<bool, ServiceError> {
        if clear.len() > password::BYTES_MAX {
            return Ok(false);
        }
        self.hashing(move || password::matches(hashed.as_deref(), &clear)).await
    }

    async fn hashing<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        let turn = Arc::clone(&self.0.accounts.hashing).acquire_owned();
        let turn = tokio::time::timeout(HASH_WAIT_MAX, turn).await.map_err(|_| ServiceError::Busy)?;
        let turn = turn.map_err(|_| ServiceError::Busy)?;
        // The turn ends with the work, also when nobody waits for it any more.
        off_thread(move || {
            let done = work();
            drop(turn);
            done
        })
        .await
    }

    fn attempt(&self, guess: &Guess) -> Result<(), ServiceError> {
        let counted = self.0.accounts.throttle().attempt(guess.clone(), Instant::now());
        counted.map_err(|seconds| ServiceError::TooManyAttempts { seconds })
    }

    fn take_back(&self, guess: &Guess) {
        self.0.accounts.throttle().take_back(guess);
    }

    fn forget(&self, guess: &Guess) {
        self.0.accounts.throttle().forget(guess);
    }
}
