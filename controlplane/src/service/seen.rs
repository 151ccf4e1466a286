//! What a caller says it has seen of a thing before it changes it, so that of two who change it the second does not undo the first.

use super::ServiceError;

/// The states in which a change counts; any, unless the caller says so.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Seen(Option<Vec<String>>);

impl Seen {
    /// One of these entity tags, without their quotes.
    #[must_use]
    pub const fn one_of(tags: Vec<String>) -> Self {
        Self(Some(tags))
    }

    /// Whether the thing is as the caller saw it. A thing without a tag is what nobody has seen a state of.
    ///
    /// # Errors
    /// `ChangedMeanwhile`.
    pub fn holds(&self, tag: Option<&str>) -> Result<(), ServiceError> {
        let seen = |tags: &Vec<String>| tag.is_some_and(|tag| tags.iter().any(|seen| seen == tag));
        if self.0.as_ref().is_none_or(seen) { Ok(()) } else { Err(ServiceError::ChangedMeanwhile) }
    }
}
