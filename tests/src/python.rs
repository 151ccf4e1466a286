//! The Python in which the clients under `tests/clients` run.

use std::path::{Path, PathBuf};

/// Its interpreter, with the packages of `tests/clients/requirements.txt`.
///
/// # Panics
/// When `tools/setup.sh test` has not made it.
#[must_use]
pub fn interpreter() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository");
    let python = root.join("target/clients-venv/bin/python");
    assert!(python.exists(), "{} is missing: run tools/setup.sh test", python.display());
    python
}
