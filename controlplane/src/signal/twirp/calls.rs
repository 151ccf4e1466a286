//! The calls of LiveKit's `RoomService`, each as what it is to a meeting.

use dataplane::base::ids::MeetingId;
use livekit_protocol as proto;

use super::error::{Code, TwirpError};
use super::{Door, RoomInfo, signal};
use crate::ids::parse_meeting;
use crate::service::accounts::api_keys::KeyHolder;
use crate::service::meetings::PAGE_MAX;
use crate::service::{Caller, Meeting, MeetingStatus, NewMeeting, ServiceError};
use crate::signal::grant::GrantChange;
use crate::signal::messages;
use crate::signal::room::Room;
use crate::signal::room::administration::{Changed, Muted, Words};

type Answer<T> = Result<T, TwirpError>;

/// Pages of meetings that are looked through for such as have not ended.
const LISTED_PAGES_MAX: usize = 50;

/// Makes a meeting with the name as its topic; its own name is its id. The id of a meeting there is answers that one.
pub async fn create_room(door: Door, who: KeyHolder, asked: proto::CreateRoomRequest) -> Answer<RoomInfo> {
    may(who.grant.room_create, "roomCreate")?;
    for (field, is_asked) in [
        ("room_preset", !asked.room_preset.is_empty()),
        ("empty_timeout", asked.empty_timeout > 0),
        ("departure_timeout", asked.departure_timeout > 0),
        ("max_participants", asked.max_participants > 0),
        ("node_id", !asked.node_id.is_empty()),
        ("metadata", !asked.metadata.is_empty()),
        ("tags", !asked.tags.is_empty()),
        ("egress", asked.egress.is_some()),
        ("min_playout_delay", asked.min_playout_delay > 0),
        ("max_playout_delay", asked.max_playout_delay > 0),
        ("sync_streams", asked.sync_streams),
        ("replay_enabled", asked.replay_enabled),
        ("agents", !asked.agents.is_empty()),
    ] {
        if is_asked {
            return Err(TwirpError::not_honoured(field));
        }
    }
    if parse_meeting(&asked.name).is_some() {
        let meeting = own(&door, &who, &asked.name)?;
        return Ok(room_of(&door, &meeting).await);
    }
    let new = NewMeeting { topic: asked.name, ..NewMeeting::default() };
    let created = door.app.service.create_meeting(Caller::Delegated(who.owner, None), new).await;
    let meeting = created.map_err(as_name)?.meeting;
    tracing::info!(meeting = %meeting.meeting_id.id(), host = %meeting.host_id, "meeting created with an API key");
    Ok(room_of(&door, &meeting).await)
}

/// The owner's newest meetings that have not ended, at most [`PAGE_MAX`] among the newest [`LISTED_PAGES_MAX`] pages, or those of
/// these names.
pub async fn list_rooms(
    door: Door,
    who: KeyHolder,
    asked: proto::ListRoomsRequest,
) -> Answer<proto::ListRoomsResponse> {
    may(who.grant.room_list, "roomList")?;
    if asked.names.len() > PAGE_MAX {
        let message = format!("at most {PAGE_MAX} names");
        return Err(TwirpError::new(Code::InvalidArgument, message));
    }
    let meetings = if asked.names.is_empty() {
        going_on(&door, &who)?
    } else {
        // Of what is not there, or is not the owner's, the list says nothing.
        let known = asked.names.iter().map(|name| match own(&door, &who, name) {
            Ok(meeting) => Ok(Some(meeting)),
            Err(error) if error.is_of_the_store() => Err(error),
            Err(_) => Ok(None),
        });
        known.filter_map(Result::transpose).collect::<Answer<Vec<_>>>()?
    };
    let mut rooms = Vec::with_capacity(meetings.len());
    for meeting in &meetings {
        rooms.push(room_of(&door, meeting).await);
    }
    Ok(proto::ListRoomsResponse { rooms })
}

fn going_on(door: &Door, who: &KeyHolder) -> Answer<Vec<Meeting>> {
    let (mut found, mut cursor) = (Vec::new(), None::<String>);
    for _ in 0..LISTED_PAGES_MAX {
        let caller = Caller::Delegated(who.owner, None);
        let page = door.app.service.meetings(caller, cursor.as_deref(), PAGE_MAX)?;
        found.extend(page.items.into_iter().filter(|meeting| meeting.status != MeetingStatus::Ended));
        cursor = page.next_cursor;
        if cursor.is_none() || found.len() >= PAGE_MAX {
            break;
        }
    }
    found.truncate(PAGE_MAX);
    Ok(found)
}

