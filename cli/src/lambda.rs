//! From a bundle to functions on AWS Lambda: packages, what Lambda would refuse, and what the
//! target is told.

use crate::arguments::{DeployArguments, PackageChoice};
use crate::config::Settings;
use crate::context::Context;
use crate::failure::Failure;
use crate::images::{pin, push, tag};
use crate::programs::{engine_library, find_program, shim_names};
use crate::targets;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tranche_deployer::lambda::{
    Bucket, Entry, EntryPackage, LambdaSettings, LambdaTarget, Role, RoleDocuments, StateMachine,
    StateMachineDefinition, own_bucket, store_in,
};
use tranche_deployer::registry::{CredentialSource, Options, PushEvent, Reference};
use tranche_deployer::{DeployError, DeployRequest};
use tranche_packager::lambda::policies::{self, PolicyScope};
use tranche_packager::lambda::{
    ALIAS, AslOptions, EntryRequest, FunctionDescription, IMAGES_FOLDER, LambdaOptions, LambdaRequest,
    Memory, SamOptions, Severity, Surroundings, add_entry, asl, build_packages, describe_entry,
    describe_functions, function_name, preflight, sam,
};
use tranche_schema::{
    Deployment, Document as _, LambdaIndex, LambdaPackageKind, Manifest, ObjectStore, exit_code,
    write_atomically,
};

