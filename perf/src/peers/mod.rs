//! `kaigi-perf peers`: kaigi, Janus and a naive SFU on str0m under the same load, over the same link, on the same CPU, against the
//! same clients.
//!
//! Promises: peers are real processes that the harness starts and ends; the clients are those of `forward`, joining each peer by its
//! own signalling; a system that is missing is named with what would bring it, and the others are still measured. Figures that were
//! not measured here are marked so. Not here: mediasoup, whose worker is no package; its figures are quoted.

mod http;
mod janus;
mod process;
pub mod result;
mod scenario;
mod session;
mod str0m;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::forward::link::Link;
use crate::forward::options::{Net, Options as Load, Site};
use crate::forward::report::Report;
use crate::forward::{self, search};
use janus::{Installation, Janus};
use result::{Comparison, Measured, Missing, Results};
use scenario::Scenario;
use str0m::Str0m;

/// Peers answer signalling when it is done; this is for what they do afterwards.
const SETTLE_US: u64 = 500_000;
/// Where what peers need is built, from the repository's root.
const BUILD: &str = "target/peers";

/// A server that can be compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum System {
    /// Our packet plane
    Kaigi,
    /// Janus with its videoroom plugin
    Janus,
    /// A naive SFU on str0m: one thread, one socket, one send per packet
    Str0m,
}

/// Options of `kaigi-perf peers`.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Options {
    /// Loads to compare under
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Scenario::Video, Scenario::Audio, Scenario::Meetings])]
    pub scenarios: Vec<Scenario>,
    /// Systems to compare
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [System::Kaigi, System::Janus, System::Str0m])]
    pub systems: Vec<System>,
    /// Find what one core of each holds, then measure each at 70 % of that and all at 70 % of the least; without it all are
    /// measured at --size
    #[arg(long)]
    pub search: bool,
    /// Size of the load without --search, and where a search begins: packets per second of the camera, or meetings
    #[arg(long)]
    pub size: Option<u32>,
    /// Receivers of the one camera
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub subscribers: u32,
    #[command(flatten)]
    pub site: Site,
}

impl Options {
    fn load(&self) -> Load {
        Load { subscribers: self.subscribers, ..self.site.load() }
    }
}

/// A system that is there.
enum Ready {
    Kaigi,
    Janus(Installation),
    Str0m(PathBuf),
}

impl Ready {
    fn system(&self) -> System {
        match self {
            Self::Kaigi => System::Kaigi,
            Self::Janus(_) => System::Janus,
            Self::Str0m(_) => System::Str0m,
        }
    }

    fn measure(&self, load: &Load) -> Result<Report> {
        let report = match self {
            Self::Kaigi => forward::once(load)?,
            Self::Janus(installation) => {
                let link = Link::new(load.net, load.segmentation)?;
                through(load, &link, Janus::start(load, &link, installation)?)?
            }
            Self::Str0m(program) => {
                let link = Link::new(load.net, load.segmentation)?;
                through(load, &link, Str0m::start(load, &link, program)?)?
            }
        };
        match report.defect() {
            Some(defect) => bail!(defect),
            None => Ok(report),
        }
    }
}

fn through(load: &Load, link: &Link, mut server: impl forward::server::Server + Send) -> Result<Report> {
    load.check()?;
    let outcome = forward::measure(load, link, &mut server, 1)?;
    Ok(Report::new(load, server.name(), None, &outcome))
}

/// Compares; `each` sees every run.
pub fn run(options: &Options, mut each: impl FnMut(&Report)) -> Result<Results> {
    let (ready, missing, notes) = find(options);
    for missing in &missing {
        eprintln!("kaigi-perf: without {:?}: {}", missing.system, missing.why);
    }
    if ready.is_empty() {
        bail!(
            "none of the systems can be run: {}",
            missing.iter().map(|m| m.why.as_str()).collect::<Vec<_>>().join("; ")
        );
    }
    let base = options.load();
    let mut comparisons = Vec::new();
    for &scenario in &options.scenarios {
        let size = options.size.unwrap_or(scenario.smallest());
        comparisons.push(compare(scenario, &base, options.search, size, &ready, &mut each)?);
    }
    Ok(Results::new(comparisons, missing, notes))
}

fn compare(
    scenario: Scenario,
    base: &Load,
    search: bool,
    size: u32,
    ready: &[Ready],
    each: &mut impl FnMut(&Report),
) -> Result<Comparison> {
    let mut at = |ready: &Ready, size: u32| {
        let system = ready.system();
        let report = ready.measure(&scenario.options(base, size));
        let report = report.with_context(|| format!("{system:?} in the scenario {scenario:?} at {size}"))?;
        each(&report);
        anyhow::Ok(Measured { size, report })
    };
    let share = |size: u32| (size * 7 / 10).max(1);
    let mut systems = Vec::new();
    for ready in ready {
        let highest = if search { Some(search::highest(size, |size| at(ready, size))?) } else { None };
        let own = match &highest {
            Some(highest) => Some(at(ready, share(highest.size))?),
            None => None,
        };
        systems.push((ready, highest, own));
    }
    let least =
        systems.iter().filter_map(|(_, highest, _)| highest.as_ref()).map(|highest| highest.size).min();
    let common = least.map_or(size, share);
    let systems = systems
        .into_iter()
        .map(|(ready, highest, own)| {
            let common = at(ready, common)?;
            Ok(result::Row { system: ready.system(), highest, own, common })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Comparison::new(scenario, scenario.describe(base), systems))
}

/// Which systems can be run, which not and why, and what is not as it should be.
fn find(options: &Options) -> (Vec<Ready>, Vec<Missing>, Vec<String>) {
    let (mut ready, mut missing, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for &system in &options.systems {
        let found = match system {
            System::Kaigi => Ok(Ready::Kaigi),
            System::Janus if options.site.net == Net::Loopback => {
                Err("Janus does not use loopback: choose --net veth, which needs root".to_owned())
            }
            System::Janus => match Installation::find(Path::new(BUILD)) {
                Ok((installation, note)) => {
                    notes.extend(note);
                    Ok(Ready::Janus(installation))
                }
                Err(error) => Err(format!("{error:#}")),
            },
            System::Str0m => str0m::program().map(Ready::Str0m).map_err(|error| format!("{error:#}")),
        };
        match found {
            Ok(found) => ready.push(found),
            Err(why) => missing.push(Missing { system, why }),
        }
    }
    (ready, missing, notes)
}
