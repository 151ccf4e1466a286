//! Signing in by an OpenID Connect provider (OpenID Connect Core 1.0, authorization code with PKCE): discovery, the way there and
//! back, and what the ID token says of the person.
//!
//! Promises: a sign-in is bound to the browser that began it and used once; an ID token counts only with the provider's
//! signature, our name as its audience, our nonce, and in time; a provider that fails costs its users a few seconds and
//! nobody else anything. Not here: whose account it is (`service::accounts::external`), cookies and pages (`http`).

pub mod outgoing;
pub mod pending;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use openidconnect::core::{
    CoreClient, CoreClientAuthMethod, CoreIdTokenClaims, CoreJwsSigningAlgorithm, CoreProviderMetadata,
    CoreResponseType, CoreUserInfoClaims,
};
use openidconnect::{
    AccessToken, AuthType, AuthenticationFlow, AuthorizationCode, ClaimsVerificationError, ClientId,
    ClientSecret, CsrfToken, EndpointMaybeSet, EndpointNotSet, EndpointSet, IssuerUrl, Nonce,
    OAuth2TokenResponse as _, PkceCodeChallenge, RedirectUrl, RequestTokenError, Scope, SubjectIdentifier,
    TokenResponse, UserInfoError,
};

use crate::auth::secret;
use crate::config::{ConfigError, OidcConfig};
use crate::ids::UserId;
use outgoing::{Outgoing, is_this_host};
use pending::{Away, Pending, Stage};

/// How long discovery and keys are used before they are fetched again.
const FRESH: Duration = Duration::from_secs(10 * 60);
/// After a failure nobody asks the provider again for this long, and people are told at once.
const BACK_OFF: Duration = Duration::from_secs(5);
/// Longest code, state and issuer looked at in a callback.
pub const PARAMETER_BYTES_MAX: usize = 4_096;
/// Signatures that count: with the provider's private key. `none` and the client's own secret do not.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// Why nobody is signed in.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Trouble {
    /// It does not answer, or not as a provider does.
    #[error("the sign-in service does not answer: {0}")]
    Unreachable(String),
    /// The person or the provider said no.
    #[error("the sign-in service refused: {0}")]
    Refused(String),
    /// Not begun in this browser, used before, or too long ago.
    #[error("this sign-in was not begun here, was used before, or took too long")]
    Expired,
    /// What came back does not count.
    #[error("what the sign-in service sent does not count: {0}")]
    BadToken(String),
}

/// Somebody on the way to the provider.
pub struct Begun {
    /// Where the browser goes.
    pub address: String,
    /// What it must show when it comes back.
    pub cookie: String,
}

/// What a browser comes back with (OpenID Connect Core 1.0 section 3.1.2.5, RFC 9207).
#[derive(Default, Debug)]
pub struct Callback {
    /// The code.
    pub code: Option<String>,
    /// Our state.
    pub state: Option<String>,
    /// The provider's name.
    pub iss: Option<String>,
    /// Why there is no code.
    pub error: Option<String>,
}

/// What the provider says of a person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Who says it.
    pub issuer: String,
    /// Its number of the person, which never changes.
    pub subject: String,
    /// An address.
    pub email: Option<String>,
    /// Whether the provider says that the address is the person's.
    pub email_verified: bool,
    /// What to call the person.
    pub name: Option<String>,
}

#[derive(Default)]
struct Known {
    metadata: Option<(Instant, Arc<CoreProviderMetadata>)>,
    failed: Option<(Instant, Trouble)>,
}

/// The provider, as configured.
pub struct Provider {
    config: OidcConfig,
    secret: Option<ClientSecret>,
    outgoing: Outgoing,
    known: tokio::sync::Mutex<Known>,
    pending: Mutex<Pending>,
}

impl Provider {
    /// As configured; nothing is asked of it yet.
    ///
    /// # Errors
    /// When the file with the secret cannot be read.
    pub fn new(config: &OidcConfig) -> Result<Self, ConfigError> {
        let secret = config.secret()?.map(ClientSecret::new);
        Ok(Self {
            config: config.clone(),
            secret,
            outgoing: Outgoing::new(),
            known: tokio::sync::Mutex::default(),
            pending: Mutex::default(),
        })
    }

    /// How it is configured.
    #[must_use]
    pub const fn config(&self) -> &OidcConfig {
        &self.config
    }

