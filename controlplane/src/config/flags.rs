//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::keys::Keys;
use crate::store::KeySource;

/// kaigid, the meeting appliance.
#[derive(Parser, Debug)]
#[command(name = "kaigid", version, about = "The kaigi meeting appliance", max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `kaigid` can do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run the appliance.
    Serve(ServeArgs),
    /// Write a backup of the store to FILE.
    Backup(BackupArgs),
    /// Bring a backup back into an empty data directory; without FILE, bring everything back from the daily backups and the
    /// journal, and set the present store aside.
    Restore(RestoreArgs),
    /// Wrap the store's keys with a new master key.
    RotateKey(RotateKeyArgs),
    /// Look at configuration, store and host, and say what would go wrong.
    Check(ServeArgs),
    /// Print an access token for a user.
    Token(TokenArgs),
    /// Print a new link by which the first account is made; for a server that runs and has no admin yet.
    SetupLink(DataArgs),
    /// Sign tokens with a new key from now on; tokens signed before go on counting.
    RotateSigningKey(DataArgs),
}

/// Flags of `serve`. Each has a key of the same name in the TOML file and a variable KAIGI_NAME.
#[derive(Args, Debug, Default, Clone)]
pub struct ServeArgs {
    /// TOML file with any of the keys below.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of everything that survives [default: ./data].
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// Where the key is that the store is sealed under: file:PATH, credential:NAME (systemd) or command:COMMAND
    /// [default: file:DATA/master.key, made on the first start].
    #[arg(long, value_name = "PLACE")]
    pub store_key: Option<String>,
    /// Directory of the daily backups [default: DATA/backups].
    #[arg(long, value_name = "DIR")]
    pub backups: Option<String>,
    /// Days that backups and the journal are kept; 0 keeps none [default: 30].
    #[arg(long, value_name = "DAYS", allow_hyphen_values = true)]
    pub backup_days: Option<String>,
    /// Address and port of HTTP and signalling [default: 0.0.0.0:7880].
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<String>,
    /// First UDP port for media, one per core [default: 7882].
    #[arg(long, value_name = "PORT")]
    pub udp_port: Option<String>,
    /// TCP port for media of clients whose network blocks UDP [default: 7881].
    #[arg(long, value_name = "PORT")]
    pub tcp_port: Option<String>,
    /// CPUs for media, like 0-3,6 [default: all].
    #[arg(long, value_name = "LIST")]
    pub cores: Option<String>,
    /// Network backend: auto, uring, epoll or xdp [default: auto].
    #[arg(long, value_name = "BACKEND")]
    pub io: Option<String>,
    /// Address clients reach this node at; may be repeated [default: the addresses of its interfaces].
    #[arg(long, value_name = "IP")]
    pub node_ip: Vec<String>,
    /// Where clients reach this server, as scheme and host without a path [default: where they asked].
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Certificate chain, PEM; turns TLS on.
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<String>,
    /// Private key of the certificate, PEM.
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<String>,
    /// DTLS version for media: 1.2 or 1.3 [default: 1.2].
    #[arg(long, value_name = "VERSION")]
    pub dtls: Option<String>,
    /// Audio tracks each participant is sent at a time, 1 to 8: the loudest of the others [default: 3].
    #[arg(long, value_name = "N")]
    pub audio_streams: Option<String>,
    /// Meetings an account may create in a day, 0 for any number [default: 100].
    #[arg(long, value_name = "N")]
    pub meetings_per_day: Option<String>,
    /// Requests a second from one network address (an IPv6 /64), twenty seconds' worth at once; 0 for any number [default: 500].
    #[arg(long, value_name = "N")]
    pub requests_per_address: Option<String>,
    /// Requests a second of one account, twenty seconds' worth at once; 0 for any number [default: 100].
    #[arg(long, value_name = "N")]
    pub requests_per_user: Option<String>,
    /// Proxy whose X-Forwarded-For or Forwarded is believed, an address or network; may be repeated [default: this host's
    /// loopback with --public-url, else none].
    #[arg(long, value_name = "CIDR")]
    pub trusted_proxy: Vec<String>,
    /// OpenID Connect provider people may sign in by: its issuer, an https address [default: none].
    #[arg(long, value_name = "URL")]
    pub oidc_issuer: Option<String>,
    /// This server's name there.
    #[arg(long, value_name = "ID")]
    pub oidc_client_id: Option<String>,
    /// File with the client secret; a public client has none.
    #[arg(long, value_name = "FILE")]
    pub oidc_secret_file: Option<String>,
    /// What the button calls the provider [default: its host].
    #[arg(long, value_name = "NAME")]
    pub oidc_name: Option<String>,
    /// Domain of the addresses the provider speaks for: nobody with another comes in, and who has an account with such an
    /// address gets it; may be repeated [default: any, which find no account].
    #[arg(long, value_name = "DOMAIN")]
    pub oidc_domain: Vec<String>,
    /// Make an account for who has none.
    #[arg(long)]
    pub oidc_create: bool,
    /// Log format: text or json [default: text].
    #[arg(long, value_name = "FORMAT")]
    pub log: Option<String>,
    /// Least severe log line: error, warn, info, debug or trace [default: info].
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Let guests create meetings.
    #[arg(long)]
    pub demo: bool,
}

