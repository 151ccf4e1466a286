//! Every bound of the dataplane with its arithmetic. Full means a counted drop or a typed refusal, never growth.

/// Largest UDP payload we send or cache: 1500 of Ethernet less 40 of IPv6 and 8 of UDP. Receive buffers are larger.
pub const DATAGRAM_BYTES_MAX: usize = 1452;
/// A cached packet's slot: one datagram, rounded up to three pages' quarter (1536 = 24 cache lines).
pub const SLOT_BYTES: usize = 1536;
const _: () = assert!(SLOT_BYTES >= DATAGRAM_BYTES_MAX && SLOT_BYTES.is_multiple_of(64));

/// Receive buffers per core: one UDP_GRO super-packet each. 256 x 68 KiB = 17 MiB.
pub const RX_BUFFERS_PER_CORE: u16 = 256;
/// One receive buffer: 64 KiB of payload plus the recvmsg header, address and control data.
pub const RX_BUFFER_BYTES: usize = 68 * 1024;
const _: () = assert!(RX_BUFFERS_PER_CORE.is_power_of_two(), "the kernel's buf_ring needs it");
/// Receive buffers handed to the engine in one loop turn. 64 x up to 64 KiB = 4 MiB, then the answers leave.
pub const RX_BUFFERS_PER_TURN: usize = 64;
/// Socket queue each way: 4 MiB is 30 ms of 1 Gbit/s, the longest a core may be away from its socket.
pub const SOCKET_QUEUE_BYTES: usize = 4 * 1024 * 1024;

/// Sends (SENDMSG operations) in one loop turn; the submission queue is the next power of two with room for two re-armed receives.
pub const SENDS_PER_TURN: usize = 1_000;
/// Bytes sent in one loop turn: 2,800 datagrams of 1,472 bytes = 4 MiB.
pub const SEND_BYTES_PER_TURN: usize = 4 * 1024 * 1024;
/// Datagrams in one GSO send (`UDP_MAX_SEGMENTS` of Linux before 6.9).
pub const GSO_SEGMENTS_MAX: usize = 64;
/// Bytes in one GSO send: below the largest UDP payload, 65,507.
pub const GSO_BYTES_MAX: usize = 65_000;
const _: () = assert!(SEND_BYTES_PER_TURN >= GSO_BYTES_MAX && GSO_BYTES_MAX >= DATAGRAM_BYTES_MAX);

/// Peers on one core. 16,384 x ~12 KiB of state = 192 MiB; one that receives has 66 KiB more as packets are sent to it (README, Memory).
pub const PEERS_PER_CORE: usize = 16_384;
/// Published tracks of one peer: camera, microphone, screens, their audio, backup codecs.
pub const TRACKS_PER_PEER: usize = 32;
/// SSRCs one peer may send: 32 tracks x (3 layers + 3 retransmissions) rounded up.
pub const SSRCS_PER_PEER: usize = 256;
/// Streams sent to one peer.
pub const STREAMS_PER_PEER: usize = 1_024;
/// Simulcast layers of one track (RFC 8853 as browsers use it).
pub const LAYERS_PER_TRACK: usize = 3;

/// Audio streams a receiver can be sent at a time at most, in a meeting with more voices; the operator chooses up to this.
pub const AUDIO_STREAMS_MAX: usize = 8;

/// Of the places that a meeting's loudest voices hold, those of one participant: a microphone and the sound of a shared screen.
pub const PLACES_PER_PARTICIPANT: usize = 2;

/// Spatial layers of one SVC stream (the AV1 specification ends at four).
pub const SPATIAL_LAYERS_MAX: usize = 4;
/// Temporal layers told apart; VP8 has two bits for them, and what is above the fourth counts as the fourth.
pub const TEMPORAL_LAYERS_MAX: usize = 4;
/// Steps of quality a track can have: simulcast layers or spatial layers, each with its temporal layers.
pub const QUALITIES_MAX: usize = 4;
const _: () = assert!(QUALITIES_MAX >= LAYERS_PER_TRACK && QUALITIES_MAX >= SPATIAL_LAYERS_MAX);

/// Packets remembered per video layer for retransmission: 1 s of 720p at 2.5 Mbit/s is ~270 packets. 512 x 1536 B = 768 KiB.
pub const RTX_PACKETS_PER_LAYER: usize = 512;
const _: () = assert!(RTX_PACKETS_PER_LAYER.is_power_of_two(), "indexed by sequence number modulo the size");

