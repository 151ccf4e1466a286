//! What accounts keep beside their row in `users`: sessions, the audit log, and who may manage accounts.

use serde::{Deserialize, Serialize};

use crate::ids::UserId;
use crate::service::ServiceError;
use crate::service::records::{self, Record};
use crate::service::timestamp::Timestamp;

/// A browser that is signed in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Session {
    /// Record version.
    pub v: u32,
    /// Its number among its person's.
    pub session_id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// Hash of the secret in the cookie.
    pub secret: String,
    /// The user's generation it began in; it counts in no other.
    pub generation: u32,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last used, to a few minutes.
    pub seen_at: Timestamp,
    /// The network address it began from.
    pub ip: String,
    /// The browser and system it began in.
    pub agent: String,
}

/// Number of a session; shown as `session_<decimal>`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u64);

impl SessionId {
    /// Reads `session_<decimal>`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.strip_prefix("session_")?.parse().ok().map(Self)
    }
}

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "session_{}", self.0)
    }
}

/// A line of the audit log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Record version.
    pub v: u32,
    /// When.
    pub at: Timestamp,
    /// Who; absent for the operator, on the machine itself, and for somebody who did not get in.
    pub actor: Option<UserId>,
    /// What.
    pub action: Action,
    /// On whom, if on anybody.
    pub target: Option<UserId>,
    /// From which network address; absent for the operator.
    pub ip: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// The entry's number, so that entries of one millisecond stay apart.
    pub number: u64,
    /// How many such acts it stands for, where that may be more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
}

/// What is written down.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The first account was made.
    SetUp,
    /// Somebody signed in.
    SignIn,
    /// Somebody did not, for want of the right password or code; the target is the account that was tried, if there is one.
    FailSignIn,
    /// An admin took the codes off somebody's account.
    ResetTotp,
    /// Somebody took back what a program was allowed.
    RevokeProgram,
    /// Somebody changed the own password.
    ChangePassword,
    /// Somebody turned codes on.
    EnableTotp,
    /// Somebody turned codes off.
    DisableTotp,
    /// A session of the same person was ended.
    EndSession,
    /// An account was made.
    CreateUser,
    /// A role, or whether an account is disabled, was changed.
    ChangeUser,
    /// A link to set a password was made.
    Invite,
    /// A password was set by such a link.
    AcceptInvitation,
    /// The operator took an access token of somebody's.
    IssueToken,
    /// The operator changed the key that signs.
    RotateSigningKey,
    /// Somebody made an own API key.
    CreateApiKey,
    /// Somebody deleted an own API key.
    DeleteApiKey,
    /// An OAuth client was made.
    CreateOauthClient,
    /// An OAuth client was deleted.
    DeleteOauthClient,
    /// An OAuth client was allowed to act for somebody.
    Authorize,
    /// OAuth clients were listed.
    ListOauthClients,
    /// Somebody a provider vouches for came for the first time.
    LinkProvider,
    /// Accounts were listed.
    ListUsers,
    /// This log was read.
    ReadAudit,
}

/// How an act ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was refused.
    Refused,
}

/// Accounts that may manage accounts and can sign in.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Admins(pub Vec<UserId>);

impl Record for Session {}
impl Record for AuditEntry {}
impl Record for Admins {}

/// Prefix of the sessions of one person.
#[must_use]
pub fn sessions_prefix(user: UserId) -> Vec<u8> {
    records::key(records::SESSIONS, &[user.0])
}

/// Key of a session.
#[must_use]
pub fn session_key(user: UserId, session: SessionId) -> Vec<u8> {
    records::key(records::SESSIONS, &[user.0, session.0])
}

/// Prefix of the audit log.
#[must_use]
pub fn audit_prefix() -> Vec<u8> {
    records::key(records::AUDIT, &[])
}

/// Key of a line of the audit log: newest first.
#[must_use]
pub fn audit_key(entry: &AuditEntry) -> Vec<u8> {
    records::key(records::AUDIT, &[u64::MAX - entry.at.0.unsigned_abs(), entry.number])
}

/// Key of the one record that lists the admins.
#[must_use]
pub fn admins_key() -> Vec<u8> {
    records::key(records::ADMINS, &[])
}

/// Key of whose account a provider's person is. Hashed, as such names are of any length, and hidden like every name.
#[must_use]
pub fn external_key(person: &str) -> Vec<u8> {
    let mut key = vec![records::EXTERNAL_NAMES];
    key.extend_from_slice(person.as_bytes());
    key
}

/// A person of a provider as a key and a record name it: a hash of both.
#[must_use]
pub fn external_person(issuer: &str, subject: &str) -> String {
    crate::auth::secret::hash(&serde_json::to_string(&(issuer, subject)).unwrap_or_default())
}

/// Most admins: 200 numbers of 20 characters fit a record.
const ADMINS_MAX: usize = 200;

impl Admins {
    /// Adds or removes one.
    ///
    /// # Errors
    /// `LastAdmin` when nobody would be left, `Invalid` when there are too many.
    pub fn set(&mut self, user: UserId, admin: bool) -> Result<(), ServiceError> {
        self.0.retain(|known| *known != user);
        if admin {
            self.0.push(user);
        }
        if self.0.is_empty() {
            return Err(ServiceError::LastAdmin);
        }
        if self.0.len() > ADMINS_MAX {
            let detail = format!("there may be at most {ADMINS_MAX} admins");
            return Err(ServiceError::Invalid(vec![crate::service::FieldError::new("/role", detail)]));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::VALUE_BYTES_MAX;

    #[test]
    fn the_last_admin_stays_and_the_most_admins_fit_a_record() {
        let mut admins = Admins::default();
        for n in 0..ADMINS_MAX as u64 {
            admins.set(UserId(u64::MAX - n), true).expect("fits");
        }
        assert!(admins.encode().len() <= VALUE_BYTES_MAX);
        assert!(admins.set(UserId(1), true).is_err());
        let mut one = Admins(vec![UserId(1)]);
        assert_eq!(one.set(UserId(1), true), Ok(()));
        assert_eq!(one.set(UserId(1), false), Err(ServiceError::LastAdmin));
    }
}
