//! Messages of data channels: who gets them, in which order, how often.

use bytes::Bytes;
use dataplane::base::handoff::ChannelsEnd;
use dataplane::command::Relay;
use prost::Message as _;
use proto::data_packet::Value;

use super::*;
use crate::signal::grant::GrantChange;
use crate::signal::packet::{Channel, DESTINATIONS_MAX, Refusal};

/// SCTP streams of the channels we open on subscriber connections.
const RELIABLE: u16 = 1;
const LOSSY: u16 = 3;
/// And of those that clients open on theirs.
const THEIR_RELIABLE: u16 = 0;
const THEIR_LOSSY: u16 = 2;
const THEIR_TRACKS: u16 = 4;

fn packet(sequence: u32, payload: &[u8], destinations: &[&str]) -> Vec<u8> {
    let user = proto::UserPacket { payload: payload.into(), ..Default::default() };
    let packet = proto::DataPacket {
        sequence,
        destination_identities: destinations.iter().map(|name| (*name).into()).collect(),
        value: Some(Value::User(user)),
        ..Default::default()
    };
    packet.encode_to_vec()
}

/// What one relay says: payload, sender's identity.
fn read(bytes: &Bytes) -> (Vec<u8>, String) {
    let packet = proto::DataPacket::decode(bytes.clone()).expect("we wrote it");
    let Some(Value::User(user)) = packet.value else { panic!("only user packets are sent here") };
    (user.payload, packet.participant_identity)
}

impl Stage {
    fn key(&self, user: u64) -> MemberKey {
        let found = self.room.members.iter().find(|(_, member)| member.admission.user == UserId(user));
        *found.expect("it is in the room").0
    }

    fn peer(&self, user: u64, side: Side) -> PeerId {
        let member = &self.room.members[&self.key(user)];
        match side {
            Side::Subscriber | Side::Both => member.subscriber.peer.id,
            Side::Publisher => member.publisher.as_ref().expect("it offered").id,
        }
    }

    /// Joins, publishes nothing, and opens its channels on both connections.
    fn join_with_channels(&mut self, user: u64) {
        self.join(user);
        self.publish(user, CHROMIUM, &[]);
        self.open_theirs(user);
        self.open_ours(user);
        self.take(user);
    }

    fn open(&mut self, peer: PeerId, channel: u16, label: &str, ours: bool) {
        self.report(Report::ChannelOpen { peer, channel, label: label.into(), ours });
    }

    fn open_theirs(&mut self, user: u64) {
        let peer = self.peer(user, Side::Publisher);
        self.open(peer, THEIR_LOSSY, "_lossy", false);
        self.open(peer, THEIR_RELIABLE, "_reliable", false);
        self.open(peer, THEIR_TRACKS, "_data_track", false);
    }

    fn open_ours(&mut self, user: u64) {
        let peer = self.peer(user, Side::Subscriber);
        self.open(peer, RELIABLE, "_reliable", true);
        self.open(peer, LOSSY, "_lossy", true);
    }

    fn say(&mut self, user: u64, channel: u16, bytes: &[u8]) {
        let peer = self.peer(user, Side::Publisher);
        self.report(Report::Message { peer, channel, bytes: bytes.into() });
    }

    fn relays(&mut self) -> Vec<Relay> {
        let (relays, others) =
            std::mem::take(&mut self.commands).into_iter().partition(|c| matches!(c, Command::Relay(_)));
        self.commands = others;
        let relays: Vec<Command> = relays;
        relays
            .into_iter()
            .map(|command| match command {
                Command::Relay(relay) => *relay,
                _ => unreachable!("only relays were kept"),
            })
            .collect()
    }

    /// Payloads that reach a user's reliable channel of ours since the last call; those of others are lost.
    fn heard(&mut self, user: u64) -> Vec<Vec<u8>> {
        let outlet = (self.peer(user, Side::Subscriber), RELIABLE);
        let relays = self.relays();
        relays.iter().filter(|relay| relay.to.contains(&outlet)).map(|relay| read(&relay.bytes).0).collect()
    }

    fn resumed(&mut self, user: u64, connection: u64) -> u32 {
        let sid = self.room.members[&self.key(user)].sid.clone();
        assert!(self.room.resume(self.now_ms, ConnectionId(connection), &sid, UserId(user), false));
        self.settle();
        let replies = self.take(connection);
        let Some(Reply::Reconnect(reconnect)) = replies.first() else { panic!("it begins with reconnect") };
        reconnect.last_message_seq
    }

