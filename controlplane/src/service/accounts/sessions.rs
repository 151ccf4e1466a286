//! Sessions of browsers: a cookie names the person, the session and a secret; the store keeps the secret's hash.
//!
//! A session ends by itself after [`IDLE_MAX`] without use and [`AGE_MAX`] in all, by hand, and with every other one when the
//! password changes or the account is disabled: then the account's generation goes up, in one write.

use super::audit::Actor;
use super::tables::{self, Action, Session, SessionId};
use super::{Caller, Visitor};
use crate::auth::secret;
use crate::ids::{self, UserId};
use crate::service::records::{RECORD_VERSION, Record, User};
use crate::service::timestamp::Timestamp;
use crate::service::{Seen, Service, ServiceError};
use crate::store::Batch;

/// A session that was not used for this long is over, milliseconds.
pub const IDLE_MAX_MS: i64 = 7 * 24 * 3_600 * 1_000;
/// A session is over after this long however much it is used, milliseconds.
pub const AGE_MAX_MS: i64 = 30 * 24 * 3_600 * 1_000;
/// How coarse the time of the latest use is: a write now and then, not one per request; milliseconds.
const SEEN_STEP_MS: i64 = 5 * 60 * 1_000;
/// Sessions of one person; a new one takes the place of the one not used for longest.
const SESSIONS_MAX: usize = 50;

/// A session that counts, and whose it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnSession {
    /// The person.
    pub user: UserId,
    /// The session.
    pub session: SessionId,
}

impl Session {
    fn counts(&self, user: &User, now: Timestamp) -> bool {
        self.generation == user.generation
            && !user.disabled
            && now.0 - self.seen_at.0 < IDLE_MAX_MS
            && now.0 - self.created_at.0 < AGE_MAX_MS
    }
}

impl Service {
    /// Whose session a cookie is of; `None` for one that has ended or never was.
    ///
    /// # Errors
    /// What the store says.
    pub async fn session(&self, cookie: &str) -> Result<Option<OwnSession>, ServiceError> {
        let mut parts = cookie.splitn(3, '.');
        let (Some(Ok(user)), Some(Ok(id)), Some(given)) =
            (parts.next().map(str::parse), parts.next().map(str::parse), parts.next())
        else {
            return Ok(None);
        };
        let (user, id) = (UserId(user), SessionId(id));
        let key = tables::session_key(user, id);
        let Some(bytes) = self.0.store.get(&key)? else { return Ok(None) };
        let session = Session::decode(&bytes)?;
        let now = Timestamp::now();
        let owner = match self.user(user) {
            Ok(owner) => owner,
            Err(ServiceError::UnknownUser) => return Ok(None),
            Err(error) => return Err(error),
        };
        if !secret::matches(&session.secret, given) || !session.counts(&owner, now) {
            return Ok(None);
        }
        if now.0 - session.seen_at.0 >= SEEN_STEP_MS {
            let seen = Session { seen_at: now, ..session };
            // Whoever else writes it at this moment has seen it too, or ended it.
            let _ = self.commit(Batch::new().expect(key.clone(), Some(bytes)).put(key, seen.encode())).await;
        }
        Ok(Some(OwnSession { user, session: id }))
    }

    /// The caller's sessions that count, the latest used first.
    ///
    /// # Errors
    /// `NoToken`, `OutOfScope`, `UnknownUser`.
    pub fn sessions(&self, caller: Caller) -> Result<Vec<Session>, ServiceError> {
        let user = self.own_account(caller)?;
        let now = Timestamp::now();
        let mut sessions = self.stored_sessions(user.user_id)?;
        sessions.retain(|session| session.counts(&user, now));
        sessions.sort_by_key(|session| std::cmp::Reverse((session.seen_at, session.created_at)));
        Ok(sessions)
    }

    /// Ends one of the caller's own sessions.
    ///
    /// # Errors
    /// `NoToken`, `OutOfScope`, `NoSuchSession` also for a session of somebody else, `ChangedMeanwhile`.
    pub async fn end_session(
        &self,
        caller: Caller,
        visitor: &Visitor,
        session: SessionId,
        seen: &Seen,
    ) -> Result<(), ServiceError> {
        let user = self.own_account(caller)?;
        let key = tables::session_key(user.user_id, session);
        let bytes = self.0.store.get(&key)?.ok_or(ServiceError::NoSuchSession)?;
        if !Session::decode(&bytes)?.counts(&user, Timestamp::now()) {
            return Err(ServiceError::NoSuchSession);
        }
        seen.holds(None)?;
        let actor = Actor { user: user.user_id, visitor };
        Ok(self.commit(actor.note(Batch::new().delete(key), Action::EndSession, user.user_id)).await?)
    }

    /// Signs out: the session of this browser is over.
    ///
    /// # Errors
    /// What the store says.
    pub async fn sign_out(&self, own: OwnSession) -> Result<(), ServiceError> {
        Ok(self.commit(Batch::new().delete(tables::session_key(own.user, own.session))).await?)
    }

    /// A session to be written, and its cookie.
    pub(super) fn new_session(
        &self,
        user: &User,
        visitor: &Visitor,
    ) -> Result<(Session, String), ServiceError> {
        let given = secret::new().ok_or(ServiceError::Busy)?;
        let now = Timestamp::now();
        let session = Session {
            v: RECORD_VERSION,
            session_id: SessionId(ids::random_u64() >> 1),
            user_id: user.user_id,
            secret: secret::hash(&given),
            generation: user.generation,
            created_at: now,
            seen_at: now,
            ip: visitor.ip.to_string(),
            agent: visitor.agent.clone(),
        };
        let cookie = format!("{}.{}.{given}", user.user_id.0, session.session_id.0);
        Ok((session, cookie))
    }

    /// Adds a session to a write. What is long over goes with it, so that nobody's sessions add up.
    pub(super) fn with_session(&self, batch: Batch, session: &Session) -> Result<Batch, ServiceError> {
        let now = Timestamp::now();
        let mut known = self.stored_sessions(session.user_id)?;
        known.sort_by_key(|known| std::cmp::Reverse(known.seen_at));
        let over = |known: &Session| {
            known.generation != session.generation
                || now.0 - known.seen_at.0 >= IDLE_MAX_MS
                || now.0 - known.created_at.0 >= AGE_MAX_MS
        };
        let gone = known.iter().enumerate().filter(|(at, known)| *at + 1 >= SESSIONS_MAX || over(known));
        let batch = gone.fold(batch, |batch, (_, known)| {
            batch.delete(tables::session_key(known.user_id, known.session_id))
        });
        Ok(batch.put(tables::session_key(session.user_id, session.session_id), session.encode()))
    }

    fn stored_sessions(&self, user: UserId) -> Result<Vec<Session>, ServiceError> {
        // Two who sign in at once may be one over the limit each; the next one sweeps up.
        let rows = self.0.store.scan(&tables::sessions_prefix(user), None, 2 * SESSIONS_MAX)?;
        rows.iter().map(|(_, bytes)| Session::decode(bytes)).collect()
    }

    /// The session of this browser, to be written again when all others end.
    pub(super) fn stored_session(&self, own: OwnSession) -> Result<Option<Session>, ServiceError> {
        let bytes = self.0.store.get(&tables::session_key(own.user, own.session))?;
        bytes.as_deref().map(Session::decode).transpose()
    }
}
