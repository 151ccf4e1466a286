//! What the tests above the crates share.
//!
//! [`daemon`] starts the real `kaigid` and [`http`] talks to it over a plain socket; [`fuzzing`] is what the fuzz targets do;
//! [`world`] is a simulated server with its guests; [`people`] have accounts and sign in, also by a [`provider`].
//! [`relay`] is a bad network for real clients; [`python`] is what the clients in Python run in; [`table`] is who may do what;
//! [`signing`] is a key a test knows; [`power_loss`] takes back what was not synced.

pub mod daemon;
pub mod fuzzing;
pub mod home;
pub mod http;
pub mod livekit;
pub mod people;
pub mod power_loss;
pub mod provider;
pub mod python;
pub mod relay;
pub mod signing;
pub mod table;
pub mod world;
