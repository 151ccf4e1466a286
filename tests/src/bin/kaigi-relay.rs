//! `kaigi-relay`: a bad network for real clients, controlled by lines on standard input, answered on standard output.
//!
//! Ends with `quit` or with the end of its input, so that it does not outlive the test that started it.

use std::io::{BufRead as _, Write as _};
use std::sync::mpsc::{self, TryRecvError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tests::relay::Relay;
use tests::relay::control::{self, Next};

/// A line or a datagram ends a turn sooner.
const TURN_MAX: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    let mut relay = Relay::new().context("no event queue")?;
    let waker = relay.waker().context("no event descriptor")?;
    let (lines, inbox) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.send(line).is_err() || waker.wake().is_err() {
                return;
            }
        }
        drop(lines);
        let _ = waker.wake();
    });
    loop {
        loop {
            match inbox.try_recv() {
                Ok(line) => {
                    let (answer, next) = control::handle(&mut relay, &line);
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "{answer}")
                        .and_then(|()| out.flush())
                        .context("nobody reads the answers")?;
                    if next == Next::Quit {
                        return Ok(());
                    }
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
        relay.turn(TURN_MAX).context("the event queue failed")?;
    }
}
