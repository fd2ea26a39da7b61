//! Credential programs, as docker has them: `docker-credential-NAME get` with the
//! registry on its standard input.

use super::Credentials;
use crate::registry::RegistryError;
use serde::Deserialize;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// Programs may ask a cloud's token service.
const DEADLINE: Duration = Duration::from_secs(30);
/// More than any answer.
const MAX_ANSWER: u64 = 256 << 10;
/// The name that marks a secret as an identity token.
const TOKEN_USER: &str = "<token>";
/// What every program says of a registry that it does not know.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// No `Debug`: it holds a secret.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    secret: String,
}

/// What the program knows of `server`; none if it says that it knows nothing.
pub(super) async fn get(name: &str, server: &str) -> Result<Option<Credentials>, RegistryError> {
    if name.contains(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))) {
        let reason = format!("`{name}` cannot name a credential program");
        return Err(RegistryError::Credentials { host: server.to_owned(), reason });
    }
    ask(&format!("docker-credential-{name}"), server, DEADLINE).await
}

pub(super) async fn ask(
    program: &str,
    server: &str,
    limit: Duration,
) -> Result<Option<Credentials>, RegistryError> {
    let wrong = |reason: String| RegistryError::Credentials {
        host: server.to_owned(),
        reason: format!("{program}: {reason}"),
    };
    let (success, output) = match tokio::time::timeout(limit, run(program, server)).await {
        Ok(result) => result.map_err(|error| wrong(error.to_string()))?,
        Err(_) => return Err(wrong(format!("it did not end within {limit:?}"))),
    };
    if !success {
        let known = String::from_utf8_lossy(&output).contains(NOT_FOUND);
        // Nothing of what it wrote is repeated: it may hold a secret.
        return if known { Ok(None) } else { Err(wrong(format!("it failed for {server}"))) };
    }
    let answer: Answer =
        serde_json::from_slice(&output).map_err(|_| wrong("its answer holds no credentials".to_owned()))?;
    Ok(Some(match answer.username.as_str() {
        TOKEN_USER => Credentials::identity_token(&answer.secret),
        username => Credentials::password(username, &answer.secret),
    }))
}

/// Dropping the future kills the program.
async fn run(program: &str, server: &str) -> std::io::Result<(bool, Vec<u8>)> {
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A program that knows the answer already may not read the question.
        let _ = input.write_all(server.as_bytes()).await;
    }
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_ANSWER).read_to_end(&mut output).await?;
    }
    Ok((child.wait().await?.success(), output))
}
