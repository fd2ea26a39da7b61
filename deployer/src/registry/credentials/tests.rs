use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

const SECRET: &str = "hunter2-very-secret";

async fn find(config: &str, host: &str) -> Result<Credentials, RegistryError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    fs::write(&path, config).unwrap();
    CredentialSource::Lookup { environment: None, docker_config: Some(path) }.find(host).await
}

fn account(credentials: &Credentials) -> (&str, &str) {
    credentials.account().expect("a password")
}

async fn with_program(script: &str) -> Result<Option<Credentials>, RegistryError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docker-credential-test");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    program::ask(path.to_str().unwrap(), "registry.example.org", Duration::from_secs(5)).await
}

#[tokio::test]
async fn accounts_are_read_from_dockers_configuration() {
    // team:hunter2-very-secret
    let config = r#"{"auths": {
        "registry.example.org": {"auth": "dGVhbTpodW50ZXIyLXZlcnktc2VjcmV0"},
        "https://old.example.org/v1/": {"username": "old", "password": "word"},
        "token.example.org:5000": {"identitytoken": "identity"},
        "https://index.docker.io/v1/": {"username": "hub", "password": "word"},
        "elsewhere.example.org": {}
    }}"#;
    assert_eq!(account(&find(config, "registry.example.org").await.unwrap()), ("team", SECRET));
    assert_eq!(account(&find(config, "old.example.org").await.unwrap()), ("old", "word"));
    assert_eq!(account(&find(config, "docker.io").await.unwrap()), ("hub", "word"));
    assert_eq!(find(config, "token.example.org:5000").await.unwrap().refresh_token(), Some("identity"));
    for unknown in ["token.example.org", "elsewhere.example.org", "example.org"] {
        assert!(find(config, unknown).await.unwrap().is_anonymous(), "{unknown}");
    }
}

#[tokio::test]
async fn no_configuration_is_no_one() {
    let source =
        CredentialSource::Lookup { environment: None, docker_config: Some("/nowhere/config.json".into()) };
    assert!(source.find("ghcr.io").await.unwrap().is_anonymous());
}

#[tokio::test]
async fn the_environment_comes_before_the_configuration() {
    let environment = Some(Credentials::password("ci", "word"));
    let source = CredentialSource::Lookup { environment, docker_config: Some(Path::new("/").into()) };
    assert_eq!(account(&source.find("ghcr.io").await.unwrap()), ("ci", "word"));
}

#[tokio::test]
async fn a_broken_configuration_is_refused_without_its_contents() {
    let broken = format!(r#"{{"auths": {{"ghcr.io": {{"auth": ["{SECRET}"]}}}}}}"#);
    let undecodable = format!(r#"{{"auths": {{"ghcr.io": {{"auth": "{SECRET}"}}}}}}"#);
    let truncated = format!(r#"{{"auths": {{"ghcr.io": {{"password": "{SECRET}"#);
    for config in [broken, undecodable, truncated] {
        let error = find(&config, "ghcr.io").await.unwrap_err();
        assert!(matches!(error, RegistryError::Credentials { .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
    }
}

#[test]
fn nothing_prints_secrets() {
    let kinds = [Credentials::password(SECRET, SECRET), Credentials::identity_token(SECRET)];
    for credentials in kinds {
        let sources = [
            CredentialSource::Given(credentials.clone()),
            CredentialSource::Lookup { environment: Some(credentials.clone()), docker_config: None },
        ];
        let text = format!("{credentials:?} {credentials:#?} {sources:?}");
        assert!(!text.contains(SECRET) && text.contains("hidden"), "{text}");
    }
}

#[tokio::test]
async fn a_program_answers_for_the_registry_it_is_asked_about() {
    let script = r#"read -r server || true; printf '{"ServerURL":"%s","Username":"%s","Secret":"s3"}' "$server" "$server""#;
    let credentials = with_program(script).await.unwrap().unwrap();
    assert_eq!(account(&credentials), ("registry.example.org", "s3"));
}

#[tokio::test]
async fn a_program_may_answer_with_an_identity_token() {
    let credentials =
        with_program(r#"printf '{"Username":"<token>","Secret":"s3"}'"#).await.unwrap().unwrap();
    assert_eq!(credentials.refresh_token(), Some("s3"));
}

#[tokio::test]
async fn a_program_may_know_nothing() {
    assert!(with_program("echo credentials not found in native keychain; exit 1").await.unwrap().is_none());
}

#[tokio::test]
async fn a_program_that_fails_is_an_error_without_its_output() {
    for script in [format!("echo {SECRET}; exit 3"), format!("echo {SECRET}")] {
        let error = with_program(&script).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
    }
    let error = program::get("tranche-is-not-there", "ghcr.io").await.unwrap_err().to_string();
    insta::assert_snapshot!(
        error,
        @"credentials for ghcr.io: docker-credential-tranche-is-not-there: No such file or directory (os error 2)"
    );
    let error = program::get("../evil", "ghcr.io").await.unwrap_err().to_string();
    assert!(error.ends_with("`../evil` cannot name a credential program"), "{error}");
}

#[tokio::test]
async fn a_program_that_hangs_is_ended() {
    let start = std::time::Instant::now();
    let error = with_program("exec sleep 60").await.unwrap_err().to_string();
    assert!(error.ends_with("it did not end within 5s"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(30));
}
