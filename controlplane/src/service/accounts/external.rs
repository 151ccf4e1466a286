//! Accounts of people whom a provider vouches for (`oidc`): who it is here, and whether there is an account for it.
//!
//! A person is the pair of the provider's name and its number there, and nothing else: addresses change hands. An address only helps
//! to find the account the first time, and only if the provider says that it is the person's and the operator that the
//! provider speaks for its domain. What an account is asked for beside a password stays: a disabled one stays out, and its
//! authenticator app's code is asked for here too. An account is one person's at the provider: whoever has its address later does not get
//! it, until an admin invites to it anew.

use super::Visitor;
use super::audit::Actor;
use super::input::normal_email;
use super::signin::SignedIn;
use super::tables::{self, Action};
use super::throttle::Guess;
use crate::ids::UserId;
use crate::service::input::user_name;
use crate::service::records::{self, Record as _, User, UserKind};
use crate::service::{CAS_ATTEMPTS, Service, ServiceError, new_user};
use crate::store::{Batch, StoreError};

/// Names tried for a new account before somebody else's is in the way.
const NAMES_TRIED: usize = 9;

/// Who comes, in the provider's words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct External {
    /// The provider.
    pub issuer: String,
    /// Its number of the person.
    pub subject: String,
    /// The person's address, if the provider vouches for it.
    pub email: Option<String>,
    /// What to call the person.
    pub name: Option<String>,
}

/// What the operator believes of the provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trust {
    /// Domains it speaks for; nobody of another comes in. Empty: it speaks for none in particular.
    pub domains: Vec<String>,
    /// Whether who has no account gets one.
    pub create: bool,
}

/// How far that leads.
pub enum Arrived {
    /// In.
    In(Box<SignedIn>),
    /// The account wants a code as well.
    NeedsCode(UserId),
}

impl Service {
    /// Lets somebody in whom the provider vouches for.
    ///
    /// # Errors
    /// `ExternalAddress` without an address that counts, `ExternalUnknown` without an account, `ExternalTaken` where one has the address
    /// and is somebody else's there, or the provider does not speak for the address; `AccountDisabled`, `Busy`.
    pub async fn arrive(
        &self,
        visitor: &Visitor,
        who: &External,
        trust: &Trust,
    ) -> Result<Arrived, ServiceError> {
        let email = who.email.as_deref().and_then(normal_email);
        let domain = email.as_deref().and_then(|email| email.rsplit_once('@')).map(|(_, domain)| domain);
        if !trust.domains.is_empty()
            && !domain.is_some_and(|domain| trust.domains.iter().any(|d| d == domain))
        {
            return Err(ServiceError::ExternalAddress);
        }
        let person = tables::external_person(&who.issuer, &who.subject);
        let user = match self.0.store.get(&tables::external_key(&person))? {
            Some(number) => self.user(records::user_of_entry(number)?)?,
            None => self.meet(visitor, who, trust, person, email).await?,
        };
        if user.disabled {
            return Err(ServiceError::AccountDisabled);
        }
        if user.needs_code() {
            return Ok(Arrived::NeedsCode(user.user_id));
        }
        self.open_session(visitor, &user, None, |_| Ok(()))
            .await
            .map(|signed_in| Arrived::In(Box::new(signed_in)))
    }

    /// The same with the account's code, for somebody who arrived.
    ///
    /// # Errors
    /// `WrongCode`, `TooManyAttempts`, `AccountDisabled`, `Busy`.
    pub async fn arrive_with_code(
        &self,
        visitor: &Visitor,
        user: UserId,
        code: &str,
    ) -> Result<SignedIn, ServiceError> {
        let guess = Guess::Code(user);
        self.attempt(&guess)?;
        let user = self.user(user)?;
        let signed_in = self.open_session(visitor, &user, Some(code), |_| Ok(())).await;
        if matches!(signed_in, Err(ServiceError::WrongCode)) {
            self.note_failure(visitor, Some(user.user_id));
        }
        let signed_in = signed_in?;
        self.forget(&guess);
        Ok(signed_in)
    }

