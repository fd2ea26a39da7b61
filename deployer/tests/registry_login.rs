//! Logging in to registries.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "support/registry/mod.rs"]
mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};
use support::double::{Double, Login};
use support::{Images, LARGE, names, noise, options, options_as, push};
use tranche_deployer::registry::{Credentials, PushEvent, Pushed, RegistryError};

const ACCOUNT: (&str, &str) = ("team", "pass-that-nobody-prints");

async fn push_two(
    double: &Double,
    credentials: Credentials,
) -> (Result<Vec<Pushed>, RegistryError>, Vec<PushEvent>) {
    let shared = noise(LARGE, 11);
    let images = Images::new().image("slice-0", &[&shared]).image("slice-1", &[&shared]);
    push(&images, &names(&double.host, &["slice-0", "slice-1"]), &options_as(credentials)).await
}

async fn error_of(double: &Double, credentials: Credentials) -> String {
    let error = push_two(double, credentials).await.0.unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error:?}");
    assert!(error.hint().starts_with("log in"));
    error.to_string().replace(&double.host, "HOST")
}

fn account() -> Credentials {
    Credentials::password(ACCOUNT.0, ACCOUNT.1)
}

#[tokio::test]
async fn a_password_is_sent_when_it_is_asked_for() {
    let double = Double::with_login(Login::Basic(ACCOUNT.0, ACCOUNT.1)).await;
    push_two(&double, account()).await.0.unwrap();
    let without = double.seen().iter().filter(|seen| seen.authorization.is_none()).count();
    assert!((1..=4).contains(&without), "only the first of the parallel requests: {without}");
}

#[tokio::test]
async fn a_token_is_fetched_once_for_each_scope() {
    let double = Double::with_login(Login::Token { account: ACCOUNT, uses: usize::MAX }).await;
    push_two(&double, account()).await.0.unwrap();
    // Either repository, and the one mounting from the other.
    assert_eq!(double.count("GET", "/token"), 3);
    let queries: Vec<String> =
        double.seen().into_iter().filter(|seen| seen.path == "/token").map(|seen| seen.query).collect();
    let mount = "scope=repository%3Ateam%2Fslice-0%3Apull&scope=repository%3Ateam%2Fslice-1%3Apull%2Cpush";
    assert!(queries.iter().any(|query| query.contains(mount)), "{queries:?}");
    assert!(queries.iter().all(|query| query.contains("service=double") && query.ends_with("account=team")));
    let basic =
        |authorization: &Option<String>| authorization.as_ref().is_some_and(|text| text.starts_with("Basic"));
    for seen in double.seen() {
        assert_eq!(basic(&seen.authorization), seen.path == "/token", "{seen:?}");
    }
}

#[tokio::test]
async fn a_token_that_ends_in_between_is_replaced() {
    let double = Double::with_login(Login::Token { account: ACCOUNT, uses: 2 }).await;
    let (pushed, events) = push_two(&double, account()).await;
    pushed.unwrap();
    assert!(double.count("GET", "/token") > 4);
    assert_eq!(double.blob("team/slice-1", &noise(LARGE, 11)).unwrap().len(), LARGE);
    assert_eq!(support::retries(&events), [], "logging in again is no retry");
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let double = Double::with_login(Login::Identity("refresh-me")).await;
    push_two(&double, Credentials::identity_token("refresh-me")).await.0.unwrap();
    assert_eq!(double.count("POST", "/token"), 3);
    assert!(double.seen().iter().all(|seen| !seen.query.contains("refresh-me")));
}

#[tokio::test]
async fn wrong_and_missing_logins_are_told_apart() {
    let double = Double::with_login(Login::Basic(ACCOUNT.0, ACCOUNT.1)).await;
    let wrong = error_of(&double, Credentials::password("team", "wrong")).await;
    assert!(
        wrong.ends_with(": it does not take the login") || wrong.ends_with("it does not take the password"),
        "{wrong}"
    );
    let missing = error_of(&double, Credentials::anonymous()).await;
    assert!(missing.ends_with(": it wants a name and a password"), "{missing}");
    let double = Double::with_login(Login::Token { account: ACCOUNT, uses: 9 }).await;
    insta::assert_snapshot!(
        error_of(&double, Credentials::password("team", "wrong")).await,
        @"GET http://HOST/token: it does not take the login (UNAUTHORIZED: as the double says)"
    );
    insta::assert_snapshot!(
        error_of(&double, Credentials::anonymous()).await,
        @"GET http://HOST/token: it gives no one a token without a login (UNAUTHORIZED: as the double says)"
    );
}

#[tokio::test]
async fn a_token_of_no_use_is_not_fetched_for_ever() {
    let double = Double::with_login(Login::Token { account: ACCOUNT, uses: 0 }).await;
    let error = error_of(&double, account()).await;
    assert!(error.ends_with(": it does not take the login"), "{error}");
    assert!(double.count("GET", "/token") <= 4);
}

#[tokio::test]
async fn the_password_goes_to_no_token_server_over_plain_http() {
    let double = Double::with_login(Login::Realm("http://192.0.2.1/token".to_owned())).await;
    let error = push_two(&double, account()).await.0.unwrap_err();
    assert!(matches!(error, RegistryError::PlainHttp { .. }), "{error}");
}

#[tokio::test]
async fn a_realm_that_makes_no_sense_is_an_error() {
    for realm in ["", "nonsense", "http://127.0.0.1/\\\""] {
        let double = Double::with_login(Login::Realm(realm.to_owned())).await;
        let error = push_two(&double, account()).await.0.unwrap_err().to_string();
        assert!(error.contains("login challenge") || error.contains("127.0.0.1"), "{error}");
    }
}

/// Everything that is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn logs_events_and_errors_hold_no_secrets() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let mut printed = String::new();
    for login in [Login::Basic(ACCOUNT.0, ACCOUNT.1), Login::Token { account: ACCOUNT, uses: 3 }] {
        let double = Double::with_login(login).await;
        let (pushed, events) = push_two(&double, account()).await;
        printed += &format!("{pushed:?} {events:?} {:?}", options_as(account()));
    }
    let double = Double::with_login(Login::Basic("other", "word")).await;
    let (failed, events) = push_two(&double, account()).await;
    printed += &format!("{failed:?} {events:?} {:?}", options());
    drop(guard);
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("registry answered"), "{logged}");
    // The password, its Base64 beginning after `team:`, tokens, and upload states.
    for secret in ["pass-that", "cGFzcy10aGF0", "dGVhbTp", "token-0", "Bearer", "_state"] {
        assert!(!logged.contains(secret), "{secret} in {logged}");
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
}
