//! Meetings from creation to deletion.

use dataplane::base::ids::MeetingId;

use super::input::{DURATION_MINUTES_DEFAULT, MeetingChange, NewMeeting};
use super::once::Keep;
use super::records::{self, MAX_PARTICIPANTS, Meeting, MeetingStatus, RECORD_VERSION, Record, UserKind};
use super::timestamp::Timestamp;
use super::{CAS_ATTEMPTS, Caller, MeetingEvent, Seen, Service, ServiceError, new_user, off_thread};
use crate::auth::{passcode, secret};
use crate::ids::{self, UserId};
use crate::store::{Batch, StoreError};

/// Meetings on a page when the caller does not say.
pub const PAGE_DEFAULT: usize = 20;
/// Most meetings on a page.
pub const PAGE_MAX: usize = 100;
/// Participants removed per write when a meeting is deleted.
const DELETE_CHUNK: usize = 256;

/// A meeting just made.
pub struct Created {
    /// The meeting.
    pub meeting: Meeting,
    /// The Bearer for host actions, in demo mode.
    pub host_token: Option<String>,
}

/// One page of a list.
pub struct Page<T> {
    /// Its items.
    pub items: Vec<T>,
    /// Where the next page begins, if there is one.
    pub next_cursor: Option<String>,
}

impl Service {
    /// Makes a meeting. In demo mode a caller without account becomes its host as a guest.
    ///
    /// # Errors
    /// `NoToken` for guests outside demo mode, `OutOfScope` for other tokens, `Invalid`, `Draining`, `TooManyMeetings`.
    pub async fn create_meeting(&self, caller: Caller, new: NewMeeting) -> Result<Created, ServiceError> {
        self.create_meeting_once(caller, new, &Keep::nothing()).await
    }

