//! Who is connected right now. Lives in memory: after a restart everybody reconnects and is counted again.

use std::collections::HashMap;

use dataplane::base::ids::MeetingId;

use crate::ids::UserId;

/// Connections per person per meeting: a person who reconnects has two for a moment.
#[derive(Default)]
pub struct Presence(HashMap<MeetingId, HashMap<UserId, u32>>);

impl Presence {
    /// Counts one more connection unless that makes one person more than `people_max`. Whether it was counted.
    #[must_use]
    pub fn enter(&mut self, meeting: MeetingId, user: UserId, people_max: usize) -> bool {
        let people = self.0.entry(meeting).or_default();
        if !people.contains_key(&user) && people.len() >= people_max {
            if people.is_empty() {
                self.0.remove(&meeting);
            }
            return false;
        }
        *people.entry(user).or_default() += 1;
        true
    }

    /// Counts one connection less; true if it was the person's last.
    pub fn leave(&mut self, meeting: MeetingId, user: UserId) -> bool {
        let Some(people) = self.0.get_mut(&meeting) else { return false };
        let Some(connections) = people.get_mut(&user) else { return false };
        *connections -= 1;
        if *connections > 0 {
            return false;
        }
        people.remove(&user);
        if people.is_empty() {
            self.0.remove(&meeting);
        }
        true
    }

    /// Whether the person is connected.
    #[must_use]
    pub fn contains(&self, meeting: MeetingId, user: UserId) -> bool {
        self.0.get(&meeting).is_some_and(|people| people.contains_key(&user))
    }

    /// Meetings the person is connected to.
    #[must_use]
    pub fn meetings_of(&self, user: UserId) -> Vec<MeetingId> {
        self.0.iter().filter(|(_, people)| people.contains_key(&user)).map(|(meeting, _)| *meeting).collect()
    }

    /// People connected to a meeting.
    #[must_use]
    pub fn people(&self, meeting: MeetingId) -> usize {
        self.0.get(&meeting).map_or(0, HashMap::len)
    }

    /// Meetings with somebody in them, and people in all of them.
    #[must_use]
    pub fn totals(&self) -> (usize, usize) {
        (self.0.len(), self.0.values().map(HashMap::len).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: MeetingId = MeetingId(1);

    #[test]
    fn a_person_who_reconnects_is_one_person_until_the_last_connection_ends() {
        let mut presence = Presence::default();
        assert!(presence.enter(ROOM, UserId(1), 2));
        assert!(presence.enter(ROOM, UserId(1), 2));
        assert_eq!(presence.totals(), (1, 1));
        assert!(!presence.leave(ROOM, UserId(1)));
        assert!(presence.contains(ROOM, UserId(1)));
        assert!(presence.leave(ROOM, UserId(1)));
        assert!(!presence.leave(ROOM, UserId(1)));
        assert_eq!(presence.totals(), (0, 0));
    }

    #[test]
    fn a_full_meeting_takes_nobody_new_but_lets_its_people_reconnect() {
        let mut presence = Presence::default();
        assert!(presence.enter(ROOM, UserId(1), 1));
        assert!(!presence.enter(ROOM, UserId(2), 1));
        assert!(presence.enter(ROOM, UserId(1), 1));
        assert!(!presence.enter(MeetingId(2), UserId(2), 0));
        assert_eq!(presence.totals(), (1, 1));
    }
}
