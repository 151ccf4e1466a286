//! The master key: 32 bytes that wrap the store's data keys, kept wherever the operator says.
//!
//! As text it is 64 hexadecimal digits (`openssl rand -hex 32` makes one). `DATA/master.key` is made on the first start; every
//! other place must hold a key already. Promises: never logged, zeroed when dropped. Not here: what it wraps (`keyring`).

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use aws_lc_rs::{hkdf, hmac, rand};
use zeroize::Zeroizing;

use super::StoreError;
use super::files::write_whole;
use super::seal::KEY_BYTES;

/// The key's name inside the data directory.
const DEFAULT_NAME: &str = "master.key";
/// What may be read from a key's place: the digits and some white space.
const TEXT_BYTES_MAX: u64 = 1_024;
/// A command answers within this time: a hardware module or a key server is slow, a prompt would wait for ever.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the master key is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeySource {
    /// A file.
    File(PathBuf),
    /// A credential of the service manager: a file in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// What a shell command prints.
    Command(String),
}

impl KeySource {
    /// Reads `file:PATH`, `credential:NAME` or `command:COMMAND`.
    ///
    /// # Errors
    /// What the text should have been.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wanted = || "file:PATH, credential:NAME or command:COMMAND".to_owned();
        let (kind, rest) = text.split_once(':').ok_or_else(wanted)?;
        match kind {
            _ if rest.is_empty() => Err(wanted()),
            "file" => Ok(Self::File(rest.into())),
            "credential" if rest.contains('/') || rest.starts_with('.') => {
                Err("credential:NAME with a name that is no path".to_owned())
            }
            "credential" => Ok(Self::Credential(rest.to_owned())),
            "command" => Ok(Self::Command(rest.to_owned())),
            _ => Err(wanted()),
        }
    }

    /// The key beside the data it seals.
    #[must_use]
    pub fn beside(data: &Path) -> Self {
        Self::File(data.join(DEFAULT_NAME))
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Credential(name) => write!(f, "credential:{name}"),
            Self::Command(command) => write!(f, "command:{command}"),
        }
    }
}

/// The key itself.
pub struct MasterKey(Zeroizing<[u8; KEY_BYTES]>);

impl MasterKey {
    /// A new random key.
    ///
    /// # Errors
    /// `NoRandomness`.
    pub fn generate() -> Result<Self, StoreError> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        rand::fill(key.as_mut_slice()).map_err(|_| StoreError::NoRandomness)?;
        Ok(Self(key))
    }

    /// The key at `source`.
    ///
    /// # Errors
    /// `KeyUnavailable` when nothing can be read there, or what is there is no key.
    pub fn load(source: &KeySource) -> Result<Self, StoreError> {
        let unavailable = |reason: String| StoreError::KeyUnavailable {
            key: source.to_string().into(),
            reason: reason.into(),
        };
        let text = match source {
            KeySource::File(path) => read_file(path),
            KeySource::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
                Some(directory) => read_file(&Path::new(&directory).join(name)),
                None => Err(io::Error::other("CREDENTIALS_DIRECTORY is not set; does systemd start this?")),
            },
            KeySource::Command(command) => ask_command(command),
        };
        let text = text.map_err(|error| unavailable(error.to_string()))?;
        Self::parse(&text).ok_or_else(|| unavailable("it does not hold 64 hexadecimal digits".to_owned()))
    }

    /// The key at `source`; where that is the file beside the data and `fresh` says that nothing is sealed yet, a new one is
    /// made there, durable before this returns.
    ///
    /// # Errors
    /// `KeyUnavailable`, `NoRandomness`.
    pub fn load_or_make(source: &KeySource, data: &Path, fresh: bool) -> Result<Self, StoreError> {
        match source {
            KeySource::File(path) if fresh && *source == KeySource::beside(data) && !path.exists() => {
                let key = Self::generate()?;
                key.write(path)?;
                Ok(key)
            }
            _ => Self::load(source),
        }
    }

    /// Writes the key to a file of mode 0600 that appears whole or not at all.
    ///
    /// # Errors
    /// `KeyUnavailable` when the file system refuses.
    pub fn write(&self, path: &Path) -> Result<(), StoreError> {
        let digits: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = Zeroizing::new(digits + "\n");
        write_whole(path, text.as_bytes()).map_err(|error| StoreError::KeyUnavailable {
            key: KeySource::File(path.to_owned()).to_string().into(),
            reason: format!("it cannot be written: {error}").into(),
        })
    }

    /// Tells keys apart without giving them away.
    pub(super) fn fingerprint(&self) -> [u8; 8] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_slice());
        let tag = hmac::sign(&key, b"kaigi master key fingerprint");
        let mut short = [0; 8];
        short.copy_from_slice(&tag.as_ref()[..8]);
        short
    }

    /// The key that wraps data keys.
    pub(super) fn wrapping(&self) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
        derive(self.0.as_slice(), b"", b"kaigi wrap 1")
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.trim().as_bytes();
        if digits.len() != 2 * KEY_BYTES {
            return None;
        }
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *byte = u8::try_from(high * 16 + low).ok()?;
        }
        Some(Self(key))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey")
    }
}

