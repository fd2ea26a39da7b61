use crate::arguments::StatusArguments;
use crate::context::Context;
use crate::failure::Failure;
use crate::{table, targets};
use tranche_deployer::DeploymentStatus;

pub fn run(context: &Context, arguments: &StatusArguments) -> Result<(), Failure> {
    let settings = context.settings(&[&arguments.place])?;
    let places = match &arguments.name {
        Some(name) => vec![(name.clone(), targets::target_of(&settings, &arguments.place, name)?)],
        None => targets::all(&settings, &arguments.place)?,
    };
    let found = places.iter().map(|(name, target)| target.status(name)).collect::<Result<Vec<_>, _>>()?;
    context.printer.result(&found, || render(&found))
}

fn render(found: &[DeploymentStatus]) -> String {
    if found.is_empty() {
        return "nothing is deployed".to_owned();
    }
    let mut rows = Vec::new();
    for deployment in found {
        for function in &deployment.functions {
            let memory = |bytes: Option<tranche_schema::ByteCount>| {
                bytes.map_or_else(|| "–".to_owned(), |bytes| bytes.to_string())
            };
            rows.push(vec![
                deployment.name.clone(),
                function.name.clone(),
                word(&function.state),
                function.process_id.map_or_else(|| "–".to_owned(), |id| id.to_string()),
                function.restarts.to_string(),
                memory(function.memory_bytes),
                memory(function.memory_peak_bytes),
                function.last_exit.as_ref().map_or_else(String::new, ToString::to_string),
            ]);
        }
        if deployment.functions.is_empty() {
            let mut row = vec![deployment.name.clone(), "–".to_owned(), word(&deployment.phase)];
            row.resize(8, String::new());
            rows.push(row);
        }
    }
    let header = ["deployment", "function", "state", "process", "restarts", "memory", "peak", "last end"];
    let mut text = table::render(&header, &rows, &["deployment", "function", "state", "last end"]);
    for notice in found.iter().flat_map(|deployment| &deployment.notices) {
        text.push_str(&format!("\nnote: {notice}"));
    }
    text
}

/// A value of a plain enumeration as its JSON word.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
