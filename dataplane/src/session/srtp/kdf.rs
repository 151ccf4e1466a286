//! Key derivation of SRTP (RFC 3711 section 4.3; RFC 6188 for AES-256; RFC 7714 section 11): session keys and salts from the
//! master key by the key stream of AES in counter mode. The key derivation rate is zero: once per master key.

use kernels::{AesCtr, Suite};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::base::handoff::{MasterKey, SrtpProfile};

/// The pseudo-random function of one master key.
#[derive(ZeroizeOnDrop)]
pub(super) struct Kdf {
    #[zeroize(skip)]
    prf: AesCtr,
    /// Master salt, 112 bits; a 96-bit salt is followed by 16 zero bits.
    salt: [u8; 14],
}

impl Kdf {
    pub(super) fn new(suite: Suite, profile: SrtpProfile, master: &MasterKey) -> Self {
        let prf = AesCtr::new(suite, &master.key[..profile.key_bytes()])
            .expect("every profile's key has 16 or 32 bytes");
        let mut salt = [0; 14];
        salt[..profile.salt_bytes()].copy_from_slice(&master.salt[..profile.salt_bytes()]);
        Self { prf, salt }
    }

    /// The first `N` bytes of the key stream for `label`.
    pub(super) fn derive<const N: usize>(&self, label: u8) -> [u8; N] {
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(&self.salt);
        // label || 48-bit r (zero), right-aligned with the salt: the label meets byte 7.
        iv[7] ^= label;
        let mut out = [0; N];
        self.prf.keystream(&iv, &mut out);
        iv.zeroize();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master(key: &[u8], salt: &[u8]) -> MasterKey {
        let mut master = MasterKey { key: [0; 32], salt: [0; 14] };
        master.key[..key.len()].copy_from_slice(key);
        master.salt[..salt.len()].copy_from_slice(salt);
        master
    }

    /// RFC 3711 appendix B.3.
    #[test]
    fn the_derivation_example_of_rfc_3711_holds() {
        let master = master(
            &0xe1f9_7a0d_3e01_8be0_d64f_a32c_06de_4139_u128.to_be_bytes(),
            &[0x0e, 0xc6, 0x75, 0xad, 0x49, 0x8a, 0xfe, 0xeb, 0xb6, 0x96, 0x0b, 0x3a, 0xab, 0xe6],
        );
        for suite in Suite::available() {
            let kdf = Kdf::new(suite, SrtpProfile::Aes128CmSha1_80, &master);
            assert_eq!(kdf.derive(0), 0xc61e_7a93_744f_39ee_1073_4afe_3ff7_a087_u128.to_be_bytes());
            assert_eq!(
                kdf.derive(2),
                [0x30, 0xcb, 0xbc, 0x08, 0x86, 0x3d, 0x8c, 0x85, 0xd4, 0x9d, 0xb3, 0x4a, 0x9a, 0xe1]
            );
            assert_eq!(
                kdf.derive(1),
                [
                    0xce, 0xbe, 0x32, 0x1f, 0x6f, 0xf7, 0x71, 0x6b, 0x6f, 0xd4, 0xab, 0x49, 0xaf, 0x25, 0x6a,
                    0x15, 0x6d, 0x38, 0xba, 0xa4
                ]
            );
        }
    }
}
