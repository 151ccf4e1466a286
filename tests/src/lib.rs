//! What the tests above the crates share.
//!
//! [`daemon`] starts the real `kaigid` and [`http`] talks to it over a plain socket; [`fuzzing`] is what the fuzz targets do;
//! [`world`] is a simulated server with its guests.
//! [`relay`] is a bad network for real clients.

pub mod daemon;
pub mod fuzzing;
pub mod http;
pub mod livekit;
pub mod world;
pub mod relay;
