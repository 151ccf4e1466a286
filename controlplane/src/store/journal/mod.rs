//! The journal: every group of writes, sealed, in `DATA/journal`, before the store has it.
//!
//! Path: committer -> `append` (one write, one `fdatasync`) -> sled. Promises: what was acknowledged is in it; a frame that was
//! changed, moved or taken out is noticed; a crash leaves at most a torn tail, which the next start cuts. A segment has a key of
//! its own (HKDF with a random salt) and counts frames in the nonce, and is never appended to after a reopening or a failed
//! write, so no nonce comes twice. A segment names its history and its first group and repeats the tag of the group before.
//!
//! File `<history>-<first>.journal`: header magic 8, key id 4, salt 16, history 8, first 8, tag before 16; then frames: length 4,
//! sealed group. A group: number 8, time 8 (ms since 1970), then per write: key length 2, key, value length 4 (all ones: removed),
//! value. Not here: reading it back (`replay`), which segments are kept (`retention`).

mod frame;
mod replay;
mod retention;
mod segment;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) use frame::Write;
pub(super) use replay::{begins_in, replay};
pub(super) use retention::trim;

use super::StoreError;
use super::files::sync_directory;
use super::place::Place;
use super::vault::Vault;
use segment::Segment;

/// A segment that is longer is followed by another: a month of 1,000 writes an hour of 1 KiB is 45 of them.
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
/// Longest sealed group. The committer stops gathering at 1 MiB and a batch is 2 MiB at most.
const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
const _: () = assert!(super::GROUP_BYTES_MAX + super::BATCH_BYTES_MAX < FRAME_BYTES_MAX);

/// The end of the journal, where groups are written.
pub(super) struct Journal {
    folder: PathBuf,
    vault: Arc<Vault>,
    segment: Option<Segment>,
    is_kept: bool,
}

impl Journal {
    /// A journal in `folder`, which is made; the first group begins a new segment. One that is not kept loses its older
    /// segments with every new one: the store has what is in them.
    pub(super) fn open(folder: &Path, vault: Arc<Vault>, is_kept: bool) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned(), vault, segment: None, is_kept })
    }

    /// Makes a group durable; answers the place after it. `at` is milliseconds since 1970.
    ///
    /// # Errors
    /// `NoSpace` when nothing was written; `Failed` when it is unknown what was.
    pub(super) fn append(&mut self, place: &Place, at: i64, writes: &[Write]) -> Result<Place, StoreError> {
        let full = self.segment.as_ref().is_some_and(|segment| segment.bytes() >= SEGMENT_BYTES);
        let mut segment = match self.segment.take() {
            Some(segment) if !full => segment,
            _ => {
                let segment = Segment::create(&self.folder, &self.vault.ring(), place)?;
                let settled = match self.is_kept {
                    true => sync_directory(&self.folder),
                    false => trim(&self.folder, &[(place.history, place.seq)])
                        .and_then(|_| sync_directory(&self.folder)),
                };
                settled.map_err(|error| StoreError::from_disk(&error))?;
                segment
            }
        };
        let seq = place.seq + 1;
        let tag = segment.append(seq, at, writes)?;
        self.segment = Some(segment);
        Ok(Place { seq, tag, ..*place })
    }

    /// The next group begins a new segment, sealed by the newest data key.
    pub(super) fn turn(&mut self) {
        self.segment = None;
    }
}

/// The name of a segment.
fn name(history: u64, first: u64) -> String {
    format!("{history:016x}-{first:020}.journal")
}

/// All segments in a folder, as history, first group and path, in order. No folder is no segments.
fn segments(folder: &Path) -> io::Result<Vec<(u64, u64, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let stem = path.extension().filter(|ext| *ext == "journal").and(path.file_stem());
        let parts = stem.and_then(|stem| stem.to_str()?.split_once('-'));
        if let Some((history, first)) = parts
            && let (Ok(history), Ok(first)) = (u64::from_str_radix(history, 16), first.parse())
        {
            found.push((history, first, path.clone()));
        }
    }
    found.sort();
    Ok(found)
}
