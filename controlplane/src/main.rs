//! `kaigid`, the appliance's daemon: reads the command line, runs what it asks for, turns failures into one line and a status.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use controlplane::app::Failure;
use controlplane::appliance::Appliance;
use controlplane::config::{self, Cli, Command, Config, ServeArgs};
use controlplane::logging::{self, LogHandle};
use controlplane::operator::check::Verdict;
use controlplane::operator::{backup, check, rotate_signing_key, rotate_store_key, setup_link, token};
use tokio::signal::unix::{Signal, SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Fails only if a provider was installed before, and nothing ran before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run(&Cli::parse().command) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("kaigid: {failure}");
            ExitCode::from(failure.status())
        }
    }
}

fn run(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Serve(args) => serve(args),
        Command::Token(args) => {
            say(&token::token(&load(&args.serve_args())?, &args.user, args.ttl)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::SetupLink(args) => {
            say(&setup_link::ask_for_link(&load(&args.serve_args())?)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::RotateSigningKey(args) => {
            let id = rotate_signing_key::rotate(&load(&args.serve_args())?)?;
            eprintln!("kaigid: tokens are signed with key {id} from now on");
            Ok(ExitCode::SUCCESS)
        }
        Command::Check(args) => {
            let findings = check::check(&load(args)?);
            for finding in &findings {
                say(finding);
            }
            let wrong = findings.iter().any(|finding| finding.verdict == Verdict::Wrong);
            Ok(if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
        Command::Backup(args) => {
            let entries = backup::backup(&load(&args.store.serve_args())?, &args.file)?;
            eprintln!("kaigid: {entries} entries written to {}", args.file.display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Restore(args) => {
            let config = load(&args.store.serve_args())?;
            let restored = backup::restore(&config, args.file.as_deref(), args.until)?;
            if let Some(aside) = &restored.set_aside {
                eprintln!("kaigid: the store that was there is now {}", aside.display());
            }
            if restored.lacks_journal {
                eprintln!("kaigid: the journal after that backup is missing: what came later is not there");
            }
            let (entries, groups, from) = (restored.entries, restored.groups, restored.backup.display());
            eprintln!("kaigid: {entries} entries restored from {from} and {groups} groups of the journal");
            Ok(ExitCode::SUCCESS)
        }
        Command::RotateKey(args) => {
            rotate_store_key::rotate(&load(&args.store.serve_args())?, args.to.as_ref(), args.data_key)?;
            eprintln!("kaigid: the store's keys are wrapped by the new master key");
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// One line on standard output. Nobody listening (`kaigid check | head -1`) is no fault.
fn say(line: &impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn load(args: &ServeArgs) -> Result<Config, Failure> {
    Ok(config::load(args, std::env::vars())?.config)
}

fn serve(args: &ServeArgs) -> Result<ExitCode, Failure> {
    let loaded = config::load(args, std::env::vars())?;
    let log = logging::start(loaded.config.log, loaded.config.log_level);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().thread_name("control").enable_all().build().map_err(
            |error| Failure::Refused(format!("cannot start threads: {error}; raise the limit of processes")),
        )?;
    runtime.block_on(live(args, loaded.config, &log))
}

async fn live(args: &ServeArgs, config: Config, log: &LogHandle) -> Result<ExitCode, Failure> {
    // Before anything is started, so that no signal kills a half-started server.
    let mut signals = Signals::new()?;
    let appliance = Appliance::start(config).await?;
    say(&ready_line(&appliance));
    // Demo mode needs no account; who wants one there asks with `kaigid setup-link`. Never a line of the log: it is a secret.
    if !appliance.app().config.demo
        && let Some(link) = appliance.setup_link()
    {
        say(&format!("kaigi has no account yet; make the first one within 24 hours at {link}"));
    }
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            _ = signals.hangup.recv() => reload(args, &appliance, log),
        }
    }
    tracing::info!("draining; another signal stops at once");
    tokio::select! {
        () = appliance.stop() => tracing::info!("stopped"),
        _ = signals.terminate.recv() => tracing::warn!("stopped at once"),
        _ = signals.interrupt.recv() => tracing::warn!("stopped at once"),
    }
    Ok(ExitCode::SUCCESS)
}

fn ready_line(appliance: &Appliance) -> String {
    let url = appliance.url();
    let config = &appliance.app().config;
    let secure = config.tls.is_some() || config.public_url.as_ref().is_some_and(|public| public.secure);
    if config.demo && !secure {
        return format!(
            "kaigi is ready: {url} (without TLS, browsers give cameras to pages from localhost only)"
        );
    }
    format!("kaigi is ready: {url}")
}

/// Reads the configuration again, applies what can change while running and names what cannot.
fn reload(args: &ServeArgs, appliance: &Appliance, log: &LogHandle) {
    let fresh = match config::load(args, std::env::vars()) {
        Ok(loaded) => loaded.config,
        Err(error) => return tracing::error!("not reloaded: {error}"),
    };
    log.set_level(fresh.log_level);
    match appliance.reload_certificate() {
        Ok(true) => tracing::info!("reloaded: log level {}, certificate", fresh.log_level.name()),
        Ok(false) => tracing::info!("reloaded: log level {}", fresh.log_level.name()),
        Err(error) => tracing::error!("the certificate stays as it was: {error}"),
    }
    for key in appliance.app().config.keys_that_need_a_restart(&fresh) {
        tracing::warn!("{key} has changed and needs a restart");
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::Refused(format!("cannot listen for signals: {error}")))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }
}
