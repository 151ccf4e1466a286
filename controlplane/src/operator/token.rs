//! `kaigid token`: an access token for scripts, given out by whoever owns the data directory.

use std::time::Duration;

use super::{Request, ask};
use crate::app::{Failure, open_service, open_store, prepare_data};
use crate::config::Config;
use crate::service::ServiceError;

/// The token of `user`, from the running server or from the store.
///
/// # Errors
/// `Refused` when there is no such user; what opening the store says.
pub fn token(config: &Config, user: &str, ttl: Duration) -> Result<String, Failure> {
    let request = Request::Token { user: user.to_owned(), ttl_seconds: ttl.as_secs(), make: config.demo };
    if let Some(items) = ask(&config.data, &request)? {
        return items
            .into_iter()
            .next()
            .ok_or_else(|| Failure::Refused("the server gave no token".to_owned()));
    }
    prepare_data(&config.data)?;
    let service = open_service(config, &open_store(config)?)?;
    let runtime = super::backup::runtime()?;
    runtime
        .block_on(service.access_token(user, ttl, config.demo))
        .map_err(|error| Failure::Refused(refusal(user, &error)))
}

/// Why there is no token, with what to do.
pub(super) fn refusal(user: &str, error: &ServiceError) -> String {
    match error {
        ServiceError::NoSuchUser => {
            format!("there is no user {user:?}; demo mode makes users on the spot, and so does --demo here")
        }
        ServiceError::Invalid(fields) => {
            let faults: Vec<&str> = fields.iter().map(|field| field.detail.as_str()).collect();
            format!("the user name {}", faults.join(" and "))
        }
        other => other.to_string(),
    }
}
