//! Errors in Twirp's own words (its specification, version 7): `{"code","msg","meta"}` with the status each code has.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::http::problem::Problem;
use crate::service::ServiceError;

/// The codes that are used here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// The message is no message of the method's.
    Malformed,
    /// A field cannot be taken.
    InvalidArgument,
    /// There is no such method, or it is asked for in a way Twirp does not have.
    BadRoute,
    /// No token, or one that does not count.
    Unauthenticated,
    /// The token does not grant it.
    PermissionDenied,
    /// No such room or participant.
    NotFound,
    /// Too much of it.
    ResourceExhausted,
    /// This server does not have it.
    Unimplemented,
    /// Not now.
    Unavailable,
    /// Our fault.
    Internal,
}

impl Code {
    const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::InvalidArgument => "invalid_argument",
            Self::BadRoute => "bad_route",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::NotFound => "not_found",
            Self::ResourceExhausted => "resource_exhausted",
            Self::Unimplemented => "unimplemented",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::Malformed | Self::InvalidArgument => StatusCode::BAD_REQUEST,
            Self::BadRoute | Self::NotFound => StatusCode::NOT_FOUND,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Why a call failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TwirpError {
    code: Code,
    message: String,
    /// The field that is wrong.
    argument: Option<String>,
    /// When trying again makes sense, seconds.
    retry_after: Option<u64>,
}

impl TwirpError {
    /// With a message for people.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), argument: None, retry_after: None }
    }

    /// Whether nothing can be said about what was asked for.
    pub fn is_of_the_store(&self) -> bool {
        matches!(self.code, Code::Unavailable | Code::Internal)
    }

    /// A field that asks for what this server does not have.
    pub fn not_honoured(field: &str) -> Self {
        let message = format!("{field} is not honoured by this server; leave it out");
        Self { argument: Some(field.to_owned()), ..Self::new(Code::Unimplemented, message) }
    }
}

impl From<ServiceError> for TwirpError {
    fn from(error: ServiceError) -> Self {
        use ServiceError as E;
        let code = match &error {
            E::NoToken | E::BadToken(_) | E::UnknownUser => Code::Unauthenticated,
            E::AccountDisabled | E::OutOfScope | E::NotHost => Code::PermissionDenied,
            // A room that was deleted is gone, whatever is remembered of its meeting.
            E::NoSuchMeeting | E::Ended | E::NoSuchParticipant => Code::NotFound,
            E::Invalid(_) => Code::InvalidArgument,
            E::TooManyMeetings { .. } => Code::ResourceExhausted,
            E::Draining | E::Busy | E::Store(_) => Code::Unavailable,
            _ => Code::Internal,
        };
        let argument = match &error {
            E::Invalid(errors) => {
                errors.first().map(|first| first.pointer.trim_start_matches('/').to_owned())
            }
            _ => None,
        };
        // What is said of a failed store, and of when to come again, is the same over every door.
        let Problem { detail, retry_after, .. } = error.into();
        let again = matches!(code, Code::ResourceExhausted | Code::Unavailable);
        Self { argument, retry_after: again.then_some(retry_after), ..Self::new(code, detail) }
    }
}

impl IntoResponse for TwirpError {
    fn into_response(self) -> Response {
        let meta = self.argument.map_or_else(|| json!({}), |argument| json!({ "argument": argument }));
        let body: Value = json!({ "code": self.code.name(), "msg": self.message, "meta": meta });
        let mut answer = (self.code.status(), Json(body)).into_response();
        answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.code == Code::Unauthenticated {
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        answer
    }
}
