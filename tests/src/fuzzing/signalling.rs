//! What signalling reads: join requests as text, and messages of clients in a room.
//!
//! Input: a byte that chooses. 0 to 127: the rest is a `join_request`. 128 and above: frames for a room in which one client speaks v0 and
//! one v1, each a byte (its lowest bit names the client) and a length of two bytes, followed by so many bytes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use controlplane::dispatch::Ids;
use controlplane::ids::UserId;
use controlplane::sdp::lines::Candidate;
use controlplane::service::timestamp::Timestamp;
use controlplane::service::{Admission, May};
use controlplane::signal::join_request;
use controlplane::signal::room::{Client, ConnectionId, Effect, Joining, Plane, Room};
use dataplane::base::handoff::{DtlsVersion, Fingerprint};
use dataplane::base::ids::{CoreId, MeetingId};
use livekit_protocol as proto;
use prost::Message as _;

/// Milliseconds between frames.
const STEP_MS: u64 = 40;

/// Reading either gives a value or an error; a room writes nothing that does not read back, and nothing to whom it closed.
pub fn signalling(data: &[u8]) {
    let Some((chosen, rest)) = data.split_first() else { return };
    if *chosen < 128 {
        if let Ok(text) = std::str::from_utf8(rest)
            && let Ok(opening) = join_request::read(text)
        {
            assert!(opening.client.single && opening.messages.len() <= 128);
        }
        return;
    }
    let mut room = Room::new(
        MeetingId(9),
        0,
        Plane {
            core: CoreId(0),
            fingerprint: Fingerprint([1; 32]),
            candidates: vec![Candidate::udp(([192, 0, 2, 1], 7882).into())],
            dtls: DtlsVersion::V12,
        },
        Arc::new(Ids::default()),
    );
    let mut closed = BTreeSet::new();
    for user in 0..2 {
        room.join(0, joining(user));
    }
    carry_out(&mut room, &mut closed);
    let mut now_ms = 0;
    let mut rest = rest;
    while let Some(([who, high, low], after)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(after.len());
        let (frame, after) = after.split_at(length);
        rest = after;
        now_ms += STEP_MS;
        if let Ok(request) = proto::SignalRequest::decode(frame)
            && let Some(message) = request.message
        {
            room.handle_request(now_ms, ConnectionId(u64::from(who & 1)), message);
        } else {
            room.handle_time(now_ms);
        }
        carry_out(&mut room, &mut closed);
        assert!(room.next_time(now_ms) > now_ms, "what was due is done");
    }
    for user in 0..2 {
        room.disconnected(now_ms, ConnectionId(user));
    }
    room.handle_time(now_ms + controlplane::signal::room::GRACE_MS);
    carry_out(&mut room, &mut closed);
    assert!(room.is_empty(), "whoever stays away is let go of");
    assert_eq!(room.reasons().counts().map(|(_, count)| count).sum::<u32>(), 0);
}

fn joining(user: u64) -> Joining {
    Joining {
        connection: ConnectionId(user),
        admission: Arc::new(Admission {
            meeting: MeetingId(9),
            user: UserId(user),
            identity: format!("user_{user}"),
            name: String::new(),
            host: false,
            joined_at: Timestamp(0),
            topic: String::new(),
            created_at: Timestamp(0),
            max_participants: 100,
            may: May::ALL,
            newcomer: None,
        }),
        client: Client { auto_subscribe: true, client_protocol: 0, single: user == 1 },
        since_accept: Duration::ZERO,
        wall_ms: 0,
    }
}

fn carry_out(room: &mut Room, closed: &mut BTreeSet<u64>) {
    for effect in room.take_effects() {
        match effect {
            Effect::Send(connection, message) => {
                assert!(!closed.contains(&connection.0), "nothing is said to whom was closed");
                let read = proto::SignalResponse::decode(&*message.encode_to_vec());
                assert_eq!(read.as_ref(), Ok(&*message));
            }
            Effect::Close(connection, _) => assert!(closed.insert(connection.0), "closed once"),
            _ => {}
        }
    }
}
