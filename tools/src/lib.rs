//! What people and tests run against kaigi from outside: the synthetic WebRTC client, its signalling, and (as binaries) the
//! load generator `kaigi-load` and the operator CLI `kaigi`.
//!
//! Promises: one client for the simulator, the tests, `kaigi-perf` and `kaigi-load`, so that all of them measure the same
//! thing. Not here: anything the appliance itself needs.
#![forbid(unsafe_code)]

pub mod client;
pub mod http;
pub mod load;
pub mod signalling;
