//! Times at the CPU shares that memory sizes come with, measured on the local target.

use super::Measured;
use crate::arguments::CostArguments;
use crate::calls;
use crate::commands::Loaded;
use crate::config::Settings;
use crate::context::Context;
use crate::deployments::{self, Deployed};
use crate::failure::Failure;
use crate::interruption;
use crate::pipeline::Walk;
use std::path::{Path, PathBuf};
use tranche_partitioner::Strategy;
use tranche_partitioner::price::tariff::cpu;
use tranche_partitioner::price::{Facts, Hop, NamedBytes, Sample};
use tranche_profiler::KnownTensors;
use tranche_schema::{
    Bill, Constraints, Document as _, Manifest, MilliCpu, Millis, Plan, PriceModel, Profile, SliceBill,
    SliceManifest, TensorSpec,
};

/// A bundle with its plan.
struct Packed {
    folder: PathBuf,
    plan: Plan,
    manifest: Manifest,
}

/// Measures the model whole and sliced at each size that this machine has the CPUs for.
pub(super) fn measure(
    context: &Context,
    arguments: &CostArguments,
    model: &str,
    settings: Settings,
    prices: &PriceModel,
) -> Result<Measured, Failure> {
    interruption::watch(context.printer.json());
    // Slices are those of least memory-time; what they cost at these prices is what is asked.
    let settings = Settings { prices: None, ..settings };
    let loaded = Loaded::new(context, &arguments.model_arguments(model), settings)?;
    let stages = loaded.walk(context);
    let name = deployments::name_for(&format!("{}-cost", loaded.prepared.identity.name));
    let work = arguments.work.clone().unwrap_or_else(|| Path::new(".tranche").join(&name));
    let mut profile = stages.profile(!arguments.measure.no_cache)?;
    context.printer.step("Profiled", &format!("{} layers", profile.layers.len()));
    let sliced = sliced(&stages, &mut profile, arguments.bundle.as_deref(), &work)?;
    let whole = match sliced.plan.slices.len() {
        1 => None,
        _ => Some(settle(
            &stages,
            &mut profile,
            &Strategy::Unsplit,
            &Constraints::default(),
            &work.join("unsplit"),
        )?),
    };
    context.printer.step("Planned", &format!("{} slice(s)", sliced.plan.slices.len()));

    let mut notes = Vec::new();
    let shares = shares(prices, &arguments.sizes, &mut notes)?;
    let mut sliced_facts: Vec<Facts> =
        sliced.manifest.slices.iter().map(|slice| facts(slice, &sliced.plan, &profile)).collect();
    let mut whole_facts = whole.as_ref().map(|whole| {
        let of =
            |slice| Facts { start_up: Some(profile.whole.load_ms), ..facts(slice, &whole.plan, &profile) };
        whole.manifest.slices.iter().map(of).collect::<Vec<_>>()
    });
    for (size, share) in shares {
        let bills = calls_at(context, &loaded, &sliced, whole.as_ref(), &name, share, arguments.requests)?;
        let mut bills = bills.iter();
        for (facts, bill) in std::iter::once(&mut sliced_facts).chain(&mut whole_facts).zip(&mut bills) {
            add(facts, bill);
        }
        context.printer.step("Measured", &format!("at {size} MB, {share}"));
    }
    if sliced_facts.iter().flat_map(|facts| &facts.samples).all(|sample| sample.cpu_milli.threads() < 2) {
        notes.push(
            "no size with two CPUs was measured: beyond one CPU times are taken as those of one".to_owned(),
        );
    }
    if whole_facts.iter().chain([&sliced_facts]).flatten().any(|facts| rises(&facts.samples)) {
        notes.push(
            "some times are longer with more CPU, so this machine was busy: measure again, or with more `--requests`"
                .to_owned(),
        );
    }
    if !loaded.settings.optimise {
        notes.push("measured with --optimise false: engines rewrite graphs on the platform".to_owned());
    }
    let environment = &profile.environment;
    let whole = whole_facts.map_or_else(|| sliced_facts.first().cloned(), |mut facts| facts.pop());
    Ok(Measured {
        model: loaded.prepared.identity.name.clone(),
        engine: format!("{} {}", environment.engine, environment.engine_version),
        machine: Some(environment.cpu_model.clone()),
        whole: whole.map(|whole| Facts { name: "whole".to_owned(), ..whole }),
        slices: sliced_facts,
        notes,
    })
}

/// The slices of the bundle given, or planned and packaged now; measured each alone.
fn sliced(
    stages: &Walk<'_>,
    profile: &mut Profile,
    bundle: Option<&Path>,
    work: &Path,
) -> Result<Packed, Failure> {
    let Some(folder) = bundle else {
        let strategy: Strategy = stages.settings.strategy.parse()?;
        return settle(stages, profile, &strategy, &stages.settings.constraints(), &work.join("bundle"));
    };
    crate::prepare::require(&folder.join(Manifest::FILE), "package")?;
    let manifest = Manifest::read(&folder.join(Manifest::FILE))?;
    let plan = Plan::read(&folder.join(Manifest::PLAN_FILE))?;
    if plan.model.digest != stages.prepared.identity.digest {
        return Err(Failure::usage(format!("{} is not a bundle of this model", folder.display()))
            .hint("package this model again with `tranche package`"));
    }
    stages.measure_slices(profile, folder, &manifest, &plan, &mut KnownTensors::default())?;
    Ok(Packed { folder: folder.to_owned(), plan, manifest })
}

