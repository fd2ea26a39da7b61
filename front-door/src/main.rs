//! The front door's process.

use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use std::process::ExitCode;
use tranche_front_door::{FrontDoorOptions, run};
use tranche_serving::watchdog_defaults;

/// Answers JSON requests through the functions of a deployment.
#[derive(Parser)]
#[command(name = "tranche-front-door", version)]
struct Arguments {
    #[command(flatten)]
    door: FrontDoorOptions,
}

fn main() -> ExitCode {
    // A variable that is not UTF-8 is none of of-watchdog's.
    let arguments = watchdog_defaults(Arguments::command(), |name| std::env::var(name).ok())
        .map_err(|error| {
            Arguments::command()
                .error(clap::error::ErrorKind::InvalidValue, format!("{error}; {}", error.hint()))
        })
        .map(on_lambda)
        .and_then(|command| Arguments::from_arg_matches(&command.try_get_matches()?));
    match arguments {
        Ok(arguments) => run(arguments.door).into(),
        Err(error) => error.exit(),
    }
}

/// Where events come from Lambda, nothing is listened on.
fn on_lambda(command: clap::Command) -> clap::Command {
    if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_none() {
        return command;
    }
    command.mut_arg("listen", |listen| listen.default_value("127.0.0.1:0").required(false))
}
