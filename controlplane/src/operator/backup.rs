//! `kaigid backup` and `kaigid restore`: the whole store as lines of JSON, with a count and a hash at the end.
//!
//! Line 1 `{"format":"kaigi-backup","v":1,"store":<format>}`, then one `{"k":<base64>,"v":<base64>}` per entry in key order,
//! last `{"entries":<count>,"sha256":<hex over all lines before>}`. The snapshot is one moment of the store. The signing key
//! is not in it: tokens given out before a restore elsewhere do not count there.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

use super::{Request, ask};
use crate::app::{Failure, prepare_data};
use crate::config::Config;
use crate::store::embedded::FORMAT;
use crate::store::{Batch, EmbeddedStore, Entry, Store};

const FORMAT_NAME: &str = "kaigi-backup";
const VERSION: u32 = 1;
/// Entries written per batch while restoring.
const RESTORE_CHUNK: usize = 256;

#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    v: u32,
    store: u32,
}

#[derive(Serialize, Deserialize)]
struct Line {
    k: String,
    v: String,
}

#[derive(Serialize, Deserialize)]
struct Tail {
    entries: usize,
    sha256: String,
}

/// The lines of a backup of these entries.
#[must_use]
pub fn lines(entries: &[Entry]) -> Vec<String> {
    let mut lines = Vec::with_capacity(entries.len() + 2);
    lines.push(json(&Head { format: FORMAT_NAME.to_owned(), v: VERSION, store: FORMAT }));
    for (key, value) in entries {
        lines.push(json(&Line { k: STANDARD_NO_PAD.encode(key), v: STANDARD_NO_PAD.encode(value) }));
    }
    let tail = Tail { entries: entries.len(), sha256: hash(&lines) };
    lines.push(json(&tail));
    lines
}

/// Reads the lines of a backup back.
///
/// # Errors
/// What is wrong with them, in words.
pub fn entries(text: &str) -> Result<Vec<Entry>, &'static str> {
    let lines: Vec<&str> = text.lines().collect();
    let [head, middle @ .., tail] = lines.as_slice() else { return Err("it is cut off") };
    let head: Head = serde_json::from_str(head).map_err(|_| "it is not a kaigi backup")?;
    if head.format != FORMAT_NAME {
        return Err("it is not a kaigi backup");
    }
    if head.v > VERSION || head.store > FORMAT {
        return Err("it was made by a newer kaigid");
    }
    let tail: Tail = serde_json::from_str(tail).map_err(|_| "it is cut off")?;
    if tail.entries != middle.len() || tail.sha256 != hash(&lines[..lines.len() - 1]) {
        return Err("it is damaged: count or hash do not match");
    }
    let entry = |line: &&str| {
        let line: Line = serde_json::from_str(line).ok()?;
        Some((STANDARD_NO_PAD.decode(line.k).ok()?, STANDARD_NO_PAD.decode(line.v).ok()?))
    };
    middle.iter().map(entry).collect::<Option<_>>().ok_or("it is damaged: a line is not an entry")
}

/// Writes a backup to `file`; says how many entries it holds. The file appears whole or not at all.
///
/// # Errors
/// What the store or the file system says.
pub fn backup(config: &Config, file: &Path) -> Result<usize, Failure> {
    let lines = match ask(&config.data, &Request::Backup)? {
        Some(lines) => lines,
        None => {
            if !config.data.join("store").exists() {
                let path = config.data.display();
                return Err(Failure::Refused(format!(
                    "there is no store in {path}; name its directory with --data"
                )));
            }
            let store = EmbeddedStore::open(&config.data)?;
            lines(&store.snapshot().wait()?)
        }
    };
    write_whole(file, &lines).map_err(|error| {
        Failure::Refused(format!(
            "cannot write {}: {error}; check the path and the free space",
            file.display()
        ))
    })?;
    Ok(lines.len().saturating_sub(2))
}

/// Brings a backup back into a data directory without a store; says how many entries it held.
///
/// # Errors
/// When the directory has a store, the file is no backup, or the store cannot be written.
pub fn restore(config: &Config, file: &Path) -> Result<usize, Failure> {
    let unreadable = |reason: &str| Failure::Refused(format!("cannot restore {}: {reason}", file.display()));
    let text = fs::read_to_string(file).map_err(|error| unreadable(&error.to_string()))?;
    let entries = entries(&text).map_err(unreadable)?;
    prepare_data(&config.data)?;
    let path = config.data.join("store");
    if path.exists() {
        let path = path.display();
        return Err(Failure::Refused(format!(
            "{path} exists; stop kaigid and move it aside first, nothing is overwritten"
        )));
    }
    let store = EmbeddedStore::open(&config.data)?;
    for chunk in entries.chunks(RESTORE_CHUNK) {
        let batch = chunk.iter().cloned().fold(Batch::new(), |batch, (key, value)| batch.put(key, value));
        store.commit(batch).wait()?;
    }
    Ok(entries.len())
}

/// A small runtime for operator commands.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| Failure::Refused(format!("cannot start: {error}")))
}

fn write_whole(file: &Path, lines: &[String]) -> io::Result<()> {
    let mut fresh = file.as_os_str().to_owned();
    fresh.push(".partial");
    let fresh = PathBuf::from(fresh);
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    let mut text = lines.join("\n");
    text.push('\n');
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    fs::rename(&fresh, file)
}

fn hash<T: AsRef<str>>(lines: &[T]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for line in lines {
        context.update(line.as_ref().as_bytes());
        context.update(b"\n");
    }
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain structs serialise")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Entry> {
        vec![(b"a".to_vec(), b"1".to_vec()), (vec![0, 255], Vec::new())]
    }

    #[test]
    fn a_backup_reads_back_as_it_was() {
        assert_eq!(entries(&lines(&sample()).join("\n")), Ok(sample()));
        assert_eq!(entries(&lines(&[]).join("\n")), Ok(Vec::new()));
    }

    #[test]
    fn a_backup_that_was_cut_or_changed_is_refused() {
        let whole = lines(&sample()).join("\n");
        for cut in 0..whole.len() {
            assert!(entries(&whole[..cut]).is_err(), "cut at {cut}");
        }
        assert!(entries(&whole.replacen("MQ", "Mg", 1)).is_err());
        assert!(entries("hello\nworld\n").is_err());
    }
}
