//! A power loss: what a process did not sync is taken back, bytes and names.
//!
//! `power_loss.c` remembers while the process runs; here is what builds it and what takes back once the process is killed. Not taken
//! back: what `unlinkat` removed, which may be gone after a power loss or not.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::daemon::Scratch;

/// Numbers that decide what of it a disk had kept.
pub type Random<'a> = Option<&'a mut dyn FnMut() -> u64>;

/// What was taken back.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Lost {
    /// Bytes of files.
    pub bytes: u64,
    /// Files and directories made, moved or removed.
    pub names: u64,
}

/// Builds the library that remembers.
///
/// # Errors
/// Why it cannot be built here.
pub fn library(scratch: &Scratch) -> Result<PathBuf, String> {
    let library = scratch.join("power_loss.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/power_loss.c");
    let built = Command::new("gcc")
        .args(["-O1", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .args(["-ldl", "-lpthread"])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("gcc does not run: {error}; apt-get install gcc"))?;
    let said = String::from_utf8_lossy(&built.stderr).into_owned();
    if built.status.success() { Ok(library) } else { Err(said) }
}

/// Takes back what was not synced below `folder`: all of it, or, with numbers, any of the writes and the last of the changes of names,
/// which file systems keep in order.
///
/// # Panics
/// When a file cannot be put back.
pub fn lose(folder: &Path, mut part: Random<'_>) -> Lost {
    let mut lost = Lost::default();
    for entry in fs::read_dir(folder).expect("lists") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            let below = lose(&path, part.as_mut().map(|part| &mut **part as _));
            lost = Lost { bytes: lost.bytes + below.bytes, names: lost.names + below.names };
        } else if path.extension().is_some_and(|extension| extension == "undo") && !path.ends_with(NAMES) {
            lost.bytes += lose_writes(&path, part.as_mut().map(|part| &mut **part as _));
        }
    }
    lost.names += lose_names(&folder.join(NAMES), part);
    // Second links of a change that the kill came before.
    for entry in fs::read_dir(folder).expect("lists") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "undo-name") {
            fs::remove_file(path).expect("removes");
        }
    }
    lost
}

/// Where changes of a directory's names are.
const NAMES: &str = ".names.undo";

fn lose_writes(undo: &Path, mut part: Random<'_>) -> u64 {
    let bytes = fs::read(undo).expect("reads");
    fs::remove_file(undo).expect("removes");
    // The file may be gone.
    let Ok(file) = fs::File::options().write(true).open(undo.with_extension("")) else { return 0 };
    let mut lost = 0;
    for (offset, size, before) in records(&bytes).into_iter().rev() {
        if part.as_mut().is_some_and(|random| random().is_multiple_of(2)) {
            continue;
        }
        let now = file.metadata().expect("has a length").len();
        file.write_all_at(before, offset).expect("writes");
        if part.is_none() {
            file.set_len(size).expect("cuts");
        }
        lost += before.len() as u64 + now.saturating_sub(size);
    }
    lost
}

/// Offset, size of the file and bytes before each write.
fn records(mut bytes: &[u8]) -> Vec<(u64, u64, &[u8])> {
    let mut records = Vec::new();
    // The process may have been killed while it wrote the last one, and then the write did not happen.
    while let Some((head, rest)) = bytes.split_first_chunk::<24>() {
        let number =
            |at: usize| u64::from_ne_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|byte: usize| head[at * 8 + byte]));
        let length = usize::try_from(number(1)).expect("fits");
        let Some((before, rest)) = rest.split_at_checked(length) else { break };
        records.push((number(0), number(2), before));
        bytes = rest;
    }
    records
}

fn lose_names(undo: &Path, part: Random<'_>) -> u64 {
    let Ok(text) = fs::read_to_string(undo) else { return 0 };
    fs::remove_file(undo).expect("removes");
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let kept = part.map_or(0, |random| usize::try_from(random()).unwrap_or(0) % (lines.len() + 1));
    let (stay, go) = lines.split_at(kept);
    for line in go.iter().rev() {
        match line[..] {
            ["C", name] if Path::new(name).is_dir() => fs::remove_dir_all(name).expect("removes"),
            // It may have been removed again, by what is not remembered.
            ["C", name] => drop(fs::remove_file(name)),
            ["R", old, new, second] => {
                fs::rename(new, old).expect("moves back");
                put_back(second, new);
            }
            ["U", name, second] => put_back(second, name),
            // The process was killed while it wrote this.
            _ => {}
        }
    }
    for line in stay {
        if let ["R", .., second] | ["U", _, second] = line[..] {
            let _ = fs::remove_file(second);
        }
    }
    go.len() as u64
}

fn put_back(kept: &str, name: &str) {
    if kept != "-" {
        fs::rename(kept, name).expect("puts back");
    }
}
