//! API keys: a server of the owner's makes tokens with them, by LiveKit's server SDKs, for people of its own.
//!
//! A key opens the owner's meetings and no others. People are told apart by the identity in the token; the same one is the same
//! participant whenever it comes. The secret is kept as a value, not as a hash: a signature is checked with it.

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::audit::Actor;
use super::tables::Action;
use super::{Caller, Visitor};
use crate::auth::livekit::{self, KeyClaims, KeyGrant};
use crate::auth::{TokenError, secret};
use crate::ids::{self, UserId};
use crate::service::input::user_name;
use crate::service::once::Keep;
use crate::service::people::{Admission, May, Outside};
use crate::service::records::{self, Participant, RECORD_VERSION, Record};
use crate::service::timestamp::Timestamp;
use crate::service::{FieldError, Seen, Service, ServiceError};
use crate::store::Batch;

/// Keys of one person.
pub const KEYS_MAX: usize = 20;
/// Longest identity in a token, bytes.
const IDENTITY_BYTES_MAX: usize = 200;

/// A key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ApiKey {
    /// Record version.
    pub v: u32,
    /// Its name in tokens.
    pub key: KeyId,
    /// What its owner calls it.
    pub name: String,
    /// What tokens are signed with.
    pub secret: String,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Record for ApiKey {}

/// The name of a key in tokens: `key_<owner>_<number>`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyId {
    owner: UserId,
    number: u64,
}

impl KeyId {
    /// Reads `key_<owner>_<number>`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (owner, number) = text.strip_prefix("key_")?.split_once('_')?;
        Some(Self { owner: UserId(owner.parse().ok()?), number: number.parse().ok()? })
    }

    fn at(self) -> Vec<u8> {
        records::key(records::API_KEYS, &[self.owner.0, self.number])
    }
}

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "key_{}_{}", self.owner.0, self.number)
    }
}

/// Who asks with a token that a key made.
#[derive(Clone, Debug)]
pub struct KeyHolder {
    /// The key's owner, whose meetings it opens.
    pub owner: UserId,
    /// What the token grants.
    pub grant: KeyGrant,
}

impl Service {
    /// Makes a key; its secret is told once.
    ///
    /// # Errors
    /// `NoToken`, `OutOfScope`, `Invalid` also for too many, `Busy`.
    pub async fn create_api_key(
        &self,
        caller: Caller,
        visitor: &Visitor,
        name: &str,
        keep: &Keep<'_, ApiKey>,
    ) -> Result<ApiKey, ServiceError> {
        let owner = self.own_account(caller)?.user_id;
        let name = user_name(name)?;
        if self.api_keys(caller)?.len() >= KEYS_MAX {
            let detail = format!("there are {KEYS_MAX} keys already; delete one first");
            return Err(ServiceError::Invalid(vec![FieldError::new("", detail)]));
        }
        let key = ApiKey {
            v: RECORD_VERSION,
            key: KeyId { owner, number: ids::random_u64() >> 1 },
            name,
            secret: secret::new().ok_or(ServiceError::Busy)?,
            created_at: Timestamp::now(),
        };
        let batch = Batch::new().expect(key.key.at(), None).put(key.key.at(), key.encode());
        let batch = keep.with(batch, &key)?;
        self.commit(Actor { user: owner, visitor }.note(batch, Action::CreateApiKey, owner)).await?;
        Ok(key)
    }

    /// The caller's keys.
    ///
    /// # Errors
    /// `NoToken`, `OutOfScope`, `UnknownUser`.
    pub fn api_keys(&self, caller: Caller) -> Result<Vec<ApiKey>, ServiceError> {
        let owner = self.own_account(caller)?.user_id;
        let prefix = records::key(records::API_KEYS, &[owner.0]);
        let rows = self.0.store.scan(&prefix, None, 2 * KEYS_MAX)?;
        rows.iter().map(|(_, bytes)| ApiKey::decode(bytes)).collect()
    }

    /// Deletes one of the caller's own keys: its tokens open nothing from then on. Who is in a meeting stays there.
    ///
    /// # Errors
    /// `NoToken`, `OutOfScope`, `NoSuchKey` also for a key of somebody else, `ChangedMeanwhile`.
    pub async fn delete_api_key(
        &self,
        caller: Caller,
        visitor: &Visitor,
        key: &str,
        seen: &Seen,
    ) -> Result<(), ServiceError> {
        let owner = self.own_account(caller)?.user_id;
        let id = KeyId::parse(key).filter(|id| id.owner == owner).ok_or(ServiceError::NoSuchKey)?;
        self.0.store.get(&id.at())?.ok_or(ServiceError::NoSuchKey)?;
        seen.holds(None)?;
        let batch = Batch::new().delete(id.at());
        Ok(self.commit(Actor { user: owner, visitor }.note(batch, Action::DeleteApiKey, owner)).await?)
    }

