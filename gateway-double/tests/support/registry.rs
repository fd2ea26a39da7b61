//! Debian's docker-registry and skopeo.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A program that must be there.
pub fn program(name: &str, package: &str) -> Command {
    let there = std::env::var_os("PATH").is_some_and(|path| {
        let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        folders.extend(["/usr/sbin".into(), "/sbin".into()]);
        folders.iter().any(|folder| folder.join(name).is_file())
    });
    assert!(there, "{name} is missing: apt-get install {package}");
    Command::new(name)
}

/// A free port that the kernel does not give to outgoing connections, far from those that tests
/// in processes with neighbouring ids take: it is used only later.
pub fn free_port() -> u16 {
    let first = u16::try_from(std::process::id() * 97 % 4_000).unwrap();
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    (0..4_000).map(|offset| 8_000 + (first + offset) % 4_000).find(free).unwrap()
}

/// Killed when dropped.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A registry on loopback in a temporary folder.
pub struct Registry {
    pub address: SocketAddr,
    pub folder: TempDir,
    _process: Running,
}

impl Registry {
    pub fn start() -> Self {
        let folder = TempDir::with_prefix("registry-").unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let config = folder.path().join("config.yml");
        let storage = folder.path().join("storage");
        let text = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {address}}}\n",
            storage.display()
        );
        fs::write(&config, text).unwrap();
        let process = program("docker-registry", "docker-registry")
            .args(["serve".as_ref(), config.as_os_str()])
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let process = Running(process);
        super::wait_until(|| TcpStream::connect(address).is_ok());
        Self { address, folder, _process: process }
    }

    /// The image's name in this registry.
    pub fn name(&self, repository: &str) -> String {
        format!("{}/{repository}", self.address)
    }

    /// Pushes the image `name` of an OCI layout; its name here.
    pub fn push(&self, layout: &Path, name: &str, repository: &str) -> String {
        let image = self.name(repository);
        let copied = program("skopeo", "skopeo")
            .args(["--insecure-policy", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"])
            .args([format!("oci:{}:{name}", layout.display()), format!("docker://{image}")])
            .output()
            .unwrap();
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        image
    }

    /// Where the registry keeps a blob.
    pub fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        let blobs = self.folder.path().join("storage/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }
}
