//! Who may do what, on paper: signed tokens, the key that signs them, hashes of passcodes, passwords and secrets, one-time codes.
//!
//! Tokens are JWTs (RFC 7519) signed with Ed25519 (RFC 8037). Three audiences never mix: `kaigi-api` (a person's access
//! token), `kaigi-host` (host actions on one meeting), `kaigi-media` (one person's session in one meeting; what a LiveKit
//! client hands to `/rtc`). People prove who they are by a password and, where they chose so, by a one-time code. Promises: no
//! token, passcode or password is ever logged or kept in clear; secrets that check signatures and codes (API keys, authenticator
//! apps) are kept as values. Not here: accounts and rules.

pub mod held;
pub mod key;
pub mod keyring;
pub mod livekit;
pub mod passcode;
pub mod password;
pub mod sealing;
pub mod secret;
pub mod totp;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use dataplane::base::ids::MeetingId;
use jsonwebtoken::{Algorithm, Header, Validation, errors::ErrorKind};
use serde::{Deserialize, Serialize};

use crate::ids::{self, UserId};
pub use key::SigningKey;
pub use keyring::KeyRing;

/// Issuer of every token.
pub const ISSUER: &str = "kaigi";
/// How long a media session token opens `/rtc`, including reconnects: a long working day.
pub const SESSION_TTL: Duration = Duration::from_secs(12 * 3600);
/// How long a demo host may act on the meeting made without an account.
pub const HOST_TTL: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long an access token of an OAuth client is good; a refresh token gets the next one.
pub const CLIENT_TTL: Duration = Duration::from_secs(15 * 60);
/// Longest access token an operator may ask for.
pub const ACCESS_TTL_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Clocks of issuer and verifier are the same; this covers a step by NTP.
const LEEWAY_SECONDS: u64 = 5;

/// What a token is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Audience {
    /// The HTTP API, as a person.
    #[serde(rename = "kaigi-api")]
    Api,
    /// Host actions on one meeting.
    #[serde(rename = "kaigi-host")]
    Host,
    /// A media session in one meeting.
    #[serde(rename = "kaigi-media")]
    Media,
}

/// What the holder of a media token may do in the room; the names LiveKit clients know.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VideoGrant {
    /// The room: `meeting_<decimal>`.
    pub room: String,
    /// May join it.
    pub room_join: bool,
    /// May send tracks.
    pub can_publish: bool,
    /// May receive tracks.
    pub can_subscribe: bool,
    /// May send data messages.
    pub can_publish_data: bool,
}

/// The claims of a token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// Always [`ISSUER`].
    pub iss: String,
    /// The person: `user_<decimal>`.
    pub sub: String,
    /// What the token is for.
    pub aud: Audience,
    /// End, seconds since 1970.
    pub exp: u64,
    /// Not valid before, seconds since 1970.
    pub nbf: u64,
    /// Time of issue, seconds since 1970.
    pub iat: u64,
    /// Unique per token.
    pub jti: String,
    /// The OAuth client an access token was given to (RFC 9068 section 2.2); absent for the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// What an OAuth client may do (RFC 8693 section 4.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The meeting of a host or media token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meeting: Option<String>,
    /// The display name of a media token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The room grant of a media token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoGrant>,
}

impl Claims {
    /// The person the token speaks for.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        UserId::parse(&self.sub)
    }

    /// The meeting the token is bound to.
    #[must_use]
    pub fn meeting(&self) -> Option<MeetingId> {
        ids::parse_meeting(self.meeting.as_deref()?)
    }
}

/// Why a token was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// Not a JWT, or not with our claims.
    #[error("the token is malformed")]
    Malformed,
    /// Signed by another key or algorithm.
    #[error("the token was not signed by this server")]
    BadSignature,
    /// Past its end.
    #[error("the token has expired")]
    Expired,
    /// Before its beginning.
    #[error("the token is not valid yet")]
    NotYet,
    /// Made for another purpose.
    #[error("the token is for another purpose")]
    WrongAudience,
}

/// Issues tokens with the key that signs, verifies them with that and those that signed before.
pub struct Tokens {
    keys: RwLock<Arc<KeyRing>>,
    validation: Validation,
}

