//! The `tranche` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    tranche_cli::main()
}
