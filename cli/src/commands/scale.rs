use crate::arguments::ScaleArguments;
use crate::context::Context;
use crate::failure::Failure;
use crate::targets;

pub fn run(context: &Context, arguments: &ScaleArguments) -> Result<(), Failure> {
    let settings = context.settings(&[&arguments.place])?;
    let target = targets::target_of(&settings, &arguments.place, &arguments.name)?;
    target.scale(&arguments.name, arguments.slice.as_deref(), arguments.replicas)?;
    let what = arguments.slice.as_deref().unwrap_or("every function");
    context.printer.step("Scaled", &format!("{what} of `{}` to {}", arguments.name, arguments.replicas));
    if !context.printer.json() {
        return Ok(());
    }
    context.printer.result(&target.status(&arguments.name)?, String::new)
}
