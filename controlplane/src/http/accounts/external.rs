//! Signing in by the OpenID Connect provider: `/signin/provider` leads there, `/signin/callback` is where it sends people back to.
//!
//! Both are addresses that browsers open, so what goes wrong leads to the sign-in page, which says it in people's words.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::UserInfo;
use super::session::welcome;
use crate::app::App;
use crate::http::body::Fields;
use crate::http::caller::{Origin, OwnPage};
use crate::http::cookie;
use crate::http::oauth::with_query;
use crate::http::problem::{Kind, Problem, ProblemDocument};
use crate::http::routes::Routes;
use crate::oidc::{Callback, Identity, PARAMETER_BYTES_MAX, Provider, Trouble};
use crate::service::accounts::Visitor;
use crate::service::accounts::external::{Arrived, External, Trust};

/// The routes at the root.
pub fn pages() -> Routes<App> {
    Routes::default().get("/signin/provider", begin).get("/signin/callback", come_back)
}

/// The routes, below `/api/v1`.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(options)).routes(routes!(code))
}

/// How people may sign in here, beside address and password.
#[derive(Serialize, ToSchema)]
pub struct SignInOptions {
    /// The provider, if there is one.
    provider: Option<SignInProvider>,
}

/// A provider.
#[derive(Serialize, ToSchema)]
pub struct SignInProvider {
    /// What people call it.
    name: String,
    /// The address that leads there; the query parameter `next` is the page that is wanted.
    url: String,
}

/// The code of an account whose owner came back from the provider.
#[derive(ToSchema)]
pub struct ProviderCode {
    /// Six digits of the authenticator app, or a recovery code.
    pub code: String,
}

/// How people may sign in here, beside address and password.
#[utoipa::path(get, path = "/sign-in-options", operation_id = "readSignInOptions", tag = "accounts", security(()),
    responses((status = 200, body = SignInOptions)))]
async fn options(State(app): State<App>) -> Json<SignInOptions> {
    let named = |provider: &Arc<Provider>| SignInProvider {
        name: provider.config().name.clone(),
        url: "/signin/provider".to_owned(),
    };
    Json(SignInOptions { provider: app.provider.as_ref().map(named) })
}

/// Finish signing in by the provider with the code of the account's authenticator app.
#[utoipa::path(post, path = "/session/code", operation_id = "signInWithCode", tag = "accounts", request_body = ProviderCode, security(()),
    responses((status = 200, body = UserInfo), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument), (status = 429, body = ProblemDocument)))]
async fn code(
    State(app): State<App>,
    _ours: OwnPage,
    origin: Origin,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut fields = Fields::read(&headers, body).await?;
    let code = fields.required_text("code");
    fields.finish()?;
    let begun = cookie::read_sign_in(&headers, origin.is_secure()).zip(app.provider.as_ref());
    let known = begun.and_then(|(cookie, provider)| Some((cookie, provider, provider.awaits_code(cookie)?)));
    let (given, provider, user) = known.ok_or_else(|| Problem::from(Trouble::Expired))?;
    let signed_in = app.service.arrive_with_code(&visitor, user, &code).await?;
    provider.code_given(given);
    tracing::info!(user = %signed_in.user.user_id, ip = %visitor.ip, "signed in by the provider");
    welcome(&signed_in, &origin)
}

async fn begin(
    State(app): State<App>,
    origin: Origin,
    visitor: Visitor,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let provider = provider(&app)?;
    app.guard.sign_in(visitor.ip)?;
    let next = query.into_iter().find(|(name, _)| name == "next").map(|(_, value)| value);
    let next = next.filter(|next| is_page_of_ours(next)).unwrap_or_else(|| "/account".to_owned());
    match provider.begin(&origin.page("/signin/callback"), next).await {
        Ok(begun) => lead(&begun.address, cookie::keep_sign_in(&begun.cookie, origin.is_secure())),
        Err(trouble) => lead(&with_problem(&trouble.into()), None),
    }
}

