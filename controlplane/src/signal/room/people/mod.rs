//! Who is there: coming, going and coming back over a socket (`coming`) or over HTTP (`sessions`), and what each may do
//! (`permissions`); what a server of the host's does to them (`administration`).
//!
//! Imports of the rooms point one way: `people` and `tracks` from `streams`; `streams` and `channels` from none.

pub mod administration;
mod coming;
mod permissions;
pub mod sessions;
