//! The operator's door: a Unix socket in the data directory, mode 0600, one JSON line in, one JSON line out per item.
//!
//! The file's owner is the only one who may use it; there is no other check.

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

use super::rotate_store_key;
use crate::app::{App, Failure};

const NAME: &str = "kaigid.sock";
/// Longest request line.
const REQUEST_BYTES_MAX: u64 = 4_096;
/// A running server answers within this time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// A client that sends nothing is dropped after this time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What the server is asked for.
#[derive(Serialize, Deserialize, Debug)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// An access token.
    Token {
        /// Whose.
        user: String,
        /// How long it is good.
        ttl_seconds: u64,
        /// Whether to make a missing user. Whoever may write to the socket owns the store.
        #[serde(default)]
        make: bool,
    },
    /// A new link by which the first account is made.
    SetupLink,
    /// A new key that signs.
    RotateSigningKey,
    /// The lines of a backup.
    Backup,
    /// Other keys.
    RotateKey {
        /// Where the new master key is; `None` makes one in the place of the old.
        to: Option<String>,
        /// Whether new values are sealed under a new data key.
        data_key: bool,
    },
    /// Whether a server is there.
    Ping,
}

/// A line of the server's answer.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The token, the link, the key's name, or a line of the backup.
    Item(String),
    /// Everything was sent.
    Done,
    /// It was refused, with the reason.
    Refused(String),
}

/// The socket of a running server; gone with it.
pub struct OperatorSocket {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl OperatorSocket {
    /// Opens the socket in the data directory. The store's lock says that no other server uses it.
    ///
    /// # Errors
    /// `Data` when the file system has no sockets or the name is taken by something else.
    pub fn open(app: &App) -> Result<Self, Failure> {
        let data = &app.config.data;
        let listener =
            bind(data).map_err(|error| Failure::Data { path: data.display().to_string(), error })?;
        let app = app.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let app = app.clone();
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &app).await {
                        tracing::debug!(%error, "an operator's connection broke off");
                    }
                });
            }
        });
        Ok(Self { path: data.join(NAME), task })
    }

    /// Closes the door.
    pub fn close(&self) {
        self.task.abort();
        let _ = fs::remove_file(&self.path);
    }
}

impl Drop for OperatorSocket {
    fn drop(&mut self) {
        self.close();
    }
}

/// The socket appears under its name only once its mode is set.
fn bind(data: &Path) -> io::Result<UnixListener> {
    let (directory, short) = short_path(data)?;
    let fresh = short.join("kaigid.sock.new");
    let _ = fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh)?;
    fs::set_permissions(&fresh, Permissions::from_mode(0o600))?;
    fs::rename(&fresh, short.join(NAME))?;
    drop(directory);
    Ok(listener)
}

/// Socket addresses hold 108 bytes; a path through the directory's descriptor always fits. Valid while the file is open.
fn short_path(data: &Path) -> io::Result<(File, PathBuf)> {
    let directory = File::open(data)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    Ok((directory, short))
}

async fn answer(stream: tokio::net::UnixStream, app: &App) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = tokio::io::BufReader::new(reader.take(REQUEST_BYTES_MAX));
    tokio::time::timeout(REQUEST_TIMEOUT, reader.read_line(&mut line)).await??;
    let answers = match serde_json::from_str(&line) {
        Ok(request) => answers(request, app).await,
        Err(_) => vec![Answer::Refused("the server does not know this request".to_owned())],
    };
    for answer in answers {
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        writer.write_all(&line).await?;
    }
    writer.shutdown().await
}

async fn answers(request: Request, app: &App) -> Vec<Answer> {
    let lines = match request {
        Request::Ping => Ok(Vec::new()),
        Request::Token { user, ttl_seconds, make } => {
            let token = app.service.access_token(&user, Duration::from_secs(ttl_seconds), make).await;
            token.map(|token| vec![token]).map_err(|error| super::token::refusal(&user, &error))
        }
        Request::SetupLink => {
            super::setup_link::new_link(app).map(|link| vec![link]).map_err(|error| error.to_string())
        }
        Request::RotateSigningKey => {
            app.service.rotate_signing_key().await.map(|id| vec![id]).map_err(|error| error.to_string())
        }
        Request::Backup => {
            let moment = app.store.moment().await;
            moment.and_then(|moment| app.store.backup_lines(&moment)).map_err(|error| error.to_string())
        }
        Request::RotateKey { to, data_key } => {
            let store = Arc::clone(&app.store);
            let rotated = tokio::task::spawn_blocking(move || {
                rotate_store_key::rotate_store(&store, to.as_deref(), data_key)
            });
            let rotated = rotated.await.unwrap_or_else(|_| Err("the server is stopping".to_owned()));
            rotated.map(|()| Vec::new())
        }
    };
    match lines {
        Ok(lines) => lines.into_iter().map(Answer::Item).chain([Answer::Done]).collect(),
        Err(reason) => vec![Answer::Refused(reason)],
    }
}

/// Asks the server that runs on this data directory; `None` if none does.
///
/// # Errors
/// `Refused` with the server's reason, or when it hangs up.
pub fn ask(data: &Path, request: &Request) -> Result<Option<Vec<String>>, Failure> {
    let Ok((directory, short)) = short_path(data) else { return Ok(None) };
    // Nobody behind the name, or no name: no server runs. Anything else (a foreign owner, say) is for the operator.
    let stream = match UnixStream::connect(short.join(NAME)) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => {
            let path = data.join(NAME);
            let path = path.display();
            return Err(Failure::Refused(format!(
                "cannot talk to the server at {path}: {error}; run this as its user"
            )));
        }
    };
    drop(directory);
    let talked = talk(stream, request);
    talked
        .map_err(|error| Failure::Refused(format!("the server hung up: {error}; its log says why")))?
        .map(Some)
}

fn talk(mut stream: UnixStream, request: &Request) -> io::Result<Result<Vec<String>, Failure>> {
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut items = Vec::new();
    for line in BufReader::new(stream).lines() {
        match serde_json::from_str(&line?)? {
            Answer::Item(item) => items.push(item),
            Answer::Done => return Ok(Ok(items)),
            Answer::Refused(reason) => return Ok(Err(Failure::Refused(reason))),
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}
