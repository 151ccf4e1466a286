//! The key that signs tokens: Ed25519, made on the first start, kept in `DATA/signing.key` (mode 0600), sealed with the store's keys.
//!
//! A file of before it was sealed holds PKCS #8 in the clear; it is sealed when it is read.

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
use super::sealing::Sealing;

/// Its file.
const NAME: &str = "signing.key";
/// How PKCS #8 begins (a DER sequence); what is sealed begins otherwise.
const CLEAR: u8 = 0x30;

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
    /// The file was sealed with other keys than the store's.
    #[error(
        "{} cannot be opened with this store's keys: bring back the key file of its time, or remove it to make a new one (every token becomes invalid)",
        path.display()
    )]
    Sealed {
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
    pub fn load_or_create(data: &Path, sealing: &dyn Sealing) -> Result<Self, KeyError> {
        let path = data.join(NAME);
        let stored = match fs::read(&path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::replace(data, sealing),
            Err(error) => return Err(KeyError::File { path, error }),
        };
        if stored.first() == Some(&CLEAR) {
            let key = Self::from_pkcs8(&stored).ok_or(KeyError::NotAKey { path })?;
            write_sealed(data, sealing, &stored)?;
            return Ok(key);
        }
        let pkcs8 = sealing.open(NAME, &stored).ok_or(KeyError::Sealed { path: path.clone() })?;
        Self::from_pkcs8(&pkcs8).ok_or(KeyError::NotAKey { path })
    }

    /// Makes a new key in the place of the one before, if there was one. Durable before this returns.
    ///
    /// # Errors
    /// `File` or `NoRandomness`.
    pub(super) fn replace(data: &Path, sealing: &dyn Sealing) -> Result<Self, KeyError> {
        let pkcs8 = Self::new_pkcs8()?;
        write_sealed(data, sealing, &pkcs8)?;
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

    /// A key pair of PKCS #8 (RFC 8410 section 10); `None` for what is none of Ed25519.
    #[must_use]
    pub fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
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

fn write_sealed(data: &Path, sealing: &dyn Sealing, pkcs8: &[u8]) -> Result<(), KeyError> {
    write_whole(data, NAME, &sealing.seal(NAME, pkcs8).ok_or(KeyError::NoRandomness)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::sealing::Marking;
    use super::*;

    #[test]
    fn the_key_stays_the_same_between_starts_and_private_to_its_owner() {
        let data = std::env::temp_dir().join(format!("kaigi-key-{}", std::process::id()));
        fs::create_dir_all(&data).expect("writable");
        let first = SigningKey::load_or_create(&data, &Marking(1)).expect("made");
        let second = SigningKey::load_or_create(&data, &Marking(1)).expect("loaded");
        assert_eq!(first.id(), second.id());
        let mode = fs::metadata(data.join(NAME)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = SigningKey::load_or_create(&data, &Marking(2));
        assert!(matches!(other, Err(KeyError::Sealed { .. })));
        for not_a_key in [b"0 is how PKCS #8 begins".as_slice(), b"something else", b""] {
            fs::write(data.join(NAME), not_a_key).expect("writes");
            let refused = SigningKey::load_or_create(&data, &Marking(1));
            assert!(matches!(refused, Err(KeyError::NotAKey { .. } | KeyError::Sealed { .. })));
        }
        fs::remove_dir_all(data).expect("removes");
    }

    #[test]
    fn a_key_of_before_it_was_sealed_is_sealed_and_stays_the_same() {
        let data = std::env::temp_dir().join(format!("kaigi-clear-key-{}", std::process::id()));
        fs::create_dir_all(&data).expect("writable");
        let pkcs8 = SigningKey::new_pkcs8().expect("randomness");
        fs::write(data.join(NAME), &*pkcs8).expect("writes");
        let clear = SigningKey::from_pkcs8(&pkcs8).expect("a key");
        for _ in 0..2 {
            let loaded = SigningKey::load_or_create(&data, &Marking(1)).expect("loads");
            assert_eq!(loaded.id(), clear.id());
            assert_ne!(fs::read(data.join(NAME)).expect("reads").first(), Some(&CLEAR));
        }
        fs::remove_dir_all(data).expect("removes");
    }
}
