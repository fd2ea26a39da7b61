use crate::process::{Server, free_ports};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::Duration;

/// Servers are started again when another process took the port first.
const ATTEMPTS: usize = 3;
const DEADLINE: Duration = Duration::from_secs(60);
/// Asks the kernel for its own end when the test that started it is gone
/// (prctl(2), `PR_SET_PDEATHSIG`, `SIGKILL`).
const PROGRAM: &str = "\
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() == int(sys.argv.pop(1)):
    from ministack.app import main
    sys.exit(main())
";

/// AWS's API on loopback, without anything in it.
#[derive(Debug)]
pub struct MiniStack {
    server: Server,
    port: u16,
}

impl MiniStack {
    /// The region that [`MiniStack::environment`] names.
    pub const REGION: &'static str = "us-east-1";
    /// The account that everything is in.
    pub const ACCOUNT: &'static str = "000000000000";

    /// Starts one on a free port and waits until it answers.
    ///
    /// # Panics
    /// When it does not, or `cargo xtask peers` has not run.
    #[must_use]
    pub fn start() -> Self {
        for _ in 0..ATTEMPTS {
            let [port] = free_ports();
            let folder = tempfile::tempdir().expect("a folder can be made");
            let mut server = Server::start("MiniStack", command(port, folder.path()), folder);
            if server.wait_until(DEADLINE, || is_healthy(port)) {
                return Self { server, port };
            }
            if !server.log().to_lowercase().contains("address already in use") {
                panic!("MiniStack ended by itself; it wrote:\n{}", server.log());
            }
        }
        panic!("MiniStack found its port taken {ATTEMPTS} times");
    }

    /// Its address, for `AWS_ENDPOINT_URL`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What a client's environment must be to reach it, and nothing else of this
    /// machine: not its profiles, and no metadata service.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let endpoint = self.endpoint();
        let pairs = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_REGION", Self::REGION),
            ("AWS_DEFAULT_REGION", Self::REGION),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
            ("AWS_STS_REGIONAL_ENDPOINTS", "regional"),
        ];
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// What it wrote: a line for each request.
    #[must_use]
    pub fn log(&self) -> String {
        self.server.log()
    }
}

fn command(port: u16, folder: &std::path::Path) -> Command {
    let mut command = Command::new(crate::python());
    let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    command
        .args(["-c", PROGRAM, &std::process::id().to_string()])
        .current_dir(folder)
        // Functions see its whole environment: they get nothing of the test's.
        .env_clear()
        .env("PATH", path)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .envs([
            ("HOME", text(folder.to_owned())),
            ("TMPDIR", text(folder.to_owned())),
            ("STATE_DIR", text(folder.join("state"))),
            ("S3_DATA_DIR", text(folder.join("s3"))),
            ("GATEWAY_PORT", port.to_string()),
        ])
        .envs([
            ("BIND_HOST", "127.0.0.1"),
            ("MINISTACK_HOST", "127.0.0.1"),
            ("MINISTACK_REGION", MiniStack::REGION),
            ("MINISTACK_ACCOUNT_ID", MiniStack::ACCOUNT),
            ("IOT_MTLS_ENABLED", "0"),
            ("SFTP_ENABLED", "0"),
            ("LAMBDA_EXECUTOR", "local"),
        ]);
    command
}

fn is_healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /_ministack/health HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.split_whitespace().nth(1) == Some("200"))
}
