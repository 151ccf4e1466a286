//! ICE-lite of one peer (RFC 8445): answers connectivity checks, learns paths from them, sends none.
//!
//! Path: each authenticated check gives one answer and maybe a path; media only ever uses paths learned here.
//! Promises: nothing changes before USERNAME, MESSAGE-INTEGRITY and FINGERPRINT are right; remote candidates are
//! peer-reflexive only, so no name is resolved and nobody is contacted who did not ask.
//! Choice of path: the first authenticated check gives a usable path; USE-CANDIDATE nominates. A nominated check from another
//! address switches when its PRIORITY is not lower, or when the selected path was not nominated again for 500 ms (a client
//! that nominates aggressively repeats USE-CANDIDATE on several pairs, and the highest priority wins: RFC 8445 section 8.1.1).
//! An authenticated media packet from another address moves it provisionally: from one that nobody proved ([`Ice::follow`]), or back
//! to one of the peer's own ([`Ice::come_back`]).

use kernels::{HmacSha1, Suite};

use crate::base::drops::DropReason;
use crate::base::limits::{CONSENT_US, PATHS_PER_PEER, STUN_CHECKS_PER_SECOND};
use crate::base::net::Path;
use crate::base::rate::RateLimit;
use crate::base::time::Micros;
use crate::wire::stun::write::ErrorCode;
use crate::wire::stun::{Role, StunMessage, write_error, write_success};

/// Longest answer: an error that lists four unknown attributes, or a success with an IPv6 address.
pub const ANSWER_BYTES_MAX: usize = 128;

/// A nomination on the selected path holds off one of lower priority for this long.
const NOMINATION_HOLD_US: u64 = 500_000;
/// A path that was selected, or nominated again, within this time is not left for what comes over another of the peer's paths: it may have
/// been on its way since before, and two paths that are both alive share a peer no more often than this.
const RETURN_HOLD_US: u64 = 500_000;

/// ICE state of one peer.
#[derive(Debug)]
pub struct Ice {
    suite: Suite,
    current: Local,
    /// Credentials before the last restart: their path stays usable until the new ones nominate.
    previous: Option<Local>,
    /// Remote ufrags, newest first; a check before the first is known is judged by the password alone.
    remote: [Option<Box<[u8]>>; 2],
    paths: [Option<KnownPath>; PATHS_PER_PEER],
    selected: Option<Selected>,
    /// When its last check, or other authenticated packet on the selected path, came; `None` before the first check.
    last_heard: Option<Micros>,
    checks: RateLimit,
}

#[derive(Debug)]
struct Local {
    ufrag: Box<[u8]>,
    hmac: HmacSha1,
}

#[derive(Clone, Copy, Debug)]
struct KnownPath {
    path: Path,
    seen: Micros,
}

#[derive(Clone, Copy, Debug)]
struct Selected {
    path: Path,
    priority: u32,
    nominated: Option<Micros>,
    /// When a check or a packet last said that this is the path.
    confirmed: Micros,
}

/// What an authenticated check brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checked {
    /// Bytes of the answer.
    pub answer_bytes: usize,
    /// It was a good check: the path is this peer's.
    pub accepted: bool,
    /// The path is new to this peer.
    pub learned: bool,
    /// This path had to give way to the new one.
    pub forgotten: Option<Path>,
    /// The selected path is another than before (or the first).
    pub switched: bool,
}

impl Ice {
    /// State for our credentials.
    #[must_use]
    pub fn new(suite: Suite, ufrag: &str, pwd: &str) -> Self {
        Self {
            suite,
            current: Local::new(suite, ufrag, pwd),
            previous: None,
            remote: [None, None],
            paths: [None; PATHS_PER_PEER],
            selected: None,
            last_heard: None,
            checks: RateLimit::new(STUN_CHECKS_PER_SECOND, 2 * STUN_CHECKS_PER_SECOND),
        }
    }

    /// New credentials of ours; the old ones stay good until the new ones nominate.
    pub fn restart(&mut self, ufrag: &str, pwd: &str) {
        let fresh = Local::new(self.suite, ufrag, pwd);
        self.previous = Some(std::mem::replace(&mut self.current, fresh));
    }

    /// The peer's ufrag, from signalling.
    pub fn set_remote(&mut self, ufrag: &str) {
        let fresh = Some(Box::from(ufrag.as_bytes()));
        if self.remote[0] != fresh {
            self.remote[1] = self.remote[0].take();
            self.remote[0] = fresh;
        }
    }

