//! What a meeting may look like: limits of topic, duration, names and passcodes.

use super::error::{FieldError, ServiceError};
use super::seen::Seen;
use super::timestamp::Timestamp;

/// Longest topic, characters (the source's VARCHAR(500)).
pub const TOPIC_CHARS_MAX: usize = 500;
/// Longest display name, characters.
pub const NAME_CHARS_MAX: usize = 100;
/// Longest passcode, characters.
pub const PASSCODE_CHARS_MAX: usize = 64;
/// Longest meeting, minutes: one day.
pub const DURATION_MINUTES_MAX: i64 = 24 * 60;
/// Planned length when none is given, minutes.
pub const DURATION_MINUTES_DEFAULT: i64 = 60;

/// A meeting to be made.
#[derive(Clone, Debug, Default)]
pub struct NewMeeting {
    /// Topic.
    pub topic: String,
    /// Planned start; now if absent.
    pub start_time: Option<Timestamp>,
    /// Planned length, minutes.
    pub duration: Option<i64>,
    /// Whether it is to be recorded.
    pub recording_enabled: bool,
    /// Passcode in clear; only its hash is kept.
    pub passcode: Option<String>,
    /// Whether guests wait for the host.
    pub waiting_room: bool,
}

/// Changes to a meeting; absent means unchanged.
#[derive(Clone, Debug, Default)]
pub struct MeetingChange {
    /// New topic.
    pub topic: Option<String>,
    /// New start.
    pub start_time: Option<Timestamp>,
    /// New length, minutes.
    pub duration: Option<i64>,
    /// Whether it is to be recorded.
    pub recording_enabled: Option<bool>,
    /// New passcode; `Some(None)` takes it away.
    pub passcode: Option<Option<String>>,
    /// Whether guests wait for the host.
    pub waiting_room: Option<bool>,
    /// What the caller has seen.
    pub seen: Seen,
}

/// How somebody wants to join.
#[derive(Clone, Debug, Default)]
pub struct JoinRequest {
    /// Name to show; the account's or "Guest" if absent.
    pub name: Option<String>,
    /// The passcode, if the meeting wants one.
    pub passcode: Option<String>,
}

impl NewMeeting {
    pub(super) fn check(&mut self) -> Result<(), ServiceError> {
        let mut errors = Vec::new();
        check_text("/topic", &mut self.topic, TOPIC_CHARS_MAX, &mut errors);
        check_duration(self.duration, &mut errors);
        check_passcode(self.passcode.as_deref(), &mut errors);
        finish(errors)?;
        check_waiting_room(self.waiting_room)
    }
}

impl MeetingChange {
    pub(super) fn check(&mut self) -> Result<(), ServiceError> {
        let mut errors = Vec::new();
        if let Some(topic) = &mut self.topic {
            check_text("/topic", topic, TOPIC_CHARS_MAX, &mut errors);
        }
        check_duration(self.duration, &mut errors);
        check_passcode(self.passcode.as_ref().and_then(Option::as_deref), &mut errors);
        finish(errors)?;
        check_waiting_room(self.waiting_room.unwrap_or(false))
    }
}

impl JoinRequest {
    pub(super) fn check(&mut self) -> Result<(), ServiceError> {
        let mut errors = Vec::new();
        if let Some(name) = &mut self.name {
            check_text("/name", name, NAME_CHARS_MAX, &mut errors);
        }
        if self.passcode.as_ref().is_some_and(|p| p.chars().count() > PASSCODE_CHARS_MAX) {
            errors.push(too_long("/passcode", PASSCODE_CHARS_MAX));
        }
        finish(errors)
    }
}

/// Trims a user name and checks it.
///
/// # Errors
/// `Invalid` with pointer `/name`.
pub fn user_name(name: &str) -> Result<String, ServiceError> {
    let mut name = name.to_owned();
    let mut errors = Vec::new();
    check_text("/name", &mut name, NAME_CHARS_MAX, &mut errors);
    finish(errors).map(|()| name)
}

fn check_text(pointer: &str, text: &mut String, chars_max: usize, errors: &mut Vec<FieldError>) {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        errors.push(FieldError::new(pointer, "must not be empty"));
    } else if trimmed.chars().count() > chars_max {
        errors.push(too_long(pointer, chars_max));
    } else if trimmed.chars().any(char::is_control) {
        errors.push(FieldError::new(pointer, "must not contain control characters"));
    }
    if trimmed.len() != text.len() {
        *text = trimmed.to_owned();
    }
}

fn check_duration(minutes: Option<i64>, errors: &mut Vec<FieldError>) {
    if minutes.is_some_and(|m| !(1..=DURATION_MINUTES_MAX).contains(&m)) {
        let detail = format!("must be 1 to {DURATION_MINUTES_MAX} minutes");
        errors.push(FieldError::new("/duration", detail));
    }
}

fn check_passcode(passcode: Option<&str>, errors: &mut Vec<FieldError>) {
    if let Some(passcode) = passcode {
        if passcode.is_empty() {
            errors.push(FieldError::new("/passcode", "must not be empty; leave it out for none"));
        } else if passcode.chars().count() > PASSCODE_CHARS_MAX {
            errors.push(too_long("/passcode", PASSCODE_CHARS_MAX));
        }
    }
}

fn check_waiting_room(waiting_room: bool) -> Result<(), ServiceError> {
    if waiting_room {
        return Err(ServiceError::NotYetSupported {
            pointer: "/waiting_room",
            detail: "waiting rooms are not supported yet; leave the field out or send false",
        });
    }
    Ok(())
}

fn too_long(pointer: &str, chars_max: usize) -> FieldError {
    FieldError::new(pointer, format!("must be at most {chars_max} characters"))
}

fn finish(errors: Vec<FieldError>) -> Result<(), ServiceError> {
    if errors.is_empty() { Ok(()) } else { Err(ServiceError::Invalid(errors)) }
}
