//! `kaigi-perf forward`: the real dataplane on one CPU, real ICE, DTLS and SRTP clients on another, and a link between them.
//!
//! Promises: every packet that counts was authenticated by the client it was for, and its content checked; a run that mixes
//! or damages content is an error, whatever its speed. Commands go straight through the lane, so nothing but the packet plane
//! is measured. Not here: other servers (`peers`), which get the same load through [`server::Server`].

pub mod checks;
mod kaigi;
pub mod link;
pub mod options;
pub mod report;
pub mod search;
pub mod seats;
pub mod server;
mod track;

use anyhow::{Context, Result, bail};
use dataplane::base::counters::Counters;
use tools::client::delay::Delays;

use crate::account;
use crate::meter::{self, Meter};
use crate::sys;
use kaigi::Kaigi;
use link::{CLIENTS_THREAD, Link};
use options::Options;
use report::{Interval, Outcome, Report};
use seats::Seats;
use server::{Place, Server};

/// Media flows this long before the window begins.
pub const WARM_UP_US: u64 = 1_000_000;
/// Media flows this long after the window has ended.
pub const TAIL_US: u64 = 250_000;
/// How long repairs may take after the last frame: a packet is given up after 1 s.
const DRAIN_US: u64 = 1_500_000;
/// Everybody must be ready after this long: a fixed part, and for each client ten times what a handshake takes.
const JOIN_US: u64 = 60_000_000;
/// See [`JOIN_US`].
const JOIN_US_PER_CLIENT: u64 = 50_000;
/// Handshakes under way at a time: the lane to the assist thread is bounded.
const JOINS_AT_ONCE: u32 = 64;
/// Files open beside one socket for each client.
const FILES: u64 = 200;

/// Runs one measurement, or with `--search` as many as it takes to find the highest rate that holds; `each` sees them all.
pub fn run(options: &Options, mut each: impl FnMut(&Report)) -> Result<Report> {
    if !options.search {
        return once(options);
    }
    search::highest(options.pps, |pps| {
        let report = once(&Options { pps, ..options.clone() })?;
        each(&report);
        Ok(report)
    })
}

/// One measurement of kaigi.
pub fn once(options: &Options) -> Result<Report> {
    intervals(options, 1)
}

/// One measurement of kaigi whose window is reported in so many equal parts.
pub fn intervals(options: &Options, parts: u32) -> Result<Report> {
    options.check()?;
    let link = Link::new(options.net, options.segmentation)?;
    let mut kaigi = Kaigi::start(options, &link)?;
    let (io, suite) = (kaigi.io(), kaigi.suite());
    let outcome = measure(options, &link, &mut kaigi, parts)?;
    Ok(Report::new(options, "kaigi".to_owned(), Some((io, suite)), &outcome))
}

/// Puts the load through any server.
pub fn measure(
    options: &Options,
    link: &Link,
    server: &mut (impl Server + Send),
    parts: u32,
) -> Result<Outcome> {
    sys::catch_interrupts();
    sys::allow_files(u64::from(options.associations()) + FILES)
        .context("too few open files are allowed for so many clients: raise the limit (ulimit -n)")?;
    link.on_clients(|| {
        account::enter_clients();
        Run { options, link, server }.measure(parts)
    })
}

/// One run, on the clients' thread.
struct Run<'a, S> {
    options: &'a Options,
    link: &'a Link,
    server: &'a mut S,
}

