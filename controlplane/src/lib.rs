//! The control plane of kaigi: everything that decides, nothing that touches a packet.
//!
//! A call's way: `http` or `signal` -> `service` -> `store` (made durable) -> `dispatch` -> a core's lane; reports come back the
//! same way. `app` puts the parts together; `kaigid` (`main.rs`) is the thin program around it.
#![forbid(unsafe_code)]

pub mod app;
pub mod auth;
pub mod config;
pub mod dispatch;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod operator;
pub mod plane;
pub mod sdp;
pub mod service;
pub mod signal;
pub mod store;
