use crate::arguments::DestroyArguments;
use crate::context::Context;
use crate::failure::Failure;
use crate::targets;
use serde::Serialize;

#[derive(Serialize)]
struct Gone {
    name: String,
    functions: usize,
    drained: bool,
}

pub fn run(context: &Context, arguments: &DestroyArguments) -> Result<(), Failure> {
    let settings = context.settings(&[&arguments.place])?;
    let places = match &arguments.name {
        Some(name) if !arguments.all => {
            vec![(name.clone(), targets::target_of(&settings, &arguments.place, name)?)]
        }
        _ => targets::all(&settings, &arguments.place)?,
    };
    let mut gone = Vec::new();
    for (name, target) in places {
        let destroyed = target.destroy(&name)?;
        context.printer.step("Destroyed", &format!("`{name}`, {} function(s)", destroyed.functions));
        gone.push(Gone { name, functions: destroyed.functions, drained: destroyed.drained });
    }
    if context.printer.json() { context.printer.result(&gone, String::new) } else { Ok(()) }
}
