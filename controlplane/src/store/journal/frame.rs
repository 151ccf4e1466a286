//! One group of writes as bytes.

/// Key and value of one write; `None` removes the key.
pub(in crate::store) type Write = (Vec<u8>, Option<Vec<u8>>);

/// Stands for the value's length where the key is removed.
const REMOVED: u32 = u32::MAX;

/// One group of writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::store) struct Frame {
    /// Its number in the history.
    pub(in crate::store) seq: u64,
    /// When it was committed, milliseconds since 1970.
    pub(in crate::store) at: i64,
    /// What it wrote, in order.
    pub(in crate::store) writes: Vec<Write>,
}

/// The bytes of a group. Keys and values are as short as the store's limits, so lengths fit.
pub(super) fn encode(seq: u64, at: i64, writes: &[Write]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(1_024);
    bytes.extend_from_slice(&seq.to_be_bytes());
    bytes.extend_from_slice(&at.to_be_bytes());
    for (key, value) in writes {
        bytes.extend_from_slice(&u16::try_from(key.len()).ok()?.to_be_bytes());
        bytes.extend_from_slice(key);
        match value {
            Some(value) => {
                bytes.extend_from_slice(&u32::try_from(value.len()).ok()?.to_be_bytes());
                bytes.extend_from_slice(value);
            }
            None => bytes.extend_from_slice(&REMOVED.to_be_bytes()),
        }
    }
    Some(bytes)
}

/// Reads a group back.
pub(super) fn decode(bytes: &[u8]) -> Option<Frame> {
    let (seq, rest) = bytes.split_first_chunk::<8>()?;
    let (at, mut rest) = rest.split_first_chunk::<8>()?;
    let mut writes = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (key, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let (length, after) = after.split_first_chunk::<4>()?;
        let (value, after) = match u32::from_be_bytes(*length) {
            REMOVED => (None, after),
            length => {
                let (value, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
                (Some(value.to_vec()), after)
            }
        };
        writes.push((key.to_vec(), value));
        rest = after;
    }
    Some(Frame { seq: u64::from_be_bytes(*seq), at: i64::from_be_bytes(*at), writes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_reads_back_and_a_shorter_one_is_none_or_another() {
        let writes =
            vec![(b"a".to_vec(), Some(b"1".to_vec())), (b"b".to_vec(), None), (vec![], Some(vec![]))];
        let frame = Frame { seq: 3, at: -4, writes };
        let bytes = encode(frame.seq, frame.at, &frame.writes).expect("fits");
        assert_eq!(decode(&bytes), Some(frame.clone()));
        for cut in 0..bytes.len() {
            assert_ne!(decode(&bytes[..cut]), Some(frame.clone()), "cut at {cut}");
        }
    }
}
