//! From a bundle to functions on AWS Lambda: packages, what Lambda would refuse, and what the
//! target is told.

use crate::arguments::{DeployArguments, PackageChoice};
use crate::config::Settings;
use crate::context::Context;
use crate::failure::Failure;
use crate::programs::{engine_library, find_program, shim_names};
use std::path::PathBuf;
use std::time::Duration;
use tranche_deployer::DeployRequest;
use tranche_packager::lambda::{
    FunctionDescription, LambdaOptions, LambdaRequest, Memory, Severity, Surroundings, build_packages,
    describe_functions, preflight,
};
use tranche_schema::{LambdaIndex, LambdaPackageKind, Manifest, exit_code};

/// A deploy to AWS Lambda on its way.
pub struct Route<'a> {
    /// Printer and flags.
    pub context: &'a Context,
    /// The settings.
    pub settings: &'a Settings,
    /// The flags of `deploy`.
    pub arguments: &'a DeployArguments,
    /// What to deploy.
    pub request: &'a DeployRequest,
    /// The bundle's manifest.
    pub manifest: &'a Manifest,
}

impl Route<'_> {
    /// Packs the bundle's slices beside it, or where the flags say, and tells how each goes.
    ///
    /// # Errors
    /// When the shim or the engine's library is not found or does not fit, or a slice is too
    /// large for every package.
    pub fn packages(&self) -> Result<(PathBuf, LambdaIndex), Failure> {
        let lambda = &self.arguments.lambda;
        let folder = lambda.packages.clone().unwrap_or_else(|| {
            let mut name = self.request.bundle.file_name().unwrap_or_default().to_owned();
            name.push(".lambda");
            self.request.bundle.with_file_name(name)
        });
        let engine = self.request.options.engine.as_deref().unwrap_or(&self.manifest.engine);
        let shim = find_program(self.settings.shim.as_deref(), shim_names(engine), "--shim")?;
        let mut request = LambdaRequest::new(&self.request.bundle, &shim, &folder);
        if engine == "onnxruntime" {
            request.engine_library = Some(engine_library(self.settings)?);
        }
        request.use_layer = lambda.layer;
        request.prefer = match lambda.package.unwrap_or(PackageChoice::Auto) {
            PackageChoice::Auto => None,
            PackageChoice::Zip => Some(LambdaPackageKind::ZipInline),
            PackageChoice::S3 => Some(LambdaPackageKind::ZipBucket),
            PackageChoice::Image => Some(LambdaPackageKind::Image),
        };
        request.ephemeral_storage_mib = lambda.ephemeral_storage.unwrap_or(request.ephemeral_storage_mib);
        let spinner = self.context.printer.spinner("Packing slices");
        let index = build_packages(&request);
        spinner.finish_and_clear();
        let index = index?;
        for package in &index.packages {
            let what = format!("{}: {}, {}", package.slice, package.bytes, package.reason);
            self.context.printer.step("Packed", &what);
        }
        Ok((folder, index))
    }

    /// The functions, one a slice.
    ///
    /// # Errors
    /// When `--memory` is no size.
    pub fn describe(&self, index: &LambdaIndex) -> Result<Vec<FunctionDescription>, Failure> {
        let options = self.options()?;
        describe_functions(self.manifest, index, &options)
            .map_err(|error| Failure::from(tranche_packager::PackageError::from(error)))
    }

    /// How functions are described.
    ///
    /// # Errors
    /// When `--memory` is no size.
    pub fn options(&self) -> Result<LambdaOptions, Failure> {
        let lambda = &self.arguments.lambda;
        let mut options = LambdaOptions::new(&self.request.name);
        options.memory = memory(lambda.memory.as_deref().unwrap_or("cpu"))?;
        options.engine.clone_from(&self.request.options.engine);
        options.optimise = self.request.options.optimise;
        options.reserved_concurrency = lambda.reserved_concurrency;
        options.provisioned_concurrency = lambda.provisioned_concurrency;
        if let Some(seconds) = lambda.function_timeout {
            options.timeout = Duration::from_secs(seconds.into());
        }
        if let Some(mib) = lambda.ephemeral_storage {
            options.ephemeral_storage_mib = mib;
        }
        Ok(options)
    }

    /// Whether tensors may need to go through a bucket: one was asked for, or what walks the
    /// requests knows no other way, or some tensors are too large for a payload.
    #[must_use]
    pub fn needs_store(&self, functions: &[FunctionDescription], index: &LambdaIndex) -> bool {
        let lambda = &self.arguments.lambda;
        let without = Surroundings { code_bucket: true, repository: true, ..Surroundings::default() };
        let with = Surroundings { store: true, ..without };
        let findings = |surroundings| preflight(functions, index, self.manifest, &surroundings).len();
        self.settings.bucket.is_some()
            || lambda.store
            || lambda.step_functions
            || findings(without) > findings(with)
    }

    /// Finds what Lambda would refuse before anything is sent; warnings are printed.
    ///
    /// # Errors
    /// When there is something.
    pub fn check(
        &self,
        functions: &[FunctionDescription],
        index: &LambdaIndex,
        surroundings: &Surroundings,
    ) -> Result<(), Failure> {
        let findings = preflight(functions, index, self.manifest, surroundings);
        for finding in findings.iter().filter(|finding| finding.severity != Severity::Error) {
            self.context.printer.warning(&finding.to_string());
        }
        let errors: Vec<_> =
            findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
        let Some(first) = errors.first() else { return Ok(()) };
        let more = match errors.len() {
            1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        Err(Failure::new("lambda", exit_code::INFEASIBLE, format!("Lambda would refuse this: {first}{more}"))
            .hint(first.hint)
            .details(&findings.iter().map(ToString::to_string).collect::<Vec<_>>()))
    }
}

/// `cpu`, `plan`, or a size in MB.
fn memory(text: &str) -> Result<Memory, Failure> {
    match text {
        "cpu" => Ok(Memory::ForCpu),
        "plan" => Ok(Memory::Plan),
        _ => text.parse().map(Memory::Fixed).map_err(|_| {
            Failure::usage(format!("`{text}` is no memory size"))
                .hint("it is `cpu`, `plan` or a number of MB, as `--memory 1769`")
        }),
    }
}
