use crate::process::{Server, free_ports};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const ATTEMPTS: usize = 3;
const DEADLINE: Duration = Duration::from_secs(20);

/// AWS's Runtime Interface Emulator with one function behind it.
#[derive(Debug)]
pub struct RuntimeInterfaceEmulator {
    server: Server,
    port: u16,
}

impl RuntimeInterfaceEmulator {
    /// Starts it for `bootstrap`, which runs with `environment` alone (and what
    /// Lambda sets), is told of `memory_mib`, and may take `timeout_seconds` to answer.
    /// The process starts with the first invocation.
    ///
    /// # Panics
    /// When it does not start, or `cargo xtask peers` has not run.
    #[must_use]
    pub fn start(
        bootstrap: &Path,
        environment: &[(&str, &str)],
        memory_mib: u32,
        timeout_seconds: u32,
    ) -> Self {
        for _ in 0..ATTEMPTS {
            let [port, runtime_port] = free_ports();
            let folder = tempfile::tempdir().expect("a folder can be made");
            let mut command = Command::new(crate::peer("bin/aws-lambda-rie"));
            command
                .args(["--runtime-interface-emulator-address", &format!("127.0.0.1:{port}")])
                .args(["--runtime-api-address", &format!("127.0.0.1:{runtime_port}")])
                .arg(bootstrap)
                .current_dir(folder.path())
                .env_clear()
                .env("PATH", std::env::var_os("PATH").unwrap_or_default())
                .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory_mib.to_string())
                .env("AWS_LAMBDA_FUNCTION_TIMEOUT", timeout_seconds.to_string())
                .envs(environment.iter().copied());
            let mut server = Server::start("the Runtime Interface Emulator", command, folder);
            if server.wait_until(DEADLINE, || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()) {
                return Self { server, port };
            }
            if !server.log().contains("address already in use") {
                panic!("the Runtime Interface Emulator ended by itself; it wrote:\n{}", server.log());
            }
        }
        panic!("the Runtime Interface Emulator found its ports taken {ATTEMPTS} times");
    }

    /// Where its function is invoked, for clients that take a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/2015-03-31/functions/function/invocations", self.port)
    }

    /// Invokes the function with `payload`: HTTP status and body.
    ///
    /// # Panics
    /// When no whole answer comes within `deadline`.
    #[must_use]
    pub fn invoke(&self, payload: &[u8], deadline: Duration) -> (u16, Vec<u8>) {
        self.try_invoke(payload, deadline).unwrap_or_else(|error| {
            panic!("the Runtime Interface Emulator did not answer: {error}; it wrote:\n{}", self.log())
        })
    }

    fn try_invoke(&self, payload: &[u8], deadline: Duration) -> std::io::Result<(u16, Vec<u8>)> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(deadline))?;
        stream.set_write_timeout(Some(deadline))?;
        // HTTP/1.0: the body ends with the connection, and is never chunked.
        write!(
            stream,
            "POST /2015-03-31/functions/function/invocations HTTP/1.0\r\nHost: 127.0.0.1\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            payload.len()
        )?;
        stream.write_all(payload)?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
        let (head, body) = answer.split_at(end.map_or(answer.len(), |end| end + 4));
        let head = String::from_utf8_lossy(head);
        let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok());
        status.map(|status| (status, body.to_vec())).ok_or_else(|| std::io::Error::other("no HTTP answer"))
    }

    /// What it and its function wrote, `REPORT` lines among it.
    #[must_use]
    pub fn log(&self) -> String {
        self.server.log()
    }
}
