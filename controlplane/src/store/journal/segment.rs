//! One file of the journal: its header, its key, its frames.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rand;

use super::frame::{self, Frame, Write};
use super::{FRAME_BYTES_MAX, name};
use crate::store::StoreError;
use crate::store::keyring::{KeyId, Keyring};
use crate::store::place::Place;
use crate::store::seal::TAG_BYTES;

const MAGIC: &[u8; 8] = b"kaigijr1";
const SALT_BYTES: usize = 16;
const HEAD_BYTES: usize = MAGIC.len() + 4 + SALT_BYTES + 8 + 8 + TAG_BYTES;

/// A segment that is written.
pub(super) struct Segment {
    path: PathBuf,
    file: File,
    key: LessSafeKey,
    head: Vec<u8>,
    frames: u64,
    bytes: u64,
}

impl Segment {
    /// A new segment whose first group follows `place`.
    pub(super) fn create(folder: &Path, ring: &Keyring, place: &Place) -> Result<Self, StoreError> {
        let mut salt = [0; SALT_BYTES];
        rand::fill(&mut salt).map_err(|_| StoreError::NoRandomness)?;
        let (id, _) = ring.newest().ok_or(StoreError::NoRandomness)?;
        let key = key(ring, id, &salt).ok_or(StoreError::NoRandomness)?;
        let first = place.seq + 1;
        let head = [
            MAGIC.as_slice(),
            &id.to_be_bytes(),
            &salt,
            &place.history.to_be_bytes(),
            &first.to_be_bytes(),
            &place.tag,
        ]
        .concat();
        let path = folder.join(name(place.history, first));
        let made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        let mut file = made.map_err(|error| StoreError::from_disk(&error))?;
        if let Err(error) = file.write_all(&head) {
            let _ = fs::remove_file(&path);
            return Err(StoreError::from_disk(&error));
        }
        Ok(Self { path, file, key, head, frames: 0, bytes: HEAD_BYTES as u64 })
    }

    /// Appends a group and syncs; answers its tag. After an error the segment must not be used.
    pub(super) fn append(
        &mut self,
        seq: u64,
        at: i64,
        writes: &[Write],
    ) -> Result<[u8; TAG_BYTES], StoreError> {
        let mut sealed = frame::encode(seq, at, writes).ok_or(StoreError::TooLarge)?;
        self.key
            .seal_in_place_append_tag(nonce(self.frames), Aad::from(&self.head), &mut sealed)
            .map_err(|_| StoreError::TooLarge)?;
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&sealed[sealed.len() - TAG_BYTES..]);
        let length = u32::try_from(sealed.len()).map_err(|_| StoreError::TooLarge)?;
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.append(&mut sealed);
        if let Err(error) = self.file.write_all(&bytes) {
            return Err(self.take_back(&error));
        }
        // What a failed sync left on the disk is unknown, whatever its reason.
        self.file.sync_data().map_err(|error| StoreError::Failed { reason: error.to_string().into() })?;
        self.frames += 1;
        self.bytes += bytes.len() as u64;
        Ok(tag)
    }

    /// Length of the file.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Undoes a write that did not fit.
    fn take_back(&self, error: &io::Error) -> StoreError {
        let undone = if self.frames == 0 {
            fs::remove_file(&self.path)
        } else {
            self.file.set_len(self.bytes).and_then(|()| self.file.sync_all())
        };
        match undone {
            Ok(()) => StoreError::from_disk(error),
            Err(also) => StoreError::Failed { reason: format!("{error}, then {also}").into() },
        }
    }
}

/// What a segment's file holds.
pub(super) struct Contents {
    /// The tag of the group before its first.
    pub(super) before: [u8; TAG_BYTES],
    /// Its groups and their tags, up to the first that does not open.
    pub(super) frames: Vec<(Frame, [u8; TAG_BYTES])>,
    /// Where the groups end.
    pub(super) whole_bytes: u64,
    /// Whether anything follows that is no group.
    pub(super) torn: bool,
}

/// Reads a segment with the first of `rings` that knows its key; `None` when its header is not one of `history` and `first`.
pub(super) fn read(
    path: &Path,
    rings: &[&Keyring],
    history: u64,
    first: u64,
) -> io::Result<Option<Contents>> {
    let bytes = fs::read(path)?;
    Ok(parse(&bytes, rings, history, first))
}

fn parse(bytes: &[u8], rings: &[&Keyring], history: u64, first: u64) -> Option<Contents> {
    let (head, mut rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let id = KeyId::from_be_bytes(head[8..12].try_into().ok()?);
    let salt = &head[12..12 + SALT_BYTES];
    let named = [history.to_be_bytes(), first.to_be_bytes()].concat();
    if !head.starts_with(MAGIC) || head[28..44] != named {
        return None;
    }
    let key = rings.iter().find_map(|ring| key(ring, id, salt))?;
    let mut frames = Vec::new();
    while let Some((frame, tag, after)) = next(rest, head, &key, frames.len() as u64) {
        if frame.seq != first + frames.len() as u64 {
            break;
        }
        frames.push((frame, tag));
        rest = after;
    }
    let whole_bytes = (bytes.len() - rest.len()) as u64;
    Some(Contents { before: head[44..].try_into().ok()?, frames, whole_bytes, torn: !rest.is_empty() })
}

fn next<'a>(
    rest: &'a [u8],
    head: &[u8],
    key: &LessSafeKey,
    number: u64,
) -> Option<(Frame, [u8; TAG_BYTES], &'a [u8])> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    if length > FRAME_BYTES_MAX {
        return None;
    }
    let (sealed, after) = after.split_at_checked(length)?;
    let tag = *sealed.last_chunk::<TAG_BYTES>()?;
    let mut text = sealed.to_vec();
    let opened = key.open_in_place(nonce(number), Aad::from(head), &mut text).ok()?;
    Some((frame::decode(opened)?, tag, after))
}

fn key(ring: &Keyring, id: KeyId, salt: &[u8]) -> Option<LessSafeKey> {
    let key = ring.derived(id, salt, b"kaigi journal 1")?;
    Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_slice()).ok()?))
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}
