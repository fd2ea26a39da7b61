//! Repository chores: `cargo xtask ci` runs every check, `cargo xtask shim` builds what runs
//! in functions, `cargo xtask peers` brings what plays AWS in tests, `cargo xtask dist` makes a
//! release.

mod ci;
mod dist;
mod peers;
mod shim;

use std::io::Write as _;
use std::process::ExitCode;

const USAGE: &str = "\
Repository chores

Usage: cargo xtask ci [--only STEP]... [--skip STEP]...
       cargo xtask shim [static|onnxruntime]...
       cargo xtask peers
       cargo xtask dist

`shim` builds the functions' program into target/shims/: for tract, static, and
for ONNX Runtime, against an old C library where cargo-zigbuild is there.

`peers` installs what plays AWS in tests into target/peers/, from pinned versions.
`dist` builds every program against that library and packs a release into
target/dist/: archive, image, inventories, checksums. It takes long.

Steps of ci, in order:
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.split_first() {
        Some((&"ci", rest)) => match ci::Selection::parse(rest) {
            Ok(selection) => ci::run(&selection),
            Err(reason) => usage(&format!("error: {reason}\n\n")),
        },
        Some((&"shim", rest)) => match shim::parse(rest) {
            Ok(shims) => shim::run(&shims),
            Err(reason) => usage(&format!("error: {reason}\n\n")),
        },
        Some((&"peers", [])) => peers::run(),
        Some((&"peers", _)) => usage("error: `peers` takes nothing\n\n"),
        Some((&"dist", [])) => dist::run(),
        Some((&"dist", [word, ..])) => usage(&format!("error: `{word}` is not known\n\n")),
        Some((&("help" | "--help" | "-h"), _)) => {
            let _ = write!(std::io::stdout(), "{USAGE}{}", ci::list());
            ExitCode::SUCCESS
        }
        Some((other, _)) => usage(&format!("error: there is no chore `{other}`\n\n")),
        None => usage(""),
    }
}

/// The exit code that every tranche binary gives to a wrong command line.
fn usage(error: &str) -> ExitCode {
    let _ = write!(std::io::stderr(), "{error}{USAGE}{}", ci::list());
    ExitCode::from(2)
}
