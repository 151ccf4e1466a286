//! Configuration: one value per key, from the flag, else the `KAIGI_` variable, else the TOML file, else the default.
//!
//! Promises: an unknown key in the file is an error that names it; an unknown `KAIGI_` variable is a warning (orchestrators
//! put variables of their own into the environment); every error says which source gave the value and what it should be.

mod flags;
mod keys;
mod oidc;
mod value;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

pub use flags::{Cli, Command, RestoreArgs, RotateKeyArgs, ServeArgs, TokenArgs};
pub use oidc::OidcConfig;
pub use value::{Cores, Dtls, Io, LogFormat, LogLevel, PublicUrl};

use ipnet::IpNet;

use crate::store::{KeySource, StoreOptions};
use keys::Keys;

/// Audio tracks forwarded to one participant unless the operator says otherwise: two in dialogue and one that breaks in.
const AUDIO_STREAMS: u8 = 3;
/// Meetings an account may create in a day.
const MEETINGS_PER_DAY: u32 = 100;
/// Requests a second from one network address, of which twenty seconds' worth may come at once: a hundred people behind one
/// address who open the page in the same second ask for 2,500 files.
const REQUESTS_PER_ADDRESS: u32 = 500;
/// The same of one account.
const REQUESTS_PER_USER: u32 = 100;
/// How long daily backups and the journal are kept unless the operator says otherwise.
const BACKUP_DAYS: u32 = 30;

/// Everything `kaigid serve` can be told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Where everything that survives lives.
    pub data: PathBuf,
    /// Where the key is that the store is sealed under.
    pub store_key: KeySource,
    /// Where daily backups go.
    pub backups: PathBuf,
    /// How long they are kept, days; 0 is no backups and no going back.
    pub backup_days: u32,
    /// HTTP and signalling.
    pub listen: SocketAddr,
    /// First UDP port; core `n` has port `udp_port + n`.
    pub udp_port: u16,
    /// ICE-TCP port.
    pub tcp_port: u16,
    /// CPUs to run workers on; `None` is all this process may use.
    pub cores: Option<Cores>,
    /// I/O backend.
    pub io: Io,
    /// Addresses offered as ICE candidates; empty means those of the host's interfaces.
    pub node_ip: Vec<IpAddr>,
    /// Where clients reach this server, when that is not where they asked.
    pub public_url: Option<PublicUrl>,
    /// Certificate chain and key files (PEM).
    pub tls: Option<TlsFiles>,
    /// DTLS version spoken to clients.
    pub dtls: Dtls,
    /// Most audio tracks forwarded to one participant at a time.
    pub audio_streams: u8,
    /// Meetings an account may create in a day; 0 is any number.
    pub meetings_per_day: u32,
    /// Requests a second from one network address; 0 is any number.
    pub requests_per_address: u32,
    /// Requests a second of one account; 0 is any number.
    pub requests_per_user: u32,
    /// Proxies whose word about the client's address counts.
    pub trusted_proxies: Vec<IpNet>,
    /// By whom people may sign in beside a password.
    pub oidc: Option<OidcConfig>,
    /// Log format.
    pub log: LogFormat,
    /// Least severe line that is logged.
    pub log_level: LogLevel,
    /// Guests may create meetings.
    pub demo: bool,
}

impl Config {
    /// How the store is opened; keys of `hidden` tables are names.
    #[must_use]
    pub fn store_options(&self, hidden: &'static [u8]) -> StoreOptions {
        StoreOptions {
            data: self.data.clone(),
            key: self.store_key.clone(),
            hidden,
            backups: (self.backup_days > 0).then(|| self.backups.clone()),
        }
    }

    /// The command that brings a damaged store back, as a shell takes it.
    #[must_use]
    pub fn restore_command(&self) -> String {
        let mut command = format!("kaigid restore --data {}", quoted(&self.data.display().to_string()));
        if self.store_key != KeySource::beside(&self.data) {
            command += &format!(" --store-key {}", quoted(&self.store_key.to_string()));
        }
        if self.backups != backups_beside(&self.data) {
            command += &format!(" --backups {}", quoted(&self.backups.display().to_string()));
        }
        command
    }

