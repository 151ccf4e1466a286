//! `/oauth/token` and `/oauth/revoke`: forms in, JSON out, errors in OAuth's own words (RFC 6749 section 5.2).

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::app::App;
use crate::auth::CLIENT_TTL;
use crate::http::body;
use crate::http::problem::Problem;
use crate::service::ServiceError;
use crate::service::error::GrantError;
use crate::service::oauth::SCOPE;
use crate::service::oauth::grants::{ClientProof, Granted};

const FORM: &str = "application/x-www-form-urlencoded";

/// A code, a refresh token or a secret becomes an access token.
pub async fn token(State(app): State<App>, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let form = Form::read(&headers, body).await?;
    let proof = form.proof(&headers)?;
    let service = &app.service;
    let granted = match form.required("grant_type")? {
        "authorization_code" => {
            let (code, redirect_uri) = (form.required("code")?, form.required("redirect_uri")?);
            service.redeem_code(&proof, code, redirect_uri, form.required("code_verifier")?).await?
        }
        "refresh_token" => service.refresh(&proof, form.required("refresh_token")?).await?,
        "client_credentials" => service.client_credentials(&proof, form.get("scope"))?,
        _ => return Err(GrantError::UnsupportedGrantType.into()),
    };
    Ok(answer(granted))
}

/// A refresh token and its family end. An access token ends by itself, within 15 minutes.
pub async fn revoke(State(app): State<App>, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let form = Form::read(&headers, body).await?;
    let proof = form.proof(&headers)?;
    app.service.revoke(&proof, form.required("token")?).await?;
    Ok(StatusCode::OK.into_response())
}

fn answer(granted: Granted) -> Response {
    let mut token = json!({
        "access_token": granted.access_token,
        "token_type": "Bearer",
        "expires_in": CLIENT_TTL.as_secs(),
        "scope": SCOPE,
    });
    if let Some(refresh_token) = granted.refresh_token {
        token["refresh_token"] = refresh_token.into();
    }
    ([(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")], Json(token)).into_response()
}

/// The parameters of a form; none may come twice (RFC 6749 section 3.2).
struct Form(Vec<(String, String)>);

impl Form {
    async fn read(headers: &HeaderMap, body: Body) -> Result<Self, Refusal> {
        let text = body::text(headers, body, FORM).await.map_err(Refusal::Problem)?;
        // A form is encoded like a query, and is read by the same rules.
        let unreadable = GrantError::InvalidRequest("the body is no form");
        let uri: Uri = format!("/?{text}").parse().map_err(|_| unreadable)?;
        let Query(fields) = Query::<Vec<(String, String)>>::try_from_uri(&uri).map_err(|_| unreadable)?;
        let twice =
            fields.iter().enumerate().any(|(at, (name, _))| fields[..at].iter().any(|(n, _)| n == name));
        if twice {
            Err(GrantError::InvalidRequest("a parameter is given twice").into())
        } else {
            Ok(Self(fields))
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, value)| known == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    fn required(&self, name: &'static str) -> Result<&str, GrantError> {
        self.get(name).ok_or(GrantError::InvalidRequest(match name {
            "grant_type" => "grant_type is missing",
            "code" => "code is missing",
            "redirect_uri" => "redirect_uri is missing",
            "code_verifier" => "code_verifier is missing",
            "refresh_token" => "refresh_token is missing",
            _ => "token is missing",
        }))
    }

    /// Who the client says it is, by the header or by the form and not by both.
    fn proof(&self, headers: &HeaderMap) -> Result<ClientProof, GrantError> {
        let in_form = self.get("client_secret");
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            let id = self.get("client_id").ok_or(GrantError::InvalidClient)?.to_owned();
            return Ok(ClientProof { id, secret: in_form.map(str::to_owned) });
        };
        let (id, secret) = basic(value).ok_or(GrantError::InvalidClient)?;
        if in_form.is_some() || self.get("client_id").is_some_and(|in_form| in_form != id) {
            return Err(GrantError::InvalidRequest("the client is named twice"));
        }
        Ok(ClientProof { id, secret: Some(secret) })
    }
}

/// The pair of an `Authorization: Basic` header (RFC 7617). Our ids and secrets have nothing to escape.
fn basic(value: &HeaderValue) -> Option<(String, String)> {
    let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
    let bytes = STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (id, secret) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

/// Why there is no token: in OAuth's words, or a problem of the request or the server.
pub enum Refusal {
    /// RFC 6749 section 5.2.
    Grant(GrantError),
    /// Anything else.
    Problem(Problem),
}

impl From<GrantError> for Refusal {
    fn from(error: GrantError) -> Self {
        Self::Grant(error)
    }
}

impl From<ServiceError> for Refusal {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Grant(error) => Self::Grant(error),
            other => Self::Problem(other.into()),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = match self {
            Self::Problem(problem) => return problem.into_response(),
            Self::Grant(error) => error,
        };
        let status = if error == GrantError::InvalidClient {
            StatusCode::UNAUTHORIZED
        } else {
            StatusCode::BAD_REQUEST
        };
        let document = json!({ "error": error.code(), "error_description": error.to_string() });
        let mut answer = (status, [(header::CACHE_CONTROL, "no-store")], Json(document)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            answer
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"kaigi\""));
        }
        answer
    }
}
