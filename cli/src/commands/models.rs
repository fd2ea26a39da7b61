use crate::arguments::ModelsVerb;
use crate::catalogue;
use crate::context::Context;
use crate::failure::Failure;
use crate::table;
use serde::Serialize;
use std::path::PathBuf;

#[derive(Serialize)]
struct Made {
    name: String,
    path: PathBuf,
}

pub fn run(context: &Context, verb: &ModelsVerb) -> Result<(), Failure> {
    let settings = context.settings(&[])?;
    let printer = &context.printer;
    match verb {
        ModelsVerb::List => {
            let lines = catalogue::list();
            printer.result(&lines, || {
                let rows: Vec<Vec<String>> = lines.iter().map(catalogue::Line::cells).collect();
                table::render(catalogue::Line::HEADER, &rows, catalogue::Line::HEADER)
            })
        }
        ModelsVerb::Build { name, output } => {
            let path = output.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.onnx")));
            tranche_models::build(name)?.save(&path)?;
            let made = Made { name: name.clone(), path };
            printer.result(&made, || made.path.display().to_string())
        }
        ModelsVerb::Fetch { name, python } => {
            let path = catalogue::fetch(name, &settings.cache(), python.as_deref(), printer)?;
            let made = Made { name: name.clone(), path };
            printer.result(&made, || made.path.display().to_string())
        }
    }
}
