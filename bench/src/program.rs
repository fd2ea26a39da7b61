//! The `tranche` program, as the evaluation drives it.

use crate::BenchError;
use serde::Deserialize;
use serde_json::Value;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tranche_driver::{Driver, Options};
use tranche_host::{Cgroups, ControlGroup};
use tranche_schema::{Deployment, Document as _, Plan};

/// Lines of a failed program's words in an error.
const TAIL: usize = 12;

/// The program, with a state folder of its own.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its path.
    pub path: PathBuf,
    /// Where it keeps deployments.
    pub state: PathBuf,
    /// Where it keeps models and profiles.
    pub cache: PathBuf,
    /// How long one run of it may take.
    pub deadline: Duration,
}

/// What is to be deployed.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The model.
    pub model: &'a str,
    /// The engine.
    pub engine: &'a str,
    /// How it is cut.
    pub strategy: &'a str,
    /// The prices it is planned for; memory-time when there are none.
    pub prices: Option<&'a str>,
    /// CPU share of each function.
    pub cpu: f64,
    /// Most parts that layers may be split into, where they may.
    pub parts: Option<u32>,
    /// Where profile, plan and bundle go.
    pub work: &'a Path,
}

/// A deployment, which is destroyed when it is dropped.
pub struct Deployed<'a> {
    program: &'a Program,
    /// Its name.
    pub name: String,
    /// Calls it.
    pub driver: Driver,
    /// What it was planned as.
    pub plan: Plan,
    /// Seconds that profiling, planning, measuring, verifying and deploying took.
    pub seconds: f64,
}

#[derive(Deserialize)]
struct Status {
    functions: Vec<FunctionStatus>,
}

#[derive(Deserialize)]
struct FunctionStatus {
    name: String,
    process_id: Option<u32>,
}

impl Program {
    /// Takes a model the whole way and leaves it deployed.
    ///
    /// # Errors
    /// When a stage fails: what the program said.
    pub fn deploy(&self, wanted: &Wanted<'_>) -> Result<Deployed<'_>, BenchError> {
        let Wanted { model, engine, strategy, prices, cpu, parts, work } = wanted;
        let name = deployment_name(model, &format!("{strategy}-{}", (cpu * 1000.0).round()));
        let mut command = self.command();
        command.args(["run", model, "--engine", engine, "--strategy", strategy, "--cpu", &cpu.to_string()]);
        command.args(["--keep", "--no-unsplit", "--requests", "1", "--json", "--quiet", "--name", &name]);
        command.args(prices.iter().flat_map(|prices| ["--prices", prices]));
        command.args(parts.iter().flat_map(|parts| ["--max-parts".to_owned(), parts.to_string()]));
        command.arg("--work").arg(work);
        let start = Instant::now();
        run_to_end(command, self.deadline)?;
        let seconds = start.elapsed().as_secs_f64();
        let deployment = Deployment::read(&self.state.join("local").join(&name).join("deployment.json"));
        // Made before anything else can fail, so that what is deployed is destroyed.
        let built = deployment.map_err(BenchError::from).and_then(|deployment| {
            let options = Options { deadline: self.deadline, ..Options::default() };
            Ok((Driver::connect(deployment, options)?, Plan::read(&work.join("plan.json"))?))
        });
        match built {
            Ok((driver, plan)) => Ok(Deployed { program: self, name, driver, plan, seconds }),
            Err(error) => {
                let _ = self.destroy(&[&name]);
                Err(error)
            }
        }
    }

    /// Destroys what an interrupted evaluation left.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn destroy_all(&self) -> Result<(), BenchError> {
        self.destroy(&["--all"])
    }

    fn destroy(&self, what: &[&str]) -> Result<(), BenchError> {
        let mut command = self.command();
        command.arg("destroy").args(what).arg("--quiet");
        run_to_end(command, self.deadline).map(drop)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.env("TRANCHE_STATE", &self.state).env("TRANCHE_CACHE", &self.cache);
        command
    }
}

