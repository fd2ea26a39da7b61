//! Roles of a deployment's own, with the least that is needed.

use super::{AwsError, AwsSession, Role, RoleDocuments};
use aws_sdk_iam::types::Tag;
use tranche_packager::lambda::tags;

/// Name of a role's only policy.
const POLICY: &str = "tranche";

/// Its ARN, as it is or will be.
pub(super) fn arn(role: &Role, name: &str, account: &str, region: &str) -> String {
    match role {
        Role::Given(arn) => arn.clone(),
        Role::Created(_) => format!("arn:{}:iam::{account}:role/{name}", super::alias::partition(region)),
    }
}

/// Makes the role what the documents say; whether it was not there.
///
/// A role of that name without the deployment's tag is not touched.
pub(super) async fn ensure(
    session: &AwsSession,
    name: &str,
    deployment: &str,
    documents: &RoleDocuments,
) -> Result<bool, AwsError> {
    let action = format!("make role {name}");
    let client = &session.iam;
    let found = match client.get_role().role_name(name).send().await.map_err(AwsError::of(&action)) {
        Ok(found) => found.role,
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error),
    };
    if let Some(role) = &found {
        let is_ours = |tag: &Tag| tag.key() == tags::DEPLOYMENT && tag.value() == deployment;
        if !role.tags().iter().any(is_ours) {
            let message = format!("a role of that name has no tag {}={deployment}", tags::DEPLOYMENT);
            return Err(AwsError::Refused {
                action,
                status: 409,
                code: "EntityAlreadyExists".into(),
                message,
            });
        }
    } else {
        let tag = Tag::builder().key(tags::DEPLOYMENT).value(deployment).build();
        let reason = |error: aws_sdk_iam::error::BuildError| error.to_string();
        let tag = tag.map_err(|error| AwsError::Answer { action: action.clone(), reason: reason(error) })?;
        let call =
            client.create_role().role_name(name).assume_role_policy_document(&documents.trust).tags(tag);
        call.send().await.map_err(AwsError::of(&action))?;
    }
    let call =
        client.put_role_policy().role_name(name).policy_name(POLICY).policy_document(&documents.policy);
    call.send().await.map_err(AwsError::of(action))?;
    Ok(found.is_none())
}

/// Removes a role that [`ensure`] made.
pub(super) async fn remove(session: &AwsSession, name: &str) -> Result<(), AwsError> {
    let action = format!("remove role {name}");
    let policy = session.iam.delete_role_policy().role_name(name).policy_name(POLICY);
    let gone = |result: Result<(), AwsError>| match result {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    };
    gone(policy.send().await.map(|_| ()).map_err(AwsError::of(&action)))?;
    gone(session.iam.delete_role().role_name(name).send().await.map(|_| ()).map_err(AwsError::of(action)))
}
