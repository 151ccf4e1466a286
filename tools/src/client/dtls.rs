//! The client's DTLS handshake, by `dimpl`: from the first ClientHello to SRTP keys.
//!
//! Path: between `ice` (a nominated path) and `srtp` (keys). Promises: certificates are pinned by fingerprint when one is
//! given; the caller's clock drives every timer. Not here: data channels; application data is counted and dropped.
//!
//! `dimpl` gives time as `Instant`: one is taken when the handshake is made and only differences to it are used.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dataplane::base::handoff::{DtlsVersion, Fingerprint, MasterKey, SrtpKeys, SrtpProfile};
use dataplane::base::time::Micros;
use dimpl::{Config, Dtls, DtlsCertificate, Output, certificate};

use super::offer;

/// Largest record `dimpl` hands out.
const RECORD_BYTES_MAX: usize = 2048;

/// A certificate with its key. Making one costs a key generation, so many clients may share it.
#[derive(Clone)]
pub struct Identity(DtlsCertificate);

impl Identity {
    /// A fresh self-signed certificate.
    ///
    /// # Errors
    /// [`DtlsError::Setup`] when the cryptographic library refuses.
    pub fn generate() -> Result<Self, DtlsError> {
        certificate::generate_self_signed_certificate().map(Self).map_err(|_| DtlsError::Setup)
    }

    /// What `a=fingerprint:sha-256` says of it.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint_of(&self.0.certificate)
    }
}

/// Why there are no keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DtlsError {
    /// The library could not be set up.
    Setup,
    /// The handshake failed or timed out.
    Handshake,
    /// The server's certificate is not the signalled one.
    Fingerprint,
    /// No SRTP profile was agreed, or not the one asked for.
    Profile,
    /// The server closed the association.
    Closed,
}

/// One handshake, and the association after it.
pub struct Handshake {
    dtls: Dtls,
    origin: Instant,
    due: Micros,
    profile: Option<SrtpProfile>,
    expected: Option<Fingerprint>,
    keys: Option<SrtpKeys>,
    error: Option<DtlsError>,
    /// Records of application data (SCTP) received and dropped.
    data_records: u64,
}

impl Handshake {
    /// A client that has not sent anything yet. With `profile` it offers that one alone (DTLS 1.2 only); without, all three.
    ///
    /// # Errors
    /// [`DtlsError::Setup`] when the cryptographic library refuses.
    pub fn new(
        now: Micros,
        identity: &Identity,
        version: DtlsVersion,
        profile: Option<SrtpProfile>,
        expected: Option<Fingerprint>,
    ) -> Result<Self, DtlsError> {
        let mut builder = Config::builder().flight_start_rto(Duration::from_millis(100)).flight_retries(8);
        if let (Some(profile), DtlsVersion::V12) = (profile, version) {
            builder = builder.with_crypto_provider(offer::provider(profile));
        }
        let config = Arc::new(builder.build().map_err(|_| DtlsError::Setup)?);
        // The library's clock starts with our zero, so that `now` needs no other conversion than an addition.
        let origin = Instant::now();
        let at = origin + Duration::from_micros(now.0);
        let certificate = identity.0.clone();
        let mut dtls = match version {
            DtlsVersion::V12 => Dtls::new_12(config, certificate, at),
            DtlsVersion::V13 => Dtls::new_13(config, certificate, at),
        };
        dtls.set_active(true);
        Ok(Self { dtls, origin, due: now, profile, expected, keys: None, error: None, data_records: 0 })
    }

    /// Takes one received DTLS datagram.
    pub fn handle_datagram(&mut self, now: Micros, bytes: &[u8], out: &mut VecDeque<Box<[u8]>>) {
        if self.error.is_some() {
            return;
        }
        let at = self.instant(now);
        if self.dtls.handle_timeout(at).and_then(|()| self.dtls.handle_packet(bytes)).is_err() {
            self.fail(DtlsError::Handshake);
        }
        self.drain(out);
    }

    /// Retransmits what is due; the first call sends the ClientHello.
    pub fn handle_timeout(&mut self, now: Micros, out: &mut VecDeque<Box<[u8]>>) {
        if self.error.is_some() || now < self.due {
            return;
        }
        if self.dtls.handle_timeout(self.instant(now)).is_err() {
            self.fail(DtlsError::Handshake);
        }
        self.drain(out);
        // A timer that did not move would have the caller spin.
        self.due = self.due.max(now.after_ms(1));
    }

