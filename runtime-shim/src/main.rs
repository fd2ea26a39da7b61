//! The process in each function.

use clap::Parser;
use std::process::ExitCode;
use tranche_shim::{ShimOptions, built_in, run};

/// Runs one slice of a bundle behind HTTP.
#[derive(Parser)]
#[command(name = "tranche-shim", version)]
struct Arguments {
    #[command(flatten)]
    shim: ShimOptions,
}

fn main() -> ExitCode {
    run(Arguments::parse().shim, built_in()).into()
}
