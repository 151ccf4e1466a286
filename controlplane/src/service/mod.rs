//! Rules about meetings, the people in them and their accounts. Knows neither HTTP nor the store's engine.
//!
//! Path: `http` and `signal` -> here -> `store`. Promises: what a call answered with `Ok` is durable; a meeting's record
//! changes only by compare-and-set, so of two callers at once one sees the other's change; nobody but the host changes a
//! meeting. Not here: status codes (`http::problem`), media (`dispatch`), what a key looks like (`records`).

pub mod accounts;
pub mod consistency;
pub mod error;
pub mod input;
pub mod limits;
pub mod meetings;
pub mod oauth;
pub mod once;
pub mod people;
pub mod presence;
pub mod records;
pub mod seen;
#[cfg(test)]
mod tests;
pub mod timestamp;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dataplane::base::ids::MeetingId;
use tokio::sync::{broadcast, watch};

use crate::auth::{Audience, TokenError, Tokens};
pub use crate::ids;
use crate::ids::UserId;
use crate::store::{Batch, Entry, KEY_BYTES_MAX, Store, StoreError};
use accounts::tables::Action;
use accounts::{Accounts, audit};
pub use error::{FieldError, ServiceError};
pub use input::{JoinRequest, MeetingChange, NewMeeting};
pub use limits::Limits;
use meetings::Page;
use oauth::tables::ClientId;
pub use people::{Admission, Joined, May, ParticipantState, ParticipantView};
use presence::Presence;
pub use records::{Meeting, MeetingStatus, Role, User};
use records::{RECORD_VERSION, Record, UserKind};
pub use seen::Seen;
use timestamp::Timestamp;

/// Events a slow listener may fall behind before it is told that it missed some.
const EVENTS_BUFFERED: usize = 1_024;
/// Attempts of a compare-and-set before the caller is asked to try again.
const CAS_ATTEMPTS: usize = 16;

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caller {
    /// No token.
    Nobody,
    /// A person by access token or session.
    User(UserId),
    /// A program, for a person or itself: meetings, and neither accounts nor administration. The OAuth client, unless it comes with an
    /// API key.
    Delegated(UserId, Option<ClientId>),
    /// The holder of a host token of one meeting.
    Host(MeetingId, UserId),
    /// The holder of a media session token of one meeting.
    Participant(MeetingId, UserId),
}

impl Caller {
    /// The person whose meetings the caller may list and make.
    ///
    /// # Errors
    /// `NoToken`, or `OutOfScope` for a token of one meeting.
    pub const fn organiser(self) -> Result<UserId, ServiceError> {
        match self {
            Self::User(user) | Self::Delegated(user, _) => Ok(user),
            Self::Nobody => Err(ServiceError::NoToken),
            Self::Host(..) | Self::Participant(..) => Err(ServiceError::OutOfScope),
        }
    }

    /// The person, if anybody is known.
    #[must_use]
    pub const fn person(self) -> Option<UserId> {
        match self {
            Self::Nobody => None,
            Self::User(user)
            | Self::Delegated(user, _)
            | Self::Host(_, user)
            | Self::Participant(_, user) => Some(user),
        }
    }

    /// The person, if the token counts for `meeting`.
    #[must_use]
    pub fn person_in(self, meeting: MeetingId) -> Option<UserId> {
        match self {
            Self::User(user) | Self::Delegated(user, _) => Some(user),
            Self::Host(of, user) | Self::Participant(of, user) if of == meeting => Some(user),
            _ => None,
        }
    }
}

/// What signalling must know at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MeetingEvent {
    /// The meeting was ended or deleted: everybody leaves.
    Ended(MeetingId),
    /// One person was removed.
    Removed(MeetingId, UserId),
}

/// The rules, over a store. Cheap to clone.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    tokens: Tokens,
    demo: bool,
    limits: Limits,
    accounts: Accounts,
    presence: Mutex<Presence>,
    running: once::Running,
    events: broadcast::Sender<MeetingEvent>,
    draining: watch::Sender<bool>,
    /// Set by the first write the store failed; it takes none after that.
    store_failed: OnceLock<StoreError>,
}

impl Service {
    /// Rules over a store that is gone with them, for tests.
    #[cfg(test)]
    pub fn in_memory(demo: bool) -> Self {
        let key = crate::auth::SigningKey::generate().expect("randomness");
        Self::new(
            Arc::new(crate::store::MemoryStore::new()),
            Tokens::new(crate::auth::KeyRing::of(key)),
            demo,
        )
    }

