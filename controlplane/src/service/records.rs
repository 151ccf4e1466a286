//! The data model at rest: tables, keys and records (the source's users, meetings and meeting_participants).
//!
//! A key is one table byte and big-endian numbers, so a scan by prefix comes in order; a record is JSON with its version `v`.
//! Field names and states are the source's; times are milliseconds since 1970.

use dataplane::base::ids::MeetingId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::ServiceError;
use super::timestamp::Timestamp;
use crate::ids::UserId;

/// The version written into every record.
pub const RECORD_VERSION: u32 = 1;
/// Join times remembered per participant; the first and the latest are always among them. 100 x 14 B = 1.4 kB of record.
pub const JOIN_HISTORY_MAX: usize = 100;
/// Participants of one meeting unless it says otherwise (the source's default).
pub const MAX_PARTICIPANTS: u32 = 100;

/// With an account or without.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserKind {
    /// Has an account.
    User,
    /// Came by a link.
    Guest,
    /// A program that acts for itself: what an OAuth client is in meetings of its own.
    Client,
}

/// A row of `users`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct User {
    /// Record version.
    pub v: u32,
    /// Primary key.
    pub user_id: UserId,
    /// With an account or without.
    pub kind: UserKind,
    /// Display name; unique among accounts.
    pub name: String,
    /// When the row was made.
    pub created_at: Timestamp,
    /// The address an account signs in with, normalised; unique.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Hash of the password; without one nobody signs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// What the account may do beyond its own.
    #[serde(default)]
    pub role: Role,
    /// Neither password nor token counts while this is set.
    #[serde(default)]
    pub disabled: bool,
    /// Goes up when all sessions end at once; a session counts in the generation it began in.
    #[serde(default)]
    pub generation: u32,
    /// The second factor, enabled or about to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totp: Option<Totp>,
    /// A link by which the account's password may be set, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitation: Option<Invitation>,
    /// Who the account is at a provider: a hash of the provider and its number of the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<String>,
}

/// What an account may do beyond its own.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Runs the appliance: accounts and the audit log.
    Admin,
    /// Its own meetings and account.
    #[default]
    User,
}

/// The second factor of an account.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Totp {
    /// The secret shared with the authenticator app, bytes.
    pub secret: Vec<u8>,
    /// Whether signing in takes a code; false until the first code was shown.
    pub enabled: bool,
    /// The latest time step that was used; no step up to it counts again.
    pub used_step: Option<u64>,
    /// Hashes of the recovery codes that are left.
    pub recovery: Vec<String>,
}

/// A one-time link to set a password.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Invitation {
    /// Hash of its secret.
    pub secret: String,
    /// Until when it counts.
    pub until: Timestamp,
}

/// Where a meeting is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MeetingStatus {
    /// Nobody has joined yet.
    Scheduled,
    /// Somebody has joined; stays so across restarts until it is ended.
    InProgress,
    /// Ended by its host.
    Ended,
}

/// A row of `meetings`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Meeting {
    /// Record version.
    pub v: u32,
    /// Primary key; congruent to `host_id` modulo 8.
    pub meeting_id: MeetingNumber,
    /// Who made it.
    pub host_id: UserId,
    /// Its topic, at most 500 characters.
    pub meeting_topic: String,
    /// Planned start.
    pub start_time: Timestamp,
    /// Planned length, minutes.
    pub duration: u32,
    /// When it was ended.
    pub end_time: Option<Timestamp>,
    /// Where it is in its life.
    pub status: MeetingStatus,
    /// Most participants at a time.
    pub max_participants: u32,
    /// Whether it is to be recorded.
    pub recording_enabled: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Hash of the passcode, if joining takes one.
    pub passcode: Option<String>,
    /// Whether guests wait until the host admits them.
    pub waiting_room: bool,
}

/// A row of `meeting_participants`, keyed by meeting and user.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Participant {
    /// Record version.
    pub v: u32,
    /// Half of the primary key.
    pub meeting_id: MeetingNumber,
    /// Other half of the primary key.
    pub user_id: UserId,
    /// The name shown in this meeting.
    pub name: String,
    /// The latest join.
    pub joined_at: Timestamp,
    /// When the participant left; absent while present (or since a crash).
    pub left_at: Option<Timestamp>,
    /// All joins, oldest first, at most [`JOIN_HISTORY_MAX`].
    pub joined_history: Vec<Timestamp>,
    /// Camera on.
    pub video_enabled: bool,
    /// Microphone on.
    pub audio_enabled: bool,
    /// Who it is to the server of the host's that let it in by an API key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside: Option<Outside>,
}

