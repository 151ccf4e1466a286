//! Our client's side of a peer's session descriptions.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, anyhow, bail};
use controlplane::sdp::description::Description;
use dataplane::base::handoff::DtlsVersion;
use dataplane::base::ids::Ssrc;
use dataplane::base::media::MediaKind;
use dataplane::base::rng::Rng;
use dataplane::base::time::Micros;
use dataplane::command::IceCredentials;
use kernels::Suite;
use tools::client::dtls::Identity;
use tools::client::receiver::ReceiveConfig;
use tools::client::{Client, ClientConfig, Remote, Security};
use tools::signalling::description::{self, Local, Offered};

use crate::forward::checks::Checks;
use crate::forward::options::Options;
use crate::forward::server::{Joined, Place, Sends};

/// SSRCs as published: media and retransmissions.
const PUBLISHED: u32 = 0x1000_0000;
const PUBLISHED_RTX: u32 = 0x2000_0000;

/// What all clients of a run share.
pub struct Sessions {
    options: Options,
    identity: Identity,
    /// Where the peer is; candidates elsewhere are not used.
    address: IpAddr,
}

/// One client that is being signalled.
pub struct Session<'a> {
    sessions: &'a Sessions,
    place: Place,
    ice: IceCredentials,
    local: SocketAddr,
}

impl Sessions {
    /// For a peer at an address.
    pub fn new(options: &Options, address: IpAddr) -> Result<Self> {
        let Ok(identity) = Identity::generate() else { bail!("cannot make a certificate for the clients") };
        Ok(Self { options: options.clone(), identity, address })
    }

    /// Begins a client that sends from `local`.
    pub fn session(&self, place: Place, local: SocketAddr) -> Session<'_> {
        let mut rng = Rng::new(0x7065_6572_0000_0000 | u64::from(place.number));
        let ice = IceCredentials {
            ufrag: format!("c{:07x}", place.number),
            pwd: format!("{:016x}{:016x}", rng.next_u64(), rng.next_u64()),
        };
        Session { sessions: self, place, ice, local }
    }
}

impl Session<'_> {
    fn local(&self) -> Local<'_> {
        let number = u64::from(self.place.number) + 1;
        Local {
            ice: &self.ice,
            fingerprint: self.sessions.identity.fingerprint(),
            session: number,
            version: 1,
        }
    }

    /// The offer of a publisher. Our client is the DTLS client and says so.
    pub fn offer(&self) -> String {
        let kind = self.sessions.options.media_kind();
        let (ssrc, rtx) = self.ssrcs();
        let cid = format!("track{}", self.place.number);
        let offer = description::offer(&self.local(), &[Offered { kind, cid: &cid, ssrc, rtx }], &[]);
        self.with_candidate(offer.replace("a=setup:actpass", "a=setup:active"))
    }

    /// What the answer to [`Self::offer`] agrees on.
    pub fn publisher(&self, now: Micros, answer: &str) -> Result<Joined> {
        let read = parse(answer)?;
        let section = read.sections.first().ok_or_else(|| anyhow!("the answer has no section"))?;
        let Some((format, extensions)) = description::accepted(section) else {
            bail!("the peer does not take the track:\n{answer}");
        };
        let (ssrc, rtx) = self.ssrcs();
        let sends = Sends {
            ssrc: Ssrc(ssrc),
            rtx: rtx.map(Ssrc).zip(format.rtx_pt),
            mid: Some(section.mid),
            pt: format.pt,
            extensions,
        };
        self.joined(now, &read, answer, Some(sends), Vec::new())
    }

    /// The answer to a subscriber's offer, and what it agrees on; streams are those of `publishers` in their order.
    pub fn subscriber(&self, now: Micros, offer: &str, publishers: &[u32]) -> Result<(String, Joined)> {
        let read = parse(offer)?;
        let streams: Vec<ReceiveConfig> = read.sections.iter().filter_map(description::receive).collect();
        if streams.len() != publishers.len() {
            bail!("the peer offers {} streams, not {}:\n{offer}", streams.len(), publishers.len());
        }
        let receives = streams
            .into_iter()
            .zip(publishers)
            .map(|(stream, &publisher)| ReceiveConfig { expected: Some((publisher, publisher)), ..stream })
            .collect();
        let answer = self.with_candidate(description::answer(&self.local(), &read));
        Ok((answer, self.joined(now, &read, offer, None, receives)?))
    }

    /// Names our address. Kaigi learns it from the first check, but some agents pair only with candidates they were told.
    fn with_candidate(&self, text: String) -> String {
        let (ip, port) = (self.local.ip(), self.local.port());
        let candidate =
            format!("a=candidate:1 1 udp 2130706431 {ip} {port} typ host\r\na=end-of-candidates\r\n");
        text.replace("a=rtcp-mux\r\n", &format!("a=rtcp-mux\r\n{candidate}"))
    }

    fn ssrcs(&self) -> (u32, Option<u32>) {
        let is_video = self.sessions.options.media_kind() == MediaKind::Video;
        (PUBLISHED + self.place.number, is_video.then_some(PUBLISHED_RTX + self.place.number))
    }

    fn joined(
        &self,
        now: Micros,
        read: &Description,
        text: &str,
        sends: Option<Sends>,
        receives: Vec<ReceiveConfig>,
    ) -> Result<Joined> {
        let candidates = description::candidates(text);
        let here = |candidate: &&SocketAddr| candidate.ip() == self.sessions.address;
        let Some(server) = candidates.iter().find(here) else {
            bail!("the peer names no address at {}: {candidates:?}", self.sessions.address);
        };
        let transport = &read.transport;
        let remote = Remote {
            ice: IceCredentials { ufrag: transport.ufrag.clone(), pwd: transport.pwd.clone() },
            fingerprint: Some(transport.fingerprint),
        };
        let mut client = Client::new(ClientConfig {
            room: self.place.room(),
            publisher: self.place.local,
            ice: self.ice.clone(),
            security: Security::Dtls {
                identity: self.sessions.identity.clone(),
                version: DtlsVersion::V12,
                profile: Some(self.sessions.options.profile.srtp()),
            },
            suite: Suite::detect(),
            seed: u64::from(self.place.number) + 1,
        });
        let is_lite = text.lines().any(|line| line.trim_end() == "a=ice-lite");
        // RFC 8445 section 6.1.1: who offered controls, unless it is lite.
        if !is_lite && sends.is_none() {
            client.set_controlled();
        }
        client.set_remote(now, &remote);
        let checks = (!is_lite).then(|| Checks::new(&self.ice, *server));
        Ok(Joined { client, server: *server, checks, sends, receives })
    }
}

fn parse(text: &str) -> Result<Description> {
    Description::parse(text).with_context(|| format!("the peer's description cannot be used:\n{text}"))
}
