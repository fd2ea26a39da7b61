use crate::arguments::DeployArguments;
use crate::context::Context;
use crate::deployments;
use crate::failure::Failure;
use crate::prepare::require;
use crate::{interruption, table};
use std::process::ExitCode;
use std::time::Duration;
use tranche_deployer::{DeployOptions, DeployRequest, Target as _};
use tranche_schema::{Deployment, Document as _, Manifest, exit_code};

pub fn run(context: &Context, arguments: &DeployArguments) -> Result<ExitCode, Failure> {
    let settings = context.settings(&[&arguments.engine])?;
    let target = deployments::local_target(&settings)?;
    require(&arguments.bundle, "package")?;
    let manifest = Manifest::read(&arguments.bundle.join(Manifest::FILE))?;
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
            ready_timeout: Duration::from_secs(arguments.ready_deadline),
            interrupted: Some(&interruption::INTERRUPTED),
            ..DeployOptions::default()
        },
    };
    if arguments.dry_run {
        let changes = target.plan(&request)?;
        context.printer.result(&changes, || changes.to_string())?;
        let pending = arguments.detailed_exitcode && !changes.is_empty();
        return Ok(ExitCode::from(if pending { exit_code::CHANGES_PENDING } else { exit_code::OK }));
    }
    interruption::watch(context.printer.json());
    // An interruption waits until the deploy has undone itself.
    let undone = interruption::deployed();
    let deployment = deployments::deploy(context, &target, &request)?;
    drop(undone);
    context
        .printer
        .step("Deployed", &format!("`{}`; call it with `tranche invoke {0} --random`", deployment.name));
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
