//! Wire formats: bytes to types and back, with no memory of the past.
