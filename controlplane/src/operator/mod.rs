//! What an operator does on the machine: tokens, backup, restore, check.
//!
//! With a server running on the data directory these talk to it through `DATA/kaigid.sock`; without one they open the store.

pub mod backup;
pub mod check;
mod daily;
pub mod rotate;
mod socket;
pub mod token;

pub use daily::DailyBackups;
pub use socket::{Answer, OperatorSocket, Request, ask};
