//! Whom a publisher lets receive its tracks (`SubscriptionPermission`).

use std::collections::{BTreeSet, HashMap};

use livekit_protocol as proto;

/// Most people a publisher may name, and most tracks for each.
const LIST_MAX: usize = 1_024;
/// Longest identity or id kept, bytes.
const TEXT_BYTES_MAX: usize = 256;

/// The tracks that somebody may receive.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Tracks {
    All,
    Of(BTreeSet<String>),
}

/// Who may receive what of one publisher.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Allowed {
    /// `None` lets everybody receive everything; else who is named, by identity or participant id.
    named: Option<HashMap<String, Tracks>>,
}

impl Allowed {
    /// Reads what a publisher said. Entries beyond the bounds are left out, which allows less.
    #[must_use]
    pub fn read(message: proto::SubscriptionPermission) -> Self {
        if message.all_participants {
            return Self::default();
        }
        let mut named = HashMap::new();
        for permission in message.track_permissions.into_iter().take(LIST_MAX) {
            let who = [permission.participant_identity, permission.participant_sid];
            let Some(who) = who.into_iter().find(|w| !w.is_empty() && w.len() <= TEXT_BYTES_MAX) else {
                continue;
            };
            let tracks = if permission.all_tracks {
                Tracks::All
            } else {
                let short = permission.track_sids.into_iter().filter(|sid| sid.len() <= TEXT_BYTES_MAX);
                Tracks::Of(short.take(LIST_MAX).collect())
            };
            named.insert(who, tracks);
        }
        Self { named: Some(named) }
    }

    /// Whether this person, known by identity and participant id, may receive this track.
    #[must_use]
    pub fn lets(&self, identity: &str, participant: &str, track: &str) -> bool {
        let Some(named) = &self.named else { return true };
        [identity, participant].into_iter().filter_map(|who| named.get(who)).any(|tracks| match tracks {
            Tracks::All => true,
            Tracks::Of(sids) => sids.contains(track),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permission(identity: &str, sid: &str, tracks: &[&str]) -> proto::TrackPermission {
        proto::TrackPermission {
            participant_identity: identity.into(),
            participant_sid: sid.into(),
            all_tracks: tracks.is_empty(),
            track_sids: tracks.iter().map(|sid| (*sid).to_owned()).collect(),
        }
    }

    #[test]
    fn people_are_named_by_identity_or_id_and_tracks_one_by_one_or_all() {
        let allowed = Allowed::read(proto::SubscriptionPermission {
            all_participants: false,
            track_permissions: vec![
                permission("user_1", "", &[]),
                permission("", "PA_2", &["TR_a"]),
                permission("", "", &[]),
            ],
        });
        assert!(allowed.lets("user_1", "PA_1", "TR_a") && allowed.lets("user_1", "PA_1", "TR_b"));
        assert!(allowed.lets("user_2", "PA_2", "TR_a") && !allowed.lets("user_2", "PA_2", "TR_b"));
        assert!(!allowed.lets("user_3", "PA_3", "TR_a") && !allowed.lets("", "PA_3", "TR_a"));
        assert!(Allowed::default().lets("user_3", "PA_3", "TR_a"));
        let all = proto::SubscriptionPermission { all_participants: true, track_permissions: vec![] };
        assert_eq!(Allowed::read(all), Allowed::default());
    }

    #[test]
    fn lists_beyond_their_bounds_allow_less() {
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        let mut permissions: Vec<_> =
            (0..2 * LIST_MAX).map(|n| permission(&format!("user_{n}"), "", &[])).collect();
        permissions.insert(0, permission(&long, "", &[]));
        let allowed = Allowed::read(proto::SubscriptionPermission {
            all_participants: false,
            track_permissions: permissions,
        });
        assert!(allowed.lets("user_0", "", "TR_a"));
        assert!(!allowed.lets("user_2000", "", "TR_a") && !allowed.lets(&long, "", "TR_a"));
    }
}
