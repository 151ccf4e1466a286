//! A meeting of a hundred who only talk: forty speak in turns, everybody hears the loudest few, and the server's work follows what
//! is heard, not who is there.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use dataplane::base::drops::DropReason;
use dataplane::base::media::MediaKind;
use dataplane::base::rng::Rng;
use dataplane::base::time::Micros;
use dataplane::engine::EngineSizes;
use dataplane::io::sim::LinkConfig;
use tests::world::{Microphone, Terms, World, stream_number};
use tools::client::Feedback;

const MEETING: u64 = 1;
const GUESTS: u32 = 100;
const SPEAKERS: u32 = 40;
/// These have a loud room: their level never falls to silence, and is no voice.
const NOISY: std::ops::RangeInclusive<u32> = 90..=99;
const STREAMS_MAX: usize = 3;
/// Everybody is there and quiet.
const BEGIN_US: u64 = 2_000_000;
/// A speaker begins this often, and speaks this long: two or three speak at a time.
const TURN_US: u64 = 1_200_000;
const SPEECH_US: u64 = 2_900_000;
/// A speaker is heard by everybody within this time, the way of the packets included.
const HEARD_US: u64 = 300_000;
/// Streams are counted over this time, in steps of that.
const WINDOW_US: u64 = 1_000_000;
const STEP_US: u64 = 100_000;
/// Of a change of speakers a window may see both.
const HANDOVERS: usize = 1;

thread_local! {
    static BUSY: Cell<(Option<Instant>, Duration)> = const { Cell::new((None, Duration::ZERO)) };
}

/// Takes the time of the engine.
fn take_time(begins: bool) {
    BUSY.with(|busy| {
        let (since, sum) = busy.get();
        let more = since.map_or(Duration::ZERO, |since| since.elapsed());
        busy.set((begins.then(Instant::now), sum + more));
    });
}

fn terms() -> Terms {
    Terms {
        microphone: Some(Microphone { frame_bytes: 60, level: 60 }),
        camera: None,
        red: true,
        audio_nack: true,
        feedback: Feedback::TransportWide,
    }
}

fn link(rng: &mut Rng) -> LinkConfig {
    LinkConfig {
        rate_bps: 2_000_000,
        queue_us_max: 200_000,
        delay_us: 2_000 + rng.below(40_000),
        jitter_us: rng.below(5_000),
        loss_ppm: rng.below(10_000) as u32,
        ..LinkConfig::default()
    }
}

fn speak(world: &mut World, peer: u32, level: Option<u8>) {
    let guest = world.guests.get_mut(&peer).expect("joined");
    let microphone = guest.microphone.expect("everybody has one");
    guest.client.set_silent(microphone, level.is_none());
    if let Some(level) = level {
        guest.client.set_level(microphone, level);
    }
}

/// Packets of every stream so far.
fn packets(world: &World) -> BTreeMap<u32, u64> {
    let receptions = world.guests.values().flat_map(|guest| guest.client.receptions());
    receptions.map(|(ssrc, reception)| (ssrc.0, reception.packets)).collect()
}

/// Which streams each guest got something of in the last steps.
#[derive(Default)]
struct Heard {
    before: BTreeMap<u32, u64>,
    /// Streams by step, the newest last.
    steps: VecDeque<Vec<u32>>,
}

impl Heard {
    fn step(&mut self, world: &World) {
        let now = packets(world);
        let fresh =
            now.iter().filter(|(ssrc, count)| self.before.get(ssrc).is_none_or(|before| before < count));
        self.steps.push_back(fresh.map(|(ssrc, _)| *ssrc).collect());
        self.before = now;
        if self.steps.len() as u64 > WINDOW_US / STEP_US {
            self.steps.pop_front();
        }
    }

    /// Most streams that one guest got within the window.
    fn most(&self) -> (usize, u32) {
        let mut of_guest: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for ssrc in self.steps.iter().flatten() {
            of_guest.entry(ssrc / 10_000).or_default().push(*ssrc);
        }
        let distinct = of_guest.into_iter().map(|(guest, mut streams)| {
            streams.sort_unstable();
            streams.dedup();
            (streams.len(), guest)
        });
        distinct.max().unwrap_or_default()
    }
}

