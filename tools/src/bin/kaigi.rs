//! `kaigi`, the operator's command line: a client of the HTTP API.
//!
//! Promises: what it prints for people is a table, with `--json` the server's own answer; errors say what to do. Exit status:
//! 0 fine, 2 usage, 1 anything else. Not here: what works on the data directory without a server (`kaigid`).

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use hyper::Method;
use serde_json::{Map, Value, json};
use tools::http::Api;

/// Meetings listed at most; more is a matter for the API's cursor.
const PAGE: u32 = 100;

/// Operates a kaigi server
#[derive(Parser)]
#[command(name = "kaigi", version)]
struct Cli {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Server {
    /// The server's HTTP address
    #[arg(long, global = true, default_value = "http://127.0.0.1:7880", env = "KAIGI_URL")]
    url: String,
    /// Access token; `kaigid token --user NAME` prints one
    #[arg(long, global = true, env = "KAIGI_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Print the server's JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Meetings
    Meetings {
        #[command(subcommand)]
        command: Meetings,
    },
    /// Says whether the server is alive and takes meetings
    Health,
}

#[derive(Subcommand)]
enum Meetings {
    /// Creates a meeting
    Create {
        /// What it is about
        topic: String,
        /// When it starts (RFC 3339); now by default
        #[arg(long)]
        start: Option<String>,
        /// Planned length, minutes
        #[arg(long)]
        minutes: Option<u32>,
        /// Passcode that joining takes
        #[arg(long)]
        passcode: Option<String>,
        /// Record it
        #[arg(long)]
        record: bool,
    },
    /// Lists meetings, newest first
    List {
        /// How many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE)))]
        limit: u32,
    },
    /// Shows one meeting
    Get {
        /// Its id, as in meeting_123
        id: String,
    },
    /// Ends a meeting for everybody
    End {
        /// Its id, as in meeting_123
        id: String,
    },
    /// Lists who is or was in a meeting
    Participants {
        /// Its id, as in meeting_123
        id: String,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kaigi: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: &Cli) -> Result<()> {
    let api = Api::new(&cli.server.url, cli.server.token.clone())?;
    let (answer, text) = match &cli.command {
        Command::Health => health(&api).await?,
        Command::Meetings { command } => meetings(&api, command).await?,
    };
    if cli.server.json {
        println!("{}", serde_json::to_string_pretty(&answer).context("cannot print the answer")?);
    } else {
        print!("{text}");
    }
    Ok(())
}

async fn health(api: &Api) -> Result<(Value, String)> {
    api.text("/healthz").await?;
    let ready = api.text("/readyz").await;
    let text = match &ready {
        Ok(_) => "alive, and takes meetings\n".to_owned(),
        Err(error) => format!("alive, but takes no meetings: {error}\n"),
    };
    Ok((json!({ "alive": true, "ready": ready.is_ok() }), text))
}

async fn meetings(api: &Api, command: &Meetings) -> Result<(Value, String)> {
    let one = |id: &str| format!("/api/v1/meetings/{id}");
    Ok(match command {
        Meetings::Create { topic, start, minutes, passcode, record } => {
            let mut body = Map::new();
            body.insert("topic".to_owned(), json!(topic));
            body.insert("recording_enabled".to_owned(), json!(record));
            let optional =
                [("start_time", json!(start)), ("duration", json!(minutes)), ("passcode", json!(passcode))];
            body.extend(optional.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.to_owned(), v)));
            let answer = api.call(Method::POST, "/api/v1/meetings", Some(&Value::Object(body))).await?;
            let text = lines(&answer, &["id", "join_url", "start_time", "host_token"]);
            (answer, text)
        }
        Meetings::List { limit } => {
            let answer = api.call(Method::GET, &format!("/api/v1/meetings?limit={limit}"), None).await?;
            let text = table(&answer["items"], &["id", "status", "start_time", "topic"]);
            (answer, text)
        }
        Meetings::Get { id } => {
            let answer = api.call(Method::GET, &one(id), None).await?;
            let text = all_lines(&answer);
            (answer, text)
        }
        Meetings::End { id } => {
            let answer = api.call(Method::POST, &format!("{}/end", one(id)), None).await?;
            (answer, format!("{id} has ended\n"))
        }
        Meetings::Participants { id } => {
            let answer = api.call(Method::GET, &format!("{}/participants", one(id)), None).await?;
            let columns = ["id", "name", "role", "state", "joined_at", "audio_enabled", "video_enabled"];
            let text = table(&answer["items"], &columns);
            (answer, text)
        }
    })
}

/// One line per member that is there.
fn lines(object: &Value, names: &[&str]) -> String {
    names
        .iter()
        .filter(|name| !object[**name].is_null())
        .map(|name| format!("{name:<22} {}\n", plain(&object[*name])))
        .collect()
}

fn all_lines(object: &Value) -> String {
    let names: Vec<&str> = object.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    lines(object, &names)
}

/// Columns as wide as their longest cell.
fn table(items: &Value, columns: &[&str]) -> String {
    let empty = Vec::new();
    let mut rows = vec![columns.iter().map(|column| (*column).to_owned()).collect::<Vec<_>>()];
    for item in items.as_array().unwrap_or(&empty) {
        rows.push(columns.iter().map(|column| plain(&item[*column])).collect());
    }
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    rows.iter()
        .map(|row| {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            format!("{}\n", cells.join("  ").trim_end())
        })
        .collect()
}

/// A value without quotes; control characters, which a name may hold, do not reach the terminal.
fn plain(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_understood() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        assert!(parse("kaigi meetings create standup --minutes 15 --url http://x:1").is_ok());
        assert!(parse("kaigi meetings list --limit 5 --json").is_ok());
        assert!(parse("kaigi meetings participants meeting_1 --token t").is_ok());
        assert!(parse("kaigi health").is_ok());
        assert!(parse("kaigi meetings list --limit 0").is_err());
        assert!(parse("kaigi meetings").is_err());
    }

    #[test]
    fn tables_line_up_and_keep_control_characters_off_the_terminal() {
        let items = json!([{ "id": "meeting_1", "name": "a\u{1b}[2Jb" }, { "id": "m", "name": null }]);
        assert_eq!(table(&items, &["id", "name"]), "id         name\nmeeting_1  a [2Jb\nm          -\n");
        assert_eq!(table(&Value::Null, &["id"]), "id\n");
        assert_eq!(lines(&json!({ "id": 1, "x": null }), &["id", "x"]), format!("{:<22} 1\n", "id"));
    }
}