impl Deployed<'_> {
    /// The control group of each function's process, in the deployment's order; none where
    /// they cannot all be found.
    ///
    /// # Errors
    /// When the deployment cannot be asked.
    pub fn groups(&self) -> Result<Option<Vec<ControlGroup>>, BenchError> {
        let mut command = self.program.command();
        command.args(["status", &self.name, "--json"]);
        let text = run_to_end(command, self.program.deadline)?;
        let found: Vec<Status> = serde_json::from_slice(&text).map_err(|error| BenchError::Program {
            command: "tranche status --json".to_owned(),
            reason: format!("printed something else: {error}"),
        })?;
        let functions: Vec<FunctionStatus> = found.into_iter().flat_map(|status| status.functions).collect();
        let groups = Cgroups::detect().find("tranche-");
        let group_of = |slice: &str| {
            let process = functions.iter().find(|function| function.name == slice)?.process_id?;
            groups.iter().find(|group| group.processes().contains(&process)).cloned()
        };
        let deployed = &self.driver.deployment().functions;
        Ok(deployed.iter().map(|function| group_of(&function.slice)).collect())
    }
}

impl Drop for Deployed<'_> {
    fn drop(&mut self) {
        let _ = self.program.destroy(&[&self.name]);
    }
}

/// Lower case letters, digits and dashes.
fn deployment_name(model: &str, strategy: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
    format!("bench-{model}-{strategy}").chars().map(plain).collect()
}

/// Runs a program to its end and gives what it printed. Killed at the deadline.
///
/// # Errors
/// When it cannot be started, fails, or does not end in time.
pub fn run_to_end(mut command: Command, deadline: Duration) -> Result<Vec<u8>, BenchError> {
    let shown = shown(&command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let failed = |source: std::io::Error| BenchError::Program {
        command: shown.clone(),
        reason: format!("cannot be started: {source}"),
    };
    let mut child = command.spawn().map_err(failed)?;
    let output = child.stdout.take().map(drain);
    let errors = child.stderr.take().map(drain);
    let status = tranche_host::wait_with_deadline(&mut child, deadline)?;
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
        return Err(BenchError::Late { command: shown, waited: deadline });
    }
    let read = |thread: Option<std::thread::JoinHandle<Vec<u8>>>| {
        thread.and_then(|thread| thread.join().ok()).unwrap_or_default()
    };
    let (output, errors) = (read(output), read(errors));
    match status {
        Some(status) if status.success() => Ok(output),
        _ => Err(BenchError::Program { command: shown, reason: words(&output, &errors) }),
    }
}

fn drain(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

fn shown(command: &Command) -> String {
    let name =
        |path: &std::ffi::OsStr| Path::new(path).file_name().unwrap_or(path).to_string_lossy().into_owned();
    let arguments = command.get_args().take(4).map(|text| text.to_string_lossy().into_owned());
    std::iter::once(name(command.get_program())).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// The message of an error that a program printed as JSON, else the last lines it said.
fn words(output: &[u8], errors: &[u8]) -> String {
    let document: Option<Value> = serde_json::from_slice(output).ok();
    let message = document.as_ref().and_then(|document| document["error"]["message"].as_str());
    if let Some(message) = message {
        return format!("failed: {message}");
    }
    let text = String::from_utf8_lossy(errors);
    let lines: Vec<&str> = text.lines().collect();
    format!("failed: {}", lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default().join("\n"))
}

/// Where `tranche` keeps models unless told otherwise.
#[must_use]
pub fn default_cache() -> PathBuf {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("TRANCHE_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|path| path.join("tranche")))
        .or_else(|| folder("HOME").map(|path| path.join(".cache/tranche")))
        .unwrap_or_else(|| PathBuf::from(".cache/tranche"))
}

/// The folder with an absolute path, made if need be: deployments keep it.
///
/// # Errors
/// When it cannot be made.
pub fn made(folder: &Path) -> Result<PathBuf, BenchError> {
    fs::create_dir_all(folder).map_err(BenchError::file("make", folder))?;
    existing(folder)
}

/// The file or folder with an absolute path.
///
/// # Errors
/// When there is none.
pub fn existing(path: &Path) -> Result<PathBuf, BenchError> {
    fs::canonicalize(path).map_err(BenchError::file("find", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_failed_program_is_told_by_its_own_words() {
        let error = run_to_end(
            shell(r#"echo '{"error":{"message":"no such model"}}'; exit 20"#),
            Duration::from_secs(9),
        );
        assert!(error.unwrap_err().to_string().ends_with("failed: no such model"));
        let error = run_to_end(shell("echo trouble >&2; exit 1"), Duration::from_secs(9));
        assert!(error.unwrap_err().to_string().ends_with("failed: trouble"));
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let error = run_to_end(shell("exec sleep 60"), Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, BenchError::Late { .. }), "{error}");
    }

    #[test]
    fn names_are_what_a_target_takes() {
        assert_eq!(deployment_name("caustic_nmr_painn", "uniform=4"), "bench-caustic-nmr-painn-uniform-4");
    }
}
