//! The state machine that walks requests: Step Functions, Express.

use super::{AwsError, AwsSession};
use aws_sdk_sfn::types::{StateMachineType, Tag};
use tranche_packager::lambda::tags;

/// ARN of a state machine.
pub(super) fn arn(session: &AwsSession, account: &str, name: &str) -> String {
    let region = session.region();
    format!("arn:{}:states:{region}:{account}:stateMachine:{name}", super::alias::partition(region))
}

/// Makes the state machine, or changes it to what is given; whether it was not there.
///
/// One of that name without the deployment's tag is not touched.
pub(super) async fn ensure(
    session: &AwsSession,
    (name, arn): (&str, &str),
    deployment: &str,
    definition: &str,
    role: &str,
) -> Result<bool, AwsError> {
    let action = format!("make state machine {name}");
    let client = &session.sfn;
    let found = client.describe_state_machine().state_machine_arn(arn).send().await;
    match found.map_err(AwsError::of(&action)) {
        Err(error) if error.is_not_found() => {
            let call = client
                .create_state_machine()
                .name(name)
                .r#type(StateMachineType::Express)
                .definition(definition)
                .role_arn(role)
                .tags(Tag::builder().key(tags::DEPLOYMENT).value(deployment).build());
            call.send().await.map_err(AwsError::of(action))?;
            return Ok(true);
        }
        found => drop(found?),
    }
    let found =
        client.list_tags_for_resource().resource_arn(arn).send().await.map_err(AwsError::of(&action))?;
    let is_ours = |tag: &Tag| tag.key() == Some(tags::DEPLOYMENT) && tag.value() == Some(deployment);
    if !found.tags().iter().any(is_ours) {
        let message = format!("one of that name has no tag {}={deployment}", tags::DEPLOYMENT);
        let code = "StateMachineAlreadyExists".to_owned();
        return Err(AwsError::Refused { action, status: 409, code, message });
    }
    let call = client.update_state_machine().state_machine_arn(arn).definition(definition).role_arn(role);
    call.send().await.map_err(AwsError::of(action))?;
    Ok(false)
}

/// Gives it another document.
pub(super) async fn redefine(session: &AwsSession, arn: &str, definition: &str) -> Result<(), AwsError> {
    let call = session.sfn.update_state_machine().state_machine_arn(arn).definition(definition);
    call.send().await.map(|_| ()).map_err(AwsError::of(format!("change state machine {arn}")))
}

/// Removes it.
pub(super) async fn remove(session: &AwsSession, arn: &str) -> Result<(), AwsError> {
    let call = session.sfn.delete_state_machine().state_machine_arn(arn);
    match call.send().await.map_err(AwsError::of(format!("remove state machine {arn}"))) {
        Err(error) if error.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}
