//! Frames on a stream (RFC 4571): two bytes of length, then a datagram. Bytes only, no sockets.
//!
//! Place: between a connection's reads and the engine, and before a connection's writes. Promises: memory for one frame; a frame may
//! come in pieces cut anywhere; a frame of length 0 is skipped and counted; a longer one than allowed ends the connection, before
//! any of it is stored. Nothing the network sends can panic it.

/// Bytes of a frame's length.
pub const LENGTH_BYTES: usize = 2;

/// A frame is longer than this connection may send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameTooLong;

/// The length field of a datagram of `bytes`; `None` when it does not fit.
#[must_use]
pub fn length_field(bytes: usize) -> Option<[u8; LENGTH_BYTES]> {
    u16::try_from(bytes).ok().map(u16::to_be_bytes)
}

/// Where the first frame of `bytes` lies, if it is all there.
///
/// # Errors
/// [`FrameTooLong`], as soon as the length says so.
pub fn first(bytes: &[u8], bytes_max: usize) -> Result<Option<std::ops::Range<usize>>, FrameTooLong> {
    let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes(*length));
    if length > bytes_max {
        return Err(FrameTooLong);
    }
    let frame = LENGTH_BYTES..LENGTH_BYTES + length;
    Ok((bytes.len() >= frame.end).then_some(frame))
}

/// The beginning of a frame whose rest has not come yet.
#[derive(Default, Debug)]
pub struct Reassembly {
    held: Vec<u8>,
}

impl Reassembly {
    /// With bytes that were read before.
    #[must_use]
    pub const fn with(held: Vec<u8>) -> Self {
        Self { held }
    }

    /// Moves what is held to the front of `buffer` and answers its length; read behind it, then call [`Reassembly::take`].
    pub fn begin(&mut self, buffer: &mut [u8]) -> usize {
        let count = self.held.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.held[..count]);
        self.held.clear();
        count
    }

    /// Gives every whole frame of `filled` to `sink` and holds the rest. Answers how many frames were empty.
    ///
    /// # Errors
    /// [`FrameTooLong`]; the frames before it were given out.
    pub fn take(
        &mut self,
        filled: &mut [u8],
        bytes_max: usize,
        mut sink: impl FnMut(&mut [u8]),
    ) -> Result<u64, FrameTooLong> {
        let mut rest = filled;
        let mut empty = 0;
        while let Some(frame) = first(rest, bytes_max)? {
            let (whole, after) = rest.split_at_mut(frame.end);
            match &mut whole[frame.start..] {
                [] => empty += 1,
                datagram => sink(datagram),
            }
            rest = after;
        }
        self.held.extend_from_slice(rest);
        Ok(empty)
    }

    /// Bytes held.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 100;

    fn framed(datagrams: &[&[u8]]) -> Vec<u8> {
        let mut stream = Vec::new();
        for datagram in datagrams {
            stream.extend(length_field(datagram.len()).expect("short"));
            stream.extend_from_slice(datagram);
        }
        stream
    }

    /// Feeds the pieces one by one.
    fn read(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Result<u64, FrameTooLong>, usize) {
        let mut reassembly = Reassembly::default();
        let (mut frames, mut empty) = (Vec::new(), 0);
        for piece in pieces {
            let mut buffer = vec![0; 2 * MAX + 1_000];
            let held = reassembly.begin(&mut buffer);
            buffer[held..held + piece.len()].copy_from_slice(piece);
            let filled = &mut buffer[..held + piece.len()];
            match reassembly.take(filled, MAX, |frame| frames.push(frame.to_vec())) {
                Ok(count) => empty += count,
                Err(error) => return (frames, Err(error), reassembly.held_bytes()),
            }
        }
        (frames, Ok(empty), reassembly.held_bytes())
    }

    #[test]
    fn frames_cut_at_every_byte_come_out_whole() {
        let datagrams: [&[u8]; 4] = [b"one", b"", &[7; MAX], b"four"];
        let stream = framed(&datagrams);
        let whole: Vec<Vec<u8>> = vec![b"one".to_vec(), vec![7; MAX], b"four".to_vec()];
        for cut in 0..=stream.len() {
            let (first, second) = stream.split_at(cut);
            assert_eq!(read(&[first, second]), (whole.clone(), Ok(1), 0), "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(read(&bytes), (whole, Ok(1), 0));
    }

    #[test]
    fn a_length_with_nothing_behind_it_is_refused_or_waits() {
        assert_eq!(read(&[&[0xff, 0xff]]), (vec![], Err(FrameTooLong), 0));
        assert_eq!(read(&[&[0, MAX as u8]]), (vec![], Ok(0), 2));
        assert_eq!(read(&[&[0]]), (vec![], Ok(0), 1));
        let mut late = framed(&[b"fine"]);
        late.extend([0, MAX as u8 + 1]);
        assert_eq!(read(&[&late]), (vec![b"fine".to_vec()], Err(FrameTooLong), 0));
    }

    #[test]
    fn a_datagram_of_any_size_has_a_length_field_or_none() {
        assert_eq!(length_field(0), Some([0, 0]));
        assert_eq!(length_field(65_535), Some([0xff, 0xff]));
        assert_eq!(length_field(65_536), None);
    }
}
