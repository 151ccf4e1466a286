//! What the authorization server keeps: clients, codes that wait to be redeemed, and grants with their refresh token.

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use crate::ids::{self, UserId};
use crate::service::records::{self, Record};
use crate::service::timestamp::Timestamp;

/// A program that may ask to act for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Client {
    /// Record version.
    pub v: u32,
    /// Its number.
    pub client_id: ClientId,
    /// What people are shown.
    pub name: String,
    /// Where codes may be sent; compared letter by letter.
    pub redirect_uris: Vec<String>,
    /// Hash of its secret; absent for programs that can keep none.
    pub secret: Option<String>,
    /// Whether it is the operator's own: people are not asked.
    pub first_party: bool,
    /// Who it is in meetings of its own.
    pub user_id: UserId,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Number of a client; shown as `client_<decimal>`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientId(pub u64);

impl ClientId {
    /// A new number nobody has.
    #[must_use]
    pub fn random() -> Self {
        Self(ids::random_u64() >> 1)
    }

    /// Reads `client_<decimal>`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.strip_prefix("client_")?.parse().ok().map(Self)
    }
}

impl std::fmt::Display for ClientId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "client_{}", self.0)
    }
}

/// An authorization code, kept under its hash until it has expired.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Code {
    /// Record version.
    pub v: u32,
    /// Who may redeem it.
    pub client_id: ClientId,
    /// Whom the client acts for.
    pub user_id: UserId,
    /// Where it was sent.
    pub redirect_uri: String,
    /// SHA-256 of the verifier, base64url (RFC 7636 section 4.2).
    pub challenge: String,
    /// Until when it counts.
    pub until: Timestamp,
    /// The grant it became: a second try to redeem it ends that.
    pub grant: Option<GrantId>,
}

/// Number of a grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantId(pub u64);

/// What a person allowed a client: the family of its refresh tokens, of which one counts at a time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// Record version.
    pub v: u32,
    /// Its number.
    pub grant_id: GrantId,
    /// Which client.
    pub client_id: ClientId,
    /// For whom.
    pub user_id: UserId,
    /// The person's generation: a new password ends it.
    pub generation: u32,
    /// Hash of the secret in the refresh token that counts.
    pub secret: String,
    /// Until when that one counts.
    pub until: Timestamp,
}

impl Grant {
    /// When it last became a token.
    #[must_use]
    pub const fn used_at(&self) -> Timestamp {
        Timestamp(self.until.0 - super::grants::REFRESH_TTL_MS)
    }
}

impl Record for Client {}
impl Record for Code {}
impl Record for Grant {}

/// Prefix of all clients.
#[must_use]
pub fn clients_prefix() -> Vec<u8> {
    records::key(records::OAUTH_CLIENTS, &[])
}

/// Key of a client.
#[must_use]
pub fn client_key(client: ClientId) -> Vec<u8> {
    records::key(records::OAUTH_CLIENTS, &[client.0])
}

/// Prefix of all codes.
#[must_use]
pub fn codes_prefix() -> Vec<u8> {
    records::key(records::OAUTH_CODES, &[])
}

/// Key of a code: its hash.
#[must_use]
pub fn code_key(code: &str) -> Vec<u8> {
    let mut key = codes_prefix();
    key.extend_from_slice(digest::digest(&digest::SHA256, code.as_bytes()).as_ref());
    key
}

/// Prefix of all grants.
#[must_use]
pub fn grants_prefix() -> Vec<u8> {
    records::key(records::OAUTH_GRANTS, &[])
}

/// Key of a grant.
#[must_use]
pub fn grant_key(grant: GrantId) -> Vec<u8> {
    records::key(records::OAUTH_GRANTS, &[grant.0])
}

/// Prefix of the places of one person's grants.
#[must_use]
pub fn places_prefix(user: UserId) -> Vec<u8> {
    records::key(records::OAUTH_GRANTS_BY_USER, &[user.0])
}

/// Key of a grant's place among its person's.
#[must_use]
pub fn place_key(user: UserId, grant: GrantId) -> Vec<u8> {
    records::key(records::OAUTH_GRANTS_BY_USER, &[user.0, grant.0])
}

/// Key of the grant that a place is of.
#[must_use]
pub fn grant_of_place(place: &[u8]) -> Option<Vec<u8>> {
    let number = place.get(9..)?.try_into().ok()?;
    Some(grant_key(GrantId(u64::from_be_bytes(number))))
}
