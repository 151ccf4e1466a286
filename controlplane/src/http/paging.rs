//! The query of lists: where the page begins and how long it is.

use axum::extract::Query;
use utoipa::IntoParams;

use super::problem::Problem;
use crate::service::FieldError;
use crate::service::meetings::{PAGE_DEFAULT, PAGE_MAX};

/// The query of a list, key by key.
pub type PageQuery = Query<Vec<(String, String)>>;

/// Which page.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query to OpenAPI; it is read key by key for exact errors")]
pub struct PageParams {
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Items on the page, 1 to 100.
    #[param(default = 20, minimum = 1, maximum = 100)]
    limit: Option<u32>,
}

/// Cursor and length of the page that is asked for.
///
/// # Errors
/// Every parameter that cannot be taken.
pub fn page(Query(query): PageQuery) -> Result<(Option<String>, usize), Problem> {
    let (mut cursor, mut limit, mut errors) = (None, PAGE_DEFAULT, Vec::new());
    for (key, value) in query {
        match (key.as_str(), value.parse::<usize>()) {
            ("cursor", _) => cursor = Some(value),
            ("limit", Ok(number)) if (1..=PAGE_MAX).contains(&number) => limit = number,
            ("limit", _) => errors.push(FieldError::new("/limit", format!("must be 1 to {PAGE_MAX}"))),
            _ => errors.push(FieldError::new(format!("/{key}"), "is not a parameter this call knows")),
        }
    }
    if errors.is_empty() { Ok((cursor, limit)) } else { Err(Problem::fields(errors)) }
}
