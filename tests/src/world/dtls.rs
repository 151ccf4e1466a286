//! Guests with real handshakes at the cores of a real packet plane, over whatever sockets a test has.

use std::net::SocketAddr;

use dataplane::base::handoff::{DtlsVersion, MasterKey, SrtpKeys, SrtpProfile};
use dataplane::base::ids::{CoreId, PeerId, local_ufrag};
use dataplane::base::net::Path;
use dataplane::base::rng::Rng;
use dataplane::base::time::Micros;
use dataplane::boot::Plane;
use dataplane::command::{Command, IceCredentials};
use kernels::Suite;
use tools::client::dtls::Identity;
use tools::client::{Client, ClientConfig, Remote, Security};

use super::{Guest, Terms, commands};

/// The plane's ICE credentials for a peer.
#[must_use]
pub fn server_ice(core: u8, peer: u32) -> IceCredentials {
    IceCredentials {
        ufrag: local_ufrag(CoreId(core), PeerId(peer), 7),
        pwd: format!("password of peer {peer:08}"),
    }
}

/// Where guests come to: a plane, the certificate all of them show, and the meeting.
pub struct Host<'a> {
    /// The plane.
    pub plane: &'a Plane,
    /// The guests' certificate.
    pub identity: &'a Identity,
    /// The meeting.
    pub meeting: u64,
}

impl Host<'_> {
    /// Opens a peer on a core for a guest that sends from `remote`, and publishes what its terms say.
    ///
    /// # Panics
    /// When the core's lane is full.
    #[must_use]
    pub fn join(&self, now: Micros, core: u8, peer: u32, remote: SocketAddr, terms: Terms) -> Guest {
        let ice = server_ice(core, peer);
        let client_ice =
            IceCredentials { ufrag: format!("guest{peer}"), pwd: "a password of the client".to_owned() };
        let security =
            Security::Dtls { identity: self.identity.clone(), version: DtlsVersion::V12, profile: None };
        let mut client = Client::new(ClientConfig {
            room: self.meeting,
            publisher: peer,
            ice: client_ice.clone(),
            security,
            suite: Suite::detect(),
            seed: u64::from(peer),
        });
        let lane = &self.plane.cores()[usize::from(core)].lane;
        let send = |command: Command| assert!(lane.send(command).is_ok(), "the lane has room");
        send(commands::open(peer, self.meeting, &ice));
        send(commands::remote(peer, &client_ice, self.identity.fingerprint()));
        client.set_remote(now, &Remote { ice, fingerprint: Some(self.plane.fingerprint()) });
        let path = Path { local: ([127, 0, 0, 1], 1).into(), remote };
        // The handshake gives the real ones.
        let none = || MasterKey { key: [0; 32], salt: [0; 14] };
        let keys = SrtpKeys { profile: SrtpProfile::AeadAes256Gcm, remote: none(), local: none() };
        let mut guest = Guest::new(client, path, self.meeting, keys, terms);
        for kind in guest.kinds() {
            guest.publish(now, peer, kind, &mut Rng::new(1));
            send(commands::publish(peer, kind, &guest));
        }
        guest
    }
}