    /// Takes a binding request and writes the answer.
    ///
    /// # Errors
    /// `StunUnknownUser`, `StunBadIntegrity` or `RateLimited`, all without any effect on the state of ICE.
    pub fn check(
        &mut self,
        now: Micros,
        path: Path,
        request: StunMessage<'_>,
        answer: &mut [u8; ANSWER_BYTES_MAX],
    ) -> Result<Checked, DropReason> {
        let (ours, theirs) = request.ufrags().ok_or(DropReason::StunUnknownUser)?;
        let is_current = *self.current.ufrag == *ours;
        let local = if is_current {
            &self.current
        } else {
            self.previous.as_ref().filter(|local| *local.ufrag == *ours).ok_or(DropReason::StunUnknownUser)?
        };
        if self.remote[0].is_some() && !self.remote.iter().flatten().any(|known| **known == *theirs) {
            return Err(DropReason::StunUnknownUser);
        }
        let hmac = |parts: &[&[u8]]| local.hmac.mac(parts);
        let request = request.authenticate(hmac)?;
        if !self.checks.take(now) {
            return Err(DropReason::RateLimited);
        }
        let message = request.message();
        let error = if !message.unknown_attributes().is_empty() {
            Some(ErrorCode::UnknownAttribute)
        } else if matches!(message.role, Some(Role::Controlled(_))) {
            // We are lite and so always controlled (RFC 8445 section 7.3.1.1).
            Some(ErrorCode::RoleConflict)
        } else {
            None
        };
        if let Some(code) = error {
            let answer_bytes =
                write_error(&request, code, &hmac, answer).map_err(|_| DropReason::Malformed)?;
            return Ok(Checked {
                answer_bytes,
                accepted: false,
                learned: false,
                forgotten: None,
                switched: false,
            });
        }
        let answer_bytes =
            write_success(&request, path.remote, &hmac, answer).map_err(|_| DropReason::Malformed)?;
        let (priority, nominates) = (message.priority.unwrap_or(0), message.use_candidate);
        self.last_heard = Some(now);
        let switched = self.select(now, path, priority, nominates);
        if is_current && nominates {
            self.previous = None;
        }
        let (learned, forgotten) = self.remember(now, path);
        Ok(Checked { answer_bytes, accepted: true, learned, forgotten, switched })
    }

    /// An authenticated packet came by a path that no check has proved: media goes there until the next nominated check decides. Consent
    /// is not renewed. Answers a path that had to give way.
    pub fn follow(&mut self, now: Micros, path: Path) -> Option<Path> {
        let priority = self.selected.map_or(0, |selected| selected.priority);
        self.selected = Some(Selected { path, priority, nominated: None, confirmed: now });
        self.remember(now, path).1
    }

    /// An authenticated packet newer than all before it came by one of the peer's paths: if that is not the selected one, media goes
    /// there from now on, as in [`Self::follow`]. What is older than something seen, and was overtaken, moves nobody.
    /// Cost, when it is the selected one: a comparison.
    pub fn come_back(&mut self, now: Micros, path: &Path) {
        let Some(selected) = &mut self.selected else { return };
        if selected.path == *path || now.since_us(selected.confirmed) < RETURN_HOLD_US {
            return;
        }
        *selected = Selected { path: *path, nominated: None, confirmed: now, ..*selected };
        if let Some(known) = self.paths.iter_mut().flatten().find(|known| known.path == *path) {
            known.seen = now;
        }
    }

    /// Another peer proved that it has this path now.
    pub fn forget(&mut self, path: Path) {
        for slot in &mut self.paths {
            if slot.is_some_and(|known| known.path == path) {
                *slot = None;
            }
        }
        if self.path() == Some(path) {
            self.selected = None;
        }
    }

    /// Where to send.
    #[must_use]
    pub fn path(&self) -> Option<Path> {
        self.selected.map(|selected| selected.path)
    }

