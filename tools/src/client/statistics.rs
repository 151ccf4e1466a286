//! What happened on one association, apart from what each stream brought.

use dataplane::base::drops::DropReason;
use dataplane::base::time::Micros;

/// Counters of one client since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClientStatistics {
    /// When the first connectivity check was answered.
    pub connected: Option<Micros>,
    /// When keys were there and media could flow.
    pub ready: Option<Micros>,
    /// Datagrams taken, of every protocol.
    pub datagrams_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Datagrams handed out, of every protocol.
    pub datagrams_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// RTP packets sealed and handed out, retransmissions included.
    pub rtp_sent: u64,
    /// RTP packets that authenticated and belong to an expected stream.
    pub rtp_received: u64,
    /// RTCP compounds handed out.
    pub rtcp_sent: u64,
    /// RTCP compounds that authenticated.
    pub rtcp_received: u64,
    /// Packets with a wrong tag: must stay zero unless somebody forges.
    pub bad_tag: u64,
    /// Packets the replay window knew: copies that the network made.
    pub replayed: u64,
    /// Packets SRTP refused for another reason.
    pub refused: u64,
    /// Packets that authenticated and made no sense: must stay zero.
    pub malformed: u64,
    /// Packets of streams that are not expected.
    pub unknown_ssrc: u64,
    /// SRTP that came before the keys.
    pub early: u64,
    /// Packets without payload: probes.
    pub padding: u64,
    /// Datagrams of no known protocol.
    pub unknown: u64,
    /// Packets lost on purpose.
    pub dropped_on_purpose: u64,
    /// Packets that could not be written or sealed: must stay zero.
    pub unsealed: u64,
    /// Sender reports received.
    pub sender_reports: u64,
    /// Report blocks received.
    pub report_blocks: u64,
    /// NACKs received.
    pub nacks_received: u64,
    /// PLI and FIR received.
    pub keyframe_requests: u64,
    /// Transport-wide feedback packets received.
    pub twcc_received: u64,
    /// Packets that feedback listed.
    pub twcc_reported: u64,
    /// Packets that feedback listed as missing.
    pub twcc_missing: u64,
    /// REMB received.
    pub remb_received: u64,
    /// RTCP about streams that are not ours.
    pub rtcp_unknown_ssrc: u64,
}

impl ClientStatistics {
    /// Counts a packet that SRTP refused.
    pub(super) const fn refuse(&mut self, reason: DropReason) {
        match reason {
            DropReason::BadTag => self.bad_tag += 1,
            DropReason::Replayed => self.replayed += 1,
            _ => self.refused += 1,
        }
    }
}
