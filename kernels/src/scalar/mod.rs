//! The specification: every cipher in plain Rust, constant time by construction (no table, no branch on a secret), written to
//! be read against the standards and never tuned. It is what every other kernel is tested against, and what runs on a CPU
//! without AES instructions.

mod aes;
mod gcm;
mod ghash;
mod sha1;

pub(crate) use aes::Aes;
pub(crate) use gcm::Gcm;
pub(crate) use sha1::ScalarSha1;
