//! Reading the journal back, from a place on, to the end or to a moment.

use std::io;
use std::path::{Path, PathBuf};

use super::frame::Frame;
use super::segment::{self, Contents};
use super::segments;
use crate::store::StoreError;
use crate::store::keyring::Keyring;
use crate::store::place::Place;

/// How far reading came.
#[derive(Debug)]
pub(in crate::store) struct Replayed {
    /// A tail that is no group, and where it begins: what a crash leaves.
    pub(in crate::store) torn: Option<(PathBuf, u64)>,
    /// Whether the journal ends before the place that reading should have begun at.
    pub(in crate::store) behind: bool,
}

/// Hands the groups after `from` to `visit`, in order, each with the place after it, up to and with those of the moment `until` (milliseconds since 1970).
///
/// # Errors
/// `Journal` when groups are missing or were changed, except for a torn tail; what `visit` says.
pub(in crate::store) fn replay(
    folder: &Path,
    rings: &[&Keyring],
    from: &Place,
    until: Option<i64>,
    visit: &mut dyn FnMut(Frame, Place) -> Result<(), StoreError>,
) -> Result<Replayed, StoreError> {
    let damaged =
        |reason: &str| StoreError::Journal { path: folder.to_owned(), reason: reason.to_owned().into() };
    let unreadable = |error: io::Error| damaged(&error.to_string());
    let mut files: Vec<(u64, PathBuf)> = segments(folder)
        .map_err(unreadable)?
        .into_iter()
        .filter_map(|(history, first, path)| (history == from.history).then_some((first, path)))
        .collect();
    // The segment with the group `from` itself, whose tag is compared, or the one right after it.
    let start = files.partition_point(|(first, _)| *first <= from.seq).saturating_sub(1);
    files.drain(..start);
    let mut place = *from;
    let mut known = from.seq;
    let count = files.len();
    for (at, (first, path)) in files.into_iter().enumerate() {
        let is_last = at + 1 == count;
        let begins = if at == 0 && first <= from.seq { None } else { Some(known + 1) };
        if begins.is_some_and(|begins| begins != first) {
            return Err(damaged(&format!("groups from {} to {} are missing", known + 1, first - 1)));
        }
        let contents = segment::read(&path, rings, from.history, first).map_err(unreadable)?;
        let Some(Contents { before, frames, whole_bytes, torn }) = contents else {
            if is_last && first > from.seq {
                return Ok(Replayed { torn: Some((path, 0)), behind: false });
            }
            return Err(damaged(&format!("{} does not open", path.display())));
        };
        if begins.is_some() && before != place.tag {
            return Err(damaged(&format!("{} does not follow what is before it", path.display())));
        }
        known = first - 1;
        for (frame, tag) in frames {
            known = frame.seq;
            if frame.seq < from.seq {
                continue;
            }
            if frame.seq == from.seq {
                if tag != from.tag {
                    return Err(damaged(&format!("group {} is another than the store's", frame.seq)));
                }
                continue;
            }
            if until.is_some_and(|until| frame.at > until) {
                return Ok(Replayed { torn: None, behind: false });
            }
            place = Place { seq: frame.seq, tag, ..place };
            visit(frame, place)?;
        }
        if torn && !is_last {
            return Err(damaged(&format!("{} is damaged at byte {whole_bytes}", path.display())));
        }
        if is_last {
            let torn = torn.then_some((path, whole_bytes));
            return Ok(Replayed { torn, behind: known < from.seq });
        }
    }
    Ok(Replayed { torn: None, behind: from.seq > 0 })
}

/// Whether any history has groups in a folder.
pub(in crate::store) fn begins_in(folder: &Path) -> io::Result<bool> {
    Ok(!segments(folder)?.is_empty())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::*;
    use crate::store::contract::scratch;
    use crate::store::journal::{Journal, name};
    use crate::store::master::KeySource;
    use crate::store::vault::Vault;

    fn vault(data: &Path) -> Arc<Vault> {
        Arc::new(Vault::open(data, &KeySource::beside(data), &[], false).expect("opens"))
    }

    fn numbers(
        data: &Path,
        from: &Place,
        until: Option<i64>,
    ) -> Result<(Vec<u64>, Place, Replayed), StoreError> {
        let ring = vault(data).ring();
        let (mut seen, mut last) = (Vec::new(), *from);
        let replayed = replay(&data.join("journal"), &[&ring], from, until, &mut |frame, place| {
            seen.push(frame.seq);
            last = place;
            Ok(())
        })?;
        Ok((seen, last, replayed))
    }

    /// Groups 1 to 6 in two segments, at the moments 10 to 60; the places after each, the first before any.
    fn written(data: &Path) -> Vec<Place> {
        let mut places = vec![Place::begin().expect("random")];
        let mut journal = Journal::open(&data.join("journal"), vault(data), true).expect("opens");
        for n in 1u8..=6 {
            let writes = [(vec![n], (n % 2 == 0).then(|| vec![n; 100]))];
            let place =
                journal.append(&places[usize::from(n) - 1], i64::from(n) * 10, &writes).expect("appends");
            places.push(place);
            if n == 3 {
                journal.turn();
            }
        }
        places
    }

    #[test]
    fn groups_come_back_in_order_from_any_place_to_any_moment() {
        let data = scratch("replay");
        let places = written(&data);
        for (after, place) in places.iter().enumerate() {
            let (seen, last, replayed) = numbers(&data, place, None).expect("reads");
            assert_eq!(seen, (after as u64 + 1..=6).collect::<Vec<_>>());
            assert_eq!((last, replayed.behind), (places[6], false));
        }
        assert_eq!(numbers(&data, &places[0], Some(9)).expect("reads").0, [0u64; 0]);
        assert_eq!(numbers(&data, &places[0], Some(40)).expect("reads").0, [1, 2, 3, 4]);
        assert_eq!(numbers(&data, &places[0], Some(49)).expect("reads").1, places[4]);
        fs::remove_dir_all(data).expect("removes");
    }

    #[test]
    fn a_tail_torn_at_any_byte_costs_only_the_group_it_is_in() {
        let data = scratch("torn");
        let places = written(&data);
        let path = data.join("journal").join(name(places[0].history, 4));
        let whole = fs::read(&path).expect("reads");
        let mut kept_before = 0;
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).expect("writes");
            let (seen, last, _) = numbers(&data, &places[0], None).expect("a torn tail is no damage");
            assert!(seen.len() >= kept_before && (3..6).contains(&seen.len()), "cut at {cut}: {seen:?}");
            assert_eq!(last, places[seen.len()]);
            kept_before = seen.len();
        }
        fs::remove_dir_all(data).expect("removes");
    }

    #[test]
    fn a_group_that_was_changed_or_a_segment_that_is_missing_is_noticed() {
        let data = scratch("changed");
        let places = written(&data);
        let first = data.join("journal").join(name(places[0].history, 1));
        let whole = fs::read(&first).expect("reads");
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&first, changed).expect("writes");
            let refused = numbers(&data, &places[0], None);
            assert!(matches!(refused, Err(StoreError::Journal { .. })), "byte {at}: {refused:?}");
        }
        fs::remove_file(&first).expect("removes");
        assert!(matches!(numbers(&data, &places[0], None), Err(StoreError::Journal { .. })));
        fs::write(&first, &whole).expect("writes");
        fs::remove_file(data.join("journal").join(name(places[0].history, 4))).expect("removes");
        let (_, _, replayed) = numbers(&data, &places[5], None).expect("reads");
        assert!(replayed.behind, "the store knows more than the journal");
        fs::remove_dir_all(data).expect("removes");
    }
}