    /// Where people open it.
    #[must_use]
    pub fn url(&self) -> String {
        if let Some(public) = &self.public_url {
            let scheme = if public.secure { "https" } else { "http" };
            return format!("{scheme}://{}", public.authority);
        }
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        if self.listen.ip().is_unspecified() {
            format!("{scheme}://localhost:{}", self.listen.port())
        } else {
            format!("{scheme}://{}", self.listen)
        }
    }

    /// Keys whose value in `fresh` differs and that only a restart applies. A port of 0 stands for the one it became.
    #[must_use]
    pub fn keys_that_need_a_restart(&self, fresh: &Self) -> Vec<&'static str> {
        let listen = self.listen.ip() != fresh.listen.ip()
            || (fresh.listen.port() != 0 && self.listen.port() != fresh.listen.port());
        [
            ("data", self.data != fresh.data),
            ("store-key", self.store_key != fresh.store_key),
            ("backups", self.backups != fresh.backups),
            ("backup-days", self.backup_days != fresh.backup_days),
            ("listen", listen),
            ("udp-port", self.udp_port != fresh.udp_port),
            ("tcp-port", self.tcp_port != fresh.tcp_port),
            ("cores", self.cores != fresh.cores),
            ("io", self.io != fresh.io),
            ("node-ip", self.node_ip != fresh.node_ip),
            ("public-url", self.public_url != fresh.public_url),
            ("tls-cert and tls-key", self.tls != fresh.tls),
            ("dtls", self.dtls != fresh.dtls),
            ("audio-streams", self.audio_streams != fresh.audio_streams),
            ("meetings-per-day", self.meetings_per_day != fresh.meetings_per_day),
            ("requests-per-address", self.requests_per_address != fresh.requests_per_address),
            ("requests-per-user", self.requests_per_user != fresh.requests_per_user),
            ("trusted-proxy", self.trusted_proxies != fresh.trusted_proxies),
            ("oidc-…", self.oidc != fresh.oidc),
            ("log", self.log != fresh.log),
            ("demo", self.demo != fresh.demo),
        ]
        .into_iter()
        .filter_map(|(key, changed)| changed.then_some(key))
        .collect()
    }
}

/// A certificate chain and its key, PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// Certificate chain, leaf first.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// A configuration nobody can start with: one line that names the key and says what would do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// A configuration and what is worth a warning about where it came from.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Lines for the log.
    pub warnings: Vec<String>,
}

/// Puts flags, variables and file together.
///
/// # Errors
/// The first value that cannot be taken, with its source.
pub fn load(
    flags: &ServeArgs,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, ConfigError> {
    let mut from_variables = Keys::default();
    let mut warnings = Vec::new();
    let mut config_file = flags.config.clone();
    for (name, value) in variables {
        let Some(key) = name.strip_prefix("KAIGI_") else { continue };
        let key = key.to_ascii_lowercase().replace('_', "-");
        if key == "config" {
            config_file = config_file.or_else(|| Some(value.into()));
        } else if !from_variables.set(&key, value) {
            warnings.push(format!("the variable {name} is not one of kaigid's and is ignored"));
        }
    }
    let from_file = config_file.as_deref().map(read_file).transpose()?.unwrap_or_default();
    let sources = [
        (&flags.keys(), Source::Flag),
        (&from_variables, Source::Variable),
        (&from_file, Source::File(config_file.as_deref().unwrap_or(Path::new("")))),
    ];
    Ok(Loaded { config: combine(&sources)?, warnings })
}

fn read_file(path: &Path) -> Result<Keys, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        ConfigError(format!(
            "cannot read the configuration file {}: {error}; check the path and its permissions",
            path.display()
        ))
    })?;
    Keys::parse(&text).map_err(|error| ConfigError(format!("{}: {error}", path.display())))
}

#[derive(Clone, Copy)]
enum Source<'a> {
    Flag,
    Variable,
    File(&'a Path),
}

impl Source<'_> {
    fn name(self, key: &str) -> String {
        match self {
            Self::Flag => format!("--{key}"),
            Self::Variable => format!("the variable KAIGI_{}", key.to_ascii_uppercase().replace('-', "_")),
            Self::File(path) => format!("the key {key} in {}", path.display()),
        }
    }
}

type Sources<'a> = [(&'a Keys, Source<'a>)];

