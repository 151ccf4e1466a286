//! Commands of the control plane, and the end of a peer.

use super::peers::Peer;
use super::{Engine, State};
use crate::base::handoff::AssistRequest;
use crate::base::ids::PeerId;
use crate::base::slab::Key;
use crate::base::time::Micros;
use crate::command::{Command, OpenPeer, PeerEnd, Relay, RemotePeer, Report};
use crate::session::ice::Ice;

impl Engine {
    pub(super) fn command(&mut self, now: Micros, command: Command) {
        if self.state != State::Running {
            return;
        }
        match command {
            Command::OpenPeer(open) => self.open_peer(now, *open),
            Command::RemotePeer(remote) => self.remote_peer(*remote),
            Command::RestartIce { peer, local } => {
                if let Some(peer) = self.peers.key_of(peer).and_then(|key| self.peers.get_mut(key)) {
                    peer.ice.restart(&local.ufrag, &local.pwd);
                }
            }
            Command::ClosePeer { peer } => {
                if let Some(key) = self.peers.key_of(peer) {
                    self.remove_peer(key);
                }
            }
            Command::Publish(publish) => {
                if let Some(index) = self.index_of(publish.peer) {
                    self.rooms.publish(index, *publish);
                }
            }
            Command::Unpublish { track } => self.rooms.unpublish(track),
            Command::Mute { track, muted } => self.rooms.mute(now, track, muted),
            Command::Subscribe(subscribe) => {
                if let Some(index) = self.index_of(subscribe.peer) {
                    self.rooms.subscribe(now, index, *subscribe);
                }
            }
            Command::OpenStream(open) => {
                if let Some(index) = self.index_of(open.peer) {
                    self.rooms.open_stream(index, *open);
                }
            }
            Command::Retarget(retarget) => self.rooms.retarget(now, *retarget),
            Command::Unsubscribe { stream } => self.rooms.unsubscribe(stream),
            Command::Want { stream, wanted } => self.rooms.want(now, stream, wanted),
            Command::RequestKeyframe { track } => self.rooms.request_keyframe(track),
            Command::Relay(relay) => self.relay(*relay),
            Command::Shutdown => {
                let keys: Vec<Key> = self.peers.keys().collect();
                for key in keys {
                    self.remove_peer(key);
                }
                self.state = State::Stopping;
            }
        }
        self.counters.meetings = self.rooms.meetings() as u64;
    }

    fn index_of(&self, peer: PeerId) -> Option<usize> {
        self.peers.key_of(peer).map(Key::index)
    }

    fn open_peer(&mut self, now: Micros, open: OpenPeer) {
        if self.peers.key_of(open.peer).is_some() {
            return;
        }
        let ice = Ice::new(self.config.suite, &open.local.ufrag, &open.local.pwd);
        let peer = Peer::new(now, open.peer, ice);
        let admitted = self.peers.insert(peer).filter(|key| {
            let admitted = self.rooms.admit(key.index(), open.peer, open.participant, open.meeting);
            if !admitted {
                self.peers.remove(*key);
            }
            admitted
        });
        let Some(key) = admitted else {
            self.reports.state(Report::PeerEnded { peer: open.peer, end: PeerEnd::NoRoom });
            return;
        };
        self.peer_timers.admit(key.index());
        self.paced.admit(key.index());
        self.arm(key);
        self.request(AssistRequest::Open { peer: open.peer, meeting: open.meeting, version: open.dtls });
        for &(label, reliable) in open.channels {
            self.request(AssistRequest::OpenChannel { peer: open.peer, label, reliable });
        }
    }

    fn remote_peer(&mut self, remote: RemotePeer) {
        let Some(peer) = self.peers.key_of(remote.peer).and_then(|key| self.peers.get_mut(key)) else {
            return;
        };
        peer.ice.set_remote(&remote.ufrag);
        self.request(AssistRequest::Expect { peer: remote.peer, fingerprint: remote.fingerprint });
    }

    /// Hands a message to the associations of its receivers, and after them the word to its sender's that it has been passed on.
    fn relay(&mut self, relay: Relay) {
        let Relay { from, to, bytes } = relay;
        let from = from.filter(|(peer, _)| self.peers.key_of(*peer).is_some());
        let answers = from.is_some();
        let mut copies = 0;
        for (peer, channel) in to {
            if self.peers.key_of(peer).is_some() {
                copies += 1;
                self.request(AssistRequest::SendMessage { peer, channel, bytes: bytes.clone(), answers });
            }
        }
        if let Some((peer, bytes)) = from {
            self.request(AssistRequest::MessagePassed { peer, bytes, copies });
        }
    }

    /// A peer ends by itself: everything of it goes, and the control plane is told.
    pub(super) fn end_peer(&mut self, key: Key, end: PeerEnd) {
        if let Some(peer) = self.remove_peer(key) {
            self.reports.state(Report::PeerEnded { peer, end });
        }
        self.counters.meetings = self.rooms.meetings() as u64;
    }

    fn remove_peer(&mut self, key: Key) -> Option<PeerId> {
        let mut peer = self.peers.remove(key)?;
        let early = peer.early.take();
        self.early_count -= early.len();
        for slot in early {
            self.rooms.pool().release(slot);
        }
        self.rooms.dismiss(key.index());
        self.peer_timers.disarm(key.index());
        self.paced.disarm(key.index());
        if peer.srtp.is_some() {
            self.counters.peers -= 1;
        }
        self.request(AssistRequest::Close { peer: peer.id });
        Some(peer.id)
    }
}