    /// Sends somebody there.
    ///
    /// # Errors
    /// `Unreachable`.
    pub async fn begin(&self, redirect_uri: &str, next: String) -> Result<Begun, Trouble> {
        let client = self.client(&*self.metadata(false).await?, redirect_uri)?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let flow = AuthenticationFlow::<CoreResponseType>::AuthorizationCode;
        let (address, state, nonce) = client
            .authorize_url(flow, CsrfToken::new_random, Nonce::new_random)
            .add_scope(Scope::new("email".to_owned()))
            .add_scope(Scope::new("profile".to_owned()))
            .set_pkce_challenge(challenge)
            .url();
        let away = Away {
            state: state.secret().clone(),
            nonce,
            verifier,
            redirect_uri: redirect_uri.to_owned(),
            next,
        };
        let cookie = self.pending().put(Stage::Away(Box::new(away)), Instant::now());
        let cookie = cookie.ok_or_else(|| Trouble::Unreachable("there is no randomness".to_owned()))?;
        Ok(Begun { address: address.into(), cookie })
    }

    /// Somebody comes back: who it is, and the page that was wanted.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub async fn finish(&self, cookie: &str, callback: Callback) -> Result<(Identity, String), Trouble> {
        let away = self.pending().take(cookie, Instant::now()).ok_or(Trouble::Expired)?;
        if let Some(error) = callback.error {
            let shown: String = error.chars().filter(|c| c.is_ascii_graphic()).take(64).collect();
            return Err(Trouble::Refused(shown));
        }
        // By their hashes: the time it takes tells nothing.
        let state = callback.state.unwrap_or_default();
        if !secret::matches(&secret::hash(&away.state), &state) {
            return Err(Trouble::Expired);
        }
        if callback.iss.is_some_and(|iss| iss != self.config.issuer) {
            return Err(Trouble::BadToken("another provider answered".to_owned()));
        }
        let code = callback.code.ok_or_else(|| Trouble::BadToken("there is no code".to_owned()))?;
        let metadata = self.metadata(false).await?;
        let client = self.client(&metadata, &away.redirect_uri)?;
        let request = client.exchange_code(AuthorizationCode::new(code));
        let request = request.map_err(|error| Trouble::Unreachable(error.to_string()))?;
        let answer = request.set_pkce_verifier(away.verifier).request_async(&self.outgoing).await.map_err(
            |error| match error {
                RequestTokenError::Request(error) => Trouble::Unreachable(error.to_string()),
                RequestTokenError::ServerResponse(said) => {
                    Trouble::BadToken(format!("it did not take its own code: {}", said.error()))
                }
                RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
                    Trouble::BadToken("its answer is no token".to_owned())
                }
            },
        )?;
        let token = answer.id_token().ok_or_else(|| Trouble::BadToken("there is no ID token".to_owned()))?;
        let verify = |client: &Client| {
            let verifier = client.id_token_verifier().set_allowed_algs(ALGORITHMS);
            token.claims(&verifier, &away.nonce).cloned()
        };
        let claims = match verify(&client) {
            // Signed with a key that came after we looked.
            Err(ClaimsVerificationError::SignatureVerification(_)) => {
                let metadata = self.metadata(true).await?;
                verify(&self.client(&metadata, &away.redirect_uri)?)
            }
            verified => verified,
        };
        let claims = claims.map_err(|error| Trouble::BadToken(error.to_string()))?;
        let mut identity = self.identity(&claims);
        if identity.email.is_none() {
            self.ask_for_address(&client, answer.access_token(), claims.subject(), &mut identity).await?;
        }
        Ok((identity, away.next))
    }

    /// Asks for what a provider may leave out of its token (OpenID Connect Core section 5.4), if it says where.
    async fn ask_for_address(
        &self,
        client: &Client,
        token: &AccessToken,
        subject: &SubjectIdentifier,
        identity: &mut Identity,
    ) -> Result<(), Trouble> {
        let Ok(request) = client.user_info(token.clone(), Some(subject.clone())) else { return Ok(()) };
        let said: Result<CoreUserInfoClaims, _> = request.request_async(&self.outgoing).await;
        let said = said.map_err(|error| match error {
            UserInfoError::Request(error) => Trouble::Unreachable(error.to_string()),
            error => Trouble::BadToken(error.to_string()),
        })?;
        identity.email = said.email().map(|email| email.to_string());
        identity.email_verified = said.email_verified() == Some(true);
        Ok(())
    }

    /// Keeps that somebody came back and the code of the account is missing; the cookie that says so.
    #[must_use]
    pub fn await_code(&self, user: UserId) -> Option<String> {
        self.pending().put(Stage::NeedsCode(user), Instant::now())
    }

    /// Whose code is missing in this browser.
    #[must_use]
    pub fn awaits_code(&self, cookie: &str) -> Option<UserId> {
        self.pending().needs_code(cookie, Instant::now())
    }

    /// It was given.
    pub fn code_given(&self, cookie: &str) {
        self.pending().forget(cookie);
    }

    /// Asks the provider who it is.
    ///
    /// # Errors
    /// `Unreachable`.
    pub async fn probe(&self) -> Result<(), Trouble> {
        self.metadata(true).await.map(drop)
    }

    fn identity(&self, claims: &CoreIdTokenClaims) -> Identity {
        let first =
            |name: Option<&str>| name.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned);
        let name = claims.name().and_then(|name| name.get(None)).map(|name| name.as_str());
        Identity {
            issuer: self.config.issuer.clone(),
            subject: claims.subject().to_string(),
            email: claims.email().map(|email| email.to_string()),
            email_verified: claims.email_verified() == Some(true),
            name: first(name).or_else(|| first(claims.preferred_username().map(|name| name.as_str()))),
        }
    }

    /// What the provider says of itself. One request at a time asks; who waits gets its answer.
    async fn metadata(&self, anew: bool) -> Result<Arc<CoreProviderMetadata>, Trouble> {
        let mut known = self.known.lock().await;
        if let Some((_, trouble)) = known.failed.as_ref().filter(|(at, _)| at.elapsed() < BACK_OFF) {
            return Err(trouble.clone());
        }
        // Somebody who sends tokens with unknown keys does not make us ask each time.
        let enough = if anew { BACK_OFF } else { FRESH };
        if let Some((_, metadata)) = known.metadata.as_ref().filter(|(at, _)| at.elapsed() < enough) {
            return Ok(Arc::clone(metadata));
        }
        match self.discover().await {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                *known = Known { metadata: Some((Instant::now(), Arc::clone(&metadata))), failed: None };
                Ok(metadata)
            }
            Err(trouble) => {
                tracing::warn!(issuer = self.config.issuer, %trouble, "signing in by the provider does not work");
                known.failed = Some((Instant::now(), trouble.clone()));
                Err(trouble)
            }
        }
    }

    async fn discover(&self) -> Result<CoreProviderMetadata, Trouble> {
        let unreachable = |why: String| Trouble::Unreachable(why);
        let issuer =
            IssuerUrl::new(self.config.issuer.clone()).map_err(|error| unreachable(error.to_string()))?;
        let found = CoreProviderMetadata::discover_async(issuer, &self.outgoing).await;
        let metadata = found.map_err(|error| {
            // The reason is in what caused it.
            let cause =
                std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
            unreachable(format!("{error}{cause}"))
        })?;
        // A provider on the network does not send us to this host, nor anywhere without TLS.
        let token = metadata.token_endpoint().map(|url| url.url());
        let Some(token) = token else { return Err(unreachable("it names no token endpoint".to_owned())) };
        let of_people = metadata.userinfo_endpoint().map(|url| url.url());
        let named = [metadata.authorization_endpoint().url(), token, metadata.jwks_uri().url()];
        for url in named.into_iter().chain(of_people) {
            let host = url.host_str().unwrap_or_default();
            if url.scheme() != "https" && !(self.config.is_local() && is_this_host(host)) {
                return Err(unreachable(format!("it names an address without TLS, at {host}")));
            }
        }
        Ok(metadata)
    }

    fn client(&self, metadata: &CoreProviderMetadata, redirect_uri: &str) -> Result<Client, Trouble> {
        let redirect = RedirectUrl::new(redirect_uri.to_owned());
        let redirect = redirect.map_err(|error| Trouble::Unreachable(error.to_string()))?;
        let id = ClientId::new(self.config.client_id.clone());
        let client = CoreClient::from_provider_metadata(metadata.clone(), id, self.secret.clone());
        let by_post = metadata.token_endpoint_auth_methods_supported().is_some_and(|methods| {
            methods.contains(&CoreClientAuthMethod::ClientSecretPost)
                && !methods.contains(&CoreClientAuthMethod::ClientSecretBasic)
        });
        let client = if by_post { client.set_auth_type(AuthType::RequestBody) } else { client };
        Ok(client.set_redirect_uri(redirect))
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
