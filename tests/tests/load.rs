//! Synthetic participants in meetings of the real daemon: HTTP API, LiveKit protocol, ICE, DTLS, SRTP, all over loopback.

use tests::daemon::{Daemon, Scratch};
use tools::load::{self, Options, Report};

fn run(options: impl FnOnce(&mut Options)) -> Report {
    let scratch = Scratch::new("load");
    let daemon = Daemon::start(&scratch.join("data"), &["--demo"]);
    let mut all = Options::for_server(&format!("http://{}", daemon.address));
    all.seconds = 2;
    options(&mut all);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(load::run(&all)).unwrap_or_else(|error| panic!("{error:#}\n{}", daemon.log()))
}

#[test]
fn everybody_in_two_meetings_hears_their_own_meeting_and_nothing_else() {
    let report = run(|options| {
        options.meetings = 2;
        options.participants = 4;
        // The fourth watches only.
        options.publishers = Some(3);
    });
    assert!(report.is_fine(), "{}", report.table());
    assert_eq!((report.joined, report.silent, report.foreign), (8, 0, 0));
    assert_eq!(report.packets_lost, 0, "loopback loses nothing: {}", report.table());
    // Two listeners of each publisher's every packet are publishers themselves, the third is the viewer.
    assert!(report.packets_received > 2 * report.packets_sent, "{}", report.table());
}

#[test]
fn an_audio_meeting_of_twenty_joins_at_once() {
    let report = run(|options| {
        options.participants = 20;
        options.audio_only = true;
        options.joins_at_once = 20;
    });
    assert!(report.is_fine(), "{}", report.table());
    assert_eq!((report.joined, report.silent), (20, 0));
}