/// The value of `key` from the strongest source that has one.
fn pick<T>(
    sources: &Sources<'_>,
    key: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, ConfigError> {
    for (keys, source) in sources {
        if let Some(text) = keys.text(key) {
            let parsed = parse(text)
                .map_err(|wanted| ConfigError(format!("{}: {text:?} is not {wanted}", source.name(key))));
            return parsed.map(Some);
        }
    }
    Ok(None)
}

fn combine(sources: &Sources<'_>) -> Result<Config, ConfigError> {
    let path = |text: &str| {
        if text.is_empty() { Err("a path".to_owned()) } else { Ok(PathBuf::from(text)) }
    };
    let cert = pick(sources, "tls-cert", path)?;
    let key = pick(sources, "tls-key", path)?;
    let tls = match (cert, key) {
        (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
        (None, None) => None,
        (Some(_), None) => {
            return Err(ConfigError("tls-cert is given without tls-key; give both or none".into()));
        }
        (None, Some(_)) => {
            return Err(ConfigError("tls-key is given without tls-cert; give both or none".into()));
        }
    };
    let public_url = pick(sources, "public-url", PublicUrl::parse)?;
    let beside = || if public_url.is_some() { value::loopback() } else { Vec::new() };
    let trusted_proxies = pick(sources, "trusted-proxy", value::networks)?.unwrap_or_else(beside);
    let data = pick(sources, "data", path)?.unwrap_or_else(|| "./data".into());
    let demo = pick(sources, "demo", value::switch)?.unwrap_or(false);
    Ok(Config {
        store_key: pick(sources, "store-key", KeySource::parse)?.unwrap_or_else(|| KeySource::beside(&data)),
        backups: pick(sources, "backups", path)?.unwrap_or_else(|| backups_beside(&data)),
        backup_days: pick(sources, "backup-days", value::days)?.unwrap_or(BACKUP_DAYS),
        listen: pick(sources, "listen", value::listen)?
            .unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7880)),
        udp_port: pick(sources, "udp-port", value::port)?.unwrap_or(7882),
        tcp_port: pick(sources, "tcp-port", value::port)?.unwrap_or(7881),
        cores: pick(sources, "cores", value::cores)?,
        io: pick(sources, "io", value::io)?.unwrap_or(Io::Auto),
        node_ip: pick(sources, "node-ip", value::addresses)?.unwrap_or_default(),
        public_url,
        tls,
        dtls: pick(sources, "dtls", value::dtls)?.unwrap_or(Dtls::V1_2),
        audio_streams: pick(sources, "audio-streams", value::audio_streams)?.unwrap_or(AUDIO_STREAMS),
        meetings_per_day: pick(sources, "meetings-per-day", value::meetings)?.unwrap_or(MEETINGS_PER_DAY),
        requests_per_address: pick(sources, "requests-per-address", value::requests)?.unwrap_or(if demo {
            0
        } else {
            REQUESTS_PER_ADDRESS
        }),
        requests_per_user: pick(sources, "requests-per-user", value::requests)?.unwrap_or(if demo {
            0
        } else {
            REQUESTS_PER_USER
        }),
        trusted_proxies,
        oidc: oidc::combine(sources)?,
        log: pick(sources, "log", value::log_format)?.unwrap_or(LogFormat::Text),
        log_level: pick(sources, "log-level", value::log_level)?.unwrap_or(LogLevel::Info),
        demo,
        data,
    })
}

fn backups_beside(data: &Path) -> PathBuf {
    data.join("backups")
}

