//! What a load needs from the server it is put through: kaigi's own packet plane or a peer.
//!
//! Promises: everything the harness does to a server is here, so that all of them get the same load and are measured alike.

use std::net::SocketAddr;

use anyhow::Result;
use dataplane::base::counters::Counters;
use dataplane::base::ids::{Mid, Ssrc};
use dataplane::base::media::ExtensionMap;
use dataplane::base::time::Micros;
use tools::client::Client;
use tools::client::receiver::ReceiveConfig;

use super::checks::Checks;
use super::options::Options;
use crate::meter::Meter;

/// Stamped room of the first meeting.
const ROOM: u64 = 1;

/// One association's place in the load. Publishers of all meetings come first, then subscribers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its number in the load.
    pub number: u32,
    /// Its meeting, from 0.
    pub meeting: u32,
    /// Its number among the publishers or subscribers of the meeting.
    pub local: u32,
    /// Whether it publishes; else it subscribes.
    pub publishes: bool,
}

impl Place {
    /// The place with a number.
    pub const fn new(options: &Options, number: u32) -> Self {
        let (publishers, subscribers) = (options.publishers, options.receivers());
        let publishing = options.meetings * publishers;
        if number < publishing {
            return Self {
                number,
                meeting: number / publishers,
                local: number % publishers,
                publishes: true,
            };
        }
        let rest = number - publishing;
        Self { number, meeting: rest / subscribers, local: rest % subscribers, publishes: false }
    }

    /// The number its meeting's packets are stamped with.
    pub const fn room(&self) -> u64 {
        ROOM + self.meeting as u64
    }

    /// Local numbers of the publishers it receives.
    pub fn receives(&self, options: &Options) -> impl Iterator<Item = u32> + use<> {
        let (publishes, own) = (self.publishes, options.everyone.then_some(self.local));
        (0..options.publishers).filter(move |publisher| !publishes && Some(*publisher) != own)
    }
}

/// How a publisher sends, as agreed with the server.
#[derive(Clone, Debug)]
pub struct Sends {
    /// SSRC of the track.
    pub ssrc: Ssrc,
    /// SSRC and payload type of its retransmissions.
    pub rtx: Option<(Ssrc, u8)>,
    /// Its media section.
    pub mid: Option<Mid>,
    /// Payload type.
    pub pt: u8,
    /// Header extensions.
    pub extensions: ExtensionMap,
}

/// An association that is signalled; its checks are about to begin.
pub struct Joined {
    /// The client.
    pub client: Client,
    /// Where it sends.
    pub server: SocketAddr,
    /// Answers to the server's own checks, if it makes any.
    pub checks: Option<Checks>,
    /// What it may send.
    pub sends: Option<Sends>,
    /// What it will be sent.
    pub receives: Vec<ReceiveConfig>,
}

/// A running server.
pub trait Server {
    /// Which one it is, with what makes it comparable: version, I/O, crypto.
    fn name(&self) -> String;

    /// Signals the association of a place, whose client will send from `local`.
    fn join(&mut self, place: Place, local: SocketAddr, now: Micros) -> Result<Joined>;

    /// How many more associations the server calls ready since the last call; a server that does not say counts none. An error
    /// when it has ended.
    fn poll(&mut self) -> Result<u32>;

    /// Whether [`Self::poll`] counts at all.
    fn counts_ready(&self) -> bool;

    /// Everybody is there: streams are connected. Answers how long to wait for that, microseconds.
    fn connect(&mut self) -> Result<u64>;

    /// A meter of everything that works for the server.
    fn meter(&self, tsc_hz: f64) -> Result<Meter>;

    /// Its own counters, if it is kaigi.
    fn counters(&self) -> Option<Counters>;

    /// Bytes it holds for its participants, if that is known.
    fn memory_bytes(&self) -> Option<u64>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_fill_meetings_with_publishers_first() {
        let options = Options { meetings: 2, publishers: 2, subscribers: 3, ..Options::for_tests() };
        let places: Vec<_> = (0..options.associations()).map(|number| Place::new(&options, number)).collect();
        let facts: Vec<_> = places.iter().map(|p| (p.meeting, p.local, p.publishes)).collect();
        assert_eq!(facts[..4], [(0, 0, true), (0, 1, true), (1, 0, true), (1, 1, true)]);
        assert_eq!(facts[4..8], [(0, 0, false), (0, 1, false), (0, 2, false), (1, 0, false)]);
        assert_eq!(facts.len(), 10);
        assert_eq!(places[5].receives(&options).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(places[0].receives(&options).count(), 0);
    }

    #[test]
    fn where_everyone_sends_nobody_hears_themselves() {
        let options =
            Options { meetings: 2, publishers: 3, subscribers: 50, everyone: true, ..Options::for_tests() };
        assert_eq!((options.associations(), options.streams()), (12, 12));
        let last = Place::new(&options, 11);
        assert_eq!((last.meeting, last.local, last.publishes), (1, 2, false));
        assert_eq!(last.receives(&options).collect::<Vec<_>>(), [0, 1]);
    }
}