    /// Who holds the key that made a token, and what the token grants.
    ///
    /// # Errors
    /// `BadToken`, also for tokens that no key made; `AccountDisabled` of the owner.
    pub fn key_holder(&self, token: &str) -> Result<KeyHolder, ServiceError> {
        let issuer = livekit::issuer(token).ok_or(TokenError::BadSignature)?;
        let (owner, claims) = self.proven_by_key(token, &issuer)?;
        Ok(KeyHolder { owner, grant: claims.video.unwrap_or_default() })
    }

    /// The owner of the key that made a token, and what the token says.
    fn proven_by_key(&self, token: &str, issuer: &str) -> Result<(UserId, KeyClaims), ServiceError> {
        let id = KeyId::parse(issuer).ok_or(TokenError::BadSignature)?;
        let bytes = self.0.store.get(&id.at())?.ok_or(TokenError::BadSignature)?;
        let claims = livekit::verify(token, issuer, &ApiKey::decode(&bytes)?.secret)?;
        self.active(id.owner)?;
        Ok((id.owner, claims))
    }

    /// Verifies a token that a key made, against the meeting as it is now.
    ///
    /// # Errors
    /// `BadToken`, `AccountDisabled` of the owner, `NoSuchMeeting`, `Ended`, `Full`, `OutOfScope` for somebody else's meeting, for a
    /// token that joins nothing, and for grants that are not honoured here.
    pub(in crate::service) fn admit_by_key(
        &self,
        token: &str,
        issuer: &str,
    ) -> Result<Admission, ServiceError> {
        let (owner, claims) = self.proven_by_key(token, issuer)?;
        let grant = claims.video.filter(is_honoured).ok_or(ServiceError::OutOfScope)?;
        let id_of_room = ids::parse_meeting(&grant.room).ok_or(ServiceError::NoSuchMeeting)?;
        let meeting = self.open_meeting(id_of_room)?;
        if meeting.host_id != owner {
            return Err(ServiceError::OutOfScope);
        }
        let identity = claims.sub;
        // Identities of our own people are ours to give.
        let odd =
            identity.is_empty() || identity.starts_with("user_") || identity.chars().any(char::is_control);
        if odd || identity.len() > IDENTITY_BYTES_MAX {
            return Err(TokenError::Malformed.into());
        }
        let name = claims.name.as_deref().map_or(Err(()), |name| user_name(name).map_err(drop));
        let name = name.unwrap_or_else(|()| identity.chars().take(100).collect());
        let user = person_of(owner, &identity);
        self.room_for(&meeting, Some(user))?;
        let row = self.0.store.get(&records::participant_key(id_of_room, user))?;
        let row = row.as_deref().map(Participant::decode).transpose()?;
        Ok(Admission {
            meeting: id_of_room,
            user,
            name,
            host: false,
            joined_at: row.map_or_else(Timestamp::now, |row| row.joined_at),
            topic: meeting.meeting_topic,
            created_at: meeting.created_at,
            max_participants: meeting.max_participants,
            may: may(&grant),
            newcomer: Some(Outside { identity: identity.clone(), may: may(&grant) }),
            identity,
        })
    }
}

/// Whether a grant asks for nothing that is not honoured here.
fn is_honoured(grant: &KeyGrant) -> bool {
    grant.room_join && !grant.hidden && grant.can_publish_sources.is_empty()
}

fn may(grant: &KeyGrant) -> May {
    May {
        publish: grant.can_publish.unwrap_or(true),
        subscribe: grant.can_subscribe.unwrap_or(true),
        publish_data: grant.can_publish_data.unwrap_or(true),
        update_metadata: grant.can_update_own_metadata.unwrap_or(false),
    }
}

/// The same number for the same identity of the same owner, whatever key made the token.
fn person_of(owner: UserId, identity: &str) -> UserId {
    let mut text = owner.0.to_be_bytes().to_vec();
    text.extend_from_slice(identity.as_bytes());
    let hash = digest::digest(&digest::SHA256, &text);
    let number = hash.as_ref().iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    UserId((number >> 1).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_from_its_name() {
        let id = KeyId { owner: UserId(7), number: 9 };
        assert_eq!(KeyId::parse(&id.to_string()), Some(id));
        for bad in ["", "key_", "key_7", "key_7_", "key_x_9", "7_9", "kaigi"] {
            assert_eq!(KeyId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_identity_is_one_person_of_its_owner() {
        assert_eq!(person_of(UserId(1), "ada"), person_of(UserId(1), "ada"));
        assert_ne!(person_of(UserId(1), "ada"), person_of(UserId(2), "ada"));
        assert_ne!(person_of(UserId(1), "ada"), person_of(UserId(1), "Ada"));
    }
}
