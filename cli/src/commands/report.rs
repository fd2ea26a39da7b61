use crate::arguments::ReportArguments;
use crate::context::Context;
use crate::failure::Failure;
use crate::page;
use crate::report::{Report, html};

pub fn run(context: &Context, arguments: &ReportArguments) -> Result<(), Failure> {
    let report = Report::read(arguments)?;
    page::write(&arguments.output, &html(&report)?)?;
    let path = arguments.output.display();
    context.printer.step("Charted", &path.to_string());
    context.printer.result(&report.summary(&arguments.output), || path.to_string())
}
