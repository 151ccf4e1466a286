//! A backup: everything a store held at one moment, sealed, as lines of text.
//!
//! Line 1 is JSON and says format, moment, place in the history, and the store's keys wrapped by the master key, so that a backup
//! and a master key are all it takes. Then one base64 line per entry in key order, last one with the count. Each line is sealed
//! with AES-256-GCM under a key of this backup alone (HKDF with a random salt); the nonce is its number with a mark on the last,
//! so lines cannot be changed, moved, taken out or cut off. Backups of before sealing (version 1) are read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

use super::files::write_whole;
use super::keyring::{KeyId, Keyring, Unwrap};
use super::place::Place;
use super::vault::Vault;
use super::{Entry, StoreError};

const FORMAT_NAME: &str = "kaigi-backup";
const VERSION: u32 = 2;
/// How the files of a backup folder end.
const EXTENSION: &str = "kaigi-backup";
const SALT_BYTES: usize = 16;
/// Marks the nonce of the last line.
const LAST: u8 = 1;

/// Everything a store held at one moment.
pub struct Moment {
    /// All entries.
    pub entries: Vec<Entry>,
    pub(super) place: Place,
    pub(super) at: i64,
}

/// Why a file is no backup that can be brought back.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BackupError {
    /// Something else.
    #[error("it is not a kaigi backup")]
    NotABackup,
    /// By a kaigid that knows more.
    #[error("it was made by a newer kaigid; run that one")]
    Newer,
    /// It ends too early.
    #[error("it is cut off; take another backup")]
    CutOff,
    /// It is not what was written.
    #[error("it is damaged; take another backup")]
    Damaged,
    /// Its keys are wrapped by another master key.
    #[error("it was sealed under another master key; name the one of its time with --store-key")]
    OtherKey,
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    v: u32,
    /// Of the store it was made from.
    store: u32,
    /// The rest is there from version 2 on.
    #[serde(flatten)]
    sealed: Option<SealedHead>,
}

#[derive(Serialize, Deserialize)]
struct SealedHead {
    at: i64,
    place: String,
    keys: String,
    key: KeyId,
    salt: String,
}

/// The lines of a backup of `moment`.
///
/// # Errors
/// `NoRandomness` when the system gives none.
pub(super) fn lines(moment: &Moment, vault: &Vault) -> Result<Vec<String>, StoreError> {
    let no_randomness = || StoreError::NoRandomness;
    let (ring, wrapped) = vault.wrapped()?;
    let (id, _) = ring.newest().ok_or_else(no_randomness)?;
    let mut salt = [0; SALT_BYTES];
    rand::fill(&mut salt).map_err(|_| StoreError::NoRandomness)?;
    let sealed = SealedHead {
        at: moment.at,
        place: STANDARD_NO_PAD.encode(moment.place.encode()),
        keys: STANDARD_NO_PAD.encode(wrapped),
        key: id,
        salt: STANDARD_NO_PAD.encode(salt),
    };
    let head = Head {
        format: FORMAT_NAME.to_owned(),
        v: VERSION,
        store: super::embedded::FORMAT,
        sealed: Some(sealed),
    };
    let head = serde_json::to_string(&head).expect("plain structs serialise");
    let key = line_key(&ring, id, &salt).ok_or_else(no_randomness)?;
    let seal = |mark, number: usize, mut text: Vec<u8>| {
        let aad = Aad::from(head.as_bytes());
        key.seal_in_place_append_tag(nonce(mark, number), aad, &mut text).map_err(|_| no_randomness())?;
        Ok(STANDARD_NO_PAD.encode(text))
    };
    let mut lines = Vec::with_capacity(moment.entries.len() + 2);
    lines.push(String::new());
    for (number, (key, value)) in moment.entries.iter().enumerate() {
        let length = u16::try_from(key.len()).map_err(|_| StoreError::TooLarge)?;
        lines.push(seal(0, number, [length.to_be_bytes().as_slice(), key, value].concat())?);
    }
    let count = moment.entries.len();
    lines.push(seal(LAST, count, (count as u64).to_be_bytes().to_vec())?);
    lines[0] = head;
    Ok(lines)
}

/// The wrapped keys that a backup brings along; `None` for one of before sealing.
pub(super) fn wrapped_keys(text: &str) -> Result<Option<Vec<u8>>, BackupError> {
    let sealed = head(text)?.sealed;
    sealed.map(|sealed| STANDARD_NO_PAD.decode(sealed.keys).map_err(|_| BackupError::Damaged)).transpose()
}

fn head(text: &str) -> Result<Head, BackupError> {
    let head: Head = serde_json::from_str(text.lines().next().ok_or(BackupError::CutOff)?)
        .map_err(|_| BackupError::NotABackup)?;
    if head.format != FORMAT_NAME {
        return Err(BackupError::NotABackup);
    }
    if head.v > VERSION || head.store > super::embedded::FORMAT {
        return Err(BackupError::Newer);
    }
    Ok(head)
}

