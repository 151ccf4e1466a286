//! Which measured cycles the model uses.

use anyhow::{Result, bail};
use serde::Serialize;

use super::Options;
use super::model::Cycles;
use crate::record::Run;

/// Where cycles were measured.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Video or audio.
    pub kind: &'static str,
    /// Cycles of a packet.
    pub cycles: f64,
    /// What was measured, or the flag it came by.
    pub key: String,
    /// Kind of machine.
    pub host_class: String,
    /// Day.
    pub date: String,
    /// Commit.
    pub commit: String,
}

/// Flags first, then the newest record of a lossless run of AEAD packets on a veth pair at a fixed rate.
pub fn choose(options: &Options, runs: &[Run]) -> Result<(Cycles, Vec<Measured>, Vec<String>)> {
    let flags = [options.cycles_per_video_packet, options.cycles_per_audio_packet];
    if flags.iter().flatten().any(|cycles| !(*cycles > 0.0 && cycles.is_finite())) {
        bail!("cycles of a packet must be more than 0");
    }
    let video = flags[0].map(|cycles| given("video", cycles)).or_else(|| newest(runs, "video"));
    let Some(video) = video else {
        bail!(
            "no record of cycles per packet: measure with kaigi-perf forward --record, or give --cycles-per-video-packet"
        );
    };
    let mut notes = Vec::new();
    let audio = flags[1].map(|cycles| given("audio", cycles)).or_else(|| newest(runs, "audio"));
    let audio = audio.unwrap_or_else(|| {
        notes.push(
            "no record of audio: an audio packet is taken to cost what a video packet does, although it is sent alone"
                .to_owned(),
        );
        Measured { kind: "audio", ..video.clone() }
    });
    let cycles = Cycles { video: video.cycles, audio: audio.cycles };
    Ok((cycles, vec![video, audio], notes))
}

fn given(kind: &'static str, cycles: f64) -> Measured {
    Measured {
        kind,
        cycles,
        key: format!("given by --cycles-per-{kind}-packet"),
        host_class: String::new(),
        date: String::new(),
        commit: String::new(),
    }
}

fn newest(runs: &[Run], kind: &'static str) -> Option<Measured> {
    let fits = |run: &&Run| {
        let result = &run.result;
        run.benchmark == "forward"
            && result["kind"] == kind
            && result["profile"] == "gcm"
            && result["net"] == "veth"
            && result["search"] == false
            && result["loss"] == 0.0
            && result["notes"].as_array().is_none_or(Vec::is_empty)
            // A handful of receivers does not show what sharing a packet among many costs.
            && result["subscribers"].as_u64().is_some_and(|count| count >= 20)
    };
    let run = runs.iter().filter(fits).max_by(|a, b| a.date.cmp(&b.date))?;
    let part = |name: &str| run.result[name].as_f64();
    let cycles = part("cycles_per_packet_user")? + part("cycles_per_packet_kernel")?;
    (cycles > 0.0).then(|| Measured {
        kind,
        cycles,
        key: run.key.clone(),
        host_class: run.host_class.clone(),
        date: run.date.clone(),
        commit: run.host["commit"].as_str().unwrap_or_default().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(date: &str, kind: &str, kernel: f64, loss: f64) -> Run {
        Run {
            benchmark: "forward".to_owned(),
            host_class: "zen".to_owned(),
            date: date.to_owned(),
            key: format!("{kind} {date}"),
            host: json!({ "commit": "c" }),
            result: json!({
                "kind": kind, "profile": "gcm", "net": "veth", "search": false, "loss": loss, "subscribers": 100,
                "cycles_per_packet_user": 1_000.0, "cycles_per_packet_kernel": kernel,
            }),
        }
    }

    #[test]
    fn the_newest_lossless_record_is_used_and_flags_win() {
        let runs = [
            run("2030-01-02", "video", 3_000.0, 0.0),
            run("2030-01-03", "video", 4_000.0, 0.0),
            run("2030-01-04", "video", 1.0, 0.2),
            run("2030-01-01", "audio", 9_000.0, 0.0),
        ];
        let (cycles, measured, notes) = choose(&Options::default(), &runs).expect("both kinds are there");
        assert_eq!((cycles.video, cycles.audio), (5_000.0, 10_000.0));
        assert_eq!(measured[0].key, "video 2030-01-03");
        assert!(notes.is_empty());
        let flag = Options { cycles_per_video_packet: Some(7.0), ..Options::default() };
        assert_eq!(choose(&flag, &runs).expect("given").0.video, 7.0);
        let (cycles, _, notes) = choose(&flag, &runs[..3]).expect("audio is guessed");
        assert_eq!((cycles.audio, notes.len()), (7.0, 1));
    }
}
