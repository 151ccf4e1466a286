//! What an operator does and sees: signals, health, metrics, logs, mistakes on the command line, backups, `kaigid check`.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::daemon::{Daemon, PATIENCE, Scratch, assert_one_line, run};
use tests::home::{Home, JSON, problem};
use tests::http;

#[test]
fn sigterm_drains_and_ends_with_status_0() {
    let home = Home::demo("drain");
    assert_eq!(home.daemon.call("GET", "/readyz", None).status, 200);
    home.daemon.signal("TERM");
    let begun = Instant::now();
    loop {
        // Once it drains it says so; the moment before, it is ready.
        let answer = home.daemon.call("GET", "/readyz", None);
        if answer.status == 503 {
            problem(&answer, 503, "draining");
            assert!(answer.header("retry-after").is_some());
            break;
        }
        assert!(begun.elapsed() < PATIENCE);
    }
    let mut daemon = home.daemon;
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    assert!(!daemon.data.join("kaigid.sock").exists());
    assert!(http::request(daemon.address, "GET", "/healthz", &[], b"").is_err());
}

/// What a process has used of a CPU, in hundredths of a second (proc(5)).
fn cpu_ticks(daemon: &Daemon) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).expect("our own child");
    // The command's name, in parentheses, may hold anything; user and system time are the 12th and 13th fields behind it.
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks = |nth: usize| fields.split_whitespace().nth(nth).and_then(|field| field.parse::<u64>().ok());
    ticks(11).zip(ticks(12)).map(|(user, system)| user + system).expect("numbers")
}

#[test]
fn an_idle_appliance_uses_less_than_a_hundredth_of_a_core() {
    for io in ["auto", "epoll"] {
        let home = Home::with("idle", &["--demo", "--io", io]);
        assert_eq!(home.daemon.call("GET", "/readyz", None).status, 200);
        // What starting left to do is done.
        std::thread::sleep(Duration::from_secs(1));
        let before = cpu_ticks(&home.daemon);
        std::thread::sleep(Duration::from_secs(5));
        let used = cpu_ticks(&home.daemon) - before;
        println!("{io}: {used} of 500 ticks");
        assert!(used < 5, "{io}: {used} of 500 ticks of a core");
    }
}

#[test]
fn health_metrics_and_keys_are_there() {
    let home = Home::demo("ops");
    assert_eq!(home.daemon.call("GET", "/healthz", None).status, 200);
    let metrics = home.daemon.call("GET", "/metrics", None);
    assert!(metrics.header("content-type").is_some_and(|t| t.starts_with("text/plain")), "{metrics:?}");
    let text = metrics.text();
    for name in [
        "kaigi_packets_received_total{core=\"0\"}",
        "kaigi_packets_forwarded_total{core=\"0\"}",
        "kaigi_packets_dropped_total{core=\"0\",reason=\"bad_tag\"}",
        "kaigi_cycles_total{core=\"0\",stage=\"seal\"}",
        "kaigi_forward_delay_seconds_bucket{core=\"0\",le=\"0.001\"}",
        "kaigi_meetings ",
        "kaigi_participants ",
        "kaigi_join_seconds_bucket{le=\"0.5\"}",
        "kaigi_recordings_total{state=\"processing\"}",
    ] {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name}\n{text}");
    }
    let keys = home.daemon.call("GET", "/oauth/jwks.json", None).json();
    assert_eq!((&keys["keys"][0]["kty"], &keys["keys"][0]["crv"]), (&json!("OKP"), &json!("Ed25519")));
    assert!(keys["keys"][0].get("d").is_none(), "the private key stays home");
}

#[test]
fn promtool_finds_nothing_to_complain_about_in_the_metrics() {
    let home = Home::demo("promtool");
    let text = home.daemon.call("GET", "/metrics", None).text();
    let file = home.scratch.join("metrics.txt");
    std::fs::write(&file, text).expect("writes");
    let input = std::fs::File::open(&file).expect("opens");
    match Command::new("promtool").args(["check", "metrics"]).stdin(input).output() {
        Ok(output) => {
            let said = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            assert!(output.status.success() && said.trim().is_empty(), "{said}");
        }
        Err(error) => eprintln!("SKIPPED: promtool does not run here ({error}); apt-get install prometheus"),
    }
}

