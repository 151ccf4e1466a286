//! The rules, over the store's model.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::records::{Participant, Record};
use super::*;
use crate::auth::{KeyRing, SigningKey};
use crate::ids::SHARDS;
use crate::store::{Commit, Entry, MemoryStore, Snapshot, Watch};

fn service(demo: bool) -> Service {
    over(Arc::new(MemoryStore::new()), demo)
}

fn over(store: Arc<dyn Store>, demo: bool) -> Service {
    Service::new(store, Tokens::new(KeyRing::of(SigningKey::generate().expect("randomness"))), demo)
}

fn topic(topic: &str) -> NewMeeting {
    NewMeeting { topic: topic.to_owned(), ..NewMeeting::default() }
}

fn named(name: &str) -> JoinRequest {
    JoinRequest { name: Some(name.to_owned()), passcode: None }
}

async fn account(service: &Service, name: &str) -> Caller {
    let token = service.access_token(name, Duration::from_secs(60), false).await.expect("demo makes users");
    service.authenticate(&token).expect("fresh")
}

/// A meeting and its host.
async fn meeting(service: &Service) -> (MeetingId, Caller) {
    let created = service.create_meeting(Caller::Nobody, topic("x")).await.expect("demo");
    let host = created.host_token.expect("demo gives one");
    (created.meeting.meeting_id.id(), service.authenticate(&host).expect("fresh"))
}

async fn admitted(service: &Service, id: MeetingId, name: &str) -> Admission {
    let joined = service.join(Caller::Nobody, id, named(name)).await.expect("joins");
    service.admit(&joined.session_token).expect("admits")
}

#[tokio::test]
async fn a_session_token_admits_with_the_identity_and_name_of_its_row() {
    let service = service(true);
    let (id, host) = meeting(&service).await;
    let ada = admitted(&service, id, "Ada").await;
    assert_eq!((ada.meeting, ada.name.as_str(), ada.host), (id, "Ada", false));
    assert_eq!(ada.identity, ada.user.to_string());
    let boss = service.join(host, id, JoinRequest::default()).await.expect("joins");
    let boss = service.admit(&boss.session_token).expect("admits");
    assert!(boss.host);
    assert_eq!(boss.user.0 % SHARDS, id.0 % SHARDS);
    assert_eq!(service.admit(&service.renew(&ada)), Ok(ada));
}

#[tokio::test]
async fn only_session_tokens_admit() {
    let service = service(true);
    let created = service.create_meeting(Caller::Nobody, topic("x")).await.expect("demo");
    let access = service.access_token("ada", Duration::from_secs(60), false).await.expect("demo");
    for token in [created.host_token.expect("demo"), access] {
        assert_eq!(service.admit(&token), Err(TokenError::WrongAudience.into()));
    }
    assert_eq!(service.admit("x"), Err(TokenError::Malformed.into()));
}

#[tokio::test]
async fn ending_a_meeting_tells_signalling_and_closes_the_door() {
    let service = service(true);
    let mut events = service.meeting_events();
    let (id, host) = meeting(&service).await;
    let joined = service.join(Caller::Nobody, id, named("Ada")).await.expect("joins");
    let ada = service.admit(&joined.session_token).expect("admits");
    service.end_meeting(host, id).await.expect("the host may");
    assert_eq!(events.recv().await.ok(), Some(MeetingEvent::Ended(id)));
    assert_eq!(service.admit(&joined.session_token), Err(ServiceError::Ended));
    assert_eq!(service.participant_joined(&ada).await, Err(ServiceError::Ended));
    assert_eq!(service.live_totals(), (0, 0), "a refused connection is not counted");
    service.delete_meeting(host, id, &Seen::default()).await.expect("an ended meeting can be deleted");
    assert_eq!(events.recv().await.ok(), Some(MeetingEvent::Ended(id)));
    assert_eq!(service.admit(&joined.session_token), Err(ServiceError::NoSuchMeeting));
    service.disconnect(id, ada.user);
    assert_eq!(events.recv().await.ok(), Some(MeetingEvent::Removed(id, ada.user)));
}

