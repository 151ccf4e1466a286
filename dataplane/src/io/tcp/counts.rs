//! What became of TCP connections: the labels of `kaigi_tcp_connections_closed_total`, counted by the door and by every core.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! ends {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)+) => {
        /// Why a connection ended. Each variant is a counter on the dashboard.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum TcpEnd { $($(#[$doc])* $variant,)+ }

        impl TcpEnd {
            /// All of them, in the order of their discriminants.
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

ends! {
    /// The peer closed it.
    Closed => "closed",
    /// The system ended it: reset, or nobody there.
    Failed => "failed",
    /// Its first frame is no STUN check for a peer of ours.
    NotStun => "not_stun",
    /// No whole first frame in time.
    Silent => "silent",
    /// No authenticated check in time.
    Unproved => "unproved",
    /// A newer connection took its place while it had proved nothing.
    PushedOut => "pushed_out",
    /// A frame longer than we take.
    FrameTooLong => "frame_too_long",
    /// Its core has as many connections as it takes.
    CoreFull => "core_full",
    /// Its peer ended, or has newer paths than it may have.
    Forgotten => "forgotten",
    /// Its peer is gone or uses another path.
    Idle => "idle",
    /// Its peer does not read.
    Stalled => "stalled",
    /// The same addresses connected anew.
    Replaced => "replaced",
    /// The appliance stopped.
    Stopped => "stopped",
}

/// Counters that the door and all cores share; nothing here is touched per packet.
#[derive(Debug, Default)]
pub struct TcpCounts {
    accepted: AtomicU64,
    ended: [AtomicU64; TcpEnd::COUNT],
}

impl TcpCounts {
    pub(super) fn accept(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self, end: TcpEnd) {
        self.ended[end as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Connections accepted since boot.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Connections that ended so since boot.
    #[must_use]
    pub fn ended(&self, end: TcpEnd) -> u64 {
        self.ended[end as usize].load(Ordering::Relaxed)
    }

    /// Connections that are open now.
    #[must_use]
    pub fn open(&self) -> u64 {
        // Ends first: one that begins and ends in between must not make the difference negative.
        let ended: u64 = self.ended.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        self.accepted().saturating_sub(ended)
    }
}
