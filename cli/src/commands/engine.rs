use crate::arguments::EngineVerb;
use crate::context::Context;
use crate::failure::Failure;
use crate::table;
use serde::Serialize;
use std::path::PathBuf;
use tranche_engine::EngineStatus;

#[derive(Serialize)]
struct Added {
    engine: String,
    library: PathBuf,
}

pub fn run(context: &Context, verb: &EngineVerb) -> Result<(), Failure> {
    match verb {
        EngineVerb::List(library) => {
            let settings = context.settings(&[library])?;
            let found = tranche_engine::survey(settings.library().as_deref());
            context.printer.result(&found, || render(&found))
        }
        EngineVerb::Add { name, python } => {
            let destination = context.settings(&[])?.cached_library();
            let spinner = context.printer.spinner("downloading through pip");
            let library = tranche_engine::add_onnxruntime(tranche_engine::AddOptions {
                python: python.as_deref(),
                destination: Some(&destination),
                ..Default::default()
            })?;
            spinner.finish_and_clear();
            let added = Added { engine: name.clone(), library };
            context.printer.result(&added, || added.library.display().to_string())
        }
    }
}

/// Engines as a table.
#[must_use]
pub fn render(found: &[EngineStatus]) -> String {
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|status| {
            vec![
                status.name.to_owned(),
                status.version.clone().unwrap_or_default(),
                if status.available { "works" } else { "does not work" }.to_owned(),
                status.problem.clone().unwrap_or_else(|| {
                    status.library.as_ref().map_or_else(String::new, |path| path.display().to_string())
                }),
            ]
        })
        .collect();
    table::render(
        &["engine", "version", "state", "library or problem"],
        &rows,
        &["engine", "version", "state", "library or problem"],
    )
}
