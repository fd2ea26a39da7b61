use super::profile::Loaded;
use crate::arguments::PartitionArguments;
use crate::context::Context;
use crate::failure::Failure;
use crate::lock::Check;
use crate::prepare::require;
use tranche_schema::{Document as _, Profile};

pub fn run(context: &Context, arguments: &PartitionArguments) -> Result<(), Failure> {
    let settings = context.settings(&[&arguments.engine, &arguments.plan, &arguments.pricing])?;
    let mut check = Check::open(&arguments.locked)?;
    require(&arguments.profile, "profile")?;
    let profile = Profile::read(&arguments.profile)?;
    let loaded = Loaded::new(context, &arguments.model, settings)?;
    check.engine(&*loaded.engine).model(&loaded.prepared.path, &loaded.prepared.identity.digest);
    check.profile(&arguments.profile, &profile)?.end()?;
    let walk = loaded.walk(context);
    if let Some(path) = &arguments.steps {
        walk.write_steps(&profile, path)?;
    }
    let plan = walk.partition(&profile)?;
    // What is locked is not written over by something else.
    check.plan(&arguments.output, &plan)?.end()?;
    plan.write(&arguments.output)?;
    context
        .printer
        .step("Planned", &format!("{} slice(s) → {}", plan.slices.len(), arguments.output.display()));
    context.printer.result(&plan, || {
        if arguments.explain {
            tranche_partitioner::render_in_full(&plan)
        } else {
            tranche_partitioner::render(&plan)
        }
    })
}
