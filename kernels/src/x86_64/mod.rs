//! Kernels for x86-64. The only place of this crate with `unsafe`, of two kinds: a vector load or store at a reference, which
//! is in bounds by its type, and the step into code compiled for CPU features, which needs a token that only `detect` makes.

mod aes;
mod ctr;
mod gcm;
mod ghash;
mod sha1;
mod vector;

pub(crate) use aes::Aesni;
pub(crate) use ctr::AesniCtr;
pub(crate) use gcm::{AesniGcm128, AesniGcm256};
pub(crate) use sha1::Shani;
