//! What this server allows, and what happens beyond it.

use serde_json::{Value, json};
use tests::daemon::{Daemon, Scratch};
use tests::home::problem;
use tests::people::Office;

const MEETINGS: &str = "/api/v1/meetings";
const LIMITS: &str = "/api/v1/limits";

#[test]
fn an_account_creates_so_many_meetings_a_day_and_joins_any_number() {
    let office = Office::closed("limits", &["--meetings-per-day", "3"]);
    assert_eq!(office.set_up(&office.setup_token()).status, 200);
    let ada = office.sign_in("ada");
    let left = |wanted: Value| {
        let limits = ada.call("GET", LIMITS, &Value::Null).json();
        assert_eq!((&limits["meetings_per_day"], &limits["meetings_left_today"]), (&json!(3), &wanted));
    };
    left(json!(3));
    let made: Vec<String> = (0..3)
        .map(|nth| {
            let answer = ada.call("POST", MEETINGS, &json!({"topic": format!("meeting {nth}")}));
            assert_eq!(answer.status, 200, "{answer:?}");
            answer.field("id")
        })
        .collect();
    let refused = ada.call("POST", MEETINGS, &json!({"topic": "one more"}));
    if refused.status == 200 {
        println!("skipped: midnight UTC came in between");
        return;
    }
    problem(&refused, 429, "too-many-meetings");
    let seconds: u64 = refused.header("retry-after").and_then(|text| text.parse().ok()).expect("a time");
    assert!((1..=86_401).contains(&seconds), "{seconds}");
    left(json!(0));
    // What was deleted was created all the same.
    assert!(ada.call("DELETE", &format!("{MEETINGS}/{}", made[0]), &Value::Null).status < 300);
    problem(&ada.call("POST", MEETINGS, &json!({"topic": "one more"})), 429, "too-many-meetings");
    for _ in 0..10 {
        let joined = ada.call("POST", &format!("{MEETINGS}/{}/join", made[1]), &json!({}));
        assert_eq!(joined.status, 200, "{joined:?}");
    }
    // Who has no account is told what it could have; a restart forgets nothing.
    let data = office.daemon.data.clone();
    let anonymous = office.daemon.call("GET", LIMITS, None).json();
    assert_eq!(
        (&anonymous["meetings_per_day"], &anonymous["meetings_left_today"]),
        (&json!(3), &Value::Null)
    );
    let token = office.daemon.token("ada");
    office.daemon.kill();
    let again = Daemon::start(&data, &["--meetings-per-day", "3"]);
    let topic = json!({"topic": "one more"});
    problem(&again.call_json("POST", MEETINGS, Some(&token), &topic), 429, "too-many-meetings");
}

#[test]
fn demo_mode_and_an_operator_who_says_so_have_no_limit() {
    let scratch = Scratch::new("no-limits");
    let daemon = Daemon::start(&scratch.join("data"), &["--demo", "--meetings-per-day", "1"]);
    for _ in 0..3 {
        assert_eq!(daemon.call_json("POST", MEETINGS, None, &json!({"topic": "x"})).status, 200);
    }
    let limits = daemon.call("GET", LIMITS, None).json();
    assert_eq!(limits["meetings_per_day"], Value::Null);
    assert_eq!(limits["participants_per_meeting"], 100);
    drop(daemon);
    let daemon = Daemon::start(&scratch.join("other"), &["--meetings-per-day", "0"]);
    assert_eq!(daemon.call("GET", LIMITS, None).json()["meetings_per_day"], Value::Null);
}
