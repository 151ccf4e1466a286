//! Sender and receiver reports of a client, once a second.

use dataplane::base::ids::Ssrc;
use dataplane::base::time::Micros;
use dataplane::wire::rtcp::RtcpWriter;
use dataplane::wire::rtcp::write::BLOCKS_PER_PACKET;

use super::receiver::Receiver;
use super::source::Source;

/// Report blocks in one datagram: 40 x 24 B leave room for sender reports. More streams take turns.
const BLOCKS_MAX: usize = 40;

/// Writes sender reports, report blocks and the canonical name. `reporter` speaks when nothing is sent; `turn` decides whose
/// blocks go when there are too many.
pub(super) fn write(
    now: Micros,
    mut reporter: Ssrc,
    sources: &[Source],
    receivers: &mut [Receiver],
    turn: usize,
    writer: &mut RtcpWriter<'_>,
) {
    let mut blocks: Vec<_> = receivers.iter_mut().filter_map(|r| r.report_block(now)).collect();
    if blocks.len() > BLOCKS_MAX {
        let start = turn % blocks.len();
        blocks.rotate_left(start);
        blocks.truncate(BLOCKS_MAX);
    }
    let mut chunks = blocks.chunks(BLOCKS_PER_PACKET);
    let mut first = true;
    // Whatever does not fit the datagram waits for the next interval.
    for (ssrc, info) in sources.iter().flat_map(|source| source.sender_reports(now)) {
        let blocks = if first { chunks.next().unwrap_or(&[]) } else { &[] };
        if std::mem::take(&mut first) {
            reporter = ssrc;
        }
        let _ = writer.sender_report(ssrc, &info, blocks);
    }
    for blocks in chunks {
        let _ = writer.receiver_report(reporter, blocks);
        first = false;
    }
    if first {
        let _ = writer.receiver_report(reporter, &[]);
    }
    let _ = writer.sdes_cname(reporter, b"kaigi-synthetic");
}
