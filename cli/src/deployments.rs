//! Local deployments, as `deploy`, `invoke` and `run` use them.

use crate::config::Settings;
use crate::context::{Context, this_program};
use crate::failure::Failure;
use crate::interruption;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tranche_deployer::local::LocalTarget;
use tranche_deployer::{DeployEvent, DeployOptions, DeployRequest, Target};
use tranche_driver::{Call, Callback, Driver, Options};
use tranche_schema::{Bill, Deployment, MilliCpu, Tensor, TensorSpec, exit_code};

/// The local target with its state where the settings say.
///
/// # Errors
/// When this program's own path cannot be found.
pub fn local_target(settings: &Settings) -> Result<LocalTarget, Failure> {
    Ok(LocalTarget::new(settings.state(), this_program()?))
}

/// A deployment's name made of a model's: lower case letters, digits and dashes.
#[must_use]
pub fn name_for(model: &str) -> String {
    let name: String = model
        .to_lowercase()
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
        .collect();
    let name: String = name.trim_matches('-').chars().take(40).collect();
    if name.is_empty() { "model".to_owned() } else { name }
}

/// Deploys and tells how far it is.
///
/// # Errors
/// As the target.
pub fn deploy(
    context: &Context,
    target: &dyn Target,
    request: &DeployRequest,
) -> Result<Deployment, Failure> {
    let printer = &context.printer;
    let spinner = printer.spinner("Deploying");
    let deployed = target.deploy(request, &mut |event| match event {
        DeployEvent::Starting { functions } => {
            spinner.set_message(format!("starting {functions} function(s)"))
        }
        DeployEvent::Ready { function } => spinner.set_message(format!("{function} is ready")),
        DeployEvent::Draining => spinner.set_message("draining what ran before"),
        DeployEvent::Notice { text } => spinner.suspend(|| printer.warning(&text)),
        DeployEvent::BundleChecked | DeployEvent::Unchanged => {}
    });
    spinner.finish_and_clear();
    Ok(deployed?)
}

/// A deployment that is destroyed when it goes out of scope, unless kept.
pub struct Deployed {
    target: LocalTarget,
    deployment: Deployment,
    destroy: bool,
}

impl Deployed {
    /// Deploys a verified bundle.
    ///
    /// # Errors
    /// When it cannot be deployed.
    pub fn start(context: &Context, settings: &Settings, bundle: &Path, name: &str) -> Result<Self, Failure> {
        Self::start_with(context, settings, bundle, name, DeployOptions::default())
    }

    /// Deploys a bundle to be measured at this CPU share, verified or not.
    ///
    /// # Errors
    /// When it cannot be deployed.
    pub fn start_at(
        context: &Context,
        settings: &Settings,
        bundle: &Path,
        name: &str,
        cpu: MilliCpu,
    ) -> Result<Self, Failure> {
        let options = DeployOptions { cpu: Some(cpu), allow_unverified: true, ..DeployOptions::default() };
        Self::start_with(context, settings, bundle, name, options)
    }

    fn start_with(
        context: &Context,
        settings: &Settings,
        bundle: &Path,
        name: &str,
        options: DeployOptions,
    ) -> Result<Self, Failure> {
        let target = local_target(settings)?;
        let request = DeployRequest {
            bundle: bundle.to_owned(),
            name: name.to_owned(),
            options: DeployOptions {
                engine: Some(settings.engine.clone()),
                onnxruntime: settings.library(),
                optimise: settings.optimise,
                ready_timeout: settings.deadline(),
                interrupted: Some(&interruption::INTERRUPTED),
                ..options
            },
        };
        let mut deployed = interruption::deployed();
        let deployment = deploy(context, &target, &request)?;
        deployed.push((target.clone(), name.to_owned()));
        Ok(Self { target, deployment, destroy: true })
    }

    /// How many functions it has.
    #[must_use]
    pub fn functions(&self) -> usize {
        self.deployment.functions.len()
    }

