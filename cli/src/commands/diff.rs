use crate::arguments::DiffArguments;
use crate::context::Context;
use crate::failure::Failure;
use crate::prepare::require;
use std::process::ExitCode;
use tranche_partitioner::difference;
use tranche_schema::{Document as _, Plan, exit_code};

pub fn run(context: &Context, arguments: &DiffArguments) -> Result<ExitCode, Failure> {
    require(&arguments.base, "partition")?;
    require(&arguments.head, "partition")?;
    let found = difference::compare(&Plan::read(&arguments.base)?, &Plan::read(&arguments.head)?);
    if arguments.markdown {
        context.printer.text("markdown", difference::markdown(&found).trim_end())?;
    } else {
        context.printer.result(&found, || difference::render(&found))?;
    }
    let differ = arguments.detailed_exitcode && !found.same;
    Ok(ExitCode::from(if differ { exit_code::CHANGES_PENDING } else { exit_code::OK }))
}
