//! The API does what its document says, whoever asks and whatever is sent: schemathesis against the real daemon.
//!
//! It makes requests from the document, right ones and wrong ones, alone and in sequences, and holds every answer against it.
//! `KAIGI_CONFORMANCE_EXAMPLES` sets how many are made of each operation.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;
use tests::daemon::{Daemon, Scratch};
use tests::home::MEETINGS;
use tests::people::{Office, PASSWORD};
use tests::python;

/// What every answer is judged by: all that schemathesis has, for status codes, media types, headers and bodies, refused bad input,
/// authentication, methods, and things that were deleted. Set apart from its own rules:
///
/// * right input may be refused for what no schema says: what a name's state is (410, 412), a cursor nobody gave out, a key that was
///   used before, a password everybody has (422);
/// * wrong input to something that has ended is told of the end (410), who sets up again that it is done (409), and a guesser of its
///   haste (429), before it is looked at.
///
/// Changes are made of whatever state there is, else hardly one would be made.
const CHECKS: &str = r#"
[parameters]
"header.If-Match" = "*"

[checks]
positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "410", "412", "422", "429"]
negative_data_rejection.expected-statuses = ["400", "401", "403", "404", "409", "410", "415", "422", "429"]
"#;

/// What is asked here in seconds is no honest client's; how such are slowed down is for `guard` to show.
const HASTE: [[&str; 2]; 2] = [["--requests-per-address", "0"], ["--requests-per-user", "0"]];

fn examples() -> String {
    std::env::var("KAIGI_CONFORMANCE_EXAMPLES").unwrap_or_else(|_| "10".to_owned())
}

/// Operations that need somebody who is there find one: schemathesis cannot join.
fn with_people(daemon: &Daemon, host: &str) -> String {
    let made = daemon.call_json("POST", MEETINGS, Some(host), &json!({"topic": "x"}));
    let path = format!("{MEETINGS}/{}", made.field("id"));
    let joined = daemon.call_json("POST", &format!("{path}/join"), Some(host), &json!({}));
    assert_eq!(joined.status, 200, "{joined:?}");
    let people = daemon.call("GET", &format!("{path}/participants"), Some(host)).json();
    let person = people["items"][0]["id"].as_str().expect("an id");
    let mut rules = String::new();
    for below in ["join", "participants", "participants/{pid}/media", "participants/{pid}/permissions"] {
        let person =
            if below.contains("pid") { format!(", \"path.pid\" = \"{person}\"") } else { String::new() };
        rules += &format!(
            "[[operations]]\ninclude-path = \"{MEETINGS}/{{id}}/{below}\"\nparameters = {{ \"path.id\" = \"{}\"{person} }}\n",
            made.field("id")
        );
    }
    rules
}

/// Runs schemathesis as the holder of `token`; panics with what it found.
fn conforms(daemon: &Daemon, who: &str, token: Option<&str>, rules: &str) {
    let folder = Scratch::new(&format!("conformance-{who}"));
    let config: PathBuf = folder.join("schemathesis.toml");
    fs::write(&config, format!("{CHECKS}{rules}")).expect("writes");
    let python = python::interpreter();
    let mut run = Command::new(&python);
    run.arg(python.with_file_name("schemathesis")).arg("--config-file").arg(&config).arg("run");
    run.arg(format!("http://{}/api/v1/openapi.json", daemon.address));
    run.args([
        "--checks",
        "all",
        "--seed",
        "1",
        "--generation-database",
        "none",
        "--no-color",
        "--continue-on-failure",
    ]);
    run.args(["--max-examples", &examples()]);
    if let Some(token) = token {
        run.args(["--header", &format!("Authorization: Bearer {token}")]);
    }
    let ran = run.current_dir(config.parent().expect("a folder")).output().expect("schemathesis runs");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "as {who}: {said}\n{}", String::from_utf8_lossy(&ran.stderr));
    let document = daemon.call("GET", "/api/v1/openapi.json", None).json();
    let paths = document["paths"].as_object().expect("paths").values();
    let operations: usize = paths.map(|item| item.as_object().expect("operations").len()).sum();
    assert!(said.contains(&format!("Tested: {operations}")), "as {who}: not all of {operations}: {said}");
    let cases = said.lines().find(|line| line.contains(" generated, ")).unwrap_or_default().trim();
    println!("{who}: {operations} operations, {cases}");
}

#[test]
fn every_answer_is_as_the_document_says_for_everybody() {
    let office = Office::closed("conformance", &[["--meetings-per-day", "0"], HASTE[0], HASTE[1]].concat());
    assert_eq!(office.set_up(&office.setup_token()).status, 200);
    let daemon = &office.daemon;
    let ada = daemon.token("ada");
    let new = json!({"name": "bob", "email": "bob@example.org", "password": PASSWORD});
    assert_eq!(daemon.call_json("POST", "/api/v1/users", Some(&ada), &new).status, 200);
    let bob = daemon.token("bob");
    conforms(daemon, "nobody", None, &with_people(daemon, &ada));
    conforms(daemon, "a user", Some(&bob), &with_people(daemon, &bob));
    conforms(daemon, "an admin", Some(&ada), &with_people(daemon, &ada));
    // Counted by the server itself, whatever schemathesis saw.
    let metrics = daemon.call("GET", "/metrics", None).text();
    let counted = |class: &str| -> Vec<&str> {
        let of_class = format!("status=\"{class}\"");
        metrics
            .lines()
            .filter(|line| line.starts_with("kaigi_http_seconds_count") && line.contains(&of_class))
            .collect()
    };
    assert!(!counted("4xx").is_empty(), "nothing was counted: {metrics}");
    assert_eq!(counted("5xx"), Vec::<&str>::new());
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}
