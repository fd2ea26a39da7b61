//! The state machine that walks requests: Step Functions, Express.

use super::{AwsError, AwsSession};
use aws_sdk_sfn::types::{StateMachineType, SyncExecutionStatus, Tag};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;
use tranche_packager::lambda::tags;
use tranche_schema::{FunctionMetrics, StoredRequest};

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

impl AwsSession {
    /// Has a state machine walk a stored request to its end; gives what the slices measured, in
    /// no order.
    ///
    /// # Errors
    /// When it fails, does not end in time, or does not answer what ours answer.
    pub async fn walk(
        &self,
        machine: &str,
        request: &StoredRequest,
        deadline: Duration,
    ) -> Result<Vec<FunctionMetrics>, AwsError> {
        let action = || format!("run state machine {machine}");
        let input = serde_json::to_string(request)
            .map_err(|error| AwsError::Answer { action: action(), reason: error.to_string() })?;
        let call = self.sfn.start_sync_execution().state_machine_arn(machine).input(input);
        let emulated = self.endpoint().is_some();
        // AWS answers this at a host of its own, `sync-states…`; an emulator has only one.
        let call = call.customize().mutate_request(move |request| {
            let uri = request.uri().replacen("://sync-", "://", usize::from(emulated));
            // What was a URI still is one.
            let _ = request.set_uri(uri);
        });
        let call = call.send();
        let answer = tokio::time::timeout(deadline, call)
            .await
            .map_err(|_| AwsError::Answer {
                action: action(),
                reason: format!("it did not end within {deadline:?}"),
            })?
            .map_err(AwsError::of(action()))?;
        if *answer.status() != SyncExecutionStatus::Succeeded {
            let told = [answer.error(), answer.cause()].map(Option::unwrap_or_default).join(": ");
            return Err(AwsError::Answer {
                action: action(),
                reason: format!("it {}: {told}", answer.status().as_str()),
            });
        }
        let walked: Walked = serde_json::from_str(answer.output().unwrap_or_default())
            .map_err(|error| AwsError::Answer { action: action(), reason: error.to_string() })?;
        Ok(walked.metrics.into_values().collect())
    }
}

/// What our state machines end with (`tranche_packager::lambda::asl`).
#[derive(Deserialize)]
struct Walked {
    metrics: BTreeMap<String, FunctionMetrics>,
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