#[test]
fn a_hundred_hear_the_right_few() {
    let mut rng = Rng::new(7);
    let mut world = World::new(7, STREAMS_MAX as u8);
    world.set_step_us(500);
    world.set_probe(take_time);
    for peer in 1..=GUESTS {
        let links = [link(&mut rng), link(&mut rng)];
        world.join(peer, MEETING, terms(), &mut rng, links);
        world.meet(peer);
        speak(&mut world, peer, NOISY.contains(&peer).then_some(60));
    }
    world.run(Micros(BEGIN_US));
    let begun = world.engine.counters().clone();
    BUSY.with(|busy| busy.set((None, Duration::ZERO)));
    let mut heard = Heard { before: packets(&world), ..Heard::default() };
    let (mut most, mut slowest_us) = (0, 0);
    let turns = u64::from(SPEAKERS);
    let end_us = BEGIN_US + turns * TURN_US + SPEECH_US;
    let mut waiting: Vec<(u32, u64, BTreeMap<u32, u64>)> = Vec::new();
    let mut at_us = BEGIN_US;
    while at_us < end_us {
        let since_begin = at_us - BEGIN_US;
        if since_begin.is_multiple_of(TURN_US) && since_begin / TURN_US < turns {
            let speaker = 2 * (since_begin / TURN_US) as u32 + 1;
            speak(&mut world, speaker, Some(20 + (speaker % 12) as u8));
            waiting.push((speaker, at_us, packets(&world)));
        }
        for turn in 0..turns {
            if since_begin == turn * TURN_US + SPEECH_US {
                speak(&mut world, 2 * turn as u32 + 1, None);
            }
        }
        at_us += STEP_US;
        world.run(Micros(at_us));
        heard.step(&world);
        let (streams, guest) = heard.most();
        assert!(
            streams <= STREAMS_MAX + HANDOVERS,
            "guest {guest} got {streams} streams within a second at {at_us} us"
        );
        most = most.max(streams);
        waiting.retain(|(speaker, since_us, before)| {
            let deaf = (1..=GUESTS).filter(|peer| peer != speaker).find(|peer| {
                let stream = stream_number(*peer, *speaker, MediaKind::Audio);
                heard.before.get(&stream) <= before.get(&stream)
            });
            let waited_us = at_us - since_us;
            assert!(
                deaf.is_none() || waited_us < HEARD_US,
                "{deaf:?} does not hear {speaker} after {waited_us} us"
            );
            if deaf.is_none() {
                slowest_us = slowest_us.max(waited_us);
            }
            deaf.is_some()
        });
    }
    assert!(waiting.is_empty(), "somebody was not heard");
    let now = world.network.now();
    let (mut played, mut concealed, mut streams) = (0, 0, 0);
    for (peer, guest) in &mut world.guests {
        guest.client.settle(now);
        for (ssrc, reception) in guest.client.receptions() {
            let (publisher, _) = guest.streams[&ssrc.0];
            assert_ne!(publisher, *peer, "nobody hears himself");
            let faults = [
                reception.foreign_track,
                reception.corrupt,
                reception.wrong_pt,
                reception.backward_timestamps,
            ];
            assert_eq!(faults, [0; 4], "{peer} hears {publisher}");
            assert!(
                !NOISY.contains(&publisher) || reception.packets < 100,
                "{peer} hears the noise of {publisher}"
            );
            played += reception.played_frames;
            concealed += reception.concealed_frames;
            streams += u64::from(reception.packets > 0);
        }
    }
    assert!(concealed * 100 < played, "{concealed} frames concealed, {played} played");
    let counters = world.engine.counters();
    let received = counters.packets_received - begun.packets_received;
    let forwarded = counters.packets_forwarded - begun.packets_forwarded;
    let seconds = (end_us - BEGIN_US) as f64 / 1e6;
    let busy = BUSY.with(Cell::get).1;
    let per_guest = forwarded as f64 / seconds / f64::from(GUESTS);
    println!(
        "{GUESTS} guests, {SPEAKERS} speakers: {:.0} packets/s in, {:.0} out, {per_guest:.0} to each; at most {most} streams in a second; \
         heard by all within {} ms; {concealed} of {} frames concealed; {streams} of {} streams ever used",
        received as f64 / seconds,
        forwarded as f64 / seconds,
        slowest_us / 1_000,
        played + concealed,
        GUESTS * (GUESTS - 1),
    );
    println!(
        "server: {:.2} us for each packet received or forwarded, {:.1} % of a core (this build, this machine)",
        busy.as_secs_f64() * 1e6 / (received + forwarded) as f64,
        busy.as_secs_f64() * 100.0 / seconds,
    );
    // Three voices of 50 packets a second, and no more than that.
    assert!(per_guest < 50.0 * STREAMS_MAX as f64 * 1.1, "{per_guest} packets/s to each");
    assert!(counters.dropped(DropReason::NotAmongSpeakers) > 0, "the noisy ones were left out");
    assert_eq!(world.ended, Vec::<u32>::new());
    (1..=GUESTS).for_each(|peer| world.leave(peer));
    world.run(Micros(end_us + 1_000_000));
    assert_eq!(world.engine.sizes(), EngineSizes::default(), "something is left behind");
}
