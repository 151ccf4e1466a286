//! `/twirp/livekit.RoomService/*`: what LiveKit's server SDKs ask of rooms, in JSON and in protobuf, with tokens of an API key.
//!
//! A room is a meeting of the key's owner, called `meeting_<decimal>`. Promises: who asks is checked before the body is read; what a
//! room here does not have is refused (`unimplemented`) rather than ignored. Not here: tokens (`service::accounts::api_keys`), what is
//! done in a room (`room::people::administration`).

mod calls;
mod error;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use livekit_protocol as proto;
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::door::Door;
use crate::http::body;
use crate::http::caller::bearer;
use crate::http::problem::Kind;
use crate::http::routes::Routes;
use crate::service::ServiceError;
use crate::service::accounts::api_keys::KeyHolder;
use error::{Code, TwirpError};

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/protobuf";

/// The routes.
pub fn routes() -> Routes<Door> {
    macro_rules! call {
        ($call:expr) => {
            |State(door): State<Door>, headers: HeaderMap, body: Body| serve(door, headers, body, $call)
        };
    }
    Routes::default()
        .post("/twirp/livekit.RoomService/CreateRoom", call!(calls::create_room))
        .post("/twirp/livekit.RoomService/ListRooms", call!(calls::list_rooms))
        .post("/twirp/livekit.RoomService/DeleteRoom", call!(calls::delete_room))
        .post("/twirp/livekit.RoomService/ListParticipants", call!(calls::list_participants))
        .post("/twirp/livekit.RoomService/GetParticipant", call!(calls::get_participant))
        .post("/twirp/livekit.RoomService/RemoveParticipant", call!(calls::remove_participant))
        .post("/twirp/livekit.RoomService/MutePublishedTrack", call!(calls::mute_published_track))
        .post("/twirp/livekit.RoomService/UpdateParticipant", call!(calls::update_participant))
        .post("/twirp/livekit.RoomService/UpdateSubscriptions", call!(calls::update_subscriptions))
        .post("/twirp/livekit.RoomService/SendData", call!(calls::send_data))
        .post("/twirp/livekit.RoomService/UpdateRoomMetadata", call!(calls::update_room_metadata))
        .post("/twirp/{service}/{method}", elsewhere)
}

async fn elsewhere(State(door): State<Door>, headers: HeaderMap) -> Response {
    let refused = holder(&door, &headers).err();
    refused
        .unwrap_or_else(|| TwirpError::new(Code::Unimplemented, "this server does not have that call"))
        .into_response()
}

/// Who asks.
fn holder(door: &Door, headers: &HeaderMap) -> Result<KeyHolder, TwirpError> {
    let token = bearer(headers)?.ok_or(ServiceError::NoToken)?;
    Ok(door.app.service.key_holder(token)?)
}

/// Reads a call, has it made and writes its answer, in the encoding it came in.
async fn serve<Q, A, F>(
    door: Door,
    headers: HeaderMap,
    body: Body,
    call: impl FnOnce(Door, KeyHolder, Q) -> F,
) -> Response
where
    Q: Message + Default + DeserializeOwned,
    A: Message + Serialize,
    F: Future<Output = Result<A, TwirpError>>,
{
    let made = async {
        let holder = holder(&door, &headers)?;
        let (request, is_json) = read(&headers, body).await?;
        Ok::<_, TwirpError>((call(door, holder, request).await?, is_json))
    };
    match made.await {
        Ok((answer, true)) => match serde_json::to_vec(&answer) {
            Ok(text) => ([(header::CONTENT_TYPE, JSON)], text).into_response(),
            // A message may hold a number that has no name in JSON.
            Err(error) => {
                tracing::error!(%error, "an answer of the room service cannot be written as JSON");
                TwirpError::new(Code::Internal, "the answer cannot be written as JSON").into_response()
            }
        },
        Ok((answer, false)) => ([(header::CONTENT_TYPE, PROTOBUF)], answer.encode_to_vec()).into_response(),
        Err(error) => error.into_response(),
    }
}

async fn read<Q: Message + Default + DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
) -> Result<(Q, bool), TwirpError> {
    let is_json = match body::essence(headers).as_str() {
        JSON => true,
        PROTOBUF => false,
        _ => {
            let message = format!("send Content-Type: {JSON} or {PROTOBUF}");
            return Err(TwirpError::new(Code::BadRoute, message));
        }
    };
    let bytes = body::bytes(headers, body).await.map_err(|problem| match problem.kind {
        Kind::BodyTooLarge => TwirpError::new(Code::InvalidArgument, problem.detail),
        _ => TwirpError::new(Code::Malformed, problem.detail),
    })?;
    let request = if is_json {
        // Its text would quote the input, which may be somebody's words.
        serde_json::from_slice(&bytes).map_err(|error| {
            format!(
                "the body is not the call's JSON: error at line {} column {}",
                error.line(),
                error.column()
            )
        })
    } else {
        Q::decode(bytes.as_slice()).map_err(|_| "the body is not the call's message".to_owned())
    };
    request.map(|request| (request, is_json)).map_err(|detail| TwirpError::new(Code::Malformed, detail))
}

/// What the packet plane's absence means to a call.
fn signal(door: &Door) -> Result<&super::Signal, TwirpError> {
    door.signal.as_ref().ok_or_else(|| ServiceError::Draining.into())
}

/// The room of a call.
type RoomInfo = proto::Room;