impl ServeArgs {
    pub(super) fn keys(&self) -> Keys {
        let mut keys = Keys::default();
        let given = [
            ("data", &self.data),
            ("store-key", &self.store_key),
            ("backups", &self.backups),
            ("backup-days", &self.backup_days),
            ("listen", &self.listen),
            ("udp-port", &self.udp_port),
            ("tcp-port", &self.tcp_port),
            ("cores", &self.cores),
            ("io", &self.io),
            ("public-url", &self.public_url),
            ("tls-cert", &self.tls_cert),
            ("tls-key", &self.tls_key),
            ("dtls", &self.dtls),
            ("audio-streams", &self.audio_streams),
            ("meetings-per-day", &self.meetings_per_day),
            ("requests-per-address", &self.requests_per_address),
            ("requests-per-user", &self.requests_per_user),
            ("oidc-issuer", &self.oidc_issuer),
            ("oidc-client-id", &self.oidc_client_id),
            ("oidc-secret-file", &self.oidc_secret_file),
            ("oidc-name", &self.oidc_name),
            ("log", &self.log),
            ("log-level", &self.log_level),
        ];
        for (key, value) in given {
            if let Some(value) = value {
                keys.set(key, value.clone());
            }
        }
        if !self.node_ip.is_empty() {
            keys.set("node-ip", self.node_ip.join(","));
        }
        if !self.trusted_proxy.is_empty() {
            keys.set("trusted-proxy", self.trusted_proxy.join(","));
        }
        if !self.oidc_domain.is_empty() {
            keys.set("oidc-domain", self.oidc_domain.join(","));
        }
        if self.oidc_create {
            keys.set("oidc-create", "true".to_owned());
        }
        if self.demo {
            keys.set("demo", "true".to_owned());
        }
        keys
    }
}

/// Flags that find the store.
#[derive(Args, Debug)]
pub struct StoreArgs {
    /// TOML file of the appliance.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Its data directory [default: ./data].
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// Where its key is: file:PATH, credential:NAME or command:COMMAND [default: file:DATA/master.key].
    #[arg(long, value_name = "PLACE")]
    pub store_key: Option<String>,
    /// Directory of the daily backups [default: DATA/backups].
    #[arg(long, value_name = "DIR")]
    pub backups: Option<String>,
}

/// Flags of `backup`.
#[derive(Args, Debug)]
pub struct BackupArgs {
    /// The backup.
    pub file: PathBuf,
    /// Which store.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Flags of `restore`.
#[derive(Args, Debug)]
pub struct RestoreArgs {
    /// The backup; without it, the newest of the daily ones and the journal after it.
    pub file: Option<PathBuf>,
    /// Bring back what was there at this moment (RFC 3339), not all there is.
    #[arg(long, value_name = "MOMENT", conflicts_with = "file", value_parser = moment)]
    pub until: Option<i64>,
    /// Which store.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Flags of `rotate-key`.
#[derive(Args, Debug)]
pub struct RotateKeyArgs {
    /// Where the new key is: file:PATH, credential:NAME or command:COMMAND; name it with --store-key from then on
    /// [default: a new one in the place of the old file].
    #[arg(long, value_name = "PLACE", value_parser = KeySource::parse)]
    pub to: Option<KeySource>,
    /// Also seal new values under a new data key.
    #[arg(long)]
    pub data_key: bool,
    /// Which store.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Flags of what only needs to know where the appliance lives.
#[derive(Args, Debug)]
pub struct DataArgs {
    /// TOML file of the appliance.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Its data directory [default: ./data].
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
}

impl DataArgs {
    /// The flags of `serve` that find the same data directory.
    #[must_use]
    pub fn serve_args(&self) -> ServeArgs {
        ServeArgs { config: self.config.clone(), data: self.data.clone(), ..ServeArgs::default() }
    }
}

/// Flags of `token`.
#[derive(Args, Debug)]
pub struct TokenArgs {
    /// Whose token.
    #[arg(long, value_name = "NAME")]
    pub user: String,
    /// How long it is good: seconds, or a number with s, m, h or d.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    pub ttl: std::time::Duration,
    /// Which store.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Make the user if there is none, as demo mode does.
    #[arg(long)]
    pub demo: bool,
}

impl StoreArgs {
    /// The flags of `serve` that find the same store.
    #[must_use]
    pub fn serve_args(&self) -> ServeArgs {
        ServeArgs {
            config: self.config.clone(),
            data: self.data.clone(),
            store_key: self.store_key.clone(),
            backups: self.backups.clone(),
            ..ServeArgs::default()
        }
    }
}

impl TokenArgs {
    /// The flags of `serve` that find the same data directory.
    #[must_use]
    pub fn serve_args(&self) -> ServeArgs {
        ServeArgs { demo: self.demo, ..self.store.serve_args() }
    }
}

fn moment(text: &str) -> Result<i64, String> {
    let moment = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339)
        .map_err(|_| "a moment like 2030-01-31T12:00:00Z".to_owned())?;
    i64::try_from(moment.unix_timestamp_nanos() / 1_000_000)
        .map_err(|_| "a moment that is not that far".to_owned())
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("a time like 90s, 30m, 1h or 7d".into()),
    };
    let seconds = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
    let ttl = seconds.map(std::time::Duration::from_secs).filter(|ttl| !ttl.is_zero());
    ttl.filter(|ttl| *ttl <= crate::auth::ACCESS_TTL_MAX).ok_or_else(|| "a time from 1s to 366d".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn times_have_units_and_a_limit() {
        assert_eq!(duration("1h").map(|d| d.as_secs()), Ok(3_600));
        assert_eq!(duration("90").map(|d| d.as_secs()), Ok(90));
        for bad in ["", "0", "h", "1w", "-1h", "367d", "99999999999999999999d", "1 h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
