//! The memory of one peer: SRTP contexts, loss repair, reports. Sans-IO.
//!
//! Path: between `engine` and `room` above and `wire` and `kernels` below.
//! Promises: no clock, socket or thread; time is an argument; every table has a bound.

pub mod bwe;
pub mod ice;
pub mod nack;
pub mod pacer;
pub mod reports;
pub mod rtx_cache;
pub mod srtp;
pub mod twcc;
