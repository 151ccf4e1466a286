//! Which room a report belongs to: learned from the commands that pass.

use std::collections::HashMap;

use dataplane::base::ids::{CoreId, MeetingId, PeerId, StreamId, TrackId};
use dataplane::command::{Command, Report};

use super::RoomInbox;

/// Rooms by meeting, and meetings by what they own.
#[derive(Default)]
pub struct Routes {
    rooms: HashMap<MeetingId, (CoreId, RoomInbox)>,
    peers: HashMap<PeerId, MeetingId>,
    tracks: HashMap<TrackId, MeetingId>,
    streams: HashMap<StreamId, MeetingId>,
}

impl Routes {
    /// A room begins.
    pub fn open(&mut self, meeting: MeetingId, core: CoreId, inbox: RoomInbox) {
        self.rooms.insert(meeting, (core, inbox));
    }

    /// A room ends; the core it was on.
    pub fn close(&mut self, meeting: MeetingId) -> Option<CoreId> {
        let (core, _) = self.rooms.remove(&meeting)?;
        // Rooms take back what they own before they end; this is for those that could not.
        self.peers.retain(|_, of| *of != meeting);
        self.tracks.retain(|_, of| *of != meeting);
        self.streams.retain(|_, of| *of != meeting);
        Some(core)
    }

    /// A command passes.
    pub fn note(&mut self, meeting: MeetingId, command: &Command) {
        match command {
            Command::OpenPeer(open) => {
                self.peers.insert(open.peer, meeting);
            }
            Command::ClosePeer { peer } => {
                self.peers.remove(peer);
            }
            Command::Publish(publish) => {
                self.tracks.insert(publish.track, meeting);
            }
            Command::Unpublish { track } => {
                self.tracks.remove(track);
            }
            Command::Subscribe(subscribe) => {
                self.streams.insert(subscribe.stream, meeting);
            }
            Command::OpenStream(open) => {
                self.streams.insert(open.stream, meeting);
            }
            Command::Unsubscribe { stream } => {
                self.streams.remove(stream);
            }
            _ => {}
        }
    }

    /// Where a report goes.
    pub fn inbox(&self, report: &Report) -> Option<RoomInbox> {
        let meeting = match report {
            Report::PeerPath { peer }
            | Report::PeerReady { peer, .. }
            | Report::PeerEnded { peer, .. }
            | Report::ChannelOpen { peer, .. }
            | Report::ChannelClosed { peer, .. }
            | Report::ChannelsEnded { peer, .. }
            | Report::Message { peer, .. }
            | Report::Quality { peer, .. } => self.peers.get(peer)?,
            Report::TrackStarted { track } => self.tracks.get(track)?,
            Report::StreamStarted { stream } | Report::Delivery { stream, .. } => self.streams.get(stream)?,
            Report::Speakers { meeting, .. } => meeting,
            Report::Stopped => return None,
        };
        self.rooms.get(meeting).map(|(_, inbox)| inbox.clone())
    }

    /// Rooms on a core.
    pub fn rooms_on(&self, core: CoreId) -> Vec<RoomInbox> {
        self.rooms.values().filter(|(on, _)| *on == core).map(|(_, inbox)| inbox.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::FromCore;

    #[test]
    fn reports_find_the_room_whose_command_named_their_subject() {
        let mut routes = Routes::default();
        let (one, mut inbox_one) = tokio::sync::mpsc::channel(4);
        let (two, _inbox_two) = tokio::sync::mpsc::channel(4);
        routes.open(MeetingId(1), CoreId(0), one);
        routes.open(MeetingId(2), CoreId(1), two);
        let open = |peer| {
            Command::OpenPeer(Box::new(dataplane::command::OpenPeer {
                peer: PeerId(peer),
                meeting: MeetingId(1),
                participant: dataplane::base::ids::ParticipantId(1),
                local: dataplane::command::IceCredentials { ufrag: String::new(), pwd: String::new() },
                dtls: dataplane::base::handoff::DtlsVersion::V12,
                channels: &[],
            }))
        };
        routes.note(MeetingId(1), &open(7));
        let report = Report::PeerPath { peer: PeerId(7) };
        let inbox = routes.inbox(&report).expect("the peer is known");
        assert!(inbox.try_send(FromCore::Report(report)).is_ok());
        assert!(matches!(inbox_one.try_recv(), Ok(FromCore::Report(Report::PeerPath { peer: PeerId(7) }))));
        // What a player is sent belongs to its room as well.
        let stream = StreamId(70);
        routes.note(
            MeetingId(1),
            &Command::OpenStream(Box::new(dataplane::command::OpenStream {
                stream,
                peer: PeerId(7),
                kind: dataplane::base::media::MediaKind::Video,
                mid: Default::default(),
                ssrc: dataplane::base::ids::Ssrc(1),
                rtx: None,
                extensions: Default::default(),
            })),
        );
        let started = Report::StreamStarted { stream };
        assert!(routes.inbox(&started).is_some());
        routes.note(MeetingId(1), &Command::Unsubscribe { stream });
        assert!(routes.inbox(&started).is_none());
        routes.note(MeetingId(1), &Command::ClosePeer { peer: PeerId(7) });
        assert!(routes.inbox(&Report::PeerPath { peer: PeerId(7) }).is_none());
        assert_eq!(routes.rooms_on(CoreId(1)).len(), 1);
        assert_eq!(routes.close(MeetingId(2)), Some(CoreId(1)));
        assert_eq!(routes.close(MeetingId(2)), None);
    }
}
