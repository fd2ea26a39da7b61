//! The process in each function.

use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use std::process::ExitCode;
use tranche_serving::watchdog_defaults;
use tranche_shim::{ShimOptions, built_in, run};

/// Runs one slice of a bundle behind HTTP.
#[derive(Parser)]
#[command(name = "tranche-shim", version)]
struct Arguments {
    #[command(flatten)]
    shim: ShimOptions,
}

fn main() -> ExitCode {
    // A variable that is not UTF-8 is none of of-watchdog's.
    let arguments = watchdog_defaults(Arguments::command(), |name| std::env::var(name).ok())
        .map_err(|error| {
            Arguments::command()
                .error(clap::error::ErrorKind::InvalidValue, format!("{error}; {}", error.hint()))
        })
        .and_then(|command| Arguments::from_arg_matches(&command.try_get_matches()?));
    match arguments {
        Ok(arguments) => run(arguments.shim, built_in()).into(),
        Err(error) => error.exit(),
    }
}
