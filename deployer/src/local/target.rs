use super::desired::{Desired, describe};
use super::revision::{self, Revision, log_file, log_folder, make_folders, new_id, revisions};
use super::{client, launch, log, teardown};
use crate::lock::DeploymentLock;
use crate::target::check_name;
use crate::{
    Bundle, BundleChecks, ChangeSet, DeployError, DeployEvent, DeployRequest, DeploymentPhase,
    DeploymentStatus, Destroyed, FunctionLog, FunctionState, FunctionStatus, LogQuery, Target,
};
use serde::Serialize;
use std::path::{Path, PathBuf};
use tranche_schema::{Address, DeployedFunction, Deployment, Document, LimitsEnforced, LocalSupervisor};

/// A program and the arguments that come before all others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FunctionCommand {
    /// The program.
    pub program: PathBuf,
    /// A hidden verb, or nothing.
    pub leading_arguments: Vec<String>,
}

/// Runs functions as processes of this machine.
#[derive(Clone, Debug)]
pub struct LocalTarget {
    state: PathBuf,
    supervisor: FunctionCommand,
    function: FunctionCommand,
}

impl LocalTarget {
    /// A target with its state below `state`.
    ///
    /// A supervisor is started as `program __supervise --folder FOLDER`, which
    /// must call [`super::supervise`]; a function as `program __shim --manifest
    /// FILE --slice NAME --listen unix:SOCKET --shared-folder FOLDER --engine
    /// NAME --threads N --optimise BOOL --drain-deadline-ms N [--onnxruntime FILE]`, which must answer `GET /_/ready`
    /// over HTTP at the socket with 200 once it can run its slice. One that scales to zero gets
    /// `--listen stdin`, the listening socket as its standard input, and `--idle-exit-ms N`, after
    /// which it must end with exit code 0 when nothing was asked.
    #[must_use]
    pub fn new(state: PathBuf, program: PathBuf) -> Self {
        let program = absolute(&program);
        let verb = |verb: &str| FunctionCommand {
            program: program.clone(),
            leading_arguments: vec![verb.to_owned()],
        };
        Self {
            state: std::path::absolute(&state).unwrap_or(state),
            supervisor: verb("__supervise"),
            function: verb("__shim"),
        }
    }

    /// The same with functions run by another program.
    #[must_use]
    pub fn with_function_command(mut self, command: FunctionCommand) -> Self {
        self.function = FunctionCommand { program: absolute(&command.program), ..command };
        self
    }

    /// `$TRANCHE_STATE`, else `$XDG_STATE_HOME/tranche`, else
    /// `~/.local/state/tranche`.
    ///
    /// # Errors
    /// When none of the three variables is set.
    pub fn default_state() -> Result<PathBuf, DeployError> {
        let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        folder("TRANCHE_STATE")
            .or_else(|| folder("XDG_STATE_HOME").map(|path| path.join("tranche")))
            .or_else(|| folder("HOME").map(|path| path.join(".local/state/tranche")))
            .ok_or(DeployError::NoStateFolder)
    }

    /// deployment.json of a deployment that is complete.
    ///
    /// # Errors
    /// When there is none of that name, or its deploy never ended.
    pub fn deployment(&self, name: &str) -> Result<Deployment, DeployError> {
        self.current(name)?.ok_or_else(|| DeployError::NotFound { name: name.to_owned() })
    }

    /// Path of that deployment.json.
    #[must_use]
    pub fn deployment_path(&self, name: &str) -> PathBuf {
        self.folder(name).join("deployment.json")
    }

    pub(super) fn function_command(&self) -> &FunctionCommand {
        &self.function
    }

