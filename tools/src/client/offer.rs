//! Offering one SRTP profile instead of all: what `kaigi-perf --profile cm` and old clients need.
//!
//! `dimpl` always offers its three profiles in `use_srtp` (RFC 5764 section 4.1.1) and a server takes the one it likes best.
//! Here the ClientHello is narrowed on its way out: profiles that are not wanted become 0x0002 (AES128_CM_SHA1_32), which the
//! server does not speak, so that no length changes. The transcript must say the same, so the crypto provider given to
//! `dimpl` narrows what is hashed and signed in the same way. The handshake stays a real one, checked by both Finished
//! messages. DTLS 1.2 only: 1.3 hashes piecewise.

use std::sync::OnceLock;

use dataplane::base::handoff::SrtpProfile;
use dimpl::crypto::{Buf, CryptoProvider, HashContext, HashProvider, KeyProvider, SigningKey, aws_lc_rs};
use dimpl::{CryptoError, HashAlgorithm, SignatureAlgorithm};

/// The extension as `dimpl` writes it: type 14, 9 bytes, a list of 6: GCM-256, GCM-128, CM-SHA1-80, no MKI.
const OFFERED: [u8; 13] = [0, 14, 0, 9, 0, 6, 0, 8, 0, 7, 0, 1, 0];
/// Offset of the first profile in it.
const PROFILES_AT: usize = 6;
const CM_SHA1_32: u8 = 2;

/// Narrows the `use_srtp` extension in `bytes`, if there is one as `dimpl` writes it.
pub fn narrow(profile: SrtpProfile, bytes: &mut [u8]) {
    let Some(at) = bytes.windows(OFFERED.len()).position(|window| window == OFFERED) else {
        return;
    };
    let wanted = match profile {
        SrtpProfile::Aes128CmSha1_80 => 1,
        SrtpProfile::AeadAes128Gcm => 7,
        SrtpProfile::AeadAes256Gcm => 8,
    };
    for low_byte in [1, 3, 5] {
        let id = &mut bytes[at + PROFILES_AT + low_byte];
        if *id != wanted {
            *id = CM_SHA1_32;
        }
    }
}

/// The library's provider with transcripts narrowed to `profile`.
pub fn provider(profile: SrtpProfile) -> CryptoProvider {
    let narrowed: &'static Narrowed = match profile {
        SrtpProfile::Aes128CmSha1_80 => &Narrowed(SrtpProfile::Aes128CmSha1_80),
        SrtpProfile::AeadAes128Gcm => &Narrowed(SrtpProfile::AeadAes128Gcm),
        SrtpProfile::AeadAes256Gcm => &Narrowed(SrtpProfile::AeadAes256Gcm),
    };
    CryptoProvider { hash_provider: narrowed, key_provider: narrowed, ..plain().clone() }
}

fn plain() -> &'static CryptoProvider {
    static PLAIN: OnceLock<CryptoProvider> = OnceLock::new();
    PLAIN.get_or_init(aws_lc_rs::default_provider)
}

#[derive(Debug)]
struct Narrowed(SrtpProfile);

impl HashProvider for Narrowed {
    fn create_hash(&self, algorithm: HashAlgorithm) -> Box<dyn HashContext> {
        Box::new(NarrowedHash(self.0, plain().hash_provider.create_hash(algorithm)))
    }
}

impl KeyProvider for Narrowed {
    fn load_private_key(&self, key_der: &[u8]) -> Result<Box<dyn SigningKey>, CryptoError> {
        Ok(Box::new(NarrowedKey(self.0, plain().key_provider.load_private_key(key_der)?)))
    }
}

#[derive(Debug)]
struct NarrowedHash(SrtpProfile, Box<dyn HashContext>);

impl HashContext for NarrowedHash {
    fn update(&mut self, data: &[u8]) {
        let mut data = data.to_vec();
        narrow(self.0, &mut data);
        self.1.update(&data);
    }

    fn clone_and_finalize(&self, out: &mut Buf) {
        self.1.clone_and_finalize(out);
    }
}

#[derive(Debug)]
struct NarrowedKey(SrtpProfile, Box<dyn SigningKey>);

impl SigningKey for NarrowedKey {
    fn sign(&mut self, data: &[u8], hash_alg: HashAlgorithm, out: &mut Buf) -> Result<(), CryptoError> {
        let mut data = data.to_vec();
        narrow(self.0, &mut data);
        self.1.sign(&data, hash_alg, out)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.1.algorithm()
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        self.1.hash_algorithm()
    }

    fn supported_hash_algorithms(&self) -> &[HashAlgorithm] {
        self.1.supported_hash_algorithms()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_wanted_profile_stays_and_no_other_byte_changes() {
        let mut hello = [9; 20];
        hello[3..16].copy_from_slice(&OFFERED);
        narrow(SrtpProfile::Aes128CmSha1_80, &mut hello);
        assert_eq!(&hello[3..16], &[0, 14, 0, 9, 0, 6, 0, 2, 0, 2, 0, 1, 0]);
        assert_eq!((&hello[..3], &hello[16..]), (&[9; 3][..], &[9; 4][..]));
        let before = hello;
        narrow(SrtpProfile::AeadAes128Gcm, &mut hello);
        assert_eq!(hello, before, "what is not the library's own offer is left alone");
    }
}
