use super::profile::Loaded;
use crate::arguments::VerifyArguments;
use crate::context::Context;
use crate::failure::Failure;
use crate::lock::Check;
use crate::prepare::require;
use crate::table;
use serde::Serialize;
use tranche_schema::{Verification, exit_code};

#[derive(Serialize)]
struct SeedFlag {
    seed: u64,
}

pub fn run(context: &Context, arguments: &VerifyArguments) -> Result<(), Failure> {
    let settings = context.settings(&[&arguments.engine, &SeedFlag { seed: arguments.seed }])?;
    let mut check = Check::open(&arguments.locked)?;
    require(&arguments.bundle, "package")?;
    let manifest = tranche_packager::check_bundle(&arguments.bundle)?;
    let loaded = Loaded::new(context, &arguments.model, settings)?;
    check.engine(&*loaded.engine).model(&loaded.prepared.path, &loaded.prepared.identity.digest);
    check.manifest(&arguments.bundle, &manifest)?.end()?;
    if loaded.prepared.identity.digest != manifest.model.digest {
        return Err(Failure::new(
            "verify",
            exit_code::UNSUPPORTED_MODEL,
            format!(
                "{} was made from another model than {}",
                arguments.bundle.display(),
                loaded.prepared.path.display()
            ),
        )
        .hint("profile, partition and package this model"));
    }
    let record = loaded.walk(context).verify(&arguments.bundle, &manifest, arguments.tolerance)?;
    let outcome = outcome(&record);
    // As JSON there is one document: the record, or the failure with the record in it.
    if outcome.is_ok() || !context.printer.json() {
        context.printer.result(&record, || render(&record))?;
    }
    outcome
}

/// A failure when the record says that slices and whole model disagree.
///
/// # Errors
/// Then.
pub fn outcome(record: &Verification) -> Result<(), Failure> {
    if record.passed {
        return Ok(());
    }
    if let Some(accuracy) = &record.accuracy {
        let message = format!(
            "lossy codecs move the outputs too far: {} is {:.3e}, asked for is {}",
            accuracy.asked.name(),
            accuracy.found,
            accuracy.asked
        );
        return Err(Failure::new("verify", exit_code::MISMATCH, message)
            .hint(
                "`tranche run` and `tranche plan` take such codecs back; or ask for less, or drop `--lossy`",
            )
            .details(record));
    }
    Err(Failure::new("verify", exit_code::MISMATCH, "slices and whole model disagree")
        .hint(format!(
            "the bound was {:e}; engines that fuse across cuts need `--tolerance 1e-5` or `--optimise false`",
            record.tolerance
        ))
        .details(record))
}

/// The record as a table.
#[must_use]
pub fn render(record: &Verification) -> String {
    let rows: Vec<Vec<String>> = record
        .outputs
        .iter()
        .map(|output| {
            vec![
                output.name.clone(),
                format!("{:.4}", output.scale),
                format!("{:.2e}", output.max_relative_difference),
                if output.bit_identical { "yes" } else { "no" }.to_owned(),
            ]
        })
        .collect();
    let mut text =
        table::render(&["output", "scale", "relative difference", "equal bits"], &rows, &["output"]);
    if let Some(accuracy) = &record.accuracy {
        let count = accuracy.tensors.len();
        text.push_str(&format!(
            "{count} tensor(s) with a lossy codec: {} is {:.3e}, asked for is {}\n",
            accuracy.asked.name(),
            accuracy.found,
            accuracy.asked
        ));
    }
    text
}