    /// The same, and what is kept of its answer.
    ///
    /// # Errors
    /// The same.
    pub async fn create_meeting_once(
        &self,
        caller: Caller,
        mut new: NewMeeting,
        keep: &Keep<'_, Created>,
    ) -> Result<Created, ServiceError> {
        self.take_new()?;
        let account = match caller.organiser() {
            Ok(user) => Some(user),
            Err(_) if self.0.demo => None,
            Err(error) => return Err(error),
        };
        new.check()?;
        let passcode = match new.passcode {
            Some(clear) => Some(hashed(clear).await?),
            None => None,
        };
        let mut batch = Batch::new();
        let host_id = account.unwrap_or_else(|| {
            let guest = new_user(UserKind::Guest, "Host");
            batch = std::mem::take(&mut batch).put(records::user_key(guest.user_id), guest.encode());
            guest.user_id
        });
        let now = Timestamp::now();
        let id = ids::random_meeting(host_id);
        let meeting = Meeting {
            v: RECORD_VERSION,
            meeting_id: id.into(),
            host_id,
            meeting_topic: new.topic,
            start_time: new.start_time.unwrap_or(now),
            duration: u32::try_from(new.duration.unwrap_or(DURATION_MINUTES_DEFAULT)).unwrap_or(1),
            end_time: None,
            status: MeetingStatus::Scheduled,
            max_participants: MAX_PARTICIPANTS,
            recording_enabled: new.recording_enabled,
            created_at: now,
            passcode,
            waiting_room: new.waiting_room,
        };
        let key = records::meeting_key(id);
        let batch =
            batch.expect(key.clone(), None).put(key, meeting.encode()).put(records::host_key(&meeting), "");
        let host_token = self.0.demo.then(|| self.0.tokens.host(host_id, id));
        let created = Created { meeting, host_token };
        let batch = keep.with(batch, &created)?;
        for _ in 0..CAS_ATTEMPTS {
            // Somebody may create another one with the same account at the same moment.
            match self.commit(self.count_meeting(batch.clone(), host_id, now)?).await {
                Ok(()) => return Ok(created),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ServiceError::Busy)
    }

    /// A meeting by its number. The number is the invitation: whoever has it may look.
    ///
    /// # Errors
    /// `NoSuchMeeting`.
    pub fn meeting(&self, id: MeetingId) -> Result<Meeting, ServiceError> {
        let bytes = self.0.store.get(&records::meeting_key(id))?.ok_or(ServiceError::NoSuchMeeting)?;
        Meeting::decode(&bytes)
    }

    /// The caller's own meetings, newest first.
    ///
    /// # Errors
    /// `NoToken`, `OutOfScope`, or `Invalid` for a cursor that is not ours.
    pub fn meetings(
        &self,
        caller: Caller,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<Meeting>, ServiceError> {
        let host = caller.organiser()?;
        let page = self.page(&records::host_prefix(host), cursor, limit, |bytes| bytes == 16)?;
        let mut items = Vec::with_capacity(page.items.len());
        for (key, _) in &page.items {
            let id = records::meeting_of_host_key(key).ok_or(ServiceError::BadRecord)?;
            match self.meeting(id) {
                Ok(meeting) => items.push(meeting),
                Err(ServiceError::NoSuchMeeting) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Page { items, next_cursor: page.next_cursor })
    }

    /// Changes a meeting that has not ended.
    ///
    /// # Errors
    /// `NoSuchMeeting`, `NoToken`, `NotHost`, `Ended`, `ChangedMeanwhile`, `InProgress` for a new start of a running meeting, `Invalid`.
    pub async fn change_meeting(
        &self,
        caller: Caller,
        id: MeetingId,
        mut change: MeetingChange,
    ) -> Result<Meeting, ServiceError> {
        somebody(caller)?;
        open_to_host(&self.meeting(id)?, caller)?;
        change.check()?;
        let passcode = match change.passcode {
            Some(Some(clear)) => Some(Some(hashed(clear).await?)),
            Some(None) => Some(None),
            None => None,
        };
        self.update(records::meeting_key(id), ServiceError::NoSuchMeeting, |meeting: &mut Meeting| {
            open_to_host(meeting, caller)?;
            change.seen.holds(Some(&meeting.tag()))?;
            if let Some(start_time) = change.start_time {
                if meeting.status == MeetingStatus::InProgress && start_time != meeting.start_time {
                    return Err(ServiceError::InProgress);
                }
                meeting.start_time = start_time;
            }
            if let Some(topic) = &change.topic {
                meeting.meeting_topic.clone_from(topic);
            }
            if let Some(duration) = change.duration.and_then(|d| u32::try_from(d).ok()) {
                meeting.duration = duration;
            }
            if let Some(recording_enabled) = change.recording_enabled {
                meeting.recording_enabled = recording_enabled;
            }
            if let Some(passcode) = &passcode {
                meeting.passcode.clone_from(passcode);
            }
            Ok(())
        })
        .await
    }

    /// Ends a meeting; everybody in it is disconnected.
    ///
    /// # Errors
    /// `NoSuchMeeting`, `NoToken`, `NotHost`, `Ended`.
    pub async fn end_meeting(&self, caller: Caller, id: MeetingId) -> Result<Meeting, ServiceError> {
        somebody(caller)?;
        let key = records::meeting_key(id);
        let meeting = self
            .update(key, ServiceError::NoSuchMeeting, |meeting: &mut Meeting| {
                open_to_host(meeting, caller)?;
                meeting.status = MeetingStatus::Ended;
                meeting.end_time = Some(Timestamp::now());
                Ok(())
            })
            .await?;
        // Nobody listens while no signalling runs.
        let _ = self.0.events.send(MeetingEvent::Ended(id));
        Ok(meeting)
    }

    /// Deletes a meeting and what is known about who was in it; everybody in it is disconnected.
    ///
    /// # Errors
    /// `NoSuchMeeting`, `NoToken`, `NotHost`, `ChangedMeanwhile`.
    pub async fn delete_meeting(
        &self,
        caller: Caller,
        id: MeetingId,
        seen: &Seen,
    ) -> Result<(), ServiceError> {
        somebody(caller)?;
        let key = records::meeting_key(id);
        for _ in 0..CAS_ATTEMPTS {
            let bytes = self.0.store.get(&key)?.ok_or(ServiceError::NoSuchMeeting)?;
            let meeting = Meeting::decode(&bytes)?;
            host_of(&meeting, caller)?;
            seen.holds(Some(&meeting.tag()))?;
            let batch = Batch::new()
                .expect(key.clone(), Some(bytes))
                .delete(key.clone())
                .delete(records::host_key(&meeting));
            match self.commit(batch).await {
                Ok(()) => {
                    let _ = self.0.events.send(MeetingEvent::Ended(id));
                    return self.forget_participants(id).await;
                }
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ServiceError::Busy)
    }

    /// Rows of a meeting that no longer exists. A crash in between leaves rows nobody can reach; they carry no secret.
    async fn forget_participants(&self, id: MeetingId) -> Result<(), ServiceError> {
        let prefix = records::participants_prefix(id);
        loop {
            let rows = self.0.store.scan(&prefix, None, DELETE_CHUNK)?;
            if rows.is_empty() {
                return Ok(());
            }
            let batch = rows.into_iter().fold(Batch::new(), |batch, (key, _)| batch.delete(key));
            self.commit(batch).await?;
        }
    }
}

impl Meeting {
    /// Changes with everything about the meeting; an entity tag without its quotes.
    #[must_use]
    pub fn tag(&self) -> String {
        // The passcode in it is a hash, and so is what becomes of it here.
        let text = serde_json::to_string(self).unwrap_or_default();
        secret::hash(&text)[..22].to_owned()
    }
}

/// Whoever has no token is told so, and not what there is.
const fn somebody(caller: Caller) -> Result<(), ServiceError> {
    match caller {
        Caller::Nobody => Err(ServiceError::NoToken),
        _ => Ok(()),
    }
}

/// The caller as the meeting's host.
pub(super) fn host_of(meeting: &Meeting, caller: Caller) -> Result<UserId, ServiceError> {
    match caller {
        Caller::Nobody => Err(ServiceError::NoToken),
        // A media token is handed to third-party clients: it moves media, it does not manage meetings.
        Caller::Participant(..) => Err(ServiceError::OutOfScope),
        _ => caller
            .person_in(meeting.meeting_id.id())
            .filter(|user| *user == meeting.host_id)
            .ok_or(ServiceError::NotHost),
    }
}

fn open_to_host(meeting: &Meeting, caller: Caller) -> Result<(), ServiceError> {
    host_of(meeting, caller)?;
    if meeting.status == MeetingStatus::Ended { Err(ServiceError::Ended) } else { Ok(()) }
}

async fn hashed(clear: String) -> Result<String, ServiceError> {
    off_thread(move || passcode::hash(&clear)).await?.ok_or(ServiceError::Busy)
}
