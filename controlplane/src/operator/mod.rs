//! What an operator does on the machine: tokens, the first account's link, keys, backup, restore, check.
//!
//! With a server running on the data directory these talk to it through `DATA/kaigid.sock`; without one they open the store.

pub mod backup;
pub mod check;
mod daily;
mod old_answers;
pub mod rotate_signing_key;
pub mod rotate_store_key;
pub mod setup_link;
mod socket;
pub mod token;

pub use daily::DailyBackups;
pub use old_answers::OldAnswers;
pub use socket::{Answer, OperatorSocket, Request, ask};
