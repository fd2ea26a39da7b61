use crate::arguments::LogsArguments;
use crate::context::Context;
use crate::deployments;
use crate::failure::Failure;
use tranche_deployer::{LogQuery, Target as _};

pub fn run(context: &Context, arguments: &LogsArguments) -> Result<(), Failure> {
    let target = deployments::local_target(&context.settings(&[])?)?;
    let query = LogQuery { function: arguments.slice.clone(), tail: Some(arguments.lines) };
    let logs = target.logs(&arguments.name, &query)?;
    context.printer.result(&logs, || {
        let mut text = String::new();
        for log in &logs {
            for line in &log.lines {
                text.push_str(&format!("{} | {line}\n", log.function));
            }
        }
        text
    })
}
