//! What is made once however often it is asked for: a POST repeated with the same `Idempotency-Key` is answered as before
//! (draft-ietf-httpapi-idempotency-key-header).
//!
//! Promises: the answer is one write with what it answers, so that neither is there without the other, whenever the server dies; it
//! opens only with the key that asked for it, of which nothing but a hash is kept, for it may hold a secret that is told once, and so
//! does what is kept of the request, which may hold a password; keys are each caller's own, those of a program its own for each person,
//! and their number is bounded. Not here: the header, and that a turn outlives its client (`http::once`).

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;

use super::records::{self, ONCE};
use super::timestamp::Timestamp;
use super::{Caller, FieldError, Service, ServiceError};
use crate::auth::held::{self, HELD_BYTES};
use crate::store::{Batch, Entry, StoreError, VALUE_BYTES_MAX};

/// How long an answer is kept, milliseconds.
pub const KEPT_MS: i64 = 24 * 3_600 * 1_000;
/// Answers kept for one caller; of more, the oldest are forgotten. 128 x 6 KiB = 768 KiB.
pub const KEPT_MAX: usize = 128;
/// Longest answer. Eight redirect URIs of an OAuth client take 4,024 bytes.
pub const ANSWER_BYTES_MAX: usize = 5 * 1024;
const _: () = assert!(HEAD_BYTES + HELD_BYTES + DIGEST_BYTES + ANSWER_BYTES_MAX <= VALUE_BYTES_MAX);
/// Rows looked at, and forgotten, in one step of a sweep: as many fit a batch.
const SWEPT_AT_ONCE: usize = 256;
/// What expires so soon, milliseconds, is left to the sweep: its key may be used anew while a turn lasts.
const EXPIRING_MS: i64 = 60 * 1_000;

const VERSION: u8 = 1;
const DIGEST_BYTES: usize = 32;
const HEAD_BYTES: usize = 1 + 8;

/// A request under a key.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The key, as the caller gave it.
    pub key: &'a str,
    /// Method and path.
    pub call: &'a str,
    /// A hash of the body.
    pub body: &'a [u8],
}

/// Whether a request comes for the first time.
#[derive(Debug)]
pub enum Begun {
    /// It was answered so before.
    Again(Vec<u8>),
    /// It has its turn.
    First(Turn),
}

/// The turn of a request: while it stands, the same key has to wait. One without a key keeps nothing.
#[derive(Debug)]
pub struct Turn(Option<Held>);

struct Held {
    service: Service,
    at: Vec<u8>,
    key: String,
    request: Vec<u8>,
    /// The row there was, which no longer counts.
    before: Option<Vec<u8>>,
    /// Rows that make room.
    forgotten: Vec<Vec<u8>>,
}

/// How the answer is made of what a call makes.
type Answer<'a, T> = &'a (dyn Fn(&T) -> Vec<u8> + Sync);

/// What a call keeps of its answer, in the write that is the call.
pub struct Keep<'a, T>(Option<(&'a Held, Answer<'a, T>)>);

/// Requests under a key that have their turn.
pub(super) type Running = Mutex<HashSet<Vec<u8>>>;

impl Turn {
    /// Of a request without a key.
    #[must_use]
    pub const fn free() -> Self {
        Self(None)
    }

    /// Keeps the answer that `answer` makes.
    pub fn keep<'a, T>(&'a self, answer: Answer<'a, T>) -> Keep<'a, T> {
        Keep(self.0.as_ref().map(|held| (held, answer)))
    }
}

impl<T> Keep<'_, T> {
    /// Keeps nothing.
    #[must_use]
    pub const fn nothing() -> Self {
        Self(None)
    }

    /// Adds the answer to the write that makes `made`.
    ///
    /// # Errors
    /// `Invalid` if it is longer than any that is kept, `Busy` without randomness.
    pub(super) fn with(&self, mut batch: Batch, made: &T) -> Result<Batch, ServiceError> {
        let Some((held, answer)) = &self.0 else { return Ok(batch) };
        let answer = answer(made);
        if answer.len() > ANSWER_BYTES_MAX {
            let detail = format!(
                "makes an answer longer than the {ANSWER_BYTES_MAX} bytes kept for an Idempotency-Key"
            );
            return Err(ServiceError::Invalid(vec![FieldError::new("", detail)]));
        }
        let text = [&held.request[..], &answer].concat();
        let sealed = held::seal(&held.key, &held.at, &text).ok_or(ServiceError::Busy)?;
        let until = Timestamp::now().0.saturating_add(KEPT_MS).to_be_bytes();
        let row = [&[VERSION][..], &until, &sealed].concat();
        for key in &held.forgotten {
            batch = batch.delete(key.clone());
        }
        Ok(batch.expect(held.at.clone(), held.before.clone()).put(held.at.clone(), row))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.service.running().remove(&self.at);
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Held")
    }
}

