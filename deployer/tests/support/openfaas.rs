//! A test gateway with a target on it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step ends the test")]
#![allow(dead_code, reason = "each test file uses a part")]

use crate::gateway::{PASSWORD, TestGateway, USER};
use crate::support;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tranche_deployer::openfaas::{
    Credentials, Gateway, GatewayTimeouts, GatewayUrl, OpenFaasSettings, OpenFaasTarget,
};
use tranche_deployer::{ChangeSet, DeployError, DeployEvent, DeployOptions, DeployRequest, Target};
use tranche_packager::openfaas::Provider;
use tranche_schema::{
    ByteCount, Deployment, Digest, Document, FunctionSize, Manifest, MilliCpu, Verification,
};

pub const NAME: &str = "toy";

pub const FIRST: [(&str, &str); 2] = [("slice-0", "1"), ("slice-1", "1")];
/// The second slice differs.
pub const SECOND: [(&str, &str); 2] = [("slice-0", "1"), ("slice-1", "2")];
/// Both differ.
pub const BOTH: [(&str, &str); 2] = [("slice-0", "2"), ("slice-1", "2")];

/// A cluster on which the first two slices run.
pub fn deployed(provider: Provider) -> Cluster {
    let cluster = Cluster::new(provider);
    cluster.deploy(&FIRST).0.unwrap();
    cluster.gateway.calls();
    cluster
}

pub fn timeouts() -> GatewayTimeouts {
    GatewayTimeouts {
        connect: Duration::from_secs(5),
        ask: Duration::from_secs(5),
        change: Duration::from_secs(5),
        attempts: 3,
        pause: Duration::from_millis(5),
    }
}

pub fn client(gateway: &TestGateway, timeouts: GatewayTimeouts) -> Gateway {
    let url = GatewayUrl::parse(&gateway.url()).unwrap();
    Gateway::new(url, Some(Credentials::new(USER, PASSWORD)), timeouts, false).unwrap()
}

/// A folder for state and bundles, and a gateway.
pub struct Cluster {
    pub gateway: TestGateway,
    pub folder: tempfile::TempDir,
}

impl Cluster {
    pub fn new(provider: Provider) -> Self {
        Self { gateway: TestGateway::start(provider), folder: tempfile::tempdir().unwrap() }
    }

    pub fn settings(&self, slices: &[(&str, &str)]) -> OpenFaasSettings {
        let images: BTreeMap<String, String> = slices
            .iter()
            .map(|(slice, version)| {
                let digest = Digest::of(format!("{slice} {version}").as_bytes());
                let kind = if *version == "missing" { "missing" } else { "image" };
                ((*slice).to_owned(), format!("registry.example/{kind}@{digest}"))
            })
            .collect();
        OpenFaasSettings {
            images,
            quiet: Duration::from_millis(20),
            poll: Duration::from_millis(5),
            ..OpenFaasSettings::default()
        }
    }

    pub fn target(&self, settings: OpenFaasSettings) -> OpenFaasTarget {
        let gateway = client(&self.gateway, timeouts());
        OpenFaasTarget::new(&self.folder.path().join("state"), gateway, settings).unwrap()
    }

    /// A bundle of slices; what they are is told by their images alone.
    pub fn request(&self, slices: &[&str]) -> DeployRequest {
        let bundle = self.folder.path().join("bundle");
        fs::create_dir_all(&bundle).unwrap();
        fs::write(bundle.join("weights.bin"), b"weights").unwrap();
        let size = FunctionSize { memory_bytes: ByteCount::mebibytes(64), cpu_milli: MilliCpu(500) };
        let manifest = support::manifest(slices, size);
        manifest.write(&bundle.join(Manifest::FILE)).unwrap();
        support::verification(&manifest, true).write(&Verification::path_beside(&bundle)).unwrap();
        let options = DeployOptions {
            ready_timeout: Duration::from_secs(5),
            drain_timeout: Duration::from_millis(300),
            ..DeployOptions::default()
        };
        DeployRequest { bundle, name: NAME.to_owned(), options }
    }

    /// Deploys slices, each with the version that its image is of.
    pub fn deploy(&self, slices: &[(&str, &str)]) -> (Result<Deployment, DeployError>, Vec<DeployEvent>) {
        self.deploy_within(slices, Duration::from_secs(5))
    }

    pub fn deploy_within(
        &self,
        slices: &[(&str, &str)],
        ready_timeout: Duration,
    ) -> (Result<Deployment, DeployError>, Vec<DeployEvent>) {
        let names: Vec<&str> = slices.iter().map(|(slice, _)| *slice).collect();
        let mut request = self.request(&names);
        request.options.ready_timeout = ready_timeout;
        let mut events = Vec::new();
        let target = self.target(self.settings(slices));
        let result = target.deploy(&request, &mut |event| events.push(event));
        (result, events)
    }

    pub fn plan(&self, slices: &[(&str, &str)]) -> ChangeSet {
        let names: Vec<&str> = slices.iter().map(|(slice, _)| *slice).collect();
        self.target(self.settings(slices)).plan(&self.request(&names)).unwrap()
    }

    pub fn deployment_path(&self) -> PathBuf {
        self.folder.path().join("state/openfaas").join(NAME).join("deployment.json")
    }

    /// What is in the state folder, as text.
    pub fn state_text(&self) -> String {
        let mut text = String::new();
        let mut folders = vec![self.folder.path().join("state")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_dir() {
                    folders.push(entry);
                } else {
                    text.push_str(&fs::read_to_string(entry).unwrap());
                }
            }
        }
        text
    }
}

pub fn notices(events: &[DeployEvent]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|event| match event {
            DeployEvent::Notice { text } => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

/// Where the first call that begins so is.
pub fn position(calls: &[String], call: &str) -> usize {
    calls
        .iter()
        .position(|known| known.starts_with(call))
        .unwrap_or_else(|| panic!("no {call} in {calls:#?}"))
}
