//! People in a meeting: joining over the API, admission to media, presence, and what is remembered of it.

use dataplane::base::ids::MeetingId;

use super::input::JoinRequest;
use super::meetings::host_of;
use super::records::{self, Meeting, MeetingStatus, Participant, RECORD_VERSION, Record, UserKind};
pub use super::records::{May, Outside};
use super::timestamp::Timestamp;
use super::{CAS_ATTEMPTS, Caller, MeetingEvent, Service, ServiceError, User, new_user, off_thread};
use crate::auth::{Audience, TokenError, livekit, passcode};
use crate::ids::UserId;
use crate::store::{Batch, StoreError};

/// Rows of one meeting that are listed: guests who come and go add up, 1,000 is ten times a full meeting.
const PARTICIPANTS_LISTED_MAX: usize = 1_000;

/// A join that was granted.
pub struct Joined {
    /// The meeting.
    pub meeting: MeetingId,
    /// The person: the account, or a guest made for this join.
    pub user: UserId,
    /// What opens `/rtc`.
    pub session_token: String,
}

/// Somebody whom `/rtc` may let in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admission {
    /// The meeting; its room is called `meeting_<decimal>`.
    pub meeting: MeetingId,
    /// The person.
    pub user: UserId,
    /// The person's identity in the meeting, the same at every rejoin: `user_<decimal>`, or what a token of an API key says.
    pub identity: String,
    /// The name to show.
    pub name: String,
    /// Whether this is the host.
    pub host: bool,
    /// When the person joined, by the clock of the API.
    pub joined_at: Timestamp,
    /// The meeting's topic.
    pub topic: String,
    /// When the meeting was made.
    pub created_at: Timestamp,
    /// Most people at a time.
    pub max_participants: u32,
    /// What the person may do unless the host changes it.
    pub may: May,
    /// Somebody an API key lets in: the row is written when it comes.
    pub newcomer: Option<Outside>,
}

/// Where a participant is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ParticipantState {
    /// Has a session token and no connection.
    Joining,
    /// Connected to signalling.
    Connected,
    /// Gone.
    Left,
}

/// A participant's row with its live state.
pub struct ParticipantView {
    /// The row.
    pub row: Participant,
    /// Where the participant is now.
    pub state: ParticipantState,
    /// Whether this is the host.
    pub host: bool,
}

impl Service {
    /// Lets somebody join: an account, a guest, or (with an earlier host or session token) the same person again.
    ///
    /// # Errors
    /// `NoSuchMeeting`, `Ended`, `PasscodeRequired`, `WrongPasscode`, `Full`, `OutOfScope` for a token of another meeting,
    /// `Invalid`, `Draining`.
    pub async fn join(
        &self,
        caller: Caller,
        id: MeetingId,
        mut request: JoinRequest,
    ) -> Result<Joined, ServiceError> {
        self.take_new()?;
        let meeting = self.open_meeting(id)?;
        request.check()?;
        let person = match caller {
            Caller::Nobody => None,
            _ => Some(caller.person_in(id).ok_or(ServiceError::OutOfScope)?),
        };
        // A host or session token was given out after the passcode was shown.
        let knows_passcode =
            person == Some(meeting.host_id) || matches!(caller, Caller::Host(..) | Caller::Participant(..));
        if let (Some(hashed), false) = (meeting.passcode.clone(), knows_passcode) {
            let given = request.passcode.take().ok_or(ServiceError::PasscodeRequired)?;
            if !off_thread(move || passcode::matches(&hashed, &given)).await? {
                return Err(ServiceError::WrongPasscode);
            }
        }
        self.room_for(&meeting, person)?;
        let mut batch = Batch::new();
        let user = match person {
            Some(user) => self.user(user)?,
            None => {
                let guest = new_user(UserKind::Guest, request.name.as_deref().unwrap_or("Guest"));
                batch = batch.put(records::user_key(guest.user_id), guest.encode());
                guest
            }
        };
        let name = self.note_join(id, user.user_id, None, &user.name, request.name.as_deref(), batch).await?;
        let session_token = self.0.tokens.session(user.user_id, id, &name);
        Ok(Joined { meeting: id, user: user.user_id, session_token })
    }

