//! The key that signs tokens: Ed25519, made on the first start, kept in `DATA/signing.key` (mode 0600).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use zeroize::Zeroizing;

use super::keyring::write_whole;

/// Why there is no signing key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("cannot use the signing key {}: {error}; check the owner and the free space of the data directory", path.display())]
    File {
        /// The key's file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file holds something else.
    #[error("{} is not an Ed25519 key; remove it to make a new one (every token becomes invalid)", path.display())]
    NotAKey {
        /// The key's file.
        path: PathBuf,
    },
    /// The list of retired keys is none.
    #[error("{} is not a list of keys; remove it (tokens signed before the last rotation become invalid)", path.display())]
    NotRetiredKeys {
        /// The list's file.
        path: PathBuf,
    },
    /// The system gave no randomness.
    #[error("the system gave no randomness for a new key")]
    NoRandomness,
}

/// A key pair ready to sign and verify.
pub struct SigningKey {
    encoding: EncodingKey,
    public: VerifyingKey,
}

/// The public half of a key pair.
pub struct VerifyingKey {
    decoding: DecodingKey,
    id: String,
    x: String,
}

impl VerifyingKey {
    fn new(public: &[u8]) -> Self {
        let thumbprint = digest::digest(&digest::SHA256, public);
        Self {
            decoding: DecodingKey::from_ed_der(public),
            id: URL_SAFE_NO_PAD.encode(&thumbprint.as_ref()[..12]),
            x: URL_SAFE_NO_PAD.encode(public),
        }
    }

    /// Reads JWK member `x`; `None` for what is no Ed25519 key.
    pub(super) fn from_x(x: &str) -> Option<Self> {
        let public = URL_SAFE_NO_PAD.decode(x).ok().filter(|public| public.len() == 32)?;
        Some(Self::new(&public))
    }

    pub(super) const fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }

    /// The key's name in token headers and the JWK set.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The public key, base64url, as JWK member `x` (RFC 8037 section 2).
    #[must_use]
    pub fn x(&self) -> &str {
        &self.x
    }
}

impl SigningKey {
    /// Loads the key of a data directory, making one on the first start. The new file is durable before this returns.
    ///
    /// # Errors
    /// See [`KeyError`]; each says what to do.
    pub fn load_or_create(data: &Path) -> Result<Self, KeyError> {
        let path = data.join("signing.key");
        let failed = |error| KeyError::File { path: path.clone(), error };
        match fs::read(&path) {
            Ok(pkcs8) => {
                Self::from_pkcs8(&Zeroizing::new(pkcs8)).ok_or(KeyError::NotAKey { path: path.clone() })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::replace(data),
            Err(error) => Err(failed(error)),
        }
    }

    /// Makes a new key in the place of the one before, if there was one. Durable before this returns.
    ///
    /// # Errors
    /// `File` or `NoRandomness`.
    pub(super) fn replace(data: &Path) -> Result<Self, KeyError> {
        let pkcs8 = Self::new_pkcs8()?;
        write_whole(data, "signing.key", &pkcs8)?;
        Self::from_pkcs8(&pkcs8).ok_or(KeyError::NoRandomness)
    }

    /// A key that lives in memory only.
    ///
    /// # Errors
    /// `NoRandomness`.
    pub fn generate() -> Result<Self, KeyError> {
        Self::from_pkcs8(&Self::new_pkcs8()?).ok_or(KeyError::NoRandomness)
    }

    fn new_pkcs8() -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let document =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::NoRandomness)?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).ok()?;
        let public = VerifyingKey::new(pair.public_key().as_ref());
        Some(Self { encoding: EncodingKey::from_ed_der(pkcs8), public })
    }

    pub(super) const fn encoding(&self) -> &EncodingKey {
        &self.encoding
    }

    /// The public half.
    #[must_use]
    pub const fn verifying(&self) -> &VerifyingKey {
        &self.public
    }

    /// The key's name in token headers and the JWK set.
    #[must_use]
    pub fn id(&self) -> &str {
        self.public.id()
    }

    /// The public key, base64url, as JWK member `x` (RFC 8037 section 2).
    #[must_use]
    pub fn public_x(&self) -> &str {
        self.public.x()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_stays_the_same_between_starts_and_private_to_its_owner() {
        let data = std::env::temp_dir().join(format!("kaigi-key-{}", std::process::id()));
        fs::create_dir_all(&data).expect("writable");
        let first = SigningKey::load_or_create(&data).expect("made");
        let second = SigningKey::load_or_create(&data).expect("loaded");
        assert_eq!(first.id(), second.id());
        let mode = fs::metadata(data.join("signing.key")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(data.join("signing.key"), b"something else").expect("writes");
        assert!(matches!(SigningKey::load_or_create(&data), Err(KeyError::NotAKey { .. })));
        fs::remove_dir_all(data).expect("removes");
    }
}