/// Ends the meeting.
pub async fn delete_room(
    door: Door,
    who: KeyHolder,
    asked: proto::DeleteRoomRequest,
) -> Answer<proto::DeleteRoomResponse> {
    may(who.grant.room_create, "roomCreate")?;
    let id = own(&door, &who, &asked.room)?.meeting_id.id();
    door.app.service.end_meeting(Caller::Delegated(who.owner, None), id).await?;
    tracing::info!(meeting = %id, "meeting ended with an API key");
    Ok(proto::DeleteRoomResponse {})
}

/// Who is connected.
pub async fn list_participants(
    door: Door,
    who: KeyHolder,
    asked: proto::ListParticipantsRequest,
) -> Answer<proto::ListParticipantsResponse> {
    let id = administered(&door, &who, &asked.room)?;
    let participants = signal(&door)?.visit(id, |room, _| room.participants()).await?.unwrap_or_default();
    Ok(proto::ListParticipantsResponse { participants })
}

/// One of them.
pub async fn get_participant(
    door: Door,
    who: KeyHolder,
    asked: proto::RoomParticipantIdentity,
) -> Answer<proto::ParticipantInfo> {
    let id = administered(&door, &who, &asked.room)?;
    in_room(&door, id, move |room, _| {
        room.participants().into_iter().find(|person| person.identity == asked.identity)
    })
    .await
}

/// Sends somebody away, who may come back.
pub async fn remove_participant(
    door: Door,
    who: KeyHolder,
    asked: proto::RoomParticipantIdentity,
) -> Answer<proto::RemoveParticipantResponse> {
    let id = administered(&door, &who, &asked.room)?;
    if asked.revoke_token_ts != 0 {
        return Err(TwirpError::not_honoured("revoke_token_ts"));
    }
    in_room(&door, id, move |room, now_ms| room.remove_identity(now_ms, &asked.identity)).await?;
    Ok(proto::RemoveParticipantResponse {})
}

/// Mutes a track, which its publisher alone unmutes; that of an encoder, which has no such word, is unmuted here too.
pub async fn mute_published_track(
    door: Door,
    who: KeyHolder,
    asked: proto::MuteRoomTrackRequest,
) -> Answer<proto::MuteRoomTrackResponse> {
    let id = administered(&door, &who, &asked.room)?;
    let muted = in_room(&door, id, move |room, now_ms| {
        room.mute_track(now_ms, &asked.identity, &asked.track_sid, asked.muted)
    });
    match muted.await? {
        Muted::Now(track) => Ok(proto::MuteRoomTrackResponse { track: Some(*track) }),
        Muted::OwnToUnmute => {
            let message = "nobody is unmuted from afar; people unmute themselves";
            Err(TwirpError::new(Code::Unimplemented, message))
        }
    }
}

/// Changes somebody's name, metadata, attributes and what it may do.
pub async fn update_participant(
    door: Door,
    who: KeyHolder,
    asked: proto::UpdateParticipantRequest,
) -> Answer<proto::ParticipantInfo> {
    let id = administered(&door, &who, &asked.room)?;
    let grant = asked.permission.as_ref().map(grant_of).transpose()?;
    let words = Words { name: asked.name, metadata: asked.metadata, attributes: asked.attributes };
    let identity = asked.identity;
    let changed =
        in_room(&door, id, move |room, now_ms| room.change_participant(now_ms, &identity, words, grant))
            .await?;
    match changed {
        Changed::Now(person) => Ok(*person),
        Changed::TooLong => {
            Err(TwirpError::new(Code::InvalidArgument, "name, metadata and attributes are too long together"))
        }
    }
}

/// Subscribes somebody to tracks, or ends that.
pub async fn update_subscriptions(
    door: Door,
    who: KeyHolder,
    asked: proto::UpdateSubscriptionsRequest,
) -> Answer<proto::UpdateSubscriptionsResponse> {
    let id = administered(&door, &who, &asked.room)?;
    let wish = proto::UpdateSubscription {
        track_sids: asked.track_sids,
        subscribe: asked.subscribe,
        participant_tracks: asked.participant_tracks,
    };
    in_room(&door, id, move |room, now_ms| room.subscribe_identity(now_ms, &asked.identity, &wish)).await?;
    Ok(proto::UpdateSubscriptionsResponse {})
}

