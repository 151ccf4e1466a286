//! The rules of accounts, over the store's model.

use std::net::Ipv4Addr;

use super::input::{AccountChange, NewAccount, ProfileChange};
use super::sessions::{AGE_MAX_MS, IDLE_MAX_MS};
use super::signin::{Credentials, SignedIn};
use super::tables::{Action, Outcome, Session};
use super::*;
use crate::service::Seen;
use crate::service::once::Keep;
use crate::service::timestamp::Timestamp;
use crate::store::{MemoryStore, Store};

const PASSWORD: &str = "a long enough password";

fn visitor() -> Visitor {
    Visitor { ip: Ipv4Addr::LOCALHOST.into(), agent: "a test".to_owned() }
}

fn account(name: &str) -> NewAccount {
    NewAccount {
        name: name.to_owned(),
        email: format!("{name}@example.org"),
        password: Some(PASSWORD.to_owned()),
        role: Role::User,
    }
}

fn credentials(name: &str) -> Credentials {
    Credentials { email: format!("{name}@example.org"), password: PASSWORD.to_owned(), code: None }
}

/// A server with its first admin.
async fn server() -> (Service, SignedIn) {
    let service = Service::in_memory(false);
    let secret = service.new_setup_secret().expect("nobody set it up");
    let admin = service.set_up(&visitor(), &secret, account("ada")).await.expect("sets up");
    (service, admin)
}

fn caller(signed_in: &SignedIn) -> Caller {
    Caller::User(signed_in.user.user_id)
}

#[tokio::test]
async fn of_two_who_set_up_at_once_one_becomes_the_admin() {
    let service = Service::in_memory(false);
    let secret = service.new_setup_secret().expect("nobody set it up");
    let (here, there) = (visitor(), visitor());
    let (one, other) = tokio::join!(
        service.set_up(&here, &secret, account("ada")),
        service.set_up(&there, &secret, account("bob"))
    );
    assert_eq!([&one, &other].iter().filter(|made| made.is_ok()).count(), 1);
    let refused = one.err().or(other.err()).expect("one is refused");
    assert!(matches!(refused, ServiceError::AlreadySetUp | ServiceError::DeadLink), "{refused:?}");
    assert_eq!(service.new_setup_secret(), Err(ServiceError::AlreadySetUp));
}

#[tokio::test]
async fn a_new_set_up_link_makes_the_one_before_dead() {
    let service = Service::in_memory(false);
    let first = service.new_setup_secret().expect("nobody set it up");
    let second = service.new_setup_secret().expect("nobody set it up");
    for dead in [first.as_str(), "", "x"] {
        let refused = service.set_up(&visitor(), dead, account("ada")).await.err();
        assert_eq!(refused, Some(ServiceError::DeadLink));
    }
    assert!(service.set_up(&visitor(), &second, account("ada")).await.is_ok());
}

#[tokio::test]
async fn of_two_admins_who_demote_each_other_at_once_one_stays() {
    let (service, ada) = server().await;
    let new = NewAccount { role: Role::Admin, ..account("bob") };
    let bob = service
        .create_account(caller(&ada), &visitor(), new, &Keep::nothing())
        .await
        .expect("makes")
        .user
        .user_id;
    let demoted = AccountChange { role: Some(Role::User), disabled: None };
    let here = visitor();
    let any = Seen::default();
    let (one, other) = tokio::join!(
        service.change_account(caller(&ada), &here, bob, demoted, &any),
        service.change_account(Caller::User(bob), &here, ada.user.user_id, demoted, &any),
    );
    assert_eq!([one.is_ok(), other.is_ok()].iter().filter(|done| **done).count(), 1);
    let admins: Vec<bool> = [ada.user.user_id, bob]
        .into_iter()
        .map(|user| service.own_account(Caller::User(user)).expect("there").is_acting_admin())
        .collect();
    assert_eq!(admins.iter().filter(|admin| **admin).count(), 1);
    let last = if admins[0] { ada.user.user_id } else { bob };
    for change in [demoted, AccountChange { role: None, disabled: Some(true) }] {
        let refused =
            service.change_account(Caller::User(last), &here, last, change, &Seen::default()).await.err();
        assert_eq!(refused, Some(ServiceError::LastAdmin));
    }
}