impl Tokens {
    /// Tokens of these keys.
    #[must_use]
    pub fn new(keys: KeyRing) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&["kaigi-api", "kaigi-host", "kaigi-media"]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_SECONDS;
        Self { keys: RwLock::new(Arc::new(keys)), validation }
    }

    /// An access token of a person.
    #[must_use]
    pub fn access(&self, user: UserId, ttl: Duration) -> String {
        self.sign(&claims(user, Audience::Api, ttl))
    }

    /// An access token of a person, given to an OAuth client.
    #[must_use]
    pub fn delegated(&self, user: UserId, client_id: &str, scope: &str) -> String {
        let mut claims = claims(user, Audience::Api, CLIENT_TTL);
        claims.client_id = Some(client_id.to_owned());
        claims.scope = Some(scope.to_owned());
        self.sign(&claims)
    }

    /// A host token of one meeting.
    #[must_use]
    pub fn host(&self, user: UserId, meeting: MeetingId) -> String {
        let mut claims = claims(user, Audience::Host, HOST_TTL);
        claims.meeting = Some(meeting.to_string());
        self.sign(&claims)
    }

    /// A media session token: what a LiveKit client calls the token.
    #[must_use]
    pub fn session(&self, user: UserId, meeting: MeetingId, name: &str) -> String {
        let mut claims = claims(user, Audience::Media, SESSION_TTL);
        claims.meeting = Some(meeting.to_string());
        claims.name = Some(name.to_owned());
        claims.video = Some(VideoGrant {
            room: meeting.to_string(),
            room_join: true,
            can_publish: true,
            can_subscribe: true,
            can_publish_data: true,
        });
        self.sign(&claims)
    }

    /// The claims of a token that this server signed and that is valid now, whatever its audience.
    ///
    /// # Errors
    /// Why it is refused. `alg: none` and every algorithm but EdDSA are `BadSignature`.
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|error| match error.kind() {
            ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => TokenError::BadSignature,
            _ => TokenError::Malformed,
        })?;
        let keys = self.keys();
        let key = keys.verifying(header.kid.as_deref()).ok_or(TokenError::BadSignature)?;
        let decoded = jsonwebtoken::decode::<Claims>(token, key.decoding(), &self.validation);
        decoded.map(|data| data.claims).map_err(|error| match error.kind() {
            ErrorKind::ExpiredSignature => TokenError::Expired,
            ErrorKind::ImmatureSignature => TokenError::NotYet,
            ErrorKind::InvalidAudience => TokenError::WrongAudience,
            ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm | ErrorKind::InvalidIssuer => {
                TokenError::BadSignature
            }
            _ => TokenError::Malformed,
        })
    }

    /// The public keys as a JWK set (RFC 7517).
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        let keys = self.keys();
        let keys = keys.all().map(|key| {
            serde_json::json!({
                "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig",
                "kid": key.id(), "x": key.x(),
            })
        });
        serde_json::json!({ "keys": keys.collect::<Vec<_>>() })
    }

    /// Signs with a new key from now on; tokens of the one before go on counting. The new key's name.
    ///
    /// # Errors
    /// See [`key::KeyError`]; the key stays as it was.
    pub fn rotate(&self) -> Result<String, key::KeyError> {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let rotated = keys.rotated()?;
        let id = rotated.active().id().to_owned();
        *keys = Arc::new(rotated);
        Ok(id)
    }

    fn keys(&self) -> Arc<KeyRing> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn sign(&self, claims: &Claims) -> String {
        let mut header = Header::new(Algorithm::EdDSA);
        let keys = self.keys();
        header.kid = Some(keys.active().id().to_owned());
        jsonwebtoken::encode(&header, claims, keys.active().encoding())
            .expect("plain claims serialise and the key was checked when it was loaded")
    }
}