/// Somebody whom a server of the host's let in by an API key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Outside {
    /// The identity in the meeting.
    pub identity: String,
    /// What it may do there.
    pub may: May,
}

/// What a participant may do unless the host changes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct May {
    /// Send sound and pictures.
    pub publish: bool,
    /// Receive sound and pictures.
    pub subscribe: bool,
    /// Send data.
    pub publish_data: bool,
    /// Change its own name, metadata and attributes.
    pub update_metadata: bool,
}

impl May {
    /// What people of this server may do.
    pub const ALL: Self = Self { publish: true, subscribe: true, publish_data: true, update_metadata: true };
}

impl Participant {
    /// Notes one more join at `now`; the oldest but the first falls out of a full history.
    pub fn join_again(&mut self, now: Timestamp) {
        self.joined_at = now;
        self.left_at = None;
        if self.joined_history.len() >= JOIN_HISTORY_MAX {
            self.joined_history.remove(1);
        }
        self.joined_history.push(now);
    }
}

/// A meeting's number inside a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MeetingNumber(u64);

impl From<MeetingId> for MeetingNumber {
    fn from(id: MeetingId) -> Self {
        Self(id.0)
    }
}

impl MeetingNumber {
    /// The number as the planes know it.
    #[must_use]
    pub const fn id(self) -> MeetingId {
        MeetingId(self.0)
    }
}

/// A record of one table.
pub trait Record: Serialize + DeserializeOwned {
    /// The record as stored.
    fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("records are plain structs with string keys")
    }

    /// Reads a stored record.
    ///
    /// # Errors
    /// `BadRecord` when it is not one.
    fn decode(bytes: &[u8]) -> Result<Self, ServiceError> {
        serde_json::from_slice(bytes).map_err(|_| ServiceError::BadRecord)
    }
}

impl Record for User {}
impl Record for Meeting {}
impl Record for Participant {}

pub(super) const USERS: u8 = 1;
pub(super) const USER_NAMES: u8 = 2;
pub(super) const MEETINGS: u8 = 3;
pub(super) const MEETINGS_BY_HOST: u8 = 4;
pub(super) const PARTICIPANTS: u8 = 5;
pub(super) const USER_EMAILS: u8 = 6;
pub(super) const SESSIONS: u8 = 7;
pub(super) const AUDIT: u8 = 8;
pub(super) const ADMINS: u8 = 9;
pub(super) const OAUTH_CLIENTS: u8 = 10;
pub(super) const OAUTH_CODES: u8 = 11;
pub(super) const OAUTH_GRANTS: u8 = 12;
pub(super) const API_KEYS: u8 = 13;
pub(super) const MEETING_COUNTS: u8 = 14;
pub(super) const ONCE: u8 = 15;
pub(super) const EXTERNAL_NAMES: u8 = 20;
pub(super) const OAUTH_GRANTS_BY_USER: u8 = 21;
/// Tables whose keys hold what people are called or reached by: the store hides such keys.
pub const NAMED_TABLES: &[u8] = &[USER_NAMES, USER_EMAILS, EXTERNAL_NAMES];

/// Key of a user.
#[must_use]
pub fn user_key(user: UserId) -> Vec<u8> {
    key(USERS, &[user.0])
}

/// Key of the entry that names the account called `name`; its value is the user's number.
#[must_use]
pub fn user_name_key(name: &str) -> Vec<u8> {
    let mut key = vec![USER_NAMES];
    key.extend_from_slice(name.as_bytes());
    key
}

/// Prefix of the entries that name accounts: one for each account there is.
#[must_use]
pub fn user_names_prefix() -> Vec<u8> {
    vec![USER_NAMES]
}

/// Key of the entry for the account with this normalised address; its value is the user's number.
#[must_use]
pub fn user_email_key(email: &str) -> Vec<u8> {
    let mut key = vec![USER_EMAILS];
    key.extend_from_slice(email.as_bytes());
    key
}

/// The number that an entry of a name or an address holds.
///
/// # Errors
/// `BadRecord` when it is not one.
pub fn user_of_entry(value: Vec<u8>) -> Result<UserId, ServiceError> {
    let number: [u8; 8] = value.try_into().map_err(|_| ServiceError::BadRecord)?;
    Ok(UserId(u64::from_be_bytes(number)))
}

/// Key of a meeting.
#[must_use]
pub fn meeting_key(meeting: MeetingId) -> Vec<u8> {
    key(MEETINGS, &[meeting.0])
}

