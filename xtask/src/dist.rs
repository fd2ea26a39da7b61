//! Builds every program of a release against an old C library, and packs them.

use crate::shim::{self, SHIMS, Shim, command, flags_variable, put, root, say, target, target_folder};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// Packages whose programs of the same name users call. Built in one go, so that what they
/// share is built once.
const PACKAGES: [&str; 2] = ["tranche", "tranche-front-door"];

/// Builds and packs a release into `target/dist/`.
pub(crate) fn run() -> ExitCode {
    if !shim::has_zigbuild() {
        say("error: a release is linked against an old C library, which needs cargo-zigbuild; get it with: \
             pip install cargo-zigbuild");
        return ExitCode::from(2);
    }
    match release() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            say(&format!("error: {reason}"));
            ExitCode::FAILURE
        }
    }
}

fn release() -> Result<(), String> {
    let target = target()?;
    let output = target_folder().join("dist");
    let staging = output.join("staging");
    for folder in ["bin", "crates"] {
        let folder = staging.join(folder);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let stage = |from: &Path, name: &str| {
        put(from, &staging.join("bin").join(name)).map_err(|error| format!("{}: {error}", from.display()))
    };
    for shim in SHIMS {
        let built = shim::build(shim).map_err(|reason| format!("shim `{}`: {reason}", shim.name()))?;
        stage(&built, &format!("tranche-shim-{}", shim.name()))?;
    }
    let flags = (flags_variable(&target), "-C strip=symbols");
    cargo(&words(&build_line(&target)), Some((&flags.0, flags.1)))?;
    for name in PACKAGES {
        stage(&target_folder().join(&target).join("release").join(name), name)?;
    }
    for (name, line) in tree_lines(&target) {
        let crates = output_of(&words(&line))?;
        let path = staging.join("crates").join(&name);
        fs::write(&path, crates).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let mut pack = words("run --quiet --release --locked --package tranche-dist --");
    pack.extend([&staging, root(), &output].map(|path: &Path| path.to_string_lossy().into_owned()));
    cargo(&pack, None)
}

fn build_line(target: &str) -> String {
    let packages = PACKAGES.map(|name| format!("--package {name}")).join(" ");
    format!("zigbuild --release --locked {packages} --target {target}.{}", shim::GLIBC)
}

/// The crates that are linked into each program: what only runs while building is left out.
fn tree_lines(target: &str) -> Vec<(String, String)> {
    let line = |package: &str| {
        format!(
            "tree --locked --quiet --edges normal,no-proc-macro --prefix none --format {{p}}|{{l}} \
             --target {target} --package {package}"
        )
    };
    let of_shim = |shim: Shim| {
        let chosen = format!("{} --no-default-features --features {}", line("tranche-shim"), shim.feature());
        (format!("tranche-shim-{}", shim.name()), chosen)
    };
    PACKAGES.map(|name| (name.to_owned(), line(name))).into_iter().chain(SHIMS.map(of_shim)).collect()
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn cargo(arguments: &[String], variable: Option<(&str, &str)>) -> Result<(), String> {
    let status = command(arguments).envs(variable).status().map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("cargo {} ended with {status}", arguments[0])) }
}

fn output_of(arguments: &[String]) -> Result<Vec<u8>, String> {
    let output = command(arguments).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(format!("cargo {}: {}", arguments[0], String::from_utf8_lossy(&output.stderr).trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_built_against_an_old_c_library() {
        assert_eq!(
            build_line("x86_64-unknown-linux-gnu"),
            "zigbuild --release --locked --package tranche --package tranche-front-door \
             --target x86_64-unknown-linux-gnu.2.28"
        );
    }

    #[test]
    fn each_program_has_an_inventory_of_its_own_crates() {
        let lines = tree_lines("x86_64-unknown-linux-gnu");
        let names: Vec<&str> = lines.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["tranche", "tranche-front-door", "tranche-shim-static", "tranche-shim-onnxruntime"]
        );
        assert!(lines[2].1.ends_with("--package tranche-shim --no-default-features --features tract"));
    }

    #[test]
    fn the_crates_of_a_program_are_listed_by_cargo() {
        let (_, line) = &tree_lines("x86_64-unknown-linux-gnu")[3];
        let listed = String::from_utf8(output_of(&words(line)).unwrap()).unwrap();
        assert!(listed.starts_with("tranche-shim v"), "{listed}");
        let names: Vec<&str> = listed.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(names.contains(&"ort") && !names.iter().any(|name| name.starts_with("tract")), "{names:?}");
    }
}