#[test]
fn no_token_or_passcode_reaches_the_log() {
    let home = Home::with("secrets", &["--demo", "--log-level", "trace", "--log", "json"]);
    let (path, host) = home.meeting(json!({"passcode": "open-sesame-42"}));
    let ada = home.daemon.token("ada");
    let join = format!("{path}/join");
    let joined = home.daemon.call_json("POST", &join, Some(&ada), &json!({"passcode": "open-sesame-42"}));
    home.daemon.call_json("POST", &join, None, &json!({"passcode": "open-sesame-43"}));
    home.daemon.send("POST", &join, None, &[JSON], b"{\"passcode\":\"open-sesame-42\"");
    home.daemon.call("GET", &format!("/rtc/validate?access_token={}", joined.field("session_token")), None);
    home.daemon.call("POST", &format!("{path}/end"), Some(&host));
    let log = home.daemon.log();
    assert!(log.contains("meeting created") && log.contains("answered"), "{log}");
    assert!(
        log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()),
        "one JSON object per line: {log}"
    );
    for secret in [ada.as_str(), &host, &joined.field("session_token"), "open-sesame"] {
        assert!(!log.contains(secret), "{secret} is in the log");
        let signature = secret.rsplit('.').next().expect("not empty");
        assert!(!log.contains(signature), "the signature of a token is in the log");
    }
}

#[test]
fn sighup_reloads_what_it_can_and_names_what_it_cannot() {
    let scratch = Scratch::new("hup");
    let file = scratch.join("kaigid.toml");
    std::fs::write(&file, "log-level = 'info'\ndtls = '1.2'\n").expect("writes");
    let daemon = Daemon::start(&scratch.join("data"), &["--config", file.to_str().expect("ASCII"), "--demo"]);
    std::fs::write(&file, "log-level = 'debug'\ndtls = '1.3'\n").expect("writes");
    daemon.signal("HUP");
    wait_for(|| daemon.log().contains("dtls has changed and needs a restart"), &daemon);
    daemon.call("GET", "/healthz", None);
    wait_for(|| daemon.log().contains("answered"), &daemon);
    std::fs::write(&file, "nonsense = 1\n").expect("writes");
    daemon.signal("HUP");
    wait_for(|| daemon.log().contains("not reloaded") && daemon.log().contains("nonsense"), &daemon);
    assert_eq!(daemon.call("GET", "/healthz", None).status, 200);
}

fn wait_for(condition: impl Fn() -> bool, daemon: &Daemon) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "{}", daemon.log());
        std::thread::yield_now();
    }
}

#[test]
fn an_operators_mistake_is_one_line_that_says_what_to_do() {
    let home = Home::demo("mistakes");
    let port = home.daemon.address.to_string();
    let used = home.daemon.data.to_str().expect("ASCII").to_owned();
    let fresh = home.scratch.join("fresh");
    let fresh = fresh.to_str().expect("ASCII");
    let file = home.scratch.join("file");
    std::fs::write(&file, "not a certificate\n").expect("writes");
    let file = file.to_str().expect("ASCII");
    let config = home.scratch.join("bad.toml");
    std::fs::write(&config, "listenn = '0.0.0.0:1'\n").expect("writes");
    let config = config.to_str().expect("ASCII");
    let cases: [(&[&str], i32, &[&str]); 10] = [
        (&["--listen", &port, "--data", fresh], 1, &["in use", &port, "--listen"]),
        (&["--listen", "127.0.0.1:0", "--data", &used], 1, &["another kaigid", &used, "--data"]),
        (&["--listen", "127.0.0.1:0", "--data", file], 1, &["data directory", file, "--data"]),
        (&["--listen", "192.0.2.1:7880", "--data", fresh], 1, &["192.0.2.1", "--listen"]),
        (&["--config", config], 2, &["unknown key listenn"]),
        (&["--config", "/nowhere.toml"], 2, &["/nowhere.toml"]),
        (&["--tls-cert", file, "--tls-key", file, "--data", fresh], 2, &["--tls-cert", file]),
        (&["--tls-cert", "/nowhere.pem", "--tls-key", file, "--data", fresh], 2, &["/nowhere.pem"]),
        (&["--tls-cert", file], 2, &["tls-key"]),
        (&["--dtls", "1.1"], 2, &["--dtls", "1.2, 1.3"]),
    ];
    for (flags, status, words) in cases {
        let output = run(&[&["serve"], flags].concat());
        assert_eq!(output.status.code(), Some(status), "{flags:?}: {output:?}");
        assert_one_line(&output.stderr, words);
    }
    assert_eq!(run(&["serve", "--no-such-flag"]).status.code(), Some(2));
    assert_eq!(run(&["dance"]).status.code(), Some(2));
}

