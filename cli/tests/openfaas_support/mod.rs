//! A registry, a gateway and the program, as one place.

use crate::support::Place;
use crate::support::walk::{assert_same, assert_same_as_whole, package, parallel_cuts};
use assert_cmd::Command;
use serde_json::Value;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tranche_gateway_double::{BasicAuth, GatewayDouble, Options, Provider};
use tranche_schema::{Document as _, Plan};

const PASSWORD: &str = "open sesame";
/// The deployment.
const NAME: &str = "model";

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A working folder, a registry and a gateway of this provider.
pub struct Platform {
    place: Place,
    double: GatewayDouble,
    gateway: String,
    registry: String,
    _storage: TempDir,
    _registry: Running,
}

impl Platform {
    pub fn start(provider: Provider) -> Self {
        let (registry, storage, process) = start_registry();
        let mut options = Options::new(provider);
        options.auth = Some(BasicAuth { user: "admin".to_owned(), password: PASSWORD.to_owned() });
        options.journald = true;
        options.probe_period = Duration::from_millis(200);
        options.grace_period = Duration::from_secs(5);
        let double = GatewayDouble::start(options).unwrap();
        let gateway = double.url();
        Self { place: Place::new(), double, gateway, registry, _storage: storage, _registry: process }
    }

    pub fn gateway(&self) -> &str {
        &self.gateway
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path(name)
    }

    /// The program with the gateway's password and the registry in its environment.
    pub fn tranche(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.tranche(arguments);
        command
            .env("TRANCHE_OPENFAAS_PASSWORD", PASSWORD)
            .env("TRANCHE_REGISTRY", format!("{}/test", self.registry))
            .env_remove("OPENFAAS_PASSWORD")
            .env_remove("TRANCHE_GATEWAY");
        command
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.tranche(arguments).arg("--json").output().unwrap();
        let (text, log) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr).into_owned());
        assert!(output.status.success(), "{arguments:?} ended with {:?}: {text}{log}", output.status.code());
        serde_json::from_str(&text).unwrap()
    }

    pub fn package(&self, model: &str, cuts: &[&str]) {
        package(&self.place, model, cuts);
    }

    pub fn assert_answer(&self, model: &str) {
        self.assert_answer_of(model, &[]);
    }

    pub fn assert_answer_of(&self, model: &str, more: &[&str]) {
        self.json(&[&["invoke", NAME, "--random", "--output", "sliced.npz"], more].concat());
        assert_same_as_whole(&self.place, model, "sliced.npz");
    }

    pub fn parallel_cuts(&self, model: &str) -> String {
        parallel_cuts(&self.place, model)
    }

    pub fn deploy(&self, more: &[&str]) -> Value {
        let deploy = ["deploy", "--target", "openfaas", "--gateway", &self.gateway, "--insecure-registry"];
        let arguments: Vec<&str> = deploy.iter().chain(&["--name", NAME]).chain(more).copied().collect();
        self.json(&arguments)
    }

    /// A deploy with another password: its exit code and error.
    pub fn refused(&self, password: &str) -> (i32, Value) {
        let arguments = ["deploy", "--target", "openfaas", "--gateway", &self.gateway, "--insecure-registry"];
        let output = self
            .tranche(&arguments)
            .env("TRANCHE_OPENFAAS_PASSWORD", password)
            .arg("--json")
            .output()
            .unwrap();
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code().unwrap(), document["error"].clone())
    }

    /// The front door says what the model takes, and answers a request in JSON as
    /// `invoke` does.
    pub fn assert_front_door(&self) {
        let url = format!("{}/function/{NAME}-front-door/", self.gateway);
        let description: Value = serde_json::from_str(&send(reqwest::Client::new().get(&url))).unwrap();
        assert_eq!(description["deployment"], NAME, "{description}");
        let plan = Plan::read(&self.path("plan.json")).unwrap();
        let zeros: serde_json::Map<String, Value> = plan
            .inputs
            .iter()
            .map(|spec| {
                let count = spec.shape.iter().product::<u64>() as usize;
                (spec.name.clone(), serde_json::json!({ "shape": spec.shape, "data": vec![0; count] }))
            })
            .collect();
        std::fs::write(self.path("zeros.json"), serde_json::to_vec(&zeros).unwrap()).unwrap();
        self.json(&["invoke", NAME, "--inputs", "zeros.json", "--output", "invoked.npz"]);
        let request = serde_json::to_vec(&serde_json::json!({ "inputs": zeros })).unwrap();
        let answer: Value =
            serde_json::from_str(&send(reqwest::Client::new().post(&url).body(request))).unwrap();
        std::fs::write(self.path("answered.json"), answer["outputs"].to_string()).unwrap();
        assert_same(&self.place, "answered.json", "invoked.npz", 0.0);
    }

    /// Names of the functions that the gateway runs.
    pub fn functions(&self) -> Vec<String> {
        let list = reqwest::Client::new().get(format!("{}/system/functions", self.gateway));
        let functions: Value = serde_json::from_str(&send(list.basic_auth("admin", Some(PASSWORD)))).unwrap();
        let mut names: Vec<String> = functions
            .as_array()
            .unwrap()
            .iter()
            .map(|function| function["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }

    /// How many calls changed something at the gateway.
    pub fn changing_calls(&self) -> usize {
        ["PUT", "POST", "DELETE"].iter().map(|method| self.double.count(method, "/system/")).sum()
    }

    pub fn calls(&self) -> usize {
        self.double.calls().len()
    }

    pub fn forget_calls(&self) {
        self.double.forget_calls();
    }
}

/// Debian's docker-registry on loopback: its address, its files, its process.
fn start_registry() -> (String, TempDir, Running) {
    for _ in 0..5 {
        let folder = TempDir::with_prefix("registry-").unwrap();
        let address: SocketAddr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let storage = folder.path().join("storage");
        let config = folder.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {address}}}\n",
            storage.display()
        );
        std::fs::write(&config, text).unwrap();
        let child = std::process::Command::new("docker-registry")
            .args(["serve".as_ref(), config.as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is missing: apt-get install docker-registry");
        let mut process = Running(child);
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(20) {
            if TcpStream::connect(address).is_ok() {
                return (address.to_string(), folder, process);
            }
            if process.0.try_wait().unwrap().is_some() {
                // Somebody else took the port meanwhile.
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    panic!("docker-registry does not start");
}

/// Sends a request that must go well; what comes back.
fn send(request: reqwest::RequestBuilder) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let answer = request.timeout(Duration::from_secs(120)).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{status}: {text}");
        text
    })
}