/// Reads the lines of a backup back, with the vault's keys or those it brings along.
///
/// # Errors
/// See [`BackupError`].
pub(super) fn read(text: &str, vault: &Vault) -> Result<(Moment, Option<Keyring>), BackupError> {
    let head = head(text)?;
    match head.sealed {
        Some(sealed) => read_sealed(text, &sealed, vault),
        None if head.v == 1 => unsealed::entries(text).and_then(|entries| {
            let place = Place::begin().map_err(|_| BackupError::Damaged)?;
            Ok((Moment { entries, place, at: 0 }, None))
        }),
        None => Err(BackupError::Damaged),
    }
}

fn read_sealed(
    text: &str,
    sealed: &SealedHead,
    vault: &Vault,
) -> Result<(Moment, Option<Keyring>), BackupError> {
    let decode = |text: &str| STANDARD_NO_PAD.decode(text).map_err(|_| BackupError::Damaged);
    let salt = decode(&sealed.salt)?;
    let (own, brought) = match vault.unwrap(&decode(&sealed.keys)?) {
        Ok(ring) => (line_key(&ring, sealed.key, &salt), Some(ring)),
        // The store's master key may have been rotated since; the data key may still be here.
        Err(Unwrap::OtherMaster) => (line_key(&vault.ring(), sealed.key, &salt), None),
        Err(Unwrap::Damaged) => return Err(BackupError::Damaged),
    };
    let key = own.ok_or(BackupError::OtherKey)?;
    let place = Place::decode(&decode(&sealed.place)?).ok_or(BackupError::Damaged)?;
    let mut lines = text.lines();
    let head = lines.next().ok_or(BackupError::CutOff)?;
    let mut entries = Vec::new();
    let mut ended = false;
    for line in lines {
        if ended {
            return Err(BackupError::Damaged);
        }
        let bytes = decode(line)?;
        let open = |mark| {
            let mut text = bytes.clone();
            let opened = key.open_in_place(nonce(mark, entries.len()), Aad::from(head.as_bytes()), &mut text);
            opened.ok().map(|text| text.to_vec())
        };
        match open(0) {
            Some(text) => {
                let (length, rest) = text.split_first_chunk::<2>().ok_or(BackupError::Damaged)?;
                let length = usize::from(u16::from_be_bytes(*length));
                let (key, value) = rest.split_at_checked(length).ok_or(BackupError::Damaged)?;
                entries.push((key.to_vec(), value.to_vec()));
            }
            None => ended = open(LAST).map(|_| true).ok_or(BackupError::Damaged)?,
        }
    }
    if ended { Ok((Moment { entries, place, at: sealed.at }, brought)) } else { Err(BackupError::CutOff) }
}

fn line_key(ring: &Keyring, id: KeyId, salt: &[u8]) -> Option<LessSafeKey> {
    let key = ring.derived(id, salt, b"kaigi backup 2")?;
    Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_slice()).ok()?))
}

fn nonce(mark: u8, number: usize) -> Nonce {
    let mut bytes = [0; 12];
    bytes[0] = mark;
    bytes[4..].copy_from_slice(&(number as u64).to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// A backup in a folder, as its head tells it.
#[derive(Clone, Debug)]
pub(super) struct Filed {
    pub(super) path: PathBuf,
    /// Milliseconds since 1970.
    pub(super) at: i64,
    pub(super) place: Place,
}

/// Writes a backup into `folder`, which is made; answers its path.
pub(super) fn file(moment: &Moment, vault: &Vault, folder: &Path) -> Result<PathBuf, StoreError> {
    let lines = lines(moment, vault)?;
    let path = folder.join(format!("{:015}-{:016x}.{EXTENSION}", moment.at, moment.place.history));
    let refused = |error: io::Error| StoreError::from_backup_folder(folder, &error);
    fs::create_dir_all(folder).map_err(refused)?;
    write_whole(&path, (lines.join("\n") + "\n").as_bytes()).map_err(refused)?;
    Ok(path)
}

/// The backups in a folder, oldest first. No folder is no backups; what is no backup is passed over.
pub(super) fn filed(folder: &Path) -> Result<Vec<Filed>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::from_backup_folder(folder, &error)),
    };
    let mut found: Vec<Filed> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            path.extension().filter(|extension| *extension == EXTENSION)?;
            let first = io::BufRead::lines(io::BufReader::new(fs::File::open(&path).ok()?)).next()?.ok()?;
            let sealed = serde_json::from_str::<Head>(&first).ok()?.sealed?;
            let place = Place::decode(&STANDARD_NO_PAD.decode(sealed.place).ok()?)?;
            Some(Filed { path, at: sealed.at, place })
        })
        .collect();
    found.sort_by_key(|filed| (filed.at, filed.place.seq));
    Ok(found)
}

/// Backups of before sealing: `{"k","v"}` lines and a count with a hash.
mod unsealed {
    use aws_lc_rs::digest;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    use serde::Deserialize;