    fn root(&self) -> PathBuf {
        self.state.join("local")
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    fn current(&self, name: &str) -> Result<Option<Deployment>, DeployError> {
        check_name(name)?;
        let path = self.deployment_path(name);
        if path.exists() { Ok(Some(Deployment::read(&path)?)) } else { Ok(None) }
    }

    fn existing_folder(&self, name: &str) -> Result<PathBuf, DeployError> {
        check_name(name)?;
        let folder = self.folder(name);
        if folder.is_dir() { Ok(folder) } else { Err(DeployError::NotFound { name: name.to_owned() }) }
    }

    fn changes(&self, desired: &Desired<'_>, current: Option<&Deployment>) -> ChangeSet {
        let mut set = ChangeSet {
            deployment: desired.name.to_owned(),
            target: self.name().to_owned(),
            ..ChangeSet::default()
        };
        let digest = current.map(|deployment| deployment.bundle_digest.short().to_owned());
        set.compare("bundle", digest, Some(desired.bundle.digest.short().to_owned()));
        let engine = current.map(|deployment| deployment.engine.clone());
        set.compare("engine", engine, Some(desired.engine.to_owned()));
        let folder = current.and_then(revision_folder);
        let revision = folder.as_deref().and_then(|folder| Revision::read_from(folder).ok());
        let limited = |name: &str| {
            let specs = revision.iter().flat_map(|revision| &revision.functions);
            specs.into_iter().find(|spec| spec.name == name).is_some_and(|spec| spec.size.is_some())
        };
        let deployed: &[DeployedFunction] = current.map_or(&[], |deployment| &deployment.functions);
        for function in &desired.functions {
            let known = deployed.iter().find(|known| known.slice == function.name);
            let from = known.map(|known| describe(known.size, limited(&known.slice)));
            set.compare(&function.name, from, Some(desired.describe(function)));
        }
        let gone =
            |known: &&DeployedFunction| desired.functions.iter().all(|wanted| wanted.name != known.slice);
        for known in deployed.iter().filter(gone) {
            set.compare(&known.slice, Some(describe(known.size, limited(&known.slice))), None);
        }
        let scaling = |seconds: Option<u64>| seconds.map(|seconds| format!("idle after {seconds} s"));
        let current_idle = current.and_then(|deployment| deployment.local.as_ref()?.scale_to_zero_seconds);
        let wanted_idle = desired.options.scale_to_zero.map(|idle| idle.as_secs());
        set.compare("scale to zero", scaling(current_idle), scaling(wanted_idle));
        if let (true, Some(deployment)) = (set.is_empty(), current) {
            let same = revision.is_some_and(|revision| revision.fingerprint == desired.fingerprint);
            let text = |same: bool| if same { "current" } else { "other" }.to_owned();
            set.compare("program and settings", Some(text(same)), Some(text(true)));
            let running = is_healthy(deployment);
            let text = |running: bool| if running { "running" } else { "not running" }.to_owned();
            set.compare("functions", Some(text(running)), Some(text(true)));
        }
        set
    }

    /// Starts a revision and waits until it serves; leaves nothing of it on failure.
    fn bring_up(
        &self,
        desired: &Desired<'_>,
        progress: &mut dyn FnMut(DeployEvent),
    ) -> Result<Deployment, DeployError> {
        let revision = desired.revision(new_id(), &self.function);
        let folder = self.folder(desired.name).join(&revision.id);
        let result = (|| {
            let logs = log_folder(&folder);
            std::fs::create_dir_all(&logs).map_err(DeployError::file("make", &logs))?;
            revision.write_to(&folder)?;
            make_folders(&revision)?;
            progress(DeployEvent::Starting { functions: revision.functions.len() });
            let supervisor = launch::start_supervisor(&self.supervisor, &folder)?;
            let statuses =
                launch::wait_until_ready(&revision, &folder, &supervisor, desired.options, progress)?;
            let supervisor = LocalSupervisor {
                process_id: supervisor.process_id(),
                process_start_ticks: supervisor.start_ticks(),
                control_socket: revision.control_socket(),
                shared_folder: revision.shared_folder.clone(),
                log_folder: log_folder(&folder),
                scale_to_zero_seconds: desired.options.scale_to_zero.map(|idle| idle.as_secs()),
            };
            let deployment = document(desired, &revision, &statuses, supervisor);
            deployment.write(&self.deployment_path(desired.name))?;
            Ok(deployment)
        })();
        if result.is_err() {
            // The first failure is the one to report.
            let _ = teardown::tear_down(&folder);
        }
        result
    }
}

impl Target for LocalTarget {
    fn name(&self) -> &'static str {
        "local"
    }

    fn plan(&self, request: &DeployRequest) -> Result<ChangeSet, DeployError> {
        let current = self.current(&request.name)?;
        let bundle = Bundle::open(&request.bundle)?;
        Ok(self.changes(&Desired::new(self, &bundle, request)?, current.as_ref()))
    }

    fn deploy(
        &self,
        request: &DeployRequest,
        progress: &mut dyn FnMut(DeployEvent),
    ) -> Result<Deployment, DeployError> {
        check_name(&request.name)?;
        let bundle = Bundle::open(&request.bundle)?;
        let lock = DeploymentLock::take(&self.root(), &request.name)?;
        bundle.check(BundleChecks {
            digests: request.options.check_digests,
            verification: !request.options.allow_unverified,
        })?;
        progress(DeployEvent::BundleChecked);
        let desired = Desired::new(self, &bundle, request)?;
        let folder = self.folder(&request.name);
        let current = self.current(&request.name)?;
        let serving = current.as_ref().and_then(revision_folder);
        // Left by a deploy that died.
        for abandoned in revisions(&folder).into_iter().filter(|path| Some(path) != serving.as_ref()) {
            teardown::tear_down(&abandoned)?;
        }
        if let Some(deployment) = &current
            && self.changes(&desired, current.as_ref()).is_empty()
        {
            progress(DeployEvent::Unchanged);
            return Ok(deployment.clone());
        }
        let deployed = self.bring_up(&desired, progress);
        if deployed.is_err() && current.is_none() {
            revision::remove_folder(&folder)?;
        }
        if let (Ok(_), Some(old)) = (&deployed, serving) {
            progress(DeployEvent::Draining);
            teardown::tear_down(&old)?;
        }
        drop(lock);
        deployed
    }

