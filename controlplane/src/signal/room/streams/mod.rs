//! What participants receive: wishes and offers (`subscribing`), the offers of those with one connection (`single`), which codec
//! (`codecs`), what players are shown (`players`), and what the packet core says became of it (`deliveries`).

mod codecs;
mod deliveries;
mod players;
mod single;
mod stream;
mod subscribing;

pub(in crate::signal::room) use self::codecs::is_regressed;
pub use self::deliveries::Tally;
pub use self::players::Player;
pub use self::stream::{Stream, Subscriber, Supply};
