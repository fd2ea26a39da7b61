use super::profile::Loaded;
use crate::arguments::PartitionArguments;
use crate::context::Context;
use crate::failure::Failure;
use crate::prepare::require;
use tranche_schema::{Document as _, Profile};

pub fn run(context: &Context, arguments: &PartitionArguments) -> Result<(), Failure> {
    let settings = context.settings(&[&arguments.engine, &arguments.plan])?;
    require(&arguments.profile, "profile")?;
    let profile = Profile::read(&arguments.profile)?;
    let loaded = Loaded::new(context, &arguments.model, settings)?;
    let plan = loaded.walk(context).partition(&profile)?;
    plan.write(&arguments.output)?;
    context
        .printer
        .step("Planned", &format!("{} slice(s) → {}", plan.slices.len(), arguments.output.display()));
    context.printer.result(&plan, || tranche_partitioner::render(&plan))
}
