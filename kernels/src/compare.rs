//! Constant-time comparison of tags.
//! Promise: time depends on the lengths alone, so a forger learns nothing from how long a refusal took.

use std::hint::black_box;

/// True when `a` and `b` are equal. Lengths are public: unequal lengths answer at once.
#[inline]
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let difference = a.iter().zip(b).fold(0u8, |difference, (x, y)| difference | (x ^ y));
    // Keeps the optimiser from turning the fold into an early exit.
    black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::equal;

    #[test]
    fn only_identical_bytes_are_equal() {
        assert!(equal(b"", b""));
        assert!(equal(b"0123456789", b"0123456789"));
        assert!(!equal(b"0123456789", b"012345678"));
        for bit in 0..80 {
            let mut other = *b"0123456789";
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!equal(b"0123456789", &other), "bit {bit}");
        }
    }
}
