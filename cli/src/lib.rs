//! The `tranche` command: arguments, settings, output, and the verbs.
//!
//! Verbs are thin: each calls the crate whose stage it is and prints what came
//! of it. Errors of all crates become a [`failure::Failure`] with a hint and an
//! exit code.

mod accuracy;
pub mod arguments;
mod calls;
pub mod catalogue;
mod commands;
mod compare;
pub mod config;
pub mod context;
mod cost;
pub mod deployments;
pub mod failure;
mod guard;
mod images;
pub mod inputs;
mod interruption;
mod lambda;
mod link;
pub mod lock;
mod openfaas;
mod page;
pub mod pipeline;
pub mod prepare;
mod prices;
pub mod printer;
mod programs;
mod report;
mod settle;
pub mod table;
mod targets;
pub mod tensor_files;
pub mod verification;

use clap::Parser as _;
use failure::Failure;
use std::process::ExitCode;

/// Parses the command line, runs the verb, prints a failure where it arose.
#[must_use]
pub fn main() -> ExitCode {
    let command_line = match arguments::CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(error) => return refuse(&error),
    };
    let json = command_line.output.json;
    start_logging(command_line.output.verbose);
    match commands::run(command_line) {
        Ok(code) => code,
        Err(failure) => {
            interruption::wait_for_end();
            report(&failure, json);
            ExitCode::from(failure.exit_code)
        }
    }
}

/// Prints help, a version, or what is wrong with the command line: as a JSON
/// document where that was asked for.
fn refuse(error: &clap::Error) -> ExitCode {
    let json =
        std::env::args_os().take_while(|argument| argument != "--").any(|argument| argument == "--json");
    if !error.use_stderr() || !json {
        // A closed pipe has nobody to tell.
        let _ = error.print();
        return ExitCode::from(error.exit_code().try_into().unwrap_or(tranche_schema::exit_code::USAGE));
    }
    let text = error.render().to_string();
    let mut parts = text.trim().trim_start_matches("error: ").splitn(2, "\n\n");
    let mut failure = Failure::usage(parts.next().unwrap_or_default());
    failure.hint = parts.next().map(|hint| hint.trim().to_owned());
    report(&failure, true);
    ExitCode::from(failure.exit_code)
}

/// A failure as JSON on standard output, or as text on standard error.
fn report(failure: &Failure, json: bool) {
    use std::io::Write as _;
    if json {
        let _ = writeln!(anstream::stdout(), "{}", failure.to_json());
        return;
    }
    let error = anstyle::AnsiColor::Red.on_default().bold();
    let hint = anstyle::AnsiColor::Cyan.on_default().bold();
    let mut stream = anstream::stderr().lock();
    let _ = writeln!(stream, "{error}error[{}]:{error:#} {}", failure.code, failure.message);
    if let Some(text) = &failure.hint {
        let _ = writeln!(stream, "\n{hint}hint:{hint:#} {text}");
    }
}

fn start_logging(verbose: u8) {
    let default = match verbose {
        0 => "warn,ort=error,tract=error,aws_config=error",
        1 => "info,ort=warn",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("TRANCHE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}
