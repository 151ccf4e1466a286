//! Error answers: RFC 9457 problem documents with a stable type. The one place where errors become status codes.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::guard::Refusal;
use crate::service::{FieldError, ServiceError};
use crate::store::StoreError;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident => $status:literal, $slug:literal, $title:literal, $meaning:literal;)+) => {
        /// The kinds of problems there are. Slugs are part of the contract: they never change their meaning.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Kind { $(#[doc = $meaning] $variant,)+ }

        impl Kind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The end of the problem's type, `/problems/<slug>`.
            #[must_use]
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$variant => $slug,)+ }
            }

            /// What happened, the same for every occurrence.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }

            /// What it means and what to do, for the page behind the type.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)+ }
            }

            const fn code(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }
        }
    };
}

kinds! {
    MalformedJson => 400, "malformed-json", "The body is not JSON",
        "The request body could not be read as JSON (RFC 8259).";
    MalformedDescription => 400, "malformed-description", "The session description does not parse",
        "The body is not SDP (RFC 8866), or not a fragment of it (RFC 8840).";
    MalformedRequest => 400, "malformed-request", "The request cannot be understood",
        "Its address, query or headers are not what this address takes.";
    IdempotencyKeyMalformed => 400, "idempotency-key-malformed", "The Idempotency-Key cannot be read",
        "Send one string of 1 to 255 visible characters, best a random UUID, in quotes or without.";
    TokenRequired => 401, "token-required", "A token is needed",
        "Send an Authorization: Bearer header with an access token, or sign in.";
    TokenInvalid => 401, "token-invalid", "The token does not count",
        "The token is malformed, expired, signed by somebody else, or its user is gone. Get a new one.";
    CredentialsWrong => 401, "credentials-wrong", "Address or password is wrong",
        "Nobody signs in with this pair. It is not said which of the two is wrong.";
    TotpRequired => 401, "totp-required", "A code is needed",
        "Send the same again with the field code: the six digits of the authenticator app, or a recovery code.";
    TotpWrong => 403, "totp-wrong", "The code does not count",
        "It is wrong, older than a minute, or was used before. Wait for the next one.";
    PasswordWrong => 403, "password-wrong", "The present password is wrong",
        "Changing a password takes the present one, in the field current_password.";
    AccountDisabled => 403, "account-disabled", "The account is disabled",
        "An admin of this server disabled it, and can enable it again.";
    NotAdmin => 403, "not-admin", "Only admins may do this",
        "The caller is known and has no admin's role.";
    ExternalAddress => 403, "provider-address", "The sign-in service vouches for no address that counts",
        "Its account needs a verified e-mail address, of a domain that this server takes. Ask who runs this server.";
    ExternalUnknown => 403, "provider-unknown-user", "There is no account for you here",
        "The sign-in service knows you; this server makes no accounts by itself. Ask an admin of it for one with the same address.";
    ProviderRefused => 403, "provider-refused", "The sign-in service refused",
        "It was cancelled, or the service does not let you in here. Try again, or sign in with a password.";
    SignInExpired => 403, "sign-in-expired", "The sign-in took too long or was used before",
        "A sign-in counts once, for ten minutes, in the browser it was begun in. Begin again.";
    ProviderTokenInvalid => 403, "provider-token-invalid", "What the sign-in service sent does not count",
        "Its signature, its name, ours, or its time is wrong. Try again; if it stays so, the operator compares the configuration with the service's.";
    LinkDead => 403, "link-dead", "The link no longer counts",
        "It was used, replaced or has expired. An admin makes a new invitation; the operator makes a new set-up link with kaigid setup-link.";
    CrossSite => 403, "cross-site", "The request came from another site",
        "A session of a browser counts for requests of our own pages. Others send an Authorization: Bearer header.";
    NotHost => 403, "not-host", "Only the host may do this",
        "The caller is known, and the meeting belongs to somebody else.";
    TokenOutOfScope => 403, "token-out-of-scope", "This token is not good for that",
        "Host and session tokens count for one meeting and one purpose. Use an access token.";
    PasscodeRequired => 403, "passcode-required", "The meeting needs a passcode",
        "Join again with the field passcode.";
    PasscodeWrong => 403, "passcode-wrong", "The passcode is wrong",
        "Join again with the passcode the host gave out.";
    NotFound => 404, "not-found", "There is nothing here",
        "No resource has this address.";
    MeetingNotFound => 404, "meeting-not-found", "There is no such meeting",
        "The number is wrong or the meeting was deleted.";
    ParticipantNotFound => 404, "participant-not-found", "There is no such participant",
        "Nobody with this number ever joined the meeting.";
    UserNotFound => 404, "user-not-found", "There is no such user",
        "No account has this name or number.";
    ClientNotFound => 404, "client-not-found", "There is no such OAuth client",
        "No client has this number, or the redirect URI is not one it was registered with, letter by letter.";
    KeyNotFound => 404, "key-not-found", "There is no such API key",
        "It was deleted, or belongs to somebody else.";
    SessionNotFound => 404, "session-not-found", "There is no such session",
        "It has ended, or its address was never given out.";
    MethodNotAllowed => 405, "method-not-allowed", "This method does nothing here",
        "The address exists and takes other methods: see the Allow header.";
    NoCommonFormat => 406, "no-common-format", "There is no codec in common",
        "Offer Opus, and VP8, VP9, H264 or AV1.";
    Timeout => 408, "request-timeout", "The request took too long",
        "The body did not arrive in time. Send it again.";
    MeetingInProgress => 409, "meeting-in-progress", "The meeting is in progress",
        "The start of a running meeting cannot change.";
    ParticipantNotConnected => 409, "participant-not-connected", "The participant is not connected",
        "The call acts on somebody who is in the meeting now. Try again when the participant is back.";
    MeetingFull => 409, "meeting-full", "The meeting is full",
        "As many people are connected as the meeting takes. Try again when somebody left.";
    IdempotencyKeyInUse => 409, "idempotency-key-in-use", "The first request with this key is not answered yet",
        "The same Idempotency-Key came while its first request was being worked on. Send it again in a moment.";
    NameTaken => 409, "name-taken", "The name is taken",
        "Another account has it. Choose another one.";
    EmailTaken => 409, "email-taken", "The address is taken",
        "Another account signs in with it.";
    OwnCodes => 409, "own-codes", "These are your own codes",
        "An admin resets those of others. Your own are turned off with a DELETE of /users/me/totp and a code.";
    ExternalTaken => 409, "provider-address-taken", "Another account has this address",
        "Sign in with its password. The operator can let the sign-in service speak for the address's domain (oidc-domain).";
    LastAdmin => 409, "last-admin", "This is the last admin",
        "Nobody would be left who may manage accounts. Make another admin first.";
    AlreadySetUp => 409, "already-set-up", "The server is set up already",
        "The first account exists. Sign in, or ask an admin for an account.";
    TotpNotStarted => 409, "totp-not-started", "No authenticator app is set up",
        "Begin with a POST to /users/me/totp.";
    TotpAlreadyOn => 409, "totp-already-on", "An authenticator app is set up already",
        "Remove it with a DELETE and a code before you set up another.";
    MeetingEnded => 410, "meeting-ended", "The meeting has ended",
        "An ended meeting can be read, not joined or changed.";
    PreconditionFailed => 412, "precondition-failed", "That is another ICE session",
        "The entity tag is of before an ICE restart: the ETag of the newest answer counts.";
    ChangedMeanwhile => 412, "changed-meanwhile", "It was changed meanwhile",
        "If-Match names a state that is gone. Read it again and decide anew.";
    BodyTooLarge => 413, "body-too-large", "The body is too large",
        "Request bodies of this address are limited; nothing it takes is that long.";
    UnsupportedMediaType => 415, "unsupported-media-type", "The body is not declared as what this address takes",
        "Send Content-Type: application/json to the API, application/sdp to WHIP and WHEP, and application/trickle-ice-sdpfrag to their sessions.";
    IdempotencyKeyReused => 422, "idempotency-key-reused", "Another request had this key",
        "An Idempotency-Key belongs to one request: the same call with the same body. Take a new one for each.";
    InvalidFields => 422, "invalid-fields", "Some fields cannot be taken",
        "The member errors lists each field by its JSON pointer (RFC 6901) with what is wrong.";
    NotYetSupported => 422, "not-yet-supported", "This is not supported yet",
        "The field asks for a feature of a later version; it is refused rather than ignored.";
    UnusableDescription => 422, "unusable-description", "The offer cannot be answered",
        "It lacks what a session needs: ICE credentials, a SHA-256 fingerprint, a DTLS role other than passive, one bundle, and a section in the right direction.";
    UpgradeRequired => 426, "upgrade-required", "This address speaks WebSocket",
        "Connect with a WebSocket client (RFC 6455).";
    PreconditionRequired => 428, "precondition-required", "The request must be conditional",
        "Send If-Match with the entity tag of the session, or with * to restart ICE (RFC 9725 section 4.3).";
    TooManyRequests => 429, "too-many-requests", "Too many requests",
        "Try again after the time in Retry-After.";
    TooManyAttempts => 429, "too-many-attempts", "Too many attempts",
        "Guessing is slowed down. Try again after the time in Retry-After.";
    TooManyMeetings => 429, "too-many-meetings", "Too many meetings for one day",
        "An account may create so many meetings a day (see /api/v1/limits). Try again after the time in Retry-After.";
    Internal => 500, "internal", "Something went wrong here",
        "The fault is the server's; its log says more.";
    Draining => 503, "draining", "The server is going away",
        "It takes nothing new. Try again in a moment: another one takes over.";
    Busy => 503, "busy", "The server is busy",
        "Too many writes at once. Try again after the time in Retry-After.";
    ProviderUnreachable => 503, "provider-unreachable", "The sign-in service does not answer",
        "Try again in a moment, or sign in with a password. The operator sees why in the log and with kaigid check.";
    MediaFailed => 503, "media-failed", "Media is not carried",
        "A packet core has stopped; its meetings need another server until this one is restarted.";
    StorageFull => 507, "insufficient-storage", "The disk is full",
        "Nothing is written until an operator frees some space; reading goes on. Try again later.";
    StorageFailed => 503, "storage-failed", "The store is not available",
        "Nothing can be written until an operator looks at the disk.";
}

