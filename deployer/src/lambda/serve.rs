//! What can be done to a deployment that serves, without deploying.

use super::alias::Route;
use super::function::{Function, Patience};
use super::retire::{reroute, retire_with};
use super::state::{Generation, Record, State};
use super::undo::text;
use super::{AwsSession, machine};
use crate::{DeployError, DeployEvent};
use std::collections::BTreeMap;
use tranche_schema::Deployment;

/// A deployment, and who changes it.
pub(super) struct Serving<'a> {
    pub session: &'a AwsSession,
    pub state: &'a State,
    pub name: &'a str,
    pub record: Record,
    pub patience: &'a Patience,
}

impl Serving<'_> {
    fn current(&self) -> Result<&Generation, DeployError> {
        self.record.current.as_ref().ok_or_else(|| DeployError::NotFound { name: self.name.to_owned() })
    }

    fn canary_error(&self, reason: &str) -> DeployError {
        DeployError::Canary { name: self.name.to_owned(), reason: reason.to_owned() }
    }

    fn alias(&self) -> Result<String, DeployError> {
        let lambda = self.current()?.deployment.lambda.as_ref();
        Ok(lambda.map_or("live", |lambda| &lambda.alias).to_owned())
    }

    /// Leads callers to what served before; again, and they are led forward.
    pub async fn rollback(mut self) -> Result<Deployment, DeployError> {
        if self.record.canary.is_some() {
            return Err(self.canary_error("new versions get a part of the requests"));
        }
        let current = self.current()?.clone();
        let previous = self.record.previous.clone();
        let previous = previous.ok_or_else(|| DeployError::NoPrevious { name: self.name.to_owned() })?;
        let now = owned(&current);
        let moves: Vec<(String, Route, Route)> = owned(&previous)
            .into_iter()
            .filter(|(name, version)| now.get(name) != Some(version))
            .map(|(name, version)| {
                let from = now.get(&name).unwrap_or(&version);
                (name, Route::to(from), Route::to(&version))
            })
            .collect();
        let alias = self.alias()?;
        reroute(self.session, self.patience, &alias, &moves).await?;
        if let (Some(arn), Some(definition)) = (&self.record.made.state_machine, &previous.definition)
            && previous.definition != current.definition
        {
            machine::redefine(self.session, arn, definition).await?;
        }
        self.tag(&previous).await?;
        self.record.previous = Some(current);
        self.record.current = Some(previous.clone());
        self.state.write(self.name, &self.record)?;
        Ok(previous.deployment)
    }

    /// Tags say what serves.
    async fn tag(&self, generation: &Generation) -> Result<(), DeployError> {
        for function in &generation.functions {
            let target = Function { session: self.session, name: &function.name, patience: self.patience };
            target
                .tag(&self.record.account, &function.tags)
                .await
                .map_err(|error| failed(&function.name, error))?;
        }
        Ok(())
    }

    /// Versions of a canary with those that serve beside them, where they differ.
    fn split(&self) -> Result<Vec<(String, String, String)>, DeployError> {
        let canary = self.record.canary.as_ref().ok_or_else(|| self.canary_error("there is none"))?;
        let now = owned(self.current()?);
        let changed = owned(&canary.generation).into_iter();
        Ok(changed
            .filter_map(|(name, new)| {
                let old = now.get(&name)?.clone();
                (old != new).then_some((name, old, new))
            })
            .collect())
    }

    /// Gives a canary another share of the requests.
    pub async fn weigh(mut self, weight: f64) -> Result<(), DeployError> {
        check_weight(self.name, weight)?;
        let before = self.record.canary.as_ref().map_or(weight, |canary| canary.weight);
        let route = |old: &str, new: &str, weight| Route {
            version: old.to_owned(),
            canary: Some((new.to_owned(), weight)),
        };
        let moves: Vec<(String, Route, Route)> = self
            .split()?
            .into_iter()
            .map(|(name, old, new)| (name, route(&old, &new, before), route(&old, &new, weight)))
            .collect();
        reroute(self.session, self.patience, &self.alias()?, &moves).await?;
        if let Some(canary) = &mut self.record.canary {
            canary.weight = weight;
        }
        self.state.write(self.name, &self.record)
    }

    /// Ends a canary: with `promote` its versions get all requests, else none, and go.
    pub async fn end_canary(
        mut self,
        promote: bool,
        progress: &mut dyn FnMut(DeployEvent),
    ) -> Result<Deployment, DeployError> {
        let split = self.split()?;
        let weight = self.record.canary.as_ref().map_or(0.0, |canary| canary.weight);
        let moves: Vec<(String, Route, Route)> = split
            .into_iter()
            .map(|(name, old, new)| {
                let to = Route::to(if promote { &new } else { &old });
                (name, Route { version: old, canary: Some((new, weight)) }, to)
            })
            .collect();
        reroute(self.session, self.patience, &self.alias()?, &moves).await?;
        let former = self.record.clone();
        let Some(canary) = self.record.canary.take() else {
            return Err(self.canary_error("there is none"));
        };
        if promote {
            self.record.previous = self.record.current.replace(canary.generation);
        }
        let serving = self.current()?.clone();
        self.tag(&serving).await?;
        self.state.write(self.name, &self.record)?;
        let record = &mut self.record;
        retire_with(self.session, self.state, self.name, self.patience, &former, record, progress).await?;
        Ok(serving.deployment)
    }

    /// Sets concurrency aside for a function, or all of them, and keeps environments ready.
    pub async fn set_concurrency(
        mut self,
        slice: Option<&str>,
        reserved: Option<u32>,
        provisioned: Option<u32>,
    ) -> Result<(), DeployError> {
        let alias = self.alias()?;
        let Some(current) = &mut self.record.current else {
            return Err(DeployError::NotFound { name: self.name.to_owned() });
        };
        let wanted = |name: &str| slice.is_none_or(|slice| slice == name);
        if !current.functions.iter().any(|function| wanted(&function.slice)) {
            let name = format!("{}/{}", self.name, slice.unwrap_or_default());
            return Err(DeployError::NotFound { name });
        }
        for function in current.functions.iter_mut().filter(|function| wanted(&function.slice)) {
            let target = Function { session: self.session, name: &function.name, patience: self.patience };
            if function.reserved_concurrency != reserved {
                target.reserve(reserved).await.map_err(|error| failed(&function.slice, error))?;
                function.reserved_concurrency = reserved;
            }
            if function.provisioned_concurrency != provisioned {
                let done = target.provision(&alias, provisioned).await;
                done.map_err(|error| failed(&function.slice, error))?;
                function.provisioned_concurrency = provisioned;
            }
        }
        self.state.write(self.name, &self.record)
    }
}

/// A share of the requests that leaves some to the others.
pub(super) fn check_weight(name: &str, weight: f64) -> Result<(), DeployError> {
    if weight > 0.0 && weight < 1.0 {
        return Ok(());
    }
    let reason = format!("{weight} is no share of the requests between 0 and 1");
    Err(DeployError::Canary { name: name.to_owned(), reason })
}

fn failed(function: &str, error: super::function::FunctionError) -> DeployError {
    DeployError::Function { function: function.to_owned(), reason: text(error), log_tail: String::new() }
}

fn owned(generation: &Generation) -> BTreeMap<String, String> {
    let versions = generation.versions().into_iter();
    versions.map(|(name, version)| (name.to_owned(), version.to_owned())).collect()
}
