//! The table of who may do what, `data/authorization.txt`, as tests read it.

/// The columns.
pub const ROLES: [&str; 8] =
    ["anonymous", "guest", "participant", COHOST, "host", "program", "other", "admin"];
/// The role that meetings do not have yet.
pub const COHOST: &str = "co-host";

/// A route and what it answers.
pub struct Row {
    /// Its line in the file.
    pub number: usize,
    /// The method, in capitals.
    pub method: String,
    /// The path, parameters in braces.
    pub path: String,
    /// Which kind of token the route takes: `api`, `media`, `room`, `key`, or `none` where none is looked at.
    pub kind: String,
    /// The status code for each of [`ROLES`]; `None` where the role does not exist.
    pub codes: Vec<Option<u16>>,
    /// What is sent: JSON, a `?query`, `form:…`, or the name of a description.
    pub sends: String,
}

impl Row {
    /// `METHOD path`.
    #[must_use]
    pub fn route(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn parse(number: usize, line: &str) -> Option<Self> {
        let mut rest = line.trim();
        let mut word = || {
            let (word, behind) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            rest = behind.trim_start();
            (!word.is_empty()).then(|| word.to_owned())
        };
        let (method, path, kind) = (word()?, word()?, word()?);
        let codes: Option<Vec<_>> = ROLES.iter().map(|_| word()).collect();
        let codes = codes?.into_iter().map(|code| match code.as_str() {
            "-" => Some(None),
            code => code.parse().ok().map(Some),
        });
        Some(Self {
            number,
            method,
            path,
            kind,
            codes: codes.collect::<Option<_>>()?,
            sends: rest.to_owned(),
        })
    }
}

/// The rows of the table.
///
/// # Panics
/// At a line that is none.
#[must_use]
pub fn rows() -> Vec<Row> {
    let lines = include_str!("../data/authorization.txt").lines().enumerate();
    let rows = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    rows.map(|(at, line)| Row::parse(at + 1, line).unwrap_or_else(|| panic!("line {}: {line}", at + 1)))
        .collect()
}
