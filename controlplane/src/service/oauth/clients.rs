//! OAuth clients: registered and deleted by admins.

use axum::http::Uri;

use super::tables::{self, Client, ClientId};
use crate::auth::secret;
use crate::ids::UserId;
use crate::service::accounts::Visitor;
use crate::service::accounts::audit::Actor;
use crate::service::accounts::tables::Action;
use crate::service::input::user_name;
use crate::service::meetings::Page;
use crate::service::once::Keep;
use crate::service::records::{self, RECORD_VERSION, Record, UserKind};
use crate::service::timestamp::Timestamp;
use crate::service::{Caller, FieldError, Seen, Service, ServiceError, new_user};
use crate::store::Batch;

/// Redirect URIs of one client.
pub const REDIRECT_URIS_MAX: usize = 8;
/// Longest redirect URI, bytes. Eight of them fit a record.
pub const REDIRECT_URI_BYTES_MAX: usize = 500;
const _: () = assert!(REDIRECT_URIS_MAX * REDIRECT_URI_BYTES_MAX + 1_024 < crate::store::VALUE_BYTES_MAX);

/// A client to be registered.
pub struct NewClient {
    /// What people are shown.
    pub name: String,
    /// Where codes may be sent.
    pub redirect_uris: Vec<String>,
    /// Whether it can keep a secret.
    pub confidential: bool,
    /// Whether it is the operator's own.
    pub first_party: bool,
}

impl Service {
    /// Registers a client; its secret, if it can keep one, is told once.
    ///
    /// # Errors
    /// `NoToken`, `OutOfScope`, `NotAdmin`, `Invalid`, `Busy`.
    pub async fn create_oauth_client(
        &self,
        caller: Caller,
        visitor: &Visitor,
        new: NewClient,
        keep: &Keep<'_, (Client, Option<String>)>,
    ) -> Result<(Client, Option<String>), ServiceError> {
        let mut user = new_user(UserKind::Client, &new.name);
        let admin = self.admin(caller, visitor, Action::CreateOauthClient, user.user_id).await?;
        user.name = user_name(&new.name)?;
        check_redirect_uris(&new)?;
        let given = if new.confidential { Some(secret::new().ok_or(ServiceError::Busy)?) } else { None };
        let client = Client {
            v: RECORD_VERSION,
            client_id: ClientId::random(),
            name: user.name.clone(),
            redirect_uris: new.redirect_uris,
            secret: given.as_deref().map(secret::hash),
            first_party: new.first_party,
            user_id: user.user_id,
            created_at: Timestamp::now(),
        };
        let key = tables::client_key(client.client_id);
        let batch = Batch::new()
            .expect(key.clone(), None)
            .put(key, client.encode())
            .put(records::user_key(user.user_id), user.encode());
        let made = (client, given);
        let batch = keep.with(batch, &made)?;
        let actor = Actor { user: admin.user_id, visitor };
        self.commit(actor.note(batch, Action::CreateOauthClient, user.user_id)).await?;
        Ok(made)
    }

