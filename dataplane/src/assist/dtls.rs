//! DTLS by dimpl: our certificate, the parameters of every handshake, and the translation of what comes out of it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::certificate::{calculate_fingerprint, generate_self_signed_certificate};
use dimpl::{Config, Dtls, DtlsCertificate};
use zeroize::Zeroize;

use crate::base::handoff::{DtlsVersion, Fingerprint, MasterKey, SrtpKeys, SrtpProfile};
use crate::base::limits::HANDSHAKE_US;

/// Largest DTLS datagram we send: below every path's minimum (IPv6: 1,280), so that no handshake depends on path MTU.
pub(super) const DTLS_BYTES_MAX: usize = 1_150;
/// First retransmission. RFC 6347 section 4.2.4.1 suggests 1 s; a join should not wait that long for one lost datagram, and a
/// flight answered within 250 ms is never repeated.
const FLIGHT_RTO: Duration = Duration::from_millis(250);
/// 250 ms doubled 7 times is 32 s: the handshake's time ends it, not the count.
const FLIGHT_RETRIES: usize = 7;

/// This boot's certificate and the parameters of all handshakes. Cheap to clone.
#[derive(Clone)]
pub struct Identity {
    config: Arc<Config>,
    certificate: Arc<DtlsCertificate>,
    fingerprint: Fingerprint,
}

/// The certificate or the parameters could not be made: this process cannot speak DTLS.
#[derive(Debug)]
pub struct IdentityError(String);

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for IdentityError {}

impl Identity {
    /// A fresh self-signed certificate (ECDSA P-256).
    ///
    /// # Errors
    /// The crypto library refuses; there is no remedy but another host.
    pub fn generate() -> Result<Self, IdentityError> {
        let certificate =
            generate_self_signed_certificate().map_err(|error| IdentityError(error.to_string()))?;
        let config = Config::builder()
            .mtu(DTLS_BYTES_MAX)
            .require_client_certificate(true)
            // The cookie proves an address, and STUN has proved it: handshakes come only from a nominated path. Saves a round trip.
            .use_server_cookie(false)
            .flight_start_rto(FLIGHT_RTO)
            .flight_retries(FLIGHT_RETRIES)
            .handshake_timeout(Duration::from_micros(HANDSHAKE_US))
            .build()
            .map_err(|error| IdentityError(error.to_string()))?;
        let fingerprint = fingerprint(&certificate.certificate)
            .ok_or_else(|| IdentityError("SHA-256 is not 32 bytes".to_owned()))?;
        Ok(Self { config: Arc::new(config), certificate: Arc::new(certificate), fingerprint })
    }

    /// SHA-256 of the certificate, for `a=fingerprint`.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// A server that waits for its ClientHello. `V13` also speaks 1.2 with a client that knows nothing newer.
    pub(super) fn server(&self, version: DtlsVersion, now: Instant) -> Dtls {
        let (config, certificate) = (self.config.clone(), (*self.certificate).clone());
        let mut dtls = match version {
            DtlsVersion::V12 => Dtls::new_12(config, certificate, now),
            DtlsVersion::V13 => Dtls::new_auto(config, certificate, now),
        };
        dtls.set_active(false);
        dtls
    }
}

/// SHA-256 of a certificate in DER.
pub(super) fn fingerprint(der: &[u8]) -> Option<Fingerprint> {
    calculate_fingerprint(der).try_into().ok().map(Fingerprint)
}

/// The version that was spoken.
pub(super) fn spoken(dtls: &Dtls) -> Option<DtlsVersion> {
    match dtls.protocol_version()? {
        dimpl::ProtocolVersion::DTLS1_2 => Some(DtlsVersion::V12),
        dimpl::ProtocolVersion::DTLS1_3 => Some(DtlsVersion::V13),
        _ => None,
    }
}

/// Cuts exported keying material into both directions (RFC 5764 section 4.2: client key, server key, client salt, server
/// salt). We are the server. `None` if its length is not the profile's.
pub(super) fn srtp_keys(material: &[u8], profile: dimpl::SrtpProfile) -> Option<SrtpKeys> {
    let profile = match profile {
        dimpl::SrtpProfile::AES128_CM_SHA1_80 => SrtpProfile::Aes128CmSha1_80,
        dimpl::SrtpProfile::AEAD_AES_128_GCM => SrtpProfile::AeadAes128Gcm,
        dimpl::SrtpProfile::AEAD_AES_256_GCM => SrtpProfile::AeadAes256Gcm,
        _ => return None,
    };
    let (keys, salts) = material.split_at_checked(2 * profile.key_bytes())?;
    if salts.len() != 2 * profile.salt_bytes() {
        return None;
    }
    let direction = |index: usize| {
        let (mut key, mut salt) = ([0; 32], [0; 14]);
        key[..profile.key_bytes()]
            .copy_from_slice(&keys[index * profile.key_bytes()..][..profile.key_bytes()]);
        salt[..profile.salt_bytes()]
            .copy_from_slice(&salts[index * profile.salt_bytes()..][..profile.salt_bytes()]);
        let master = MasterKey { key, salt };
        key.zeroize();
        salt.zeroize();
        master
    };
    Some(SrtpKeys { profile, remote: direction(0), local: direction(1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_half_is_what_we_open_with() {
        let material: Vec<u8> = (0..56).collect();
        let keys = srtp_keys(&material, dimpl::SrtpProfile::AEAD_AES_128_GCM).expect("16+16+12+12");
        assert_eq!((keys.remote.key[0], keys.local.key[0]), (0, 16));
        assert_eq!((keys.remote.salt[0], keys.local.salt[0]), (32, 44));
        assert_eq!((keys.local.key[16], keys.local.salt[12]), (0, 0), "the rest stays zero");
    }

    #[test]
    fn material_of_another_length_is_refused() {
        for bytes in (0..100).filter(|&bytes| bytes != 56) {
            assert!(srtp_keys(&vec![1; bytes], dimpl::SrtpProfile::AEAD_AES_128_GCM).is_none());
        }
    }
}
