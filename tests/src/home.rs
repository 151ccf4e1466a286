//! A daemon of one test with the directory it lives in, meetings made over its API, and problem documents.

use serde_json::{Value, json};

use crate::daemon::{Daemon, Scratch};
use crate::http::Answer;
use crate::signing;

/// Where meetings are made.
pub const MEETINGS: &str = "/api/v1/meetings";
/// What a body of the API is declared as.
pub const JSON: (&str, &str) = ("content-type", "application/json");

/// A daemon and the directory it lives in.
pub struct Home {
    /// The daemon.
    pub daemon: Daemon,
    /// Its directory.
    pub scratch: Scratch,
}

impl Home {
    /// In demo mode.
    #[must_use]
    pub fn demo(name: &str) -> Self {
        Self::with(name, &["--demo"])
    }

    /// With these flags.
    #[must_use]
    pub fn with(name: &str, flags: &[&str]) -> Self {
        let scratch = Scratch::new(name);
        Self { daemon: Daemon::start(&scratch.join("data"), flags), scratch }
    }

    /// In demo mode, with a signing key that the test knows.
    #[must_use]
    pub fn with_known_key(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let data = scratch.join("data");
        signing::plant(&data);
        Self { daemon: Daemon::start(&data, &["--demo"]), scratch }
    }

    /// A meeting made by a guest: its path and its host token.
    ///
    /// # Panics
    /// When it is refused.
    pub fn meeting(&self, extra: Value) -> (String, String) {
        let mut body = json!({"topic": "Team Meeting"});
        merge(&mut body, extra);
        let created = self.daemon.call_json("POST", MEETINGS, None, &body);
        assert_eq!(created.status, 200, "{created:?}");
        (format!("{MEETINGS}/{}", created.field("id")), created.field("host_token"))
    }
}

/// Adds members to an object, over those of the same name.
pub fn merge(into: &mut Value, extra: Value) {
    if let (Some(into), Value::Object(extra)) = (into.as_object_mut(), extra) {
        into.extend(extra);
    }
}

/// Asserts a problem document of this status and type and returns its pointers.
///
/// # Panics
/// When it is not.
pub fn problem(answer: &Answer, status: u16, slug: &str) -> Vec<String> {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    let document = answer.json();
    assert_eq!(document["type"], format!("/problems/{slug}"), "{document}");
    assert_eq!(document["status"], status, "{document}");
    assert!(document["title"].is_string() && document["detail"].is_string(), "{document}");
    let errors = document["errors"].as_array().cloned().unwrap_or_default();
    errors.iter().map(|error| error["pointer"].as_str().expect("a pointer").to_owned()).collect()
}
