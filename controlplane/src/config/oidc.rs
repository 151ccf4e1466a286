//! The OpenID Connect provider people may sign in by: the keys that begin with `oidc-`.

use std::path::PathBuf;

use super::ConfigError;
use super::keys::Keys;
use super::{Source, Sources, pick, value};

/// Longest secret; no provider makes one of this length.
const SECRET_BYTES_MAX: usize = 4_096;

/// A provider and what is believed of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OidcConfig {
    /// Its name, as its ID tokens have it: an address with TLS, or of this host.
    pub issuer: String,
    /// Our name there.
    pub client_id: String,
    /// The file with our secret; a public client has none.
    pub secret_file: Option<PathBuf>,
    /// What people call it.
    pub name: String,
    /// Domains of the addresses it speaks for; nobody with another is let in. Empty: it speaks for none in particular.
    pub domains: Vec<String>,
    /// Whether who has no account gets one.
    pub create: bool,
}

impl OidcConfig {
    /// The secret, from its file.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn secret(&self) -> Result<Option<String>, ConfigError> {
        let Some(path) = &self.secret_file else { return Ok(None) };
        let fault = |what: String| ConfigError(format!("oidc-secret-file: {}: {what}", path.display()));
        let text =
            std::fs::read_to_string(path).map_err(|error| fault(format!("cannot be read: {error}")))?;
        let secret = text.trim();
        if secret.is_empty() || secret.len() > SECRET_BYTES_MAX {
            return Err(fault("must hold the client secret and nothing else".to_owned()));
        }
        Ok(Some(secret.to_owned()))
    }

    /// Whether the provider runs on this host.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.issuer.starts_with("http://")
    }
}

/// The provider that the sources name, if they name one.
pub(super) fn combine(sources: &Sources<'_>) -> Result<Option<OidcConfig>, ConfigError> {
    let Some(issuer) = pick(sources, "oidc-issuer", value::issuer)? else {
        let stray = ["oidc-client-id", "oidc-secret-file", "oidc-name", "oidc-domain", "oidc-create"];
        return match sources.iter().find_map(|(keys, source)| first_of(keys, *source, &stray)) {
            Some(key) => Err(ConfigError(format!("{key} is given without oidc-issuer; give both or none"))),
            None => Ok(None),
        };
    };
    let client_id = pick(sources, "oidc-client-id", value::word)?.ok_or_else(|| {
        ConfigError("oidc-issuer is given without oidc-client-id; the provider says what it is".to_owned())
    })?;
    let host =
        issuer.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default().to_owned();
    Ok(Some(OidcConfig {
        client_id,
        secret_file: pick(sources, "oidc-secret-file", |text| Ok(PathBuf::from(text)))?,
        name: pick(sources, "oidc-name", value::word)?.unwrap_or(host),
        domains: pick(sources, "oidc-domain", value::domains)?.unwrap_or_default(),
        create: pick(sources, "oidc-create", value::switch)?.unwrap_or(false),
        issuer,
    }))
}

fn first_of(keys: &Keys, source: Source<'_>, names: &[&str]) -> Option<String> {
    names.iter().find(|name| keys.text(name).is_some()).map(|name| source.name(name))
}