/// The media type of problem documents (RFC 9457).
pub const MEDIA_TYPE: &str = "application/problem+json";

impl Kind {
    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// As which refusal of a request it is counted, if it is one.
    const fn refusal(self) -> Option<Refusal> {
        match self {
            Self::MalformedJson | Self::MalformedRequest | Self::MalformedDescription => {
                Some(Refusal::Malformed)
            }
            Self::MethodNotAllowed => Some(Refusal::Method),
            Self::Timeout => Some(Refusal::BodySlow),
            Self::BodyTooLarge => Some(Refusal::BodySize),
            Self::UnsupportedMediaType => Some(Refusal::ContentType),
            _ => None,
        }
    }

    /// The problem's type.
    #[must_use]
    pub fn type_uri(self) -> String {
        format!("/problems/{}", self.slug())
    }
}

/// Errors listed in one document; a body with more is not worth a longer answer.
const ERRORS_LISTED_MAX: usize = 20;
/// What a caller waits before trying again unless the problem says otherwise, seconds.
const RETRY_AFTER_SECONDS: u64 = 2;

/// One occurrence of a problem.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// What kind.
    pub kind: Kind,
    /// This occurrence, for people.
    pub detail: String,
    /// Fields that caused it.
    pub errors: Vec<FieldError>,
    /// When trying again makes sense, for the statuses that say so; seconds.
    pub retry_after: u64,
    /// As which refusal it is counted, where its kind does not say it.
    pub reason: Option<Refusal>,
}

