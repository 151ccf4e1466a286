//! Whether records fit together: what one batch wrote is there as a whole, and nothing points at what is not.
//!
//! Looks at everything a store holds, for `kaigid check`. Not here: whether the store itself is whole (`store`).

use std::collections::BTreeMap;

use dataplane::base::ids::MeetingId;

use super::records::{
    self, API_KEYS, MEETINGS, MEETINGS_BY_HOST, Meeting, PARTICIPANTS, Participant, Record,
};
use super::records::{SESSIONS, USER_EMAILS, USER_NAMES, USERS, User};
use crate::ids::UserId;
use crate::store::Entry;

/// Faults that are named; more of them say nothing new.
const FAULTS_MAX: usize = 10;

/// What was found.
#[derive(Default, Debug)]
pub struct Consistency {
    /// Rows of users.
    pub users: usize,
    /// Rows of meetings.
    pub meetings: usize,
    /// Rows of participants.
    pub participants: usize,
    /// Participants of deleted meetings: what a crash in the middle of a deletion leaves, and nobody can reach.
    pub leftovers: usize,
    /// What does not fit together, the first few.
    pub faults: Vec<String>,
}

/// Looks at all entries of a store. Tables it does not know are passed over.
#[must_use]
pub fn look_at(entries: &[Entry]) -> Consistency {
    let all: BTreeMap<&[u8], &[u8]> =
        entries.iter().map(|(key, value)| (key.as_slice(), value.as_slice())).collect();
    let mut found = Consistency::default();
    for (key, value) in &all {
        let Some(fault) = found.entry(&all, key, value) else { continue };
        if found.faults.len() < FAULTS_MAX {
            found.faults.push(fault);
        }
    }
    found
}

impl Consistency {
    /// Counts an entry; says what is wrong with it.
    fn entry(&mut self, all: &BTreeMap<&[u8], &[u8]>, key: &[u8], value: &[u8]) -> Option<String> {
        let has = |key: Vec<u8>| all.contains_key(key.as_slice());
        let number = |at: usize| key.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes);
        let (table, first) = (*key.first()?, number(1).unwrap_or_default());
        match table {
            USERS => {
                self.users += 1;
                let fits = User::decode(value).is_ok_and(|user| user.user_id == UserId(first));
                (!fits).then(|| format!("the row of user {first} cannot be read"))
            }
            USER_NAMES | USER_EMAILS => {
                let user = value.try_into().map(u64::from_be_bytes);
                let fits = user.is_ok_and(|user| has(records::user_key(UserId(user))));
                (!fits).then(|| "the name or address of an account leads to nobody".to_owned())
            }
            SESSIONS | API_KEYS => {
                let has_owner = has(records::user_key(UserId(first)));
                (!has_owner).then(|| "a session or key is of a user who does not exist".to_owned())
            }
            MEETINGS => {
                self.meetings += 1;
                let Ok(meeting) = Meeting::decode(value) else {
                    return Some(format!("the row of meeting {first} cannot be read"));
                };
                if meeting.meeting_id.id() != MeetingId(first) || !has(records::host_key(&meeting)) {
                    return Some(format!("meeting {first} is not in the list of its host"));
                }
                let has_host = has(records::user_key(meeting.host_id));
                (!has_host).then(|| format!("meeting {first} has a host who does not exist"))
            }
            MEETINGS_BY_HOST => {
                let meeting = records::meeting_of_host_key(key);
                let fits = meeting.is_some_and(|meeting| has(records::meeting_key(meeting)));
                (!fits).then(|| format!("the list of host {first} has a meeting that does not exist"))
            }
            PARTICIPANTS => {
                self.participants += 1;
                let user = UserId(number(9).unwrap_or_default());
                if !Participant::decode(value).is_ok_and(|row| row.user_id == user) {
                    return Some(format!("a participant of meeting {first} cannot be read"));
                }
                if !has(records::meeting_key(MeetingId(first))) {
                    self.leftovers += 1;
                }
                (!has(records::user_key(user)))
                    .then(|| format!("a participant of meeting {first} is a user who does not exist"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Caller, JoinRequest, NewMeeting, Service};
    use super::*;
    use crate::auth::{KeyRing, SigningKey, Tokens};
    use crate::store::{Batch, MemoryStore, Store};
    use std::sync::Arc;
    use std::time::Duration;

    async fn meeting() -> (Arc<MemoryStore>, Vec<Entry>) {
        let store = Arc::new(MemoryStore::new());
        let tokens = Tokens::new(KeyRing::of(SigningKey::generate().expect("randomness")));
        let service = Service::new(Arc::clone(&store) as Arc<dyn Store>, tokens, true);
        let new = NewMeeting { topic: "x".to_owned(), ..NewMeeting::default() };
        let made = service.create_meeting(Caller::Nobody, new).await.expect("makes").meeting;
        let guest = JoinRequest { name: Some("Ada".to_owned()), passcode: None };
        assert!(service.join(Caller::Nobody, made.meeting_id.id(), guest).await.is_ok());
        service.access_token("grace", Duration::from_secs(60), true).await.expect("makes");
        let entries = store.snapshot().await.expect("reads");
        (store, entries)
    }

    #[tokio::test]
    async fn what_the_service_writes_fits_together() {
        let (_, entries) = meeting().await;
        let found = look_at(&entries);
        assert_eq!((found.users, found.meetings, found.participants, found.leftovers), (3, 1, 1, 0));
        assert_eq!(found.faults, [""; 0]);
    }

    #[tokio::test]
    async fn any_entry_that_is_missing_is_noticed_unless_nothing_leads_to_it() {
        let (store, entries) = meeting().await;
        for (key, value) in &entries {
            store.commit(Batch::new().delete(key.clone())).await.expect("removes");
            let found = look_at(&store.snapshot().await.expect("reads"));
            // Nothing points at anything else, such as a name, a participant or a line of the audit log.
            let is_leaf = ![USERS, MEETINGS, MEETINGS_BY_HOST].contains(&key[0]);
            assert_eq!(found.faults.is_empty(), is_leaf, "{key:?}: {found:?}");
            store.commit(Batch::new().put(key.clone(), value.clone())).await.expect("puts back");
        }
    }
}
