//! Redundant audio (RFC 2198): each packet repeats the frame before it, as Chromium does with `red/48000/2`.
//!
//! Path: between `source` and the wire, and back in `receiver`. Promises: reading takes any input.
//! Not here: which frames were missed (`receiver::playout`).

/// Bytes in front of a redundant block, and in front of the primary one.
const BLOCK_HEADER_BYTES: usize = 4;
const PRIMARY_HEADER_BYTES: usize = 1;
/// The timestamp offset is 14 bits.
const OFFSET_MAX: u32 = 0x3fff;

/// Bytes of a packet whose frames have `frame_bytes`.
pub(super) const fn payload_bytes(frame_bytes: usize, redundant: bool) -> usize {
    if redundant {
        BLOCK_HEADER_BYTES + PRIMARY_HEADER_BYTES + 2 * frame_bytes
    } else {
        PRIMARY_HEADER_BYTES + frame_bytes
    }
}

/// Whether a frame this much older than the packet's can be repeated in it.
pub(super) const fn is_repeatable(offset: u32) -> bool {
    offset != 0 && offset <= OFFSET_MAX
}

/// Writes the headers; answers where the redundant block (when there is an offset) and the primary block lie.
pub(super) fn split(offset: Option<u32>, pt: u8, payload: &mut [u8]) -> (&mut [u8], &mut [u8]) {
    let Some(offset) = offset else {
        payload[0] = pt & 0x7f;
        return (&mut [], &mut payload[PRIMARY_HEADER_BYTES..]);
    };
    let frame_bytes = (payload.len() - BLOCK_HEADER_BYTES - PRIMARY_HEADER_BYTES) / 2;
    let head = (offset & OFFSET_MAX) << 10 | frame_bytes as u32 & 0x3ff;
    payload[0] = 0x80 | pt & 0x7f;
    payload[1..4].copy_from_slice(&head.to_be_bytes()[1..]);
    payload[4] = pt & 0x7f;
    payload[BLOCK_HEADER_BYTES + PRIMARY_HEADER_BYTES..].split_at_mut(frame_bytes)
}

/// A redundant block: how much older than the packet it is, and its bytes.
type Redundant<'p> = (u32, &'p [u8]);

/// The blocks of a payload: the redundant ones, newest last, then the primary one.
pub(super) fn blocks(payload: &[u8]) -> Option<(Vec<Redundant<'_>>, &[u8])> {
    let mut headers = Vec::new();
    let mut at = 0;
    while payload.get(at)? & 0x80 != 0 {
        let head = u32::from_be_bytes(*payload.get(at..)?.first_chunk()?);
        headers.push((head >> 10 & OFFSET_MAX, (head & 0x3ff) as usize));
        at += BLOCK_HEADER_BYTES;
    }
    let mut rest = payload.get(at + PRIMARY_HEADER_BYTES..)?;
    let mut redundant = Vec::new();
    for (offset, bytes) in headers {
        let (block, after) = rest.split_at_checked(bytes)?;
        redundant.push((offset, block));
        rest = after;
    }
    Some((redundant, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_as_they_were_written() {
        for frame_bytes in [1, 80, 1_000] {
            let mut payload = vec![0; payload_bytes(frame_bytes, true)];
            let (redundant, primary) = split(Some(960), 111, &mut payload);
            redundant.fill(1);
            primary.fill(2);
            let (before, now) = blocks(&payload).expect("whole");
            assert_eq!(before, [(960, &vec![1; frame_bytes][..])]);
            assert_eq!(now, vec![2; frame_bytes]);
            let mut payload = vec![0; payload_bytes(frame_bytes, false)];
            let (redundant, primary) = split(None, 111, &mut payload);
            assert!(redundant.is_empty() && primary.len() == frame_bytes);
            assert_eq!(
                blocks(&payload).map(|(before, now)| (before.len(), now.len())),
                Some((0, frame_bytes))
            );
        }
    }

    #[test]
    fn a_cut_packet_has_no_blocks() {
        let mut payload = vec![0; payload_bytes(20, true)];
        split(Some(960), 111, &mut payload);
        for cut in 0..25 {
            assert!(blocks(&payload[..cut]).is_none(), "cut at {cut}");
        }
    }
}