#[tokio::test]
async fn presence_shows_in_the_list_and_leaves_its_history() {
    let service = service(true);
    let (id, host) = meeting(&service).await;
    let ada = admitted(&service, id, "Ada").await;
    let state = |service: &Service| {
        let views = service.participants(host, id).expect("the host may");
        (views[0].state, views[0].row.audio_enabled, views[0].row.joined_history.len())
    };
    assert_eq!(state(&service), (ParticipantState::Joining, false, 1));
    service.participant_joined(&ada).await.expect("counts");
    service.media_enabled(&ada, Some(true), None).await.expect("notes");
    assert_eq!((state(&service), service.live_totals()), ((ParticipantState::Connected, true, 1), (1, 1)));
    // A reconnect overlaps with the old connection.
    service.participant_joined(&ada).await.expect("counts");
    service.participant_left(&ada, Timestamp::now()).await.expect("notes");
    assert_eq!(state(&service).0, ParticipantState::Connected);
    service.participant_left(&ada, Timestamp::now()).await.expect("notes");
    assert_eq!((state(&service), service.live_totals()), ((ParticipantState::Left, false, 1), (0, 0)));
    // Back on the same token, without another join over the API.
    service.participant_joined(&ada).await.expect("counts");
    assert_eq!(state(&service), (ParticipantState::Connected, false, 2));
}

#[tokio::test]
async fn a_full_meeting_takes_its_own_people_back_and_nobody_else() {
    let service = service(true);
    let (id, _) = meeting(&service).await;
    let first = admitted(&service, id, "0").await;
    let waiting = service.join(Caller::Nobody, id, named("late")).await.expect("there is room now");
    service.participant_joined(&first).await.expect("counts");
    for n in 1..records::MAX_PARTICIPANTS {
        let person = admitted(&service, id, &n.to_string()).await;
        service.participant_joined(&person).await.expect("counts");
    }
    assert_eq!(service.admit(&waiting.session_token), Err(ServiceError::Full));
    assert_eq!(service.join(Caller::Nobody, id, named("later")).await.err(), Some(ServiceError::Full));
    let again = service.admit(&service.renew(&first)).expect("inside already");
    service.participant_joined(&again).await.expect("counts");
    assert_eq!(service.live_totals(), (1, 100));
}

#[tokio::test]
async fn of_an_end_and_many_joins_at_once_no_join_comes_after_the_end() {
    let service = service(true);
    for _ in 0..20 {
        let (id, host) = meeting(&service).await;
        let joins: Vec<_> = (0..8)
            .map(|n| {
                let service = service.clone();
                tokio::spawn(
                    async move { service.join(Caller::Nobody, id, named(&n.to_string())).await.is_ok() },
                )
            })
            .collect();
        service.end_meeting(host, id).await.expect("the host may");
        let mut granted = 0;
        for join in joins {
            granted += usize::from(join.await.expect("no panic"));
        }
        let rows = service.participants(host, id).expect("the host may");
        assert_eq!(rows.len(), granted, "a refused join leaves no row");
        assert_eq!(service.meeting(id).map(|m| m.status), Ok(MeetingStatus::Ended));
    }
}

#[tokio::test]
async fn two_hosts_changes_at_once_both_count() {
    let service = service(true);
    let (id, host) = meeting(&service).await;
    let renamed = MeetingChange { topic: Some("new".into()), ..MeetingChange::default() };
    let shorter = MeetingChange { duration: Some(15), ..MeetingChange::default() };
    let (one, two) =
        tokio::join!(service.change_meeting(host, id, renamed), service.change_meeting(host, id, shorter));
    assert!(one.is_ok() && two.is_ok());
    let after = service.meeting(id).expect("there");
    assert_eq!((after.meeting_topic.as_str(), after.duration), ("new", 15));
}

