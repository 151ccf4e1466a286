//! `/whip/{meeting}` and `/whep/{meeting}`: publishing by WHIP (RFC 9725) and playing by WHEP (draft-ietf-wish-whep).
//!
//! A POST with an offer makes a session, named by `Location`; PATCH trickles candidates or restarts ICE; DELETE ends it. Every
//! request carries the session token of the API's join as Bearer. Of WHEP's extensions none is offered, so no `Link` names one.
//! Promises: every refusal is a problem document and changes nothing; answers have their length declared; nothing is a 5xx but a
//! server that drains or has too much to do.
//! Not here: preflights (`http`), what a session does (`room::sessions`).

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::oneshot;

use super::actor::Input;
use super::door::Door;
use super::room::sessions::{self, Entering, Matches, Opened, Patched, Protocol, SessionError, Subject};
use super::{RoomRefusal, Signal};
use crate::app::App;
use crate::http::body;
use crate::http::caller::bearer;
use crate::http::conditional;
use crate::http::observe::{DESCRIPTION, FRAGMENT};
use crate::http::problem::{Kind, Problem};
use crate::http::routes::Routes;
use crate::ids::parse_meeting;
use crate::sdp::SdpError;
use crate::sdp::description::Description;
use crate::sdp::fragment::Fragment;
use crate::service::timestamp::Timestamp;
use crate::service::{Admission, ServiceError};

const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// The routes.
pub fn routes() -> Routes<Door> {
    Routes::default()
        .post("/whip/{meeting}", publish)
        .patch("/whip/{meeting}/{session}", patch_whip)
        .delete("/whip/{meeting}/{session}", delete_whip)
        .post("/whep/{meeting}", play)
        .patch("/whep/{meeting}/{session}", patch_whep)
        .delete("/whep/{meeting}/{session}", delete_whep)
}

impl From<SdpError> for Problem {
    fn from(error: SdpError) -> Self {
        let kind = match error {
            SdpError::TooLong => Kind::BodyTooLarge,
            SdpError::Syntax | SdpError::SectionCount | SdpError::AttributeCount | SdpError::Mid => {
                Kind::MalformedDescription
            }
            SdpError::Ice | SdpError::Fingerprint | SdpError::Setup | SdpError::Mismatch => {
                Kind::UnusableDescription
            }
        };
        Self::new(kind, error.to_string())
    }
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        let kind = match error {
            SessionError::Description(error) => return error.into(),
            SessionError::NotBundled | SessionError::Direction(_) | SessionError::TooManySections => {
                Kind::UnusableDescription
            }
            SessionError::NoCommonFormat => Kind::NoCommonFormat,
            SessionError::NoSuchSession => Kind::SessionNotFound,
            SessionError::NotYours | SessionError::NotAllowed(_) => Kind::TokenOutOfScope,
            SessionError::OtherIceSession => Kind::PreconditionFailed,
            SessionError::TooMany => Kind::TooManyRequests,
        };
        Self::new(kind, error.to_string())
    }
}

/// Whom the token names, if the address is of the token's meeting.
fn admit(app: &App, meeting: &str, headers: &HeaderMap) -> Result<Admission, Problem> {
    let admission = app.service.admit(bearer(headers)?.ok_or(ServiceError::NoToken)?)?;
    app.guard.user(admission.user)?;
    let asked = parse_meeting(meeting).ok_or(ServiceError::NoSuchMeeting)?;
    if asked != admission.meeting {
        app.service.meeting(asked)?;
        return Err(ServiceError::OutOfScope.into());
    }
    Ok(admission)
}

async fn publish(
    State(door): State<Door>,
    Path(meeting): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    enter(door, Protocol::Whip, &meeting, &headers, body).await
}

async fn play(
    State(door): State<Door>,
    Path(meeting): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    enter(door, Protocol::Whep, &meeting, &headers, body).await
}

async fn enter(
    Door { app, signal }: Door,
    protocol: Protocol,
    meeting: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let accepted = Instant::now();
    if app.service.is_draining() {
        return Err(ServiceError::Draining.into());
    }
    let admission = admit(&app, meeting, headers)?;
    let offer = Description::parse(&body::text(headers, body, DESCRIPTION).await?)?;
    let offer = sessions::checked(protocol, offer)?;
    let signal = signal.ok_or(ServiceError::Draining)?;
    if !signal.lets_arrive(admission.meeting, admission.user) {
        return Err(SessionError::TooMany.into());
    }
    // By a task of its own: who hangs up in between is to be counted out as he was counted in.
    let entered = tokio::spawn(enter_room(app, signal, protocol, admission, offer, accepted));
    entered.await.map_err(|_| ServiceError::Busy)?
}

async fn enter_room(
    app: App,
    signal: Signal,
    protocol: Protocol,
    admission: Admission,
    offer: Description,
    accepted: Instant,
) -> Result<Response, Problem> {
    app.service.participant_joined(&admission).await?;
    let admission = Arc::new(admission);
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let entering = Entering {
        protocol,
        admission: admission.clone(),
        offer,
        since_accept: accepted.elapsed(),
        wall_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX),
    };
    let (answer, answered) = oneshot::channel();
    let opened = match signal.tell_or_begin(&admission, Input::Enter(Box::new(entering), answer)) {
        // A room that ends without answering lost its core.
        Ok(_) => answered.await.map_err(|_| ServiceError::Busy.into()).and_then(|r| r.map_err(Problem::from)),
        Err(_) => Err(ServiceError::Busy.into()),
    };
    match opened {
        Ok(opened) => created(protocol, &admission, opened),
        Err(problem) => {
            // It was counted as joined and the room never knew it.
            let _ = app.service.participant_left(&admission, Timestamp::now()).await;
            Err(problem)
        }
    }
}

