use crate::arguments::LogsArguments;
use crate::context::Context;
use crate::failure::Failure;
use crate::targets;
use tranche_deployer::LogQuery;

pub fn run(context: &Context, arguments: &LogsArguments) -> Result<(), Failure> {
    let settings = context.settings(&[&arguments.place])?;
    let target = targets::target_of(&settings, &arguments.place, &arguments.name)?;
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
