use crate::arguments::DeployArguments;
use crate::config::Settings;
use crate::context::Context;
use crate::deployments;
use crate::failure::Failure;
use crate::lock::Check;
use crate::prepare::require;
use crate::targets::Kind;
use crate::{interruption, lambda, openfaas, table};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tranche_deployer::{DeployOptions, DeployRequest, Target};
use tranche_schema::{Deployment, Document as _, Manifest, exit_code};

/// What was written instead of deploying.
#[derive(Serialize)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packages: Option<PathBuf>,
    written: Vec<PathBuf>,
}

pub fn run(context: &Context, arguments: &DeployArguments) -> Result<ExitCode, Failure> {
    let settings = context.settings(&[
        &arguments.engine,
        &arguments.gateway,
        &arguments.openfaas,
        &arguments.aws,
        &arguments.lambda,
    ])?;
    require(&arguments.bundle, "package")?;
    let manifest = Manifest::read(&arguments.bundle.join(Manifest::FILE))?;
    let mut check = Check::open(&arguments.locked)?;
    check.engine_name(arguments.engine.engine.as_deref().unwrap_or(&manifest.engine));
    check.model(&arguments.bundle, &manifest.model.digest).manifest(&arguments.bundle, &manifest)?.end()?;
    let request = DeployRequest {
        bundle: arguments.bundle.clone(),
        name: arguments.name.clone().unwrap_or_else(|| deployments::name_for(&manifest.model.name)),
        options: DeployOptions {
            // Slices run on the engine they were measured on, unless told otherwise.
            engine: arguments.engine.engine.clone(),
            onnxruntime: settings.library(),
            optimise: settings.optimise,
            allow_unverified: arguments.allow_unverified,
            limits: !arguments.no_limits,
            scale_to_zero: arguments.scale_to_zero.map(Duration::from_secs),
            ready_timeout: Duration::from_secs(arguments.ready_deadline),
            interrupted: Some(&interruption::INTERRUPTED),
            ..DeployOptions::default()
        },
    };
    let stage = Stage { context, settings: &settings, arguments, request: &request, manifest: &manifest };
    let kind: Kind = arguments.target.parse()?;
    if arguments.scale_to_zero.is_some() && !matches!(kind, Kind::Local) {
        return Err(Failure::usage(format!(
            "`--scale-to-zero` is for the local target, not {}",
            arguments.target
        ))
        .hint("functions on Lambda are stopped by Lambda; OpenFaaS's Community Edition stops none"));
    }
    match kind {
        Kind::Local => apply(context, arguments, &deployments::local_target(&settings)?, &request),
        Kind::OpenFaas => stage.to_openfaas(),
        Kind::Lambda => stage.to_lambda(),
    }
}

/// A bundle on its way to a platform.
struct Stage<'a> {
    context: &'a Context,
    settings: &'a Settings,
    arguments: &'a DeployArguments,
    request: &'a DeployRequest,
    manifest: &'a Manifest,
}

impl Stage<'_> {
    fn to_openfaas(&self) -> Result<ExitCode, Failure> {
        let Self { context, settings, arguments, request, manifest } = *self;
        let route = openfaas::Route { context, settings, arguments, request, manifest };
        let (folder, index) = route.images()?;
        let options = &arguments.openfaas;
        if arguments.emit.is_some() || options.oci_archive.is_some() {
            let mut written = Vec::new();
            if let Some(path) = &options.oci_archive {
                route.archive(&folder, path)?;
                written.push(path.clone());
            }
            if let Some(path) = &arguments.emit {
                written.extend(route.emit(path, &index, &route.references(&index)?)?);
            }
            return self.written(&Written { images: Some(folder), packages: None, written });
        }
        let references = route.references(&index)?;
        // What the gateway would refuse is refused before anything is sent anywhere.
        let target = route.target(index, &references)?;
        if !arguments.dry_run {
            target.plan(request)?;
            route.push(&folder, &references)?;
        }
        apply(context, arguments, &target, request)
    }

    fn to_lambda(&self) -> Result<ExitCode, Failure> {
        let Self { context, settings, arguments, request, manifest } = *self;
        let route = lambda::Route { context, settings, arguments, request, manifest };
        let (folder, index) = route.packages()?;
        if let Some(path) = &arguments.emit {
            let written = route.emit(path, &folder, &index)?;
            return self.written(&Written { images: None, packages: Some(folder), written });
        }
        let target = route.target(&folder, index)?;
        apply(context, arguments, &target, request)
    }

    fn written(&self, written: &Written) -> Result<ExitCode, Failure> {
        self.context.printer.result(written, || {
            let lines: Vec<String> = written.written.iter().map(|path| path.display().to_string()).collect();
            lines.join("\n")
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

fn apply(
    context: &Context,
    arguments: &DeployArguments,
    target: &dyn Target,
    request: &DeployRequest,
) -> Result<ExitCode, Failure> {
    if arguments.dry_run {
        let changes = target.plan(request)?;
        context.printer.result(&changes, || changes.to_string())?;
        let pending = arguments.detailed_exitcode && !changes.is_empty();
        return Ok(ExitCode::from(if pending { exit_code::CHANGES_PENDING } else { exit_code::OK }));
    }
    interruption::watch(context.printer.json());
    // An interruption waits until the deploy has undone itself.
    let undone = interruption::deployed();
    let deployment = deployments::deploy(context, target, request)?;
    drop(undone);
    context
        .printer
        .step("Deployed", &format!("`{}`; call it with `tranche invoke {0} --random`", deployment.name));
    if let Some(openfaas) = &deployment.openfaas
        && let Some(front_door) = &openfaas.front_door
    {
        context.printer.step(
            "Serving",
            &format!("whole requests at {}/function/{}", openfaas.gateway, front_door.function),
        );
    }
    if let Some(entry) = deployment.lambda.as_ref().and_then(|lambda| lambda.entry_url.as_ref()) {
        context.printer.step("Serving", &format!("whole requests at {entry}"));
    }
    context.printer.result(&deployment, || render(&deployment))?;
    Ok(ExitCode::SUCCESS)
}

fn render(deployment: &Deployment) -> String {
    let rows: Vec<Vec<String>> = deployment
        .functions
        .iter()
        .map(|function| {
            vec![
                function.slice.clone(),
                function.size.memory_bytes.to_string(),
                function.size.cpu_milli.to_string(),
                match (function.limits.memory, function.limits.cpu) {
                    (true, true) => "enforced",
                    (true, false) => "memory only",
                    (false, true) => "CPU only",
                    (false, false) => "not enforced",
                }
                .to_owned(),
            ]
        })
        .collect();
    table::render(&["function", "memory", "CPU", "limits"], &rows, &["function", "limits"])
}
