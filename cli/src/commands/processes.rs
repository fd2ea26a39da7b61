//! The hidden verbs: processes that tranche starts of itself.

use crate::failure::Failure;
use std::path::Path;
use std::process::ExitCode;
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
    tranche_profiler::measure::answer(
        &mut std::io::stdin().lock(),
        &mut std::io::stdout().lock(),
        |name, library| tranche_engine::open_engine(Some(name), library),
    )?;
    Ok(())
}
