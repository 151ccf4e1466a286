//! `/api/v1/setup`, `/session`, `/users`, `/audit`: accounts over HTTP.

pub mod admin;
pub mod api_keys;
pub mod external;
pub mod me;
pub mod second_factor;
pub mod session;

use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use crate::http::conditional;
use crate::service::{Role, User};

/// The routes, below `/api/v1`.
pub fn router() -> OpenApiRouter<App> {
    session::router()
        .merge(me::router())
        .merge(second_factor::router())
        .merge(api_keys::router())
        .merge(external::router())
        .merge(admin::router())
}

/// An account, as its owner and admins see it.
#[derive(Serialize, ToSchema)]
pub struct UserInfo {
    /// `user_<decimal>`.
    id: String,
    /// Its name.
    name: String,
    /// The address it signs in with; absent for accounts an operator made for scripts.
    email: Option<String>,
    /// What it may do.
    role: Role,
    /// Whether an admin disabled it.
    disabled: bool,
    /// Whether it has a password, and so can sign in.
    has_password: bool,
    /// Whether signing in takes a code.
    totp_enabled: bool,
    /// Recovery codes that are left.
    recovery_codes_left: usize,
    /// When it was made.
    created_at: String,
}

/// An account with its entity tag.
fn tagged(user: &User) -> Response {
    conditional::tagged(&user.tag(), UserInfo::from(user))
}

impl From<&User> for UserInfo {
    fn from(user: &User) -> Self {
        let factor = user.totp.as_ref().filter(|factor| factor.enabled);
        Self {
            id: user.user_id.to_string(),
            name: user.name.clone(),
            email: user.email.clone(),
            role: user.role,
            disabled: user.disabled,
            has_password: user.password.is_some(),
            totp_enabled: factor.is_some(),
            recovery_codes_left: factor.map_or(0, |factor| factor.recovery.len()),
            created_at: user.created_at.to_string(),
        }
    }
}
