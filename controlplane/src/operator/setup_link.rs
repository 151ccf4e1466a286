//! `kaigid setup-link`: another link by which the first account is made, when the one printed at the start is lost or too old.

use super::{Request, ask};
use crate::app::{App, Failure};
use crate::config::Config;
use crate::service::ServiceError;

/// A new link of a running server; the one before no longer counts. Its token follows a `#`, which browsers send to nobody.
///
/// # Errors
/// `AlreadySetUp` once there is an admin.
pub fn new_link(app: &App) -> Result<String, ServiceError> {
    Ok(format!("{}/setup#{}", app.config.url(), app.service.new_setup_secret()?))
}

/// The same, from the server that runs on this data directory.
///
/// # Errors
/// `Refused` when none runs, or when it is set up already.
pub fn ask_for_link(config: &Config) -> Result<String, Failure> {
    let items = ask(&config.data, &Request::SetupLink)?.ok_or_else(|| {
        let data = config.data.display();
        Failure::Refused(format!("no server runs on {data}; start it first, it makes the link"))
    })?;
    items.into_iter().next().ok_or_else(|| Failure::Refused("the server gave no link".to_owned()))
}
