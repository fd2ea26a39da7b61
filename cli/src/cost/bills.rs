//! What was measured before: bills, and reports that hold bills.

use super::Measured;
use super::measure::add;
use crate::failure::Failure;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tranche_partitioner::price::{Facts, Hop, NamedBytes};
use tranche_schema::{Bill, ByteCount, Document as _, Millis, Plan, Profile, SliceBill, exit_code};

/// Bills of one deployment, and of the whole model where the file has them.
pub(super) fn read(files: &[PathBuf]) -> Result<Measured, Failure> {
    let mut measured: Option<Measured> = None;
    for file in files {
        let found = Found::read(file)?;
        let known = measured.get_or_insert_with(|| found.facts());
        if known.slices.iter().map(|facts| &facts.name).ne(found.bill.slices.iter().map(|slice| &slice.slice))
        {
            return Err(Failure::usage(format!("{} is a bill of other slices", file.display()))
                .hint("give bills of one plan, at several CPU shares"));
        }
        add(&mut known.slices, &found.bill);
        if let (Some(whole), Some(bill)) = (&mut known.whole, &found.unsplit) {
            let renamed: Vec<SliceBill> = bill
                .slices
                .iter()
                .map(|slice| SliceBill { slice: whole.name.clone(), ..slice.clone() })
                .collect();
            add(std::slice::from_mut(whole), &Bill { slices: renamed, ..bill.clone() });
        }
    }
    let mut measured = measured.ok_or_else(|| Failure::usage("no bill was given"))?;
    if measured.slices.iter().any(|facts| facts.start_up.is_none()) {
        measured.notes.push(
            "start-up is not priced: bills do not tell it; `tranche cost MODEL` measures it".to_owned(),
        );
    }
    let one_thread = |facts: &Facts| facts.samples.iter().all(|sample| sample.cpu_milli.threads() < 2);
    if measured.slices.iter().all(one_thread) {
        measured
            .notes
            .push("no bill is of two CPUs: beyond one CPU times are taken as those of one".to_owned());
    }
    Ok(measured)
}

/// The bill in a file, and that of the whole model where the file has one.
///
/// # Errors
/// When the file cannot be read or holds no bill.
pub(crate) fn bills_in(file: &Path) -> Result<(Bill, Option<Bill>), Failure> {
    Found::read(file).map(|found| (found.bill, found.unsplit))
}

/// A file's bills, and what stands beside them.
struct Found {
    bill: Bill,
    unsplit: Option<Bill>,
    model: Option<String>,
    plan: Option<Plan>,
    profile: Option<Profile>,
}

impl Found {
    fn read(file: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::usage(format!("cannot read the bill {}: {error}", file.display())))?;
        let document: Value = serde_json::from_str(&text).map_err(|error| wrong(file, &error.to_string()))?;
        let bill_of =
            |value: &Value| -> Result<Bill, Failure> { Ok(Bill::from_json(&value.to_string(), file)?) };
        let bill = match document.get("bill") {
            Some(bill) => bill_of(bill)?,
            None if document.get("header").is_some() => bill_of(&document)?,
            None => return Err(wrong(file, "it has neither `bill` nor a bill's `header`")),
        };
        if bill.slices.is_empty() {
            return Err(wrong(file, "it bills no slice"));
        }
        let unsplit =
            document.get("unsplit_bill").filter(|value| !value.is_null()).map(bill_of).transpose()?;
        // Beside a report lie the files that it names, as paths from where it was made.
        let named = |key: &str| document.get(key).and_then(Value::as_str).map(PathBuf::from);
        Ok(Self {
            bill,
            unsplit,
            model: document.get("model").and_then(Value::as_str).map(str::to_owned),
            plan: named("plan").and_then(|path| Plan::read(&path).ok()),
            profile: named("profile").and_then(|path| Profile::read(&path).ok()),
        })
    }

    fn facts(&self) -> Measured {
        let slices: Vec<Facts> =
            self.bill.slices.iter().enumerate().map(|(at, slice)| self.slice(at, slice)).collect();
        let whole_start = self.profile.as_ref().map(|profile| profile.whole.load_ms);
        let whole = self.unsplit.as_ref().and_then(|bill| bill.slices.first()).map(|slice| Facts {
            name: "whole".to_owned(),
            start_up: whole_start,
            ..self.slice(0, slice)
        });
        Measured {
            model: self.model.clone().unwrap_or_else(|| self.bill.deployment.clone()),
            engine: self.bill.engine.clone(),
            machine: self.profile.as_ref().map(|profile| profile.environment.cpu_model.clone()),
            whole,
            slices,
            notes: Vec::new(),
        }
    }

    /// A bill does not name tensors: what one slice writes counts as what the next reads.
    fn slice(&self, at: usize, slice: &SliceBill) -> Facts {
        let metrics = &slice.measured;
        let tensor =
            |at: usize, bytes: ByteCount| vec![NamedBytes { name: format!("hand-off {at}"), bytes: bytes.0 }];
        Facts {
            name: slice.slice.clone(),
            memory: needed(slice),
            samples: Vec::new(),
            start_up: self.start_up(&slice.slice),
            hop: Hop {
                inputs: tensor(at, metrics.input_coded_bytes),
                outputs: tensor(at + 1, metrics.output_coded_bytes),
            },
        }
    }

    fn start_up(&self, slice: &str) -> Option<Millis> {
        let layers = &self.plan.as_ref()?.slices.iter().find(|planned| planned.name == slice)?.layers;
        let measured = self.profile.as_ref()?.slices.iter().find(|known| &known.layers == layers)?;
        Some(measured.whole.load_ms)
    }
}

/// The size billed held it; so does a tenth more than its highest resident memory, where
/// it was given more than it needs.
fn needed(slice: &SliceBill) -> ByteCount {
    let peak = slice.measured.peak_memory_bytes.0;
    let tenth_more = ByteCount(peak.saturating_add(peak / 10));
    if peak == 0 { slice.size.memory_bytes } else { slice.size.memory_bytes.min(tenth_more) }
}

fn wrong(file: &Path, why: &str) -> Failure {
    Failure::new("bill", exit_code::UNSUPPORTED_MODEL, format!("{} is no bill: {why}", file.display()))
        .hint("give a bill, or what `tranche invoke --json` or `tranche run --json` printed")
}
