//! Which segments are kept: those that lead on from a base somebody still has.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::segments;

/// A base: a history and the group it holds everything up to.
pub(in crate::store) type Kept = (u64, u64);

/// Removes segments that no base of `kept` needs; says how many. The last segment of a history that has a base always stays.
pub(in crate::store) fn trim(folder: &Path, kept: &[Kept]) -> io::Result<usize> {
    let mut histories: BTreeMap<u64, Vec<(u64, PathBuf)>> = BTreeMap::new();
    for (history, first, path) in segments(folder)? {
        histories.entry(history).or_default().push((first, path));
    }
    let mut removed = 0;
    for (history, files) in histories {
        let oldest = kept.iter().filter(|base| base.0 == history).map(|base| base.1).min();
        for (at, (_, path)) in files.iter().enumerate() {
            let next = files.get(at + 1).map(|(first, _)| *first);
            // A segment ends right before the next one begins.
            let is_needed = oldest.is_some_and(|oldest| next.is_none_or(|next| next > oldest + 1));
            if !is_needed {
                fs::remove_file(path)?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::scratch;
    use crate::store::journal::name;

    #[test]
    fn segments_go_when_no_base_leads_to_them() {
        let folder = scratch("retention");
        for (history, first) in [(1, 1), (1, 10), (1, 20), (2, 1)] {
            fs::write(folder.join(name(history, first)), b"").expect("writes");
        }
        let left = |kept: &[Kept]| {
            trim(&folder, kept).expect("trims");
            segments(&folder).expect("lists").into_iter().map(|(h, f, _)| (h, f)).collect::<Vec<_>>()
        };
        assert_eq!(left(&[(1, 0), (2, 0)]), [(1, 1), (1, 10), (1, 20), (2, 1)]);
        assert_eq!(left(&[(1, 8), (2, 0)]), [(1, 1), (1, 10), (1, 20), (2, 1)]);
        assert_eq!(left(&[(1, 9), (1, 30)]), [(1, 10), (1, 20)]);
        assert_eq!(left(&[(1, 30)]), [(1, 20)]);
        fs::remove_dir_all(folder).expect("removes");
    }
}