    /// All authenticated paths.
    pub fn paths(&self) -> impl Iterator<Item = Path> + '_ {
        self.paths.iter().flatten().map(|known| known.path)
    }

    /// An authenticated packet came that was no check: who still talks on the selected path still wants to be there. Some clients
    /// (libnice) send no checks once they are connected to an agent that is lite, only unauthenticated indications.
    pub fn handle_authentic(&mut self, now: Micros, path: &Path) {
        if self.selected.as_ref().is_some_and(|selected| selected.path == *path) {
            self.last_heard = Some(now);
        }
    }

    /// When consent ends unless another check or authenticated packet comes (RFC 7675 section 5.1); `None` before the first check.
    #[must_use]
    pub fn consent_ends(&self) -> Option<Micros> {
        self.last_heard.map(|at| at.after_us(CONSENT_US))
    }

    fn select(&mut self, now: Micros, path: Path, priority: u32, nominates: bool) -> bool {
        let nominated = nominates.then_some(now);
        let Some(selected) = &mut self.selected else {
            self.selected = Some(Selected { path, priority, nominated, confirmed: now });
            return true;
        };
        if selected.path == path {
            if nominates {
                *selected = Selected { path, priority, nominated, confirmed: now };
            }
            return false;
        }
        let held = selected
            .nominated
            .is_some_and(|at| priority < selected.priority && now.since_us(at) < NOMINATION_HOLD_US);
        if !nominates || held {
            return false;
        }
        *selected = Selected { path, priority, nominated, confirmed: now };
        true
    }

    /// Puts the path into the list; the longest silent one that is not selected gives way, one over UDP first: the next check brings it
    /// back, while a connection has to be made anew.
    fn remember(&mut self, now: Micros, path: Path) -> (bool, Option<Path>) {
        if let Some(known) = self.paths.iter_mut().flatten().find(|known| known.path == path) {
            known.seen = now;
            return (false, None);
        }
        let fresh = Some(KnownPath { path, seen: now });
        if let Some(slot) = self.paths.iter_mut().find(|slot| slot.is_none()) {
            *slot = fresh;
            return (true, None);
        }
        let selected = self.path();
        let oldest = self
            .paths
            .iter_mut()
            .filter(|slot| slot.map(|known| known.path) != selected)
            .min_by_key(|slot| slot.map(|known| (known.path.is_tcp(), known.seen)));
        let forgotten = oldest.and_then(|slot| std::mem::replace(slot, fresh)).map(|known| known.path);
        (true, forgotten)
    }
}

