use crate::arguments::CostArguments;
use crate::context::Context;
use crate::cost;
use crate::failure::Failure;
use crate::page;

pub fn run(context: &Context, arguments: &CostArguments) -> Result<(), Failure> {
    let report = cost::report(context, arguments)?;
    if let Some(path) = &arguments.html {
        page::write(path, &cost::html(&report))?;
        context.printer.step("Charted", &path.display().to_string());
    }
    context.printer.result(&report, || cost::text(&report))
}