#[tokio::test]
async fn a_session_ends_when_idle_when_old_and_with_a_new_password() {
    let store = Arc::new(MemoryStore::new());
    let key = crate::auth::SigningKey::generate().expect("randomness");
    let service = Service::new(
        Arc::clone(&store) as Arc<dyn Store>,
        crate::auth::Tokens::new(crate::auth::KeyRing::of(key)),
        false,
    );
    let secret = service.new_setup_secret().expect("nobody set it up");
    let ada = service.set_up(&visitor(), &secret, account("ada")).await.expect("sets up");
    let own = service.session(&ada.cookie).await.expect("reads").expect("counts");
    assert_eq!((own.user, own.session), (ada.user.user_id, ada.session));
    let at = tables::session_key(own.user, own.session);
    let fresh = Session::decode(&store.get(&at).expect("reads").expect("there")).expect("a session");
    let now = Timestamp::now().0;
    for (created, seen, counts) in [
        (now, now, true),
        (now - IDLE_MAX_MS + 60_000, now - IDLE_MAX_MS + 60_000, true),
        (now - IDLE_MAX_MS, now - IDLE_MAX_MS, false),
        (now - AGE_MAX_MS, now, false),
    ] {
        let aged = Session { created_at: Timestamp(created), seen_at: Timestamp(seen), ..fresh.clone() };
        assert_eq!(store.commit(Batch::new().put(at.clone(), aged.encode())).await, Ok(()));
        assert_eq!(service.session(&ada.cookie).await.expect("reads").is_some(), counts);
    }
    assert_eq!(store.commit(Batch::new().put(at, fresh.encode())).await, Ok(()));
    let other = service.sign_in(&visitor(), credentials("ada")).await.expect("signs in");
    let change = ProfileChange {
        password: Some("another long password".to_owned()),
        current_password: Some(PASSWORD.to_owned()),
        ..ProfileChange::default()
    };
    service.change_profile(caller(&ada), Some(own), &visitor(), change).await.expect("changes");
    assert_eq!(service.session(&ada.cookie).await, Ok(Some(own)), "the one it was changed in");
    assert_eq!(service.session(&other.cookie).await, Ok(None));
    assert_eq!(service.sessions(caller(&ada)).expect("lists").len(), 1);
}

#[tokio::test]
async fn secrets_that_were_given_out_are_hashes_in_the_store() {
    let store = Arc::new(MemoryStore::new());
    let key = crate::auth::SigningKey::generate().expect("randomness");
    let service = Service::new(
        Arc::clone(&store) as Arc<dyn Store>,
        crate::auth::Tokens::new(crate::auth::KeyRing::of(key)),
        false,
    );
    let setup = service.new_setup_secret().expect("nobody set it up");
    let ada = service.set_up(&visitor(), &setup, account("ada")).await.expect("sets up");
    let new = NewAccount { password: None, ..account("bob") };
    let made = service.create_account(caller(&ada), &visitor(), new, &Keep::nothing()).await.expect("makes");
    let invitation = made.link.expect("it has no password yet");
    let entries = store.snapshot().await.expect("reads");
    let stored: String = entries.iter().map(|(_, value)| String::from_utf8_lossy(value)).collect();
    assert!(stored.contains("ada@example.org") && stored.contains("$argon2id$"), "the rows are there");
    for given_out in [PASSWORD, &setup, &ada.cookie, &invitation] {
        let secret = given_out.rsplit('.').next().expect("one part at least");
        assert!(secret.len() > 16 && !stored.contains(secret), "{secret} is in the store");
    }
}

#[tokio::test]
async fn a_cookie_with_anything_else_in_it_is_nobodys() {
    let (service, ada) = server().await;
    let mut parts = ada.cookie.splitn(3, '.');
    let (user, session) = (parts.next().expect("three parts"), parts.next().expect("three parts"));
    for cookie in [
        String::new(),
        "..".to_owned(),
        format!("{user}.{session}"),
        format!("{user}.{session}."),
        format!("{user}.{session}.{}", "A".repeat(43)),
        format!("1.{}", &ada.cookie[user.len() + 1..]),
        format!("{}x", ada.cookie),
    ] {
        assert_eq!(service.session(&cookie).await, Ok(None), "{cookie}");
    }
}

#[tokio::test]
async fn sessions_of_one_person_do_not_add_up() {
    let (service, ada) = server().await;
    for _ in 0..60 {
        let (session, _) = service.new_session(&ada.user, &visitor()).expect("randomness");
        let batch = service.with_session(Batch::new(), &session).expect("reads");
        service.commit(batch).await.expect("writes");
    }
    assert_eq!(service.sessions(caller(&ada)).expect("lists").len(), 50);
}

