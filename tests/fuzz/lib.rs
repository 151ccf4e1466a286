//! What the targets do, shared with the plain tests.

#[path = "../src/fuzzing.rs"]
pub mod fuzzing;
