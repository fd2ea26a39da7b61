//! How a deployment is.

use super::AwsSession;
use super::remove::find;
use super::state::{Generation, Record};
use crate::{DeployError, DeploymentPhase, DeploymentStatus, FunctionState, FunctionStatus};
use aws_sdk_lambda::types::State;
use tranche_schema::{ByteCount, LambdaFunction, LimitsEnforced};

/// Asks for each function's version behind the alias.
pub(super) async fn status(
    session: &AwsSession,
    name: &str,
    record: Option<&Record>,
) -> Result<DeploymentStatus, DeployError> {
    let Some(record) = record else {
        let strays = find(session, name, None).await?;
        if strays.is_empty() {
            return Err(DeployError::NotFound { name: name.to_owned() });
        }
        let left =
            |function: &String| format!("{function} is of a deployment that this machine knows nothing of");
        return Ok(whole(name, None, Vec::new(), strays.iter().map(left).collect()));
    };
    let mut functions = Vec::new();
    let lambda = record.current.as_ref().and_then(|current| current.deployment.lambda.as_ref());
    for function in lambda.iter().flat_map(|lambda| lambda.functions.iter().chain(&lambda.entry)) {
        functions.push(of(session, function, lambda.map_or("live", |lambda| &lambda.alias)).await?);
    }
    let mut notices = Vec::new();
    if let Some(canary) = &record.canary {
        notices.push(format!("new versions get {} % of the requests", canary.weight * 100.0));
    }
    if record.pending.is_some() {
        notices.push("a deploy did not end; `deploy` goes on from there, `destroy` removes all".to_owned());
    }
    Ok(whole(name, record.current.as_ref(), functions, notices))
}

fn whole(
    name: &str,
    current: Option<&Generation>,
    functions: Vec<FunctionStatus>,
    notices: Vec<String>,
) -> DeploymentStatus {
    let all = |state| functions.iter().all(|function: &FunctionStatus| function.state == state);
    let phase = match current {
        None => DeploymentPhase::Incomplete,
        Some(_) if all(FunctionState::Ready) => DeploymentPhase::Running,
        Some(_) if all(FunctionState::Stopped) => DeploymentPhase::Stopped,
        Some(_) => DeploymentPhase::Degraded,
    };
    DeploymentStatus {
        name: name.to_owned(),
        target: super::target::NAME.to_owned(),
        phase,
        bundle_digest: current.map(|current| current.deployment.bundle_digest.clone()),
        functions,
        notices,
    }
}

async fn of(
    session: &AwsSession,
    function: &LambdaFunction,
    alias: &str,
) -> Result<FunctionStatus, DeployError> {
    let call = session.lambda.get_function_configuration().function_name(&function.function).qualifier(alias);
    let found =
        call.send().await.map_err(super::AwsError::of(format!("look at function {}", function.function)));
    let (state, notice, memory) = match found {
        Err(error) if error.is_not_found() => (
            FunctionState::Stopped,
            Some(format!("there is no alias {alias} of {}", function.function)),
            None,
        ),
        Err(error) => return Err(error.into()),
        Ok(found) => {
            let reason = found.state_reason().map(str::to_owned);
            let version = found.version().unwrap_or_default();
            let moved = (version != function.version)
                .then(|| format!("the alias leads to version {version}, not {}", function.version));
            let state = match found.state() {
                Some(State::Pending) => FunctionState::Starting,
                Some(State::Failed) => FunctionState::Failed,
                // An idle one is started by its next invocation.
                _ => FunctionState::Ready,
            };
            (state, moved.or(reason), found.memory_size())
        }
    };
    let memory = memory.and_then(|mib| u64::try_from(mib).ok()).map(ByteCount::mebibytes);
    Ok(FunctionStatus {
        name: function.slice.clone(),
        state,
        process_id: None,
        restarts: 0,
        last_exit: None,
        memory_bytes: None,
        memory_peak_bytes: None,
        limits: LimitsEnforced { memory: memory.is_some(), cpu: memory.is_some() },
        notice,
        replicas: None,
        image: None,
    })
}