    fn sync(&mut self, connection: u64, states: &[(u64, u32)]) {
        let datachannel_receive_states = states
            .iter()
            .map(|(user, last_seq)| proto::DataChannelReceiveState {
                publisher_sid: self.room.members[&self.key(*user)].sid.clone(),
                last_seq: *last_seq,
            })
            .collect();
        let state = proto::SyncState { datachannel_receive_states, ..Default::default() };
        self.request(connection, Message::SyncState(state));
    }
}

fn three() -> Stage {
    let mut stage = Stage::new();
    for user in 1..=3 {
        stage.join_with_channels(user);
    }
    stage.relays();
    stage
}

#[test]
fn a_message_reaches_everybody_else_or_whom_it_names_and_is_kept_once() {
    let mut stage = three();
    let outlet = |stage: &Stage, user, channel| (stage.peer(user, Side::Subscriber), channel);
    for (channel, theirs) in [(RELIABLE, THEIR_RELIABLE), (LOSSY, THEIR_LOSSY)] {
        for (names, receivers) in
            [(vec![], vec![2, 3]), (vec!["user_3", "user_1", "nobody"], vec![3]), (vec!["nobody"], vec![])]
        {
            let bytes = packet(0, b"hello", &names);
            stage.say(1, theirs, &bytes);
            let relays = stage.relays();
            let [relay] = &relays[..] else { panic!("one message, one relay") };
            let expected: Vec<_> = receivers.iter().map(|user| outlet(&stage, *user, channel)).collect();
            assert_eq!(relay.to, expected);
            assert_eq!(relay.from, Some((stage.peer(1, Side::Publisher), bytes.len() as u32)));
            assert_eq!(read(&relay.bytes), (b"hello".to_vec(), "user_1".into()));
        }
    }
    let counts = stage.room.take_data_counts();
    assert_eq!((counts.received, counts.sent), ([3, 3], [3, 3]));
}

#[test]
fn what_is_refused_is_counted_and_gives_its_sender_the_credit_back() {
    let mut stage = three();
    let crowd = vec!["user_2"; DESTINATIONS_MAX + 1];
    for (channel, bytes, refusal) in [
        (THEIR_RELIABLE, vec![0xff; 100], Refusal::Malformed),
        (THEIR_LOSSY, packet(0, b"x", &crowd), Refusal::Destinations),
        (THEIR_RELIABLE, Vec::new(), Refusal::Kind),
        (THEIR_TRACKS, packet(0, b"x", &[]), Refusal::Channel),
        (99, packet(0, b"x", &[]), Refusal::Channel),
    ] {
        stage.say(1, channel, &bytes);
        let relays = stage.relays();
        assert_eq!(relays.len(), 1);
        assert_eq!(relays[0].from, Some((stage.peer(1, Side::Publisher), bytes.len() as u32)));
        assert!(relays[0].to.is_empty());
        let counts = stage.room.take_data_counts();
        assert_eq!(counts.refused[refusal as usize], 1, "{refusal:?}");
        assert_eq!(counts.received, [0, 0]);
    }
}

#[test]
fn who_may_not_send_data_is_not_heard_until_it_may() {
    let mut stage = three();
    for (may, heard) in [(false, 0), (true, 2)] {
        let change = GrantChange { publish_data: Some(may), ..GrantChange::default() };
        stage.room.permit(stage.now_ms, UserId(1), change);
        stage.say(1, THEIR_RELIABLE, &packet(0, b"x", &[]));
        assert_eq!(stage.relays()[0].to.len(), heard);
        let refused = stage.room.take_data_counts().refused[Refusal::NotAllowed as usize];
        assert_eq!(refused, u64::from(!may));
    }
}

#[test]
fn a_message_waits_for_the_channel_of_a_receiver_who_was_there_and_for_no_later_one() {
    let mut stage = Stage::new();
    stage.join_with_channels(1);
    stage.say(1, THEIR_RELIABLE, &packet(1, b"alone", &[]));
    stage.join(2);
    stage.publish(2, CHROMIUM, &[]);
    stage.join(3);
    stage.relays();
    stage.say(1, THEIR_RELIABLE, &packet(2, b"both", &[]));
    stage.say(1, THEIR_RELIABLE, &packet(3, b"three", &["user_3"]));
    assert!(stage.relays().iter().all(|relay| relay.to.is_empty()), "nobody's channel is open");
    stage.open_ours(2);
    assert_eq!(stage.heard(2), [b"both"]);
    stage.say(1, THEIR_RELIABLE, &packet(4, b"more", &[]));
    stage.open_ours(3);
    assert_eq!(stage.heard(3), [&b"both"[..], b"three", b"more"]);
    stage.say(1, THEIR_RELIABLE, &packet(5, b"now", &[]));
    assert_eq!(stage.heard(3), [b"now"]);
}