#[test]
fn a_backup_of_a_running_server_comes_back_elsewhere() {
    let home = Home::demo("backup");
    let (path, _) = home.meeting(json!({"topic": "kept"}));
    let file = home.scratch.join("backup.jsonl");
    let file = file.to_str().expect("ASCII");
    let other = home.scratch.join("other");
    let other_text = other.to_str().expect("ASCII");
    let backup = run(&["backup", file, "--data", home.daemon.data.to_str().expect("ASCII")]);
    assert!(backup.status.success(), "{backup:?}");
    let keyless = run(&["restore", file, "--data", other_text]);
    assert_one_line(&keyless.stderr, &["master.key", "--store-key"]);
    std::fs::copy(home.daemon.data.join("master.key"), other.join("master.key")).expect("copies");
    let restored = run(&["restore", file, "--data", other_text]);
    assert!(restored.status.success(), "{restored:?}");
    let daemon = Daemon::start(&other, &["--demo"]);
    assert_eq!(daemon.call("GET", &path, None).field("topic"), "kept");
    let refused = run(&["restore", file, "--data", other_text]);
    assert_eq!(refused.status.code(), Some(1));
    assert_one_line(&refused.stderr, &["nothing is overwritten"]);
    let garbage =
        run(&["restore", "/proc/version", "--data", home.scratch.join("third").to_str().expect("ASCII")]);
    assert_one_line(&garbage.stderr, &["cannot restore"]);
    // With the server stopped the store is read directly, and says the same.
    let address = daemon.address;
    drop(daemon);
    assert!(http::request(address, "GET", "/healthz", &[], b"").is_err());
    let again = home.scratch.join("again.jsonl");
    let again = again.to_str().expect("ASCII");
    assert!(run(&["backup", again, "--data", other_text]).status.success());
    // Sealed twice the same is not the same: what comes back is.
    let third = home.scratch.join("fourth");
    std::fs::create_dir(&third).expect("makes");
    std::fs::copy(other.join("master.key"), third.join("master.key")).expect("copies");
    let restored = run(&["restore", again, "--data", third.to_str().expect("ASCII")]);
    assert!(restored.status.success(), "{restored:?}");
    let daemon = Daemon::start(&third, &["--demo"]);
    assert_eq!(daemon.call("GET", &path, None).field("topic"), "kept");
    let lines = |path: &str| std::fs::read_to_string(path).expect("reads").lines().count();
    assert_eq!(lines(again), lines(file));
}

#[test]
fn check_looks_at_the_host_and_the_store() {
    let home = Home::demo("check");
    let data = home.daemon.data.to_str().expect("ASCII");
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let running = run(&["check", "--data", data]);
    for subject in ["config", "store-key", "store:", "cores", "io_uring", "rmem_max"] {
        assert!(said(&running).lines().any(|line| line[5..].starts_with(subject)), "{}", said(&running));
    }
    // Its reader may stop reading: `kaigid check | head -1`.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let unread = tests::daemon::command(&["check", "--data", data]).stdout(writer).output().expect("runs");
    assert_eq!((unread.status.code(), unread.stderr.len()), (running.status.code(), 0), "{unread:?}");
    let listen = home.daemon.address.to_string();
    let fresh = home.scratch.join("fresh");
    let taken =
        run(&["check", "--data", fresh.to_str().expect("ASCII"), "--listen", &listen, "--udp-port", "0"]);
    assert_eq!(taken.status.code(), Some(1), "{taken:?}");
    assert!(said(&taken).contains("FAIL http"), "{}", said(&taken));
}