/// Gaps remembered per received stream: 256 packets are 0.9 s of 2.5 Mbit/s video; more lost at once is repaired by a keyframe.
/// 256 x 24 B = 6 KiB.
pub const NACK_GAPS_PER_STREAM: usize = 256;
/// Arrivals remembered per peer for transport-wide feedback: at 50 ms per feedback, 20,000 packets/s. 1,024 x 8 B = 8 KiB.
pub const TWCC_ARRIVALS_PER_PEER: usize = 1_024;
const _: () = assert!(TWCC_ARRIVALS_PER_PEER.is_power_of_two(), "indexed by sequence number modulo the size");
/// Sent packets remembered per peer for the bandwidth estimator: feedback one second late finds 4,096 packets/s, 40 Mbit/s of full
/// packets. 4,096 x 16 B = 64 KiB.
pub const BWE_SENT_PER_PEER: usize = 4_096;
const _: () = assert!(BWE_SENT_PER_PEER.is_power_of_two(), "indexed by sequence number modulo the size");
/// Estimated rate of a receiver nothing is known about: audio, and video of a small layer.
pub const BWE_BPS_START: u64 = 600_000;
/// The estimate is never lower: one audio stream.
pub const BWE_BPS_MIN: u64 = 30_000;
/// The estimate is never higher: 40 streams of 2.5 Mbit/s.
pub const BWE_BPS_MAX: u64 = 100_000_000;
/// Packets that all transport-wide feedback of one datagram may list. A run-length chunk lets two bytes name 8,191; 8,192 is
/// 80 ms at 100,000 packets/s and keeps the work per datagram bounded.
pub const TWCC_STATUSES_PER_DATAGRAM: usize = 8_192;

/// 64-bit words of a stream's SRTP replay window: retransmissions on the stream's own SSRC come late. 16 x 64 = 1,024 packets.
pub const SRTP_WINDOW_WORDS: usize = 16;
/// The same for SRTCP, of which a few come per second.
pub const SRTCP_WINDOW_WORDS: usize = 2;
/// Ended streams of a peer whose highest SRTP index is remembered against replay: 1,024 x 16 B = 16 KiB, taken as they end.
pub const RETIRED_SSRCS_PER_PEER: usize = 1_024;

/// SRTP packets held per peer until its keys arrive: a keyframe of 64 packets or 80 KiB.
pub const EARLY_PACKETS_PER_PEER: usize = 64;

/// A peer ends this long after its last authenticated STUN check or SRTCP packet (RFC 7675 section 5.1: 30 s).
pub const CONSENT_US: u64 = 30_000_000;
/// A peer that never becomes ready ends after this long.
pub const HANDSHAKE_US: u64 = 30_000_000;
/// At most one keyframe request per layer in this time goes to a publisher: half a second, and what jitter may take from it on the way.
pub const KEYFRAME_INTERVAL_US: u64 = 520_000;
/// TWCC feedback goes to publishers this often while packets arrive.
pub const TWCC_INTERVAL_US: u64 = 50_000;
/// Sender and receiver reports go out this often (RFC 3550 section 6.2 allows a fixed interval for small groups).
pub const REPORT_INTERVAL_US: u64 = 1_000_000;
/// Speaker levels are reported this often.
pub const SPEAKERS_INTERVAL_US: u64 = 300_000;

/// Commands waiting for one core; the control plane waits when it is full.
pub const COMMAND_LANE: usize = 4_096;
/// Reports waiting for the control plane.
pub const REPORT_LANE: usize = 8_192;
/// Handshake datagrams and replies waiting between a core and its assist thread.
pub const ASSIST_LANE: usize = 4_096;
/// A handshake datagram or data-channel message that crosses to assist, bytes.
pub const ASSIST_BYTES_MAX: usize = 16 * 1024;

