//! Undoing a deploy that failed.

use super::alias::Route;
use super::function::{Function, FunctionError, Patience};
use super::logs;
use super::rollout::{Done, Rollout};
use super::state::{Pending, Record};
use crate::{DeployError, DeployEvent};

/// Leads callers back and removes what was made. What cannot be removed is told, and stays
/// in the record for the next deploy or a destroy.
pub(super) async fn undo(
    rollout: &Rollout<'_>,
    former: &Record,
    done: Done,
    patience: &Patience,
    progress: &mut dyn FnMut(DeployEvent),
) -> Result<(), DeployError> {
    let session = rollout.session;
    let alias = &rollout.desired.settings.alias;
    let function = |name| Function { session, name, patience };
    let mut failure = None;
    for (name, version) in &done.routes {
        let result = match version {
            Some(version) => function(name).route(alias, &Route::to(version), false).await,
            None if done.functions.contains(name) => Ok(()),
            None => function(name).unroute(alias).await,
        };
        if let Err(error) = result {
            failure.get_or_insert(text(error));
        }
    }
    for (name, executions) in done.reserved.iter().filter(|(name, _)| !done.functions.contains(*name)) {
        if let Err(error) = function(name).reserve(*executions).await {
            failure.get_or_insert(text(error));
        }
    }
    // What an earlier deploy left and this one did not come to is still there.
    let mut left = former.pending.clone().unwrap_or_default();
    for name in &done.functions {
        let mut result = function(name).remove(None).await;
        if result.is_ok() {
            result = logs::remove_group(session, name).await.map_err(FunctionError::Aws);
        }
        match result {
            Ok(()) => {
                left.functions.remove(name);
                left.versions.remove(name);
            }
            Err(error) => {
                progress(left_over(&format!("function {name}"), error));
                left.functions.insert(name.clone());
            }
        }
    }
    for (name, version) in done.versions.iter().filter(|(name, _)| !done.functions.contains(*name)) {
        match function(name).remove(Some(version)).await {
            Ok(()) => drop(left.versions.remove(name)),
            Err(error) => {
                progress(left_over(&format!("version {version} of {name}"), error));
                left.versions.insert(name.clone(), version.clone());
            }
        }
    }
    let mut record = former.clone();
    if let Err(error) = done.things.undo(rollout, former).await {
        progress(left_over("a part", FunctionError::Aws(error)));
    }
    let is_clean = left == Pending::default();
    record.pending = (!is_clean).then_some(left);
    if is_clean && record.current.is_none() {
        rollout.state.remove(rollout.desired.name)?;
    } else {
        rollout.state.write(rollout.desired.name, &record)?;
    }
    match failure {
        Some(reason) => Err(DeployError::Remains { name: rollout.desired.name.to_owned(), remains: reason }),
        None => Ok(()),
    }
}

/// What to tell of something that is still there.
pub(super) fn left_over(what: &str, error: FunctionError) -> DeployEvent {
    let reason = text(error);
    DeployEvent::Notice {
        text: format!("{what} is left over, the next deploy or a destroy removes it: {reason}"),
    }
}

/// In words.
pub(super) fn text(error: FunctionError) -> String {
    match error {
        FunctionError::Aws(error) => error.to_string(),
        FunctionError::Failed { reason, .. } | FunctionError::Late(reason) => reason,
        FunctionError::GivenUp => "interrupted".to_owned(),
    }
}
