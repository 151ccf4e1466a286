//! What a person allowed: the programs that act for it, and how it takes that back.
//!
//! Grants lie under numbers of their own; an index lists a person's. An entry whose grant is gone means nothing and is taken
//! out by the next change.

use super::tables::{self, ClientId, Grant};
use crate::service::accounts::Visitor;
use crate::service::accounts::audit::Actor;
use crate::service::accounts::tables::Action;
use crate::service::records::{Record, User};
use crate::service::timestamp::Timestamp;
use crate::service::{Caller, Seen, Service, ServiceError};
use crate::store::Batch;

/// Grants of one person; another takes the place of the one not used for longest.
const GRANTS_MAX: usize = 100;

/// A program that acts for a person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    /// Which client.
    pub client: ClientId,
    /// What people are shown.
    pub name: String,
    /// When it last got a token.
    pub used_at: Timestamp,
}

impl Service {
    /// The programs that act for the caller, the latest used first.
    ///
    /// # Errors
    /// `NoToken`, `OutOfScope`, `UnknownUser`.
    pub fn programs(&self, caller: Caller) -> Result<Vec<Program>, ServiceError> {
        let user = self.own_account(caller)?;
        let mut grants = self.grants_of(&user, Batch::new())?.0;
        grants.sort_by_key(|grant| std::cmp::Reverse(grant.until));
        let mut programs: Vec<Program> = Vec::new();
        for grant in grants {
            if programs.iter().any(|program| program.client == grant.client_id) {
                continue;
            }
            let client = match self.oauth_client(grant.client_id) {
                Ok(client) => client,
                Err(ServiceError::NoSuchClient) => continue,
                Err(error) => return Err(error),
            };
            programs.push(Program { client: grant.client_id, name: client.name, used_at: grant.used_at() });
        }
        Ok(programs)
    }

    /// Takes back what the caller allowed a program: its refresh tokens are over, its access tokens within 15 minutes.
    ///
    /// # Errors
    /// `NoToken`, `OutOfScope`, `NoSuchClient` for one that was allowed nothing, `ChangedMeanwhile`.
    pub async fn revoke_program(
        &self,
        caller: Caller,
        visitor: &Visitor,
        client: ClientId,
        seen: &Seen,
    ) -> Result<(), ServiceError> {
        let user = self.own_account(caller)?;
        let (grants, mut batch) = self.grants_of(&user, Batch::new())?;
        let mut revoked = 0;
        for grant in grants.iter().filter(|grant| grant.client_id == client) {
            batch = without(batch, grant);
            revoked += 1;
        }
        if revoked == 0 {
            return Err(ServiceError::NoSuchClient);
        }
        seen.holds(None)?;
        let acts_as = self.oauth_client(client).map_or(user.user_id, |client| client.user_id);
        let actor = Actor { user: user.user_id, visitor };
        Ok(self.commit(actor.note(batch, Action::RevokeProgram, acts_as)).await?)
    }

    /// Adds a grant's place among its person's to a write, and takes out what is over or too many.
    pub(super) fn with_place(&self, grant: &Grant, user: &User, batch: Batch) -> Result<Batch, ServiceError> {
        let (mut known, batch) = self.grants_of(user, batch)?;
        known.sort_by_key(|known| std::cmp::Reverse(known.until));
        let batch = known.iter().skip(GRANTS_MAX - 1).fold(batch, without);
        Ok(batch.put(tables::place_key(grant.user_id, grant.grant_id), Vec::new()))
    }

    /// A person's grants that count; a write takes out the others.
    fn grants_of(&self, user: &User, mut batch: Batch) -> Result<(Vec<Grant>, Batch), ServiceError> {
        let mut grants = Vec::new();
        let now = Timestamp::now();
        // Two at once may be one over the limit each; the next one sweeps up.
        for (place, _) in self.0.store.scan(&tables::places_prefix(user.user_id), None, 2 * GRANTS_MAX)? {
            let Some(key) = tables::grant_of_place(&place) else { continue };
            let found = self.0.store.get(&key)?.as_deref().map(Grant::decode).transpose()?;
            match found {
                Some(grant) if grant.until >= now && grant.generation == user.generation => {
                    grants.push(grant)
                }
                Some(_) => batch = batch.delete(place).delete(key),
                None => batch = batch.delete(place),
            }
        }
        Ok((grants, batch))
    }
}

fn without(batch: Batch, grant: &Grant) -> Batch {
    batch.delete(tables::grant_key(grant.grant_id)).delete(tables::place_key(grant.user_id, grant.grant_id))
}
