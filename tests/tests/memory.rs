//! What a participant and a stream cost in memory, and that nothing is left when everybody is gone: an allocator that keeps the
//! balance of every call of the engine.
//!
//! Counted is what the engine takes and does not give back; what is part of its tables from the start is in the first line.
#![expect(unsafe_code, reason = "a global allocator is an unsafe trait; this one counts and passes on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use dataplane::base::limits::{RTX_PACKETS_PER_LAYER, SLOT_BYTES};
use dataplane::base::media::MediaKind;
use dataplane::base::rng::Rng;
use dataplane::engine::EngineSizes;
use dataplane::io::sim::LinkConfig;
use tests::world::{Camera, Microphone, Terms, World};
use tools::client::Feedback;
use tools::client::codec::VideoCodec;
use tools::client::codec::scalability::Scalability;

thread_local! {
    /// Whether the engine works, and what it took and did not give back.
    static BALANCE: Cell<(bool, i64)> = const { Cell::new((false, 0)) };
}

struct Counting;

fn book(bytes: i64) {
    BALANCE.with(|balance| {
        let (counts, sum) = balance.get();
        if counts {
            balance.set((counts, sum + bytes));
        }
    });
}

// SAFETY: every call goes to `System` with the arguments it came with, so what `System` promises holds; booking touches a
// thread-local that needs neither allocation nor destruction (`const` initialiser of a `Copy` value).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        book(layout.size() as i64);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        book(-(layout.size() as i64));
        // SAFETY: `pointer` came from `System.alloc` with this layout, as the caller promises of us.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        book(bytes as i64 - layout.size() as i64);
        // SAFETY: as for `dealloc`, and the caller promises that `bytes` is a valid size.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(begins: bool) {
    BALANCE.with(|balance| balance.set((begins, balance.get().1)));
}

fn balance() -> i64 {
    BALANCE.with(|balance| balance.get().1)
}

const MEETING: u64 = 1;
const WATCHERS: u32 = 20;
/// Publishers of a small and of a large meeting.
const FEW: u32 = 4;
const MANY: u32 = 8;

/// Keys, replay windows, paths and arrivals of one association.
const PARTICIPANT_BYTES_MAX: i64 = 32 * 1_024;
/// The estimator remembers 4,096 sent packets: 64 KiB.
const RECEIVER_BYTES_MAX: i64 = 128 * 1_024;
/// Gaps, replay windows and indices of seven SSRCs.
const PUBLISHER_BYTES_MAX: i64 = 256 * 1_024;
/// Five runs of rewriting and the header's template.
const STREAM_BYTES_MAX: i64 = 4 * 1_024;
/// Tables keep their size; a second meeting like the first needs no larger ones.
const LEFT_BYTES_MAX: i64 = 16 * 1_024;

fn terms(publishes: bool) -> Terms {
    Terms {
        microphone: publishes.then_some(Microphone { frame_bytes: 60, level: 25 }),
        camera: publishes.then(|| Camera {
            codec: VideoCodec::Vp8,
            scalability: Scalability::L1T3,
            encodings: vec![(940, 4_700), (3_125, 15_600), (9_375, 46_900)],
            rids: true,
            interval_us: 50_000,
            ramp_us: 0,
        }),
        red: true,
        audio_nack: true,
        feedback: Feedback::TransportWide,
    }
}

fn link() -> LinkConfig {
    LinkConfig {
        rate_bps: 20_000_000,
        queue_us_max: 200_000,
        delay_us: 10_000,
        loss_ppm: 5_000,
        ..LinkConfig::default()
    }
}

/// What one meeting took, bytes.
#[derive(Clone, Copy)]
struct Costs {
    /// For each participant who neither publishes nor receives.
    participant: i64,
    /// For each publisher.
    publisher: i64,
    /// For all streams of a receiver.
    streams: i64,
}

/// A meeting of so many publishers, who watch nothing, and watchers, who watch them all; peers are numbered from `first` on.
fn meeting(world: &mut World, rng: &mut Rng, first: u32, publishers: u32) -> Costs {
    let watchers = first..first + WATCHERS;
    let publishing = watchers.end..watchers.end + publishers;
    let started = world.network.now();
    let empty = balance();
    for peer in watchers.clone() {
        world.join(peer, MEETING, terms(false), rng, [link(); 2]);
    }
    world.run(started.after_us(2_000_000));
    let joined = balance();
    for peer in publishing.clone() {
        world.join(peer, MEETING, terms(true), rng, [link(); 2]);
    }
    world.run(started.after_us(4_000_000));
    let published = balance();
    for receiver in watchers.clone() {
        for publisher in publishing.clone() {
            for kind in [MediaKind::Audio, MediaKind::Video] {
                world.subscribe(receiver, publisher, kind);
            }
        }
    }
    world.run(started.after_us(8_000_000));
    let subscribed = balance();
    (first..publishing.end).for_each(|peer| world.leave(peer));
    world.run(started.after_us(9_000_000));
    assert_eq!(world.engine.sizes(), EngineSizes::default(), "a table is not empty");
    assert_eq!(world.ended, Vec::<u32>::new());
    Costs {
        participant: (joined - empty) / i64::from(WATCHERS),
        publisher: (published - joined) / i64::from(publishers),
        streams: (subscribed - published) / i64::from(WATCHERS),
    }
}

#[test]
fn memory_is_bounded_per_participant_and_stream_and_returns() {
    let mut rng = Rng::new(1);
    let mut world = World::new(1, 3);
    world.set_probe(count);
    world.set_step_us(500);
    let few = meeting(&mut world, &mut rng, 1, FEW);
    let kept = balance();
    let again = meeting(&mut world, &mut rng, 101, FEW);
    let kept_again = balance();
    let many = meeting(&mut world, &mut rng, 201, MANY);
    // Two streams of each publisher; what does not grow with them is the receiver's estimator, pacer and queue.
    let stream = (many.streams - again.streams) / i64::from(2 * (MANY - FEW));
    let receiver = again.streams - stream * i64::from(2 * FEW);
    let caches = 3 * (RTX_PACKETS_PER_LAYER * SLOT_BYTES) as i64;
    let layers = few.publisher - few.participant - caches;
    println!(
        "memory: {} B for each participant, {receiver} B more for one who receives, {layers} B more for one who publishes audio and three layers of \
         video besides {caches} B of caches; {stream} B for each subscribed stream; {kept} B kept after the last left, {} B more after another meeting",
        few.participant,
        kept_again - kept,
    );
    assert!(few.participant < PARTICIPANT_BYTES_MAX, "a participant takes {} B", few.participant);
    assert!(receiver < RECEIVER_BYTES_MAX, "a receiver takes {receiver} B");
    assert!(layers < PUBLISHER_BYTES_MAX, "a publisher takes {layers} B");
    assert!(stream < STREAM_BYTES_MAX, "a stream takes {stream} B");
    assert!(kept_again - kept < LEFT_BYTES_MAX, "{} B are left behind", kept_again - kept);
}
