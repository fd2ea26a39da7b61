//! faas-netes, Community Edition: what it answers is written down, not done yet.
//!
//! Facts: `faas-netes/pkg/handlers/{deploy,update,delete,replica_updater}.go`,
//! `pkg/k8s/probes.go`, and how a Kubernetes deployment rolls (maxSurge 1, maxUnavailable 0).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::function::{Function, Slot, State};
use crate::gateway::{Choice, Gateway};
use crate::provider::Denied;
use crate::replica::Replica;
use crate::{FunctionDescription, Provider};

/// Probes that fail in a row before a replica counts as unready and is started again
/// (`chart/openfaas/values.yaml`).
const PROBE_FAILURES: u32 = 3;
/// The longest pause of a replica that ends again and again.
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);

/// Asks the registry for the image first: `isAnonymous` wants one that anybody may pull.
pub(crate) async fn create(gateway: &Arc<Gateway>, description: FunctionDescription) -> Result<(), Denied> {
    let program = gateway.launcher.pull(&description.image).await.map_err(|error| {
        tracing::warn!("error creating deployment: {error}");
        (400, "the Community Edition license agreement only supports public images".to_owned())
    })?;
    let wanted = Provider::Kubernetes.initial_replicas(&description).unwrap_or(1);
    let function = Arc::new(Function::new(description, program, wanted));
    {
        let mut functions = gateway.functions();
        if functions.contains_key(&function.name) {
            return Err((500, format!("unable create Deployment: {} already exists", function.name)));
        }
        functions.insert(function.name.clone(), Arc::clone(&function));
    }
    tokio::spawn(control(Arc::clone(gateway), function));
    Ok(())
}

/// Writes the description down. An image that is not there is a failure that is only logged,
/// like the others: 200, and nothing changes.
pub(crate) async fn update(
    gateway: &Arc<Gateway>,
    function: &Arc<Function>,
    description: FunctionDescription,
) -> u16 {
    let program = match gateway.launcher.pull(&description.image).await {
        Ok(program) => program,
        Err(error) => {
            tracing::warn!("error updating deployment: {error}");
            return 200;
        }
    };
    {
        let mut state = function.state();
        if let Some(wanted) = Provider::Kubernetes.initial_replicas(&description) {
            state.wanted = wanted;
        }
        state.description = description;
        state.generation += 1;
        state.program = program;
        state.dropped = false;
    }
    function.wake.notify_one();
    202
}

pub(crate) fn delete(gateway: &Arc<Gateway>, function: &Arc<Function>) {
    gateway.functions().remove(&function.name);
    let slots: Vec<Slot> = {
        let mut state = function.state();
        state.gone = true;
        state.slots.drain(..).collect()
    };
    function.wake.notify_one();
    for slot in slots {
        retire(gateway, slot.replica);
    }
}

/// Round-robin over the replicas whose probe answered last; one that just ended among them
/// refuses the connection.
pub(crate) fn choose(function: &Function) -> Choice {
    let mut state = function.state();
    state.turn = state.turn.wrapping_add(1);
    let ready: Vec<&Slot> = state.slots.iter().filter(|slot| slot.is_ready()).collect();
    match ready.get(state.turn.checked_rem(ready.len()).unwrap_or(0)) {
        Some(slot) => Choice::Replica(Arc::clone(&slot.replica)),
        None => Choice::NoEndpoints,
    }
}

/// Brings what runs to what is written down, until the function is deleted.
async fn control(gateway: Arc<Gateway>, function: Arc<Function>) {
    loop {
        if function.state().gone {
            return;
        }
        if start_missing(&gateway, &function).await {
            // Probed at once: there is no initial delay.
            probe_all(&gateway, &function).await;
            continue;
        }
        for surplus in surplus(&mut function.state()) {
            retire(&gateway, surplus.replica);
        }
        tokio::select! {
            () = tokio::time::sleep(gateway.options.probe_period) => {
                probe_all(&gateway, &function).await;
            }
            () = function.wake.notified() => {}
        }
    }
}

