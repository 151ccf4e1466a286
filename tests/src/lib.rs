//! What the tests above the crates share.
//!
//! [`daemon`] starts the real `kaigid` and [`http`] talks to it over a plain socket; [`fuzzing`] is what the fuzz targets do;
//! [`relay`] is a bad network for real clients.

pub mod daemon;
pub mod fuzzing;
pub mod http;
pub mod livekit;
pub mod relay;
