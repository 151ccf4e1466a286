//! State reports that found the lane full: kept in order, coalesced per peer, never lost.
//!
//! Bounded by what the core holds: one entry per peer for its path, keys and end, one per track and stream for its start; data
//! channel messages are bounded because the worker stops taking assist replies while reports wait here.

use std::collections::{HashMap, VecDeque};

use crate::base::ids::{PeerId, StreamId};
use crate::command::{Delivery, Report};

enum Entry {
    /// News of this peer, to be looked up in `news`.
    Peer(PeerId),
    /// News of this stream, to be looked up in `deliveries`.
    Stream(StreamId),
    Other(Report),
}

/// What is new about a peer. Its end makes its path and its keys old news.
#[derive(Default)]
struct News {
    path: Option<Report>,
    ready: Option<Report>,
}

/// State reports waiting for room in the lane.
#[derive(Default)]
pub(super) struct Overflow {
    order: VecDeque<Entry>,
    news: HashMap<PeerId, News>,
    /// The latest delivery of each stream that has one waiting.
    deliveries: HashMap<StreamId, Delivery>,
}

impl Overflow {
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn push(&mut self, report: Report) {
        let peer = match &report {
            Report::PeerPath { peer } | Report::PeerReady { peer, .. } => *peer,
            Report::PeerEnded { peer, .. } => {
                self.news.remove(peer);
                self.order.push_back(Entry::Other(report));
                return;
            }
            Report::Delivery { stream, delivery } => {
                if self.deliveries.insert(*stream, *delivery).is_none() {
                    self.order.push_back(Entry::Stream(*stream));
                }
                return;
            }
            _ => {
                self.order.push_back(Entry::Other(report));
                return;
            }
        };
        let news = self.news.entry(peer).or_insert_with(|| {
            self.order.push_back(Entry::Peer(peer));
            News::default()
        });
        match report {
            Report::PeerPath { .. } => news.path = Some(report),
            _ => news.ready = Some(report),
        }
    }

    pub(super) fn pop(&mut self) -> Option<Report> {
        while let Some(entry) = self.order.pop_front() {
            let peer = match entry {
                Entry::Other(report) => return Some(report),
                Entry::Peer(peer) => peer,
                Entry::Stream(stream) => {
                    let Some(delivery) = self.deliveries.remove(&stream) else { continue };
                    return Some(Report::Delivery { stream, delivery });
                }
            };
            let Some(mut news) = self.news.remove(&peer) else { continue };
            if let Some(path) = news.path.take() {
                if news.ready.is_some() {
                    self.order.push_front(Entry::Peer(peer));
                    self.news.insert(peer, news);
                }
                return Some(path);
            }
            if news.ready.is_some() {
                return news.ready;
            }
        }
        None
    }

    /// Puts back what `pop` gave out, to be given out first again.
    pub(super) fn put_back(&mut self, report: Report) {
        self.order.push_front(Entry::Other(report));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::handoff::{DtlsVersion, SrtpProfile};
    use crate::base::ids::TrackId;
    use crate::command::PeerEnd;

    fn ready(peer: u32) -> Report {
        Report::PeerReady { peer: PeerId(peer), dtls: DtlsVersion::V12, profile: SrtpProfile::AeadAes256Gcm }
    }

    #[test]
    fn reports_come_out_in_order_and_once_per_peer() {
        let mut overflow = Overflow::default();
        overflow.push(Report::PeerPath { peer: PeerId(1) });
        overflow.push(Report::TrackStarted { track: TrackId(7) });
        overflow.push(Report::PeerPath { peer: PeerId(1) });
        overflow.push(ready(1));
        assert!(matches!(overflow.pop(), Some(Report::PeerPath { peer: PeerId(1) })));
        assert!(matches!(overflow.pop(), Some(Report::PeerReady { peer: PeerId(1), .. })));
        assert!(matches!(overflow.pop(), Some(Report::TrackStarted { track: TrackId(7) })));
        assert!(overflow.pop().is_none() && overflow.is_empty());
    }

    #[test]
    fn the_latest_delivery_of_a_stream_replaces_the_one_before() {
        let delivery = |layer| Delivery {
            paused: false,
            layer,
            temporal: 0,
            layer_count: 3,
            temporal_count: 1,
            bitrate_bps: 0,
            reason: None,
        };
        let mut overflow = Overflow::default();
        for layer in [0, 2, 1] {
            overflow.push(Report::Delivery { stream: StreamId(4), delivery: delivery(layer) });
        }
        let told = overflow.pop();
        assert!(
            matches!(told, Some(Report::Delivery { stream: StreamId(4), delivery }) if delivery.layer == 1)
        );
        assert!(overflow.pop().is_none() && overflow.is_empty());
    }

    #[test]
    fn the_end_of_a_peer_replaces_what_was_new_about_it() {
        let mut overflow = Overflow::default();
        for peer in 0..100 {
            overflow.push(Report::PeerPath { peer: PeerId(peer) });
            overflow.push(ready(peer));
            overflow.push(Report::PeerEnded { peer: PeerId(peer), end: PeerEnd::ConsentExpired });
        }
        for peer in 0..100 {
            assert!(matches!(overflow.pop(), Some(Report::PeerEnded { peer: p, .. }) if p == PeerId(peer)));
        }
        assert!(overflow.pop().is_none());
    }
}
