//! The control plane of kaigi: everything that decides, nothing that touches a packet.
//!
//! A call's way: `http` or `signal` -> `service` -> `store` (made durable) -> `dispatch` -> a core's lane; reports come back the
//! same way. `appliance` puts the parts together and takes them apart; `kaigid` (`main.rs`) is the thin program around it.
//! Ladder (imports only go down; `tests` holds it): `appliance -> {signal, operator}`; `signal -> {http, sdp, dispatch}`;
//! `{http, operator} -> app -> {guard, oidc, service, metrics, tls}`; `service -> {store, auth} -> ids`.
#![forbid(unsafe_code)]

pub mod app;
pub mod appliance;
pub mod auth;
pub mod config;
pub mod dispatch;
pub mod guard;
pub mod http;
pub mod ids;
pub mod logging;
pub mod metrics;
pub mod oidc;
pub mod operator;
pub mod plane;
pub mod sdp;
pub mod service;
pub mod signal;
pub mod store;
pub mod tls;