/// Says something to those it names, or to everybody.
pub async fn send_data(
    door: Door,
    who: KeyHolder,
    asked: proto::SendDataRequest,
) -> Answer<proto::SendDataResponse> {
    let id = administered(&door, &who, &asked.room)?;
    match signal(&door)?.visit(id, move |room, now_ms| room.say(now_ms, asked)).await? {
        // Nobody is there who could hear it.
        None | Some(Ok(())) => Ok(proto::SendDataResponse {}),
        Some(Err(refusal)) => {
            let message = format!("it cannot be sent: {}", refusal.name());
            Err(TwirpError::new(Code::InvalidArgument, message))
        }
    }
}

/// Rooms have no metadata.
pub async fn update_room_metadata(
    door: Door,
    who: KeyHolder,
    asked: proto::UpdateRoomMetadataRequest,
) -> Answer<RoomInfo> {
    administered(&door, &who, &asked.room)?;
    Err(TwirpError::not_honoured("metadata"))
}

fn may(granted: bool, grant: &str) -> Answer<()> {
    if granted {
        return Ok(());
    }
    Err(TwirpError::new(Code::PermissionDenied, format!("the token does not grant {grant}")))
}

/// An open meeting of the key's owner.
fn own(door: &Door, who: &KeyHolder, room: &str) -> Answer<Meeting> {
    let id = parse_meeting(room).ok_or(ServiceError::NoSuchMeeting)?;
    let meeting = door.app.service.meeting(id)?;
    if meeting.host_id != who.owner {
        return Err(ServiceError::OutOfScope.into());
    }
    if meeting.status == MeetingStatus::Ended { Err(ServiceError::Ended.into()) } else { Ok(meeting) }
}

/// The meeting of a call for which the token must name the room.
fn administered(door: &Door, who: &KeyHolder, room: &str) -> Answer<MeetingId> {
    may(who.grant.room_admin && who.grant.room == room, "roomAdmin of this room")?;
    Ok(own(door, who, room)?.meeting_id.id())
}

/// What is done with somebody or something in a room; `not_found` without it.
async fn in_room<T: Send + 'static>(
    door: &Door,
    id: MeetingId,
    does: impl FnOnce(&mut Room, u64) -> Option<T> + Send + 'static,
) -> Answer<T> {
    let found = signal(door)?.visit(id, does).await?.flatten();
    found.ok_or_else(|| TwirpError::new(Code::NotFound, "there is no such participant or track in the room"))
}

/// A meeting as a room; one that nobody is in has no `sid`, and of one that has too much to do no figures are told.
async fn room_of(door: &Door, meeting: &Meeting) -> RoomInfo {
    let id = meeting.meeting_id.id();
    let open = match &door.signal {
        Some(signal) => signal.visit(id, |room, _| room.info()).await.unwrap_or_default(),
        None => None,
    };
    let mut info = open.unwrap_or_else(|| messages::room("", &id.to_string(), 0, 0, 0));
    info.creation_time = meeting.created_at.0 / 1_000;
    info.creation_time_ms = meeting.created_at.0;
    info.max_participants = meeting.max_participants;
    info
}

#[expect(deprecated, reason = "who asks for what a deprecated field says is refused, too")]
fn grant_of(permission: &proto::ParticipantPermission) -> Answer<GrantChange> {
    for (field, is_asked) in [
        ("permission.hidden", permission.hidden),
        ("permission.can_publish_sources", !permission.can_publish_sources.is_empty()),
        ("permission.can_subscribe_metrics", permission.can_subscribe_metrics),
        ("permission.can_manage_agent_session", permission.can_manage_agent_session),
        ("permission.recorder", permission.recorder),
        ("permission.agent", permission.agent),
    ] {
        if is_asked {
            return Err(TwirpError::not_honoured(field));
        }
    }
    Ok(GrantChange {
        publish: Some(permission.can_publish),
        subscribe: Some(permission.can_subscribe),
        publish_data: Some(permission.can_publish_data),
        update_metadata: Some(permission.can_update_metadata),
    })
}

/// The topic is called `name` here.
fn as_name(error: ServiceError) -> TwirpError {
    match error {
        ServiceError::Invalid(errors) => {
            let detail = errors.first().map(|first| first.detail.clone()).unwrap_or_default();
            TwirpError::new(Code::InvalidArgument, format!("name {detail}"))
        }
        other => other.into(),
    }
}
