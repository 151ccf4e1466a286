//! Everybody comes back at once: after a crash of the server, and beside their own earlier sessions. Whoever comes, by v0 or v1 of the
//! protocol, is told of everybody's tracks and gets everybody's picture.
//!
//! Rounds of both kinds take turns; each ends when all is there, and fails when it does not come in time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dataplane::base::rng::Rng;
use livekit_protocol as proto;
use proto::signal_response::Message as Reply;
use tests::daemon::{Daemon, Scratch};
use tests::livekit::Signalling;
use tokio::task::JoinHandle;
use tools::client::dtls::Identity;
use tools::signalling::drive::{self, Clock, Socket};
use tools::signalling::participant::{VIDEO_TRACK, Video};
use tools::signalling::{Participant, ParticipantConfig};

/// Everybody is there within a second or two; a machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// Half of them speak v0, half v1.
const PEOPLE: u32 = 6;
/// Earliest and latest of a round come this far apart.
const SPREAD_MS: u64 = 300;

/// What one participant has by now.
#[derive(Clone, Default, Debug)]
struct Has {
    sid: String,
    /// Participant ids of others with the number of tracks told.
    told: BTreeMap<String, usize>,
    /// Numbers of those whose picture came.
    seen: BTreeSet<u32>,
    /// How its session ended.
    end: Option<String>,
}

type Everybody = Arc<Mutex<BTreeMap<u32, Has>>>;

struct Person {
    token: String,
    single: bool,
    sid: String,
}

struct Round {
    number: u32,
    has: Everybody,
    sessions: Vec<JoinHandle<()>>,
}

impl Drop for Round {
    /// Clients that vanish without a word.
    fn drop(&mut self) {
        self.sessions.iter().for_each(JoinHandle::abort);
    }
}

/// Tries to go on with a session that the server cannot know; it must say that joining anew helps.
async fn resume_in_vain(daemon: &Daemon, person: &Person) {
    let mut socket = if person.single {
        let request =
            proto::JoinRequest { reconnect: true, participant_sid: person.sid.clone(), ..Default::default() };
        Signalling::open_v1(daemon.address, &person.token, &request).await.expect("let in")
    } else {
        let query = format!("&reconnect=1&sid={}", person.sid);
        Signalling::open(daemon.address, &person.token, &query).await.expect("let in")
    };
    let leave = socket
        .until(|reply| match reply {
            Reply::Leave(leave) => Some(leave),
            other => panic!("a session of before the crash goes on: {other:?}"),
        })
        .await;
    assert_eq!(leave.reason(), proto::DisconnectReason::StateMismatch);
    assert_eq!(leave.action(), proto::leave_request::Action::Reconnect);
    assert_eq!(socket.closed().await.map(|(code, _)| code), Some(1000));
}

/// Everybody joins with a new session, each at its own moment.
async fn join_all(
    daemon: &Daemon,
    people: &[Person],
    identity: &Identity,
    number: u32,
    rng: &mut Rng,
) -> Round {
    let has = Everybody::default();
    let url = format!("ws://{}", daemon.address);
    let mut sessions = Vec::new();
    for (index, person) in people.iter().enumerate() {
        // A number of this round: what comes of an earlier session is not taken for the new one's.
        let own = number * PEOPLE + index as u32;
        let config = ParticipantConfig {
            room: 1,
            number: own,
            audio: true,
            video: Some(Video { fps: 15, bitrate_bps: 100_000 }),
            single: person.single,
            identity: identity.clone(),
            seed: rng.next_u64(),
        };
        let wait = Duration::from_millis(rng.below(SPREAD_MS));
        let (url, token, single, has) = (url.clone(), person.token.clone(), person.single, has.clone());
        sessions.push(tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let socket = Socket::connect(&url, &token, single).await.expect("let in");
            let each = |participant: &Participant| {
                let mut all = has.lock().expect("nobody panics with it");
                let mine = all.entry(own).or_default();
                mine.sid = participant.sid().to_owned();
                let count = |info: &proto::ParticipantInfo| (info.sid.clone(), info.tracks.len());
                mine.told = participant.others().map(count).collect();
                let receptions = participant.subscriber().client.receptions();
                let heard = receptions.filter(|(_, got)| got.packets > 0).filter_map(|(_, got)| got.heard);
                mine.seen.extend(heard.filter(|(_, track)| *track == VIDEO_TRACK).map(|(of, _)| of));
            };
            let forever = std::future::pending();
            let (participant, end) =
                drive::run(Participant::new(config), socket, Clock::start(), forever, each).await;
            let end = format!("{end:?} {:?}", participant.end());
            has.lock().expect("nobody panics with it").entry(own).or_default().end = Some(end);
        }));
    }
    Round { number, has, sessions }
}

