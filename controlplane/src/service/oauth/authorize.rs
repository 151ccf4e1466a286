//! The first half of the code grant: a person, signed in, lets a client act for it and gets a code to hand over.

use super::tables::{self, Client, ClientId, Code};
use super::{SCOPE, check_scope};
use crate::auth::secret;
use crate::service::accounts::Visitor;
use crate::service::accounts::audit::Actor;
use crate::service::accounts::tables::Action;
use crate::service::error::GrantError;
use crate::service::records::{RECORD_VERSION, Record};
use crate::service::timestamp::Timestamp;
use crate::service::{Caller, Service, ServiceError};
use crate::store::Batch;

/// How long a code counts, milliseconds (RFC 6749 section 4.1.2 recommends ten minutes at most).
const CODE_TTL_MS: i64 = 60 * 1_000;
/// Records of codes looked at for old ones whenever a new one is made: two go for each that comes.
const SWEPT: usize = 16;

/// What a client asks for (RFC 6749 section 4.1.1, RFC 7636 section 4.3).
#[derive(Clone, Default, Debug)]
pub struct AuthorizeRequest {
    /// `code`.
    pub response_type: String,
    /// Who asks.
    pub client_id: String,
    /// Where the code goes.
    pub redirect_uri: String,
    /// Comes back with the code.
    pub state: Option<String>,
    /// `meetings`, or left out.
    pub scope: Option<String>,
    /// SHA-256 of the verifier, base64url.
    pub code_challenge: String,
    /// `S256`.
    pub code_challenge_method: String,
}

impl AuthorizeRequest {
    /// Whether it may be answered with a code; anything wrong here is told to the client.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), GrantError> {
        if self.response_type != "code" {
            return Err(GrantError::UnsupportedResponseType);
        }
        if self.code_challenge_method != "S256" {
            return Err(GrantError::InvalidRequest("PKCE is required: code_challenge_method is S256"));
        }
        // 32 bytes in base64url (RFC 7636 section 4.2).
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if self.code_challenge.len() != 43 || !self.code_challenge.bytes().all(fits) {
            return Err(GrantError::InvalidRequest(
                "PKCE is required: code_challenge is a SHA-256 in base64url",
            ));
        }
        check_scope(self.scope.as_deref())
    }
}

impl Service {
    /// The client of a request. Until this is known nothing may be sent to its redirect URI.
    ///
    /// # Errors
    /// `NoSuchClient`, also for a redirect URI that was not registered letter by letter.
    pub fn client_of(&self, request: &AuthorizeRequest) -> Result<Client, ServiceError> {
        let id = ClientId::parse(&request.client_id).ok_or(ServiceError::NoSuchClient)?;
        let client = self.oauth_client(id)?;
        if client.redirect_uris.contains(&request.redirect_uri) {
            Ok(client)
        } else {
            Err(ServiceError::NoSuchClient)
        }
    }

    /// A code by which the client acts for the caller.
    ///
    /// # Errors
    /// `NoToken`, `OutOfScope`, `NoSuchClient`, `Grant`, `Busy`.
    pub async fn authorize(
        &self,
        caller: Caller,
        visitor: &Visitor,
        request: &AuthorizeRequest,
    ) -> Result<String, ServiceError> {
        let user = self.own_account(caller)?;
        let client = self.client_of(request)?;
        request.check()?;
        let given = secret::new().ok_or(ServiceError::Busy)?;
        let now = Timestamp::now();
        let code = Code {
            v: RECORD_VERSION,
            client_id: client.client_id,
            user_id: user.user_id,
            redirect_uri: request.redirect_uri.clone(),
            challenge: request.code_challenge.clone(),
            until: Timestamp(now.0 + CODE_TTL_MS),
            grant: None,
        };
        let key = tables::code_key(&given);
        let mut batch = Batch::new().expect(key.clone(), None).put(key.clone(), code.encode());
        // Hashes lie evenly, so beginning at the new one meets all others in time.
        for (known, bytes) in self.0.store.scan(&tables::codes_prefix(), Some(&key), SWEPT)? {
            if Code::decode(&bytes)?.until < now {
                batch = batch.delete(known);
            }
        }
        let actor = Actor { user: user.user_id, visitor };
        self.commit(actor.note(batch, Action::Authorize, client.user_id)).await?;
        tracing::info!(user = %user.user_id, client = %client.client_id, scope = SCOPE, "a client was authorized");
        Ok(given)
    }
}
