use super::profile::Loaded;
use crate::arguments::PackageArguments;
use crate::context::Context;
use crate::failure::Failure;
use crate::lock::Check;
use crate::prepare::require;
use crate::table;
use tranche_schema::{ByteCount, Document as _, Manifest, Plan};

pub fn run(context: &Context, arguments: &PackageArguments) -> Result<(), Failure> {
    let settings = context.settings(&[&arguments.engine])?;
    let mut check = Check::open(&arguments.locked)?;
    require(&arguments.plan, "partition")?;
    let plan = Plan::read(&arguments.plan)?;
    let loaded = Loaded::new(context, &arguments.model, settings)?;
    check.engine(&*loaded.engine).model(&loaded.prepared.path, &loaded.prepared.identity.digest);
    check.plan(&arguments.plan, &plan)?.end()?;
    let manifest = loaded.walk(context).package_locked(&plan, &arguments.output, &mut check)?;
    context.printer.step("Packaged", &format!("{}", arguments.output.display()));
    context.printer.result(&manifest, || render(&manifest))
}

/// The bundle as a table.
#[must_use]
pub fn render(manifest: &Manifest) -> String {
    let bytes_of = |path: &String| {
        manifest.files.iter().find(|file| &file.path == path).map_or(ByteCount(0), |file| file.bytes)
    };
    let rows: Vec<Vec<String>> = manifest
        .slices
        .iter()
        .map(|slice| {
            vec![
                slice.name.clone(),
                slice.model.clone(),
                bytes_of(&slice.model).to_string(),
                slice.weights.len().to_string(),
                slice.weights.iter().map(bytes_of).sum::<ByteCount>().to_string(),
            ]
        })
        .collect();
    let total: ByteCount = manifest.files.iter().map(|file| file.bytes).sum();
    format!(
        "{}\n{} files, {total}",
        table::render(&["slice", "file", "graph", "weight files", "weights"], &rows, &["slice", "file"]),
        manifest.files.len()
    )
}
