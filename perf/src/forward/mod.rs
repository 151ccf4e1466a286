//! `kaigi-perf forward`: the real dataplane on one CPU, real ICE, DTLS and SRTP clients on another, and a link between them.
//!
//! Promises: every packet that counts was authenticated by the client it was for, and its content checked; a run that mixes
//! or damages content is an error, whatever its speed. Commands go straight through the lane, so nothing but the packet plane
//! is measured. Not here: peers (other servers under the same load).

mod link;
pub mod options;
mod plan;
pub mod report;
mod seats;

use anyhow::{Context, Result, bail};
use dataplane::base::counters::Counters;
use dataplane::boot::{self, CoreEnd, Plane, PlaneConfig};
use dataplane::engine::Rules;

use crate::meter::{self, Meter};
use crate::sys;
use link::{CLIENTS_THREAD, Link};
use options::Options;
use plan::Plan;
use report::{Outcome, Report};
use seats::Seats;

/// How long the server may take for its commands: a fixed part, and ten times what a subscription takes.
const SETTLE_US: u64 = 300_000;
/// See [`SETTLE_US`].
const SETTLE_US_PER_STREAM: u64 = 100;
/// Media flows this long before the window begins.
pub const WARM_UP_US: u64 = 1_000_000;
/// Media flows this long after the window has ended.
pub const TAIL_US: u64 = 250_000;
/// How long repairs may take after the last frame: a packet is given up after 1 s.
const DRAIN_US: u64 = 1_500_000;
/// Everybody must be ready after this long.
const JOIN_US: u64 = 60_000_000;
/// Handshakes under way at a time: the lane to the assist thread is bounded.
const JOINS_AT_ONCE: u32 = 64;
/// Runs of a search: the rate doubles until it breaks, then four halvings find it to 6 %.
const SEARCH_RUNS_MAX: usize = 16;
/// The worker's thread, as `dataplane::boot` names it.
const WORKER_THREAD: &str = "kaigi-core-0";

/// Runs one measurement, or with `--search` as many as it takes to find the highest rate that holds; `each` sees them all.
pub fn run(options: &Options, mut each: impl FnMut(&Report)) -> Result<Report> {
    sys::catch_interrupts();
    if !options.search {
        return once(options);
    }
    let mut at = |pps: u32| {
        let report = once(&Options { pps, ..options.clone() })?;
        each(&report);
        anyhow::Ok(report)
    };
    let mut held = at(options.pps)?;
    if !held.holds() {
        bail!("not even --pps {} holds: begin lower", options.pps);
    }
    let mut broken = None;
    for _ in 0..SEARCH_RUNS_MAX {
        let low = held.pps();
        let next = match broken {
            None => low.saturating_mul(2),
            Some(high) if high <= low + low / 16 => break,
            Some(high) => low + (high - low) / 2,
        };
        let report = at(next)?;
        if report.holds() {
            held = report;
        } else {
            broken = Some(next);
        }
    }
    Ok(held)
}

fn once(options: &Options) -> Result<Report> {
    let link = Link::new(options.net, options.segmentation)?;
    let config = PlaneConfig {
        cpus: vec![options.cpu_server],
        udp_port: 0,
        tcp_port: Some(0),
        io: options.io,
        suite: options.suite.clone(),
        assist_threads: 1,
        seed: 1,
        // Clients on one thread answer late under load, and what is measured is the packet path.
        rules: Rules { rate_control: options.rate_control, ..Rules::default() },
        bind: Some(link.server()),
    };
    let plane = link.on_server(|| boot::start(&config).context("the packet plane does not start"))?;
    let outcome = link.on_clients(|| measure(options, &link, &plane));
    let (io, suite) = (plane.io_name(), plane.suite_name());
    plane.stop();
    drop(link);
    Ok(Report::new(options, io, suite, &outcome?))
}