impl Local {
    fn new(suite: Suite, ufrag: &str, pwd: &str) -> Self {
        Self { ufrag: Box::from(ufrag.as_bytes()), hmac: HmacSha1::new(suite, pwd.as_bytes()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::stun::{BindingRequest, Class, TransactionId, write_request};

    const PWD: &str = "0123456789012345678901";

    fn ice() -> Ice {
        let mut ice = Ice::new(Suite::scalar(), "ours", PWD);
        ice.set_remote("theirs");
        ice
    }

    fn path(port: u16) -> Path {
        Path { local: ([10, 0, 0, 1], 7882).into(), remote: ([192, 0, 2, 7], port).into() }
    }

    struct Check<'a> {
        ours: &'a str,
        theirs: &'a str,
        pwd: &'a str,
        priority: u32,
        nominates: bool,
        role: Role,
    }

    const CHECK: Check<'static> = Check {
        ours: "ours",
        theirs: "theirs",
        pwd: PWD,
        priority: 100,
        nominates: true,
        role: Role::Controlling(1),
    };

    fn send(
        ice: &mut Ice,
        now: Micros,
        port: u16,
        check: &Check<'_>,
    ) -> Result<(Checked, Class), DropReason> {
        let request = BindingRequest {
            transaction: TransactionId([7; 12]),
            remote_ufrag: check.ours.as_bytes(),
            local_ufrag: check.theirs.as_bytes(),
            priority: check.priority,
            role: check.role,
            use_candidate: check.nominates,
        };
        let hmac = HmacSha1::new(Suite::scalar(), check.pwd.as_bytes());
        let mut bytes = [0; 256];
        let length = write_request(&request, &|parts| hmac.mac(parts), &mut bytes).expect("fits");
        let message = StunMessage::parse(&bytes[..length]).expect("we wrote it");
        let mut answer = [0; ANSWER_BYTES_MAX];
        let checked = ice.check(now, path(port), message, &mut answer)?;
        let class = StunMessage::parse(&answer[..checked.answer_bytes]).expect("we wrote it").class;
        assert!(checked.answer_bytes <= length, "an answer never amplifies");
        Ok((checked, class))
    }

    #[test]
    fn the_first_authenticated_check_gives_a_path_and_nomination_moves_it() {
        let mut ice = ice();
        let unnominated = Check { nominates: false, ..CHECK };
        let (checked, class) = send(&mut ice, Micros(1), 1, &unnominated).expect("authentic");
        assert!(checked.switched && checked.learned && class == Class::Success);
        assert_eq!(ice.path(), Some(path(1)));
        let (checked, _) = send(&mut ice, Micros(2), 2, &unnominated).expect("authentic");
        assert!(!checked.switched && checked.learned);
        let (checked, _) = send(&mut ice, Micros(3), 2, &CHECK).expect("authentic");
        assert!(checked.switched && !checked.learned);
        assert_eq!(ice.path(), Some(path(2)));
    }

    #[test]
    fn of_two_nominated_paths_the_higher_priority_holds_until_it_falls_silent() {
        let mut ice = ice();
        send(&mut ice, Micros(0), 1, &CHECK).expect("authentic");
        let lower = Check { priority: 50, ..CHECK };
        assert!(!send(&mut ice, Micros(1000), 2, &lower).expect("authentic").0.switched);
        assert!(
            send(&mut ice, Micros(1000), 3, &CHECK).expect("authentic").0.switched,
            "equal priority moves"
        );
        assert!(
            send(&mut ice, Micros(600_000), 2, &lower).expect("authentic").0.switched,
            "the other is silent"
        );
    }

    #[test]
    fn wrong_names_and_passwords_change_nothing() {
        let mut ice = ice();
        for (check, reason) in [
            (Check { ours: "other", ..CHECK }, DropReason::StunUnknownUser),
            (Check { theirs: "other", ..CHECK }, DropReason::StunUnknownUser),
            (Check { pwd: "wrong password of 22 b", ..CHECK }, DropReason::StunBadIntegrity),
        ] {
            assert_eq!(send(&mut ice, Micros(1), 1, &check), Err(reason));
        }
        assert_eq!((ice.path(), ice.paths().count(), ice.consent_ends()), (None, 0, None));
    }

    #[test]
    fn a_peer_that_claims_to_be_controlled_is_told_of_the_conflict_and_gets_no_path() {
        let mut ice = ice();
        let (checked, class) =
            send(&mut ice, Micros(1), 1, &Check { role: Role::Controlled(1), ..CHECK }).expect("authentic");
        assert_eq!((class, checked.switched, checked.learned), (Class::Error, false, false));
        assert_eq!(ice.path(), None);
    }

    #[test]
    fn after_a_restart_the_old_credentials_work_until_the_new_ones_nominate() {
        let mut ice = ice();
        send(&mut ice, Micros(1), 1, &CHECK).expect("authentic");
        ice.restart("new", PWD);
        send(&mut ice, Micros(2), 1, &CHECK).expect("the old path is still checked");
        let fresh = Check { ours: "new", ..CHECK };
        assert!(send(&mut ice, Micros(3), 2, &fresh).expect("authentic").0.switched);
        assert_eq!(send(&mut ice, Micros(4), 1, &CHECK), Err(DropReason::StunUnknownUser));
    }

    #[test]
    fn paths_are_bounded_and_the_selected_one_stays() {
        let mut ice = ice();
        send(&mut ice, Micros(0), 1, &CHECK).expect("authentic");
        let roaming = Check { nominates: false, ..CHECK };
        let mut forgotten = 0;
        for port in 2..20 {
            let (checked, _) = send(&mut ice, Micros(u64::from(port)), port, &roaming).expect("authentic");
            assert!(checked.learned);
            forgotten += usize::from(checked.forgotten.is_some());
        }
        assert_eq!((ice.paths().count(), forgotten), (PATHS_PER_PEER, 19 - PATHS_PER_PEER));
        assert!(ice.paths().any(|known| known == path(1)));
        assert_eq!(ice.consent_ends(), Some(Micros(19).after_us(CONSENT_US)));
    }

    #[test]
    fn a_path_over_udp_gives_way_before_a_connection() {
        let mut ice = ice();
        send(&mut ice, Micros(0), 1, &CHECK).expect("authentic");
        let connection = |port: u16| Path::tcp([10, 0, 0, 1].into(), ([192, 0, 2, 7], port).into());
        assert_eq!(ice.remember(Micros(1), connection(2)), (true, None));
        for port in [3, 4] {
            assert_eq!(ice.remember(Micros(2), path(port)), (true, None));
        }
        assert_eq!(ice.remember(Micros(3), connection(5)), (true, Some(path(3))));
        assert_eq!(ice.remember(Micros(4), connection(6)), (true, Some(path(4))));
        assert_eq!(ice.remember(Micros(5), connection(7)), (true, Some(connection(2))), "the longest silent");
    }

    #[test]
    fn a_flood_of_authentic_checks_is_bounded() {
        let mut ice = ice();
        let answered = (0..1_000).filter(|_| send(&mut ice, Micros(1), 1, &CHECK).is_ok()).count();
        assert_eq!(answered, 2 * STUN_CHECKS_PER_SECOND as usize);
    }
}
