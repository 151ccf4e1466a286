//! The keys of one source as text: the TOML file's, the variables' or the flags'.

use toml::Value;

/// All keys, named like their flags.
const NAMES: [&str; 28] = [
    "data",
    "store-key",
    "backups",
    "backup-days",
    "listen",
    "udp-port",
    "tcp-port",
    "cores",
    "io",
    "node-ip",
    "public-url",
    "tls-cert",
    "tls-key",
    "dtls",
    "audio-streams",
    "meetings-per-day",
    "requests-per-address",
    "requests-per-user",
    "trusted-proxy",
    "oidc-issuer",
    "oidc-client-id",
    "oidc-secret-file",
    "oidc-name",
    "oidc-domain",
    "oidc-create",
    "log",
    "log-level",
    "demo",
];

/// The text of each key a source gives.
#[derive(Default, Debug)]
pub(super) struct Keys([Option<String>; NAMES.len()]);

impl Keys {
    /// Reads a TOML file; keys may be written with dashes or underscores.
    ///
    /// # Errors
    /// One line that names the key or the place.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let line =
                error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            format!("line {line} is not TOML: {}", error.message().replace('\n', " "))
        })?;
        let mut keys = Self::default();
        for (key, value) in table {
            let name = key.replace('_', "-");
            let text = scalar(&value)
                .ok_or_else(|| format!("the key {key} has a value of the wrong type"))
                .or_else(|wrong| {
                if NAMES.contains(&name.as_str()) { Err(wrong) } else { Ok(String::new()) }
            })?;
            if keys.text(&name).is_some() {
                return Err(format!(
                    "the key {name} is given twice, with a dash and an underscore; keep one"
                ));
            }
            if !keys.set(&name, text) {
                return Err(format!("unknown key {key}; known are {}", NAMES.join(", ")));
            }
        }
        Ok(keys)
    }

    /// Gives `key` a value; false if there is no such key.
    pub(super) fn set(&mut self, key: &str, text: String) -> bool {
        match NAMES.iter().position(|name| *name == key) {
            Some(at) => {
                self.0[at] = Some(text);
                true
            }
            None => false,
        }
    }

    /// The text of `key`, if given.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        let at = NAMES.iter().position(|name| *name == key)?;
        self.0[at].as_deref()
    }
}

/// A scalar as text; a list of scalars as text with commas.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(switch) => Some(switch.to_string()),
        Value::Array(items) => {
            let items: Option<Vec<String>> =
                items.iter().map(|item| if item.is_array() { None } else { scalar(item) }).collect();
            items.map(|items| items.join(","))
        }
        Value::Datetime(_) | Value::Table(_) => None,
    }
}
