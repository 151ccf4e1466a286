//! The second half: codes, refresh tokens and secrets become access tokens.

use super::tables::{self, Client, ClientId, Code, Grant, GrantId};
use super::{SCOPE, challenge_of, check_scope};
use crate::auth::secret;
use crate::ids;
use crate::service::error::GrantError;
use crate::service::records::{self, RECORD_VERSION, Record, User};
use crate::service::timestamp::Timestamp;
use crate::service::{CAS_ATTEMPTS, Service, ServiceError};
use crate::store::{Batch, StoreError};

/// A refresh token that was not used for this long is over, milliseconds.
pub(super) const REFRESH_TTL_MS: i64 = 30 * 24 * 3_600 * 1_000;
/// Grants looked at for old ones whenever a new one is made.
const SWEPT: usize = 16;

/// How a client proves who it is (RFC 6749 section 2.3).
#[derive(Clone, Default)]
pub struct ClientProof {
    /// `client_<decimal>`.
    pub id: String,
    /// Its secret, if it has one.
    pub secret: Option<String>,
}

/// What a client gets.
pub struct Granted {
    /// For the API, 15 minutes.
    pub access_token: String,
    /// For the next access token, once; absent for a client that acts for itself.
    pub refresh_token: Option<String>,
}

impl Service {
    /// A code becomes tokens (RFC 6749 section 4.1.3). A code that was used before ends what it became (section 4.1.2).
    ///
    /// # Errors
    /// `Grant`, `Busy`.
    pub async fn redeem_code(
        &self,
        proof: &ClientProof,
        code: &str,
        redirect_uri: &str,
        verifier: &str,
    ) -> Result<Granted, ServiceError> {
        let client = self.proven(proof)?;
        let code_key = tables::code_key(code);
        for _ in 0..CAS_ATTEMPTS {
            let bytes = self.0.store.get(&code_key)?.ok_or(GrantError::InvalidGrant)?;
            let mut code = Code::decode(&bytes)?;
            if code.client_id != client.client_id {
                return Err(GrantError::InvalidGrant.into());
            }
            if let Some(grant) = code.grant {
                tracing::warn!(client = %client.client_id, user = %code.user_id, "a code was shown twice; its grant ends");
                self.commit(Batch::new().delete(tables::grant_key(grant))).await?;
                return Err(GrantError::InvalidGrant.into());
            }
            let right = code.until >= Timestamp::now()
                && code.redirect_uri == redirect_uri
                && code.challenge == challenge_of(verifier);
            if !right {
                return Err(GrantError::InvalidGrant.into());
            }
            let user = self.granting(code.user_id)?;
            let (grant, refresh_token) = new_grant(&client, &user)?;
            code.grant = Some(grant.grant_id);
            let batch =
                Batch::new().expect(code_key.clone(), Some(bytes)).put(code_key.clone(), code.encode());
            let batch = self.with_grant(batch, &grant)?;
            match self.commit(batch).await {
                Ok(()) => return Ok(self.granted(&client, &user, Some(refresh_token))),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ServiceError::Busy)
    }

    /// A refresh token becomes the next one and an access token (RFC 6749 section 6). One that was used before ends the whole
    /// family: somebody has a copy (RFC 9700 section 4.14.2).
    ///
    /// # Errors
    /// `Grant`, `Busy`.
    pub async fn refresh(&self, proof: &ClientProof, token: &str) -> Result<Granted, ServiceError> {
        let client = self.proven(proof)?;
        let (id, given) = parts(token).ok_or(GrantError::InvalidGrant)?;
        let key = tables::grant_key(id);
        for _ in 0..CAS_ATTEMPTS {
            let bytes = self.0.store.get(&key)?.ok_or(GrantError::InvalidGrant)?;
            let grant = Grant::decode(&bytes)?;
            if grant.client_id != client.client_id {
                return Err(GrantError::InvalidGrant.into());
            }
            if !secret::matches(&grant.secret, given) {
                tracing::warn!(client = %client.client_id, user = %grant.user_id, "a refresh token was shown twice; its family ends");
                self.commit(Batch::new().delete(key)).await?;
                return Err(GrantError::InvalidGrant.into());
            }
            let user = self.granting(grant.user_id)?;
            if grant.until < Timestamp::now() || grant.generation != user.generation {
                self.commit(Batch::new().delete(key)).await?;
                return Err(GrantError::InvalidGrant.into());
            }
            let (next, refresh_token) = renewed(grant)?;
            // Grants of before there was a list of them get their place here.
            let place = tables::place_key(next.user_id, next.grant_id);
            let batch = Batch::new()
                .expect(key.clone(), Some(bytes))
                .put(key.clone(), next.encode())
                .put(place, Vec::new());
            match self.commit(batch).await {
                Ok(()) => return Ok(self.granted(&client, &user, Some(refresh_token))),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ServiceError::Busy)
    }

    /// A client that has a secret acts for itself (RFC 6749 section 4.4).
    ///
    /// # Errors
    /// `Grant`.
    pub fn client_credentials(
        &self,
        proof: &ClientProof,
        scope: Option<&str>,
    ) -> Result<Granted, ServiceError> {
        let client = self.proven(proof)?;
        if client.secret.is_none() {
            return Err(GrantError::UnauthorizedClient.into());
        }
        check_scope(scope)?;
        let user = self.granting(client.user_id)?;
        Ok(self.granted(&client, &user, None))
    }

    /// A refresh token and its family end (RFC 7009). What is no token of this client is none already.
    ///
    /// # Errors
    /// `Grant` for a client that does not prove who it is; what the store says.
    pub async fn revoke(&self, proof: &ClientProof, token: &str) -> Result<(), ServiceError> {
        let client = self.proven(proof)?;
        let Some((id, given)) = parts(token) else { return Ok(()) };
        let key = tables::grant_key(id);
        let Some(bytes) = self.0.store.get(&key)? else { return Ok(()) };
        let grant = Grant::decode(&bytes)?;
        if grant.client_id == client.client_id && secret::matches(&grant.secret, given) {
            self.commit(Batch::new().delete(key)).await?;
        }
        Ok(())
    }

    /// The client, if it has shown what it must: its secret if it has one, and none if it has none.
    fn proven(&self, proof: &ClientProof) -> Result<Client, ServiceError> {
        let id = ClientId::parse(&proof.id).ok_or(GrantError::InvalidClient)?;
        let client = self.oauth_client(id).map_err(|error| match error {
            ServiceError::NoSuchClient => GrantError::InvalidClient.into(),
            other => other,
        })?;
        let right = match (&client.secret, &proof.secret) {
            (Some(hashed), Some(given)) => secret::matches(hashed, given),
            (None, None) => true,
            _ => false,
        };
        if right { Ok(client) } else { Err(GrantError::InvalidClient.into()) }
    }

    /// The person a grant is of, if it still counts.
    fn granting(&self, user: crate::ids::UserId) -> Result<User, ServiceError> {
        self.active(user).map_err(|error| match error {
            ServiceError::UnknownUser | ServiceError::AccountDisabled => GrantError::InvalidGrant.into(),
            other => other,
        })
    }

    fn granted(&self, client: &Client, user: &User, refresh_token: Option<String>) -> Granted {
        let access_token = self.0.tokens.delegated(user.user_id, &client.client_id.to_string(), SCOPE);
        Granted { access_token, refresh_token }
    }

    /// Adds a grant to a write, on condition that its client and person are still there; some that are over go with it.
    fn with_grant(&self, batch: Batch, grant: &Grant) -> Result<Batch, ServiceError> {
        let client_key = tables::client_key(grant.client_id);
        let client = self.0.store.get(&client_key)?.ok_or(GrantError::InvalidClient)?;
        let user_key = records::user_key(grant.user_id);
        let user = self.0.store.get(&user_key)?.ok_or(GrantError::InvalidGrant)?;
        let person = User::decode(&user)?;
        if person.generation != grant.generation {
            return Err(GrantError::InvalidGrant.into());
        }
        let key = tables::grant_key(grant.grant_id);
        let now = Timestamp::now();
        let mut batch = batch.expect(client_key, Some(client)).expect(user_key, Some(user));
        for (known, bytes) in self.0.store.scan(&tables::grants_prefix(), Some(&key), SWEPT)? {
            let old = Grant::decode(&bytes)?;
            if old.until < now {
                batch = batch.delete(known).delete(tables::place_key(old.user_id, old.grant_id));
            }
        }
        let batch = self.with_place(grant, &person, batch)?;
        Ok(batch.expect(key.clone(), None).put(key, grant.encode()))
    }
}

fn new_grant(client: &Client, user: &User) -> Result<(Grant, String), ServiceError> {
    renewed(Grant {
        v: RECORD_VERSION,
        grant_id: GrantId(ids::random_u64()),
        client_id: client.client_id,
        user_id: user.user_id,
        generation: user.generation,
        secret: String::new(),
        until: Timestamp(0),
    })
}

/// The grant with another refresh token.
fn renewed(grant: Grant) -> Result<(Grant, String), ServiceError> {
    let given = secret::new().ok_or(ServiceError::Busy)?;
    let until = Timestamp(Timestamp::now().0.saturating_add(REFRESH_TTL_MS));
    let token = format!("{}.{given}", grant.grant_id.0);
    Ok((Grant { secret: secret::hash(&given), until, ..grant }, token))
}

fn parts(token: &str) -> Option<(GrantId, &str)> {
    let (id, given) = token.split_once('.')?;
    Some((GrantId(id.parse().ok()?), given))
}
