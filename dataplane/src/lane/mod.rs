//! Lanes: the bounded queues that join a packet core to the control plane and to its assist threads.
//!
//! Place: off the packet path, touched once per loop turn. Two kinds: [`control`] (commands in, reports out) and [`assist`]
//! (handshake requests out, replies in). Every queue is a crossbeam `ArrayQueue` beside a [`Bell`].
//! Promises: nothing blocks. Full means: a command comes back to its sender, a state report or a request that is not a
//! datagram waits on its own side, a sample or a datagram is dropped and counted. A sleeper is woken once; who is awake costs
//! its neighbours no system call.
//! Not here: threads and file descriptors (`boot` makes both).

mod assist;
mod assists;
mod bell;
mod control;
mod outlet;
mod overflow;

pub use assist::{AssistEnd, CoreEnd as AssistCoreEnd, assist};
pub use assists::AssistLanes;
pub use bell::{Bell, ThreadBell};
pub use control::{ControlEnd, WorkerEnd, control};
pub use outlet::{Outlet, Ring, Sent};