fn claims(user: UserId, aud: Audience, ttl: Duration) -> Claims {
    let now = jsonwebtoken::get_current_timestamp();
    Claims {
        iss: ISSUER.to_owned(),
        sub: user.to_string(),
        aud,
        exp: now.saturating_add(ttl.as_secs()),
        nbf: now,
        iat: now,
        jti: format!("{:016x}", ids::random_u64()),
        client_id: None,
        scope: None,
        meeting: None,
        name: None,
        video: None,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn tokens() -> Tokens {
        Tokens::new(KeyRing::of(SigningKey::generate().expect("the system has randomness")))
    }

    #[test]
    fn a_session_token_says_who_where_and_what() {
        let tokens = tokens();
        let token = tokens.session(UserId(7), MeetingId(15), "Ada");
        let claims = tokens.verify(&token).expect("valid");
        assert_eq!(claims.aud, Audience::Media);
        assert_eq!((claims.user(), claims.meeting()), (Some(UserId(7)), Some(MeetingId(15))));
        let payload =
            URL_SAFE_NO_PAD.decode(token.split('.').nth(1).expect("three parts")).expect("base64url");
        let json: serde_json::Value = serde_json::from_slice(&payload).expect("json");
        assert_eq!(json["sub"], "user_7");
        assert_eq!(json["name"], "Ada");
        assert_eq!(json["video"]["room"], "meeting_15");
        assert_eq!(json["video"]["roomJoin"], true);
        assert_eq!(json["video"]["canPublishData"], true);
    }

    #[test]
    fn tokens_of_another_server_are_refused() {
        let foreign = tokens().access(UserId(1), Duration::from_secs(60));
        assert_eq!(tokens().verify(&foreign).err(), Some(TokenError::BadSignature));
    }

    #[test]
    fn tokens_of_before_a_rotation_count_and_both_keys_are_published() {
        let tokens = tokens();
        let before = tokens.access(UserId(1), Duration::from_secs(60));
        let id = tokens.rotate().expect("in memory");
        let after = tokens.access(UserId(1), Duration::from_secs(60));
        assert!(tokens.verify(&before).is_ok() && tokens.verify(&after).is_ok());
        let keys = tokens.jwks();
        assert_eq!(
            (keys["keys"][0]["kid"].as_str(), keys["keys"].as_array().map(Vec::len)),
            (Some(id.as_str()), Some(2))
        );
        // A token that names another key of ours than the one that signed it is no token.
        let crossed = {
            let mut header = Header::new(Algorithm::EdDSA);
            header.kid = keys["keys"][1]["kid"].as_str().map(str::to_owned);
            let claims = claims(UserId(1), Audience::Api, Duration::from_secs(60));
            jsonwebtoken::encode(&header, &claims, tokens.keys().active().encoding()).expect("encodes")
        };
        assert_eq!(tokens.verify(&crossed).err(), Some(TokenError::BadSignature));
    }

    #[test]
    fn expired_and_future_tokens_are_refused() {
        let tokens = tokens();
        let mut old = claims(UserId(1), Audience::Api, Duration::ZERO);
        old.exp -= 60;
        assert_eq!(tokens.verify(&tokens.sign(&old)).err(), Some(TokenError::Expired));
        let mut early = claims(UserId(1), Audience::Api, Duration::from_secs(600));
        early.nbf += 60;
        assert_eq!(tokens.verify(&tokens.sign(&early)).err(), Some(TokenError::NotYet));
    }

    #[test]
    fn other_algorithms_and_garbage_are_refused() {
        let tokens = tokens();
        let good = tokens.access(UserId(1), Duration::from_secs(60));
        let payload = good.split('.').nth(1).expect("three parts");
        for header in [r#"{"alg":"none"}"#, r#"{"alg":"HS256"}"#, r#"{"alg":"RS256","typ":"JWT"}"#] {
            let forged = format!("{}.{payload}.", URL_SAFE_NO_PAD.encode(header));
            assert!(tokens.verify(&forged).is_err(), "{header}");
        }
        // The public key as an HMAC secret: the classic confusion.
        let hmac = jsonwebtoken::encode(
            &Header::new(Algorithm::HS256),
            &claims(UserId(1), Audience::Api, Duration::from_secs(60)),
            &jsonwebtoken::EncodingKey::from_secret(tokens.keys().active().public_x().as_bytes()),
        )
        .expect("encodes");
        assert_eq!(tokens.verify(&hmac).err(), Some(TokenError::BadSignature));
        for garbage in ["", ".", "..", "a.b.c", "é", &good[1..], &good[..good.len() - 1]] {
            assert!(tokens.verify(garbage).is_err(), "{garbage}");
        }
    }

    #[test]
    fn flipping_any_character_of_a_token_breaks_it() {
        let tokens = tokens();
        let good = tokens.access(UserId(1), Duration::from_secs(60));
        // The last character of the signature has bits that no byte uses.
        for at in 0..good.len() - 1 {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            if let Ok(text) = String::from_utf8(bytes) {
                assert!(tokens.verify(&text).is_err(), "position {at}");
            }
        }
    }
}
