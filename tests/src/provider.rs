//! OpenID Connect providers: PyPI's `oidc-provider-mock`, and one that says whatever a test wants.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::daemon::PATIENCE;
use crate::http;
use crate::python::interpreter;

/// The mock as a process; killed when dropped.
pub struct Mock {
    child: Child,
    /// Where it answers.
    pub address: SocketAddr,
}

impl Mock {
    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("a free port");
        let child = Command::new(interpreter())
            .args(["-m", "oidc_provider_mock", "--require-nonce", "--port", &address.port().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the Python of the clients runs");
        let mock = Self { child, address };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(begun.elapsed() < PATIENCE, "the provider does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        mock
    }

    /// Its issuer.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes or changes somebody.
    ///
    /// # Panics
    /// When it does not take that.
    pub fn user(&self, subject: &str, claims: &Value) {
        let (path, body) = (format!("/users/{subject}"), claims.to_string());
        let headers = [("content-type", "application/json")];
        let answer = http::request(self.address, "PUT", &path, &headers, body.as_bytes()).expect("an answer");
        assert_eq!(answer.status, 204, "{answer:?}");
    }

    /// Somebody signs in there, or says no; where the browser is sent.
    ///
    /// # Panics
    /// When it shows an error instead.
    #[must_use]
    pub fn decide(&self, authorize: &str, form: &str) -> String {
        let path = authorize.strip_prefix(&self.issuer()).expect("its own address");
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let answer = http::request(self.address, "POST", path, &headers, form.as_bytes()).expect("an answer");
        answer.header("location").unwrap_or_else(|| panic!("no redirect: {}", answer.text())).to_owned()
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the other one says.
#[derive(Clone)]
pub struct Says {
    /// Its discovery document.
    pub discovery: Value,
    /// Its keys.
    pub keys: Value,
    /// The status and body of its token endpoint.
    pub token: (u16, Value),
    /// And of the one that tells of people.
    pub person: (u16, Value),
}

/// A provider that says whatever a test wants; ends with the test's process.
pub struct Puppet {
    /// Where it answers.
    pub address: SocketAddr,
    /// What it says from now on.
    pub says: Arc<Mutex<Says>>,
    /// The paths it was asked for.
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl Puppet {
    /// Starts it as a provider with no keys and no tokens.
    ///
    /// # Panics
    /// Without a free port.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let at = format!("http://{address}");
        let discovery = json!({
            "issuer": at, "authorization_endpoint": format!("{at}/authorize"), "token_endpoint": format!("{at}/token"),
            "jwks_uri": format!("{at}/keys"), "response_types_supported": ["code"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["EdDSA"],
        });
        let says = Says {
            discovery,
            keys: json!({"keys": []}),
            token: (500, Value::Null),
            person: (404, Value::Null),
        };
        let (says, asked) = (Arc::new(Mutex::new(says)), Arc::<Mutex<Vec<String>>>::default());
        let puppet = Self { address, says: Arc::clone(&says), asked: Arc::clone(&asked) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &says, &asked);
            }
        });
        puppet
    }

    /// Its issuer.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn answer(mut stream: TcpStream, says: &Mutex<Says>, asked: &Mutex<Vec<String>>) {
    let Ok(clone) = stream.try_clone() else { return };
    let mut reader = BufReader::new(clone);
    let (mut line, mut length) = (String::new(), 0);
    let _ = reader.read_line(&mut line);
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).is_err() || header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    let _ = reader.read_exact(&mut body);
    asked.lock().expect("no panic").push(path.clone());
    let says = says.lock().expect("no panic").clone();
    let (status, body) = match path.as_str() {
        "/.well-known/openid-configuration" => (200, says.discovery),
        "/keys" => (200, says.keys),
        "/token" => says.token,
        "/person" => says.person,
        _ => (404, Value::Null),
    };
    // A status of redirection comes with a place to be led to.
    let location = if status / 100 == 3 { "location: http://127.0.0.1:1/\r\n" } else { "" };
    let text = body.to_string();
    let _ = write!(
        stream,
        "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\n{location}content-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
}
