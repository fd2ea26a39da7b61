//! Packages of toy functions, and an account of AWS's API to deploy them to.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step ends the test")]
#![allow(dead_code, reason = "each test file uses a part")]

use crate::support::{manifest, verification};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tranche_aws_peers::{MiniStack, python, toy_bootstrap};
use tranche_deployer::lambda::{
    AwsConnection, AwsCredentials, LambdaSettings, LambdaTarget, Role, RoleDocuments,
};
use tranche_deployer::{ChangeSet, DeployError, DeployEvent, DeployOptions, DeployRequest, Target as _};
use tranche_packager::lambda::{LambdaOptions, Memory, describe_functions, policies};
use tranche_schema::{
    ByteCount, Deployment, Digest, Document, FunctionSize, Header, LambdaIndex, LambdaLayer, LambdaPackage,
    LambdaPackageKind, Manifest, MilliCpu, Verification,
};

pub const NAME: &str = "toy";
/// What each slice's toy says, and does (aws-peers/toy/bootstrap.rs).
pub const FIRST: [(&str, &str); 2] = [("slice-0", "one"), ("slice-1", "one")];
pub const SECOND: [(&str, &str); 2] = [("slice-0", "one"), ("slice-1", "two")];
pub const THIRD: [(&str, &str); 2] = [("slice-0", "one"), ("slice-1", "three")];
pub const BROKEN: [(&str, &str); 2] = [("slice-0", "two"), ("slice-1", "broken")];

pub type Slices<'a> = &'a [(&'a str, &'a str)];

/// An account with nothing in it, and a machine's state.
pub struct Cloud {
    pub aws: MiniStack,
    pub folder: tempfile::TempDir,
}

impl Cloud {
    pub fn new() -> Self {
        Self { aws: MiniStack::start(), folder: tempfile::tempdir().unwrap() }
    }

    pub fn connection(&self) -> AwsConnection {
        AwsConnection {
            region: Some(MiniStack::REGION.to_owned()),
            endpoint: Some(self.aws.endpoint()),
            credentials: Some(AwsCredentials {
                access_key_id: "test".to_owned(),
                secret_access_key: "test".into(),
                session_token: None,
            }),
            ..AwsConnection::default()
        }
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// A target for looking only.
    pub fn target(&self) -> LambdaTarget {
        self.target_with(LambdaSettings::new(given_role()))
    }

    pub fn target_with(&self, settings: LambdaSettings) -> LambdaTarget {
        LambdaTarget::new(&self.state(), &self.connection(), settings).unwrap()
    }

    pub fn bundle(&self, slices: Slices<'_>) -> Bundle {
        Bundle::new(self.folder.path(), slices)
    }

    pub fn deploy(&self, slices: Slices<'_>) -> (Result<Deployment, DeployError>, Vec<DeployEvent>) {
        let bundle = self.bundle(slices);
        let settings = bundle.settings();
        self.deploy_with(&bundle, settings)
    }

    pub fn deploy_with(
        &self,
        bundle: &Bundle,
        settings: LambdaSettings,
    ) -> (Result<Deployment, DeployError>, Vec<DeployEvent>) {
        let (result, events, _) = self.counted(bundle, settings);
        (result, events)
    }

    /// A deploy with how often each operation was called.
    pub fn counted(
        &self,
        bundle: &Bundle,
        settings: LambdaSettings,
    ) -> (Result<Deployment, DeployError>, Vec<DeployEvent>, BTreeMap<String, u64>) {
        let target = self.target_with(settings);
        let mut events = Vec::new();
        let result = target.deploy(&bundle.request(), &mut |event| events.push(event));
        (result, events, target.session().calls())
    }

    pub fn plan(&self, slices: Slices<'_>) -> ChangeSet {
        let bundle = self.bundle(slices);
        self.target_with(bundle.settings()).plan(&bundle.request()).unwrap()
    }

    /// Runs Python with AWS's own client library: `client(SERVICE)`, and `show(VALUE)` for
    /// the answer.
    pub fn client(&self, script: &str) -> Value {
        let prelude = r"
import botocore.config, botocore.exceptions, botocore.session, io, json
session = botocore.session.Session()
config = botocore.config.Config(inject_host_prefix=False)
client = lambda service: session.create_client(service, config=config)
show = lambda value: print(json.dumps(value, default=str))
lam = client('lambda')
";
        let output = Command::new(python())
            .args(["-c", &format!("{prelude}\n{script}")])
            .env_clear()
            .envs(self.aws.environment())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), self.aws.log());
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// What a function's alias answers.
    pub fn invoke(&self, function: &str) -> Value {
        self.client(&format!(
            "show(json.load(lam.invoke(FunctionName='{function}', Qualifier='live', Payload=b'{{}}')['Payload']))"
        ))
    }

    /// What each slice's toy says now.
    pub fn says(&self) -> Vec<String> {
        let of =
            |slice| self.invoke(&format!("{NAME}-{slice}"))["says"].as_str().unwrap_or("nothing").to_owned();
        ["slice-0", "slice-1"].map(of).to_vec()
    }

