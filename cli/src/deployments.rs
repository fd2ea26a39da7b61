//! Local deployments, as `deploy`, `invoke` and `run` use them.

use crate::config::Settings;
use crate::context::{Context, this_program};
use crate::failure::Failure;
use crate::interruption;
use crate::printer::Printer;
use indicatif::ProgressBar;
use std::path::Path;
use tranche_deployer::local::LocalTarget;
use tranche_deployer::{DeployEvent, DeployOptions, DeployRequest, Target};
use tranche_schema::{Deployment, MilliCpu};

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
    let deployed = target.deploy(request, &mut |event| show(&spinner, printer, event));
    spinner.finish_and_clear();
    Ok(deployed?)
}

/// Shows how far a change of a deployment is.
pub fn show(spinner: &ProgressBar, printer: &Printer, event: DeployEvent) {
    match event {
        DeployEvent::Starting { functions } => {
            spinner.set_message(format!("starting {functions} function(s)"));
        }
        DeployEvent::Ready { function } => spinner.set_message(format!("{function} is ready")),
        DeployEvent::Draining => spinner.set_message("draining what ran before"),
        DeployEvent::Notice { text } => spinner.suspend(|| printer.warning(&text)),
        DeployEvent::BundleChecked | DeployEvent::Unchanged => {}
    }
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

    /// Deploys a bundle to be measured as planned, verified or not.
    ///
    /// # Errors
    /// When it cannot be deployed.
    pub fn start_unverified(
        context: &Context,
        settings: &Settings,
        bundle: &Path,
        name: &str,
    ) -> Result<Self, Failure> {
        let options = DeployOptions { allow_unverified: true, ..DeployOptions::default() };
        Self::start_with(context, settings, bundle, name, options)
    }

    /// Functions that the kernel has killed at their memory limits.
    #[must_use]
    pub fn out_of_memory(&self) -> Vec<String> {
        let Ok(status) = self.target.status(&self.deployment.name) else { return Vec::new() };
        let killed = status
            .functions
            .into_iter()
            .filter(|function| function.last_exit.is_some_and(|exit| exit.out_of_memory));
        killed.map(|function| function.name).collect()
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

    /// What was deployed.
    #[must_use]
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
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
