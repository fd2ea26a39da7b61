//! One module a verb.

mod compare;
mod cost;
mod demo;
mod deploy;
mod destroy;
mod diff;
mod doctor;
mod engine;
mod inspect;
mod invoke;
mod lock;
mod logs;
mod models;
mod package;
mod partition;
mod processes;
mod profile;
mod report;
mod run;
mod scale;
mod secret;
mod serve;
mod status;
mod targets;
mod verify;
mod versions;

pub(crate) use profile::Loaded;

use crate::arguments::{CommandLine, Verb};
use crate::context::Context;
use crate::failure::Failure;
use clap::CommandFactory as _;
use std::process::ExitCode;

/// Runs the verb.
///
/// # Errors
/// When it did not do what it was asked.
pub fn run(command_line: CommandLine) -> Result<ExitCode, Failure> {
    let context = Context::new(command_line.output);
    let done = |()| ExitCode::SUCCESS;
    match command_line.verb {
        Verb::Inspect(arguments) => inspect::run(&context, &arguments).map(done),
        Verb::Profile(arguments) => profile::run(&context, &arguments).map(done),
        Verb::Partition(arguments) => partition::run(&context, &arguments).map(done),
        Verb::Compare(arguments) => compare::run(&context, &arguments).map(done),
        Verb::Report(arguments) => report::run(&context, &arguments).map(done),
        Verb::Diff(arguments) => diff::run(&context, &arguments),
        Verb::Package(arguments) => package::run(&context, &arguments).map(done),
        Verb::Verify(arguments) => verify::run(&context, &arguments).map(done),
        Verb::Lock(arguments) => lock::run(&context, &arguments).map(done),
        Verb::Deploy(arguments) => deploy::run(&context, &arguments),
        Verb::Invoke(arguments) => invoke::run(&context, &arguments).map(done),
        Verb::Run(arguments) => run::run(&context, &arguments).map(done),
        Verb::Cost(arguments) => cost::run(&context, &arguments).map(done),
        Verb::Targets(arguments) => targets::run(&context, &arguments).map(done),
        Verb::Status(arguments) => status::run(&context, &arguments).map(done),
        Verb::Logs(arguments) => logs::run(&context, &arguments).map(done),
        Verb::Serve(arguments) => serve::run(&context, &arguments).map(done),
        Verb::Scale(arguments) => scale::run(&context, &arguments).map(done),
        Verb::Rollback(arguments) => versions::rollback(&context, &arguments).map(done),
        Verb::Promote(arguments) => versions::promote(&context, &arguments).map(done),
        Verb::Secret(verb) => secret::run(&context, &verb).map(done),
        Verb::Destroy(arguments) => destroy::run(&context, &arguments).map(done),
        Verb::Models(verb) => models::run(&context, &verb).map(done),
        Verb::Engine(verb) => engine::run(&context, &verb).map(done),
        Verb::Doctor(arguments) => doctor::run(&context, &arguments).map(done),
        Verb::Demo(arguments) => demo::run(&context, &arguments).map(done),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut CommandLine::command(), "tranche", &mut script);
            context.printer.text("completions", &String::from_utf8_lossy(&script)).map(done)
        }
        Verb::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(CommandLine::command())
                .render(&mut page)
                .map_err(|error| Failure::bug(format!("cannot render the manual page: {error}")))?;
            context.printer.text("man", &String::from_utf8_lossy(&page)).map(done)
        }
        Verb::Shim(options) => processes::shim(options),
        Verb::Supervise { folder } => processes::supervise(&folder),
        Verb::Measure => processes::measure().map(done),
    }
}