fn settle(
    stages: &Walk<'_>,
    profile: &mut Profile,
    strategy: &Strategy,
    constraints: &Constraints,
    folder: &Path,
) -> Result<Packed, Failure> {
    let (plan, manifest) = stages.settle(profile, strategy, constraints, folder)?;
    Ok(Packed { folder: folder.to_owned(), plan, manifest })
}

/// The sizes whose CPU share this machine has.
fn shares(
    prices: &PriceModel,
    sizes: &[u32],
    notes: &mut Vec<String>,
) -> Result<Vec<(u32, MilliCpu)>, Failure> {
    let most = u32::try_from(tranche_host::usable_cpus()).unwrap_or(u32::MAX).saturating_mul(1000);
    let offered = prices.memory.minimum_mib..=prices.memory.maximum_mib;
    if let Some(size) = sizes.iter().find(|size| !offered.contains(size)) {
        return Err(Failure::usage(format!("there is no function of {size} MB")).hint(format!(
            "sizes are {} to {} MB",
            offered.start(),
            offered.end()
        )));
    }
    let mut all: Vec<(u32, MilliCpu)> = sizes.iter().map(|&size| (size, cpu(prices, size))).collect();
    all.sort_unstable();
    all.dedup();
    // The local target gives no less than a twentieth of a CPU.
    let (here, not): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|(_, share)| (50..=most).contains(&share.0));
    for (size, share) in &not {
        notes.push(format!("{size} MB comes with {share}, which this machine has not: not measured"));
    }
    if here.is_empty() {
        return Err(Failure::usage("none of these sizes can be measured here")
            .hint("name a size that comes with no more CPU than this machine has, as `--sizes 1024,1769`"));
    }
    Ok(here)
}

/// Bills of the slices, then of the whole model, at a CPU share.
fn calls_at(
    context: &Context,
    loaded: &Loaded,
    sliced: &Packed,
    whole: Option<&Packed>,
    name: &str,
    share: MilliCpu,
    requests: u32,
) -> Result<Vec<Bill>, Failure> {
    let start = |packed: &Packed, name: &str| {
        Deployed::start_at(context, &loaded.settings, &packed.folder, name, share)
    };
    let first = start(sliced, name)?;
    let second = whole.map(|whole| start(whole, &format!("{name}-unsplit"))).transpose()?;
    let both = std::iter::once(&first).chain(&second).map(|one| one.deployment().clone()).collect();
    let called = calls::in_turn(both, &loaded.prepared.inputs, requests, loaded.settings.deadline())?;
    first.end(false)?;
    second.map(|second| second.end(false)).transpose()?;
    Ok(called.into_iter().map(|(bill, _)| bill).collect())
}

fn facts(slice: &SliceManifest, plan: &Plan, profile: &Profile) -> Facts {
    let layers = plan.slices.iter().find(|planned| planned.name == slice.name).map(|planned| &planned.layers);
    let measured = profile.slices.iter().find(|known| Some(&known.layers) == layers);
    let named = |specs: &[TensorSpec]| {
        specs.iter().map(|spec| NamedBytes { name: spec.name.clone(), bytes: spec.bytes().0 }).collect()
    };
    Facts {
        name: slice.name.clone(),
        memory: slice.size.memory_bytes,
        samples: Vec::new(),
        start_up: measured.map(|measured| measured.whole.load_ms).filter(|load| load.0 > 0.0),
        hop: Hop { inputs: named(&slice.inputs), outputs: named(&slice.outputs) },
    }
}

/// Whether a time is more than a tenth longer than one measured with less CPU.
fn rises(samples: &[Sample]) -> bool {
    samples.iter().any(|sample| {
        let less = |other: &&Sample| other.cpu_milli < sample.cpu_milli;
        samples.iter().filter(less).any(|other| sample.time_ms.0 > other.time_ms.0 * 1.1)
    })
}

/// A bill's times, at the shares that its functions had.
pub(super) fn add(facts: &mut [Facts], bill: &Bill) {
    for slice in &bill.slices {
        if let Some(facts) = facts.iter_mut().find(|facts| facts.name == slice.slice) {
            facts.samples.push(sample(slice));
        }
    }
}

/// A function that is not held to its share had a CPU for each of its threads.
fn sample(slice: &SliceBill) -> Sample {
    let asked = slice.size.cpu_milli;
    let cpu_milli = if slice.limits.cpu { asked } else { MilliCpu(asked.threads() as u32 * 1000) };
    Sample { cpu_milli, time_ms: Millis(slice.measured.billed_ms.0) }
}
