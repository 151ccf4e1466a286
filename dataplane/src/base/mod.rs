//! What every layer of the dataplane shares: identities, time, limits, counters and the plain data that crosses borders.
//!
//! Bottom of the ladder: nothing here imports another module of the crate.

pub mod counters;
pub mod drops;
pub mod handoff;
pub mod ids;
pub mod limits;
pub mod media;
pub mod net;
pub mod rate;
pub mod reason;
pub mod rng;
pub mod slab;
pub mod table;
pub mod time;
