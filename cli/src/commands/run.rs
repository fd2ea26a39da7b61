use super::invoke;
use super::profile::Loaded;
use super::verify::outcome;
use crate::arguments::RunArguments;
use crate::context::Context;
use crate::deployments::{self, Deployed};
use crate::failure::Failure;
use crate::lock::Check;
use crate::pipeline::Walk;
use crate::{calls, interruption, table, tensor_files, verification};
use serde::Serialize;
use std::path::{Path, PathBuf};
use tranche_engine::LoadOptions;
use tranche_partitioner::Strategy;
use tranche_schema::{
    Bill, Constraints, Document as _, Environment, OutputComparison, Plan, Profile, Tensor,
};

/// What `run` and `demo` print.
#[derive(Serialize)]
pub struct Report {
    model: String,
    environment: Environment,
    strategy: String,
    /// Number of slices.
    slices: usize,
    profile: PathBuf,
    plan: PathBuf,
    bundle: PathBuf,
    /// The deployed slices' answer against the whole model run here.
    outputs: Vec<OutputComparison>,
    /// Largest of the outputs' differences.
    max_relative_difference: f64,
    bit_identical: bool,
    limits_enforced: bool,
    notes: Vec<String>,
    bill: Bill,
    unsplit_bill: Option<Bill>,
    /// Name of the deployment, when it was kept.
    kept: Option<String>,
}

/// The whole way, as `run` takes it.
///
/// # Errors
/// When a stage fails; what was deployed is destroyed first.
pub fn run(context: &Context, arguments: &RunArguments) -> Result<(), Failure> {
    let report = walk(context, arguments)?;
    context.printer.result(&report, || render(&report))
}

/// The whole way.
///
/// # Errors
/// When a stage fails; what was deployed is destroyed first.
pub fn walk(context: &Context, arguments: &RunArguments) -> Result<Report, Failure> {
    interruption::watch(context.printer.json());
    let settings =
        context.settings(&[&arguments.engine, &arguments.measure, &arguments.plan, &arguments.pricing])?;
    let mut check = Check::open(&arguments.locked)?;
    let loaded = Loaded::new(context, &arguments.model, settings)?;
    let printer = &context.printer;
    let stages = loaded.walk(context);
    let prepared = &loaded.prepared;
    let name = arguments.name.clone().unwrap_or_else(|| deployments::name_for(&prepared.identity.name));
    let work = arguments.work.clone().unwrap_or_else(|| Path::new(".tranche").join(&name));

    let bundle = work.join("bundle");
    let (profile_path, plan_path) = (work.join("profile.json"), work.join("plan.json"));
    let profiled = |verb: &str, profile: &Profile| {
        let environment = &profile.environment;
        let engine = format!("{} {}", environment.engine, environment.engine_version);
        let (layers, alone) = (profile.layers.len(), profile.whole.run.median_ms);
        printer.step(verb, &format!("{layers} layers, {alone} alone on {engine}"));
    };
    let (mut profile, sliced) = if check.is_on() {
        let (profile, plan, manifest) = stages.locked(&work, &mut check)?;
        profiled("Locked", &profile);
        (profile, (plan, manifest))
    } else {
        let mut profile = stages.profile(!arguments.measure.no_cache)?;
        profiled("Profiled", &profile);
        let strategy: Strategy = loaded.settings.strategy.parse()?;
        let sliced = stages.settle(&mut profile, &strategy, &loaded.settings.constraints(), &bundle)?;
        profile.write(&profile_path)?;
        sliced.0.write(&plan_path)?;
        (profile, sliced)
    };
    printer.step("Planned", &format!("{} slice(s), {}", sliced.0.slices.len(), sliced.0.strategy));
    let record = stages.verify(&bundle, &sliced.1, None)?;
    outcome(&record)?;
    printer.step(
        "Verified",
        if record.outputs.iter().all(|output| output.bit_identical) {
            "slices and whole model give the same bits"
        } else {
            "slices and whole model agree within the tolerance"
        },
    );

    let deployed = Deployed::start(context, &loaded.settings, &bundle, &name)?;
    printer.step("Deployed", &format!("{} function(s) as `{name}`", deployed.functions()));
    let whole = match arguments.no_unsplit || sliced.0.is_whole() {
        true => None,
        false => Some(unsplit(context, &stages, &mut profile, &work, &name)?),
    };
    let both = std::iter::once(&deployed).chain(&whole).map(|one| one.deployment().clone()).collect();
    let mut calls =
        calls::in_turn(both, &prepared.inputs, arguments.requests, loaded.settings.deadline())?.into_iter();
    let (bill, outputs) = calls.next().ok_or_else(|| Failure::bug("no deployment was called"))?;
    printer.step("Invoked", &format!("{} request(s), {} each", bill.requests, bill.latency_ms));
    let unsplit_bill = match (calls.next(), arguments.no_unsplit) {
        (Some((whole, _)), _) => {
            printer.step("Compared", &format!("unsplit: {} each", whole.latency_ms));
            Some(whole)
        }
        (None, false) => Some(bill.clone()),
        (None, true) => None,
    };
    if let Some(whole) = whole {
        whole.end(false)?;
    }
    let limits_enforced = bill.slices.iter().all(|slice| slice.limits.memory && slice.limits.cpu);
    let kept = deployed.end(arguments.keep)?;
    if let Some(path) = &arguments.output {
        tensor_files::write_tensors(path, &outputs)?;
    }
    let outputs = against_whole(&stages, &sliced.0, &outputs)?;
    Ok(Report {
        model: prepared.identity.name.clone(),
        environment: profile.environment.clone(),
        strategy: sliced.0.strategy.clone(),
        slices: sliced.0.slices.len(),
        profile: profile_path,
        plan: plan_path,
        bundle,
        max_relative_difference: outputs
            .iter()
            .map(|output| output.max_relative_difference)
            .fold(0.0, f64::max),
        bit_identical: outputs.iter().all(|output| output.bit_identical),
        outputs,
        limits_enforced,
        notes: sliced.0.notes.clone(),
        bill,
        unsplit_bill,
        kept,
    })
}