fn measure(options: &Options, link: &Link, plane: &Plane) -> Result<Outcome> {
    let cpu = options.cpu_clients;
    sys::pin(cpu)
        .with_context(|| format!("cannot pin the clients to CPU {cpu}: choose one with --cpu-clients"))?;
    let Some(core) = plane.cores().first() else { bail!("the packet plane has no core") };
    let tsc_hz = meter::tsc_hz();
    let meters = Meters {
        server: Meter::of_thread(WORKER_THREAD, tsc_hz)?,
        clients: Meter::of_thread(CLIENTS_THREAD, tsc_hz)?,
    };
    let plan = Plan::new(options, core, plane.fingerprint())?;
    let mut seats = Seats::new()?;
    join(&plan, link, core, &mut seats)?;

    plan.connect()?;
    // Commands are not answered: a subscription that came after the first keyframe would miss the first frames.
    let settled = seats.now().after_us(SETTLE_US + plan.streams() * SETTLE_US_PER_STREAM);
    seats.run(settled, |_| false)?;
    let now = seats.now();
    for (number, seat) in (0..plan.count()).zip(seats.iter_mut()) {
        if plan.is_publisher(number) {
            plan.publish(number, &mut seat.client, now)?;
        } else {
            plan.expect(&mut seat.client);
        }
    }
    seats.run(now.after_us(WARM_UP_US), |_| false)?;
    plan.drain_reports()?;

    for (number, seat) in (0..plan.count()).zip(seats.iter_mut()) {
        seat.client.clear_delays();
        // Not before: the loss of a stream's first packet cannot be noticed.
        seat.client.set_drop_ppm(plan.drop_ppm(number));
    }
    let before = meters.snapshot(core, &seats)?;
    let end = seats.now().after_us(u64::from(options.seconds) * 1_000_000);
    seats.run(end, |_| false)?;
    let after = meters.snapshot(core, &seats)?;
    let mut outcome = Outcome {
        server: meters.server.between(&before.server, &after.server),
        clients: meters.clients.between(&before.clients, &after.clients),
        cycles_source: meters.server.source(),
        received_in_window: after.received - before.received,
        counters_in_window: difference(&before.counters, &after.counters),
        counters_total: Counters::default(),
        delays: report::delays(&seats),
        totals: report::Totals::default(),
    };

    // What is lost now might have no successor to show the gap.
    seats.iter_mut().for_each(|seat| seat.client.set_drop_ppm(0));
    let drained = seats.now().after_us(TAIL_US + DRAIN_US);
    seats.run(drained, |_| false)?;
    plan.drain_reports()?;
    outcome.totals = report::Totals::of(options, &seats);
    outcome.counters_total = core.counters.read();
    Ok(outcome)
}

/// Brings everybody in, a few at a time.
fn join(plan: &Plan<'_>, link: &Link, core: &CoreEnd, seats: &mut Seats) -> Result<()> {
    let server = (link.server(), core.udp_port).into();
    let deadline = seats.now().after_us(JOIN_US);
    let mut ready_at_server = 0;
    let mut number = 0;
    while number < plan.count() {
        let end = (number + JOINS_AT_ONCE).min(plan.count());
        for next in number..end {
            let client = plan.join(next, seats.now())?;
            seats.add(client, link.clients(), server)?;
        }
        number = end;
        let wanted = number as usize;
        while ready_at_server < number || seats.ready() < wanted {
            let now = seats.now();
            if now >= deadline {
                bail!("only {} of {number} clients became ready within 60 s", seats.ready());
            }
            seats.run(now.after_us(20_000), |seats| seats.ready() == wanted)?;
            ready_at_server += plan.drain_reports()?;
        }
    }
    Ok(())
}

/// Both threads.
struct Meters {
    server: Meter,
    clients: Meter,
}

/// Cumulative counts at one moment.
struct Snapshot {
    server: meter::Sample,
    clients: meter::Sample,
    counters: Counters,
    received: u64,
}

impl Meters {
    fn snapshot(&self, core: &CoreEnd, seats: &Seats) -> Result<Snapshot> {
        Ok(Snapshot {
            server: self.server.sample()?,
            clients: self.clients.sample()?,
            counters: core.counters.read(),
            received: seats.iter().map(|seat| seat.client.statistics().rtp_received).sum(),
        })
    }
}

/// What was counted between two readings, of the counters the report looks at.
fn difference(before: &Counters, after: &Counters) -> Counters {
    let mut window = after.clone();
    window.sends -= before.sends;
    window.datagrams_sent -= before.datagrams_sent;
    for (now, then) in window.cycles.iter_mut().zip(before.cycles) {
        *now -= then;
    }
    window
}