    /// Sends close_notify.
    pub fn close(&mut self, out: &mut VecDeque<Box<[u8]>>) {
        if self.error.is_none() && self.dtls.close().is_ok() {
            self.drain(out);
        }
    }

    /// Keys, once: `local` is what we protect with.
    pub const fn take_keys(&mut self) -> Option<SrtpKeys> {
        self.keys.take()
    }

    /// When [`Self::handle_timeout`] is next due.
    #[must_use]
    pub const fn next_timeout(&self) -> Micros {
        if self.error.is_some() { Micros::NEVER } else { self.due }
    }

    /// Why the association is over, if it is.
    #[must_use]
    pub const fn error(&self) -> Option<DtlsError> {
        self.error
    }

    /// How many records of application data came.
    #[must_use]
    pub const fn data_records(&self) -> u64 {
        self.data_records
    }

    fn instant(&self, now: Micros) -> Instant {
        self.origin + Duration::from_micros(now.0)
    }

    const fn fail(&mut self, error: DtlsError) {
        if self.error.is_none() {
            self.error = Some(error);
        }
    }

    fn drain(&mut self, out: &mut VecDeque<Box<[u8]>>) {
        let mut buffer = vec![0; RECORD_BYTES_MAX];
        while self.error.is_none() {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(bytes) => {
                    let mut datagram: Box<[u8]> = bytes.into();
                    if let Some(profile) = self.profile {
                        offer::narrow(profile, &mut datagram);
                    }
                    out.push_back(datagram);
                }
                Output::BufferTooSmall { needed } => buffer.resize(needed, 0),
                Output::Timeout(at) => {
                    let since = at.saturating_duration_since(self.origin);
                    self.due = Micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX));
                    return;
                }
                Output::PeerCert(der)
                    if self.expected.is_some_and(|expected| expected != fingerprint_of(der)) =>
                {
                    self.error = Some(DtlsError::Fingerprint);
                }
                Output::KeyingMaterial(material, agreed) => match keys(agreed, &material) {
                    Some(keys) if self.profile.is_none_or(|profile| profile == keys.profile) => {
                        self.keys = Some(keys);
                    }
                    _ => self.error = Some(DtlsError::Profile),
                },
                Output::ApplicationData(_) => self.data_records += 1,
                Output::CloseNotify => self.error = Some(DtlsError::Closed),
                _ => {}
            }
        }
    }
}

fn fingerprint_of(der: &[u8]) -> Fingerprint {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(certificate::calculate_fingerprint(der)) {
        *to = from;
    }
    Fingerprint(out)
}

/// Splits exported material (RFC 5764 section 4.2): client key, server key, client salt, server salt.
fn keys(agreed: dimpl::SrtpProfile, material: &[u8]) -> Option<SrtpKeys> {
    let profile = match agreed {
        dimpl::SrtpProfile::AES128_CM_SHA1_80 => SrtpProfile::Aes128CmSha1_80,
        dimpl::SrtpProfile::AEAD_AES_128_GCM => SrtpProfile::AeadAes128Gcm,
        dimpl::SrtpProfile::AEAD_AES_256_GCM => SrtpProfile::AeadAes256Gcm,
        _ => return None,
    };
    let (client_key, rest) = material.split_at_checked(profile.key_bytes())?;
    let (server_key, rest) = rest.split_at_checked(profile.key_bytes())?;
    let (client_salt, rest) = rest.split_at_checked(profile.salt_bytes())?;
    let (server_salt, _) = rest.split_at_checked(profile.salt_bytes())?;
    Some(SrtpKeys {
        profile,
        remote: master_key(server_key, server_salt),
        local: master_key(client_key, client_salt),
    })
}

