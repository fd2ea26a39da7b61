//! `tranche-dist STAGING REPOSITORY OUTPUT`: what `cargo xtask dist` calls once it has built
//! the programs.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use tranche_dist::{NEWEST_GLIBC, ReleaseRequest, pack};
use tranche_schema::exit_code;

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [staging, repository, output] = arguments.as_slice() else {
        let _ = writeln!(std::io::stderr(), "usage: tranche-dist STAGING REPOSITORY OUTPUT");
        return ExitCode::from(exit_code::USAGE);
    };
    let request = ReleaseRequest { staging, repository, output, newest_glibc: NEWEST_GLIBC };
    match pack(&request) {
        Ok(files) => {
            for file in files {
                let _ = writeln!(std::io::stdout(), "{}", file.display());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}\nhint: {}", error.hint());
            ExitCode::FAILURE
        }
    }
}
