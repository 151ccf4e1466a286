//! The shape of the house: which crate may name which, and which module of a crate may import which.
//!
//! The tables below are the whole of what is allowed. An edge that is not here fails the test; so does a table entry for a
//! module that is gone, so that the tables stay true.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Crates of this workspace that a crate may depend on: `kernels <- dataplane <- controlplane <- tools <- perf`, `tests` sees all.
const CRATES: &[Edges] = &[
    ("kernels", &[]),
    ("dataplane", &["kernels"]),
    ("controlplane", &["dataplane"]),
    ("tools", &["kernels", "dataplane", "controlplane"]),
    ("perf", &["kernels", "dataplane", "controlplane", "tools"]),
    ("tests", &["kernels", "dataplane", "controlplane", "tools", "perf"]),
];

/// A name and the names it may import.
type Edges = (&'static str, &'static [&'static str]);

/// Modules of a crate and the modules of the same crate each may import. A module may always import from itself.
const MODULES: &[(&str, &[Edges])] = &[
    (
        "dataplane",
        &[
            ("base", &[]),
            ("wire", &["base"]),
            ("session", &["wire", "base"]),
            ("command", &["base"]),
            ("room", &["session", "wire", "base", "command"]),
            ("engine", &["room", "session", "wire", "base", "command"]),
            ("lane", &["command", "base"]),
            ("io", &["base"]),
            ("assist", &["lane", "base"]),
            ("worker", &["io", "engine", "assist", "lane", "command", "base"]),
            ("boot", &["worker", "io", "engine", "assist", "lane", "command", "base"]),
        ],
    ),
    (
        "controlplane",
        &[
            ("ids", &[]),
            ("store", &[]),
            ("metrics", &[]),
            ("sdp", &[]),
            ("dispatch", &[]),
            ("auth", &["ids"]),
            ("config", &["auth", "store"]),
            ("logging", &["config"]),
            ("tls", &["config"]),
            ("plane", &["config", "ids"]),
            ("service", &["auth", "store", "ids"]),
            ("guard", &["service", "metrics", "config", "ids"]),
            ("oidc", &["config", "auth", "ids"]),
            ("app", &["guard", "oidc", "service", "metrics", "auth", "store", "tls", "config"]),
            ("http", &["app", "guard", "oidc", "service", "plane", "auth", "store", "tls", "config", "ids"]),
            ("signal", &["http", "app", "service", "dispatch", "sdp", "metrics", "ids"]),
            ("operator", &["app", "oidc", "service", "plane", "store", "tls", "config"]),
            (
                "appliance",
                &[
                    "http", "signal", "operator", "app", "guard", "oidc", "service", "dispatch", "plane",
                    "metrics", "tls", "config",
                ],
            ),
        ],
    ),
];

/// Folders inside a module whose parts import from each other one way only; files beside the parts may import from all.
const PARTS: &[(&str, &str, &[Edges])] = &[(
    "controlplane",
    "signal/room",
    &[("streams", &[]), ("channels", &[]), ("tracks", &["streams"]), ("people", &["streams"])],
)];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository root").to_path_buf()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("a readable directory entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The top-level module a source file belongs to; `None` for `lib.rs` and `main.rs`.
fn module_of(source: &Path, file: &Path) -> Option<String> {
    let relative = file.strip_prefix(source).expect("the file lies below src/");
    let first = relative.iter().next()?.to_str()?;
    match first {
        "lib.rs" | "main.rs" => None,
        name => Some(name.trim_end_matches(".rs").to_owned()),
    }
}

/// Top-level modules of the same crate that a piece of source names: `crate::x`, also inside `crate::{x, y::z}`.
fn imports(text: &str) -> BTreeSet<String> {
    imports_below("crate::", text)
}

/// The same for what lies below a path.
fn imports_below(prefix: &str, text: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .flat_map(|line| line.chars().chain(std::iter::once('\n')))
        .collect();
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            let mut fresh = true;
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        found.insert(std::mem::take(&mut word));
                        fresh = true;
                    }
                    c if depth == 0 && fresh && (c.is_alphanumeric() || c == '_') => word.push(c),
                    c if depth == 0 && !c.is_whitespace() => fresh = false,
                    _ => {}
                }
            }
            found.insert(word);
        } else {
            found.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    found.retain(|name| name.chars().next().is_some_and(char::is_lowercase));
    found
}

