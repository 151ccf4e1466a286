//! The relay's control lines: one JSON object in, one out, in the same order.
//!
//! `{"do":"add","name":N,"listen":IP,"server":IP:PORT,"seed":S,"up":LINK,"down":LINK}` answers `{"ok":true,"address":IP:PORT}`;
//! `set` changes `up` or `down` or both of an access; `counts` answers both directions and the addresses the server sees; `rebind`
//! moves those; `quit` ends the process. A LINK names fields of [`LinkConfig`]; what it leaves out is zero, what it does not know an
//! error. What fails answers `{"ok":false,"error":TEXT}` and has no effect.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, bail};
use dataplane::io::sim::LinkConfig;
use serde_json::{Value, json};

use super::{Counts, Relay, Way};

const WAYS: [(&str, Way); 2] = [("up", Way::Up), ("down", Way::Down)];

/// What the process does after a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Goes on.
    Continue,
    /// Ends.
    Quit,
}

/// Does what a line says: the line to answer, and what comes next.
pub fn handle(relay: &mut Relay, line: &str) -> (String, Next) {
    match act(relay, line) {
        Ok(Some(mut answer)) => {
            answer["ok"] = true.into();
            (answer.to_string(), Next::Continue)
        }
        Ok(None) => (json!({ "ok": true }).to_string(), Next::Quit),
        Err(error) => (json!({ "ok": false, "error": format!("{error:#}") }).to_string(), Next::Continue),
    }
}

/// `None` for `quit`.
fn act(relay: &mut Relay, line: &str) -> Result<Option<Value>> {
    let request: Value = serde_json::from_str(line).context("a line is a JSON object")?;
    let text = |key: &str| request[key].as_str().with_context(|| format!("{key} is a string"));
    let verb = text("do")?;
    if verb == "quit" {
        return Ok(None);
    }
    let name = text("name")?;
    let mut links = Vec::new();
    for (key, way) in WAYS {
        if let Some(value) = request.get(key) {
            links.push((way, link(value).with_context(|| format!("{key} of {name}"))?));
        }
    }
    let answer = match verb {
        "add" => {
            let listen: IpAddr = text("listen")?.parse().context("listen is an IP address")?;
            let server: SocketAddr = text("server")?.parse().context("server is an address with a port")?;
            let seed = request["seed"].as_u64().context("seed is a number")?;
            json!({ "address": relay.add(name, SocketAddr::new(listen, 0), server, seed)?.to_string() })
        }
        "set" => json!({}),
        "rebind" => {
            relay.rebind(name)?;
            json!({})
        }
        "counts" => {
            let addresses: Vec<String> =
                relay.upstream_addresses(name)?.iter().map(SocketAddr::to_string).collect();
            json!({
                "up": counts(&relay.counts(name, Way::Up)?),
                "down": counts(&relay.counts(name, Way::Down)?),
                "upstream": addresses,
            })
        }
        other => bail!("{other} is none of add, set, counts, rebind, quit"),
    };
    for (way, config) in links {
        relay.set(name, way, config)?;
    }
    Ok(Some(answer))
}

fn link(value: &Value) -> Result<LinkConfig> {
    let mut config = LinkConfig::default();
    for (key, value) in value.as_object().context("a link is an object")? {
        let wide = value.as_u64().with_context(|| format!("{key} is a number"))?;
        let narrow = u32::try_from(wide);
        match key.as_str() {
            "rate_bps" => config.rate_bps = wide,
            "queue_us_max" => config.queue_us_max = wide,
            "delay_us" => config.delay_us = wide,
            "jitter_us" => config.jitter_us = wide,
            "loss_ppm" => config.loss_ppm = narrow?,
            "burst_ppm" => config.burst_ppm = narrow?,
            "burst_datagrams" => config.burst_datagrams = narrow?,
            "reorder_ppm" => config.reorder_ppm = narrow?,
            "reorder_us" => config.reorder_us = wide,
            "duplicate_ppm" => config.duplicate_ppm = narrow?,
            other => bail!("a link has no {other}"),
        }
    }
    Ok(config)
}

fn counts(counts: &Counts) -> Value {
    json!({
        "sent": counts.link.sent,
        "sent_bytes": counts.sent_bytes,
        "lost": counts.link.lost,
        "duplicated": counts.link.duplicated,
        "reordered": counts.link.reordered,
        "delivered": counts.delivered,
        "delivered_bytes": counts.delivered_bytes,
        "refused": counts.refused,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(relay: &mut Relay, line: &str) -> Value {
        serde_json::from_str(&handle(relay, line).0).expect("an answer is JSON")
    }

    #[test]
    fn an_access_is_opened_changed_counted_and_moved() {
        let mut relay = Relay::new().expect("an event queue");
        let add = r#"{"do":"add","name":"a","listen":"127.0.0.1","server":"127.0.0.1:9","seed":1,"up":{"loss_ppm":1000}}"#;
        let added = ask(&mut relay, add);
        let address: SocketAddr = added["address"].as_str().expect("a string").parse().expect("an address");
        assert!(added["ok"] == true && address.port() > 0);
        let set =
            ask(&mut relay, r#"{"do":"set","name":"a","down":{"rate_bps":300000,"queue_us_max":200000}}"#);
        assert_eq!(set, json!({ "ok": true }));
        assert_eq!(ask(&mut relay, r#"{"do":"rebind","name":"a"}"#), json!({ "ok": true }));
        let counts = ask(&mut relay, r#"{"do":"counts","name":"a"}"#);
        assert_eq!((&counts["up"]["sent"], &counts["upstream"]), (&json!(0), &json!([])));
        assert_eq!(handle(&mut relay, r#"{"do":"quit"}"#).1, Next::Quit);
    }

    #[test]
    fn a_wrong_line_is_answered_with_what_is_wrong_and_has_no_effect() {
        let mut relay = Relay::new().expect("an event queue");
        for (line, word) in [
            ("hello", "JSON"),
            ("{}", "do"),
            (r#"{"do":"set"}"#, "name"),
            (r#"{"do":"dance","name":"a"}"#, "dance"),
            (r#"{"do":"counts","name":"a"}"#, "named a"),
            (r#"{"do":"set","name":"a","up":{}}"#, "named a"),
            (
                r#"{"do":"add","name":"a","listen":"127.0.0.1","server":"127.0.0.1:9","seed":1,"up":{"speed":1}}"#,
                "speed",
            ),
            (r#"{"do":"add","name":"a","listen":"127.0.0.1","server":"there","seed":1}"#, "server"),
            (r#"{"do":"add","name":"a","listen":"203.0.113.1","server":"127.0.0.1:9","seed":1}"#, "address"),
        ] {
            let answer = ask(&mut relay, line);
            let error = answer["error"].as_str().unwrap_or_default();
            assert!(answer["ok"] == false && error.contains(word), "{line}: {answer}");
        }
        assert!(relay.counts("a", Way::Up).is_err());
    }
}