    /// Writes the participant's row and sets the meeting in progress, in one step that fails if the meeting ended meanwhile.
    async fn note_join(
        &self,
        id: MeetingId,
        user: UserId,
        outside: Option<&Outside>,
        account_name: &str,
        name: Option<&str>,
        first: Batch,
    ) -> Result<String, ServiceError> {
        let (meeting_key, row_key) = (records::meeting_key(id), records::participant_key(id, user));
        for _ in 0..CAS_ATTEMPTS {
            let now = Timestamp::now();
            let meeting_bytes = self.0.store.get(&meeting_key)?.ok_or(ServiceError::NoSuchMeeting)?;
            let row_bytes = self.0.store.get(&row_key)?;
            let mut meeting = Meeting::decode(&meeting_bytes)?;
            let mut batch = first
                .clone()
                .expect(meeting_key.clone(), Some(meeting_bytes))
                .expect(row_key.clone(), row_bytes.clone());
            match meeting.status {
                MeetingStatus::Ended => return Err(ServiceError::Ended),
                MeetingStatus::InProgress => {}
                MeetingStatus::Scheduled => {
                    meeting.status = MeetingStatus::InProgress;
                    batch = batch.put(meeting_key.clone(), meeting.encode());
                }
            }
            let mut row = match row_bytes {
                Some(bytes) => {
                    let mut row = Participant::decode(&bytes)?;
                    row.join_again(now);
                    row
                }
                None => Participant {
                    v: RECORD_VERSION,
                    meeting_id: id.into(),
                    user_id: user,
                    name: account_name.to_owned(),
                    joined_at: now,
                    left_at: None,
                    joined_history: vec![now],
                    video_enabled: false,
                    audio_enabled: false,
                    outside: None,
                },
            };
            if outside.is_some() {
                row.outside = outside.cloned();
            }
            if let Some(name) = name {
                name.clone_into(&mut row.name);
            }
            match self.commit(batch.put(row_key.clone(), row.encode())).await {
                Ok(()) => return Ok(row.name),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ServiceError::Busy)
    }

    /// Verifies a media session token, or a token made with an API key, against the meeting as it is now.
    ///
    /// # Errors
    /// `BadToken`, `NoSuchMeeting`, `Ended`, `UnknownUser` when the token's row is gone, `AccountDisabled`, `Full`.
    pub fn admit(&self, session_token: &str) -> Result<Admission, ServiceError> {
        if let Some(issuer) = livekit::issuer(session_token) {
            return self.admit_by_key(session_token, &issuer);
        }
        let claims = self.0.tokens.verify(session_token)?;
        if claims.aud != Audience::Media {
            return Err(TokenError::WrongAudience.into());
        }
        let (Some(user), Some(id)) = (claims.user(), claims.meeting()) else {
            return Err(TokenError::Malformed.into());
        };
        let meeting = self.open_meeting(id)?;
        let row = self.0.store.get(&records::participant_key(id, user))?.ok_or(ServiceError::UnknownUser)?;
        let row = Participant::decode(&row)?;
        self.active(user)?;
        self.room_for(&meeting, Some(user))?;
        Ok(Admission {
            meeting: id,
            user,
            identity: row.outside.as_ref().map_or_else(|| user.to_string(), |who| who.identity.clone()),
            name: row.name,
            host: user == meeting.host_id,
            joined_at: row.joined_at,
            topic: meeting.meeting_topic,
            created_at: meeting.created_at,
            max_participants: meeting.max_participants,
            may: row.outside.map_or(May::ALL, |who| who.may),
            newcomer: None,
        })
    }

    /// A fresh session token for somebody already admitted, so that a long meeting outlives its first token.
    #[must_use]
    pub fn renew(&self, admission: &Admission) -> String {
        self.0.tokens.session(admission.user, admission.meeting, &admission.name)
    }

    /// Counts a connection and makes the participant's row say so. Each success is paired with one
    /// [`Service::participant_left`].
    ///
    /// # Errors
    /// `Full`, `Ended` or `NoSuchMeeting` when that happened meanwhile; then nothing was counted.
    ///
    /// Somebody whom an API key lets in gets a row like a guest's.
    pub async fn participant_joined(&self, admission: &Admission) -> Result<(), ServiceError> {
        let (meeting, user) = (admission.meeting, admission.user);
        let people_max = usize::try_from(admission.max_participants).unwrap_or(usize::MAX);
        if !self.presence().enter(meeting, user, people_max) {
            return Err(ServiceError::Full);
        }
        let noted = match &admission.newcomer {
            Some(who) => self.note_newcomer(admission, who).await,
            None => self.note_return(meeting, user).await,
        };
        let noted = noted.and_then(|()| self.open_meeting(meeting).map(drop));
        if noted.is_err() {
            self.presence().leave(meeting, user);
        }
        noted
    }

    async fn note_newcomer(&self, admission: &Admission, who: &Outside) -> Result<(), ServiceError> {
        let (key, name) = (records::user_key(admission.user), &admission.name);
        let mut first = Batch::new();
        if self.0.store.get(&key)?.is_none() {
            let guest = User { user_id: admission.user, ..new_user(UserKind::Guest, name) };
            first = first.put(key, guest.encode());
        }
        self.note_join(admission.meeting, admission.user, Some(who), name, Some(name), first).await.map(drop)
    }

    async fn note_return(&self, meeting: MeetingId, user: UserId) -> Result<(), ServiceError> {
        let key = records::participant_key(meeting, user);
        let noted = self.update(key, ServiceError::UnknownUser, |row: &mut Participant| {
            // A join over the API has noted itself; coming back after a drop has not.
            if row.left_at.is_some() {
                row.join_again(Timestamp::now());
            }
            Ok(())
        });
        noted.await.map(drop)
    }

    /// Counts a connection less; the last one of a person writes `left_at`.
    ///
    /// # Errors
    /// What the store says; the connection is gone from the count all the same.
    pub async fn participant_left(&self, admission: &Admission, at: Timestamp) -> Result<(), ServiceError> {
        if !self.presence().leave(admission.meeting, admission.user) {
            return Ok(());
        }
        self.update_row(admission, |row| {
            row.left_at = Some(at);
            row.audio_enabled = false;
            row.video_enabled = false;
        })
        .await
    }

    /// Notes which media the participant sends; `None` leaves a kind as it is.
    ///
    /// # Errors
    /// What the store says.
    pub async fn media_enabled(
        &self,
        admission: &Admission,
        audio: Option<bool>,
        video: Option<bool>,
    ) -> Result<(), ServiceError> {
        self.update_row(admission, |row| {
            row.audio_enabled = audio.unwrap_or(row.audio_enabled);
            row.video_enabled = video.unwrap_or(row.video_enabled);
        })
        .await
    }

    /// Who is and was in the meeting, oldest first. For its host and its people; in demo mode for everybody who could join
    /// without a passcode.
    ///
    /// # Errors
    /// `NoSuchMeeting`, `NoToken`, `NotHost` for strangers.
    pub fn participants(&self, caller: Caller, id: MeetingId) -> Result<Vec<ParticipantView>, ServiceError> {
        let meeting = self.meeting(id)?;
        self.may_see_people(&meeting, caller)?;
        let rows = self.0.store.scan(&records::participants_prefix(id), None, PARTICIPANTS_LISTED_MAX)?;
        let mut views = Vec::with_capacity(rows.len());
        let presence = self.presence();
        for (_, bytes) in rows {
            let row = Participant::decode(&bytes)?;
            let state = if presence.contains(id, row.user_id) {
                ParticipantState::Connected
            } else if row.left_at.is_some() || meeting.status == MeetingStatus::Ended {
                ParticipantState::Left
            } else {
                ParticipantState::Joining
            };
            views.push(ParticipantView { host: row.user_id == meeting.host_id, row, state });
        }
        views.sort_by_key(|view| (view.row.joined_history.first().copied(), view.row.user_id));
        Ok(views)
    }

    /// Whether somebody may see what a participant is sent: its host and the participant itself.
    ///
    /// # Errors
    /// `NoSuchMeeting`, `NoToken`, `OutOfScope` for a token of another meeting, `NotHost` for everybody else,
    /// `NoSuchParticipant`.
    pub fn may_see_media(&self, caller: Caller, id: MeetingId, person: UserId) -> Result<(), ServiceError> {
        let meeting = self.meeting(id)?;
        let asks = caller.person_in(id).ok_or(match caller {
            Caller::Nobody => ServiceError::NoToken,
            _ => ServiceError::OutOfScope,
        })?;
        if asks != meeting.host_id && asks != person {
            return Err(ServiceError::NotHost);
        }
        let row = self.0.store.get(&records::participant_key(id, person))?;
        row.map(drop).ok_or(ServiceError::NoSuchParticipant)
    }

    /// Whether somebody may act on a participant of a running meeting: its host.
    ///
    /// # Errors
    /// `NoSuchMeeting`, `NoToken`, `OutOfScope` for a session token, `NotHost`, `Ended`, `NoSuchParticipant`.
    pub fn may_act_on(&self, caller: Caller, id: MeetingId, person: UserId) -> Result<(), ServiceError> {
        host_of(&self.meeting(id)?, caller)?;
        self.open_meeting(id)?;
        let row = self.0.store.get(&records::participant_key(id, person))?;
        row.map(drop).ok_or(ServiceError::NoSuchParticipant)
    }

    /// Tells signalling to disconnect one person.
    pub fn disconnect(&self, meeting: MeetingId, user: UserId) {
        let _ = self.0.events.send(MeetingEvent::Removed(meeting, user));
    }

    fn may_see_people(&self, meeting: &Meeting, caller: Caller) -> Result<(), ServiceError> {
        let id = meeting.meeting_id.id();
        let open_to_all = self.0.demo && meeting.passcode.is_none();
        let Some(person) = caller.person_in(id) else {
            return match caller {
                _ if open_to_all => Ok(()),
                Caller::Nobody => Err(ServiceError::NoToken),
                _ => Err(ServiceError::OutOfScope),
            };
        };
        let belongs = open_to_all
            || person == meeting.host_id
            || self.0.store.get(&records::participant_key(id, person))?.is_some();
        if belongs { Ok(()) } else { Err(ServiceError::NotHost) }
    }

    pub(super) fn open_meeting(&self, id: MeetingId) -> Result<Meeting, ServiceError> {
        let meeting = self.meeting(id)?;
        if meeting.status == MeetingStatus::Ended { Err(ServiceError::Ended) } else { Ok(meeting) }
    }

    /// A join over the API does not hold a place; the place is taken at [`Service::participant_joined`].
    pub(super) fn room_for(&self, meeting: &Meeting, person: Option<UserId>) -> Result<(), ServiceError> {
        let presence = self.presence();
        let id = meeting.meeting_id.id();
        let inside = person.is_some_and(|user| presence.contains(id, user));
        let people_max = usize::try_from(meeting.max_participants).unwrap_or(usize::MAX);
        if inside || presence.people(id) < people_max { Ok(()) } else { Err(ServiceError::Full) }
    }

    async fn update_row(
        &self,
        admission: &Admission,
        mut change: impl FnMut(&mut Participant),
    ) -> Result<(), ServiceError> {
        let key = records::participant_key(admission.meeting, admission.user);
        let updated = self
            .update(key, ServiceError::UnknownUser, |row: &mut Participant| {
                change(row);
                Ok(())
            })
            .await;
        match updated {
            // The meeting was deleted meanwhile, and its rows with it.
            Ok(_) | Err(ServiceError::UnknownUser) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
