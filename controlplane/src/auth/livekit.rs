//! Tokens that LiveKit's server SDKs make: JWTs by HMAC-SHA-256 with an API key's secret, the key's name as issuer.
//!
//! Promises: the issuer is read before anything is proven, for it says which secret to check with; nothing else is. Grants that
//! are not honoured here (`hidden`, `canPublishSources`) are kept visible, so that they can be refused rather than ignored.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, errors::ErrorKind};
use serde::Deserialize;

use super::{LEEWAY_SECONDS, TokenError};

/// The claims of such a token, as far as they are looked at.
#[derive(Clone, Debug, Deserialize)]
pub struct KeyClaims {
    /// The participant's identity, as the integrator names it.
    #[serde(default)]
    pub sub: String,
    /// The name to show.
    #[serde(default)]
    pub name: Option<String>,
    /// What the participant may do.
    #[serde(default)]
    pub video: Option<KeyGrant>,
}

/// The `video` grant; what is left out has LiveKit's defaults.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeyGrant {
    /// The room: `meeting_<decimal>`.
    pub room: String,
    /// May join it.
    pub room_join: bool,
    /// May make rooms and delete them.
    pub room_create: bool,
    /// May list rooms.
    pub room_list: bool,
    /// May manage who is in `room`.
    pub room_admin: bool,
    /// May send tracks.
    pub can_publish: Option<bool>,
    /// May receive tracks.
    pub can_subscribe: Option<bool>,
    /// May send data.
    pub can_publish_data: Option<bool>,
    /// May change its own name and metadata.
    pub can_update_own_metadata: Option<bool>,
    /// May send tracks of these sources alone.
    pub can_publish_sources: Vec<String>,
    /// Nobody is told of it.
    pub hidden: bool,
}

#[derive(Deserialize)]
struct Issuer {
    iss: String,
}

/// The key that a token says made it, if it is such a token. Nothing is proven by that.
#[must_use]
pub fn issuer(token: &str) -> Option<String> {
    let header = jsonwebtoken::decode_header(token).ok()?;
    if header.alg != Algorithm::HS256 {
        return None;
    }
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice::<Issuer>(&payload).ok().map(|claims| claims.iss)
}

/// The claims of a token that the holder of `secret` made for the key called `issuer`.
///
/// # Errors
/// Why it is refused.
pub fn verify(token: &str, issuer: &str, secret: &str) -> Result<KeyClaims, TokenError> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_issuer(&[issuer]);
    validation.set_required_spec_claims(&["exp", "iss"]);
    validation.validate_aud = false;
    validation.validate_nbf = true;
    validation.leeway = LEEWAY_SECONDS;
    let key = DecodingKey::from_secret(secret.as_bytes());
    let decoded = jsonwebtoken::decode::<KeyClaims>(token, &key, &validation);
    decoded.map(|data| data.claims).map_err(|error| match error.kind() {
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::NotYet,
        ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm | ErrorKind::InvalidIssuer => {
            TokenError::BadSignature
        }
        _ => TokenError::Malformed,
    })
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::{Value, json};

    use super::*;

    fn token(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
        jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes()))
            .expect("encodes")
    }

    #[test]
    fn only_the_keys_secret_its_name_and_its_time_count() {
        let now = jsonwebtoken::get_current_timestamp();
        let claims =
            json!({"iss": "key", "sub": "ada", "exp": now + 60, "video": {"room": "r", "roomJoin": true}});
        let good = token(Algorithm::HS256, "secret", &claims);
        assert_eq!(issuer(&good).as_deref(), Some("key"));
        let read = verify(&good, "key", "secret").expect("counts");
        let grant = read.video.expect("a grant");
        assert_eq!((read.sub.as_str(), grant.room.as_str(), grant.room_join), ("ada", "r", true));
        assert_eq!((grant.can_publish, grant.hidden), (None, false));
        assert_eq!(verify(&good, "key", "other").err(), Some(TokenError::BadSignature));
        assert_eq!(verify(&good, "another", "secret").err(), Some(TokenError::BadSignature));
        let with = |name: &str, value: Value| {
            let mut claims = claims.clone();
            claims[name] = value;
            token(Algorithm::HS256, "secret", &claims)
        };
        assert_eq!(verify(&with("exp", json!(now - 60)), "key", "secret").err(), Some(TokenError::Expired));
        assert_eq!(verify(&with("nbf", json!(now + 60)), "key", "secret").err(), Some(TokenError::NotYet));
        assert!(verify(&with("exp", Value::Null), "key", "secret").is_err());
        let longer = token(Algorithm::HS384, "secret", &claims);
        assert_eq!(
            (issuer(&longer), verify(&longer, "key", "secret").err()),
            (None, Some(TokenError::BadSignature))
        );
        for garbage in ["", "a.b.c", &good[..good.len() - 1]] {
            assert!(verify(garbage, "key", "secret").is_err());
        }
    }
}