impl Service {
    /// Begins a request under a key, or finds its answer.
    ///
    /// # Errors
    /// `NoToken`: keys are somebody's. `KeyInUse` while the first one is not answered, `KeyReused` for another request.
    pub fn once(&self, caller: Caller, request: Request<'_>) -> Result<Begun, ServiceError> {
        let rows = rows_of(caller)?;
        let at = row_key(&rows, &hash(&[request.key.as_bytes()]));
        let digest = hash(&[request.call.as_bytes(), request.body]);
        if !self.running().insert(at.clone()) {
            return Err(ServiceError::KeyInUse);
        }
        // From here on dropping it lets the next one in.
        let mut held = Held {
            service: self.clone(),
            at,
            key: request.key.to_owned(),
            request: digest,
            before: None,
            forgotten: Vec::new(),
        };
        held.before = self.0.store.get(&held.at)?;
        if let Some(row) = &held.before {
            let (until, sealed) = parts(row).ok_or(ServiceError::BadRecord)?;
            if until > Timestamp::now().0 {
                let text = held::open(request.key, &held.at, sealed).ok_or(ServiceError::BadRecord)?;
                let (digest, answer) = text.split_at_checked(DIGEST_BYTES).ok_or(ServiceError::BadRecord)?;
                if digest != held.request {
                    return Err(ServiceError::KeyReused);
                }
                return Ok(Begun::Again(answer.to_vec()));
            }
        }
        held.forgotten = self.superfluous(&rows, &held.at)?;
        Ok(Begun::First(Turn(Some(held))))
    }

    /// The oldest rows of a caller that count, if one more were too many.
    fn superfluous(&self, rows: &[u8], but: &[u8]) -> Result<Vec<Vec<u8>>, ServiceError> {
        // Several at once may be some over the limit; the next one sweeps up.
        let counts = Timestamp::now().0.saturating_add(EXPIRING_MS);
        let mut rows: Vec<_> = self
            .0
            .store
            .scan(rows, None, 2 * KEPT_MAX)?
            .into_iter()
            .filter(|(key, _)| key != but)
            .filter_map(|(key, row)| parts(&row).map(|(until, _)| (until, key)))
            .filter(|(until, _)| *until > counts)
            .collect();
        rows.sort_unstable();
        rows.truncate((rows.len() + 1).saturating_sub(KEPT_MAX));
        Ok(rows.into_iter().map(|(_, key)| key).collect())
    }

