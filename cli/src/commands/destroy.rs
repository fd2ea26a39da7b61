use crate::arguments::DestroyArguments;
use crate::context::Context;
use crate::deployments;
use crate::failure::Failure;
use serde::Serialize;
use tranche_deployer::Target as _;

#[derive(Serialize)]
struct Gone {
    name: String,
    functions: usize,
    drained: bool,
}

pub fn run(context: &Context, arguments: &DestroyArguments) -> Result<(), Failure> {
    let target = deployments::local_target(&context.settings(&[])?)?;
    let names = match &arguments.name {
        Some(name) if !arguments.all => vec![name.clone()],
        _ => target.list()?,
    };
    let mut gone = Vec::new();
    for name in names {
        let destroyed = target.destroy(&name)?;
        context.printer.step("Destroyed", &format!("`{name}`, {} function(s)", destroyed.functions));
        gone.push(Gone { name, functions: destroyed.functions, drained: destroyed.drained });
    }
    if context.printer.json() { context.printer.result(&gone, String::new) } else { Ok(()) }
}