    use super::{BackupError, Entry};

    #[derive(Deserialize)]
    struct Line {
        k: String,
        v: String,
    }

    #[derive(Deserialize)]
    struct Tail {
        entries: usize,
        sha256: String,
    }

    pub(super) fn entries(text: &str) -> Result<Vec<Entry>, BackupError> {
        let lines: Vec<&str> = text.lines().collect();
        let [_, middle @ .., tail] = lines.as_slice() else { return Err(BackupError::CutOff) };
        let tail: Tail = serde_json::from_str(tail).map_err(|_| BackupError::CutOff)?;
        if tail.entries != middle.len() || tail.sha256 != hash(&lines[..lines.len() - 1]) {
            return Err(BackupError::Damaged);
        }
        let entry = |line: &&str| {
            let line: Line = serde_json::from_str(line).ok()?;
            Some((STANDARD_NO_PAD.decode(line.k).ok()?, STANDARD_NO_PAD.decode(line.v).ok()?))
        };
        middle.iter().map(entry).collect::<Option<_>>().ok_or(BackupError::Damaged)
    }

    pub(super) fn hash(lines: &[&str]) -> String {
        let mut context = digest::Context::new(&digest::SHA256);
        for line in lines {
            context.update(line.as_bytes());
            context.update(b"\n");
        }
        context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::scratch;
    use crate::store::master::KeySource;

    fn vault(data: &Path) -> Vault {
        Vault::open(data, &KeySource::beside(data), &[], false).expect("opens")
    }

    fn moment() -> Moment {
        let entries = vec![(b"a".to_vec(), b"1".to_vec()), (vec![0, 255], Vec::new())];
        Moment { entries, place: Place::begin().expect("random"), at: 5 }
    }

    #[test]
    fn a_backup_reads_back_as_it_was_and_shows_nothing() {
        let data = scratch("backup");
        let vault = vault(&data);
        let mut moment = moment();
        moment.entries.push((b"k".to_vec(), b"Grace Hopper".to_vec()));
        let text = lines(&moment, &vault).expect("seals").join("\n");
        let (read, _) = read(&text, &vault).expect("opens");
        assert_eq!((read.entries, read.place, read.at), (moment.entries, moment.place, 5));
        assert!(!text.contains(&STANDARD_NO_PAD.encode("Grace Hopper")[..12]));
        fs::remove_dir_all(data).expect("removes");
    }

    #[test]
    fn a_backup_that_was_cut_or_changed_is_refused() {
        let data = scratch("bad-backup");
        let vault = vault(&data);
        let whole = lines(&moment(), &vault).expect("seals").join("\n");
        for at in 0..whole.len() {
            assert!(read(&whole[..at], &vault).is_err(), "cut at {at}");
            let mut changed = whole.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert!(read(&changed, &vault).is_err(), "byte {at}");
        }
        let mut swapped: Vec<&str> = whole.lines().collect();
        swapped.swap(1, 2);
        assert_eq!(read(&swapped.join("\n"), &vault).err(), Some(BackupError::Damaged));
        assert_eq!(read("hello\nworld\n", &vault).err(), Some(BackupError::NotABackup));
        fs::remove_dir_all(data).expect("removes");
    }

    #[test]
    fn a_backup_opens_elsewhere_with_its_master_key_alone_and_here_after_a_rotation() {
        let (data, other) = (scratch("backup-here"), scratch("backup-there"));
        let here = vault(&data);
        let text = lines(&moment(), &here).expect("seals").join("\n");
        assert_eq!(read(&text, &vault(&other)).err(), Some(BackupError::OtherKey));
        fs::remove_dir_all(&other).expect("removes");
        fs::create_dir_all(&other).expect("makes");
        fs::copy(data.join("master.key"), other.join("master.key")).expect("copies");
        assert!(read(&text, &vault(&other)).is_ok(), "the master key is all it takes");
        here.rotate(None, true).expect("rotates");
        assert!(read(&text, &here).is_ok(), "the data key is still here");
        for folder in [data, other] {
            fs::remove_dir_all(folder).expect("removes");
        }
    }

    #[test]
    fn backups_of_before_sealing_are_read() {
        let data = scratch("old-backup");
        let first = r#"{"format":"kaigi-backup","v":1,"store":1}"#;
        let middle = r#"{"k":"YQ","v":"MQ"}"#;
        let hash = unsealed::hash(&[first, middle]);
        let text = format!("{first}\n{middle}\n{{\"entries\":1,\"sha256\":\"{hash}\"}}\n");
        let (moment, _) = read(&text, &vault(&data)).expect("reads");
        assert_eq!(moment.entries, [(b"a".to_vec(), b"1".to_vec())]);
        assert_eq!(read(&text.replace("MQ", "Mg"), &vault(&data)).err(), Some(BackupError::Damaged));
        fs::remove_dir_all(data).expect("removes");
    }
}
