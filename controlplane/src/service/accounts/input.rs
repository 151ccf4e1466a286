//! What an account may look like: names, addresses, passwords.

use crate::auth::password;
use crate::service::error::{FieldError, ServiceError};
use crate::service::input::user_name;
use crate::service::records::Role;
use crate::service::seen::Seen;

/// Longest address, bytes (RFC 5321 section 4.5.3.1.3 without its brackets).
pub const EMAIL_BYTES_MAX: usize = 254;

/// An account to be made.
#[derive(Clone)]
pub struct NewAccount {
    /// Its name.
    pub name: String,
    /// The address it signs in with.
    pub email: String,
    /// Its password in clear; without one it gets an invitation.
    pub password: Option<String>,
    /// What it may do.
    pub role: Role,
}

/// Changes to the caller's own account; absent means unchanged.
#[derive(Clone, Default)]
pub struct ProfileChange {
    /// New name.
    pub name: Option<String>,
    /// New password in clear.
    pub password: Option<String>,
    /// The present password, for a new one.
    pub current_password: Option<String>,
    /// What the caller has seen.
    pub seen: Seen,
}

/// What an admin changes of an account; absent means unchanged.
#[derive(Clone, Copy, Default)]
pub struct AccountChange {
    /// New role.
    pub role: Option<Role>,
    /// Whether password and tokens stop counting.
    pub disabled: Option<bool>,
}

impl NewAccount {
    pub(super) fn check(&mut self) -> Result<(), ServiceError> {
        let mut errors = Vec::new();
        match user_name(&self.name) {
            Ok(name) => self.name = name,
            Err(ServiceError::Invalid(faults)) => errors.extend(faults),
            Err(other) => return Err(other),
        }
        match normal_email(&self.email) {
            Some(email) => self.email = email,
            None => errors.push(FieldError::new("/email", "must be an address like ada@example.org")),
        }
        if let Some(why) = self.password.as_deref().and_then(password::fault) {
            errors.push(FieldError::new("/password", why));
        }
        if errors.is_empty() { Ok(()) } else { Err(ServiceError::Invalid(errors)) }
    }
}

/// Checks a password somebody wants to have.
pub(super) fn check_password(clear: &str) -> Result<(), ServiceError> {
    password::fault(clear)
        .map_or(Ok(()), |why| Err(ServiceError::Invalid(vec![FieldError::new("/password", why)])))
}

/// An address in the one form in which it is kept and looked up: trimmed, in small letters. `None` for what is no address;
/// whether mail arrives there is not ours to know.
#[must_use]
pub fn normal_email(text: &str) -> Option<String> {
    let email = text.trim().to_lowercase();
    let (local, domain) = email.rsplit_once('@')?;
    let odd = |c: char| c.is_whitespace() || c.is_control() || "<>(),;:\\\"[]".contains(c);
    let fine = !local.is_empty() && !domain.is_empty() && email.len() <= EMAIL_BYTES_MAX;
    (fine && !email.contains(odd) && !local.contains('@')).then_some(email)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_form_whatever_its_case() {
        assert_eq!(normal_email(" Ada@Example.ORG ").as_deref(), Some("ada@example.org"));
        assert_eq!(normal_email("ada@localhost").as_deref(), Some("ada@localhost"));
        assert_eq!(normal_email("あだ@例え.jp").as_deref(), Some("あだ@例え.jp"));
        for bad in ["", "ada", "@x", "ada@", "a@b@c", "a b@c", "a\n@c", "<a@c>", "a@c,b@d"] {
            assert_eq!(normal_email(bad), None, "{bad}");
        }
        assert_eq!(normal_email(&format!("{}@x", "a".repeat(EMAIL_BYTES_MAX))), None);
    }

    #[test]
    fn all_faults_of_an_account_are_listed_at_once() {
        let mut new = NewAccount {
            name: " ".into(),
            email: "ada".into(),
            password: Some("short".into()),
            role: Role::User,
        };
        let Err(ServiceError::Invalid(errors)) = new.check() else { panic!("all of it is wrong") };
        let pointers: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["/name", "/email", "/password"]);
    }
}
