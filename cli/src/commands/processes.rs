//! The hidden verbs: processes that tranche starts of itself.

use crate::failure::Failure;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use tranche_schema::exit_code;
use tranche_shim::ShimOptions;

pub fn shim(options: ShimOptions) -> Result<ExitCode, Failure> {
    let opener =
        Box::new(|name: &str, library: Option<&Path>| tranche_engine::open_engine(Some(name), library));
    Ok(ExitCode::from(tranche_shim::run(options, opener)))
}

pub fn supervise(folder: &Path) -> Result<ExitCode, Failure> {
    tranche_deployer::local::supervise(folder)?;
    Ok(ExitCode::SUCCESS)
}

pub fn measure() -> Result<(), Failure> {
    let mut request = String::new();
    let broken = |error: std::io::Error| Failure::new("profiler", exit_code::USAGE, error.to_string());
    std::io::stdin().read_to_string(&mut request).map_err(broken)?;
    let answer = tranche_profiler::measure::answer(&request, |name, library| {
        tranche_engine::open_engine(Some(name), library)
    })?;
    writeln!(std::io::stdout(), "{answer}").map_err(broken)
}