    fn status(&self, name: &str) -> Result<DeploymentStatus, DeployError> {
        let folder = self.existing_folder(name)?;
        let current = self.current(name)?;
        let serving = current.as_ref().and_then(revision_folder);
        let all = revisions(&folder);
        let shown = serving.clone().or_else(|| all.last().cloned());
        let mut notices: Vec<String> = all
            .iter()
            .filter(|path| Some(*path) != serving.as_ref())
            .map(|path| {
                let running = if teardown::is_supervised(path) { "running" } else { "not running" };
                let id = path.file_name().unwrap_or_default().to_string_lossy();
                format!(
                    "revision {id} is {running} and was never completed; `deploy` or `destroy` removes it"
                )
            })
            .collect();
        let (answers, functions) =
            shown.as_deref().map_or((false, Vec::new()), |path| functions(path, &mut notices));
        let phase = match &current {
            None => DeploymentPhase::Incomplete,
            Some(_) if !answers => DeploymentPhase::Stopped,
            Some(deployment) if functions.iter().all(|function| serves(deployment, function)) => {
                DeploymentPhase::Running
            }
            Some(_) => DeploymentPhase::Degraded,
        };
        Ok(DeploymentStatus {
            name: name.to_owned(),
            target: self.name().to_owned(),
            phase,
            bundle_digest: current.map(|deployment| deployment.bundle_digest),
            functions,
            notices,
        })
    }

    fn logs(&self, name: &str, query: &LogQuery) -> Result<Vec<FunctionLog>, DeployError> {
        let folder = self.existing_folder(name)?;
        let serving = self.current(name)?.as_ref().and_then(revision_folder);
        let shown = serving.or_else(|| revisions(&folder).pop());
        let shown = shown.ok_or_else(|| DeployError::NotFound { name: name.to_owned() })?;
        let revision = Revision::read_from(&shown)?;
        let wanted = |function: &str| query.function.as_deref().is_none_or(|name| name == function);
        let logs: Vec<FunctionLog> = revision
            .functions
            .iter()
            .filter(|function| wanted(&function.name))
            .map(|function| {
                let path = log_file(&shown, &function.name);
                FunctionLog { function: function.name.clone(), lines: log::tail(&path, query.tail), path }
            })
            .collect();
        match &query.function {
            Some(function) if logs.is_empty() => {
                Err(DeployError::NotFound { name: format!("{name}/{function}") })
            }
            _ => Ok(logs),
        }
    }

    fn destroy(&self, name: &str) -> Result<Destroyed, DeployError> {
        let folder = self.existing_folder(name)?;
        let _lock = DeploymentLock::take(&self.root(), name)?;
        let mut destroyed = Destroyed { functions: 0, drained: true };
        for path in revisions(&folder) {
            let revision = Revision::read_from(&path).unwrap_or_else(|_| Revision::guess(&path));
            let torn_down = teardown::tear_down(&path)?;
            destroyed.functions += torn_down.functions;
            destroyed.drained &= torn_down.drained;
            let remains = teardown::remains(&revision);
            if !remains.is_empty() {
                let list: Vec<String> = remains.iter().map(|path| path.display().to_string()).collect();
                return Err(DeployError::Remains { name: name.to_owned(), remains: list.join(", ") });
            }
        }
        revision::remove_folder(&folder)?;
        Ok(destroyed)
    }

    fn scale(&self, name: &str, function: Option<&str>, replicas: u32) -> Result<(), DeployError> {
        let deployment = self.deployment(name)?;
        let unsupported = DeployError::Unsupported {
            target: self.name(),
            action: "scale functions but to 0 and 1 where they were deployed with `--scale-to-zero`",
        };
        let folder =
            revision_folder(&deployment).ok_or_else(|| DeployError::NotFound { name: name.to_owned() })?;
        let local = deployment.local.as_ref().filter(|local| local.scale_to_zero_seconds.is_some());
        let (Some(local), 0..=1) = (local, replicas) else { return Err(unsupported) };
        let known = |wanted: &str| deployment.functions.iter().any(|function| function.slice == wanted);
        if let Some(unknown) = function.filter(|function| !known(function)) {
            return Err(DeployError::NotFound { name: format!("{name}/{unknown}") });
        }
        let revision = Revision::read_from(&folder)?;
        client::scale(&local.control_socket, function, replicas > 0)?;
        launch::wait_until_scaled(&revision, &folder, function, replicas > 0)
    }

