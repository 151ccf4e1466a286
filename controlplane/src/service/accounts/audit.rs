//! The audit log: every privileged act, written in one step with the act itself and never changed after.

use super::Visitor;
use super::tables::{self, Action, AuditEntry, Outcome};
use super::throttle::Guess;
use crate::ids::{self, UserId};
use crate::service::meetings::Page;
use crate::service::records::{RECORD_VERSION, Record, User};
use crate::service::timestamp::Timestamp;
use crate::service::{Caller, Service, ServiceError};
use crate::store::Batch;

/// Who does something and from where.
#[derive(Clone, Copy)]
pub(in crate::service) struct Actor<'a> {
    pub(in crate::service) user: UserId,
    pub(in crate::service) visitor: &'a Visitor,
}

impl Actor<'_> {
    /// The act's line in the log, added to the write that is the act.
    pub(in crate::service) fn note(self, batch: Batch, action: Action, target: UserId) -> Batch {
        self.line(batch, action, target, Outcome::Done)
    }

    fn line(self, batch: Batch, action: Action, target: UserId, outcome: Outcome) -> Batch {
        let (actor, ip) = (Some(self.user), Some(self.visitor.ip.to_string()));
        put(batch, AuditEntry { actor, ip, outcome, ..entry(action, Some(target)) })
    }
}

/// What the operator did on the machine itself, added to the write that is the act.
pub(in crate::service) fn operators(batch: Batch, action: Action, target: Option<UserId>) -> Batch {
    put(batch, entry(action, target))
}

impl Service {
    /// Writes down, now and then, that somebody failed to sign in: to this account, or to none that there is. Behind the caller's back,
    /// who learns nothing from how long it takes.
    pub(super) fn note_failure(&self, visitor: &Visitor, account: Option<UserId>) {
        let failures = &self.0.accounts.failures;
        let due = failures
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .count((account, visitor.ip.into()), std::time::Instant::now());
        let Some(count) = due else { return };
        let ip = Some(visitor.ip.to_string());
        let failed = AuditEntry {
            ip,
            outcome: Outcome::Refused,
            count: Some(count),
            ..entry(Action::FailSignIn, account)
        };
        let service = self.clone();
        tokio::spawn(async move {
            // Nobody is let in or kept out because of it.
            if let Err(error) = service.commit(put(Batch::new(), failed)).await {
                tracing::warn!(%error, "a failed sign-in is not in the audit log");
            }
        });
    }
}

fn entry(action: Action, target: Option<UserId>) -> AuditEntry {
    AuditEntry {
        v: RECORD_VERSION,
        at: Timestamp::now(),
        actor: None,
        action,
        target,
        ip: None,
        outcome: Outcome::Done,
        number: ids::random_u64(),
        count: None,
    }
}

fn put(batch: Batch, entry: AuditEntry) -> Batch {
    batch.put(tables::audit_key(&entry), entry.encode())
}

impl Service {
    /// The audit log, newest first. For admins.
    ///
    /// # Errors
    /// `NoToken`, `OutOfScope`, `NotAdmin`, `Invalid` for a cursor that is not ours.
    pub async fn audit_log(
        &self,
        caller: Caller,
        visitor: &Visitor,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<AuditEntry>, ServiceError> {
        let asks = caller.account()?;
        self.admin(caller, visitor, Action::ReadAudit, asks).await?;
        let page = self.page(&tables::audit_prefix(), cursor, limit, |bytes| bytes == 16)?;
        let items: Result<_, _> = page.items.iter().map(|(_, bytes)| AuditEntry::decode(bytes)).collect();
        Ok(Page { items: items?, next_cursor: page.next_cursor })
    }

    /// Whether the caller may do what admins do, asked before it is done or answered again. Somebody who may not is refused, and the
    /// attempt written down.
    ///
    /// # Errors
    /// `NoToken`, `OutOfScope`, `NotAdmin`.
    pub async fn may_administer(
        &self,
        caller: Caller,
        visitor: &Visitor,
        action: Action,
        target: UserId,
    ) -> Result<(), ServiceError> {
        self.admin(caller, visitor, action, target).await.map(|_| ())
    }

    /// The caller as an admin. Somebody who is none is refused, and the attempt written down.
    pub(in crate::service) async fn admin(
        &self,
        caller: Caller,
        visitor: &Visitor,
        action: Action,
        target: UserId,
    ) -> Result<User, ServiceError> {
        let user = self.own_account(caller)?;
        if user.is_admin() {
            return Ok(user);
        }
        // Not without limit: a loop of refusals must not fill the disk.
        if self.attempt(&Guess::Refused(user.user_id)).is_ok() {
            let actor = Actor { user: user.user_id, visitor };
            self.commit(actor.line(Batch::new(), action, target, Outcome::Refused)).await?;
        }
        Err(ServiceError::NotAdmin)
    }
}
