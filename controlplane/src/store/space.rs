//! Free space: writes stop before the disk is full, not because it is.
//!
//! sled ends for good when a write of its own fails, so none may be tried that could. A group is 4 MiB in the journal at most
//! and sled writes a few times its bytes; the reserve leaves that many times over, also for others who write meanwhile. A file
//! of ballast is given back when a start finds less than it needs, so that a full disk can still be opened and read.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::StoreError;

/// Free space below which nothing is written.
pub const RESERVE_BYTES: u64 = 64 * 1024 * 1024;
/// What opening a store needs: sled writes segments of 512 KiB, the journal's replay one group at a time.
const OPEN_BYTES: u64 = 16 * 1024 * 1024;
const BALLAST_BYTES: u64 = OPEN_BYTES;
/// Part of the reserve that the ballast may take when it comes back.
const _: () = assert!(BALLAST_BYTES < RESERVE_BYTES);

/// Watches the free space of one data directory.
pub(super) struct Space {
    data: PathBuf,
    ballast: PathBuf,
}

impl Space {
    /// Makes room for opening the store, if it takes the ballast to do so.
    pub(super) fn open(data: &Path) -> Self {
        let space = Self { data: data.to_owned(), ballast: data.join("ballast") };
        if space.free().is_ok_and(|free| free < OPEN_BYTES) {
            let _ = fs::remove_file(&space.ballast);
        }
        space
    }

    /// Whether a group may be written.
    ///
    /// # Errors
    /// `NoSpace` with what is left.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        // A file system that does not say how much is left is left to say so itself.
        match self.free() {
            Ok(free) if free < RESERVE_BYTES => Err(StoreError::NoSpace { free_bytes: free }),
            _ => Ok(()),
        }
    }

    /// Puts the ballast back, if there is none and there is room.
    pub(super) fn load_ballast(&self) {
        let has_room = self.free().is_ok_and(|free| free > RESERVE_BYTES + 2 * BALLAST_BYTES);
        if has_room && !self.ballast.exists() && self.allocate().is_err() {
            let _ = fs::remove_file(&self.ballast);
        }
    }

    fn allocate(&self) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&self.ballast)?;
        fs2::FileExt::allocate(&file, BALLAST_BYTES)
    }

    fn free(&self) -> io::Result<u64> {
        fs2::available_space(&self.data)
    }
}