    /// Somebody who was never here: finds the account by its address, or makes one, and remembers whose it is.
    async fn meet(
        &self,
        visitor: &Visitor,
        who: &External,
        trust: &Trust,
        person: String,
        email: Option<String>,
    ) -> Result<User, ServiceError> {
        let email = email.ok_or(ServiceError::ExternalAddress)?;
        let key = tables::external_key(&person);
        for attempt in 0..CAS_ATTEMPTS {
            let (user, batch) = match self.user_by_email(&email)? {
                Some(user) if user.disabled => return Err(ServiceError::AccountDisabled),
                Some(user) if trust.domains.is_empty() || user.external.is_some() => {
                    return Err(ServiceError::ExternalTaken);
                }
                Some(user) => {
                    let key = records::user_key(user.user_id);
                    let before = self.0.store.get(&key)?.ok_or(ServiceError::UnknownUser)?;
                    let user = User { external: Some(person.clone()), ..User::decode(&before)? };
                    let batch = Batch::new().expect(key.clone(), Some(before)).put(key, user.encode());
                    (user, batch)
                }
                None if !trust.create => return Err(ServiceError::ExternalUnknown),
                None => {
                    let user = self.newcomer(who, &email, attempt)?;
                    let user = User { external: Some(person.clone()), ..user };
                    let batch = self.making(&user)?;
                    (user, batch)
                }
            };
            let actor = Actor { user: user.user_id, visitor };
            let batch = batch.expect(key.clone(), None).put(key.clone(), user.user_id.0.to_be_bytes());
            match self.commit(actor.note(batch, Action::LinkProvider, user.user_id)).await {
                Ok(()) => return Ok(user),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
            // The same person in another tab.
            if let Some(number) = self.0.store.get(&key)? {
                return self.user(records::user_of_entry(number)?);
            }
        }
        Err(ServiceError::Busy)
    }

    /// An account with a name that nobody has.
    fn newcomer(&self, who: &External, email: &str, attempt: usize) -> Result<User, ServiceError> {
        let local = email.split('@').next().unwrap_or_default();
        let wanted = who.name.as_deref().and_then(|name| user_name(name).ok());
        let wanted = wanted.or_else(|| user_name(local).ok()).unwrap_or_else(|| "user".to_owned());
        let numbered = |n: usize| if n == 1 { wanted.clone() } else { format!("{wanted} {n}") };
        for n in attempt + 1..=attempt + NAMES_TRIED {
            let Ok(name) = user_name(&numbered(n)) else { continue };
            if self.0.store.get(&records::user_name_key(&name))?.is_none() {
                return Ok(User { email: Some(email.to_owned()), ..new_user(UserKind::User, &name) });
            }
        }
        // Addresses are nobody else's.
        let name = user_name(email).map_err(|_| ServiceError::NameTaken)?;
        Ok(User { email: Some(email.to_owned()), ..new_user(UserKind::User, &name) })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn visitor() -> Visitor {
        Visitor { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), agent: String::new() }
    }

    fn ada(subject: &str, email: Option<&str>) -> External {
        External {
            issuer: "https://id.example.org".to_owned(),
            subject: subject.to_owned(),
            email: email.map(str::to_owned),
            name: Some("Ada".to_owned()),
        }
    }

    fn trust(domains: &[&str], create: bool) -> Trust {
        Trust { domains: domains.iter().map(|domain| (*domain).to_owned()).collect(), create }
    }

    async fn came(service: &Service, who: &External, trust: &Trust) -> Result<UserId, ServiceError> {
        service.arrive(&visitor(), who, trust).await.map(|arrived| match arrived {
            Arrived::In(signed_in) => signed_in.user.user_id,
            Arrived::NeedsCode(user) => user,
        })
    }

    #[tokio::test]
    async fn a_person_is_its_number_at_the_provider_whatever_its_address() {
        let service = Service::in_memory(false);
        let open = trust(&[], true);
        let one = came(&service, &ada("1", Some("ada@example.org")), &open).await.expect("a new account");
        assert_eq!(came(&service, &ada("1", Some("other@example.org")), &open).await, Ok(one));
        assert_eq!(came(&service, &ada("1", None), &open).await, Ok(one));
        // Somebody else with the address is somebody else, and does not get the account.
        assert_eq!(
            came(&service, &ada("2", Some("ada@example.org")), &open).await,
            Err(ServiceError::ExternalTaken)
        );
        let other =
            External { issuer: "https://evil.example".to_owned(), ..ada("1", Some("eve@example.org")) };
        let eve = came(&service, &other, &open).await.expect("another account");
        assert_ne!(eve, one);
        assert_eq!(service.user(eve).map(|user| user.name).as_deref(), Ok("Ada 2"));
    }

    #[tokio::test]
    async fn an_address_finds_an_account_only_where_the_provider_speaks_for_its_domain() {
        let service = Service::in_memory(false);
        let made = service.newcomer(&ada("0", None), "ada@example.org", 0).expect("a name");
        let batch = service.making(&made).expect("nobody is in the way");
        service.commit(batch).await.expect("made");
        let ours = trust(&["example.org"], false);
        assert_eq!(came(&service, &ada("2", Some("Ada@Example.org")), &ours).await, Ok(made.user_id));
        // Whoever has the address later is not who the account is.
        let later = ada("5", Some("ada@example.org"));
        assert_eq!(came(&service, &later, &ours).await, Err(ServiceError::ExternalTaken));
        assert_eq!(came(&service, &ada("2", Some("ada@example.org")), &ours).await, Ok(made.user_id));
        assert_eq!(
            came(&service, &ada("3", Some("bob@example.org")), &ours).await,
            Err(ServiceError::ExternalUnknown)
        );
        for stranger in [Some("ada@elsewhere.example"), Some("ada@sub.example.org"), Some("ada"), None] {
            assert_eq!(came(&service, &ada("2", stranger), &ours).await, Err(ServiceError::ExternalAddress));
        }
        assert_eq!(
            came(&service, &ada("4", None), &trust(&[], true)).await,
            Err(ServiceError::ExternalAddress)
        );
    }
}