/// Associations one assist thread keeps for one core: every peer of the core may be with the same thread.
pub const ASSOCIATIONS_PER_ASSIST: usize = PEERS_PER_CORE;
/// Application datagrams held per association while the promised certificate is not known yet: one SCTP INIT and its repeats.
pub const EARLY_DATA_PER_ASSOCIATION: usize = 8;
/// Data channels of one association: two of the LiveKit protocol each way, and room.
pub const CHANNELS_PER_PEER: usize = 32;
/// Largest data-channel message, as `a=max-message-size` says; also the reassembly limit.
pub const CHANNEL_MESSAGE_BYTES_MAX: u32 = 65_536;
/// Received data-channel bytes waiting per association; beyond it the peer's window closes. Four of the largest messages.
pub const CHANNEL_QUEUE_BYTES: u32 = 4 * CHANNEL_MESSAGE_BYTES_MAX;
/// Stream numbers a peer may use: an even and an odd one for each channel. What comes on a higher one ends its channels.
pub const CHANNEL_STREAMS: u16 = 2 * CHANNELS_PER_PEER as u16;
/// Largest message we send: one received, its sender's name, and the list of its receivers once more.
pub const CHANNEL_SEND_BYTES_MAX: u32 = 2 * CHANNEL_MESSAGE_BYTES_MAX;
/// Chunks received and not read per association: a message of one byte costs about 300. 4,096 x 300 B = 1.2 MiB.
pub const CHANNEL_UNREAD_CHUNKS: u32 = 4_096;
/// Messages one peer may say per second; more wait with it.
pub const CHANNEL_MESSAGES_PER_SECOND: u32 = 1_000;
/// And at once: what was typed or drawn while its link was down.
pub const CHANNEL_MESSAGES_BURST: u32 = 2_000;
/// Bytes one peer may say per second: a quarter of a video, in 15 KB pieces of files.
pub const CHANNEL_BYTES_PER_SECOND: u32 = 512 * 1024;
/// And at once: two of the largest messages. A long burst is a long queue at receivers on ordinary links.
pub const CHANNEL_BYTES_BURST: u32 = 128 * 1024;
/// Copies that may be made of what one peer says, per second. One costs an assist thread ~15 us: 15 % of it.
pub const CHANNEL_COPIES_PER_SECOND: u32 = 10_000;
/// And at once.
pub const CHANNEL_COPIES_BURST: u32 = 20_000;
/// Bytes of those copies per second: 64 Mbit/s.
pub const CHANNEL_COPIED_BYTES_PER_SECOND: u32 = 8 * 1024 * 1024;
/// And at once.
pub const CHANNEL_COPIED_BYTES_BURST: u32 = 8 * 1024 * 1024;
/// Messages of one peer on their way through the control plane: what others wait for behind a flood is 64 of them. 64 x 99 copies x 15 us = 95 ms.
pub const CHANNEL_IN_FLIGHT_MESSAGES: u32 = 64;
/// And their bytes, less one message. With 100 people who flood, 100 x 128 KiB = 13 MiB.
pub const CHANNEL_IN_FLIGHT_BYTES: u64 = 64 * 1024;
/// Bytes on their way to one peer beyond which who sends it more is slowed down.
pub const CHANNEL_BACKLOG_BYTES: usize = 32 * 1024;
/// The bytes of a message that met such a queue count as on their way for as long as the queue takes at a sender's full rate, and no longer
/// than this: one receiver that is stuck slows nobody down below 64 KiB a second.
pub const CHANNEL_HOLD_MS_MAX: u64 = 1_000;
/// Bytes on their way to one peer beyond which it gets no message that may be lost.
pub const CHANNEL_LOSSY_BYTES: usize = 256 * 1024;
/// Bytes on their way to one peer beyond which its channels end: four seconds of one peer at its full rate. All receivers of a message
/// share its bytes; in a meeting of 100 where everybody is told something else by everybody, 100 x 2 MiB = 200 MiB.
pub const CHANNEL_RELIABLE_BYTES: usize = 2 * 1024 * 1024;
const _: () = assert!(
    CHANNEL_RELIABLE_BYTES > CHANNEL_LOSSY_BYTES && CHANNEL_LOSSY_BYTES > CHANNEL_SEND_BYTES_MAX as usize
);
/// Kept of a data channel's label.
pub const CHANNEL_LABEL_BYTES_MAX: usize = 64;
/// Requests an assist thread takes from one core before it looks after the others: handshakes cost milliseconds each.
pub const ASSIST_REQUESTS_PER_TURN: usize = 64;