async fn come_back(
    State(app): State<App>,
    origin: Origin,
    visitor: Visitor,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let provider = provider(&app)?;
    let given = cookie::read_sign_in(&headers, origin.is_secure()).unwrap_or_default();
    match returned(&app, provider, &visitor, given, query).await {
        Ok((Arrived::In(signed_in), next)) => {
            tracing::info!(user = %signed_in.user.user_id, ip = %visitor.ip, "signed in by the provider");
            let mut answer = lead(&next, cookie::keep(&signed_in.cookie, origin.is_secure()))?;
            let gone = cookie::forget_sign_in(origin.is_secure());
            answer.headers_mut().extend(gone.map(|value| (header::SET_COOKIE, value)));
            Ok(answer)
        }
        Ok((Arrived::NeedsCode(user), next)) => {
            let kept =
                provider.await_code(user).and_then(|kept| cookie::keep_sign_in(&kept, origin.is_secure()));
            lead(&with_query("/signin", &[("step", "code"), ("next", &next)]), kept)
        }
        Err(problem) => {
            tracing::info!(ip = %visitor.ip, detail = problem.detail, "a sign-in by the provider was refused");
            lead(&with_problem(&problem), cookie::forget_sign_in(origin.is_secure()))
        }
    }
}

async fn returned(
    app: &App,
    provider: &Provider,
    visitor: &Visitor,
    given: &str,
    query: Vec<(String, String)>,
) -> Result<(Arrived, String), Problem> {
    let (who, next) = provider.finish(given, read(query)?).await?;
    let config = provider.config();
    let trust = Trust { domains: config.domains.clone(), create: config.create };
    let arrived = app.service.arrive(visitor, &external(who), &trust).await?;
    Ok((arrived, next))
}

/// An address that the provider does not vouch for is none.
fn external(who: Identity) -> External {
    let Identity { issuer, subject, email, email_verified, name } = who;
    External { issuer, subject, email: email.filter(|_| email_verified), name }
}

/// The parameters of a callback; others are for versions to come, none may come twice.
fn read(query: Vec<(String, String)>) -> Result<Callback, Problem> {
    let mut callback = Callback::default();
    for (name, value) in query {
        let place = match name.as_str() {
            "code" => &mut callback.code,
            "state" => &mut callback.state,
            "iss" => &mut callback.iss,
            "error" => &mut callback.error,
            _ => continue,
        };
        if value.len() > PARAMETER_BYTES_MAX || place.replace(value).is_some() {
            return Err(Trouble::BadToken("a parameter is too long or given twice".to_owned()).into());
        }
    }
    Ok(callback)
}

fn provider(app: &App) -> Result<&Provider, Problem> {
    let provider = app.provider.as_deref();
    provider.ok_or_else(|| Problem::new(Kind::NotFound, "nobody signs in by a provider here"))
}

/// A path of this server, and no address that browsers take for one of another.
fn is_page_of_ours(next: &str) -> bool {
    next.starts_with('/')
        && !next.starts_with("//")
        && !next.contains(['\\', '\t', '\r', '\n'])
        && next.len() <= 2_048
}

fn with_problem(problem: &Problem) -> String {
    let seconds = problem.retry_after.to_string();
    with_query("/signin", &[("problem", problem.kind.slug()), ("retry", &seconds)])
}

fn lead(address: &str, cookie: Option<HeaderValue>) -> Result<Response, Problem> {
    let location = HeaderValue::from_str(address)
        .map_err(|_| Problem::new(Kind::MalformedRequest, "the page that is wanted has no address"))?;
    let mut answer = (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response();
    answer.headers_mut().extend(cookie.map(|value| (header::SET_COOKIE, value)));
    Ok(answer)
}

impl From<Trouble> for Problem {
    fn from(trouble: Trouble) -> Self {
        let kind = match &trouble {
            Trouble::Unreachable(_) => Kind::ProviderUnreachable,
            Trouble::Refused(_) => Kind::ProviderRefused,
            Trouble::Expired => Kind::SignInExpired,
            Trouble::BadToken(_) => Kind::ProviderTokenInvalid,
        };
        Self::new(kind, trouble.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_to_another_server() {
        for fine in ["/", "/account", "/j/1?x=//y"] {
            assert!(is_page_of_ours(fine), "{fine}");
        }
        for evil in [
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "\\\\evil",
            "/\t/evil.example",
            "",
            "x",
        ] {
            assert!(!is_page_of_ours(evil), "{evil}");
        }
    }
}
