//! What participants say: messages of data channels, from one to those it names (`routing`), and the last of them for those whose
//! channel is not there yet or came anew (`history`).

mod history;
mod routing;

pub use self::routing::{Counts, MemberData, Router};
