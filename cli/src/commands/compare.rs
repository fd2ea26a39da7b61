use super::profile::Loaded;
use crate::arguments::CompareArguments;
use crate::compare;
use crate::context::Context;
use crate::failure::Failure;
use crate::prepare::require;
use tranche_schema::{Document as _, Profile};

pub fn run(context: &Context, arguments: &CompareArguments) -> Result<(), Failure> {
    let settings = context.settings(&[&arguments.engine, &arguments.plan])?;
    require(&arguments.profile, "profile")?;
    let profile = Profile::read(&arguments.profile)?;
    let loaded = Loaded::new(context, &arguments.model, settings)?;
    let comparison = compare::compare(&[loaded.walk(context)], &profile)?;
    context.printer.result(&comparison, || compare::text(&comparison))
}