fn master_key(key: &[u8], salt: &[u8]) -> MasterKey {
    let mut master = MasterKey { key: [0; 32], salt: [0; 14] };
    master.key[..key.len()].copy_from_slice(key);
    master.salt[..salt.len()].copy_from_slice(salt);
    master
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a handshake against a `dimpl` server, losing each datagram whose number `lose` names.
    fn shake(
        version: DtlsVersion,
        profile: Option<SrtpProfile>,
        expect: impl FnOnce(Fingerprint) -> Option<Fingerprint>,
        lose: &[usize],
    ) -> (Handshake, Option<(Vec<u8>, dimpl::SrtpProfile)>) {
        let identity = Identity::generate().expect("the library makes certificates");
        let server_identity = Identity::generate().expect("the library makes certificates");
        let origin = Instant::now();
        let config = Arc::new(Config::builder().build().expect("the defaults are valid"));
        let mut server = match version {
            DtlsVersion::V12 => Dtls::new_12(config, server_identity.0.clone(), origin),
            DtlsVersion::V13 => Dtls::new_13(config, server_identity.0.clone(), origin),
        };
        let expected = expect(server_identity.fingerprint());
        let mut client = Handshake::new(Micros(0), &identity, version, profile, expected).expect("set up");
        let (mut to_server, mut server_keys, mut sent) = (VecDeque::new(), None, 0);
        let mut buffer = vec![0; RECORD_BYTES_MAX];
        for turn in 0..400 {
            let now = Micros(turn * 25_000);
            client.handle_timeout(now, &mut to_server);
            server.handle_timeout(origin + Duration::from_micros(now.0)).expect("no deadline passes");
            while let Some(datagram) = to_server.pop_front() {
                sent += 1;
                if !lose.contains(&sent) {
                    server.handle_packet(&datagram).expect("the client's flight is valid");
                }
            }
            let mut to_client = Vec::new();
            loop {
                match server.poll_output(&mut buffer) {
                    Output::Packet(bytes) => to_client.push(bytes.to_vec()),
                    Output::KeyingMaterial(material, profile) => {
                        server_keys = Some((material.to_vec(), profile));
                    }
                    Output::Timeout(_) => break,
                    _ => {}
                }
            }
            for datagram in to_client {
                client.handle_datagram(now, &datagram, &mut to_server);
            }
            if client.keys.is_some() && server_keys.is_some() || client.error.is_some() {
                break;
            }
        }
        (client, server_keys)
    }

    fn agree(version: DtlsVersion, profile: Option<SrtpProfile>, lose: &[usize]) -> SrtpProfile {
        let (mut client, server) = shake(version, profile, Some, lose);
        assert_eq!(client.error(), None);
        let ours = client.take_keys().expect("the handshake finished");
        let (material, agreed) = server.expect("the server finished too");
        let theirs = keys(agreed, &material).expect("a profile we know");
        assert_eq!(ours.profile, theirs.profile);
        assert_eq!((ours.local.key, ours.local.salt), (theirs.local.key, theirs.local.salt));
        assert_eq!((ours.remote.key, ours.remote.salt), (theirs.remote.key, theirs.remote.salt));
        assert_ne!(ours.remote.key, ours.local.key);
        ours.profile
    }

    #[test]
    fn dtls_1_2_agrees_on_the_strongest_profile_and_1_3_on_any() {
        assert_eq!(agree(DtlsVersion::V12, None, &[]), SrtpProfile::AeadAes256Gcm);
        agree(DtlsVersion::V13, None, &[]);
    }

    #[test]
    fn a_single_offered_profile_is_the_one_agreed() {
        for profile in [SrtpProfile::Aes128CmSha1_80, SrtpProfile::AeadAes128Gcm, SrtpProfile::AeadAes256Gcm]
        {
            assert_eq!(agree(DtlsVersion::V12, Some(profile), &[]), profile);
        }
    }

    #[test]
    fn lost_flights_are_sent_again() {
        assert_eq!(agree(DtlsVersion::V12, None, &[1, 3]), SrtpProfile::AeadAes256Gcm);
    }

    #[test]
    fn a_certificate_that_was_not_signalled_gives_no_keys() {
        let (mut client, _) = shake(DtlsVersion::V12, None, |_| Some(Fingerprint([1; 32])), &[]);
        assert_eq!(client.error(), Some(DtlsError::Fingerprint));
        assert!(client.take_keys().is_none());
        assert_eq!(client.next_timeout(), Micros::NEVER);
    }
}