/// The whole model in one function, sized and deployed the same way.
fn unsplit(
    context: &Context,
    stages: &Walk<'_>,
    profile: &mut Profile,
    work: &Path,
    name: &str,
) -> Result<Deployed, Failure> {
    let bundle = work.join("unsplit");
    let (_, manifest) = stages.settle(profile, &Strategy::Unsplit, &Constraints::default(), &bundle)?;
    outcome(&stages.verify(&bundle, &manifest, None)?)?;
    Deployed::start(context, stages.settings, &bundle, &format!("{name}-unsplit"))
}

/// The deployed answer against the whole model run in this process.
fn against_whole(
    stages: &Walk<'_>,
    plan: &Plan,
    outputs: &[(String, Tensor)],
) -> Result<Vec<OutputComparison>, Failure> {
    let options = LoadOptions {
        threads: stages.settings.threads(),
        optimise: stages.settings.optimise,
        ..LoadOptions::default()
    };
    let names: Vec<String> = plan.outputs.iter().map(|output| output.name.clone()).collect();
    let whole =
        verification::run_once(stages.engine, &stages.prepared.path, stages.inputs, &names, &options)?;
    verification::compare_outputs(&whole, outputs)
}

/// The report as text: the comparison, then the bill.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut text = format!(
        "{} in {} slice(s) ({}), {} {}\n",
        report.model,
        report.slices,
        report.strategy,
        report.environment.engine,
        report.environment.engine_version
    );
    let agreement = if report.bit_identical {
        "the deployed slices answer with the same bits as the whole model".to_owned()
    } else {
        format!(
            "the deployed slices answer within {:.1e} of the whole model's scale",
            report.max_relative_difference
        )
    };
    text.push_str(&agreement);
    text.push('\n');
    if !report.limits_enforced {
        text.push_str("limits were not enforced on this machine: the memory-time is what was asked for, not what was held\n");
    }
    for note in &report.notes {
        text.push_str(note);
        text.push('\n');
    }
    text.push('\n');
    text.push_str(&invoke::render_bill(&report.bill, report.unsplit_bill.as_ref()));
    if let Some(unsplit) = report.unsplit_bill.as_ref().filter(|_| report.slices > 1) {
        let (sliced, whole) = (report.bill.memory_time, unsplit.memory_time);
        let difference = if sliced.0 <= whole.0 {
            format!("{} less", table::ratio(whole.0, sliced.0))
        } else {
            format!("{} more", table::ratio(sliced.0, whole.0))
        };
        text.push_str(&format!("\n\nmemory-time {sliced} against {whole} unsplit: {difference}"));
    }
    text
}
