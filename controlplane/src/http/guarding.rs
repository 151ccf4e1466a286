//! Every request passes the guard before it is routed, and every refusal is counted on its way out.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::body;
use super::caller::{Origin, bearer};
use super::cookie;
use super::problem::{Kind, Problem};
use crate::app::App;
use crate::guard::filter::{self, Class, Verdict};
use crate::guard::{Refusal, Wait, client};
use crate::ids::UserId;
use crate::service::Caller;

/// The address a request comes from, for whoever writes it down or counts by it.
#[derive(Clone, Copy)]
pub struct ClientAddress(pub IpAddr);

/// See the module.
pub async fn guard(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let from = client::address(peer, request.headers(), app.guard.trusted());
    request.extensions_mut().insert(ClientAddress(from));
    let path = request.uri().path().to_owned();
    let class = Class::of(&path);
    let lured = request.headers().get("sec-fetch-site").is_some_and(|site| site == "cross-site");
    let blame = |points| {
        // A page elsewhere had its visitor's browser ask: the visitor's neighbours do not pay for it.
        if !lured {
            app.guard.mischief_of(from, points);
        }
    };
    let response = match pass(&app, from, class, request, &blame).await {
        Ok(request) => next.run(request).await,
        Err(refused) => refused,
    };
    let nowhere = response.status() == StatusCode::NOT_FOUND && class == Class::Page;
    let reason = response.extensions().get::<Refusal>().copied().or(nowhere.then_some(Refusal::Nowhere));
    if let Some(reason) = reason {
        app.guard.refused(reason);
    }
    if reason == Some(Refusal::Nowhere) {
        blame(class.points_for_nothing(&path));
    }
    response
}

async fn pass(
    app: &App,
    from: IpAddr,
    class: Class,
    request: Request,
    blame: &(impl Fn(u32) + Sync),
) -> Result<Request, Response> {
    let (mut parts, body) = request.into_parts();
    let may = match class {
        Class::Watch => app.guard.watching(from),
        _ => app.guard.request(from),
    };
    if let Err(wait) = may {
        // Who is known pays from an allowance of its own instead.
        let known = if class == Class::Watch { None } else { known(app, class, &mut parts).await };
        known
            .map_or(Err(wait), |user| app.guard.user(user))
            .map_err(|wait| Problem::from(wait).into_response())?;
    }
    match filter::head(&parts.method, &parts.uri, parts.version, &parts.headers) {
        Ok(()) => Ok(Request::from_parts(parts, body)),
        // Names in the API's paths are numbers to its routes, which say best what is not there.
        Err(verdict) if class == Class::Api && verdict.reason == Refusal::Path => {
            blame(verdict.points);
            app.guard.refused(verdict.reason);
            Ok(Request::from_parts(parts, body))
        }
        Err(verdict) => {
            blame(verdict.points);
            // Who sends much reads the refusal, and not a reset.
            body::discard(&parts.headers, body).await;
            Err(refusal(verdict, class))
        }
    }
}

fn refusal(verdict: Verdict, class: Class) -> Response {
    let (kind, detail) = match verdict.reason {
        Refusal::Method => (Kind::MethodNotAllowed, "this address does not take that method"),
        Refusal::ContentType => (Kind::UnsupportedMediaType, "this address does not take that Content-Type"),
        Refusal::Host => (Kind::MalformedRequest, "name the host once, the same in the target and in Host"),
        Refusal::PathEncoding => (Kind::MalformedRequest, "the address is not UTF-8"),
        _ => (Kind::NotFound, "there is nothing at this address"),
    };
    let mut response = Problem { reason: Some(verdict.reason), ..Problem::new(kind, detail) }.into_response();
    if verdict.reason == Refusal::Method {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(class.allow()));
    }
    response
}

/// Who shows a token or session that counts: then a neighbour's requests are not held against it.
async fn known(app: &App, class: Class, parts: &mut axum::http::request::Parts) -> Option<UserId> {
    #[derive(Deserialize)]
    struct Token {
        access_token: String,
    }
    let token = match bearer(&parts.headers) {
        Ok(Some(token)) => Some(token.to_owned()),
        // The doors that read it there.
        _ if class == Class::Signal => {
            Query::<Token>::try_from_uri(&parts.uri).ok().map(|Query(token)| token.access_token)
        }
        _ => None,
    };
    if let Some(token) = token {
        let caller = app.service.authenticate(&token).ok().and_then(Caller::person);
        let admitted = || app.service.admit(&token).ok().map(|admission| admission.user);
        let holder = || app.service.key_holder(&token).ok().map(|holder| holder.owner);
        return caller.or_else(admitted).or_else(holder);
    }
    let Ok(origin) = Origin::from_request_parts(parts, app).await;
    let session = app.service.session(cookie::read(&parts.headers, origin.is_secure())?).await;
    session.ok().flatten().map(|session| session.user)
}

impl From<Wait> for Problem {
    fn from(wait: Wait) -> Self {
        let detail = match wait.reason {
            Refusal::Penalty => "this address asked for too much that no client of ours asks for",
            Refusal::SocketRate => "this person opens connections too fast",
            Refusal::UserRate => "this account asks too fast",
            _ => "this address asks too fast",
        };
        Self {
            reason: Some(wait.reason),
            retry_after: wait.seconds,
            ..Self::new(Kind::TooManyRequests, format!("{detail}; try again in {} s", wait.seconds))
        }
    }
}