/// A key for one purpose (HKDF with SHA-256, RFC 5869).
pub(super) fn derive(key: &[u8], salt: &[u8], purpose: &[u8]) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(key);
    let mut derived = Zeroizing::new([0; KEY_BYTES]);
    extracted.expand(&[purpose], hkdf::HKDF_SHA256).ok()?.fill(derived.as_mut_slice()).ok()?;
    Some(derived)
}

fn read_file(path: &Path) -> io::Result<Zeroizing<String>> {
    read_text(File::open(path)?)
}

fn read_text(from: impl Read) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(256));
    from.take(TEXT_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn ask_command(command: &str) -> io::Result<Zeroizing<String>> {
    let mut child =
        Command::new("sh").args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().ok_or_else(|| io::Error::other("it has no output"))?;
    let (said, heard) = mpsc::channel();
    std::thread::Builder::new().name("store-key".into()).spawn(move || said.send(read_text(output)))?;
    let text = heard.recv_timeout(COMMAND_TIMEOUT).unwrap_or_else(|_| {
        Err(io::Error::other(format!("it did not answer within {} s", COMMAND_TIMEOUT.as_secs())))
    });
    let ended = end(&mut child, text.is_err());
    let text = text?;
    let status = ended?;
    if status.success() { Ok(text) } else { Err(io::Error::other(format!("it ended with {status}"))) }
}

fn end(child: &mut Child, by_force: bool) -> io::Result<std::process::ExitStatus> {
    if by_force {
        child.kill()?;
    }
    child.wait()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::store::contract::scratch;

    const DIGITS: &str = "00112233445566778899aabbccddeeffFFEEDDCCBBAA99887766554433221100";

    #[test]
    fn a_place_is_a_file_a_credential_or_a_command() {
        assert_eq!(KeySource::parse("file:/a b"), Ok(KeySource::File("/a b".into())));
        assert_eq!(KeySource::parse("credential:kaigi"), Ok(KeySource::Credential("kaigi".into())));
        assert_eq!(KeySource::parse("command:echo a:b"), Ok(KeySource::Command("echo a:b".into())));
        for bad in ["", "file:", "/path", "vault:x", "credential:../x", "credential:.x"] {
            assert!(KeySource::parse(bad).is_err(), "{bad}");
        }
        for text in ["file:/k", "credential:k", "command:k"] {
            assert_eq!(KeySource::parse(text).map(|source| source.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn the_same_key_comes_from_a_file_and_from_a_command() {
        let data = scratch("master");
        let path = data.join("elsewhere");
        fs::write(&path, format!("{DIGITS}\n")).expect("writes");
        let from_file = MasterKey::load(&KeySource::File(path)).expect("loads");
        let from_command = MasterKey::load(&KeySource::Command(format!("echo {DIGITS}"))).expect("loads");
        assert_eq!(from_file.fingerprint(), from_command.fingerprint());
        fs::remove_dir_all(data).expect("removes");
    }

    #[test]
    fn a_place_without_a_key_says_what_is_wrong() {
        let data = scratch("no-master");
        fs::write(data.join("short"), "abc").expect("writes");
        for (source, word) in [
            (KeySource::File(data.join("missing")), "No such file"),
            (KeySource::File(data.join("short")), "64 hexadecimal digits"),
            (KeySource::Command("exit 3".to_owned()), "exit status: 3"),
            (KeySource::Command(format!("echo {DIGITS}; false")), "exit status: 1"),
        ] {
            let error = MasterKey::load_or_make(&source, &data, true).expect_err("refused");
            assert!(error.to_string().contains(word), "{error}");
            assert!(!error.remedy().is_empty());
        }
        fs::remove_dir_all(data).expect("removes");
    }

    #[test]
    fn only_the_key_beside_the_data_is_made_and_only_before_anything_is_sealed() {
        let data = scratch("made-master");
        let source = KeySource::beside(&data);
        assert!(MasterKey::load_or_make(&source, &data, false).is_err());
        let made = MasterKey::load_or_make(&source, &data, true).expect("made");
        let loaded = MasterKey::load_or_make(&source, &data, true).expect("loaded");
        assert_eq!(made.fingerprint(), loaded.fingerprint());
        let mode = fs::metadata(data.join(DEFAULT_NAME)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_dir_all(data).expect("removes");
    }
}