impl Problem {
    /// A problem without fields.
    #[must_use]
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: RETRY_AFTER_SECONDS,
            reason: None,
        }
    }

    /// Fields that cannot be taken.
    #[must_use]
    pub fn fields(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] if one.pointer.is_empty() => format!("the body {}", one.detail),
            [one] => format!("{} {}", one.pointer, one.detail),
            many => format!("{} fields cannot be taken", many.len()),
        };
        Self { errors, ..Self::new(Kind::InvalidFields, detail) }
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        use ServiceError as E;
        let kind = match &error {
            E::NoToken => Kind::TokenRequired,
            E::BadToken(_) | E::UnknownUser => Kind::TokenInvalid,
            E::WrongCredentials => Kind::CredentialsWrong,
            E::WrongPassword => Kind::PasswordWrong,
            E::CodeRequired => Kind::TotpRequired,
            E::WrongCode => Kind::TotpWrong,
            E::NoSecondFactor => Kind::TotpNotStarted,
            E::SecondFactorOn => Kind::TotpAlreadyOn,
            E::TooManyAttempts { .. } => Kind::TooManyAttempts,
            E::TooManyMeetings { .. } => Kind::TooManyMeetings,
            E::AccountDisabled => Kind::AccountDisabled,
            E::NotAdmin => Kind::NotAdmin,
            E::LastAdmin => Kind::LastAdmin,
            E::NameTaken => Kind::NameTaken,
            E::EmailTaken => Kind::EmailTaken,
            E::ExternalAddress => Kind::ExternalAddress,
            E::OwnCodes => Kind::OwnCodes,
            E::ExternalTaken => Kind::ExternalTaken,
            E::ExternalUnknown => Kind::ExternalUnknown,
            E::AlreadySetUp => Kind::AlreadySetUp,
            E::DeadLink => Kind::LinkDead,
            E::KeyInUse => Kind::IdempotencyKeyInUse,
            E::KeyReused => Kind::IdempotencyKeyReused,
            E::ChangedMeanwhile => Kind::ChangedMeanwhile,
            E::NoSuchSession => Kind::SessionNotFound,
            E::NoSuchClient => Kind::ClientNotFound,
            E::NoSuchKey => Kind::KeyNotFound,
            E::Grant(_) => Kind::MalformedRequest,
            E::NotHost => Kind::NotHost,
            E::OutOfScope => Kind::TokenOutOfScope,
            E::PasscodeRequired => Kind::PasscodeRequired,
            E::WrongPasscode => Kind::PasscodeWrong,
            E::NoSuchMeeting => Kind::MeetingNotFound,
            E::NoSuchParticipant => Kind::ParticipantNotFound,
            E::NoSuchUser => Kind::UserNotFound,
            E::Ended => Kind::MeetingEnded,
            E::InProgress => Kind::MeetingInProgress,
            E::Full => Kind::MeetingFull,
            E::Invalid(_) => Kind::InvalidFields,
            E::NotYetSupported { .. } => Kind::NotYetSupported,
            E::Draining => Kind::Draining,
            E::Busy => Kind::Busy,
            E::BadRecord | E::NoNewKey(_) => Kind::Internal,
            E::Store(StoreError::NoSpace { .. }) => Kind::StorageFull,
            E::Store(_) => Kind::StorageFailed,
        };
        match error {
            E::Invalid(errors) => Self::fields(errors),
            E::NotYetSupported { pointer, detail } => {
                Self { errors: vec![FieldError::new(pointer, detail)], ..Self::new(kind, detail) }
            }
            E::TooManyAttempts { seconds } | E::TooManyMeetings { seconds, .. } => {
                Self { retry_after: seconds, ..Self::new(kind, error.to_string()) }
            }
            E::Store(StoreError::NoSpace { .. }) => Self::new(kind, "the disk is too full to write"),
            // Paths and system messages are the operator's, not the caller's.
            E::Store(error) => {
                tracing::error!(%error, "a request failed in the store");
                Self::new(kind, "the store failed")
            }
            other => Self::new(kind, other.to_string()),
        }
    }
}

