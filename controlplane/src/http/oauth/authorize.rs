//! `/oauth/authorize`: a browser comes with a client's request and leaves with a code. Who is not signed in signs in first;
//! who did not come by the operator's own client is asked.

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::with_query;
use crate::app::App;
use crate::http::body::Fields;
use crate::http::caller::{Asked, Origin};
use crate::http::problem::{Kind, Problem};
use crate::http::web;
use crate::service::accounts::Visitor;
use crate::service::error::GrantError;
use crate::service::oauth::authorize::AuthorizeRequest;
use crate::service::{Caller, ServiceError};

/// A browser arrives. What is wrong about the client or its redirect URI is shown here and sent nowhere.
pub async fn ask(
    State(app): State<App>,
    Asked(caller): Asked,
    origin: Origin,
    visitor: Visitor,
    uri: Uri,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let request = read(query)?;
    let client = app.service.client_of(&request)?;
    if let Err(error) = request.check() {
        return see_other(&refusal(&request, &origin, error));
    }
    if caller == Caller::Nobody {
        let here = uri.path_and_query().map_or("/", |path| path.as_str());
        return see_other(&with_query("/signin", &[("next", here)]));
    }
    if !client.first_party {
        return web::page(headers).await;
    }
    let code = app.service.authorize(caller, &visitor, &request).await?;
    see_other(&success(&request, &origin, &code))
}

/// The page asks who the client is, and says what the person decided; the answer is where to go.
pub async fn decide(
    State(app): State<App>,
    Asked(caller): Asked,
    origin: Origin,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.account()?;
    let mut fields = Fields::read(&headers, body).await?;
    let request = AuthorizeRequest {
        response_type: fields.required_text("response_type"),
        client_id: fields.required_text("client_id"),
        redirect_uri: fields.required_text("redirect_uri"),
        state: fields.text("state"),
        scope: fields.text("scope"),
        code_challenge: fields.required_text("code_challenge"),
        code_challenge_method: fields.required_text("code_challenge_method"),
    };
    let approve = fields.switch("approve");
    fields.finish()?;
    let client = app.service.client_of(&request)?;
    let answer = match approve {
        None => json!({ "client_name": client.name, "redirect_uri": request.redirect_uri }),
        Some(false) => json!({ "redirect_to": refusal(&request, &origin, GrantError::AccessDenied) }),
        Some(true) => match app.service.authorize(caller, &visitor, &request).await {
            Ok(code) => json!({ "redirect_to": success(&request, &origin, &code) }),
            Err(ServiceError::Grant(error)) => json!({ "redirect_to": refusal(&request, &origin, error) }),
            Err(error) => return Err(error.into()),
        },
    };
    Ok(Json(answer).into_response())
}

/// The parameters of a request; others are for versions to come (RFC 6749 section 3.1), none may come twice.
fn read(query: Vec<(String, String)>) -> Result<AuthorizeRequest, Problem> {
    let mut request = AuthorizeRequest::default();
    let mut seen: Vec<String> = Vec::new();
    for (name, value) in query {
        if seen.contains(&name) {
            return Err(Problem::new(Kind::MalformedRequest, format!("the parameter {name} is given twice")));
        }
        match name.as_str() {
            "response_type" => request.response_type = value,
            "client_id" => request.client_id = value,
            "redirect_uri" => request.redirect_uri = value,
            "state" => request.state = Some(value),
            "scope" => request.scope = Some(value),
            "code_challenge" => request.code_challenge = value,
            "code_challenge_method" => request.code_challenge_method = value,
            _ => {}
        }
        seen.push(name);
    }
    Ok(request)
}

fn success(request: &AuthorizeRequest, origin: &Origin, code: &str) -> String {
    back(request, origin, &[("code", code)])
}

fn refusal(request: &AuthorizeRequest, origin: &Origin, error: GrantError) -> String {
    back(request, origin, &[("error", error.code()), ("error_description", &error.to_string())])
}

/// Back to the client, with its state and our name (RFC 9207).
fn back(request: &AuthorizeRequest, origin: &Origin, first: &[(&str, &str)]) -> String {
    let issuer = origin.page("");
    let mut parameters = first.to_vec();
    if let Some(state) = &request.state {
        parameters.push(("state", state));
    }
    parameters.push(("iss", &issuer));
    with_query(&request.redirect_uri, &parameters)
}

fn see_other(address: &str) -> Result<Response, Problem> {
    let location = HeaderValue::from_str(address)
        .map_err(|_| Problem::new(Kind::MalformedRequest, "the redirect URI is no address"))?;
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response())
}