/// Commands and assist replies a worker takes in one turn before packets have their turn again: ~100 us of work.
pub const LANE_ITEMS_PER_TURN: usize = 256;
/// Longest sleep of an idle worker; everything that matters wakes it earlier.
pub const IDLE_US_MAX: u64 = 1_000_000;
/// Sleep of a worker that has something for a full lane: the other side does not ring when it makes room.
pub const BLOCKED_US: u64 = 1_000;
/// Counters are copied to their shared page this often at most: ~70 words, ten times a second.
pub const PUBLISH_US: u64 = 100_000;

/// Paths remembered per peer: one per network interface and address family of a client, the selected one included. So many TCP
/// connections it may hold: a new one ends the longest silent of the others. 1,024 peers who do so fill a core's
/// [`TCP_CONNECTIONS_PER_CORE`].
pub const PATHS_PER_PEER: usize = 4;
const _: () = assert!(TCP_CONNECTIONS_PER_CORE / PATHS_PER_PEER >= 1_024);
/// Streams of one core. A 100-person meeting with cameras has ~20,000; 131,072 x ~1.6 KiB = 205 MiB.
pub const STREAMS_PER_CORE: usize = 131_072;
/// Published tracks of one core: four for each peer.
pub const TRACKS_PER_CORE: usize = 4 * PEERS_PER_CORE;

/// Packets of one core that wait for `flush` or for keys: audio of a turn, held early packets. 4,096 x 1536 B = 6 MiB.
pub const POOL_PACKETS: usize = 4_096;
/// Early packets of all peers together: half of the pool.
pub const EARLY_PACKETS_PER_CORE: usize = POOL_PACKETS / 2;
/// Entries of all send queues of one core: 262,144 x 56 B = 14 MiB. A 100-packet burst to 1,000 receivers is 100,000.
pub const QUEUE_ENTRIES: usize = 262_144;
/// Entries of one peer's send queue: nine 30-packet keyframes and their audio.
pub const QUEUE_PER_PEER: u32 = 512;
const _: () =
    assert!(EARLY_PACKETS_PER_PEER < EARLY_PACKETS_PER_CORE && QUEUE_ENTRIES > 256 * QUEUE_PER_PEER as usize);

/// STUN answers waiting for one `flush`.
pub const STUN_ANSWERS_PER_TURN: usize = 1_024;
/// STUN messages with a wrong MESSAGE-INTEGRITY that one core looks at per second. One costs ~1 us: 2 % of a core.
pub const STUN_FAILURES_PER_SECOND: u32 = 20_000;
/// Authenticated checks answered per peer and second; browsers send ~50/s at the start.
pub const STUN_CHECKS_PER_SECOND: u32 = 100;
/// Handshake and data-channel datagrams per peer and second.
pub const DTLS_PER_SECOND: u32 = 2_000;
/// RTCP datagrams per peer and second: 50 ms feedback for both directions is 40.
pub const RTCP_PER_SECOND: u32 = 1_000;
/// Requests for retransmission looked at per peer and second.
pub const RESENDS_PER_SECOND: u32 = 2_000;
/// At most this many at once.
pub const RESENDS_BURST: u32 = 256;

/// Keyframes that one receiver of a stream can have its publisher asked for beyond those that everybody waits for: what a lying
/// receiver costs the others. One per 2 s, and four at once for a link that breaks down.
pub const KEYFRAME_WISH_US: u32 = 2_000_000;
/// At most this many at once.
pub const KEYFRAME_WISHES_BURST: u32 = 4;

/// A receiver's link is divided among its streams this often.
pub const SHARE_INTERVAL_US: u64 = 200_000;
/// And at most this often, whatever its receiver says: dividing among 100 streams costs 0.06 ms, with many priorities 3 ms.
pub const SHARE_US_MIN: u64 = 10_000;
/// What a stream gets is told to the control plane at most this often.
pub const DELIVERY_INTERVAL_US: u64 = 500_000;
/// Video that waited longer for its receiver's link is dropped, and the stream begins anew. The keyframe of a shared screen, 250 KB,
/// takes 2.5 s at 800 kbit/s; dropped sooner, it would be asked for again and dropped again.
pub const PACED_US_MAX: u64 = 2_500_000;
/// A keyframe older than this is not shown to joiners: everything since would have to be decoded first.
pub const KEYFRAME_REPLAY_US: u64 = 3_000_000;
/// Packets since the keyframe that a joiner is sent at once: 2 Mbit/s for a second, less than half a peer's queue.
pub const KEYFRAME_REPLAY_PACKETS: u64 = 200;
const _: () = assert!(
    KEYFRAME_REPLAY_PACKETS < QUEUE_PER_PEER as u64 / 2
        && KEYFRAME_REPLAY_PACKETS < RTX_PACKETS_PER_LAYER as u64
);

