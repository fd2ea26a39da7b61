//! What a request asks for, worked out from bundle and options.

use super::revision::{FunctionSpec, Revision, runtime_folder, shared_folder};
use super::target::{FunctionCommand, LocalTarget, absolute};
use crate::{Bundle, DeployError, DeployOptions, DeployRequest};
use serde::Serialize;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;
use tranche_host::Cgroups;
use tranche_schema::{Digest, Document, FunctionSize};

/// Everything that, when it changes, asks for a new revision.
#[derive(Serialize)]
struct Fingerprint<'a> {
    bundle: &'a PathBuf,
    bundle_digest: &'a Digest,
    engine: &'a str,
    onnxruntime: &'a Option<PathBuf>,
    optimise: bool,
    limits: bool,
    /// Left out where it is not asked for, so that revisions from before it are still the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    scale_to_zero: Option<u64>,
    functions: &'a [DesiredFunction],
    command: &'a FunctionCommand,
    /// Size and time of change of the program: a newly built one is another.
    program: Option<(u64, i64)>,
}

/// A function as asked for.
#[derive(Clone, Debug, Serialize)]
pub(super) struct DesiredFunction {
    pub name: String,
    pub size: FunctionSize,
    pub threads: u32,
}

/// A deployment as asked for.
#[derive(Debug)]
pub(super) struct Desired<'a> {
    pub bundle: &'a Bundle,
    pub name: &'a str,
    pub options: &'a DeployOptions,
    pub engine: &'a str,
    pub functions: Vec<DesiredFunction>,
    pub fingerprint: Digest,
}

impl<'a> Desired<'a> {
    pub fn new(
        target: &LocalTarget,
        bundle: &'a Bundle,
        request: &'a DeployRequest,
    ) -> Result<Self, DeployError> {
        let options = &request.options;
        let engine = options.engine.as_deref().unwrap_or(&bundle.manifest.engine);
        let functions: Vec<DesiredFunction> = bundle
            .manifest
            .slices
            .iter()
            .map(|slice| DesiredFunction {
                name: slice.name.clone(),
                size: FunctionSize {
                    memory_bytes: slice.size.memory_bytes,
                    cpu_milli: options.cpu.unwrap_or(slice.size.cpu_milli),
                },
                threads: options.cpu.map_or(slice.threads, |cpu| cpu.threads() as u32),
            })
            .collect();
        let command = target.function_command();
        let program = std::fs::metadata(&command.program).ok();
        let fingerprint = Fingerprint {
            bundle: &bundle.folder,
            bundle_digest: &bundle.digest,
            engine,
            onnxruntime: &options.onnxruntime,
            optimise: options.optimise,
            limits: options.limits,
            scale_to_zero: options.scale_to_zero.map(|idle| idle.as_secs()),
            functions: &functions,
            command,
            program: program.map(|found| (found.len(), found.mtime())),
        };
        let text = serde_json::to_vec(&fingerprint)
            .map_err(|source| tranche_schema::DocumentError::Encode { format: Revision::FORMAT, source })?;
        Ok(Self { bundle, name: &request.name, options, engine, fingerprint: Digest::of(&text), functions })
    }

    /// How a function's size reads in a plan of changes.
    pub fn describe(&self, function: &DesiredFunction) -> String {
        describe(function.size, self.options.limits)
    }

    /// A new revision of it.
    pub fn revision(&self, id: String, command: &FunctionCommand) -> Revision {
        let runtime_folder = runtime_folder(&id);
        let shared_folder = shared_folder(&id, &runtime_folder);
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let drain_ms = milliseconds(self.options.drain_timeout);
        let idle = self.options.scale_to_zero;
        let functions = self.functions.iter().enumerate().map(|(index, function)| {
            let socket = runtime_folder.join(format!("function-{index}"));
            let mut arguments = command.leading_arguments.clone();
            let mut pass = |flag: &str, value: String| arguments.extend([flag.to_owned(), value]);
            pass("--manifest", self.bundle.manifest_path().display().to_string());
            pass("--slice", function.name.clone());
            pass(
                "--listen",
                idle.map_or_else(|| format!("unix:{}", socket.display()), |_| "stdin".to_owned()),
            );
            pass("--shared-folder", shared_folder.display().to_string());
            pass("--engine", self.engine.to_owned());
            pass("--threads", function.threads.to_string());
            pass("--optimise", self.options.optimise.to_string());
            pass("--drain-deadline-ms", drain_ms.to_string());
            if let Some(library) = &self.options.onnxruntime {
                pass("--onnxruntime", absolute(library).display().to_string());
            }
            if let Some(idle) = idle.filter(|idle| !idle.is_zero()) {
                pass("--idle-exit-ms", milliseconds(idle).to_string());
            }
            FunctionSpec {
                name: function.name.clone(),
                program: command.program.clone(),
                arguments,
                socket,
                size: self.options.limits.then_some(function.size),
                activated: idle.is_some(),
                start_deadline_ms: milliseconds(self.options.ready_timeout),
            }
        });
        Revision {
            header: Revision::header(),
            name: self.name.to_owned(),
            fingerprint: self.fingerprint.clone(),
            bundle_digest: self.bundle.digest.clone(),
            functions: functions.collect(),
            control_groups: Cgroups::detect(),
            drain_ms,
            runtime_folder,
            shared_folder,
            id,
        }
    }
}

pub(super) fn describe(size: FunctionSize, limits: bool) -> String {
    let held = if limits { "" } else { ", not limited" };
    format!("{}, {}{held}", size.memory_bytes, size.cpu_milli)
}
