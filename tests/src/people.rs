//! People with accounts on a daemon of their own: the first admin, signed-in browsers, codes of an authenticator app.

use std::time::{SystemTime, UNIX_EPOCH};

use controlplane::auth::totp;
use serde_json::{Value, json};

use crate::daemon::{Daemon, Scratch};
use crate::home::JSON;
use crate::http::Answer;
use crate::signing;

/// Everybody's password unless a test says otherwise.
pub const PASSWORD: &str = "a long enough password";

/// A daemon outside demo mode.
pub struct Office {
    /// The daemon.
    pub daemon: Daemon,
    /// Its directory.
    pub scratch: Scratch,
}

/// A browser that is signed in.
pub struct Browser<'a> {
    office: &'a Office,
    /// Its cookie, as it sends it.
    pub cookie: String,
}

impl Office {
    /// With these flags, not set up.
    #[must_use]
    pub fn closed(name: &str, flags: &[&str]) -> Self {
        let scratch = Scratch::new(name);
        Self { daemon: Daemon::start(&scratch.join("data"), flags), scratch }
    }

    /// As [`Self::closed`], with tokens signed by the key of [`signing`].
    #[must_use]
    pub fn with_known_key(name: &str, flags: &[&str]) -> Self {
        let scratch = Scratch::new(name);
        let data = scratch.join("data");
        signing::plant(&data);
        Self { daemon: Daemon::start(&data, flags), scratch }
    }

    /// Told that clients reach it by this scheme, not set up.
    #[must_use]
    pub fn public(name: &str, scheme: &str) -> Self {
        let scratch = Scratch::new(name);
        Self { daemon: Daemon::start_public(&scratch.join("data"), scheme), scratch }
    }

    /// Set up by `ada`.
    #[must_use]
    pub fn open(name: &str) -> Self {
        let office = Self::closed(name, &[]);
        let answer = office.set_up(&office.setup_token());
        assert_eq!(answer.status, 200, "{answer:?}");
        office
    }

    /// The token of the link the daemon prints.
    ///
    /// # Panics
    /// When it prints none.
    #[must_use]
    pub fn setup_token(&self) -> String {
        let line = self.daemon.next_line();
        line.split_once("/setup#").unwrap_or_else(|| panic!("no link: {line}")).1.to_owned()
    }

    /// Makes the account of `ada`.
    #[must_use]
    pub fn set_up(&self, token: &str) -> Answer {
        let body = json!({"token": token, "name": "ada", "email": "ada@example.org", "password": PASSWORD});
        self.daemon.call_json("POST", "/api/v1/setup", None, &body)
    }

    /// Asks to sign in.
    #[must_use]
    pub fn ask(&self, name: &str, password: &str, code: Option<&str>) -> Answer {
        let mut body = json!({"email": format!("{name}@example.org"), "password": password});
        if let Some(code) = code {
            body["code"] = json!(code);
        }
        self.daemon.call_json("POST", "/api/v1/session", None, &body)
    }

    /// Signs in.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn sign_in(&self, name: &str) -> Browser<'_> {
        self.browser(&self.ask(name, PASSWORD, None))
    }

    /// The browser that got this answer to a sign-in.
    ///
    /// # Panics
    /// When it was refused.
    #[must_use]
    pub fn browser(&self, answer: &Answer) -> Browser<'_> {
        assert_eq!(answer.status, 200, "{answer:?}");
        let set = answer.header("set-cookie").expect("signing in sets a cookie");
        Browser { office: self, cookie: set.split(';').next().expect("a pair").to_owned() }
    }
}

impl Browser<'_> {
    /// A request as a page of the server makes it.
    #[must_use]
    pub fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        let origin = format!("http://{}", self.office.daemon.address);
        self.send(method, path, &[("origin", &origin)], body)
    }

    /// A request with these headers beside the cookie; `null` is no body.
    #[must_use]
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let mut all = headers.to_vec();
        all.push(("cookie", &self.cookie));
        let text = if body.is_null() { String::new() } else { body.to_string() };
        if !body.is_null() {
            all.push(JSON);
        }
        self.office.daemon.send(method, path, None, &all, text.as_bytes())
    }

    /// The caller's own account.
    #[must_use]
    pub fn me(&self) -> Answer {
        self.call("GET", "/api/v1/users/me", &Value::Null)
    }
}

/// An authenticator app.
pub struct App(Vec<u8>);

impl App {
    /// Scans what the server offers.
    ///
    /// # Panics
    /// When that is not an `otpauth` URI with a secret.
    #[must_use]
    pub fn scan(uri: &str) -> Self {
        assert!(uri.starts_with("otpauth://totp/kaigi:"), "{uri}");
        let secret = uri.split(['?', '&']).find_map(|part| part.strip_prefix("secret=")).expect("a secret");
        let mut bits = Vec::new();
        for c in secret.bytes() {
            let value = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".iter().position(|known| *known == c);
            let value = value.expect("base 32");
            bits.extend((0..5).rev().map(|at| value >> at & 1));
        }
        let byte = |bits: &[usize]| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit == 1));
        Self(bits.chunks_exact(8).map(byte).collect())
    }

    /// The code `steps` of 30 s from now. A server takes those of -1, 0 and 1.
    ///
    /// # Panics
    /// When the clock is before 1970.
    #[must_use]
    pub fn code(&self, steps: i64) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        totp::code_of(&self.0, totp::step_at(now).saturating_add_signed(steps))
    }
}
