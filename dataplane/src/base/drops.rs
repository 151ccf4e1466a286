//! Why a datagram or packet was dropped. Each variant is a value of `kaigi_packets_dropped_total{reason}`.

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)+) => {
        /// Why a packet was dropped. Each variant is a counter on the dashboard.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum DropReason { $($(#[$doc])* $variant,)+ }

        impl DropReason {
            /// All reasons, in the order of their discriminants.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();
            /// The metric label's value.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

reasons! {
    /// First byte belongs to no protocol we demultiplex (RFC 7983).
    UnknownProtocol => "unknown_protocol",
    /// Shorter than its own headers claim.
    Truncated => "truncated",
    /// Structure contradicts its RFC.
    Malformed => "malformed",
    /// STUN: not a binding request we answer.
    StunUnexpected => "stun_unexpected",
    /// STUN: the username names no peer of this core.
    StunUnknownUser => "stun_unknown_user",
    /// STUN: MESSAGE-INTEGRITY or FINGERPRINT is missing or wrong.
    StunBadIntegrity => "stun_bad_integrity",
    /// No authenticated STUN ever came from this address.
    UnknownPeer => "unknown_peer",
    /// The authentication tag did not verify.
    BadTag => "bad_tag",
    /// Seen before, or older than the replay window (RFC 3711 section 3.3.2).
    Replayed => "replayed",
    /// The SRTP index of this key is used up (RFC 3711 section 9.2).
    KeyExhausted => "key_exhausted",
    /// Media came before the keys and the hold queue was full or the wait too long.
    NoKeys => "no_keys",
    /// The SSRC belongs to no negotiated stream and names no known mid or rid.
    UnknownSsrc => "unknown_ssrc",
    /// More streams than a peer may send.
    TooManySsrcs => "too_many_ssrcs",
    /// The payload type was not negotiated.
    UnknownPayloadType => "unknown_payload_type",
    /// RTX carried a packet we already had, or nothing.
    RtxDuplicate => "rtx_duplicate",
    /// Padding-only packet (probe): consumed here, not forwarded.
    Padding => "padding",
    /// The track is muted or nobody subscribes.
    NoSubscriber => "no_subscriber",
    /// The receiver gets another layer of this track.
    LayerNotSelected => "layer_not_selected",
    /// Audio of a large meeting that is not among its loudest voices.
    NotAmongSpeakers => "not_among_speakers",
    /// The receiver waits for a keyframe before this stream can start.
    WaitingForKeyframe => "waiting_for_keyframe",
    /// The receiver has no payload type for this codec.
    CodecNotNegotiated => "codec_not_negotiated",
    /// Too old to be put into the receiver's sequence.
    TooLate => "too_late",
    /// The receiver asked for a packet that is no longer cached.
    NotCached => "not_cached",
    /// The receiver has no nominated path yet.
    NoPath => "no_path",
    /// Video that waited too long for its receiver's link.
    PacedTooLong => "paced_too_long",
    /// Video that waited too long because its receiver's TCP connection takes no more.
    TcpLate => "tcp_late",
    /// The send queue of the receiver's TCP connection is full, or the connection is gone.
    TcpQueueFull => "tcp_queue_full",
    /// The receiver's send queue is full.
    QueueFull => "queue_full",
    /// The I/O backend had no send buffer left in this turn.
    SendBuffersFull => "send_buffers_full",
    /// Longer than a datagram we send, after its header was rewritten.
    TooLong => "too_long",
    /// The kernel refused the send.
    SendFailed => "send_failed",
    /// The lane to an assist thread is full.
    AssistFull => "assist_full",
    /// The receive queue of the socket overflowed in the kernel (SO_RXQ_OVFL).
    KernelOverflow => "kernel_overflow",
    /// RTCP: a packet type or feedback format we do not act on.
    RtcpIgnored => "rtcp_ignored",
    /// RTCP: names an SSRC that is not ours or not the peer's.
    RtcpUnknownSsrc => "rtcp_unknown_ssrc",
    /// Over a rate limit (STUN, RTCP or handshake flood).
    RateLimited => "rate_limited",
    /// A data-channel message that may be lost, of a peer over its rate.
    ChannelThrottled => "channel_throttled",
    /// A data-channel message that may be lost, for a peer whose queue is full.
    ChannelFull => "channel_full",
    /// A data-channel message for a channel that is not open any more.
    ChannelClosed => "channel_closed",
    /// SCTP or channel establishment that we do not take: too much unread, a message of no known protocol, a channel too many.
    ChannelRefused => "channel_refused",
}
