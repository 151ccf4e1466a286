//! `/rtc`, `/rtc/validate`, and the polite absence of `/rtc/v1`.
//!
//! Clients ask `/rtc/validate` why `/rtc` refused them: it never answers 404, on which they would retry in a tight loop, and
//! `/rtc/v1` answers nothing else, on which they fall back to what we speak.

use std::time::Instant;

use axum::extract::rejection::QueryRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use serde::Deserialize;

use super::Signal;
use super::room::Client;
use super::socket::{self, Asked, MESSAGE_BYTES_MAX};
use crate::app::App;
use crate::http::caller::bearer;
use crate::http::problem::{Kind, Problem};
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
pub fn router(door: Door) -> axum::Router {
    axum::Router::new()
        .route("/rtc", get(rtc))
        .route("/rtc/validate", get(validate))
        .route("/rtc/v1", any(no_v1))
        .route("/rtc/v1/validate", any(no_v1))
        .with_state(door)
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

async fn rtc(
    State(Door { app, signal }): State<Door>,
    params: Result<Query<Params>, QueryRejection>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let accepted = Instant::now();
    let params = readable(params);
    let admission = match admit(&app, &params, &headers) {
        Ok(admission) => admission,
        Err(problem) => return problem.into_response(),
    };
    let Some(signal) = signal else { return Problem::from(ServiceError::Draining).into_response() };
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(refused) => return Problem::new(Kind::UpgradeRequired, refused.to_string()).into_response(),
    };
    let resume = (is_set(&params.reconnect) && !params.sid.is_empty()).then_some(params.sid);
    let client = Client {
        auto_subscribe: params.auto_subscribe.as_deref().is_none_or(is_set),
        client_protocol: params.client_protocol.and_then(|v| v.parse().ok()).unwrap_or(0),
    };
    let asked = Asked { admission, client, resume };
    upgrade
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .on_upgrade(move |socket| socket::serve(signal, socket, asked, accepted))
}

async fn validate(
    State(Door { app, .. }): State<Door>,
    params: Result<Query<Params>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let params = readable(params);
    match admit(&app, &params, &headers) {
        Ok(_) => (StatusCode::OK, "success").into_response(),
        Err(problem) => problem.into_response(),
    }
}

async fn no_v1() -> Problem {
    Problem::new(Kind::NotFound, "protocol v1 is not spoken here: use /rtc")
}
