//! SRTP and SRTCP contexts of one peer (RFC 3711; RFC 7714 for AES-GCM): what opens and what seals.
//!
//! Path: `engine` opens every received packet once with [`Inbound`]; every sent packet is sealed with its receiver's [`Outbound`].
//! Promises: three profiles behind one enum, one branch per packet; nothing changes before a packet authenticated; no allocation
//! but for the first packet of a new SSRC; keys and salts are zeroed on drop.
//! Not here: the handshake (`assist`), the ciphers (`kernels`), sequence numbers of sent streams (their owner has them).

mod inbound;
mod kdf;
mod outbound;
mod replay;

pub use inbound::{Inbound, OpenedRtcp, OpenedRtp};
pub use outbound::Outbound;

use kernels::{CmSha1Key, GcmKey, Suite};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::base::handoff::{MasterKey, SrtpProfile};
use crate::base::ids::Ssrc;
use kdf::Kdf;

/// Most that sealing adds to an RTP packet: a GCM tag.
pub const RTP_OVERHEAD_BYTES: usize = GcmKey::TAG_BYTES;
/// Most that sealing adds to an RTCP packet: a GCM tag and the index word.
pub const RTCP_OVERHEAD_BYTES: usize = GcmKey::TAG_BYTES + INDEX_BYTES;

/// Indices of RTP under one key: roll-over counter and sequence number make 48 bits (RFC 3711 section 9.2).
pub const RTP_INDEX_END: u64 = 1 << 48;
/// Indices of RTCP under one key: 31 bits.
pub const RTCP_INDEX_END: u32 = 1 << 31;

/// SRTCP: encrypted flag and index, in front of the tag (AES-CM) or behind it (GCM).
const INDEX_BYTES: usize = 4;
/// The flag of that word.
const ENCRYPTED: u32 = 1 << 31;
/// Bytes of an RTCP packet that stay clear: first header and sender SSRC.
const RTCP_CLEAR_BYTES: usize = 8;

/// Session keys of one direction and one protocol.
#[expect(clippy::large_enum_variant, reason = "four per peer; a box would cost each packet a cache miss")]
enum Cipher {
    Gcm { key: GcmKey, salt: Salt<12> },
    CmSha1 { key: CmSha1Key, salt: Salt<14> },
}

/// A session salt, zeroed on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct Salt<const N: usize>([u8; N]);

/// Which of the two key sets of RFC 3711 section 4.3.2.
#[derive(Clone, Copy)]
enum Protocol {
    Rtp,
    Rtcp,
}

impl Cipher {
    fn new(suite: Suite, profile: SrtpProfile, master: &MasterKey, protocol: Protocol) -> Self {
        let first_label = match protocol {
            Protocol::Rtp => 0,
            Protocol::Rtcp => 3,
        };
        let kdf = Kdf::new(suite, profile, master);
        match profile {
            SrtpProfile::Aes128CmSha1_80 => {
                let mut encryption = kdf.derive::<16>(first_label);
                let mut authentication = kdf.derive::<20>(first_label + 1);
                let key = CmSha1Key::new(suite, &encryption, &authentication);
                encryption.zeroize();
                authentication.zeroize();
                Self::CmSha1 { key, salt: Salt(kdf.derive(first_label + 2)) }
            }
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => {
                // Counter mode gives the same first bytes whatever the length asked for.
                let mut encryption = kdf.derive::<32>(first_label);
                let key = GcmKey::new(suite, &encryption[..profile.key_bytes()])
                    .expect("every profile's key has 16 or 32 bytes");
                encryption.zeroize();
                Self::Gcm { key, salt: Salt(kdf.derive(first_label + 2)) }
            }
        }
    }
}

impl Salt<12> {
    /// GCM's vector for RTP (RFC 7714 section 8.1): two zero bytes, SSRC, 48-bit index.
    #[inline]
    fn rtp_iv(&self, ssrc: Ssrc, index: u64) -> [u8; 12] {
        // As two numbers: a vector is made for every packet.
        let [a, b, c, d, e, f, g, h, i, j, k, l] = self.0;
        let high =
            u64::from_be_bytes([a, b, c, d, e, f, g, h]) ^ u64::from(ssrc.0) << 16 ^ index >> 32 & 0xffff;
        let low = u32::from_be_bytes([i, j, k, l]) ^ index as u32;
        let mut iv = [0; 12];
        iv[..8].copy_from_slice(&high.to_be_bytes());
        iv[8..].copy_from_slice(&low.to_be_bytes());
        iv
    }

    /// GCM's vector for RTCP (RFC 7714 section 9.1): two zero bytes, SSRC, two zero bytes, 31-bit index.
    fn rtcp_iv(&self, ssrc: Ssrc, index: u32) -> [u8; 12] {
        let mut iv = self.0;
        xor(&mut iv[2..6], &ssrc.0.to_be_bytes());
        xor(&mut iv[8..12], &index.to_be_bytes());
        iv
    }
}

impl Salt<14> {
    /// AES-CM's first counter block (RFC 3711 section 4.1.1): salt, SSRC and index at their places, 16-bit block counter zero.
    fn iv(&self, ssrc: Ssrc, index: u64) -> [u8; 16] {
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(&self.0);
        xor(&mut iv[4..8], &ssrc.0.to_be_bytes());
        xor(&mut iv[8..14], &index.to_be_bytes()[2..]);
        iv
    }
}

fn xor(bytes: &mut [u8], mask: &[u8]) {
    for (byte, mask) in bytes.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

/// Roll-over counter of an index.
const fn roll_over(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

#[cfg(test)]
mod tests;