#[tokio::test]
async fn a_name_is_one_account_however_often_it_is_asked_for() {
    let service = service(true);
    let first = account(&service, "Ada").await;
    assert_eq!(account(&service, " Ada ").await, first);
    assert_ne!(account(&service, "ada").await, first);
    assert!(matches!(
        service.access_token("", Duration::from_secs(1), false).await,
        Err(ServiceError::Invalid(_))
    ));
    let strict = super::tests::service(false);
    assert_eq!(
        strict.access_token("Ada", Duration::from_secs(1), false).await,
        Err(ServiceError::NoSuchUser)
    );
}

#[tokio::test]
async fn a_draining_server_takes_nothing_new_and_ends_what_it_has() {
    let service = service(true);
    let (id, host) = meeting(&service).await;
    let mut draining = service.draining();
    service.start_draining();
    assert!(draining.wait_for(|draining| *draining).await.is_ok());
    let created = service.create_meeting(Caller::Nobody, topic("x")).await;
    assert_eq!(created.err(), Some(ServiceError::Draining));
    assert_eq!(service.join(Caller::Nobody, id, named("x")).await.err(), Some(ServiceError::Draining));
    assert!(service.end_meeting(host, id).await.is_ok());
}

#[tokio::test]
async fn deleting_takes_hundreds_of_participants_with_it() {
    let store = Arc::new(MemoryStore::new());
    let service = over(Arc::clone(&store) as Arc<dyn Store>, true);
    let (id, host) = meeting(&service).await;
    let ada = admitted(&service, id, "Ada").await;
    let bytes = store.get(&records::participant_key(id, ada.user)).expect("reads").expect("there");
    let row = Participant::decode(&bytes).expect("a row");
    for n in 1..600 {
        let user = UserId(n);
        let row = Participant { user_id: user, ..row.clone() };
        assert_eq!(
            store.commit(Batch::new().put(records::participant_key(id, user), row.encode())).await,
            Ok(())
        );
    }
    service.delete_meeting(host, id, &Seen::default()).await.expect("the host may");
    assert_eq!(store.scan(&records::participants_prefix(id), None, 10), Ok(Vec::new()));
    service.media_enabled(&ada, Some(true), None).await.expect("nothing to note");
    assert_eq!(
        store.scan(&records::participants_prefix(id), None, 10),
        Ok(Vec::new()),
        "no row comes back to life"
    );
}

/// A store whose disk can be pulled.
struct Fragile {
    inner: MemoryStore,
    broken: AtomicBool,
}

impl Store for Fragile {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get(key)
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.inner.scan(prefix, after, limit)
    }

    fn commit(&self, batch: Batch) -> Commit {
        if self.broken.load(Ordering::Relaxed) {
            return Commit::done(Err(StoreError::Failed { reason: "pulled".into() }));
        }
        self.inner.commit(batch)
    }

    fn snapshot(&self) -> Snapshot {
        self.inner.snapshot()
    }

    fn watch(&self, prefix: &[u8]) -> Watch {
        self.inner.watch(prefix)
    }

    fn ready(&self) -> Result<(), StoreError> {
        self.inner.ready()
    }
}

#[tokio::test]
async fn a_failed_disk_is_told_to_the_caller_and_to_readiness() {
    let store = Arc::new(Fragile { inner: MemoryStore::new(), broken: AtomicBool::new(false) });
    let service = over(Arc::clone(&store) as Arc<dyn Store>, true);
    let (id, host) = meeting(&service).await;
    assert_eq!(service.ready(), Ok(()));
    store.broken.store(true, Ordering::Relaxed);
    let ended = service.end_meeting(host, id).await;
    assert!(matches!(ended, Err(ServiceError::Store(StoreError::Failed { .. }))), "{ended:?}");
    assert!(matches!(service.ready(), Err(ServiceError::Store(_))));
    assert_eq!(service.meeting(id).map(|m| m.status), Ok(MeetingStatus::Scheduled), "reading goes on");
}
