//! Kernels for x86-64: AES-GCM and AES-CTR over any vector width (`Vector`), SHA-1 with the SHA instructions or in lanes of
//! AVX2 or AVX-512. The only place of
//! this crate with `unsafe`, of two kinds: an instruction behind a token that proves the CPU has it, and a load or store at a
//! slice whose length was checked.
//!
//! The kernels (`gcm`, `ctr`, `ghash`, `aes`) are safe code, generic over a token and inlined whole into entries compiled for
//! the token's CPU features; only there do the instructions become instructions.

mod aes;
mod aesni;
mod ctr;
mod gcm;
mod ghash;
mod sha1;
mod sha1_avx2;
mod sha1_avx512;
mod sha1_lanes;
mod vaes;
mod vaes512;
mod vector;

pub(crate) use aesni::Aesni;
pub(crate) use ctr::Ctr;
pub(crate) use gcm::Gcm;
pub(crate) use sha1::Shani;
pub(crate) use sha1_avx2::Avx2;
pub(crate) use sha1_avx512::Avx512;
pub(crate) use vaes::Vaes;
pub(crate) use vaes512::Vaes512;