/// The document as it is sent.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// `/problems/<slug>`, stable.
    r#type: String,
    /// The same for every occurrence of the type.
    title: String,
    /// The HTTP status.
    status: u16,
    /// This occurrence.
    detail: String,
    /// The fields that caused it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<ProblemField>,
}

/// A field that cannot be taken.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ProblemField)]
pub struct ProblemField {
    /// JSON pointer (RFC 6901) into the request body.
    pointer: String,
    /// What is wrong with it.
    detail: String,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.kind.status();
        let reason = self.reason.or(self.kind.refusal());
        let fields = self.errors.into_iter().take(ERRORS_LISTED_MAX);
        let document = ProblemDocument {
            r#type: self.kind.type_uri(),
            title: self.kind.title().to_owned(),
            status: status.as_u16(),
            detail: self.detail,
            errors: fields.map(|f| ProblemField { pointer: f.pointer, detail: f.detail }).collect(),
        };
        let mut response = (status, Json(document)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(reason) = reason {
            response.extensions_mut().insert(reason);
        }
        let headers = response.headers_mut();
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(self.retry_after));
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_distinct_and_statuses_are_errors() {
        for (at, kind) in Kind::ALL.iter().enumerate() {
            assert!(kind.status().is_client_error() || kind.status().is_server_error());
            assert!(Kind::ALL[..at].iter().all(|other| other.slug() != kind.slug()), "{}", kind.slug());
        }
    }

    #[tokio::test]
    async fn every_kind_has_a_page() {
        for kind in Kind::ALL {
            let page = super::super::ops::problem_page(axum::extract::Path(kind.slug().to_owned())).await;
            let page = page.expect("a page");
            let head = format!("{} ({})", kind.title(), kind.status().as_u16());
            assert!(page.starts_with(&head) && page.contains(kind.meaning()), "{}: {page}", kind.slug());
        }
    }

    #[test]
    fn the_table_of_the_readme_has_every_kind_once_with_its_status() {
        let readme = include_str!("../../README.md");
        let table = readme.split("## Problem types").nth(1).and_then(|rest| rest.split("## ").next());
        let mut listed: Vec<(u16, &str)> = Vec::new();
        for line in table.expect("the section is there").lines() {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let (Some(Ok(status)), Some(slugs)) = (cells.next().map(str::parse), cells.next()) else {
                continue;
            };
            listed.extend(slugs.split(',').map(|slug| (status, slug.trim().trim_matches('`'))));
        }
        let mut kinds: Vec<_> = Kind::ALL.iter().map(|kind| (kind.status().as_u16(), kind.slug())).collect();
        listed.sort_unstable();
        kinds.sort_unstable();
        assert_eq!(listed, kinds);
    }

    #[test]
    fn a_failed_store_does_not_show_its_paths() {
        let error = StoreError::Failed { reason: "/secret/path: no space".into() };
        let problem = Problem::from(ServiceError::Store(error));
        assert_eq!(problem.kind, Kind::StorageFailed);
        assert!(!problem.detail.contains("secret"));
    }
}
