//! Results kept with the source: `perf/record/<host-class>/<date>/<benchmark>.json`.
//!
//! Promises: a record says on what kind of machine, kernel, compiler and commit it was made, and no machine's name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

/// Where a result comes from.
#[derive(Clone, Debug, Serialize)]
pub struct Host {
    /// Kind of machine, the directory's name.
    pub class: String,
    /// CPU model as the kernel names it, with family and model number.
    pub cpu: String,
    /// Kernel release.
    pub kernel: String,
    /// The compiler that built this program.
    pub compiler: &'static str,
    /// Whether it is an optimised build.
    pub optimised: bool,
    /// Commit of the working tree, `-dirty` when it has changes; empty outside of one.
    pub commit: String,
    /// Day, UTC.
    pub date: String,
}

impl Host {
    /// This machine.
    pub fn detect() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| field(&cpuinfo, name).unwrap_or("unknown");
        let (family, model) = (field("cpu family"), field("model"));
        let count = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
        let is_guest = field("flags").split(' ').any(|flag| flag == "hypervisor");
        let kind = if is_guest { "vcpu" } else { "cpu" };
        let generation = generation(field("vendor_id"), family, model);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            class: format!("{generation}-{count}{kind}"),
            cpu: format!("{} (family {family}, model {model})", field("model name")),
            kernel: kernel.trim().to_owned(),
            compiler: env!("KAIGI_RUSTC"),
            optimised: !cfg!(debug_assertions),
            commit: commit(),
            date: date(),
        }
    }
}

/// Adds a result to the day's record below `root` (the directory `perf/record`) and answers its path. A result with the same
/// `key`, which says what was measured, is replaced.
pub fn write<T: Serialize>(
    root: &Path,
    host: &Host,
    benchmark: &str,
    key: &str,
    result: &T,
) -> Result<PathBuf> {
    let directory = root.join(&host.class).join(&host.date);
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}: run from the repository's root", directory.display()))?;
    let path = directory.join(format!("{benchmark}.json"));
    let mut runs: Vec<Value> = match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text)
            .with_context(|| format!("{} is not a record: move it away", path.display()))?,
        Err(_) => Vec::new(),
    };
    runs.retain(|run| run["key"] != key);
    runs.push(json!({ "key": key, "host": host, "result": result }));
    let mut text = serde_json::to_string_pretty(&runs)?;
    text.push('\n');
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// One recorded run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The benchmark's name.
    pub benchmark: String,
    /// Kind of machine.
    pub host_class: String,
    /// Day.
    pub date: String,
    /// What was measured.
    pub key: String,
    /// The machine, as [`Host`] was written.
    pub host: Value,
    /// The benchmark's own object.
    pub result: Value,
}

/// Every run recorded below `root`, by kind of machine, day and benchmark. No directory is no runs.
pub fn read(root: &Path) -> Result<Vec<Run>> {
    let mut runs = Vec::new();
    for class in entries(root)? {
        for day in entries(&class)? {
            for file in entries(&day)? {
                if file.extension().is_some_and(|extension| extension == "json") {
                    read_file(&file, &mut runs)?;
                }
            }
        }
    }
    Ok(runs)
}

fn read_file(path: &Path, runs: &mut Vec<Run>) -> Result<()> {
    let name = |path: Option<&Path>| {
        let name = path.and_then(Path::file_stem).unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let values: Vec<Value> = serde_json::from_str(&text)
        .with_context(|| format!("{} is not a record: move it away", path.display()))?;
    let (day, class) = (path.parent(), path.parent().and_then(Path::parent));
    runs.extend(values.into_iter().map(|mut value| Run {
        benchmark: name(Some(path)),
        host_class: name(class),
        date: name(day),
        key: value["key"].as_str().unwrap_or_default().to_owned(),
        host: value["host"].take(),
        result: value["result"].take(),
    }));
    Ok(())
}

/// What lies in a directory, in the order of names.
fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn field<'a>(cpuinfo: &'a str, name: &str) -> Option<&'a str> {
    cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then_some(value.trim())
    })
}

fn generation(vendor: &str, family: &str, model: &str) -> String {
    let number: u32 = model.parse().unwrap_or(0);
    match (vendor, family) {
        ("AuthenticAMD", "23") => if number < 0x30 { "zen1" } else { "zen2" }.to_owned(),
        ("AuthenticAMD", "25") => match number {
            0x10..=0x1f | 0x60..=0x7f | 0xa0..=0xaf => "zen4".to_owned(),
            _ => "zen3".to_owned(),
        },
        ("AuthenticAMD", "26") => "zen5".to_owned(),
        ("GenuineIntel", family) => format!("intel{family}m{model}"),
        _ => std::env::consts::ARCH.to_owned(),
    }
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(hash) = git(&["rev-parse", "--short=12", "HEAD"]) else { return String::new() };
    let is_dirty =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|text| !text.is_empty());
    if is_dirty { hash + "-dirty" } else { hash }
}

fn date() -> String {
    let date = OffsetDateTime::now_utc().date();
    format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_are_told_by_family_and_model() {
        assert_eq!(generation("AuthenticAMD", "25", "1"), "zen3");
        assert_eq!(generation("AuthenticAMD", "25", "17"), "zen4");
        assert_eq!(generation("AuthenticAMD", "26", "2"), "zen5");
        assert_eq!(generation("GenuineIntel", "6", "143"), "intel6m143");
    }

    #[test]
    fn a_record_says_where_it_was_made_and_holds_the_last_result_of_each_kind() {
        let root = std::env::temp_dir().join(format!("kaigi-perf-record-{}", std::process::id()));
        let host = Host::detect();
        for (key, result) in [("one", 1), ("two", 2), ("one", 3)] {
            write(&root, &host, "test", key, &result).expect("the temporary directory is writable");
        }
        let path = root.join(&host.class).join(&host.date).join("test.json");
        let text = fs::read_to_string(&path).expect("it was written");
        let read_back = read(&root).expect("it is a record");
        fs::remove_dir_all(&root).expect("we made it");
        let runs: Vec<Value> = serde_json::from_str(&text).expect("it is JSON");
        let results: Vec<_> = runs.iter().map(|run| (run["key"].as_str(), run["result"].as_u64())).collect();
        assert_eq!(results, [(Some("two"), Some(2)), (Some("one"), Some(3))]);
        let run = &read_back[1];
        assert_eq!((run.benchmark.as_str(), run.key.as_str(), &run.result), ("test", "one", &json!(3)));
        assert_eq!((&run.host_class, &run.date), (&host.class, &host.date));
        assert!(read(&root).expect("nothing is there").is_empty());
        assert_eq!(runs[0]["host"]["class"], host.class.as_str());
        assert!(runs[0]["host"]["compiler"].as_str().is_some_and(|text| text.starts_with("rustc")));
    }
}
