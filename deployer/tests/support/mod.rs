//! A target of its own for each test, and bundles for it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step ends the test")]
#![allow(dead_code, reason = "each test file uses a part")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tranche_deployer::local::LocalTarget;
use tranche_deployer::{
    DeployError, DeployEvent, DeployOptions, DeployRequest, DeploymentStatus, FunctionStatus, Target,
};
use tranche_host::Cgroups;
use tranche_schema::{
    Address, ByteCount, Deployment, Digest, Document, Environment, FileEntry, FunctionSize, Manifest,
    MilliCpu, ModelIdentity, SliceManifest, SlicePrediction, Verification,
};

pub const DEADLINE: Duration = Duration::from_secs(20);
pub const NAME: &str = "demo";

/// A machine's worth of state, emptied at the end also when a test fails.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub target: LocalTarget,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let target = LocalTarget::new(folder.path().join("state"), program());
        Self { folder, target }
    }

    /// A bundle of slices that are not to be run, with its verification.
    pub fn bundle(&self, slices: &[&str]) -> PathBuf {
        self.sized_bundle(
            slices,
            FunctionSize { memory_bytes: ByteCount::mebibytes(64), cpu_milli: MilliCpu(500) },
        )
    }

    pub fn sized_bundle(&self, slices: &[&str], size: FunctionSize) -> PathBuf {
        let bundle = self.folder.path().join("bundle");
        fs::create_dir_all(&bundle).unwrap();
        fs::write(bundle.join("weights.bin"), b"weights").unwrap();
        let manifest = manifest(slices, size);
        manifest.write(&bundle.join(Manifest::FILE)).unwrap();
        verification(&manifest, true).write(&Verification::path_beside(&bundle)).unwrap();
        bundle
    }

    pub fn request(&self, bundle: &Path) -> DeployRequest {
        DeployRequest {
            bundle: bundle.to_owned(),
            name: NAME.to_owned(),
            options: DeployOptions { drain_timeout: Duration::from_secs(3), ..DeployOptions::default() },
        }
    }

    pub fn deploy(&self, slices: &[&str]) -> Deployment {
        let bundle = self.bundle(slices);
        self.target.deploy(&self.request(&bundle), &mut |_| {}).unwrap()
    }

    pub fn deploy_events(
        &self,
        request: &DeployRequest,
    ) -> (Result<Deployment, DeployError>, Vec<DeployEvent>) {
        let mut events = Vec::new();
        let deployed = self.target.deploy(request, &mut |event| events.push(event));
        (deployed, events)
    }

    pub fn status(&self) -> DeploymentStatus {
        self.target.status(NAME).unwrap()
    }

    pub fn function(&self, index: usize) -> FunctionStatus {
        self.status().functions[index].clone()
    }

    /// The revisions' folders.
    pub fn revisions(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.path().join("state/local").join(NAME)).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.target.destroy(NAME);
    }
}

/// Everything outside the state folder that a revision made, for looking at it
/// after it is gone.
pub struct Traces {
    id: String,
    paths: Vec<PathBuf>,
}

impl Traces {
    pub fn of(revision: &Path) -> Self {
        let text = fs::read_to_string(revision.join("revision.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let path = |field: &str| PathBuf::from(json[field].as_str().unwrap());
        let paths = vec![path("runtime_folder"), path("shared_folder"), revision.to_owned()];
        assert!(paths.iter().all(|path| path.is_dir()), "{paths:?}");
        Self { id: json["id"].as_str().unwrap().to_owned(), paths }
    }

    /// Processes that have the revision's id on their command line, control
    /// groups named after it, and its folders.
    pub fn left(&self) -> Vec<String> {
        let mut left: Vec<String> = processes_with(&self.id);
        let groups = Cgroups::detect().find(&format!("tranche-{}", self.id));
        left.extend(groups.iter().map(|group| format!("{group:?}")));
        left.extend(self.paths.iter().filter(|path| path.exists()).map(|path| path.display().to_string()));
        left
    }
}

fn processes_with(id: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let command_lines = entries.filter_map(|entry| {
        let process_id: u32 = entry.file_name().to_str()?.parse().ok()?;
        let text = fs::read(entry.path().join("cmdline")).ok()?;
        let text = String::from_utf8_lossy(&text).replace('\0', " ");
        Some(format!("{process_id} {text}"))
    });
    command_lines.filter(|line| line.contains(id)).collect()
}

/// The example program, which cargo builds beside the tests.
pub fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples/local_program");
    assert!(path.exists(), "{} is missing: run all of the crate's tests", path.display());
    path
}

pub fn manifest(slices: &[&str], size: FunctionSize) -> Manifest {
    let slice = |name: &&str| SliceManifest {
        name: (*name).to_owned(),
        model: "slice.onnx".to_owned(),
        weights: Vec::new(),
        members: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        size,
        threads: 1,
        prediction: SlicePrediction::default(),
    };
    Manifest {
        header: Manifest::header(),
        model: ModelIdentity { name: "model".to_owned(), digest: Digest::of(b"model") },
        plan_digest: Digest::of(b"plan"),
        tranche_version: "0".to_owned(),
        engine: "tract".to_owned(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        slices: slices.iter().map(slice).collect(),
        edges: Vec::new(),
        files: vec![FileEntry {
            path: "weights.bin".to_owned(),
            bytes: ByteCount(7),
            digest: Digest::of(b"weights"),
        }],
    }
}

pub fn verification(manifest: &Manifest, passed: bool) -> Verification {
    Verification {
        header: Verification::header(),
        bundle_digest: Digest::of(manifest.to_json().unwrap().as_bytes()),
        environment: Environment {
            cpu_model: String::new(),
            cpu_count: 1,
            platform: String::new(),
            engine: "tract".to_owned(),
            engine_version: String::new(),
            tranche_version: "0".to_owned(),
        },
        engine_optimised: false,
        inputs: Vec::new(),
        accuracy: None,
        tolerance: 0.0,
        outputs: Vec::new(),
        passed,
    }
}

/// The body of `GET path` from a function.
pub fn get(deployment: &Deployment, function: usize, path: &str) -> std::io::Result<String> {
    let Address::Unix { path: socket } = &deployment.functions[function].address else { panic!("no socket") };
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    write!(stream, "GET {path} HTTP/1.1\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let body = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?.1;
    Ok(body.to_owned())
}

pub fn kill(process_id: u32) {
    let ticks = tranche_host::start_ticks(process_id).unwrap();
    tranche_host::ProcessHandle::find(process_id, ticks).unwrap().kill().unwrap();
}

pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