    /// Everything that is in the account.
    pub fn everything(&self) -> Value {
        self.client(
            r"
everything = {}
names = [function['FunctionName'] for function in lam.list_functions()['Functions']]
for name in sorted(names):
    versions = [v['Version'] for v in lam.list_versions_by_function(FunctionName=name)['Versions']]
    aliases = lam.list_aliases(FunctionName=name)['Aliases']
    everything[name] = {'versions': versions, 'aliases': {a['Name']: a['FunctionVersion'] for a in aliases}}
    urls = lam.list_function_url_configs(FunctionName=name)['FunctionUrlConfigs']
    if urls: everything[name]['urls'] = len(urls)
found = {
    'layers': [layer['LayerName'] for layer in lam.list_layers()['Layers']],
    'roles': [role['RoleName'] for role in client('iam').list_roles()['Roles'] if 'service-role' not in role['Path']],
    'machines': [machine['name'] for machine in client('stepfunctions').list_state_machines()['stateMachines']],
    'logs': [group['logGroupName'] for group in client('logs').describe_log_groups()['logGroups']],
}
s3 = client('s3')
for bucket in s3.list_buckets()['Buckets']:
    name = bucket['Name']
    found['s3://' + name] = [o['Key'] for o in s3.list_objects_v2(Bucket=name).get('Contents', [])]
show(everything | {key: value for key, value in found.items() if value or key.startswith('s3')})
",
        )
    }
}

/// A bundle with its packages.
pub struct Bundle {
    pub folder: PathBuf,
    pub packages: PathBuf,
    pub index: LambdaIndex,
    pub manifest: Manifest,
}

impl Bundle {
    pub fn new(folder: &Path, slices: Slices<'_>) -> Self {
        Self::of_kind(folder, slices, LambdaPackageKind::ZipInline)
    }

    pub fn of_kind(folder: &Path, slices: Slices<'_>, kind: LambdaPackageKind) -> Self {
        let (bundle, packages) = (folder.join("bundle"), folder.join("packages"));
        fs::create_dir_all(&bundle).unwrap();
        fs::create_dir_all(&packages).unwrap();
        fs::write(bundle.join("weights.bin"), b"weights").unwrap();
        let names: Vec<&str> = slices.iter().map(|(name, _)| *name).collect();
        let size = FunctionSize { memory_bytes: ByteCount::mebibytes(128), cpu_milli: MilliCpu(50) };
        let mut manifest = manifest(&names, size);
        manifest.plan_digest = Digest::of(format!("{slices:?}").as_bytes());
        manifest.write(&bundle.join(Manifest::FILE)).unwrap();
        verification(&manifest, true).write(&Verification::path_beside(&bundle)).unwrap();
        let package = |(slice, text): &(&str, &str)| {
            let file = format!("{slice}.zip");
            let digest = zip(&packages.join(&file), text);
            LambdaPackage {
                slice: (*slice).to_owned(),
                kind,
                reason: "it is small".to_owned(),
                bytes: ByteCount(fs::metadata(packages.join(&file)).unwrap().len()),
                unzipped_bytes: ByteCount::mebibytes(2),
                file: Some(file),
                digest,
                layers: Vec::new(),
            }
        };
        let index = LambdaIndex {
            header: Header { format: LambdaIndex::FORMAT.to_owned(), version: LambdaIndex::VERSION },
            bundle_digest: Digest::of(manifest.to_json().unwrap().as_bytes()),
            engine: "tract".to_owned(),
            architecture: "x86_64".to_owned(),
            packages: slices.iter().map(package).collect(),
            layers: Vec::new(),
            entry: None,
        };
        Self { folder: bundle, packages, index, manifest }
    }

    /// Gives every function a layer.
    pub fn add_layer(&mut self) {
        let file = "layer.zip".to_owned();
        let digest = zip(&self.packages.join(&file), "a layer");
        let name = "engine".to_owned();
        for package in &mut self.index.packages {
            package.layers.push(name.clone());
        }
        let bytes = ByteCount(fs::metadata(self.packages.join(&file)).unwrap().len());
        self.index.layers =
            vec![LambdaLayer { name, file, bytes, unzipped_bytes: ByteCount::mebibytes(2), digest }];
    }

    /// What a deploy of it needs, with the role given.
    pub fn settings(&self) -> LambdaSettings {
        let options = LambdaOptions {
            memory: Memory::Fixed(128),
            timeout: Duration::from_secs(5),
            ..LambdaOptions::new(NAME)
        };
        LambdaSettings {
            packages: self.packages.clone(),
            index: Some(self.index.clone()),
            functions: describe_functions(&self.manifest, &self.index, &options).unwrap(),
            poll: Duration::from_millis(50),
            ..LambdaSettings::new(given_role())
        }
    }

    pub fn request(&self) -> DeployRequest {
        DeployRequest {
            bundle: self.folder.clone(),
            name: NAME.to_owned(),
            options: DeployOptions { ready_timeout: Duration::from_secs(40), ..DeployOptions::default() },
        }
    }
}

/// A zip file of the toy and what it does; the same bytes for the same text.
pub fn zip(path: &Path, text: &str) -> Digest {
    let mut archive = zip::ZipWriter::new(fs::File::create(path).unwrap());
    let options = zip::write::SimpleFileOptions::default().unix_permissions(0o755);
    archive.start_file("bootstrap", options).unwrap();
    archive.write_all(&fs::read(toy_bootstrap()).unwrap()).unwrap();
    archive.start_file("toy.txt", options).unwrap();
    archive.write_all(text.as_bytes()).unwrap();
    archive.finish().unwrap();
    Digest::of_file(path).unwrap()
}

pub fn given_role() -> Role {
    Role::Given(format!("arn:aws:iam::{}:role/given", MiniStack::ACCOUNT))
}

pub fn created_role() -> Role {
    let scope = policies::PolicyScope::new(MiniStack::REGION, MiniStack::ACCOUNT, NAME);
    Role::Created(RoleDocuments {
        trust: policies::execution_trust().to_string(),
        policy: policies::execution(&scope).to_string(),
    })
}

pub fn notices(events: &[DeployEvent]) -> Vec<String> {
    let texts = events.iter().filter_map(|event| match event {
        DeployEvent::Notice { text } => Some(text.clone()),
        _ => None,
    });
    texts.collect()
}

/// Nothing, as [`Cloud::everything`] shows it.
pub fn nothing() -> Value {
    json!({})
}