#[tokio::test]
async fn what_admins_do_and_what_others_try_is_written_down() {
    let (service, ada) = server().await;
    let bob = service
        .create_account(caller(&ada), &visitor(), account("bob"), &Keep::nothing())
        .await
        .expect("makes")
        .user;
    let refused = service
        .create_account(Caller::User(bob.user_id), &visitor(), account("eve"), &Keep::nothing())
        .await
        .err();
    assert_eq!(refused, Some(ServiceError::NotAdmin));
    let mut lines = Vec::new();
    let mut cursor = None;
    loop {
        let page = service.audit_log(caller(&ada), &visitor(), cursor.as_deref(), 1).await.expect("reads");
        lines.extend(page.items.into_iter().map(|line| (line.actor, line.action, line.outcome)));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    lines.sort_by_key(|(_, action, outcome)| format!("{action:?}{outcome:?}"));
    assert_eq!(
        lines,
        [
            (Some(ada.user.user_id), Action::CreateUser, Outcome::Done),
            (Some(bob.user_id), Action::CreateUser, Outcome::Refused),
            (Some(ada.user.user_id), Action::SetUp, Outcome::Done),
        ]
    );
    // Trying without end does not fill the disk.
    for _ in 0..100 {
        let _ = service.accounts(Caller::User(bob.user_id), &visitor(), None, 1).await;
    }
    let all = service.audit_log(caller(&ada), &visitor(), None, 100).await.expect("reads");
    assert!(all.items.len() <= 23, "{}", all.items.len());
}

#[tokio::test]
async fn a_name_and_an_address_belong_to_one_account() {
    let (service, ada) = server().await;
    let (here, nothing) = (visitor(), Keep::nothing());
    let make = |name: &str, email: &str| {
        let new = NewAccount { email: email.to_owned(), ..account(name) };
        service.create_account(caller(&ada), &here, new, &nothing)
    };
    assert_eq!(make("ada", "x@example.org").await.err(), Some(ServiceError::NameTaken));
    assert_eq!(make("x", "ADA@example.org ").await.err(), Some(ServiceError::EmailTaken));
    let (one, other) = tokio::join!(make("x", "x@example.org"), make("x", "y@example.org"));
    assert_eq!([one.is_ok(), other.is_ok()].iter().filter(|made| **made).count(), 1);
    // A name that was given up is free again.
    let rename = |name: &str| ProfileChange { name: Some(name.to_owned()), ..ProfileChange::default() };
    service.change_profile(caller(&ada), None, &here, rename("lovelace")).await.expect("renames");
    assert!(make("ada", "z@example.org").await.is_ok());
    let taken = service.change_profile(caller(&ada), None, &here, rename("ada")).await.err();
    assert_eq!(taken, Some(ServiceError::NameTaken));
}

#[tokio::test]
async fn an_accounts_tokens_end_with_it() {
    let (service, ada) = server().await;
    let bob = service
        .create_account(caller(&ada), &visitor(), account("bob"), &Keep::nothing())
        .await
        .expect("makes")
        .user;
    let token = service.access_token("bob", std::time::Duration::from_secs(60), false).await.expect("known");
    let signed_in = service.sign_in(&visitor(), credentials("bob")).await.expect("signs in");
    assert_eq!(service.authenticate(&token), Ok(Caller::User(bob.user_id)));
    let disable = |disabled| AccountChange { role: None, disabled: Some(disabled) };
    service
        .change_account(caller(&ada), &visitor(), bob.user_id, disable(true), &Seen::default())
        .await
        .expect("disables");
    assert_eq!(service.authenticate(&token), Err(ServiceError::AccountDisabled));
    assert_eq!(service.session(&signed_in.cookie).await, Ok(None));
    let refused = service.sign_in(&visitor(), credentials("bob")).await.err();
    assert_eq!(refused, Some(ServiceError::AccountDisabled));
    service
        .change_account(caller(&ada), &visitor(), bob.user_id, disable(false), &Seen::default())
        .await
        .expect("enables");
    assert_eq!(service.session(&signed_in.cookie).await, Ok(None), "sessions do not come back");
    assert!(service.sign_in(&visitor(), credentials("bob")).await.is_ok());
}
