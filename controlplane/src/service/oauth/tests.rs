//! The authorization server's rules, over the store's model.

use std::net::Ipv4Addr;

use super::authorize::AuthorizeRequest;
use super::clients::NewClient;
use super::grants::{ClientProof, Granted};
use super::*;
use crate::service::accounts::Visitor;
use crate::service::accounts::input::{NewAccount, ProfileChange};
use crate::service::once::Keep;
use crate::service::{Caller, Role, Seen, Service, ServiceError};

const REDIRECT: &str = "https://app.example/callback";
/// RFC 7636 appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const PASSWORD: &str = "a long enough password";

fn visitor() -> Visitor {
    Visitor { ip: Ipv4Addr::LOCALHOST.into(), agent: String::new() }
}

fn refused<T>(result: Result<T, ServiceError>) -> Option<GrantError> {
    match result.err() {
        Some(ServiceError::Grant(error)) => Some(error),
        _ => None,
    }
}

struct Scene {
    service: Service,
    ada: Caller,
    proof: ClientProof,
    request: AuthorizeRequest,
}

/// An admin, and a client without a secret.
async fn scene() -> Scene {
    let service = Service::in_memory(false);
    let secret = service.new_setup_secret().expect("nobody set it up");
    let new = NewAccount {
        name: "ada".into(),
        email: "ada@example.org".into(),
        password: Some(PASSWORD.into()),
        role: Role::Admin,
    };
    let signed_in = service.set_up(&visitor(), &secret, new).await.expect("sets up");
    let ada = Caller::User(signed_in.user.user_id);
    let new = NewClient {
        name: "An app".into(),
        redirect_uris: vec![REDIRECT.into()],
        confidential: false,
        first_party: false,
    };
    let (client, secret) =
        service.create_oauth_client(ada, &visitor(), new, &Keep::nothing()).await.expect("registers");
    assert_eq!(secret, None);
    let proof = ClientProof { id: client.client_id.to_string(), secret: None };
    let request = AuthorizeRequest {
        response_type: "code".into(),
        client_id: proof.id.clone(),
        redirect_uri: REDIRECT.into(),
        code_challenge: CHALLENGE.into(),
        code_challenge_method: "S256".into(),
        ..AuthorizeRequest::default()
    };
    Scene { service, ada, proof, request }
}

impl Scene {
    async fn code(&self) -> String {
        self.service.authorize(self.ada, &visitor(), &self.request).await.expect("authorizes")
    }

    async fn redeem(&self, code: &str) -> Result<Granted, ServiceError> {
        self.service.redeem_code(&self.proof, code, REDIRECT, VERIFIER).await
    }

    async fn refresh(&self, token: &str) -> Result<Granted, ServiceError> {
        self.service.refresh(&self.proof, token).await
    }
}

fn refresh_of(granted: Granted) -> String {
    granted.refresh_token.expect("a refresh token")
}

#[test]
fn the_challenge_of_rfc_7636_appendix_b_comes_out() {
    assert_eq!(challenge_of(VERIFIER), CHALLENGE);
}

#[tokio::test]
async fn a_client_gets_to_meetings_and_to_no_account() {
    let scene = scene().await;
    let granted = scene.redeem(&scene.code().await).await.expect("redeems");
    let caller = scene.service.authenticate(&granted.access_token).expect("counts");
    let ada = scene.ada.account().expect("an account");
    let delegated = Caller::Delegated(ada, tables::ClientId::parse(&scene.proof.id));
    assert_eq!((caller, caller.organiser()), (delegated, Ok(ada)));
    assert_eq!(caller.account(), Err(ServiceError::OutOfScope));
    assert_eq!(scene.service.own_account(caller).err(), Some(ServiceError::OutOfScope));
    let again = scene.service.authorize(caller, &visitor(), &scene.request).await;
    assert_eq!(again.err(), Some(ServiceError::OutOfScope), "a client allows no other client");
}

#[tokio::test]
async fn a_code_counts_once_and_a_second_try_ends_what_it_became() {
    let scene = scene().await;
    let code = scene.code().await;
    let (one, other) = tokio::join!(scene.redeem(&code), scene.redeem(&code));
    assert_eq!([one.is_ok(), other.is_ok()].iter().filter(|done| **done).count(), 1);
    let Ok(granted) = one.or(other) else { panic!("one of them counts") };
    let token = refresh_of(granted);
    assert_eq!(refused(scene.refresh(&token).await), Some(GrantError::InvalidGrant));
}

#[tokio::test]
async fn a_code_needs_its_verifier_its_redirect_uri_and_its_client() {
    let scene = scene().await;
    let code = scene.code().await;
    let service = &scene.service;
    for (redirect, verifier) in [
        (REDIRECT, ""),
        (REDIRECT, CHALLENGE),
        (REDIRECT, "x"),
        ("https://app.example/callback/", VERIFIER),
        ("", VERIFIER),
    ] {
        let tried = service.redeem_code(&scene.proof, &code, redirect, verifier).await;
        assert_eq!(refused(tried), Some(GrantError::InvalidGrant), "{redirect} {verifier}");
    }
    let new = NewClient {
        name: "Another".into(),
        redirect_uris: vec![REDIRECT.into()],
        confidential: false,
        first_party: false,
    };
    let (other, _) =
        service.create_oauth_client(scene.ada, &visitor(), new, &Keep::nothing()).await.expect("registers");
    let other = ClientProof { id: other.client_id.to_string(), secret: None };
    let tried = service.redeem_code(&other, &code, REDIRECT, VERIFIER).await;
    assert_eq!(refused(tried), Some(GrantError::InvalidGrant));
    let token = refresh_of(scene.redeem(&code).await.expect("redeems"));
    assert_eq!(refused(service.refresh(&other, &token).await), Some(GrantError::InvalidGrant));
    service.revoke(&other, &token).await.expect("nothing to revoke");
    assert!(scene.refresh(&token).await.is_ok(), "another client ends nothing");
}

