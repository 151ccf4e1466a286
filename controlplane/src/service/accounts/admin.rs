//! What admins do: list accounts, make and change them, invite.

use std::time::Duration;

use super::audit::Actor;
use super::input::{AccountChange, NewAccount, check_password};
use super::signin::SignedIn;
use super::tables::{self, Action};
use super::{Caller, Visitor};
use crate::auth::secret;
use crate::ids::UserId;
use crate::service::meetings::Page;
use crate::service::once::Keep;
use crate::service::records::{self, Invitation, Role, User, UserKind};
use crate::service::timestamp::Timestamp;
use crate::service::{CAS_ATTEMPTS, MeetingEvent, Seen, Service, ServiceError, new_user};
use crate::store::{Batch, StoreError};

/// How long an invitation counts.
pub const INVITATION_TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// An account that was made or invited anew.
pub struct Invited {
    /// The account.
    pub user: User,
    /// What the link carries, if the account is to set its own password.
    pub link: Option<String>,
}

impl User {
    /// Whether this account may manage accounts.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin && !self.disabled
    }
}

impl Service {
    /// All accounts, in no order that means anything.
    ///
    /// # Errors
    /// `NoToken`, `OutOfScope`, `NotAdmin`, `Invalid` for a cursor that is not ours.
    pub async fn accounts(
        &self,
        caller: Caller,
        visitor: &Visitor,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<User>, ServiceError> {
        let asks = caller.account()?;
        self.admin(caller, visitor, Action::ListUsers, asks).await?;
        let page = self.page(&records::user_names_prefix(), cursor, limit, |bytes| bytes > 0)?;
        let mut items = Vec::with_capacity(page.items.len());
        for (_, number) in page.items {
            items.push(self.user(records::user_of_entry(number)?)?);
        }
        Ok(Page { items, next_cursor: page.next_cursor })
    }

    /// An account by its number.
    ///
    /// # Errors
    /// `NoToken`, `OutOfScope`, `NotAdmin`, `NoSuchUser` also for guests.
    pub async fn account(
        &self,
        caller: Caller,
        visitor: &Visitor,
        user: UserId,
    ) -> Result<User, ServiceError> {
        self.admin(caller, visitor, Action::ListUsers, user).await?;
        let user = self.user(user).map_err(|error| match error {
            ServiceError::UnknownUser => ServiceError::NoSuchUser,
            other => other,
        })?;
        account_only(&user).map(|()| user)
    }

    /// Makes an account. Without a password it comes with a link to set one.
    ///
    /// # Errors
    /// `NoToken`, `OutOfScope`, `NotAdmin`, `Invalid`, `NameTaken`, `EmailTaken`, `Busy`.
    pub async fn create_account(
        &self,
        caller: Caller,
        visitor: &Visitor,
        mut new: NewAccount,
        keep: &Keep<'_, Invited>,
    ) -> Result<Invited, ServiceError> {
        let mut user = new_user(UserKind::User, &new.name);
        let admin = self.admin(caller, visitor, Action::CreateUser, user.user_id).await?;
        new.check()?;
        user.name = new.name;
        user.email = Some(new.email);
        user.role = new.role;
        let mut link = None;
        match new.password {
            Some(clear) => user.password = Some(self.hash_password(clear).await?),
            None => link = Some(invite(&mut user)?),
        }
        let actor = Actor { user: admin.user_id, visitor };
        let invited = Invited { user, link };
        let user = &invited.user;
        for _ in 0..CAS_ATTEMPTS {
            let mut batch = keep.with(self.making(user)?, &invited)?;
            if user.is_acting_admin() {
                batch = self.with_admins(batch, user.user_id, true)?;
            }
            match self.commit(actor.note(batch, Action::CreateUser, user.user_id)).await {
                Ok(()) => return Ok(invited),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ServiceError::Busy)
    }

    /// Changes what an account may do. Disabling ends its sessions and takes it out of the meetings it is in.
    ///
    /// # Errors
    /// `NoToken`, `OutOfScope`, `NotAdmin`, `NoSuchUser` also for guests, `ChangedMeanwhile`, `LastAdmin`, `Busy`.
    pub async fn change_account(
        &self,
        caller: Caller,
        visitor: &Visitor,
        user: UserId,
        change: AccountChange,
        seen: &Seen,
    ) -> Result<User, ServiceError> {
        let admin = self.admin(caller, visitor, Action::ChangeUser, user).await?;
        let actor = Actor { user: admin.user_id, visitor };
        let changed = self
            .change_user(user, |user| {
                account_only(user)?;
                seen.holds(Some(&user.tag()))?;
                user.role = change.role.unwrap_or(user.role);
                if let Some(disabled) = change.disabled {
                    if disabled && !user.disabled {
                        user.generation = user.generation.wrapping_add(1);
                        user.invitation = None;
                    }
                    user.disabled = disabled;
                }
                Ok(actor.note(Batch::new(), Action::ChangeUser, user.user_id))
            })
            .await?;
        if changed.disabled {
            let meetings = self.presence().meetings_of(user);
            for meeting in meetings {
                let _ = self.0.events.send(MeetingEvent::Removed(meeting, user));
            }
        }
        Ok(changed)
    }

    /// Takes the codes off somebody's account, whose telephone and recovery codes are gone. The sessions it has go on; for the own
    /// account a code is asked.
    ///
    /// # Errors
    /// `NoToken`, `OutOfScope`, `NotAdmin`, `NoSuchUser`, `NoSecondFactor`, `OwnCodes`, `ChangedMeanwhile`, `Busy`.
    pub async fn reset_totp(
        &self,
        caller: Caller,
        visitor: &Visitor,
        user: UserId,
        seen: &Seen,
    ) -> Result<User, ServiceError> {
        let admin = self.admin(caller, visitor, Action::ResetTotp, user).await?;
        if admin.user_id == user {
            return Err(ServiceError::OwnCodes);
        }
        let actor = Actor { user: admin.user_id, visitor };
        self.change_user(user, |user| {
            account_only(user)?;
            seen.holds(Some(&user.tag()))?;
            user.totp.take().filter(|factor| factor.enabled).ok_or(ServiceError::NoSecondFactor)?;
            Ok(actor.note(Batch::new(), Action::ResetTotp, user.user_id))
        })
        .await
    }

    /// A new link to set an account's password; the one before no longer counts, the present password does until then. Who the
    /// account is at a provider is open again: it may go to somebody else.
    ///
    /// # Errors
    /// `NoToken`, `OutOfScope`, `NotAdmin`, `NoSuchUser`, `AccountDisabled`, `Busy`.
    pub async fn invite_again(
        &self,
        caller: Caller,
        visitor: &Visitor,
        user: UserId,
        keep: &Keep<'_, Invited>,
    ) -> Result<Invited, ServiceError> {
        let admin = self.admin(caller, visitor, Action::Invite, user).await?;
        let actor = Actor { user: admin.user_id, visitor };
        let mut link = None;
        let user = self
            .change_user(user, |user| {
                account_only(user)?;
                if user.disabled {
                    return Err(ServiceError::AccountDisabled);
                }
                // Without an address nobody can sign in, whatever the password.
                if user.email.is_none() {
                    return Err(ServiceError::NoSuchUser);
                }
                let given = Some(invite(user)?);
                let invited = Invited { user: user.clone(), link: given };
                let mut batch = keep.with(Batch::new(), &invited)?;
                if let Some(person) = user.external.take() {
                    batch = batch.delete(tables::external_key(&person));
                }
                link = invited.link;
                Ok(actor.note(batch, Action::Invite, user.user_id))
            })
            .await?;
        Ok(Invited { user, link })
    }

    /// Sets a password by an invitation, once, ends every session, and signs in. An account with a second factor signs in
    /// by itself: the link replaces the password alone.
    ///
    /// # Errors
    /// `DeadLink`, `Invalid`, `CodeRequired` once the password is set, `Busy`.
    pub async fn accept_invitation(
        &self,
        visitor: &Visitor,
        link: &str,
        clear: String,
    ) -> Result<SignedIn, ServiceError> {
        let (user, given) = link.split_once('.').ok_or(ServiceError::DeadLink)?;
        let user = UserId(user.parse().map_err(|_| ServiceError::DeadLink)?);
        let known = self.user(user).map_err(|error| match error {
            ServiceError::UnknownUser => ServiceError::DeadLink,
            other => other,
        })?;
        counts(&known, given)?;
        check_password(&clear)?;
        let hashed = self.hash_password(clear).await?;
        let (session, cookie) = self.new_session(&known, visitor)?;
        let id = session.session_id;
        let actor = Actor { user, visitor };
        let user = self
            .change_user(user, |user| {
                counts(user, given)?;
                user.invitation = None;
                user.password = Some(hashed.clone());
                user.generation = user.generation.wrapping_add(1);
                let mut batch = Batch::new();
                if !user.needs_code() {
                    let session = super::tables::Session { generation: user.generation, ..session.clone() };
                    batch = self.with_session(batch, &session)?;
                }
                Ok(actor.note(batch, Action::AcceptInvitation, user.user_id))
            })
            .await?;
        if user.needs_code() {
            return Err(ServiceError::CodeRequired);
        }
        Ok(SignedIn { user, session: id, cookie })
    }
}

/// Guests have rows like accounts, and nothing to manage.
fn account_only(user: &User) -> Result<(), ServiceError> {
    if user.kind == UserKind::User { Ok(()) } else { Err(ServiceError::NoSuchUser) }
}

/// Puts an invitation into a record; what its link carries.
fn invite(user: &mut User) -> Result<String, ServiceError> {
    let given = secret::new().ok_or(ServiceError::Busy)?;
    let ttl = i64::try_from(INVITATION_TTL.as_millis()).unwrap_or(i64::MAX);
    let until = Timestamp(Timestamp::now().0.saturating_add(ttl));
    user.invitation = Some(Invitation { secret: secret::hash(&given), until });
    Ok(format!("{}.{given}", user.user_id.0))
}

fn counts(user: &User, given: &str) -> Result<(), ServiceError> {
    let invitation = user.invitation.as_ref().filter(|_| !user.disabled);
    let right = invitation.is_some_and(|invitation| {
        invitation.until > Timestamp::now() && secret::matches(&invitation.secret, given)
    });
    if right { Ok(()) } else { Err(ServiceError::DeadLink) }
}
