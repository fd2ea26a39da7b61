//! Debian's containerd, ctr and runc: everything in a temporary folder, nothing as a service.

use super::registry::{Running, program};
use super::wait_until;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A containerd of our own.
pub struct Containerd {
    folder: TempDir,
    namespace: String,
    process: Running,
}

impl Containerd {
    pub fn start() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "containers are run as root: run these tests with sudo"
        );
        program("runc", "runc");
        program("ctr", "containerd");
        let folder = TempDir::with_prefix("containerd-").unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        // No CRI: it would look for networks. No `opt`: it would write outside this folder.
        let text = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n[grpc]\naddress = \"{}\"\n[ttrpc]\naddress = \"{}\"\n",
            at("root"),
            at("state"),
            at("socket"),
            at("ttrpc"),
        );
        let config = folder.path().join("config.toml");
        fs::write(&config, text).unwrap();
        let process = program("containerd", "containerd")
            .args(["--config".as_ref(), config.as_os_str()])
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let namespace = format!("tranche-test-{}", std::process::id());
        let containerd = Self { folder, namespace, process: Running(process) };
        wait_until(|| containerd.ctr(&["version"]).status.success());
        containerd
    }

    /// Pulls from a registry in plain HTTP.
    pub fn pull(&self, image: &str) {
        let pulled = self.ctr(&["images", "pull", "--plain-http", image]);
        assert!(pulled.status.success(), "{}", String::from_utf8_lossy(&pulled.stderr));
    }

    /// Starts the image's entrypoint as process 1, with the host's network.
    pub fn run(&self, image: &str, id: &str, memory: Option<u64>, environment: &[String]) -> Task<'_> {
        let log = format!("file://{}", self.folder.path().join(format!("{id}.log")).display());
        let memory = memory.map(|bytes| bytes.to_string());
        let mut words = vec!["run", "--detach", "--net-host", "--log-uri", &log];
        if let Some(memory) = &memory {
            words.extend(["--memory-limit", memory]);
        }
        for one in environment {
            words.extend(["--env", one]);
        }
        words.extend([image, id]);
        let started = self.ctr(&words);
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        Task { containerd: self, id: id.to_owned() }
    }

    fn ctr(&self, words: &[&str]) -> Output {
        let socket = self.folder.path().join("socket");
        Command::new("ctr")
            .args(["--address".as_ref(), socket.as_os_str()])
            .args(["--namespace", &self.namespace])
            .args(words)
            .output()
            .unwrap()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let process = rustix::process::Pid::from_child(&self.process.0);
        let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        let _ = self.process.0.wait();
        // runc makes a folder for the namespace in each hierarchy and leaves it.
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = fs::remove_dir(hierarchy.path().join(&self.namespace));
        }
        let _ = fs::remove_dir(Path::new("/sys/fs/cgroup").join(&self.namespace));
    }
}

/// A container, removed when dropped.
pub struct Task<'a> {
    containerd: &'a Containerd,
    id: String,
}

impl Task<'_> {
    pub fn signal(&self, signal: &str) {
        let sent = self.containerd.ctr(&["task", "kill", "--signal", signal, &self.id]);
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    }

    /// Waits for the end of process 1 and returns its exit code.
    pub fn exit_code(&self) -> i32 {
        wait_until(|| {
            let list = self.containerd.ctr(&["task", "list"]).stdout;
            let list = String::from_utf8_lossy(&list).into_owned();
            list.lines().any(|line| line.starts_with(&self.id) && line.contains("STOPPED"))
        });
        let deleted = self.containerd.ctr(&["task", "delete", &self.id]);
        // ctr tells the code only in a warning, and only when it is not 0.
        let warning = String::from_utf8_lossy(&deleted.stderr).into_owned();
        let code = warning.split("non-zero exit code ").nth(1).unwrap_or("0");
        code.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
    }

    /// How many of its processes the kernel killed at the memory limit.
    pub fn oom_kills(&self) -> u64 {
        let below = |start: &str, file: &str| -> PathBuf {
            [start, &self.containerd.namespace, &self.id, file].iter().collect()
        };
        let version_1 = below("/sys/fs/cgroup/memory", "memory.oom_control");
        let version_2 = below("/sys/fs/cgroup", "memory.events");
        let text = fs::read_to_string(version_1).or_else(|_| fs::read_to_string(version_2)).unwrap();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.unwrap().trim().parse().unwrap()
    }

    pub fn log(&self) -> String {
        let path = self.containerd.folder.path().join(format!("{}.log", self.id));
        fs::read_to_string(path).unwrap_or_default()
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        self.containerd.ctr(&["task", "kill", "--signal", "SIGKILL", &self.id]);
        self.containerd.ctr(&["task", "delete", "--force", &self.id]);
        self.containerd.ctr(&["container", "delete", &self.id]);
    }
}
