//! Which kernels run: chosen once at boot by what the CPU has, or forced by name. A [`Suite`] builds keys, and each key
//! carries its kernel, so nothing below asks again.

use crate::scalar::ScalarSha1;
#[cfg(target_arch = "x86_64")]
use crate::x86_64::{Aesni, Avx2, Avx512, Shani, Vaes, Vaes512};
use std::fmt;

/// A set of kernels that this CPU can run.
#[derive(Clone, Copy)]
pub struct Suite {
    name: &'static str,
    pub(crate) aes: AesUnit,
    pub(crate) sha1: Sha1Unit,
}

/// What AES and GHASH run on; a value of a hardware variant proves that the CPU has it.
#[derive(Clone, Copy)]
pub(crate) enum AesUnit {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Aesni(Aesni),
    #[cfg(target_arch = "x86_64")]
    Vaes(Vaes),
    #[cfg(target_arch = "x86_64")]
    Vaes512(Vaes512),
}

/// What SHA-1 runs on; a value of a hardware variant proves that the CPU has it.
#[derive(Clone, Copy)]
pub(crate) enum Sha1Unit {
    Scalar(ScalarSha1),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Shani(Shani),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl Suite {
    /// The fastest suite of this CPU.
    pub fn detect() -> Self {
        Self::available().last().unwrap_or(Self::scalar())
    }

    /// The reference, which every CPU runs.
    pub const fn scalar() -> Self {
        Self { name: "scalar", aes: AesUnit::Scalar, sha1: Sha1Unit::Scalar(ScalarSha1) }
    }

    /// Every suite of this CPU, the reference first and the fastest last.
    pub fn available() -> impl Iterator<Item = Self> {
        std::iter::once(Self::scalar()).chain(hardware())
    }

    /// The suite called `name`, if this CPU can run it.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::available().find(|suite| suite.name == name)
    }

    /// What the suite is called in options, metrics and logs: its units, as in `aesni+shani`.
    pub const fn name(self) -> &'static str {
        self.name
    }
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Suite({})", self.name)
    }
}

#[cfg(target_arch = "x86_64")]
fn hardware() -> impl Iterator<Item = Suite> {
    let (aesni, vaes) = (Aesni::detect().map(AesUnit::Aesni), Vaes::detect().map(AesUnit::Vaes));
    let vaes512 = Vaes512::detect().map(AesUnit::Vaes512);
    let scalar = Some(Sha1Unit::Scalar(ScalarSha1));
    let (avx2, shani) = (Avx2::detect().map(Sha1Unit::Avx2), Shani::detect().map(Sha1Unit::Shani));
    let avx512 = Avx512::detect().map(Sha1Unit::Avx512);
    [
        ("aesni", aesni, scalar),
        ("aesni+avx2", aesni, avx2),
        ("aesni+shani", aesni, shani),
        ("vaes+avx2", vaes, avx2),
        ("vaes+shani", vaes, shani),
        ("vaes512+avx2", vaes512, avx2),
        ("vaes512+shani", vaes512, shani),
        ("vaes512+avx512", vaes512, avx512),
    ]
    .into_iter()
    .filter_map(|(name, aes, sha1)| Some(Suite { name, aes: aes?, sha1: sha1? }))
}

#[cfg(not(target_arch = "x86_64"))]
fn hardware() -> impl Iterator<Item = Suite> {
    std::iter::empty()
}

#[cfg(test)]
mod tests {
    use super::Suite;

    #[test]
    fn every_suite_is_found_by_its_own_name_and_detect_takes_the_last() {
        let names: Vec<_> = Suite::available().map(Suite::name).collect();
        assert_eq!(names[0], "scalar");
        for name in &names {
            assert_eq!(Suite::by_name(name).map(Suite::name), Some(*name));
        }
        assert_eq!(Suite::by_name("no such kernel").map(Suite::name), None);
        assert_eq!(Some(&Suite::detect().name()), names.last());
    }
}
