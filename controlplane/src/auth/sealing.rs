//! How the secrets of this module's files are sealed. Whoever has the keys for that gives them; this module only says when.

use zeroize::Zeroizing;

/// Seals the secrets of files, each under its name.
pub trait Sealing: Send + Sync {
    /// The secret as its file holds it; `None` when the system gives no randomness.
    fn seal(&self, name: &str, clear: &[u8]) -> Option<Vec<u8>>;

    /// The secret of a file; `None` for what was sealed under other keys, for another name, or was changed.
    fn open(&self, name: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>>;
}

/// Marks instead of sealing, for tests of what is around it.
#[cfg(test)]
pub(super) struct Marking(pub(super) u8);

#[cfg(test)]
impl Sealing for Marking {
    fn seal(&self, name: &str, clear: &[u8]) -> Option<Vec<u8>> {
        Some([&[2, self.0], name.as_bytes(), clear].concat())
    }

    fn open(&self, name: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let rest = sealed.strip_prefix(&[2, self.0])?.strip_prefix(name.as_bytes())?;
        Some(Zeroizing::new(rest.to_vec()))
    }
}
