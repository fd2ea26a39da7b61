//! The account's own registry, for pushing images with [`crate::registry`].

use super::{AwsError, AwsSession};
use crate::registry::Credentials;
use aws_sdk_ecr::types::{ImageTagMutability, Tag};
use base64::Engine as _;
use tranche_packager::lambda::tags;

/// How to push to the account's registry.
#[derive(Clone, Debug)]
pub struct EcrLogin {
    /// Its host: `ACCOUNT.dkr.ecr.REGION.amazonaws.com`.
    pub host: String,
    /// Who one is to it, for twelve hours.
    pub credentials: Credentials,
}

/// Asks for a way into the registry.
pub(super) async fn login(session: &AwsSession) -> Result<EcrLogin, AwsError> {
    let action = "log in to the account's registry";
    let answer = session.ecr.get_authorization_token().send().await.map_err(AwsError::of(action))?;
    let data = answer.authorization_data().first();
    let parts = data.and_then(|data| Some((data.proxy_endpoint()?, decode(data.authorization_token()?)?)));
    let wrong = || AwsError::Answer { action: action.to_owned(), reason: "it gives no token".to_owned() };
    let (endpoint, (user, password)) = parts.ok_or_else(wrong)?;
    let host = endpoint.rsplit_once("://").map_or(endpoint, |(_, host)| host).trim_end_matches('/');
    let credentials = Credentials::password(&user, &password);
    Ok(EcrLogin { host: host.to_owned(), credentials })
}

/// A token is user and password in base64 (`GetAuthorizationToken`).
fn decode(token: &str) -> Option<(String, String)> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(token).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

/// Makes a repository where there is none; whether it did. Images in it cannot be changed
/// under their tags.
pub(super) async fn ensure_repository(
    session: &AwsSession,
    name: &str,
    deployment: &str,
) -> Result<bool, AwsError> {
    let action = format!("make repository {name}");
    let found = session.ecr.describe_repositories().repository_names(name).send().await;
    match found.map_err(AwsError::of(&action)) {
        Ok(_) => return Ok(false),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    let tag = Tag::builder().key(tags::DEPLOYMENT).value(deployment).build();
    let reason = |error: aws_sdk_ecr::error::BuildError| error.to_string();
    let tag = tag.map_err(|error| AwsError::Answer { action: action.clone(), reason: reason(error) })?;
    let call = session.ecr.create_repository().repository_name(name);
    let call = call.image_tag_mutability(ImageTagMutability::Immutable).tags(tag);
    call.send().await.map(|_| true).map_err(AwsError::of(action))
}
