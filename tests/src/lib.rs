//! What the tests above the crates share.
//!
//! [`daemon`] starts the real `kaigid` and [`http`] talks to it over a plain socket.

pub mod daemon;
pub mod http;
