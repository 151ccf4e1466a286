//! What a participant may try on everybody else's server: it is refused with a reason, and costs no more than what is allowed.

use std::io::Write as _;
use std::time::Instant;

use livekit_protocol as proto;
use prost::Message as _;
use proto::signal_request::Message as Request;
use tests::daemon::{Daemon, Scratch};
use tests::livekit::{Signalling, wrap};
use tokio_tungstenite::tungstenite::Message;

const OFFER: &str = include_str!("../../controlplane/tests/data/clients/chromium_offer.sdp");

/// Most memory a daemon ever had, bytes.
fn peak_bytes(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("our own child");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says it");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

fn fault(daemon: &Daemon, reason: &str) -> u64 {
    let name = format!("kaigi_signal_faults_total{{reason=\"{reason}\"}} ");
    let metrics = daemon.call("GET", "/metrics", None).text();
    metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).expect("it is counted")
}

#[test]
fn who_lets_the_room_end_again_and_again_gets_no_fresh_allowance() {
    let scratch = Scratch::new("arrivals");
    let daemon = Daemon::start(&scratch.join("data"), &["--demo"]);
    let meeting = daemon.create_meeting();
    let token = daemon.session_token(&meeting, "Mallory");
    let path = format!("/whip/{meeting}");
    let begun = Instant::now();
    let (mut sessions, mut refused) = (0, 0);
    for _ in 0..300 {
        let answer = daemon.send(
            "POST",
            &path,
            Some(&token),
            &[("content-type", "application/sdp")],
            OFFER.as_bytes(),
        );
        match answer.status {
            201 => {
                sessions += 1;
                let session = answer.header("location").expect("a location");
                assert_eq!(daemon.call("DELETE", session, Some(&token)).status, 200);
            }
            429 => refused += 1,
            other => panic!("{other}: {}", answer.text()),
        }
    }
    let allowed = 21 + begun.elapsed().as_secs() * 2 + 2;
    println!("{sessions} began and {refused} were refused in {:?}", begun.elapsed());
    assert!(sessions <= allowed, "{sessions} in {:?}", begun.elapsed());
    // What one person uses up is not the others'.
    for name in ["Ada", "Bob", "Eve"] {
        let token = daemon.session_token(&meeting, name);
        let headers = [("content-type", "application/sdp")];
        let answer = daemon.send("POST", &path, Some(&token), &headers, OFFER.as_bytes());
        assert_eq!(answer.status, 201, "{name}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_countless_parts_is_refused_before_it_takes_memory() {
    let scratch = Scratch::new("parts");
    let daemon = Daemon::start(&scratch.join("data"), &["--demo", "--cores", "0"]);
    let meeting = daemon.create_meeting();
    let before = peak_bytes(&daemon);
    // Two bytes each on the wire, some hundreds in memory.
    let bomb = |count| proto::SyncState {
        publish_tracks: vec![proto::TrackPublishedResponse::default(); count],
        ..Default::default()
    };
    let request = proto::SignalRequest { message: Some(Request::SyncState(bomb(1_900_000))) }.encode_to_vec();
    assert!(request.len() < 4 * 1024 * 1024);
    let token = daemon.session_token(&meeting, "Mallory");
    let mut mallory = Signalling::open(daemon.address, &token, "").await.expect("let in");
    mallory.join().await;
    mallory.send_frame(Message::Binary(request.into())).await.expect("the connection stands");
    let (status, reason) = mallory.closed().await.expect("a status");
    assert!(status == 1009 && reason.contains("parts"), "{status} {reason}");
    assert_eq!(fault(&daemon, "too_long"), 1);
    // The same in a URL.
    let join = proto::JoinRequest { sync_state: Some(bomb(900_000)), ..Default::default() };
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&join.encode_to_vec()).expect("to memory");
    let wrapped = wrap(1, encoder.finish().expect("to memory"));
    for route in ["", "/validate"] {
        let path = format!("/rtc/v1{route}?access_token={token}&join_request={wrapped}");
        let answer = daemon.call("GET", &path, None);
        assert!(answer.status == 400 && answer.text().contains("parts"), "{}", answer.text());
    }
    assert_eq!(fault(&daemon, "join_request"), 2);
    let grown = peak_bytes(&daemon) - before;
    println!("{} MiB more", grown >> 20);
    assert!(grown < 256 << 20, "{} MiB more", grown >> 20);
    // And everybody else is served.
    let ada = daemon.session_token(&meeting, "Ada");
    Signalling::open(daemon.address, &ada, "").await.expect("let in").join().await;
}