    /// The service over `store`; `demo` lets guests create meetings.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, tokens: Tokens, demo: bool) -> Self {
        Self::with_limits(store, tokens, demo, Limits::default())
    }

    /// The same with the operator's limits.
    #[must_use]
    pub fn with_limits(store: Arc<dyn Store>, tokens: Tokens, demo: bool, limits: Limits) -> Self {
        Self(Arc::new(Inner {
            store,
            tokens,
            demo,
            limits,
            accounts: Accounts::default(),
            presence: Mutex::default(),
            running: Mutex::default(),
            events: broadcast::Sender::new(EVENTS_BUFFERED),
            draining: watch::Sender::new(false),
            store_failed: OnceLock::new(),
        }))
    }

    /// Whether guests may create meetings.
    #[must_use]
    pub fn demo(&self) -> bool {
        self.0.demo
    }

    /// From now on nothing new is taken: no meeting, no join.
    pub fn start_draining(&self) {
        self.0.draining.send_replace(true);
    }

    /// Whether the server is going away.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.0.draining.borrow()
    }

    /// Changes to true when draining starts.
    #[must_use]
    pub fn draining(&self) -> watch::Receiver<bool> {
        self.0.draining.subscribe()
    }

    /// Events from now on. A listener that lags misses some and must ask [`Service::admit`] again for everybody it holds.
    #[must_use]
    pub fn meeting_events(&self) -> broadcast::Receiver<MeetingEvent> {
        self.0.events.subscribe()
    }

    /// Who holds this token.
    ///
    /// # Errors
    /// `BadToken` with the reason; `UnknownUser` when its person is gone; `AccountDisabled`.
    pub fn authenticate(&self, token: &str) -> Result<Caller, ServiceError> {
        let claims = self.0.tokens.verify(token)?;
        let user = claims.user().ok_or(TokenError::Malformed)?;
        let caller = match (claims.aud, claims.meeting()) {
            (Audience::Api, None) => match &claims.client_id {
                Some(client) => self.delegated(client, user)?,
                None => Caller::User(user),
            },
            (Audience::Host, Some(meeting)) => Caller::Host(meeting, user),
            (Audience::Media, Some(meeting)) => Caller::Participant(meeting, user),
            _ => return Err(TokenError::Malformed.into()),
        };
        self.active(user)?;
        Ok(caller)
    }

    /// The public keys that verify our tokens (JWK set).
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        self.0.tokens.jwks()
    }

    /// Signs tokens with a new key from now on, and writes that down; the new key's name.
    ///
    /// # Errors
    /// `NoNewKey` with the reason; what the store says, and then the key has changed all the same.
    pub async fn rotate_signing_key(&self) -> Result<String, ServiceError> {
        let tokens = self.clone();
        let rotated = off_thread(move || tokens.0.tokens.rotate()).await?;
        let id = rotated.map_err(|error| ServiceError::NoNewKey(error.to_string()))?;
        self.commit(audit::operators(Batch::new(), Action::RotateSigningKey, None)).await?;
        Ok(id)
    }

    /// An access token for the account called `name`, given to the operator and written down. In demo mode, or with `make`, a missing account is made.
    ///
    /// # Errors
    /// `NoSuchUser` when it is missing and not made; `Invalid` for a name no account can have.
    pub async fn access_token(&self, name: &str, ttl: Duration, make: bool) -> Result<String, ServiceError> {
        let name = input::user_name(name)?;
        let key = records::user_name_key(&name);
        for _ in 0..CAS_ATTEMPTS {
            if let Some(number) = self.0.store.get(&key)? {
                let user = records::user_of_entry(number)?;
                self.commit(audit::operators(Batch::new(), Action::IssueToken, Some(user))).await?;
                return Ok(self.0.tokens.access(user, ttl));
            }
            if !self.0.demo && !make {
                return Err(ServiceError::NoSuchUser);
            }
            let user = new_user(UserKind::User, &name);
            let batch = Batch::new()
                .expect(key.clone(), None)
                .put(key.clone(), user.user_id.0.to_be_bytes())
                .put(records::user_key(user.user_id), user.encode());
            let batch = audit::operators(batch, Action::IssueToken, Some(user.user_id));
            match self.commit(batch).await {
                Ok(()) => return Ok(self.0.tokens.access(user.user_id, ttl)),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ServiceError::Busy)
    }

    /// Meetings with somebody in them, and people connected.
    #[must_use]
    pub fn live_totals(&self) -> (usize, usize) {
        self.presence().totals()
    }

    /// Whether the store reads, has not failed to write and has room to.
    ///
    /// # Errors
    /// What the store says or said.
    pub fn ready(&self) -> Result<(), ServiceError> {
        if let Some(error) = self.0.store_failed.get() {
            return Err(ServiceError::Store(error.clone()));
        }
        self.0.store.get(&records::user_key(UserId(0)))?;
        self.0.store.ready()?;
        Ok(())
    }

    fn user(&self, user: UserId) -> Result<User, ServiceError> {
        let bytes = self.0.store.get(&records::user_key(user))?.ok_or(ServiceError::UnknownUser)?;
        User::decode(&bytes)
    }

    /// A person whose tokens count.
    fn active(&self, user: UserId) -> Result<User, ServiceError> {
        let user = self.user(user)?;
        if user.disabled { Err(ServiceError::AccountDisabled) } else { Ok(user) }
    }

    /// One page of the entries below `prefix`. `fits` says whether a cursor of so many bytes can be ours.
    fn page(
        &self,
        prefix: &[u8],
        cursor: Option<&str>,
        limit: usize,
        fits: impl Fn(usize) -> bool,
    ) -> Result<Page<Entry>, ServiceError> {
        let after = cursor.map(|cursor| after_cursor(prefix, cursor, fits)).transpose()?;
        let mut items = self.0.store.scan(prefix, after.as_deref(), limit + 1)?;
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor =
            items.last().filter(|_| more).map(|(key, _)| URL_SAFE_NO_PAD.encode(&key[prefix.len()..]));
        Ok(Page { items, next_cursor })
    }

    fn presence(&self) -> MutexGuard<'_, Presence> {
        self.0.presence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_new(&self) -> Result<(), ServiceError> {
        if self.is_draining() { Err(ServiceError::Draining) } else { Ok(()) }
    }

    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let committed = self.0.store.commit(batch).await;
        if let Err(error @ StoreError::Failed { .. }) = &committed {
            // The first failure is the one to show.
            let _ = self.0.store_failed.set(error.clone());
        }
        committed
    }

    /// Reads the record at `key`, lets `change` edit it and writes it back if nobody else wrote meanwhile, else again.
    async fn update<R: Record + Clone + PartialEq>(
        &self,
        key: Vec<u8>,
        missing: ServiceError,
        mut change: impl FnMut(&mut R) -> Result<(), ServiceError>,
    ) -> Result<R, ServiceError> {
        for _ in 0..CAS_ATTEMPTS {
            let bytes = self.0.store.get(&key)?.ok_or_else(|| missing.clone())?;
            let before = R::decode(&bytes)?;
            let mut after = before.clone();
            change(&mut after)?;
            if after == before {
                return Ok(after);
            }
            let batch = Batch::new().expect(key.clone(), Some(bytes)).put(key.clone(), after.encode());
            match self.commit(batch).await {
                Ok(()) => return Ok(after),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ServiceError::Busy)
    }
}

fn new_user(kind: UserKind, name: &str) -> User {
    User {
        v: RECORD_VERSION,
        user_id: UserId::random(),
        kind,
        name: name.to_owned(),
        created_at: Timestamp::now(),
        email: None,
        password: None,
        role: Role::User,
        disabled: false,
        generation: 0,
        totp: None,
        invitation: None,
        external: None,
    }
}

fn after_cursor(prefix: &[u8], cursor: &str, fits: impl Fn(usize) -> bool) -> Result<Vec<u8>, ServiceError> {
    let rest = URL_SAFE_NO_PAD.decode(cursor).ok();
    let rest = rest.filter(|rest| fits(rest.len()) && prefix.len() + rest.len() <= KEY_BYTES_MAX);
    let rest = rest.ok_or_else(|| {
        ServiceError::Invalid(vec![FieldError::new("/cursor", "is not a cursor this server gave out")])
    })?;
    Ok([prefix, &rest].concat())
}

/// Hashes or checks a passcode or password away from the async threads: it takes tens of milliseconds by design.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ServiceError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ServiceError::Busy)
}