    /// All clients.
    ///
    /// # Errors
    /// `NoToken`, `OutOfScope`, `NotAdmin`, `Invalid` for a cursor that is not ours.
    pub async fn oauth_clients(
        &self,
        caller: Caller,
        visitor: &Visitor,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<Client>, ServiceError> {
        let asks = caller.account()?;
        self.admin(caller, visitor, Action::ListOauthClients, asks).await?;
        let page = self.page(&tables::clients_prefix(), cursor, limit, |bytes| bytes == 8)?;
        let items: Result<_, _> = page.items.iter().map(|(_, bytes)| Client::decode(bytes)).collect();
        Ok(Page { items: items?, next_cursor: page.next_cursor })
    }

    /// Deletes a client: its codes, refresh and access tokens count no more.
    ///
    /// # Errors
    /// `NoToken`, `OutOfScope`, `NotAdmin`, `NoSuchClient`, `ChangedMeanwhile`.
    pub async fn delete_oauth_client(
        &self,
        caller: Caller,
        visitor: &Visitor,
        id: ClientId,
        seen: &Seen,
    ) -> Result<(), ServiceError> {
        let asks = caller.account()?;
        let admin = self.admin(caller, visitor, Action::DeleteOauthClient, asks).await?;
        let client = self.oauth_client(id)?;
        seen.holds(None)?;
        let batch = Batch::new().delete(tables::client_key(id));
        let actor = Actor { user: admin.user_id, visitor };
        Ok(self.commit(actor.note(batch, Action::DeleteOauthClient, client.user_id)).await?)
    }

    /// The holder of an access token that a client was given, if there is still such a client.
    pub(in crate::service) fn delegated(&self, client: &str, user: UserId) -> Result<Caller, ServiceError> {
        let known =
            ClientId::parse(client).ok_or(ServiceError::NoSuchClient).and_then(|id| self.oauth_client(id));
        match known {
            Ok(client) => Ok(Caller::Delegated(user, Some(client.client_id))),
            Err(ServiceError::NoSuchClient) => Err(ServiceError::UnknownUser),
            Err(error) => Err(error),
        }
    }

    /// A client by its number.
    pub(in crate::service) fn oauth_client(&self, id: ClientId) -> Result<Client, ServiceError> {
        let bytes = self.0.store.get(&tables::client_key(id))?.ok_or(ServiceError::NoSuchClient)?;
        Client::decode(&bytes)
    }
}

fn check_redirect_uris(new: &NewClient) -> Result<(), ServiceError> {
    let uris = &new.redirect_uris;
    let mut errors = Vec::new();
    if uris.is_empty() && !new.confidential {
        errors.push(FieldError::new("/redirect_uris", "is required for a client without a secret"));
    }
    if uris.len() > REDIRECT_URIS_MAX {
        errors.push(FieldError::new("/redirect_uris", format!("must be at most {REDIRECT_URIS_MAX}")));
    }
    for (at, uri) in uris.iter().enumerate().take(REDIRECT_URIS_MAX) {
        if !is_safe(uri) {
            let detail = "must be https, http of the own machine, or a scheme of an app like org.example.app, without # and user";
            errors.push(FieldError::new(format!("/redirect_uris/{at}"), detail));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(ServiceError::Invalid(errors)) }
}

/// Whether a code may be sent there (RFC 9700 section 2.1, RFC 8252 section 7).
fn is_safe(uri: &str) -> bool {
    let plain = uri.bytes().all(|byte| byte.is_ascii_graphic() && !b"#\"<>\\^`{|}".contains(&byte));
    if !plain || uri.len() > REDIRECT_URI_BYTES_MAX {
        return false;
    }
    let Some((scheme, _)) = uri.split_once(':') else { return false };
    if scheme != "https" && scheme != "http" {
        // A private scheme is a name in reverse, so that no two apps have the same and none is the browser's own.
        let named = scheme.contains('.') && !scheme.starts_with('.');
        return named
            && scheme
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-');
    }
    let Some(parsed) = uri.parse::<Uri>().ok().filter(|uri| uri.scheme_str() == Some(scheme)) else {
        return false;
    };
    let Some(authority) = parsed.authority().filter(|a| !a.as_str().contains('@')) else { return false };
    scheme == "https" || matches!(authority.host(), "127.0.0.1" | "[::1]" | "localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sent_to_safe_places_only() {
        for safe in [
            "https://app.example/callback",
            "https://app.example/callback?a=b",
            "http://127.0.0.1:8765/",
            "http://localhost/x",
            "http://[::1]:1/",
            "org.example.app:/callback",
        ] {
            assert!(is_safe(safe), "{safe}");
        }
        for unsafe_place in [
            "",
            "https:",
            "/callback",
            "http://app.example/callback",
            "http://localhost.evil.example/",
            "https://app.example/#x",
            "https://user@app.example/",
            "https://app.example\\@evil.example/",
            "https://app.example/ x",
            "javascript:alert(1)",
            "data:text/html,x",
            "myapp:/x",
            "HTTPS://app.example/",
        ] {
            assert!(!is_safe(unsafe_place), "{unsafe_place}");
        }
        assert!(!is_safe(&format!("https://app.example/{}", "x".repeat(REDIRECT_URI_BYTES_MAX))));
    }
}