impl<S: Server> Run<'_, S> {
    fn measure(&mut self, parts: u32) -> Result<Outcome> {
        let options = self.options;
        let cpu = options.cpu_clients;
        sys::pin(cpu)
            .with_context(|| format!("cannot pin the clients to CPU {cpu}: choose one with --cpu-clients"))?;
        let tsc_hz = meter::tsc_hz();
        let mut seats = Seats::new()?;
        let places = (0..options.associations()).map(|number| Place::new(options, number));
        let places: Vec<Place> = places.collect();
        let sends = self.join(&places, &mut seats)?;

        let settled_us = self.server.connect()?;
        seats.run(seats.now().after_us(settled_us), |_| false)?;
        let now = seats.now();
        for ((place, sends), seat) in places.iter().zip(&sends).zip(seats.iter_mut()) {
            if let Some(sends) = sends {
                track::publish(options, *place, sends, &mut seat.client, now);
            }
        }
        seats.run(now.after_us(WARM_UP_US), |_| false)?;
        self.server.poll()?;

        // Not before: a process may make threads while clients join.
        let meters =
            Meters { server: self.server.meter(tsc_hz)?, clients: Meter::of_thread(CLIENTS_THREAD, tsc_hz)? };
        for (place, seat) in places.iter().zip(seats.iter_mut()) {
            seat.client.clear_delays();
            // Not before: the loss of a stream's first packet cannot be noticed.
            seat.client.set_drop_ppm(if place.publishes { 0 } else { (options.nack * 10_000.0) as u32 });
        }
        let before = meters.snapshot(self.server, &seats)?;
        let (mut after, mut delays, mut intervals) = (before.clone(), Delays::default(), Vec::new());
        let (start, window_us) = (seats.now(), u64::from(options.seconds) * 1_000_000);
        for part in 1..=u64::from(parts) {
            let from = after;
            seats.run(start.after_us(window_us * part / u64::from(parts)), |_| false)?;
            after = meters.snapshot(self.server, &seats)?;
            let part_delays = report::delays(&seats);
            seats.iter_mut().for_each(|seat| seat.client.clear_delays());
            intervals.push(Interval::new(
                &meters.server.between(&from.server, &after.server),
                after.received - from.received,
                &part_delays,
                self.server.memory_bytes(),
            ));
            delays.merge(&part_delays);
            self.server.poll()?;
        }
        let window = before.counters.as_ref().zip(after.counters.as_ref());
        let counters_in_window = window.map(|(before, after)| difference(before, after));
        let mut outcome = Outcome {
            server: meters.server.between(&before.server, &after.server),
            clients: meters.clients.between(&before.clients, &after.clients),
            cycles_source: meters.server.source(),
            received_in_window: after.received - before.received,
            counters_in_window,
            counters_total: None,
            delays,
            totals: report::Totals::default(),
            memory_bytes: self.server.memory_bytes(),
            intervals,
        };

        // What is lost now might have no successor to show the gap.
        seats.iter_mut().for_each(|seat| seat.client.set_drop_ppm(0));
        let drained = seats.now().after_us(TAIL_US + DRAIN_US);
        seats.run(drained, |_| false)?;
        self.server.poll()?;
        outcome.totals = report::Totals::of(options, &seats);
        outcome.counters_total = self.server.counters();
        Ok(outcome)
    }

    /// Brings everybody in, a few at a time, subscribers once all publishers are there. Answers what each sends.
    fn join(&mut self, places: &[Place], seats: &mut Seats) -> Result<Vec<Option<server::Sends>>> {
        let join_us = JOIN_US + JOIN_US_PER_CLIENT * places.len() as u64;
        let deadline = seats.now().after_us(join_us);
        let (mut ready_at_server, mut number) = (0, 0);
        let mut sends = Vec::with_capacity(places.len());
        let publishers = places.iter().filter(|place| place.publishes).count();
        while number < places.len() {
            let limit = if number < publishers { publishers } else { places.len() };
            let end = (number + JOINS_AT_ONCE as usize).min(limit);
            for place in &places[number..end] {
                let socket = Seats::socket(self.link.clients())?;
                let mut joined = self.server.join(*place, socket.local_addr()?, seats.now())?;
                joined.receives.into_iter().for_each(|stream| joined.client.receive(stream));
                sends.push(joined.sends);
                seats.add(joined.client, joined.checks, socket, joined.server)?;
                // Signalling takes a while; checks of those before go on.
                seats.run(seats.now().after_us(1), |_| false)?;
            }
            number = end;
            while self.server.counts_ready() && ready_at_server < number as u32 || seats.ready() < number {
                let now = seats.now();
                if now >= deadline {
                    bail!(
                        "only {} of {number} clients became ready within {} s",
                        seats.ready(),
                        join_us / 1_000_000
                    );
                }
                seats.run(now.after_us(20_000), |seats| seats.ready() == number)?;
                ready_at_server += self.server.poll()?;
            }
        }
        Ok(sends)
    }
}

/// Server and clients.
struct Meters {
    server: Meter,
    clients: Meter,
}

/// Cumulative counts at one moment.
#[derive(Clone)]
struct Snapshot {
    server: meter::Sample,
    clients: meter::Sample,
    counters: Option<Counters>,
    received: u64,
}

impl Meters {
    fn snapshot(&self, server: &impl Server, seats: &Seats) -> Result<Snapshot> {
        Ok(Snapshot {
            server: self.server.sample()?,
            clients: self.clients.sample()?,
            counters: server.counters(),
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
