//! faasd: one task a function; what it answers it has done.
//!
//! Facts: measured on 0.18.6, and `faasd/pkg/provider/handlers/{deploy,update,delete,scale}.go`.

use std::sync::Arc;

use crate::function::{Function, Slot, plan};
use crate::gateway::{Choice, Gateway};
use crate::provider::Denied;
use crate::{DoubleError, FunctionDescription};

/// Pulls and starts, then answers.
pub(crate) async fn create(gateway: &Arc<Gateway>, description: FunctionDescription) -> Result<(), Denied> {
    let failed = |error: DoubleError| (400, error.to_string());
    let program = gateway.launcher.pull(&description.image).await.map_err(failed)?;
    let secrets = gateway.secrets().clone();
    let start = plan(gateway.provider(), &description, &program, &secrets, None);
    let replica = gateway.start(start).await.map_err(failed)?;
    let function = Function::new(description, program, 1);
    function.state().slots.push(Slot::new(0, Arc::clone(&replica)));
    let name = function.name.clone();
    let taken = {
        let mut functions = gateway.functions();
        let taken = functions.contains_key(&name);
        if !taken {
            functions.insert(name.clone(), Arc::new(function));
        }
        taken
    };
    if taken {
        replica.kill();
        return Err((400, format!("function {name} already exists")));
    }
    Ok(())
}

/// Takes the network away, removes, then creates. A missing secret or image is answered, and
/// the old task goes all the same: the handler does not return there.
pub(crate) async fn update(
    gateway: &Arc<Gateway>,
    function: &Arc<Function>,
    description: FunctionDescription,
    applies: Result<(), Denied>,
) -> Result<(), Denied> {
    let _one_at_a_time = function.changing.lock().await;
    let pulled = gateway.launcher.pull(&description.image).await;
    remove(gateway, function).await?;
    applies?;
    if let Err(error) = pulled {
        return Err((500, error.to_string()));
    }
    create(gateway, description).await
}

pub(crate) async fn delete(gateway: &Arc<Gateway>, function: &Arc<Function>) -> Result<(), Denied> {
    let _one_at_a_time = function.changing.lock().await;
    remove(gateway, function).await
}

/// First the network, then the task: calls in flight hang until their time is up.
async fn remove(gateway: &Arc<Gateway>, function: &Arc<Function>) -> Result<(), Denied> {
    let replicas = function.replicas();
    for replica in &replicas {
        replica.cut_network();
    }
    for replica in &replicas {
        if !replica.stop(gateway.options.grace_period).await {
            return Err((500, format!("error removing {}: the task did not end", function.name)));
        }
    }
    function.state().gone = true;
    gateway.functions().remove(&function.name);
    Ok(())
}

/// A task that ended is started again by the next call, which comes too early for it: there is
/// no readiness gate.
pub(crate) async fn choose(gateway: &Arc<Gateway>, function: &Arc<Function>) -> Choice {
    let slot = {
        let state = function.state();
        if state.dropped {
            return Choice::NoEndpoints;
        }
        state.slots.first().cloned()
    };
    match slot {
        Some(slot) if !slot.replica.is_connected() => Choice::NoEndpoints,
        Some(slot) if slot.replica.is_running() => Choice::Replica(slot.replica),
        _ => match revive(gateway, function).await {
            Ok(()) => Choice::Refused,
            Err(error) => {
                tracing::warn!(function = function.name, "{error}");
                Choice::NoEndpoints
            }
        },
    }
}

/// Starts the task again unless it runs.
pub(crate) async fn revive(gateway: &Arc<Gateway>, function: &Arc<Function>) -> Result<(), DoubleError> {
    let Ok(_one_at_a_time) = function.changing.try_lock() else { return Ok(()) };
    let ended = function.replicas();
    if ended.iter().any(|replica| replica.is_running()) {
        return Ok(());
    }
    for replica in &ended {
        replica.has_ended().await;
        let out_of_memory = replica.ran_out_of_memory();
        tracing::info!(function = function.name, out_of_memory, "starting again");
    }
    let secrets = gateway.secrets().clone();
    let (generation, plan) = function.plan(gateway.provider(), &secrets, None);
    let replica = gateway.start(plan).await?;
    function.state().slots = vec![Slot::new(generation, replica)];
    Ok(())
}
