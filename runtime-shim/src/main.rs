//! The process in each function.

use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use std::process::ExitCode;
use tranche_serving::watchdog_defaults;
use tranche_shim::{ShimOptions, built_in, refuse_to_begin, run};

/// Runs one slice of a bundle behind HTTP, or on AWS Lambda.
#[derive(Parser)]
#[command(name = "tranche-shim", version)]
struct Arguments {
    #[command(flatten)]
    shim: ShimOptions,
}

const ENGINE_NAMES: &str = if cfg!(all(feature = "tract", feature = "onnxruntime")) {
    "tract onnxruntime"
} else if cfg!(feature = "tract") {
    "tract"
} else {
    "onnxruntime"
};

/// Names of the engines built in, in a section of their own: whoever packs this program,
/// for another machine perhaps, reads them without running it.
#[used]
#[expect(unsafe_code, reason = "a section is named")]
// SAFETY: the section's name is used for nothing else, and it holds plain bytes that
// nothing interprets.
#[unsafe(link_section = ".tranche.engines")]
static ENGINES: [u8; ENGINE_NAMES.len()] = match ENGINE_NAMES.as_bytes().first_chunk() {
    Some(names) => *names,
    None => [0; ENGINE_NAMES.len()],
};

fn main() -> ExitCode {
    // Read where the optimiser does not look through, so that the linker keeps it.
    let engines = String::from_utf8_lossy(std::hint::black_box(&ENGINES));
    let version = format!("{}\nengines: {engines}", env!("CARGO_PKG_VERSION"));
    let mut command = Arguments::command().long_version(&*version.leak());
    if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_some() {
        // Events are taken from there: nothing listens.
        command = command.mut_arg("listen", |listen| listen.required(false).default_value("127.0.0.1:8080"));
    }
    // A variable that is not UTF-8 is none of of-watchdog's.
    let arguments = watchdog_defaults(command, |name| std::env::var(name).ok())
        .map_err(|error| {
            Arguments::command()
                .error(clap::error::ErrorKind::InvalidValue, format!("{error}; {}", error.hint()))
        })
        .and_then(|command| Arguments::from_arg_matches(&command.try_get_matches()?));
    match arguments {
        Ok(arguments) => run(arguments.shim, built_in()).into(),
        Err(error) => {
            if error.use_stderr() {
                refuse_to_begin(&error.to_string());
            }
            error.exit()
        }
    }
}
