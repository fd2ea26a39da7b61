//! Removing a deployment, whatever state it is in.

use super::bucket::BucketOf;
use super::diff::Presence;
use super::function::{Function, Patience};
use super::state::Record;
use super::{AwsError, AwsSession, layers, logs, machine, role};
use crate::DeployError;
use std::collections::BTreeSet;
use tranche_packager::lambda::tags;

/// How long after its function a log is looked for again.
const LATE_LOGS: std::time::Duration = std::time::Duration::from_secs(1);

/// Removes everything that was made for a deployment and nothing else; how many functions
/// that were. What is somebody else's by now is left alone.
pub(super) async fn remove(
    session: &AwsSession,
    name: &str,
    account: &str,
    record: Option<&Record>,
    patience: &Patience,
) -> Result<usize, DeployError> {
    let mut failures = Vec::new();
    let mut note = |result: Result<(), String>| failures.extend(result.err());
    if let Some(arn) = record.and_then(|record| record.made.state_machine.as_ref()) {
        note(machine::remove(session, arn).await.map_err(|error| error.to_string()));
    }
    let functions = find(session, name, record).await?;
    let entry = record.and_then(|record| record.made.entry_url.as_ref().zip(record.current.as_ref()));
    let lambda = entry.and_then(|(_, current)| current.deployment.lambda.as_ref());
    if let Some((entry, lambda)) = lambda.and_then(|lambda| Some((lambda.entry.as_ref()?, lambda)))
        && functions.contains(&entry.function)
    {
        let function = Function { session, name: &entry.function, patience };
        note(function.remove_url(&lambda.alias).await.map_err(super::undo::text));
    }
    for function in &functions {
        let result = Function { session, name: function, patience }.remove(None).await;
        note(result.map_err(super::undo::text));
        note(logs::remove_group(session, function).await.map_err(|error| error.to_string()));
    }
    if let Some(record) = record {
        for (layer, arn) in &record.made.layers {
            note(layers::remove(session, layer, arn).await.map_err(|error| error.to_string()));
        }
        if let Some(made) = &record.made.bucket {
            let bucket = BucketOf { session, name: &made.name, account };
            note(bucket.clear(name, made.own).await.map_err(|error| error.to_string()));
        }
        for role in record.made.roles.keys() {
            note(role::remove(session, role).await.map_err(|error| error.to_string()));
        }
    }
    // A call that was under way when its function went writes its log, and makes it again.
    tokio::time::sleep(LATE_LOGS).await;
    for function in &functions {
        note(logs::remove_group(session, function).await.map_err(|error| error.to_string()));
    }
    if failures.is_empty() {
        return Ok(functions.len());
    }
    Err(DeployError::Remains { name: name.to_owned(), remains: failures.join("; ") })
}

/// Functions with the deployment's tag: those of the record, and those that only AWS knows.
pub(super) async fn find(
    session: &AwsSession,
    name: &str,
    record: Option<&Record>,
) -> Result<BTreeSet<String>, AwsError> {
    let mut candidates = record.map(Record::functions).unwrap_or_default();
    let mut pages = session.lambda.list_functions().into_paginator().send();
    let prefix = format!("{name}-");
    while let Some(page) = pages.next().await {
        let page = page.map_err(AwsError::of("list functions"))?;
        let names = page.functions().iter().filter_map(|function| function.function_name());
        candidates.extend(names.filter(|function| function.starts_with(&prefix)).map(str::to_owned));
    }
    let mut ours = BTreeSet::new();
    for candidate in candidates {
        let found = Function::find(session, &candidate, "$LATEST", true).await?;
        if found.presence != Presence::Absent
            && found.tags.get(tags::DEPLOYMENT).is_some_and(|owner| owner == name)
        {
            ours.insert(candidate);
        }
    }
    Ok(ours)
}