/// Starts one replica if one is missing, or one that ended if its pause is over.
async fn start_missing(gateway: &Arc<Gateway>, function: &Arc<Function>) -> bool {
    let ended = {
        let mut state = function.state();
        let generation = state.generation;
        state.slots.retain(|slot| slot.generation == generation || slot.replica.is_running());
        let backoff = gateway.options.restart_backoff;
        state
            .slots
            .iter_mut()
            .find_map(|slot| restart_due(slot, backoff).then(|| slot.replica.instance.clone()))
    };
    let missing = {
        let state = function.state();
        let wanted = if state.dropped { 0 } else { state.wanted };
        let current = state.slots.iter().filter(|slot| slot.generation == state.generation).count() as u64;
        let old = state.slots.len() as u64 - current;
        current < wanted && (old == 0 || current + old < wanted + 1)
    };
    if ended.is_none() && !missing {
        return false;
    }
    let secrets = gateway.secrets().clone();
    let user = gateway.options.function_user;
    let (generation, plan) = function.plan(Provider::Kubernetes, &secrets, user);
    let replica = match gateway.start(plan).await {
        Ok(replica) => replica,
        Err(error) => {
            tracing::warn!(function = function.name, "CrashLoopBackOff: {error}");
            tokio::time::sleep(gateway.options.restart_backoff).await;
            return false;
        }
    };
    let mut state = function.state();
    if state.gone || state.generation != generation {
        drop(state);
        retire(gateway, replica);
        return false;
    }
    match state.slots.iter_mut().find(|slot| Some(&slot.replica.instance) == ended.as_ref()) {
        Some(slot) => {
            *slot = Slot { generation, replica, restarts: slot.restarts + 1, restart_at: None };
        }
        None => state.slots.push(Slot::new(generation, replica)),
    }
    true
}

/// Whether this slot's replica ended and has waited long enough; the first time at once.
fn restart_due(slot: &mut Slot, backoff: Duration) -> bool {
    if slot.replica.is_running() {
        return false;
    }
    slot.replica.ready.store(false, Ordering::Relaxed);
    let pause = match slot.restarts {
        0 => Duration::ZERO,
        restarts => backoff.saturating_mul(1 << (restarts - 1).min(16)).min(LONGEST_BACKOFF),
    };
    let now = Instant::now();
    now >= *slot.restart_at.get_or_insert(now + pause)
}

/// Takes out replicas that are too many: old ones as far as ready ones are left, then current ones.
fn surplus(state: &mut State) -> Vec<Slot> {
    let wanted = if state.dropped { 0 } else { usize::try_from(state.wanted).unwrap_or(usize::MAX) };
    let generation = state.generation;
    let mut taken = Vec::new();
    loop {
        let ready = state.slots.iter().filter(|slot| slot.is_ready()).count();
        let current = state.slots.iter().filter(|slot| slot.generation == generation).count();
        // An old one that is not ready serves nobody once there is a current one.
        let old = state.slots.iter().position(|slot| {
            slot.generation != generation && (ready > wanted || (!slot.is_ready() && current > 0))
        });
        let extra = || {
            let mut currents =
                state.slots.iter().enumerate().filter(|(_, slot)| slot.generation == generation);
            let unready = currents.clone().find(|(_, slot)| !slot.is_ready());
            unready.or_else(|| currents.next_back()).map(|(index, _)| index)
        };
        let Some(index) = old.or_else(|| if current > wanted { extra() } else { None }) else { return taken };
        taken.push(state.slots.remove(index));
    }
}

/// No new calls; those in flight have the grace period.
fn retire(gateway: &Arc<Gateway>, replica: Arc<Replica>) {
    let grace = gateway.options.grace_period;
    tokio::spawn(async move {
        replica.stop(grace).await;
    });
}

async fn probe_all(gateway: &Arc<Gateway>, function: &Arc<Function>) {
    let probes: Vec<_> = function
        .replicas()
        .into_iter()
        .map(|replica| tokio::spawn(probe(Arc::clone(gateway), replica)))
        .collect();
    for probe in probes {
        let _ = probe.await;
    }
}

/// GET /_/health: readiness and liveness in one.
async fn probe(gateway: Arc<Gateway>, replica: Arc<Replica>) {
    let url = format!("http://{}/_/health", replica.address);
    let request = gateway.client.get(url).timeout(gateway.options.probe_period / 2).send();
    if request.await.is_ok_and(|response| (200..400).contains(&response.status().as_u16())) {
        replica.failed_probes.store(0, Ordering::Relaxed);
        replica.ready.store(true, Ordering::Relaxed);
        return;
    }
    if replica.failed_probes.fetch_add(1, Ordering::Relaxed) + 1 == PROBE_FAILURES {
        replica.ready.store(false, Ordering::Relaxed);
        if replica.is_running() {
            tracing::warn!(instance = replica.instance, "liveness probe failed: starting again");
            let grace = gateway.options.grace_period;
            tokio::spawn(async move { replica.stop(grace).await });
        }
    }
}