/// What is missing of everybody's tracks and pictures.
fn missing(round: &Round) -> Vec<String> {
    let all = round.has.lock().expect("nobody panics with it").clone();
    let mut missing = Vec::new();
    for own in round.number * PEOPLE..(round.number + 1) * PEOPLE {
        let Some(has) = all.get(&own) else {
            missing.push(format!("{own} has not begun"));
            continue;
        };
        missing.extend(has.end.iter().map(|end| format!("{own} ended: {end}")));
        for (other, of) in all.iter().filter(|(other, of)| **other != own && !of.sid.is_empty()) {
            if has.told.get(&of.sid) != Some(&2) {
                missing.push(format!("{own} is not told of {other}: {:?}", has.told.get(&of.sid)));
            }
            if !has.seen.contains(other) {
                missing.push(format!("{own} does not see {other}"));
            }
        }
        if has.told.len() != PEOPLE as usize - 1 {
            missing.push(format!("{own} is told of {} others", has.told.len()));
        }
    }
    missing
}

async fn complete(round: &Round, daemon: &Daemon) -> Duration {
    let begun = Instant::now();
    loop {
        let missing = missing(round);
        if missing.is_empty() {
            return begun.elapsed();
        }
        let number = round.number;
        assert!(
            begun.elapsed() < PATIENCE,
            "round {number}, the odd ones with v1:\n{}\n{}",
            missing.join("\n"),
            daemon.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_who_comes_back_at_once_has_everybody_again() {
    let rounds = std::env::var("KAIGI_REJOINS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let seed = std::env::var("KAIGI_REJOIN_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    println!("seed {seed}");
    let mut rng = Rng::new(seed);
    let scratch = Scratch::new("rejoin");
    let start = || {
        Daemon::start(&scratch.join("data"), &["--demo", "--node-ip", "127.0.0.1", "--log-level", "debug"])
    };
    let mut daemon = start();
    let meeting = daemon.create_meeting();
    let mut people: Vec<Person> = (0..PEOPLE)
        .map(|index| {
            let token = daemon.session_token(&meeting, &format!("Person {index}"));
            Person { token, single: index % 2 == 1, sid: String::new() }
        })
        .collect();
    let identity = Identity::generate().expect("the library makes certificates");
    let mut last: Option<Round> = None;
    for number in 0..rounds {
        if number > 0 && number % 2 == 0 {
            daemon.kill();
            daemon = start();
            drop(last.take());
            let resumptions = people.iter().map(|person| resume_in_vain(&daemon, person));
            futures_util::future::join_all(resumptions).await;
        }
        let round = join_all(&daemon, &people, &identity, number, &mut rng).await;
        let took = complete(&round, &daemon).await;
        println!("round {number}: {} ms", took.as_millis());
        for (person, has) in people.iter_mut().zip(round.has.lock().expect("nobody panics with it").values())
        {
            person.sid.clone_from(&has.sid);
        }
        // Those of before were told that they are here twice.
        last = Some(round);
    }
    drop(last);
    assert!(!daemon.log().contains("panic"), "{}", daemon.log());
}
