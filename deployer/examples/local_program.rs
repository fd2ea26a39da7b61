//! The least program that a `LocalTarget` can run: `deploy NAME BUNDLE STATE` and
//! the two hidden verbs, with a function that runs no model but can be told to
//! misbehave.
//!
//! What the function does at its start depends on the slice's name: `broken`
//! fails, `silent` never becomes ready, `slow` takes half a second, `stuck` never
//! listens. Requests: `/_/ready`, `/process` (its id),
//! `/arguments`, `/allocate/MIB`, `/print/COUNT`, `/fork` (the id of a child that
//! outlives it).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::error::Error;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tranche_deployer::local::LocalTarget;
use tranche_deployer::{DeployOptions, DeployRequest, Target};
use tranche_schema::Document;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |flag: &str| {
        let position = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(position + 1).cloned()
    };
    match arguments.first().map(String::as_str) {
        Some("__supervise") => {
            let folder = value("--folder").ok_or("--folder is missing")?;
            Ok(tranche_deployer::local::supervise(Path::new(&folder))?)
        }
        Some("__shim") => {
            let listen = value("--listen").ok_or("--listen is missing")?;
            let idle =
                value("--idle-exit-ms").map(|text| text.parse().map(Duration::from_millis)).transpose()?;
            run_function(&value("--slice").ok_or("--slice is missing")?, &listen, idle, &arguments)
        }
        Some("deploy") => {
            let [_, name, bundle, state] = arguments.as_slice() else {
                return Err("deploy takes NAME BUNDLE STATE".into());
            };
            let target = LocalTarget::new(state.into(), std::env::current_exe()?);
            let (bundle, options) = (bundle.into(), DeployOptions::default());
            let request = DeployRequest { bundle, name: name.clone(), options };
            let deployment = target.deploy(&request, &mut |_| {})?;
            Ok(std::io::stdout().write_all(deployment.to_json()?.as_bytes())?)
        }
        _ => Err("the verbs are deploy, __supervise and __shim".into()),
    }
}

fn run_function(
    slice: &str,
    listen: &str,
    idle: Option<Duration>,
    arguments: &[String],
) -> Result<(), Box<dyn Error>> {
    match slice {
        "broken" => return Err("the model is damaged".into()),
        "slow" => std::thread::sleep(Duration::from_millis(500)),
        "stuck" => std::thread::sleep(Duration::from_secs(600)),
        _ => {}
    }
    let listener = match listen.strip_prefix("unix:") {
        Some(path) => UnixListener::bind(path)?,
        None if listen == "stdin" => std::io::stdin().as_fd().try_clone_to_owned()?.into(),
        None => return Err("--listen must begin with unix: or be stdin".into()),
    };
    let (mut kept, mut asked) = (Vec::new(), Instant::now());
    loop {
        match listener.accept() {
            // A caller that goes away is no reason to end.
            Ok((mut stream, _)) => {
                if let Err(error) = serve(&mut stream, slice, arguments, &mut kept) {
                    writeln!(std::io::stderr(), "{error}")?;
                }
                asked = Instant::now();
            }
            // The socket does not block where the supervisor keeps it.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if idle.is_some_and(|idle| asked.elapsed() >= idle) {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn serve(
    stream: &mut UnixStream,
    slice: &str,
    arguments: &[String],
    kept: &mut Vec<Vec<u8>>,
) -> Result<(), Box<dyn Error>> {
    let mut first = String::new();
    BufReader::new(stream.try_clone()?).read_line(&mut first)?;
    let path = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
    let body = match path.split_once('/').unwrap_or((path, "")) {
        ("_", "ready") if slice == "silent" => return answer(stream, 503, ""),
        ("_", "ready") => String::new(),
        ("process", _) => std::process::id().to_string(),
        ("arguments", _) => arguments.join("\n"),
        ("allocate", mebibytes) => {
            kept.push(vec![1_u8; mebibytes.parse::<usize>()? << 20]);
            "allocated".to_owned()
        }
        ("print", count) => {
            let mut output = std::io::stdout().lock();
            for line in 0..count.parse::<usize>()? {
                writeln!(output, "line {line}")?;
            }
            "printed".to_owned()
        }
        ("fork", _) => Command::new("sleep").arg("600").spawn()?.id().to_string(),
        _ => return answer(stream, 404, ""),
    };
    answer(stream, 200, &body)
}

fn answer(stream: &mut UnixStream, status: u16, body: &str) -> Result<(), Box<dyn Error>> {
    let length = body.len();
    let text = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    Ok(stream.write_all(text.as_bytes())?)
}