#[test]
fn crates_depend_only_downwards() {
    let names: BTreeSet<&str> = CRATES.iter().map(|(name, _)| *name).collect();
    for (name, allowed) in CRATES {
        let manifest =
            fs::read_to_string(root().join(name).join("Cargo.toml")).expect("every crate has a manifest");
        let mut section = String::new();
        let mut used = BTreeSet::new();
        for line in manifest.lines().map(str::trim) {
            if line.starts_with('[') {
                section = line.to_owned();
            } else if section == "[dependencies]" || section == "[dev-dependencies]" {
                let dependency = line.split(['.', '=', ' ']).next().unwrap_or_default();
                if names.contains(dependency) {
                    used.insert(dependency);
                }
            }
        }
        for dependency in used {
            assert!(allowed.contains(&dependency), "crate {name} depends on {dependency}: not downwards");
        }
    }
}

#[test]
fn modules_import_only_downwards() {
    let mut wrong = Vec::new();
    for (name, table) in MODULES {
        let source = root().join(name).join("src");
        let allowed: BTreeMap<&str, &[&str]> = table.iter().copied().collect();
        let mut seen = BTreeSet::new();
        for file in rust_files(&source) {
            let Some(module) = module_of(&source, &file) else { continue };
            seen.insert(module.clone());
            let shown = file.strip_prefix(root()).expect("below the root").display().to_string();
            let Some(allowed) = allowed.get(module.as_str()) else {
                wrong.push(format!("{shown}: module {module} of {name} is not in the table"));
                continue;
            };
            let text = fs::read_to_string(&file).expect("a readable source file");
            for import in imports(&text) {
                if import != module
                    && table.iter().any(|(known, _)| *known == import)
                    && !allowed.contains(&import.as_str())
                {
                    wrong.push(format!("{shown}: {module} imports {import}"));
                }
            }
        }
        for (module, _) in *table {
            if !seen.contains(*module) {
                wrong.push(format!("{name}: the table names module {module}, which does not exist"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn parts_of_a_module_import_one_way() {
    let mut wrong = Vec::new();
    for (name, folder, table) in PARTS {
        let source = root().join(name).join("src");
        let path = format!("crate::{}::", folder.replace('/', "::"));
        for (part, allowed) in *table {
            let files = rust_files(&source.join(folder).join(part));
            assert!(!files.is_empty(), "{name}: the table names {folder}/{part}, which does not exist");
            for file in files {
                let shown = file.strip_prefix(root()).expect("below the root").display().to_string();
                let text = fs::read_to_string(&file).expect("a readable source file");
                let up = if file.ends_with("mod.rs") { "super::" } else { "super::super::" };
                if text.contains(up) {
                    wrong.push(format!("{shown}: names what is outside by {up}, not by {path}"));
                }
                for import in imports_below(&path, &text) {
                    let is_part = table.iter().any(|(known, _)| *known == import);
                    if is_part && import != *part && !allowed.contains(&import.as_str()) {
                        wrong.push(format!("{shown}: {part} imports {import}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_top_level_is_the_agreed_one() {
    const AGREED: &[&str] = &[
        "Cargo.toml",
        "Cargo.lock",
        "Makefile",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "dataplane",
        "controlplane",
        "kernels",
        "tools",
        "perf",
        "systemd",
        "tests",
        "rustfmt.toml",
    ];
    // Built or made by running, never committed.
    const MADE: &[&str] = &["target", "data", "node_modules"];
    for entry in fs::read_dir(root()).expect("the root is readable") {
        let name = entry.expect("a readable entry").file_name().into_string().expect("a UTF-8 name");
        assert!(
            name.starts_with('.') || AGREED.contains(&name.as_str()) || MADE.contains(&name.as_str()),
            "{name} does not belong at the top level"
        );
    }
    for name in AGREED {
        assert!(root().join(name).exists(), "{name} is missing at the top level");
    }
}

#[test]
fn the_reader_of_imports_sees_every_form() {
    let text = "use crate::io::uring; // crate::not\nuse crate::{lane, session::srtp::{A, B}, base};\nlet x = crate::boot::y();\nuse mycrate::other;";
    let found: Vec<String> = imports(text).into_iter().collect();
    assert_eq!(found, ["base", "boot", "io", "lane", "session"]);
}
