//! `/rtc` (protocol v0) and `/rtc/v1`, each with its `validate`.
//!
//! Clients ask `validate` why they were refused: it gives the answer that the door itself gave and never 404, on which they
//! would retry in a tight loop (v0) or take v1 for absent.

use std::time::Instant;

use axum::extract::rejection::QueryRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Signal;
use super::join_request::{self, Opening};
use super::room::Client;
use super::socket::{self, Asked, FRAME_BYTES_MAX, MESSAGE_BYTES_MAX};
use crate::app::App;
use crate::http::caller::bearer;
use crate::http::problem::{Kind, Problem};
use crate::http::routes::Routes;
use crate::metrics::Fault;
use crate::service::{Admission, ServiceError};

/// Bytes that may wait in a connection's write buffer beyond a message.
const WRITE_BUFFER_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;

/// Query of `/rtc` as far as we use it.
#[derive(Deserialize, Default)]
struct Params {
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    reconnect: String,
    #[serde(default)]
    sid: String,
    auto_subscribe: Option<String>,
    client_protocol: Option<String>,
    #[serde(default)]
    join_request: String,
}

/// Which version of the protocol a route speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    V0,
    V1,
}

/// What the routes need.
#[derive(Clone)]
pub struct Door {
    /// The parts every route shares.
    pub app: App,
    /// The rooms; absent without a packet plane.
    pub signal: Option<Signal>,
}

/// The routes.
pub fn routes() -> Routes<Door> {
    Routes::default()
        .get("/rtc", v0)
        .get("/rtc/validate", validate_v0)
        .get("/rtc/v1", v1)
        .get("/rtc/v1/validate", validate_v1)
}

fn admit(app: &App, params: &Params, headers: &HeaderMap) -> Result<Admission, Problem> {
    if app.service.is_draining() {
        return Err(ServiceError::Draining.into());
    }
    let token = match params.access_token.as_str() {
        "" => bearer(headers)?.ok_or(ServiceError::NoToken)?,
        token => token,
    };
    app.service.admit(token).map_err(|error| match error {
        // Never 404, nor another status that clients take for a fault of the server.
        ServiceError::NoSuchMeeting | ServiceError::Ended | ServiceError::Full | ServiceError::OutOfScope => {
            Problem::new(Kind::TokenOutOfScope, error.to_string())
        }
        other => other.into(),
    })
}

/// A query that cannot be read is one without a token.
fn readable(params: Result<Query<Params>, QueryRejection>) -> Params {
    params.map(|Query(params)| params).unwrap_or_default()
}

fn is_set(flag: &str) -> bool {
    flag == "1" || flag.eq_ignore_ascii_case("true")
}

fn opening(app: &App, version: Version, params: Params) -> Result<Opening, Problem> {
    match version {
        Version::V0 => Ok(Opening {
            client: Client {
                auto_subscribe: params.auto_subscribe.as_deref().is_none_or(is_set),
                client_protocol: params.client_protocol.and_then(|v| v.parse().ok()).unwrap_or(0),
                single: false,
            },
            resume: (is_set(&params.reconnect) && !params.sid.is_empty()).then_some(params.sid),
            messages: Vec::new(),
        }),
        Version::V1 => join_request::read(&params.join_request).map_err(|error| {
            app.metrics.signal_fault(Fault::JoinRequest);
            Problem::new(Kind::MalformedRequest, error.to_string())
        }),
    }
}

/// What somebody asks who is let in: the token first, so that nothing is inflated for strangers.
fn asked(app: &App, version: Version, params: Params, headers: &HeaderMap) -> Result<Asked, Problem> {
    let admission = admit(app, &params, headers)?;
    let opening = opening(app, version, params)?;
    Ok(Asked { admission, opening })
}

type Parameters = Result<Query<Params>, QueryRejection>;
type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

async fn v0(State(door): State<Door>, params: Parameters, headers: HeaderMap, upgrade: Upgrade) -> Response {
    open(door, Version::V0, readable(params), &headers, upgrade)
}

async fn v1(State(door): State<Door>, params: Parameters, headers: HeaderMap, upgrade: Upgrade) -> Response {
    open(door, Version::V1, readable(params), &headers, upgrade)
}

fn open(door: Door, version: Version, params: Params, headers: &HeaderMap, upgrade: Upgrade) -> Response {
    let accepted = Instant::now();
    let asked = match asked(&door.app, version, params, headers) {
        Ok(asked) => asked,
        Err(problem) => return problem.into_response(),
    };
    let Some(signal) = door.signal else { return Problem::from(ServiceError::Draining).into_response() };
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(refused) => return Problem::new(Kind::UpgradeRequired, refused.to_string()).into_response(),
    };
    if let Err(wait) = door.app.guard.socket(asked.admission.user) {
        return Problem::from(wait).into_response();
    }
    upgrade
        .max_message_size(FRAME_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .on_upgrade(move |socket| socket::serve(signal, socket, asked, accepted))
}

async fn validate_v0(State(door): State<Door>, params: Parameters, headers: HeaderMap) -> Response {
    validate(&door, Version::V0, readable(params), &headers)
}

async fn validate_v1(State(door): State<Door>, params: Parameters, headers: HeaderMap) -> Response {
    validate(&door, Version::V1, readable(params), &headers)
}

fn validate(door: &Door, version: Version, params: Params, headers: &HeaderMap) -> Response {
    match asked(&door.app, version, params, headers) {
        Ok(_) => (StatusCode::OK, "success").into_response(),
        Err(problem) => problem.into_response(),
    }
}
