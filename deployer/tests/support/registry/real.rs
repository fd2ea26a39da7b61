//! Debian's docker-registry on this machine, and skopeo to look at what it holds.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const START: Duration = Duration::from_secs(20);

/// The program, or a failure that says how to get it.
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("`{name}` is missing: apt-get install {name}"))
}

/// A registry that ends with the test.
pub struct RealRegistry {
    pub host: String,
    pub folder: tempfile::TempDir,
    child: Child,
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl RealRegistry {
    /// Anyone may do anything, over plain HTTP.
    pub fn start() -> Self {
        Self::configured("", |_| String::new())
    }

    /// `auth` is a section of the configuration; `tls` makes files in the
    /// registry's folder and returns lines for its section `http`.
    pub fn configured(auth: &str, tls: impl Fn(&Path) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tls = tls(folder.path());
        // Another program may take the port in between.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let host = format!("127.0.0.1:{port}");
            let configuration = format!(
                "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n{}\
                 http:\n  addr: {host}\n{tls}",
                folder.path().join("data").display(),
                auth.replace("FOLDER", &folder.path().display().to_string()),
            );
            fs::write(folder.path().join("config.yml"), configuration).unwrap();
            let log = fs::File::create(folder.path().join("log")).unwrap();
            let mut child = Command::new(program("docker-registry"))
                .arg("serve")
                .arg(folder.path().join("config.yml"))
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap();
            if listens(&mut child, &host) {
                return Self { host, folder, child };
            }
        }
        panic!("docker-registry did not start")
    }

    /// The requests that it logged: method, path and status.
    pub fn requests(&self) -> Vec<(String, String, u16)> {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap();
        let request = |line: &str| {
            let mut parts = line.split_once("\" ").map(|(_, rest)| rest)?.split_whitespace();
            let status = parts.next()?.parse().ok()?;
            let request = line.split('"').nth(1)?;
            let mut words = request.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.to_owned(), status))
        };
        log.lines().filter(|line| line.contains("HTTP/1.1\" ")).filter_map(request).collect()
    }
}

fn listens(child: &mut Child, host: &str) -> bool {
    let start = Instant::now();
    while start.elapsed() < START {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if std::net::TcpStream::connect(host).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// What `skopeo` writes.
pub fn skopeo(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program("skopeo"))
        .args(["--insecure-policy", "--command-timeout", "60s"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "skopeo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