#[tokio::test]
async fn a_refresh_token_that_is_shown_twice_ends_its_family() {
    let scene = scene().await;
    let first = refresh_of(scene.redeem(&scene.code().await).await.expect("redeems"));
    let second = refresh_of(scene.refresh(&first).await.expect("rotates"));
    assert_ne!(first, second);
    let third = refresh_of(scene.refresh(&second).await.expect("rotates"));
    assert_eq!(refused(scene.refresh(&first).await), Some(GrantError::InvalidGrant));
    assert_eq!(refused(scene.refresh(&third).await), Some(GrantError::InvalidGrant), "the thief's copy too");
}

#[tokio::test]
async fn a_revoked_grant_and_one_of_before_a_new_password_are_over() {
    let scene = scene().await;
    let token = refresh_of(scene.redeem(&scene.code().await).await.expect("redeems"));
    scene.service.revoke(&scene.proof, &token).await.expect("revokes");
    assert_eq!(refused(scene.refresh(&token).await), Some(GrantError::InvalidGrant));
    let token = refresh_of(scene.redeem(&scene.code().await).await.expect("redeems"));
    let change = ProfileChange {
        password: Some("another long password".into()),
        current_password: Some(PASSWORD.into()),
        ..ProfileChange::default()
    };
    scene.service.change_profile(scene.ada, None, &visitor(), change).await.expect("changes");
    assert_eq!(refused(scene.refresh(&token).await), Some(GrantError::InvalidGrant));
}

#[tokio::test]
async fn what_is_not_exactly_as_registered_gets_no_code() {
    let scene = scene().await;
    for (redirect, client) in [
        ("https://app.example/callback/", scene.proof.id.as_str()),
        ("https://app.example/callback?x", &scene.proof.id),
        ("https://APP.example/callback", &scene.proof.id),
        ("https://app.example/callback/../callback", &scene.proof.id),
        ("", &scene.proof.id),
        (REDIRECT, "client_1"),
        (REDIRECT, ""),
    ] {
        let request = AuthorizeRequest {
            redirect_uri: redirect.into(),
            client_id: client.into(),
            ..scene.request.clone()
        };
        assert_eq!(scene.service.client_of(&request).err(), Some(ServiceError::NoSuchClient), "{redirect}");
        let tried = scene.service.authorize(scene.ada, &visitor(), &request).await;
        assert_eq!(tried.err(), Some(ServiceError::NoSuchClient));
    }
    let plain = |method: &str, challenge: &str| AuthorizeRequest {
        code_challenge_method: method.into(),
        code_challenge: challenge.into(),
        ..scene.request.clone()
    };
    for downgraded in [
        plain("plain", VERIFIER),
        plain("", ""),
        plain("S256", ""),
        plain("S256", "short"),
        plain("", CHALLENGE),
    ] {
        let tried = scene.service.authorize(scene.ada, &visitor(), &downgraded).await;
        assert!(matches!(refused(tried), Some(GrantError::InvalidRequest(_))), "{downgraded:?}");
    }
}

#[tokio::test]
async fn a_client_with_a_secret_acts_for_itself_until_it_is_deleted() {
    let scene = scene().await;
    let service = &scene.service;
    let new = NewClient {
        name: "A robot".into(),
        redirect_uris: Vec::new(),
        confidential: true,
        first_party: false,
    };
    let (robot, secret) =
        service.create_oauth_client(scene.ada, &visitor(), new, &Keep::nothing()).await.expect("registers");
    let proof = ClientProof { id: robot.client_id.to_string(), secret };
    let granted = service.client_credentials(&proof, None).expect("granted");
    assert!(granted.refresh_token.is_none());
    assert_eq!(
        service.authenticate(&granted.access_token),
        Ok(Caller::Delegated(robot.user_id, Some(robot.client_id)))
    );
    let unproven = [
        ClientProof { secret: None, ..proof.clone() },
        ClientProof { secret: Some("x".into()), ..proof.clone() },
        ClientProof { id: String::new(), ..proof.clone() },
        ClientProof { secret: proof.secret.clone(), ..scene.proof.clone() },
    ];
    for wrong in unproven {
        assert_eq!(refused(service.client_credentials(&wrong, None)), Some(GrantError::InvalidClient));
    }
    assert_eq!(refused(service.client_credentials(&proof, Some("admin"))), Some(GrantError::InvalidScope));
    let public = service.client_credentials(&scene.proof, None);
    assert_eq!(refused(public), Some(GrantError::UnauthorizedClient));
    service
        .delete_oauth_client(scene.ada, &visitor(), robot.client_id, &Seen::default())
        .await
        .expect("deletes");
    assert_eq!(refused(service.client_credentials(&proof, None)), Some(GrantError::InvalidClient));
    assert!(service.authenticate(&granted.access_token).is_err());
    let token = refresh_of(scene.redeem(&scene.code().await).await.expect("redeems"));
    let id = tables::ClientId::parse(&scene.proof.id).expect("an id");
    service.delete_oauth_client(scene.ada, &visitor(), id, &Seen::default()).await.expect("deletes");
    assert_eq!(refused(scene.refresh(&token).await), Some(GrantError::InvalidClient));
}
