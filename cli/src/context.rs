//! What every verb is given.

use crate::arguments::OutputArguments;
use crate::config::{Flags, Settings};
use crate::failure::Failure;
use crate::printer::Printer;
use std::path::PathBuf;
use std::sync::Arc;
use tranche_engine::Engine;
use tranche_profiler::ChildProgram;
use tranche_schema::exit_code;

/// The printer and the flags that settings are resolved with.
pub struct Context {
    /// Owner of both streams.
    pub printer: Printer,
    output: OutputArguments,
}

impl Context {
    /// For this command line.
    #[must_use]
    pub fn new(output: OutputArguments) -> Self {
        Self { printer: Printer::new(&output), output }
    }

    /// Settings with these flags on top.
    ///
    /// # Errors
    /// When the configuration is wrong.
    pub fn settings(&self, flags: &[&dyn Flags]) -> Result<Settings, Failure> {
        Settings::resolve(&self.output, flags)
    }
}

/// The engine that the settings ask for, and the library it was loaded from.
///
/// # Errors
/// When there is no such engine, or it does not work here.
pub fn open_engine(settings: &Settings) -> Result<Arc<dyn Engine>, Failure> {
    Ok(tranche_engine::open_engine(Some(&settings.engine), settings.library().as_deref())?)
}

/// This program, for starting processes of its own.
///
/// # Errors
/// When the system does not tell where it is.
pub fn this_program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| {
        Failure::new("process", exit_code::REMOTE, format!("cannot find the tranche program: {error}"))
    })
}

/// This program as a measuring process.
///
/// # Errors
/// As [`this_program`].
pub fn measuring_process() -> Result<ChildProgram, Failure> {
    Ok(ChildProgram { program: this_program()?, arguments: vec!["__measure".to_owned()] })
}
