//! The packet plane of kaigi: pinned cores that touch packets and nothing else.
//!
//! A packet's way: `io` -> `worker` -> `engine` -> `session::srtp` (open) -> `room` -> `session::srtp` (seal) -> `io`.
//! The border to the control plane is [`command`]: `Command` in, `Report` out, over bounded lanes.
//! Ladder (imports only go down): `boot -> worker -> {io, engine, assist, lane}`; `lane -> command -> base`;
//! `engine -> {command, room} -> session -> wire -> base`; `session -> kernels`.
#![deny(unsafe_code)]

pub mod assist;
pub mod base;
pub mod boot;
pub mod command;
pub mod engine;
pub mod io;
pub mod lane;
pub mod room;
pub mod session;
pub mod wire;
pub mod worker;