/// A layer without packets for this long is not active: its receivers fall back.
pub const LAYER_SILENT_US: u64 = 700_000;
/// Missing packets are looked at this often.
pub const NACK_INTERVAL_US: u64 = 20_000;
/// Layers are checked for silence this often.
pub const LAYER_CHECK_US: u64 = 200_000;
/// Quality reports go to the control plane this often.
pub const QUALITY_INTERVAL_US: u64 = 2_000_000;

/// Media packets from addresses nobody proved that one core looks at per second, for a peer that moved. Looking through 16,384 peers
/// costs ~0.5 ms: 50 are 2.5 % of a core.
pub const ROAMS_PER_SECOND: u32 = 50;
/// Peers whose keys are tried on one of them: ~1 us each.
pub const ROAM_TRIES_PER_PACKET: usize = 64;

/// Longest frame taken from a TCP connection: what an assist thread takes; media is shorter.
pub const TCP_FRAME_BYTES_MAX: usize = ASSIST_BYTES_MAX;
/// Longest first frame: a STUN binding request with everything browsers put into it is ~150 bytes.
pub const TCP_FIRST_FRAME_BYTES_MAX: usize = 1_280;
/// Connections of the whole machine that have not shown whom they want; the oldest gives way to a new one. A flood of 5,000 a
/// second leaves each 100 ms for its first frame, which follows the handshake at once.
pub const TCP_HALF_OPEN_MAX: usize = 512;
/// Connections of one core that named a peer and did not prove it yet; the oldest gives way.
pub const TCP_UNPROVED_PER_CORE: usize = 256;
/// Read of such a connection in a turn, and in all: a few checks of 100 B. 256 x 2 KiB of the smallest frames, 3 B, are 175,000 a turn at
/// worst, once.
pub const TCP_UNPROVED_READ_BYTES: usize = 2 * 1024;
/// See [`TCP_UNPROVED_READ_BYTES`].
pub const TCP_UNPROVED_BYTES_MAX: usize = 16 * 1024;
/// TCP connections of one core. Each takes a descriptor, ~1 KiB, and up to its queue and one frame: 4,096 x 272 KiB = 1.1 GiB if all
/// their peers stop reading at once, for [`TCP_STALLED_US`].
pub const TCP_CONNECTIONS_PER_CORE: usize = 4_096;
/// Connections on their way from the door to one core.
pub const TCP_LANE: usize = 256;
/// A connection that did not authenticate within this time is closed.
pub const TCP_PROOF_US: u64 = 10_000_000;
/// A connection on which nothing was sent for this long is closed: its peer is gone or has another path (RFC 7675: 30 s).
pub const TCP_IDLE_US: u64 = CONSENT_US;
/// A connection that takes no byte of what waits for this long is closed.
pub const TCP_STALLED_US: u64 = 10_000_000;
/// Pictures wait while this much is queued on a connection: half a second of 400 kbit/s, which voices stand behind.
pub const TCP_CONGESTED_BYTES: usize = 24 * 1024;
/// Everything is dropped beyond this: voices, reports and handshakes alone take ten seconds to fill the rest.
pub const TCP_QUEUE_BYTES: usize = 256 * 1024;
const _: () = assert!(TCP_QUEUE_BYTES > TCP_CONGESTED_BYTES + 8 * ASSIST_BYTES_MAX);
/// Unsent bytes that the kernel may hold (TCP_NOTSENT_LOWAT), so that what waits waits with us.
pub const TCP_UNSENT_BYTES: u32 = 16 * 1024;
/// Bytes read from one connection before others have their turn.
pub const TCP_READ_BYTES: usize = 64 * 1024;
const _: () = assert!(TCP_READ_BYTES >= 2 * (TCP_FRAME_BYTES_MAX + 2));
/// A peer whose connection is congested is looked at again after this time: 24 KiB per 5 ms are 39 Mbit/s.
pub const TCP_RETRY_US: u64 = 5_000;
/// Video that waited this long for a congested connection is dropped: TCP repeats everything, so late stays late.
pub const TCP_LATE_US: u64 = 800_000;
