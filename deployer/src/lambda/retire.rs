//! Removing what neither serves nor served before.

use super::alias::Route;
use super::function::{Function, Patience};
use super::rollout::Rollout;
use super::state::{Generation, Record, State};
use super::undo::{left_over, text};
use super::{AwsSession, layers, logs, machine};
use crate::{DeployError, DeployEvent};
use std::collections::BTreeSet;
use std::time::Duration;
use tranche_packager::lambda::function_name;

const PATIENCE: Duration = Duration::from_secs(60);

/// After a deploy.
pub(super) async fn retire(
    rollout: &Rollout<'_>,
    former: &Record,
    record: &mut Record,
    progress: &mut dyn FnMut(DeployEvent),
) -> Result<(), DeployError> {
    let patience = rollout.patience(PATIENCE, false);
    retire_with(rollout.session, rollout.state, rollout.desired.name, &patience, former, record, progress)
        .await
}

/// Removes what is in `former` and not in `record`. The deployment serves already, so what
/// fails here is only told.
pub(super) async fn retire_with(
    session: &AwsSession,
    state: &State,
    name: &str,
    patience: &Patience,
    former: &Record,
    record: &mut Record,
    progress: &mut dyn FnMut(DeployEvent),
) -> Result<(), DeployError> {
    let function = |name| Function { session, name, patience };
    let kept = record.functions();
    let gone: BTreeSet<String> = former.functions().difference(&kept).cloned().collect();
    let old: Vec<(String, String)> = versions(former)
        .into_iter()
        .filter(|(name, version)| !gone.contains(name) && !record.needs(name, version))
        .collect();
    if !gone.is_empty() || !old.is_empty() {
        progress(DeployEvent::Draining);
    }
    for name in &gone {
        match function(name).remove(None).await {
            Ok(()) => {
                if let Err(error) = logs::remove_group(session, name).await {
                    progress(DeployEvent::Notice { text: error.to_string() });
                }
            }
            Err(error) => progress(left_over(&format!("function {name}"), error)),
        }
    }
    for (name, version) in &old {
        if let Err(error) = function(name).remove(Some(version)).await {
            progress(left_over(&format!("version {version} of {name}"), error));
        }
    }
    let needed: BTreeSet<String> = generations(record)
        .flat_map(|generation| generation.functions.iter().flat_map(|function| &function.layers))
        .map(|layer| function_name("tranche", &format!("{name}-{layer}")))
        .collect();
    let unused = record.made.layers.clone().into_iter().filter(|(layer, _)| !needed.contains(layer));
    for (layer, arn) in unused {
        match layers::remove(session, &layer, &arn).await {
            Ok(()) => drop(record.made.layers.remove(&layer)),
            Err(error) => progress(DeployEvent::Notice { text: error.to_string() }),
        }
    }
    if let Some(arn) = record.made.state_machine.clone()
        && generations(record).all(|generation| generation.definition.is_none())
    {
        match machine::remove(session, &arn).await {
            Ok(()) => record.made.state_machine = None,
            Err(error) => progress(DeployEvent::Notice { text: error.to_string() }),
        }
    }
    retire_url(session, patience, record, progress).await;
    state.write(name, record)
}

async fn retire_url(
    session: &AwsSession,
    patience: &Patience,
    record: &mut Record,
    progress: &mut dyn FnMut(DeployEvent),
) {
    let lambda = record.current.as_ref().and_then(|current| current.deployment.lambda.as_ref());
    let wanted = lambda.is_some_and(|lambda| lambda.entry_url.is_some());
    if record.made.entry_url.is_none() || wanted {
        return;
    }
    let lambda = generations(record).filter_map(|generation| generation.deployment.lambda.as_ref());
    let entry = lambda
        .filter_map(|lambda| Some((lambda.entry.as_ref()?.function.clone(), lambda.alias.clone())))
        .next();
    if let Some((name, alias)) = entry
        && let Err(error) = (Function { session, name: &name, patience }).remove_url(&alias).await
    {
        progress(DeployEvent::Notice { text: text(error) });
        return;
    }
    record.made.entry_url = None;
}

fn generations(record: &Record) -> impl Iterator<Item = &Generation> {
    let canary = record.canary.as_ref().map(|canary| &canary.generation);
    record.current.iter().chain(&record.previous).chain(canary)
}

/// Every version that a record names.
pub(super) fn versions(record: &Record) -> BTreeSet<(String, String)> {
    let named = generations(record).flat_map(Generation::versions);
    let mut all: BTreeSet<(String, String)> =
        named.map(|(name, version)| (name.to_owned(), version.to_owned())).collect();
    all.extend(record.pending.iter().flat_map(|pending| pending.versions.clone()));
    all
}

/// Moves an alias of each function from one route to another, or none.
pub(super) async fn reroute(
    session: &AwsSession,
    patience: &Patience,
    alias: &str,
    moves: &[(String, Route, Route)],
) -> Result<(), DeployError> {
    for (done, (name, _, to)) in moves.iter().enumerate() {
        if let Err(error) = (Function { session, name, patience }).route(alias, to, false).await {
            let cause = DeployError::Function {
                function: name.clone(),
                reason: text(error),
                log_tail: String::new(),
            };
            for (name, from, _) in moves.iter().take(done) {
                if let Err(error) = (Function { session, name, patience }).route(alias, from, false).await {
                    let reason = text(error);
                    return Err(DeployError::NotRestored {
                        name: name.clone(),
                        cause: Box::new(cause),
                        reason,
                    });
                }
            }
            return Err(cause);
        }
    }
    Ok(())
}