/// Prefix of the index entries of one host.
#[must_use]
pub fn host_prefix(host: UserId) -> Vec<u8> {
    key(MEETINGS_BY_HOST, &[host.0])
}

/// Index entry of a meeting under its host: newest first.
#[must_use]
pub fn host_key(meeting: &Meeting) -> Vec<u8> {
    let newest_first = u64::MAX - meeting.created_at.0.unsigned_abs();
    key(MEETINGS_BY_HOST, &[meeting.host_id.0, newest_first, meeting.meeting_id.0])
}

/// The meeting an index entry points at.
#[must_use]
pub fn meeting_of_host_key(key: &[u8]) -> Option<MeetingId> {
    let number = key.get(17..25)?.try_into().ok()?;
    Some(MeetingId(u64::from_be_bytes(number)))
}

/// Prefix of the participants of one meeting.
#[must_use]
pub fn participants_prefix(meeting: MeetingId) -> Vec<u8> {
    key(PARTICIPANTS, &[meeting.0])
}

/// Key of a participant.
#[must_use]
pub fn participant_key(meeting: MeetingId, user: UserId) -> Vec<u8> {
    key(PARTICIPANTS, &[meeting.0, user.0])
}

pub(super) fn key(table: u8, numbers: &[u64]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + 8 * numbers.len());
    key.push(table);
    for number in numbers {
        key.extend_from_slice(&number.to_be_bytes());
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn participant() -> Participant {
        Participant {
            v: RECORD_VERSION,
            meeting_id: MeetingId(1).into(),
            user_id: UserId(2),
            name: "x".into(),
            joined_at: Timestamp(0),
            left_at: None,
            joined_history: vec![Timestamp(0)],
            video_enabled: true,
            audio_enabled: true,
            outside: None,
        }
    }

    #[test]
    fn the_join_history_is_bounded_and_keeps_its_ends() {
        let mut row = participant();
        for n in 1..=500 {
            row.join_again(Timestamp(n));
        }
        assert_eq!(row.joined_history.len(), JOIN_HISTORY_MAX);
        assert_eq!(row.joined_history.first(), Some(&Timestamp(0)));
        assert_eq!(row.joined_history.last(), Some(&Timestamp(500)));
        assert_eq!(row.joined_at, Timestamp(500));
    }

    #[test]
    fn a_user_from_before_accounts_still_reads() {
        let old = br#"{"v":1,"user_id":7,"kind":"user","name":"ada","created_at":5}"#;
        let user = User::decode(old).expect("reads");
        assert_eq!((user.role, user.disabled), (Role::User, false));
        assert_eq!((user.email, user.password, user.totp), (None, None, None));
    }

    #[test]
    fn the_largest_records_fit_the_store() {
        let user = User {
            v: RECORD_VERSION,
            user_id: UserId(u64::MAX),
            kind: UserKind::User,
            name: "\u{1f600}".repeat(100),
            created_at: Timestamp(i64::MAX),
            email: Some("x".repeat(254)),
            password: Some("x".repeat(128)),
            role: Role::Admin,
            disabled: true,
            generation: u32::MAX,
            totp: Some(Totp {
                secret: vec![255; 20],
                enabled: true,
                used_step: Some(u64::MAX),
                recovery: vec!["x".repeat(43); 10],
            }),
            invitation: Some(Invitation { secret: "x".repeat(43), until: Timestamp(i64::MAX) }),
            external: Some("x".repeat(43)),
        };
        assert!(user.encode().len() <= crate::store::VALUE_BYTES_MAX);
        assert_eq!(User::decode(&user.encode()).ok(), Some(user));
        let mut row = participant();
        row.name = "\u{1f600}".repeat(100);
        row.joined_history = vec![Timestamp(i64::MAX); JOIN_HISTORY_MAX];
        row.outside = Some(Outside { identity: "\u{1f600}".repeat(50), may: May::ALL });
        assert!(row.encode().len() <= crate::store::VALUE_BYTES_MAX);
        assert_eq!(Participant::decode(&row.encode()).ok(), Some(row));
    }

    #[test]
    fn a_host_index_entry_leads_back_to_its_meeting() {
        let entry = key(MEETINGS_BY_HOST, &[5, 6, 7]);
        assert!(entry.starts_with(&host_prefix(UserId(5))));
        assert_eq!(meeting_of_host_key(&entry), Some(MeetingId(7)));
        assert_eq!(meeting_of_host_key(&entry[..20]), None);
    }
}
