//! How much one account may make in a day. Joining is not limited.
//!
//! A day is one of UTC. The count is written in one step with the meeting, so that of requests at once no more pass than may.

use serde::{Deserialize, Serialize};

use super::records::{self, MEETING_COUNTS, RECORD_VERSION, Record};
use super::timestamp::Timestamp;
use super::{Caller, Service, ServiceError};
use crate::ids::UserId;
use crate::store::Batch;

const DAY_MS: i64 = 24 * 3_600 * 1_000;

/// What the operator allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Meetings an account may create in a day; 0 is any number.
    pub meetings_per_day: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { meetings_per_day: 100 }
    }
}

/// What an account made on its latest day.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct MeetingCount {
    v: u32,
    /// Days since 1970.
    day: i64,
    count: u32,
}

impl Record for MeetingCount {}

impl Service {
    /// Meetings an account may create in a day; `None` is any number, as in demo mode.
    #[must_use]
    pub fn meetings_per_day(&self) -> Option<u32> {
        let limit = self.0.limits.meetings_per_day;
        (limit > 0 && !self.0.demo).then_some(limit)
    }

    /// How many meetings the caller may still create today; `None` is any number, or that the caller creates none at all.
    ///
    /// # Errors
    /// What the store says.
    pub fn meetings_left(&self, caller: Caller) -> Result<Option<u32>, ServiceError> {
        let (Some(limit), Ok(user)) = (self.meetings_per_day(), caller.organiser()) else { return Ok(None) };
        let (_, count) = self.meeting_count(user, day(Timestamp::now()))?;
        Ok(Some(limit.saturating_sub(count)))
    }

    /// Counts one more meeting of an account in the write that makes it.
    ///
    /// # Errors
    /// `TooManyMeetings`, `Store`.
    pub(super) fn count_meeting(
        &self,
        batch: Batch,
        host: UserId,
        now: Timestamp,
    ) -> Result<Batch, ServiceError> {
        let Some(limit) = self.meetings_per_day() else { return Ok(batch) };
        let today = day(now);
        let (found, count) = self.meeting_count(host, today)?;
        if count >= limit {
            let seconds = ((today + 1) * DAY_MS - now.0).max(0).unsigned_abs() / 1_000 + 1;
            return Err(ServiceError::TooManyMeetings { limit, seconds });
        }
        let counted = MeetingCount { v: RECORD_VERSION, day: today, count: count + 1 };
        let key = records::key(MEETING_COUNTS, &[host.0]);
        Ok(batch.expect(key.clone(), found).put(key, counted.encode()))
    }

    /// The row as it is, and what it counts of this day.
    fn meeting_count(&self, user: UserId, today: i64) -> Result<(Option<Vec<u8>>, u32), ServiceError> {
        let found = self.0.store.get(&records::key(MEETING_COUNTS, &[user.0]))?;
        let row = found.as_deref().map(MeetingCount::decode).transpose()?;
        // A clock that was set back does not give anybody another hundred.
        let count = row.filter(|row| row.day >= today).map_or(0, |row| row.count);
        Ok((found, count))
    }
}

const fn day(at: Timestamp) -> i64 {
    at.0.div_euclid(DAY_MS)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{NewMeeting, UserKind, new_user};
    use super::*;
    use crate::auth::{KeyRing, SigningKey, Tokens};
    use crate::store::{MemoryStore, Store};

    async fn host(store: &Arc<MemoryStore>) -> (Service, Caller) {
        let keys = KeyRing::of(SigningKey::generate().expect("randomness"));
        let store = Arc::clone(store);
        let user = new_user(UserKind::User, "ada");
        store.commit(Batch::new().put(records::user_key(user.user_id), user.encode())).await.expect("writes");
        let limits = Limits { meetings_per_day: 3 };
        let service = Service::with_limits(store as Arc<dyn Store>, Tokens::new(keys), false, limits);
        (service, Caller::User(user.user_id))
    }

    fn new() -> NewMeeting {
        NewMeeting { topic: "x".to_owned(), ..NewMeeting::default() }
    }

    #[tokio::test]
    async fn of_many_at_once_as_many_pass_as_may() {
        let store = Arc::new(MemoryStore::new());
        let (service, ada) = host(&store).await;
        assert_eq!(service.meetings_left(ada), Ok(Some(3)));
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let service = service.clone();
                tokio::spawn(async move { service.create_meeting(ada, new()).await.map(|_| ()) })
            })
            .collect();
        let mut made = 0;
        for task in tasks {
            match task.await.expect("no panic") {
                Ok(()) => made += 1,
                Err(ServiceError::TooManyMeetings { limit: 3, seconds }) => {
                    assert!((1..=86_401).contains(&seconds));
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!((made, service.meetings_left(ada)), (3, Ok(Some(0))));
        assert_eq!(service.meetings_left(Caller::Nobody), Ok(None));
    }

    #[tokio::test]
    async fn a_new_day_counts_anew_and_a_clock_set_back_does_not() {
        let store = Arc::new(MemoryStore::new());
        let (service, ada) = host(&store).await;
        let user = ada.organiser().expect("an account");
        let noon = Timestamp(20_000 * DAY_MS + DAY_MS / 2);
        for _ in 0..3 {
            let batch = service.count_meeting(Batch::new(), user, noon).expect("may");
            store.commit(batch).await.expect("writes");
        }
        let refused = |at| service.count_meeting(Batch::new(), user, at).err();
        let half_a_day = DAY_MS.unsigned_abs() / 2_000 + 1;
        let limit = ServiceError::TooManyMeetings { limit: 3, seconds: half_a_day };
        assert_eq!(refused(noon), Some(limit));
        assert!(refused(Timestamp(noon.0 - DAY_MS)).is_some(), "the clock was set back");
        assert_eq!(refused(Timestamp(noon.0 + DAY_MS)), None);
    }
}