/// A word as a POSIX shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=".contains(c);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn flags(arguments: &[&str]) -> ServeArgs {
        let cli = Cli::try_parse_from(["kaigid", "serve"].iter().chain(arguments)).expect("parses");
        match cli.command {
            Command::Serve(args) => args,
            _ => unreachable!("serve was asked for"),
        }
    }

    fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// A TOML file that is removed when dropped.
    struct TomlFile(PathBuf);

    impl TomlFile {
        fn new(name: &str, text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("kaigi-config-{name}-{}.toml", std::process::id()));
            std::fs::write(&path, text).expect("the temporary directory is writable");
            Self(path)
        }

        fn path(&self) -> &str {
            self.0.to_str().expect("ascii")
        }
    }

    impl Drop for TomlFile {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let config = load(&flags(&[]), []).expect("loads").config;
        assert_eq!(config.listen.to_string(), "0.0.0.0:7880");
        assert_eq!((config.udp_port, config.tcp_port), (7882, 7881));
        assert_eq!((config.dtls, config.log, config.io), (Dtls::V1_2, LogFormat::Text, Io::Auto));
        assert_eq!((config.cores, config.audio_streams, config.demo), (None, 3, false));
        assert_eq!(config.data, PathBuf::from("./data"));
        assert_eq!(config.store_key, KeySource::File("./data/master.key".into()));
        assert_eq!((config.backups, config.backup_days), (PathBuf::from("./data/backups"), 30));
        assert_eq!(config.meetings_per_day, 100);
    }

    #[test]
    fn a_flag_beats_a_variable_and_a_variable_beats_the_file() {
        let file =
            TomlFile::new("order", "udp-port = 1\ntcp-port = 1\nlisten = '127.0.0.1:1'\ndemo = true\n");
        let config = load(
            &flags(&["--config", file.path(), "--udp-port", "3"]),
            variables(&[("KAIGI_UDP_PORT", "2"), ("KAIGI_TCP_PORT", "2"), ("OTHER", "x")]),
        )
        .expect("loads")
        .config;
        assert_eq!((config.udp_port, config.tcp_port, config.listen.port()), (3, 2, 1));
        assert!(config.demo);
        assert_eq!(
            (config.requests_per_address, config.requests_per_user),
            (0, 0),
            "demo mode limits neither"
        );
    }

    #[test]
    fn every_key_works_in_the_file_and_as_a_variable() {
        let text = "data = '/d'\nstore_key = 'credential:kaigi'\nbackups = '/b'\nbackup-days = 7\nlisten = '[::1]:8000'\nudp-port = 5000\ntcp_port = 5001\ncores = '0-1,3'\nio = 'epoll'\n\
                    node-ip = ['10.0.0.1', 'fd00::1']\npublic-url = 'https://meet.example'\ntls-cert = 'c'\ntls-key = 'k'\n\
                    dtls = 1.3\naudio_streams = 5\nmeetings_per_day = 7\nlog = 'json'\nlog-level = 'debug'\ndemo = true\n";
        let file = TomlFile::new("all", text);
        let by_file = load(&flags(&["--config", file.path()]), []).expect("loads").config;
        let by_variables = load(
            &flags(&[]),
            variables(&[
                ("KAIGI_DATA", "/d"),
                ("KAIGI_STORE_KEY", "credential:kaigi"),
                ("KAIGI_BACKUPS", "/b"),
                ("KAIGI_BACKUP_DAYS", "7"),
                ("KAIGI_LISTEN", "[::1]:8000"),
                ("KAIGI_UDP_PORT", "5000"),
                ("KAIGI_TCP_PORT", "5001"),
                ("KAIGI_CORES", "0,1,3"),
                ("KAIGI_IO", "epoll"),
                ("KAIGI_NODE_IP", "10.0.0.1,fd00::1"),
                ("KAIGI_PUBLIC_URL", "https://meet.example/"),
                ("KAIGI_TLS_CERT", "c"),
                ("KAIGI_TLS_KEY", "k"),
                ("KAIGI_DTLS", "1.3"),
                ("KAIGI_AUDIO_STREAMS", "5"),
                ("KAIGI_MEETINGS_PER_DAY", "7"),
                ("KAIGI_LOG", "json"),
                ("KAIGI_LOG_LEVEL", "debug"),
                ("KAIGI_DEMO", "true"),
            ]),
        )
        .expect("loads")
        .config;
        assert_eq!(by_file, by_variables);
        assert_eq!(by_file.cores, Some(Cores(vec![0, 1, 3])));
        assert_eq!(by_file.node_ip.len(), 2);
        let by_flags = load(
            &flags(&[
                "--data",
                "/d",
                "--store-key",
                "credential:kaigi",
                "--backups",
                "/b",
                "--backup-days",
                "7",
                "--listen",
                "[::1]:8000",
                "--udp-port",
                "5000",
                "--tcp-port",
                "5001",
                "--cores",
                "0-1,3",
                "--io",
                "epoll",
                "--node-ip",
                "10.0.0.1",
                "--node-ip",
                "fd00::1",
                "--public-url",
                "https://meet.example",
                "--tls-cert",
                "c",
                "--tls-key",
                "k",
                "--dtls",
                "1.3",
                "--audio-streams",
                "5",
                "--meetings-per-day",
                "7",
                "--log",
                "json",
                "--log-level",
                "debug",
                "--demo",
            ]),
            [],
        )
        .expect("loads")
        .config;
        assert_eq!(by_file, by_flags);
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let file = TomlFile::new("unknown", "udp-port = 1\nudpport = 2\n");
        let error = load(&flags(&["--config", file.path()]), []).expect_err("refused").to_string();
        assert!(error.contains("udpport") && !error.contains('\n'), "{error}");
        let twice = TomlFile::new("twice", "udp-port = 1\nudp_port = 2\n");
        let error = load(&flags(&["--config", twice.path()]), []).expect_err("refused").to_string();
        assert!(error.contains("udp-port is given twice"), "{error}");
        let table = TomlFile::new("table", "[http]\nport = 1\n");
        let error = load(&flags(&["--config", table.path()]), []).expect_err("refused").to_string();
        assert!(error.contains("http") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn an_unknown_variable_is_a_warning_that_names_it() {
        let loaded = load(&flags(&[]), variables(&[("KAIGI_UDPPORT", "1")])).expect("loads");
        assert_eq!(loaded.warnings.len(), 1);
        assert!(loaded.warnings[0].contains("KAIGI_UDPPORT"));
    }

    #[test]
    fn a_bad_value_names_its_source_and_what_would_do() {
        for (key, value) in [
            ("listen", "localhost"),
            ("udp-port", "70000"),
            ("cores", "3-1"),
            ("cores", "0,0"),
            ("io", "dpdk"),
            ("node-ip", "here"),
            ("public-url", "ftp://x"),
            ("dtls", "1.1"),
            ("meetings-per-day", "-1"),
            ("meetings-per-day", "many"),
            ("audio-streams", "0"),
            ("audio-streams", "9"),
            ("audio-streams", "three"),
            ("log", "xml"),
            ("log-level", "loud"),
            ("demo", "maybe"),
            ("data", ""),
            ("store-key", "vault:x"),
            ("store-key", "file:"),
            ("backups", ""),
            ("backup-days", "-1"),
            ("backup-days", "36501"),
        ] {
            let name = format!("KAIGI_{}", key.to_ascii_uppercase().replace('-', "_"));
            let error = load(&flags(&[]), variables(&[(&name, value)])).expect_err(key).to_string();
            assert!(error.contains(&name) && error.contains(" is not "), "{error}");
            let file =
                TomlFile::new(&format!("bad-{key}-{value}").replace('/', "-"), &format!("{key} = '{value}'"));
            let error = load(&flags(&["--config", file.path()]), []).expect_err(key).to_string();
            assert!(error.contains(key) && error.contains(".toml"), "{error}");
        }
    }

    #[test]
    fn what_a_reload_cannot_apply_is_named() {
        let before = load(&flags(&["--listen", "127.0.0.1:0"]), []).expect("loads").config;
        let mut running = before.clone();
        running.listen.set_port(40_000);
        assert_eq!(running.keys_that_need_a_restart(&before), [""; 0]);
        let after = load(&flags(&["--listen", "127.0.0.1:1", "--demo", "--log-level", "debug"]), [])
            .expect("loads")
            .config;
        // Demo mode limits no requests.
        let named = ["listen", "requests-per-address", "requests-per-user", "demo"];
        assert_eq!(running.keys_that_need_a_restart(&after), named);
    }

    #[test]
    fn the_command_that_restores_says_what_is_not_the_default_and_is_safe_to_paste() {
        let command =
            |arguments: &[&str]| load(&flags(arguments), []).expect("loads").config.restore_command();
        assert_eq!(command(&["--data", "/d"]), "kaigid restore --data /d");
        let other =
            command(&["--data", "/my data", "--store-key", "command:echo 'k'", "--backups", "/nas/kaigi"]);
        let expected =
            r"kaigid restore --data '/my data' --store-key 'command:echo '\''k'\''' --backups /nas/kaigi";
        assert_eq!(other, expected);
    }

    #[test]
    fn a_certificate_needs_its_key() {
        let error = load(&flags(&["--tls-cert", "c"]), []).expect_err("refused").to_string();
        assert!(error.contains("tls-key"), "{error}");
    }

    #[test]
    fn a_missing_file_says_which() {
        let error = load(&flags(&["--config", "/nowhere/kaigid.toml"]), []).expect_err("refused").to_string();
        assert!(error.contains("/nowhere/kaigid.toml"), "{error}");
    }
}