/// What the entry function is given: it holds no model, only requests on their way.
const ENTRY_MEMORY_MIB: u32 = 512;
/// Stands for what only the account knows, in documents that are written without asking it.
const REGION_OF_TEMPLATE: &str = "${AWS::Region}";
const ACCOUNT_OF_TEMPLATE: &str = "${AWS::AccountId}";

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

    /// How functions are described. Those of an emulator reach other services where this program
    /// does.
    fn options(&self, endpoint: Option<&str>) -> Result<LambdaOptions, Failure> {
        let lambda = &self.arguments.lambda;
        let mut options = LambdaOptions::new(&self.request.name);
        options.memory = memory(lambda.memory.as_deref().unwrap_or("cpu"))?;
        options.engine.clone_from(&self.request.options.engine);
        options.optimise = self.request.options.optimise;
        options.reserved_concurrency = lambda.reserved_concurrency;
        options.provisioned_concurrency = lambda.provisioned_concurrency;
        if let Some(endpoint) = endpoint {
            options.environment.insert("AWS_ENDPOINT_URL".to_owned(), endpoint.to_owned());
        }
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
    fn needs_store(&self, functions: &[FunctionDescription], index: &LambdaIndex) -> bool {
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
    fn check(
        &self,
        functions: &[FunctionDescription],
        index: &LambdaIndex,
        surroundings: &Surroundings,
    ) -> Result<(), Failure> {
        let findings = preflight(functions, index, self.manifest, surroundings);
        for finding in findings.iter().filter(|finding| finding.severity != Severity::Error) {
            self.context.printer.warning(&finding.to_string());
        }
        let errors: Vec<_> = findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
        let Some(first) = errors.first() else { return Ok(()) };
        let more = match errors.len() {
            1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        Err(Failure::new("lambda", exit_code::INFEASIBLE, format!("Lambda would refuse this: {first}{more}"))
            .hint(first.hint)
            .details(&findings.iter().map(ToString::to_string).collect::<Vec<_>>()))
    }

    /// The target with what it needs to deploy these packages.
    ///
    /// # Errors
    /// When AWS cannot be asked, Lambda would refuse something, or the entry's program is not
    /// found.
    pub fn target(&self, folder: &Path, index: LambdaIndex) -> Result<LambdaTarget, Failure> {
        let lambda = &self.arguments.lambda;
        let connection = targets::aws_connection(self.settings, Some(&self.request.name));
        let placeholder = LambdaSettings::new(Role::Given(String::new()));
        let mut target = LambdaTarget::new(&self.settings.state(), &connection, placeholder)?;
        let options = self.options(target.session().endpoint())?;
        let functions = describe_functions(self.manifest, &index, &options).map_err(packaging)?;
        let store = self.needs_store(&functions, &index);
        let surroundings = Surroundings {
            store,
            code_bucket: true,
            repository: true,
            state_machine: lambda.step_functions,
            ..Surroundings::default()
        };
        // Nothing is asked of anybody before this.
        self.check(&functions, &index, &surroundings)?;
        let account = target.identity().map_err(DeployError::from)?.account;
        let scope = self.scope(target.session().region(), &account, store);
        let by_bucket = index.packages.iter().any(|package| package.kind == LambdaPackageKind::ZipBucket);
        let mut settings = LambdaSettings::new(match &self.settings.role {
            Some(role) => Role::Given(role.clone()),
            None => Role::Created(documents(&policies::execution_trust(), &policies::execution(&scope))),
        });
        settings.packages = folder.to_owned();
        settings.functions = functions;
        settings.bucket = (store || by_bucket).then(|| match &self.settings.bucket {
            Some(bucket) => Bucket::Given(bucket.clone()),
            None => Bucket::Own,
        });
        settings.store = store;
        settings.canary = lambda.canary;
        settings.state_machine = lambda.step_functions.then(|| StateMachine {
            definition: Arc::new(Walker { manifest: self.manifest.clone() }),
            role: Role::Created(documents(
                &policies::state_machine_trust(),
                &policies::state_machine(&scope),
            )),
        });
        if lambda.entry {
            let program =
                find_program(lambda.entry_program.as_deref(), &["tranche-front-door"], "--entry-program")?;
            let entry = EntryFunction { program, packages: folder.to_owned(), options };
            settings.entry = Some(Entry { package: Arc::new(entry), url: lambda.url, ping: true });
        }
        let images = index.packages.iter().any(|package| package.kind == LambdaPackageKind::Image);
        if images && !self.arguments.dry_run {
            settings.images = self.push(&target, folder, &index)?;
        }
        settings.index = Some(index);
        *target.settings_mut() = settings;
        Ok(target)
    }

    /// Pushes the slices that go as images to the account's own registry.
    fn push(
        &self,
        target: &LambdaTarget,
        folder: &Path,
        index: &LambdaIndex,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let login = target.registry_login().map_err(DeployError::from)?;
        let mut names = Vec::new();
        let mut pinned = BTreeMap::new();
        for package in index.packages.iter().filter(|package| package.kind == LambdaPackageKind::Image) {
            let repository = format!("tranche/{}-{}", self.request.name, package.slice);
            target.ensure_repository(&repository, &self.request.name).map_err(DeployError::from)?;
            let reference: Reference = format!("{}/{repository}", login.host).parse()?;
            pinned.insert(package.slice.clone(), pin(&reference, &package.digest));
            names.push((package.slice.clone(), reference.with_tag(&tag(&package.digest))?));
        }
        let options = Options::new(CredentialSource::Given(login.credentials));
        let spinner = self.context.printer.spinner("Pushing images");
        let pushed = push(&folder.join(IMAGES_FOLDER), &names, &options, &mut |event| {
            if let PushEvent::Uploading { sent, bytes, repository, .. } = event {
                spinner.set_message(format!("{repository}: {sent} of {bytes}"));
            }
        });
        spinner.finish_and_clear();
        let count = pushed?.len();
        self.context.printer.step("Pushed", &format!("{count} image(s) to {}", login.host));
        Ok(pinned)
    }

    fn scope(&self, region: &str, account: &str, store: bool) -> PolicyScope {
        let lambda = &self.arguments.lambda;
        let bucket = self.settings.bucket.clone().unwrap_or_else(|| own_bucket(account, region));
        let mut scope = PolicyScope::new(region, account, &self.request.name);
        scope.store = store.then(|| store_in(&bucket, &self.request.name));
        scope.own_bucket = self.settings.bucket.is_none();
        scope.invokes = store || lambda.entry;
        scope.state_machine = lambda.step_functions;
        scope
    }

    /// Writes a SAM template, a state machine and policies into `output`, for teams that
    /// deploy themselves. Nothing is asked of AWS: what only the account knows is named as
    /// templates name it.
    ///
    /// # Errors
    /// When Lambda would refuse something, or a file cannot be written.
    pub fn emit(&self, output: &Path, folder: &Path, index: &LambdaIndex) -> Result<Vec<PathBuf>, Failure> {
        let functions = describe_functions(self.manifest, index, &self.options(None)?).map_err(packaging)?;
        let store = self.needs_store(&functions, index);
        let surroundings =
            Surroundings { store: true, code_bucket: true, repository: true, ..Surroundings::default() };
        self.check(&functions, index, &surroundings)?;
        let fail = |path: &Path, error: std::io::Error| {
            Failure::usage(format!("cannot write {}: {error}", path.display()))
        };
        std::fs::create_dir_all(output.join("policies")).map_err(|error| fail(output, error))?;
        let mut options = SamOptions::new(&self.request.name);
        options.packages = relative(folder, output).display().to_string();
        options.state_machine = self.arguments.lambda.step_functions;
        let scope = self.scope(REGION_OF_TEMPLATE, ACCOUNT_OF_TEMPLATE, store);
        let pretty = |document: &serde_json::Value| format!("{document:#}\n");
        let documents = [
            ("template.yaml", sam(&functions, index, self.manifest, &options).map_err(packaging)?),
            (
                "state-machine.asl.json",
                asl(self.manifest, &AslOptions::new(aliases(&self.request.name, self.manifest)))
                    .map_err(packaging)?,
            ),
            ("policies/execution.json", pretty(&policies::execution(&scope))),
            ("policies/execution-trust.json", pretty(&policies::execution_trust())),
            ("policies/state-machine.json", pretty(&policies::state_machine(&scope))),
            ("policies/state-machine-trust.json", pretty(&policies::state_machine_trust())),
            ("policies/deployer.json", pretty(&policies::deployer(&scope, &[]))),
            ("policies/caller.json", pretty(&policies::caller(&scope))),
        ];
        let mut written = Vec::new();
        for (name, text) in documents {
            let path = output.join(name);
            write_atomically(&path, text.as_bytes()).map_err(|error| fail(&path, error))?;
            written.push(path);
        }
        Ok(written)
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

/// What who deploys must be allowed, for a deployment or for those of any name, with everything
/// that a deploy may use.
///
/// # Errors
/// When AWS does not say whose account it is.
pub fn deployer_policy(
    target: &LambdaTarget,
    deployment: Option<&str>,
    bucket: Option<&str>,
) -> Result<serde_json::Value, Failure> {
    let deployment = deployment.unwrap_or(policies::ANY);
    let region = target.session().region();
    let account = target.identity().map_err(DeployError::from)?.account;
    let own = bucket.is_none();
    let name = bucket.map_or_else(|| own_bucket(&account, region), str::to_owned);
    let mut scope = PolicyScope::new(region, &account, deployment);
    scope.own_bucket = own;
    scope.store = Some(store_in(&name, deployment));
    scope.code = Some(ObjectStore { bucket: name, prefix: format!("tranche/{deployment}/code") });
    (scope.invokes, scope.state_machine) = (true, true);
    Ok(policies::deployer(&scope, &[format!("tranche/{deployment}-*")]))
}

fn packaging(error: tranche_packager::lambda::LambdaError) -> Failure {
    tranche_packager::PackageError::from(error).into()
}

fn documents(trust: &serde_json::Value, policy: &serde_json::Value) -> RoleDocuments {
    RoleDocuments { trust: trust.to_string(), policy: policy.to_string() }
}

/// The function of each slice, at the alias that callers use.
fn aliases(deployment: &str, manifest: &Manifest) -> BTreeMap<String, String> {
    let slices = manifest.slices.iter();
    slices
        .map(|slice| (slice.name.clone(), format!("{}:{ALIAS}", function_name(deployment, &slice.name))))
        .collect()
}

/// `path` as seen from `folder`, where both are relative and climb nowhere; else `path` as it is.
fn relative(path: &Path, folder: &Path) -> PathBuf {
    use std::path::Component;
    let plain = |path: &Path| path.components().all(|part| matches!(part, Component::Normal(_)));
    if !plain(path) || !plain(folder) {
        return std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    }
    folder.components().map(|_| "..").collect::<PathBuf>().join(path)
}

/// The state machine of a deployment.
struct Walker {
    manifest: Manifest,
}

impl StateMachineDefinition for Walker {
    fn make(&self, deployment: &Deployment) -> Result<String, DeployError> {
        let functions = aliases(&deployment.name, &self.manifest);
        asl(&self.manifest, &AslOptions::new(functions)).map_err(|error| DeployError::Packages {
            folder: deployment.bundle.clone(),
            reason: error.to_string(),
        })
    }
}

/// The function that walks requests, made of the deployment that it serves.
struct EntryFunction {
    program: PathBuf,
    packages: PathBuf,
    options: LambdaOptions,
}

impl EntryPackage for EntryFunction {
    fn make(&self, deployment: &Deployment) -> Result<(FunctionDescription, PathBuf), DeployError> {
        let fail = |reason: String| DeployError::Packages { folder: self.packages.clone(), reason };
        let request = EntryRequest {
            program: &self.program,
            deployment,
            library_folders: Vec::new(),
            packages: &self.packages,
        };
        let package = add_entry(&request).map_err(|error| fail(error.to_string()))?;
        let index = LambdaIndex::read(&self.packages.join(LambdaIndex::FILE))
            .map_err(|error| fail(error.to_string()))?;
        let function = describe_entry(&index, ENTRY_MEMORY_MIB, &self.options)
            .map_err(|error| fail(error.to_string()))?;
        let file = package.file.ok_or_else(|| fail("the entry has no zip file".to_owned()))?;
        Ok((function, self.packages.join(file)))
    }
}
