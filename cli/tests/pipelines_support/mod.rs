//! The repository's scripts and documentation, and where they are run.

use crate::support::Place;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;

/// The repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A file of it as text.
pub fn text(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap()
}

/// A YAML file of it.
pub fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(path)).unwrap()
}

/// The shell block of docs/ci.md below this mark.
pub fn documented(mark: &str) -> String {
    let page = text("docs/ci.md");
    let (_, rest) = page.split_once(&format!("<!-- test: {mark} -->\n```sh\n")).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

/// A place whose deployments end with it.
pub struct Pipeline {
    pub place: Place,
}

impl Pipeline {
    /// One with a small network as `model.onnx`, which is cut in two.
    pub fn new() -> Self {
        let place = Place::new();
        place.json(&["models", "build", "gcn_cora", "-o", "model.onnx"]);
        std::fs::write(place.path("tranche.toml"), "repeats = 1\nmin_slices = 2\n").unwrap();
        Self { place }
    }

    /// The way by hand up to the lock file, as documented.
    pub fn locked() -> Self {
        let pipeline = Self::new();
        let output = pipeline.shell(&documented("by hand"), &[]);
        assert_eq!(code(&output), 0, "{}", said(&output));
        pipeline
    }

    /// Another model under the same name.
    pub fn change_model(&self) {
        self.place.json(&["models", "build", "gat_cora", "-o", "model.onnx"]);
    }

    /// A script in the place, with `tranche` in the path.
    pub fn shell(&self, script: &str, environment: &[(&str, &str)]) -> Output {
        self.run(&["-c", script], environment)
    }

    /// A script of the repository.
    pub fn script(&self, name: &str, environment: &[(&str, &str)]) -> Output {
        self.run(&[repository().join(name).to_str().unwrap()], environment)
    }

    fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let program = self.place.tranche(&[]);
        let folder = PathBuf::from(program.get_program()).parent().unwrap().to_owned();
        let path = std::env::var("PATH").unwrap();
        let mut command = assert_cmd::Command::new("bash");
        command.args(arguments).current_dir(self.place.path("")).timeout(std::time::Duration::from_secs(240));
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        for name in ["GITHUB_ACTIONS", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_PATH", "RUNNER_TEMP"] {
            command.env_remove(name);
        }
        command.env("HOME", self.place.path("")).env("PATH", format!("{}:{path}", folder.display()));
        command.envs(environment.iter().copied()).output().unwrap()
    }

    /// A JSON file of the place.
    pub fn json(&self, file: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.place.path(file)).unwrap()).unwrap()
    }

    /// Commits everything in the place.
    pub fn commit(&self) {
        let script = "set -e; git init -q . 2>/dev/null; \
            printf 'cache\\nstate\\nbundle*\\nresults\\n' >.gitignore; git add -A .; \
            git -c user.name=t -c user.email=t@example.org commit -q -m commit";
        let output = self.shell(script, &[("GIT_CONFIG_GLOBAL", "/dev/null")]);
        assert_eq!(code(&output), 0, "{}", said(&output));
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.place.tranche(&["destroy", "--all", "--quiet"]).output();
    }
}

/// What a script ended with.
pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

/// Both streams.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Words in backticks.
pub fn in_backticks(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
