//! The text of one packet as kernels take it: one buffer that is transformed in place up to `filled`, and filled from `rest`
//! beyond it. This one shape is "in place" (`rest` empty), "copy fused" (`filled` zero) and "rewritten prefix, shared body"
//! (the first group of blocks is put together in the buffer, everything after it is read where the body lies).

/// Kernels work in groups of this many bytes, so a split between `filled` and `rest` on this grid never cuts a group.
pub(crate) const GROUP_BYTES: usize = 512;

/// A text's part to transform in place, then source and destination of the part to copy; the last two are equally long.
pub(crate) type Parts<'a> = (&'a mut [u8], &'a [u8], &'a mut [u8]);

/// See the module header. Invariants: `filled` is a multiple of [`GROUP_BYTES`] or `rest` is empty;
/// `buffer.len() == filled + rest.len()`.
pub(crate) struct Text<'a> {
    buffer: &'a mut [u8],
    filled: usize,
    rest: &'a [u8],
}

impl<'a> Text<'a> {
    /// The whole text lies in `buffer` already.
    #[inline]
    pub(crate) fn in_place(buffer: &'a mut [u8]) -> Self {
        let filled = buffer.len();
        Self { buffer, filled, rest: &[] }
    }

    /// `prefix || body` goes to `buffer`, which is exactly that long. Copies at most `GROUP_BYTES - 1` bytes of the body.
    ///
    /// # Panics
    /// When `buffer` is not as long as prefix and body together.
    #[inline]
    pub(crate) fn apart(prefix: &[u8], body: &'a [u8], buffer: &'a mut [u8]) -> Self {
        assert_eq!(buffer.len(), prefix.len() + body.len(), "the buffer takes prefix and body");
        if prefix.is_empty() {
            return Self { buffer, filled: 0, rest: body };
        }
        let filled = prefix.len().next_multiple_of(GROUP_BYTES).min(buffer.len());
        let (head, rest) = body.split_at(filled - prefix.len());
        let (for_prefix, for_head) = buffer[..filled].split_at_mut(prefix.len());
        for_prefix.copy_from_slice(prefix);
        for_head.copy_from_slice(head);
        Self { buffer, filled, rest }
    }

    /// Bytes of text.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Copies what is still outside into the buffer: for kernels that are not worth fusing.
    pub(crate) fn gathered(self) -> &'a mut [u8] {
        self.buffer[self.filled..].copy_from_slice(self.rest);
        self.buffer
    }

    /// The parts of it.
    #[inline]
    pub(crate) fn parts(self) -> Parts<'a> {
        let (filled, room) = self.buffer.split_at_mut(self.filled);
        (filled, self.rest, room)
    }
}

#[cfg(test)]
mod tests {
    use super::{GROUP_BYTES, Text};

    #[test]
    fn a_split_never_cuts_a_group_and_loses_no_byte() {
        let source: Vec<u8> = (0..700).map(|i| i as u8).collect();
        for total in [0, 1, 15, 127, 128, 129, 511, 512, 513, 700] {
            for prefix in (0..=total).filter(|prefix| prefix % 7 < 2) {
                let mut buffer = vec![0xee; total];
                let (before, body) = source[..total].split_at(prefix);
                let text = Text::apart(before, body, &mut buffer);
                assert!(text.filled.is_multiple_of(GROUP_BYTES) || text.rest.is_empty());
                let (filled, rest, room) = text.parts();
                assert_eq!(rest.len(), room.len());
                assert_eq!([&*filled, rest].concat(), &source[..total], "{prefix} of {total}");
                assert_eq!(Text::apart(before, body, &mut buffer).gathered(), &source[..total]);
            }
        }
    }
}