#[test]
fn what_a_client_repeats_after_a_resume_is_heard_once() {
    let mut stage = three();
    for sequence in 1..=3 {
        stage.say(1, THEIR_RELIABLE, &packet(sequence, &[sequence as u8], &[]));
    }
    assert_eq!(stage.heard(2), [[1], [2], [3]]);
    stage.room.disconnected(stage.now_ms, ConnectionId(1));
    stage.say(1, THEIR_RELIABLE, &packet(4, &[4], &[]));
    assert_eq!(stage.resumed(1, 11), 4, "the last that came");
    // It had the answer, and one more that was on its way.
    stage.say(1, THEIR_RELIABLE, &packet(5, &[5], &[]));
    for sequence in [5, 6] {
        stage.say(1, THEIR_RELIABLE, &packet(sequence, &[sequence as u8], &[]));
    }
    assert_eq!(stage.heard(2), [[4], [5], [6]]);
    assert_eq!(stage.room.take_data_counts().refused[Refusal::Duplicate as usize], 1);
}

#[test]
fn a_receiver_that_resumes_gets_nothing_twice_while_its_channel_stands() {
    let mut stage = three();
    stage.say(1, THEIR_RELIABLE, &packet(1, &[1], &[]));
    stage.room.disconnected(stage.now_ms, ConnectionId(2));
    stage.say(1, THEIR_RELIABLE, &packet(2, &[2], &[]));
    assert_eq!(stage.heard(2), [[1], [2]], "its channel is not its socket");
    stage.resumed(2, 12);
    stage.sync(12, &[(1, 1)]);
    stage.say(1, THEIR_RELIABLE, &packet(3, &[3], &[]));
    assert_eq!(stage.heard(2), [[3]]);
}

#[test]
fn a_channel_that_was_lost_is_made_up_for_from_what_the_client_says_it_has() {
    for sync_first in [true, false] {
        let mut stage = three();
        for sequence in 1..=3 {
            stage.say(1, THEIR_RELIABLE, &packet(sequence, &[sequence as u8], &[]));
        }
        stage.say(3, THEIR_RELIABLE, &packet(1, &[31], &["user_2"]));
        stage.say(3, THEIR_RELIABLE, &packet(2, &[32], &["user_1"]));
        stage.relays();
        let peer = stage.peer(2, Side::Subscriber);
        stage.report(Report::ChannelClosed { peer, channel: RELIABLE });
        stage.say(1, THEIR_RELIABLE, &packet(4, &[4], &[]));
        assert!(stage.heard(2).is_empty());
        stage.resumed(2, 12);
        if sync_first {
            stage.sync(12, &[(1, 2)]);
            assert!(stage.heard(2).is_empty());
            stage.open_ours(2);
        } else {
            stage.open_ours(2);
            assert!(stage.heard(2).is_empty(), "what it lacks comes first");
            stage.sync(12, &[(1, 2)]);
        }
        assert_eq!(stage.heard(2), [[3], [31], [4]], "after the last it has, in order");
        stage.say(1, THEIR_RELIABLE, &packet(5, &[5], &[]));
        assert_eq!(stage.heard(2), [[5]]);
    }
}

#[test]
fn what_a_client_has_of_a_sender_who_left_is_not_said_again() {
    let mut stage = three();
    for sequence in 1..=3 {
        stage.say(1, THEIR_RELIABLE, &packet(sequence, &[sequence as u8], &[]));
    }
    stage.relays();
    let gone = stage.room.members[&stage.key(1)].sid.clone();
    let peer = stage.peer(2, Side::Subscriber);
    stage.report(Report::ChannelClosed { peer, channel: RELIABLE });
    stage.request(1, Message::Leave(proto::LeaveRequest::default()));
    stage.resumed(2, 12);
    stage.open_ours(2);
    let states = vec![proto::DataChannelReceiveState { publisher_sid: gone, last_seq: 2 }];
    let state = proto::SyncState { datachannel_receive_states: states, ..Default::default() };
    stage.request(12, Message::SyncState(state));
    assert_eq!(stage.heard(2), [[3]], "only what it lacks");
}