fn created(protocol: Protocol, admission: &Admission, opened: Opened) -> Result<Response, Problem> {
    let Opened { resource, tag, answer } = opened;
    let door = match protocol {
        Protocol::Whip => "whip",
        Protocol::Whep => "whep",
    };
    let headers = [
        (header::CONTENT_TYPE, DESCRIPTION.to_owned()),
        (header::LOCATION, format!("/{door}/{}/{resource}", admission.meeting)),
        (header::ETAG, quoted(&tag)),
        (ACCEPT_PATCH, FRAGMENT.to_owned()),
    ];
    Ok(with_length(StatusCode::CREATED, headers, answer))
}

/// An answer whose length is declared, also behind layers that hide it: encoders refuse chunked ones.
fn with_length<const N: usize>(
    status: StatusCode,
    headers: [(HeaderName, String); N],
    text: String,
) -> Response {
    let length = HeaderValue::from(text.len());
    let mut response = (status, headers.map(|(name, value)| (name, value)), text).into_response();
    response.headers_mut().insert(header::CONTENT_LENGTH, length);
    response
}

async fn patch_whip(
    State(door): State<Door>,
    Path(address): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    trickle(door, Protocol::Whip, address, &headers, body).await
}

async fn patch_whep(
    State(door): State<Door>,
    Path(address): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    trickle(door, Protocol::Whep, address, &headers, body).await
}

async fn trickle(
    door: Door,
    protocol: Protocol,
    address: (String, String),
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (signal, admission, subject) = about(door, protocol, address, headers)?;
    let text = body::text(headers, body, FRAGMENT).await?;
    let matches = matches(headers)?;
    let fragment = Fragment::parse(&text).map_err(|error| match error {
        SdpError::TooLong => error.into(),
        _ => Problem::new(Kind::MalformedDescription, error.to_string()),
    })?;
    let (answer, answered) = oneshot::channel();
    tell(&signal, &admission, Input::Patch { subject, matches, fragment, answer })?;
    match answered.await.unwrap_or(Err(SessionError::NoSuchSession))? {
        Patched::Noted => Ok(StatusCode::NO_CONTENT.into_response()),
        Patched::Restarted { tag, fragment } => {
            let headers = [(header::CONTENT_TYPE, FRAGMENT.to_owned()), (header::ETAG, quoted(&tag))];
            Ok(with_length(StatusCode::OK, headers, fragment))
        }
    }
}

async fn delete_whip(
    State(door): State<Door>,
    Path(address): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    delete(door, Protocol::Whip, address, &headers).await
}

async fn delete_whep(
    State(door): State<Door>,
    Path(address): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    delete(door, Protocol::Whep, address, &headers).await
}

async fn delete(
    door: Door,
    protocol: Protocol,
    address: (String, String),
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let (signal, admission, subject) = about(door, protocol, address, headers)?;
    let (answer, answered) = oneshot::channel();
    tell(&signal, &admission, Input::Delete { subject, answer })?;
    answered.await.unwrap_or(Err(SessionError::NoSuchSession))?;
    Ok(StatusCode::OK.into_response())
}

/// The session a request is about.
fn about(
    Door { app, signal }: Door,
    protocol: Protocol,
    (meeting, resource): (String, String),
    headers: &HeaderMap,
) -> Result<(Signal, Admission, Subject), Problem> {
    let admission = admit(&app, &meeting, headers)?;
    let subject = Subject { protocol, resource, user: admission.user };
    Ok((signal.ok_or(ServiceError::Draining)?, admission, subject))
}

fn tell(signal: &Signal, admission: &Admission, input: Input) -> Result<(), Problem> {
    match signal.tell(admission.meeting, input) {
        Ok(_) => Ok(()),
        Err(RoomRefusal::NoRoom) => Err(SessionError::NoSuchSession.into()),
        Err(RoomRefusal::Busy) => Err(ServiceError::Busy.into()),
    }
}

fn quoted(tag: &str) -> String {
    format!("\"{tag}\"")
}

/// Reads `If-Match`, which must be there.
fn matches(headers: &HeaderMap) -> Result<Matches, Problem> {
    if !headers.contains_key(header::IF_MATCH) {
        return Err(Problem::new(
            Kind::PreconditionRequired,
            "send If-Match with the session's entity tag, or with * to restart ICE",
        ));
    }
    Ok(conditional::tags(headers).map_or(Matches::Any, Matches::Tags))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preconditions_are_read_and_weak_tags_match_nothing() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::IF_MATCH, value.parse().expect("a value"));
            }
            matches(&headers)
        };
        let tags = |tags: &[&str]| Ok(Matches::Tags(tags.iter().map(|tag| (*tag).to_owned()).collect()));
        assert_eq!(of(&["\"a\""]), tags(&["a"]));
        assert_eq!(of(&["\"a\", W/\"b\"", "\"c\", d"]), tags(&["a", "c"]));
        assert_eq!(of(&["*"]), Ok(Matches::Any));
        assert_eq!(of(&[]).map_err(|problem| problem.kind), Err(Kind::PreconditionRequired));
    }
}
