use crate::arguments::CostArguments;
use crate::context::Context;
use crate::cost;
use crate::failure::Failure;
use tranche_schema::{exit_code, write_atomically};

pub fn run(context: &Context, arguments: &CostArguments) -> Result<(), Failure> {
    let report = cost::report(context, arguments)?;
    if let Some(path) = &arguments.html {
        write_atomically(path, cost::html(&report).as_bytes()).map_err(|error| {
            Failure::new("report", exit_code::USAGE, format!("cannot write {}: {error}", path.display()))
                .hint("check that the folder exists, is writable and has space")
        })?;
        context.printer.step("Charted", &path.display().to_string());
    }
    context.printer.result(&report, || cost::text(&report))
}