#[test]
fn a_client_that_never_says_what_it_lacks_goes_on_with_what_was_not_said() {
    let mut stage = three();
    stage.say(1, THEIR_RELIABLE, &packet(1, &[1], &[]));
    let peer = stage.peer(2, Side::Subscriber);
    stage.report(Report::ChannelClosed { peer, channel: RELIABLE });
    stage.say(1, THEIR_RELIABLE, &packet(2, &[2], &[]));
    stage.relays();
    stage.open_ours(2);
    stage.say(1, THEIR_RELIABLE, &packet(3, &[3], &[]));
    assert!(stage.heard(2).is_empty());
    stage.advance(5_000);
    stage.say(1, THEIR_RELIABLE, &packet(4, &[4], &[]));
    assert_eq!(stage.heard(2), [[2], [3], [4]]);
}

#[test]
fn a_receiver_that_is_too_slow_joins_anew_and_the_others_do_not_notice() {
    let mut stage = three();
    let peer = stage.peer(2, Side::Subscriber);
    stage.report(Report::ChannelsEnded { peer, end: ChannelsEnd::SlowReceiver });
    let leave = stage.take(2).into_iter().find_map(|reply| match reply {
        Reply::Leave(leave) => Some(leave),
        _ => None,
    });
    let leave = leave.expect("it is told");
    assert_eq!(leave.action(), proto::leave_request::Action::Reconnect);
    assert_eq!(stage.room.take_data_counts().slow, 1);
    stage.say(1, THEIR_RELIABLE, &packet(1, b"on", &[]));
    assert_eq!(stage.heard(3), [b"on"]);
    assert_eq!(stage.room.people().len(), 2);
}

#[test]
fn one_connection_for_both_directions_is_enough() {
    let mut stage = three();
    // A fourth whose own channels are on the connection that it receives on.
    stage.join(4);
    let peer = stage.peer(4, Side::Subscriber);
    stage.open(peer, THEIR_RELIABLE, "_reliable", false);
    stage.say(1, THEIR_RELIABLE, &packet(1, b"to four", &["user_4"]));
    assert_eq!(stage.relays()[0].to, [(peer, THEIR_RELIABLE)]);
    stage.report(Report::Message {
        peer,
        channel: THEIR_RELIABLE,
        bytes: packet(1, b"from four", &[]).into(),
    });
    assert_eq!(stage.relays()[0].to.len(), 3);
    // Another channel of the same name, ours, does not get ahead of what waits in the first.
    stage.open(peer, RELIABLE, "_reliable", true);
    stage.say(1, THEIR_RELIABLE, &packet(2, b"again", &["user_4"]));
    assert_eq!(stage.relays()[0].to, [(peer, THEIR_RELIABLE)]);
}

#[test]
fn data_tracks_are_declined_by_name() {
    let mut stage = three();
    let request =
        proto::PublishDataTrackRequest { pub_handle: 7, name: "lidar".into(), ..Default::default() };
    stage.request(1, Message::PublishDataTrackRequest(request.clone()));
    let Some(Reply::RequestResponse(answer)) = stage.take(1).pop() else { panic!("it is answered") };
    assert_eq!(answer.reason(), proto::request_response::Reason::NotAllowed);
    assert_eq!(answer.request, Some(proto::request_response::Request::PublishDataTrack(request)));
    assert_eq!(Channel::of_label("_data_track"), None);
}

#[test]
fn a_channel_that_its_client_opened_in_place_of_another_takes_over() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.join_with_channels(2);
    let peer = stage.peer(1, Side::Subscriber);
    stage.open(peer, 10, "_reliable", false);
    stage.open(peer, 12, "_reliable", false);
    stage.report(Report::ChannelClosed { peer, channel: 10 });
    stage.relays();
    stage.say(2, THEIR_RELIABLE, &packet(1, b"first", &[]));
    stage.advance(6_000);
    stage.say(2, THEIR_RELIABLE, &packet(2, b"second", &[]));
    let relays = stage.relays();
    let heard = relays.iter().filter(|relay| relay.to.contains(&(peer, 12)));
    let heard: Vec<_> = heard.map(|relay| read(&relay.bytes).0).collect();
    assert_eq!(heard, [b"first".to_vec(), b"second".to_vec()]);
}