    /// Forgets answers that nobody may ask for again; how many.
    ///
    /// # Errors
    /// What the store says.
    pub async fn forget_old_answers(&self) -> Result<usize, ServiceError> {
        let (mut after, mut forgotten) = (None, 0);
        loop {
            let mut rows = self.0.store.scan(&[ONCE], after.as_deref(), SWEPT_AT_ONCE)?;
            let Some((last, _)) = rows.last() else { return Ok(forgotten) };
            after = Some(last.clone());
            let now = Timestamp::now().0;
            rows.retain(|(_, row)| parts(row).is_none_or(|(until, _)| until <= now));
            if rows.is_empty() {
                continue;
            }
            match self.commit(rows.iter().fold(Batch::new(), forget)).await {
                Ok(()) => forgotten += rows.len(),
                // One that was asked for anew meanwhile stays.
                Err(StoreError::Conflict) => {
                    for row in &rows {
                        match self.commit(forget(Batch::new(), row)).await {
                            Ok(()) => forgotten += 1,
                            Err(StoreError::Conflict) => {}
                            Err(error) => return Err(error.into()),
                        }
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn running(&self) -> MutexGuard<'_, HashSet<Vec<u8>>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a row as it was read.
fn forget(batch: Batch, (key, row): &Entry) -> Batch {
    batch.expect(key.clone(), Some(row.clone())).delete(key.clone())
}

/// Where the rows of a caller begin: `table user caller`.
fn rows_of(caller: Caller) -> Result<Vec<u8>, ServiceError> {
    let (who, number, user) = match caller {
        Caller::Nobody => return Err(ServiceError::NoToken),
        Caller::User(user) => ("user", 0, user),
        Caller::Delegated(user, client) => ("program", client.map_or(0, |client| client.0), user),
        Caller::Host(_, user) => ("host", 0, user),
        Caller::Participant(_, user) => ("participant", 0, user),
    };
    let caller = hash(&[who.as_bytes(), &number.to_be_bytes()]);
    Ok([&records::key(ONCE, &[user.0])[..], &caller[..8]].concat())
}

/// `table user caller hash`.
fn row_key(rows: &[u8], hash: &[u8]) -> Vec<u8> {
    [rows, &hash[..16]].concat()
}

/// Each part with its length, so that no two lists of parts are alike.
fn hash(parts: &[&[u8]]) -> Vec<u8> {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part);
    }
    context.finish().as_ref().to_vec()
}

/// Until when a row counts, milliseconds since 1970; sealed: the hash of the request it answers, and its answer.
fn parts(row: &[u8]) -> Option<(i64, &[u8])> {
    let (head, sealed) = row.split_at_checked(HEAD_BYTES)?;
    let until = i64::from_be_bytes(head[1..].try_into().ok()?);
    (head[0] == VERSION).then_some((until, sealed))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::meetings::Created;
    use super::super::oauth::tables::ClientId;
    use super::super::records::UserKind;
    use super::super::{NewMeeting, Record, new_user};
    use super::*;
    use crate::auth::{KeyRing, SigningKey, Tokens};
    use crate::ids::UserId;
    use crate::store::{MemoryStore, Store};

    async fn service() -> (Service, Arc<MemoryStore>, UserId) {
        let store = Arc::new(MemoryStore::new());
        let user = new_user(UserKind::User, "ada");
        store.commit(Batch::new().put(records::user_key(user.user_id), user.encode())).await.expect("writes");
        let keys = KeyRing::of(SigningKey::generate().expect("randomness"));
        (Service::new(Arc::clone(&store) as Arc<dyn Store>, Tokens::new(keys), false), store, user.user_id)
    }

    const fn request(key: &str) -> Request<'_> {
        Request { key, call: "POST /meetings", body: b"body" }
    }

    async fn make(service: &Service, user: UserId, turn: &Turn) {
        let new = NewMeeting { topic: "x".into(), ..NewMeeting::default() };
        let answer = |_: &Created| b"answer".to_vec();
        service.create_meeting_once(Caller::User(user), new, &turn.keep(&answer)).await.expect("makes");
    }

    fn first(begun: Result<Begun, ServiceError>) -> Turn {
        match begun {
            Ok(Begun::First(turn)) => turn,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_request_is_answered_as_before_for_its_caller_and_its_body_alone() {
        let (service, store, ada) = service().await;
        let turn = first(service.once(Caller::User(ada), request("key")));
        assert_eq!(service.once(Caller::User(ada), request("key")).err(), Some(ServiceError::KeyInUse));
        make(&service, ada, &turn).await;
        assert_eq!(service.once(Caller::User(ada), request("key")).err(), Some(ServiceError::KeyInUse));
        drop(turn);
        match service.once(Caller::User(ada), request("key")) {
            Ok(Begun::Again(answer)) => assert_eq!(answer, b"answer"),
            other => panic!("{other:?}"),
        }
        let other = Request { body: b"another", ..request("key") };
        assert_eq!(service.once(Caller::User(ada), other).err(), Some(ServiceError::KeyReused));
        let other = Request { call: "POST /users", ..request("key") };
        assert_eq!(service.once(Caller::User(ada), other).err(), Some(ServiceError::KeyReused));
        // A program of hers, somebody else, and another key know nothing of it.
        for client in [1, 2] {
            first(service.once(Caller::Delegated(ada, Some(ClientId(client))), request("key")));
        }
        first(service.once(Caller::User(UserId(7)), request("key")));
        first(service.once(Caller::User(ada), request("Key")));
        assert_eq!(service.once(Caller::Nobody, request("key")).err(), Some(ServiceError::NoToken));
        // What is kept shows neither the key nor the answer, nor what could be guessed from a hash of the request.
        let rows = store.scan(&[ONCE], None, 10).expect("reads");
        assert_eq!(rows.len(), 1);
        let row = [rows[0].0.as_slice(), &rows[0].1].concat();
        let digest = hash(&[b"POST /meetings", b"body"]);
        let body = digest::digest(&digest::SHA256, b"body");
        for shown in [&b"answer"[..], b"key", &digest, body.as_ref()] {
            assert!(!row.windows(shown.len()).any(|window| window == shown));
        }
    }

    #[tokio::test]
    async fn a_refused_request_keeps_nothing_and_lets_the_next_one_in() {
        let (service, store, ada) = service().await;
        let turn = first(service.once(Caller::User(ada), request("key")));
        let answer = |_: &Created| b"answer".to_vec();
        let keep = turn.keep(&answer);
        let made = service.create_meeting_once(Caller::User(ada), NewMeeting::default(), &keep).await;
        assert!(made.is_err(), "no topic");
        drop(turn);
        first(service.once(Caller::User(ada), request("key")));
        assert_eq!(store.scan(&[ONCE], None, 10), Ok(Vec::new()));
    }

    #[tokio::test]
    async fn of_two_whose_turns_overlap_one_makes_it() {
        let (service, store, ada) = service().await;
        let one = first(service.once(Caller::User(ada), request("key")));
        // A turn that were given away while its write is on its way would make nothing twice either.
        service.running().clear();
        let other = first(service.once(Caller::User(ada), request("key")));
        make(&service, ada, &one).await;
        let new = NewMeeting { topic: "x".into(), ..NewMeeting::default() };
        let answer = |_: &Created| b"answer".to_vec();
        let keep = other.keep(&answer);
        let made = service.create_meeting_once(Caller::User(ada), new, &keep).await;
        assert_eq!(made.err(), Some(ServiceError::Busy), "it comes again, and hears the answer of the first");
        assert_eq!(store.scan(&[records::MEETINGS], None, 10).expect("reads").len(), 1);
        drop((one, other));
        assert!(matches!(service.once(Caller::User(ada), request("key")), Ok(Begun::Again(_))));
    }

    #[tokio::test]
    async fn an_answer_too_long_to_be_kept_is_refused_and_nothing_is_made() {
        let (service, store, ada) = service().await;
        let turn = first(service.once(Caller::User(ada), request("key")));
        let new = || NewMeeting { topic: "x".into(), ..NewMeeting::default() };
        let answer = |_: &Created| vec![b'x'; ANSWER_BYTES_MAX + 1];
        let made = service.create_meeting_once(Caller::User(ada), new(), &turn.keep(&answer)).await;
        assert!(matches!(made.err(), Some(ServiceError::Invalid(_))));
        assert_eq!(store.scan(&[records::MEETINGS], None, 10), Ok(Vec::new()));
        let answer = |_: &Created| vec![b'x'; ANSWER_BYTES_MAX];
        let made = service.create_meeting_once(Caller::User(ada), new(), &turn.keep(&answer)).await;
        assert!(made.is_ok(), "the longest");
    }

    #[tokio::test]
    async fn old_answers_are_forgotten_and_new_ones_make_room() {
        let (service, store, ada) = service().await;
        let row = |until: i64| [&[VERSION][..], &until.to_be_bytes(), b"sealed"].concat();
        let now = Timestamp::now().0;
        let mine = rows_of(Caller::User(ada)).expect("a person");
        let of_a_program = rows_of(Caller::Delegated(ada, Some(ClientId(1)))).expect("a program");
        let nth_row = |rows: &[u8], nth: i64| row_key(rows, &nth.to_be_bytes().repeat(2));
        let fresh = now + 2 * EXPIRING_MS;
        let mut batch = Batch::new();
        for nth in 0..i64::try_from(KEPT_MAX).expect("small") {
            batch = batch.put(nth_row(&mine, nth), row(fresh + nth));
            batch = batch.put(nth_row(&of_a_program, nth), row(fresh - 1));
        }
        // One that expires while somebody may be using its key anew is the sweep's.
        let soon = nth_row(&mine, 1_000);
        batch = batch.put(soon.clone(), row(now + EXPIRING_MS / 2));
        let old = row_key(&rows_of(Caller::User(UserId(7))).expect("a person"), &[1; 16]);
        store.commit(batch.put(old.clone(), row(now - 1))).await.expect("writes");
        make(&service, ada, &first(service.once(Caller::User(ada), request("key")))).await;
        assert_eq!(store.scan(&mine, None, 1_000).expect("reads").len(), KEPT_MAX + 1);
        assert_eq!(store.scan(&of_a_program, None, 1_000).expect("reads").len(), KEPT_MAX);
        assert_eq!(store.get(&nth_row(&mine, 0)), Ok(None), "the oldest");
        for kept in [nth_row(&mine, 1), soon] {
            assert!(store.get(&kept).expect("reads").is_some());
        }
        assert_eq!(service.forget_old_answers().await, Ok(1));
        assert_eq!(store.get(&old), Ok(None));
        assert_eq!(service.forget_old_answers().await, Ok(0));
    }
}
