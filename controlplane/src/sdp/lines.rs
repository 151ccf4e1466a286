//! Lines that answers and offers share: the session's head, a section's transport, formats and extensions.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use dataplane::base::handoff::Fingerprint;
use dataplane::base::media::{Codec, Extension, Format};
use dataplane::command::IceCredentials;

use super::offer::Sending;

/// Our side of one peer's transport, as descriptions tell it.
pub struct LocalTransport<'a> {
    /// Our ICE credentials.
    pub ice: &'a IceCredentials,
    /// Our certificate.
    pub fingerprint: Fingerprint,
    /// Where the meeting's core listens, best first.
    pub candidates: &'a [Candidate],
    /// Number of the session, the same for all descriptions of one peer.
    pub session: u64,
    /// Number of this description, growing.
    pub version: u64,
}

/// How a candidate is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A connection that the client makes (RFC 6544, `tcptype passive`).
    TcpPassive,
}

/// A place where we listen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// How.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
}

impl Candidate {
    /// Datagrams to `address`.
    #[must_use]
    pub const fn udp(address: SocketAddr) -> Self {
        Self { transport: Transport::Udp, address }
    }

    /// Connections to `address`.
    #[must_use]
    pub const fn tcp(address: SocketAddr) -> Self {
        Self { transport: Transport::TcpPassive, address }
    }
}

/// Text under construction. Writing to a `String` cannot fail, so results are dropped in one place.
pub(super) struct Lines(String);

impl Lines {
    pub(super) fn new(bytes: usize) -> Self {
        Self(String::with_capacity(bytes))
    }

    pub(super) fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let _ = self.0.write_fmt(line);
        self.0.push_str("\r\n");
    }

    pub(super) fn text(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push_str("\r\n");
    }

    pub(super) fn finish(self) -> String {
        self.0
    }

    /// The session part: ICE-lite, one bundle of the given tags.
    pub(super) fn head<'a>(
        &mut self,
        local: &LocalTransport<'_>,
        mids: impl Iterator<Item = &'a str>,
        mixed: bool,
    ) {
        self.text("v=0");
        self.line(format_args!("o=- {} {} IN IP4 0.0.0.0", local.session, local.version));
        self.text("s=-");
        self.text("t=0 0");
        self.0.push_str("a=group:BUNDLE");
        for mid in mids {
            self.0.push(' ');
            self.0.push_str(mid);
        }
        self.0.push_str("\r\n");
        if mixed {
            self.text("a=extmap-allow-mixed");
        }
        self.text("a=msid-semantic: WMS *");
        self.text("a=ice-lite");
    }

    /// Credentials, certificate and role of one section; the bundle's first also names the candidates.
    pub(super) fn transport(&mut self, local: &LocalTransport<'_>, setup: &str, with_candidates: bool) {
        self.text("c=IN IP4 0.0.0.0");
        self.line(format_args!("a=ice-ufrag:{}", local.ice.ufrag));
        self.line(format_args!("a=ice-pwd:{}", local.ice.pwd));
        self.0.push_str("a=fingerprint:sha-256 ");
        for (index, byte) in local.fingerprint.0.iter().enumerate() {
            let _ = write!(self.0, "{}{byte:02X}", if index == 0 { "" } else { ":" });
        }
        self.0.push_str("\r\n");
        self.line(format_args!("a=setup:{setup}"));
        if with_candidates {
            self.candidates(local.candidates);
        }
    }

    /// Where we listen, best first.
    pub(super) fn candidates(&mut self, candidates: &[Candidate]) {
        for (index, place) in candidates.iter().enumerate() {
            self.line(format_args!("a={}", candidate(index, *place)));
        }
        self.text("a=end-of-candidates");
    }

    /// `a=rtpmap`, feedback and parameters of one format and its retransmissions.
    pub(super) fn format(&mut self, format: &Format, fmtp: &str, transport_cc: bool, fir: bool) {
        let pt = format.pt;
        self.line(format_args!("a=rtpmap:{pt} {}", encoding(format.codec)));
        if transport_cc {
            self.line(format_args!("a=rtcp-fb:{pt} transport-cc"));
        }
        if fir {
            self.line(format_args!("a=rtcp-fb:{pt} ccm fir"));
        }
        if format.nack {
            self.line(format_args!("a=rtcp-fb:{pt} nack"));
        }
        if format.pli {
            self.line(format_args!("a=rtcp-fb:{pt} nack pli"));
        }
        if !fmtp.is_empty() {
            self.line(format_args!("a=fmtp:{pt} {fmtp}"));
        }
        if let Some(rtx) = format.rtx_pt {
            self.line(format_args!("a=rtpmap:{rtx} rtx/90000"));
            self.line(format_args!("a=fmtp:{rtx} apt={pt}"));
        }
    }

    /// Names and SSRCs of the stream that a section carries to its receiver.
    pub(super) fn stream(&mut self, sending: &Sending) {
        let Sending { participant, track, ssrc, rtx, .. } = sending;
        self.line(format_args!("a=msid:{participant}|{track} {track}"));
        if let Some(rtx) = rtx {
            self.line(format_args!("a=ssrc-group:FID {} {}", ssrc.0, rtx.0));
        }
        for ssrc in [Some(*ssrc), *rtx].into_iter().flatten() {
            self.line(format_args!("a=ssrc:{} cname:{participant}", ssrc.0));
            self.line(format_args!("a=ssrc:{} msid:{participant}|{track} {track}", ssrc.0));
        }
    }

    pub(super) fn extension(&mut self, id: u8, direction: &str, extension: Extension) {
        let (_, uri) = Extension::ALL[extension as usize];
        self.line(format_args!("a=extmap:{id}{direction} {uri}"));
    }
}

/// A host candidate (RFC 8839 section 5.1, RFC 6544 section 4.5); earlier ones get higher priority, and TCP comes after all UDP.
fn candidate(index: usize, place: Candidate) -> String {
    let (transport, type_preference, local_preference, ending) = match place.transport {
        // RFC 8445 section 5.1.2.1: type preference 126 for hosts, component 1.
        Transport::Udp => ("udp", 126, 65_535, ""),
        // RFC 6544 section 4.2: a lower type preference than the same over UDP, and direction preference 4 for passive.
        Transport::TcpPassive => ("tcp", 90, (4 << 13) + 8_191, " tcptype passive"),
    };
    let local_preference: u32 = local_preference - (index as u32).min(8_191);
    let priority = (type_preference << 24) | (local_preference << 8) | 255;
    let ip = match place.address.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => ip.to_string(),
    };
    let (foundation, port) = (index + 1, place.address.port());
    format!("candidate:{foundation} 1 {transport} {priority} {ip} {port} typ host{ending}")
}

fn encoding(codec: Codec) -> &'static str {
    match codec {
        Codec::Opus => "opus/48000/2",
        Codec::Red => "red/48000/2",
        Codec::Vp8 => "VP8/90000",
        Codec::Vp9 { .. } => "VP9/90000",
        Codec::H264 { .. } => "H264/90000",
        Codec::Av1 { .. } => "AV1/90000",
    }
}