    /// Destroys it, or keeps it and gives its name.
    ///
    /// # Errors
    /// When something of it cannot be removed.
    pub fn end(mut self, keep: bool) -> Result<Option<String>, Failure> {
        self.destroy = false;
        let mut deployed = interruption::deployed();
        deployed.retain(|(_, name)| name != &self.deployment.name);
        if keep {
            return Ok(Some(self.deployment.name.clone()));
        }
        self.target.destroy(&self.deployment.name)?;
        Ok(None)
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        if !self.destroy {
            return;
        }
        let mut deployed = interruption::deployed();
        deployed.retain(|(_, name)| name != &self.deployment.name);
        if let Err(error) = self.target.destroy(&self.deployment.name) {
            tracing::warn!("cannot destroy {}: {error}", self.deployment.name);
        }
    }
}

/// What a number of equal requests gave: their median bill, and the last one's outputs.
pub type Called = (Bill, Vec<(String, Tensor)>);

/// Sends the same request several times to each deployment, in turn, so that what
/// else the machine does falls on all alike. One more goes first that is not counted.
///
/// # Errors
/// When a request fails.
pub fn call_in_turn(
    deployed: &[&Deployed],
    inputs: &[(TensorSpec, Tensor)],
    requests: u32,
    deadline: Duration,
) -> Result<Vec<Called>, Failure> {
    let deployments = deployed.iter().map(|deployed| deployed.deployment.clone()).collect();
    call_all(deployments, inputs, requests, true, deadline, None)
}

/// Where functions that hand requests on post the answer: a listener's address, and
/// its URL where functions reach it by another.
pub type CallbackPlace = (SocketAddr, Option<String>);

/// Sends the same request several times to a deployment. With a callback, slices
/// hand it on to each other and the answer is waited for there.
///
/// # Errors
/// When a request fails.
pub fn call(
    deployment: Deployment,
    inputs: &[(TensorSpec, Tensor)],
    requests: u32,
    deadline: Duration,
    callback: Option<CallbackPlace>,
) -> Result<Called, Failure> {
    let called = call_all(vec![deployment], inputs, requests, false, deadline, callback)?;
    called.into_iter().next().ok_or_else(|| Failure::bug("no request was sent"))
}

fn call_all(
    deployments: Vec<Deployment>,
    inputs: &[(TensorSpec, Tensor)],
    requests: u32,
    warm: bool,
    deadline: Duration,
    callback: Option<CallbackPlace>,
) -> Result<Vec<Called>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::new("driver", exit_code::REMOTE, format!("cannot start the driver: {error}"))
    })?;
    let inputs: Vec<(String, Tensor)> =
        inputs.iter().map(|(spec, tensor)| (spec.name.clone(), tensor.clone())).collect();
    runtime.block_on(async {
        let callback = match &callback {
            Some((address, url)) => Some(Callback::listen(*address, url.as_deref()).await?),
            None => None,
        };
        let mut calls = Vec::with_capacity(deployments.len());
        for deployment in deployments {
            let driver = Driver::connect(deployment, Options { deadline, ..Options::default() })?;
            if warm {
                driver.invoke(inputs.clone()).await?;
            }
            calls.push((driver, Vec::new(), Vec::new()));
        }
        for _ in 0..requests.max(1) {
            for (driver, bills, outputs) in &mut calls {
                let answer = match &callback {
                    Some(callback) => {
                        driver.invoke_onward(inputs.clone(), &Call::default(), callback).await?
                    }
                    None => driver.invoke(inputs.clone()).await?,
                };
                bills.push(answer.bill);
                *outputs = answer.outputs;
            }
        }
        calls
            .into_iter()
            .map(|(_, bills, outputs)| {
                let bill =
                    tranche_driver::median(&bills).ok_or_else(|| Failure::bug("no request was billed"))?;
                Ok((bill, outputs))
            })
            .collect()
    })
}
