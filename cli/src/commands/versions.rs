//! `rollback` and `promote`: which versions of functions on Lambda callers get.

use crate::arguments::VersionArguments;
use crate::context::Context;
use crate::deployments::show;
use crate::failure::Failure;
use crate::targets;
use tranche_deployer::DeployError;
use tranche_schema::Deployment;

/// Ends a canary, or goes back to what served before.
///
/// # Errors
/// When nothing served before, or an alias cannot be moved.
pub fn rollback(context: &Context, arguments: &VersionArguments) -> Result<(), Failure> {
    let settings = context.settings(&[&arguments.aws])?;
    let target = targets::lambda_target(&settings, Some(&arguments.name))?;
    let deployment = if target.has_canary(&arguments.name)? {
        let spinner = context.printer.spinner("Ending the canary");
        let ended = target.abort(&arguments.name, &mut |event| show(&spinner, &context.printer, event));
        spinner.finish_and_clear();
        ended?
    } else {
        target.rollback(&arguments.name)?
    };
    context.printer.step("Rolled back", &format!("`{}`", deployment.name));
    context.printer.result(&deployment, || render(&deployment))
}

/// Gives the versions of a canary all requests.
///
/// # Errors
/// When there is no canary, or an alias cannot be moved.
pub fn promote(context: &Context, arguments: &VersionArguments) -> Result<(), Failure> {
    let settings = context.settings(&[&arguments.aws])?;
    let target = targets::lambda_target(&settings, Some(&arguments.name))?;
    let spinner = context.printer.spinner("Promoting");
    let promoted: Result<Deployment, DeployError> =
        target.promote(&arguments.name, &mut |event| show(&spinner, &context.printer, event));
    spinner.finish_and_clear();
    let deployment = promoted?;
    context.printer.step("Promoted", &format!("`{}`", deployment.name));
    context.printer.result(&deployment, || render(&deployment))
}

fn render(deployment: &Deployment) -> String {
    let functions = deployment.lambda.iter().flat_map(|lambda| &lambda.functions);
    let lines: Vec<String> =
        functions.map(|function| format!("{}: version {}", function.function, function.version)).collect();
    lines.join("\n")
}