    fn list(&self) -> Result<Vec<String>, DeployError> {
        let root = self.root();
        if !root.exists() {
            return Ok(Vec::new());
        }
        let entries = std::fs::read_dir(&root).map_err(DeployError::file("read", &root))?;
        let mut names: Vec<String> = entries
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        Ok(names)
    }
}

/// Supervisors do not run in the caller's folder. A bare name is looked for in
/// PATH or by the loader, and stays.
pub(super) fn absolute(path: &Path) -> PathBuf {
    let bare = path.components().count() < 2 && !path.is_absolute();
    if bare { path.to_owned() } else { std::path::absolute(path).unwrap_or_else(|_| path.to_owned()) }
}

/// The folder of the revision that a deployment.json speaks of.
fn revision_folder(deployment: &Deployment) -> Option<PathBuf> {
    Some(deployment.local.as_ref()?.log_folder.parent()?.to_owned())
}

/// Whether a request to the function is answered, if only after its start.
fn serves(deployment: &Deployment, function: &FunctionStatus) -> bool {
    let scales = deployment.local.as_ref().is_some_and(|local| local.scale_to_zero_seconds.is_some());
    match function.state {
        FunctionState::Ready => true,
        FunctionState::Idle => scales,
        // Without a process it is only that nobody knows.
        FunctionState::Starting => scales && function.process_id.is_some(),
        FunctionState::Restarting | FunctionState::Failed | FunctionState::Stopped => false,
    }
}

fn is_healthy(deployment: &Deployment) -> bool {
    let all = |functions: Vec<FunctionStatus>| functions.iter().all(|function| serves(deployment, function));
    deployment.local.as_ref().is_some_and(|local| client::status(&local.control_socket).is_ok_and(all))
}

/// Whether the revision's supervisor lives, and how its functions are.
fn functions(folder: &Path, notices: &mut Vec<String>) -> (bool, Vec<FunctionStatus>) {
    let revision = match Revision::read_from(folder) {
        Ok(revision) => revision,
        Err(error) => {
            notices.push(error.to_string());
            return (false, Vec::new());
        }
    };
    let alive = teardown::is_supervised(folder);
    if alive {
        match client::status(&revision.control_socket()) {
            Ok(functions) => return (true, functions),
            Err(error) => notices.push(error.to_string()),
        }
    } else {
        notices.push("its supervisor is not running; `deploy` starts it again".to_owned());
    }
    let unknown = |name: &String| FunctionStatus {
        name: name.clone(),
        state: if alive { FunctionState::Starting } else { FunctionState::Stopped },
        process_id: None,
        restarts: 0,
        last_exit: None,
        memory_bytes: None,
        memory_peak_bytes: None,
        limits: LimitsEnforced::default(),
        notice: None,
        replicas: None,
        image: None,
    };
    (alive, revision.functions.iter().map(|function| unknown(&function.name)).collect())
}

fn document(
    desired: &Desired<'_>,
    revision: &Revision,
    statuses: &[FunctionStatus],
    supervisor: LocalSupervisor,
) -> Deployment {
    let manifest = &desired.bundle.manifest;
    let functions = manifest.slices.iter().zip(&desired.functions).zip(&revision.functions);
    Deployment {
        header: Deployment::header(),
        name: desired.name.to_owned(),
        target: "local".to_owned(),
        bundle_digest: desired.bundle.digest.clone(),
        bundle: desired.bundle.folder.clone(),
        engine: desired.engine.to_owned(),
        inputs: manifest.inputs.clone(),
        outputs: manifest.outputs.clone(),
        functions: functions
            .map(|((slice, wanted), spec)| DeployedFunction {
                slice: slice.name.clone(),
                address: Address::Unix { path: spec.socket.clone() },
                size: wanted.size,
                limits: statuses
                    .iter()
                    .find(|status| status.name == slice.name)
                    .map(|status| status.limits)
                    .unwrap_or_default(),
                inputs: slice.inputs.clone(),
                outputs: slice.outputs.clone(),
                prediction: slice.prediction,
            })
            .collect(),
        edges: manifest.edges.clone(),
        local: Some(supervisor),
        openfaas: None,
        lambda: None,
    }
}
