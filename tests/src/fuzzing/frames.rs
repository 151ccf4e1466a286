//! Frames on a TCP stream: however the stream is cut, the same frames come out, and never more is held than one frame.

use dataplane::io::tcp::frame::{FrameTooLong, LENGTH_BYTES, Reassembly, first};

/// Longest frame taken.
const FRAME_MAX: usize = 300;
/// Room for one read behind what is held.
const READ_MAX: usize = 256;

/// The first byte seeds the sizes of the reads, the rest is the stream.
pub fn frames(data: &[u8]) {
    let Some((&seed, stream)) = data.split_first() else { return };
    let whole = whole(stream);
    let mut reassembly = Reassembly::default();
    let (mut frames, mut empty) = (Vec::new(), 0);
    let mut step = usize::from(seed);
    let mut rest = stream;
    while !rest.is_empty() {
        step = step.wrapping_mul(37).wrapping_add(11) % READ_MAX;
        let (piece, after) = rest.split_at((step + 1).min(rest.len()));
        rest = after;
        let mut buffer = [0; FRAME_MAX + LENGTH_BYTES + READ_MAX];
        let held = reassembly.begin(&mut buffer);
        assert!(held < FRAME_MAX + LENGTH_BYTES, "a whole frame is not held");
        buffer[held..held + piece.len()].copy_from_slice(piece);
        let taken = reassembly.take(&mut buffer[..held + piece.len()], FRAME_MAX, |frame| {
            frames.push(frame.to_vec());
            // The engine decrypts in place.
            frame.fill(0xff);
        });
        match taken {
            Ok(count) => empty += count,
            Err(FrameTooLong) => {
                assert!(whole.too_long && frames == whole.frames, "frames before the lie are given out");
                return;
            }
        }
    }
    assert!(!whole.too_long, "a lie is seen with its second byte");
    assert_eq!((frames, empty, reassembly.held_bytes()), (whole.frames, whole.empty, whole.rest));
}

struct Whole {
    frames: Vec<Vec<u8>>,
    empty: u64,
    rest: usize,
    too_long: bool,
}

/// The stream read at once.
fn whole(stream: &[u8]) -> Whole {
    let mut read = Whole { frames: Vec::new(), empty: 0, rest: stream.len(), too_long: false };
    let mut at = 0;
    loop {
        match first(&stream[at..], FRAME_MAX) {
            Ok(Some(frame)) if frame.is_empty() => read.empty += 1,
            Ok(Some(frame)) => read.frames.push(stream[at..][frame].to_vec()),
            Ok(None) => return read,
            Err(FrameTooLong) => return Whole { too_long: true, ..read },
        }
        at += LENGTH_BYTES + usize::from(u16::from_be_bytes([stream[at], stream[at + 1]]));
        read.rest = stream.len() - at;
    }
}
