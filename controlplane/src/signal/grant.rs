//! What one participant may do in a meeting, and the host's changes to it while it runs.

use livekit_protocol as proto;
use proto::ParticipantPermission;

use crate::service::May;

/// What a participant may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grant {
    /// Send sound and pictures.
    pub publish: bool,
    /// Receive sound and pictures.
    pub subscribe: bool,
    /// Send data.
    pub publish_data: bool,
    /// Change its own name, metadata and attributes.
    pub update_metadata: bool,
}

/// A change to a grant; what is left out stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GrantChange {
    /// See [`Grant::publish`].
    pub publish: Option<bool>,
    /// See [`Grant::subscribe`].
    pub subscribe: Option<bool>,
    /// See [`Grant::publish_data`].
    pub publish_data: Option<bool>,
    /// See [`Grant::update_metadata`].
    pub update_metadata: Option<bool>,
}

impl Grant {
    /// Everything.
    pub const ALL: Self = Self { publish: true, subscribe: true, publish_data: true, update_metadata: true };

    /// What a person may do at first.
    #[must_use]
    pub const fn of(may: May) -> Self {
        Self {
            publish: may.publish,
            subscribe: may.subscribe,
            publish_data: may.publish_data,
            update_metadata: may.update_metadata,
        }
    }

    /// The grant after a change.
    #[must_use]
    pub fn with(self, change: GrantChange) -> Self {
        Self {
            publish: change.publish.unwrap_or(self.publish),
            subscribe: change.subscribe.unwrap_or(self.subscribe),
            publish_data: change.publish_data.unwrap_or(self.publish_data),
            update_metadata: change.update_metadata.unwrap_or(self.update_metadata),
        }
    }

    /// One letter for each thing it allows; an entity tag without its quotes.
    #[must_use]
    pub fn tag(self) -> String {
        let letters = [
            (self.publish, 'p'),
            (self.subscribe, 's'),
            (self.publish_data, 'd'),
            (self.update_metadata, 'm'),
        ];
        letters.iter().map(|(may, letter)| if *may { *letter } else { '-' }).collect()
    }

    /// As the protocol tells it.
    #[must_use]
    pub fn permission(self) -> ParticipantPermission {
        ParticipantPermission {
            can_subscribe: self.subscribe,
            can_publish: self.publish,
            can_publish_data: self.publish_data,
            can_update_metadata: self.update_metadata,
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leaves_alone_what_it_does_not_name() {
        let silent = Grant::ALL.with(GrantChange { publish: Some(false), ..Default::default() });
        assert_eq!(silent, Grant { publish: false, ..Grant::ALL });
        assert_eq!(silent.with(GrantChange::default()), silent);
        let told = silent.permission();
        assert!(!told.can_publish && told.can_subscribe && told.can_publish_data && told.can_update_metadata);
    }
}
