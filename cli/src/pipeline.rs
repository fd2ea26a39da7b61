//! The stages between a prepared model and a running deployment, as the verbs
//! and `run` share them.

use crate::config::Settings;
use crate::context::{Context, measuring_process};
use crate::failure::Failure;
use crate::lock::Check;
use crate::prepare::{Prepared, require};
use crate::verification;
use std::path::Path;
use tranche_engine::{Engine, LoadOptions};
use tranche_packager::{PackageError, package, package_expected};
use tranche_partitioner::{CostModel, Pricing, Problem, Strategy, partition};
use tranche_profiler::{KnownTensors, ProfileRequest, Progress, environment};
use tranche_schema::{
    Constraints, Document as _, Manifest, Plan, Profile, ProfileSettings, Tensor, TensorSpec, Verification,
};

/// A model on its way, with everything its stages need.
pub struct Walk<'a> {
    /// Printer and flags.
    pub context: &'a Context,
    /// The settings.
    pub settings: &'a Settings,
    /// The engine.
    pub engine: &'a dyn Engine,
    /// The model.
    pub prepared: &'a Prepared,
    /// Values of its inputs.
    pub inputs: &'a [(TensorSpec, Tensor)],
}

impl Walk<'_> {
    /// Profiles the model, or takes the profile from the cache.
    ///
    /// # Errors
    /// When it cannot be measured.
    pub fn profile(&self, use_cache: bool) -> Result<Profile, Failure> {
        let cache = self.settings.cache().join("profiles");
        self.measured(use_cache.then_some(cache.as_path()), |request, progress| {
            tranche_profiler::profile(request, progress)
        })
    }

    /// Measures the slices of a bundle as they will run, those that the profile does
    /// not know yet, and adds them to it. Gives how many there were.
    ///
    /// # Errors
    /// When one cannot be measured.
    pub fn measure_slices(
        &self,
        profile: &mut Profile,
        bundle: &Path,
        manifest: &Manifest,
        plan: &Plan,
        tensors: &mut KnownTensors,
    ) -> Result<usize, Failure> {
        let known = &profile.slices;
        let found = self.measured(None, |request, progress| {
            tranche_profiler::measure_slices(request, bundle, manifest, plan, known, tensors, progress)
        })?;
        let count = found.len();
        let codings = tensors.codings();
        profile.codings.retain(|known| codings.iter().all(|coding| coding.tensor != known.tensor));
        profile.codings.extend(codings);
        for slice in found {
            profile.slices.retain(|known| known.layers != slice.layers || known.cpu != slice.cpu);
            profile.slices.push(slice);
        }
        Ok(count)
    }

    fn measured<T>(
        &self,
        cache: Option<&Path>,
        work: impl FnOnce(
            &ProfileRequest<'_>,
            &mut dyn FnMut(Progress),
        ) -> Result<T, tranche_profiler::ProfilerError>,
    ) -> Result<T, Failure> {
        let settings = ProfileSettings {
            threads: self.settings.threads() as u32,
            warmup: self.settings.warmup,
            repeats: self.settings.repeats,
            seed: self.settings.seed,
        };
        let library = self.settings.library();
        let request = ProfileRequest {
            graph: &self.prepared.graph,
            layers: &self.prepared.layers,
            identity: &self.prepared.identity,
            dimensions: &self.prepared.dimensions,
            inputs: self.inputs,
            engine: self.engine,
            library: library.as_deref(),
            optimise: self.settings.optimise,
            settings: &settings,
            shares: &self.settings.shares()?,
            memory_search: self.settings.memory_search,
            child: &measuring_process()?,
            deadline: self.settings.deadline(),
            cache,
            link: &|| self.link(),
        };
        let bar = self.context.printer.bar(1, "Measuring");
        let found = work(&request, &mut |progress| match progress {
            Progress::Unlimited { notice } => bar.suspend(|| self.tell_unlimited(&notice)),
            Progress::Whole => bar.set_message("whole model"),
            Progress::Layers { done, total } => {
                bar.set_message("layers");
                bar.set_length(u64::from(total));
                bar.set_position(u64::from(done));
            }
            Progress::Slices { done, total } => {
                bar.set_message("slices");
                bar.set_length(u64::from(total));
                bar.set_position(u64::from(done));
            }
        });
        bar.finish_and_clear();
        Ok(found?)
    }

    /// Says once what this machine cannot measure.
    fn tell_unlimited(&self, notice: &str) {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            self.context.printer.warning(&format!(
                "CPU shares and memory limits are measured only where this machine can limit them: {notice}"
            ));
        });
    }

    /// Plans with the settings' strategy and constraints.
    ///
    /// # Errors
    /// When the strategy is unknown or no plan satisfies the constraints.
    pub fn partition(&self, profile: &Profile) -> Result<Plan, Failure> {
        self.partition_as(profile, &self.settings.strategy.parse()?, &self.settings.constraints())
    }

    /// Plans with this strategy and these constraints.
    ///
    /// # Errors
    /// When no plan satisfies the constraints.
    pub fn partition_as(
        &self,
        profile: &Profile,
        strategy: &Strategy,
        constraints: &Constraints,
    ) -> Result<Plan, Failure> {
        let (problem, cost) = self.problem(profile)?;
        Ok(partition(&problem, &cost, strategy, constraints)?)
    }

    /// Writes all that the search chooses from.
    ///
    /// # Errors
    /// When the profile is of something else or the file cannot be written.
    pub fn write_steps(&self, profile: &Profile, path: &Path) -> Result<(), Failure> {
        let (problem, cost) = self.problem(profile)?;
        let steps = tranche_partitioner::every_step(&problem, &cost, &self.settings.constraints())?;
        let text = serde_json::to_string(&steps).map_err(|error| Failure::bug(error.to_string()))?;
        tranche_schema::write_atomically(path, text.as_bytes())
            .map_err(|error| Failure::usage(format!("cannot write {}: {error}", path.display())))
    }

    pub(crate) fn problem(&self, profile: &Profile) -> Result<(Problem, CostModel), Failure> {
        let problem =
            Problem::new(&self.prepared.graph, &self.prepared.layers, &self.prepared.identity, profile)?;
        let workload = self.settings.workload();
        let prices = crate::prices::planned_with(self.settings)?;
        let pricing = Pricing::of(&prices, self.settings.cpu(), self.settings.billing()?, &workload)?;
        let cost = CostModel::of(&problem).priced(pricing, workload);
        Ok((problem, cost))
    }

    /// Packages a plan, replacing a bundle of an earlier run.
    ///
    /// # Errors
    /// When the plan is not of this model or the folder cannot be written.
    pub fn package(&self, plan: &Plan, output: &Path) -> Result<Manifest, Failure> {
        let version = env!("CARGO_PKG_VERSION");
        Ok(package(&self.prepared.graph, &self.prepared.identity, plan, output, version)?)
    }

    /// [`Walk::package`], but only a bundle that is as locked replaces what is at `output`.
    ///
    /// # Errors
    /// As there, and when the bundle is another.
    pub fn package_locked(&self, plan: &Plan, output: &Path, check: &mut Check) -> Result<Manifest, Failure> {
        let (graph, identity) = (&self.prepared.graph, &self.prepared.identity);
        let version = env!("CARGO_PKG_VERSION");
        match package_expected(graph, identity, plan, output, version, check.expected_bundle()) {
            Err(PackageError::OtherBundle { found, expected }) => {
                check.bundle(output, &found).end()?;
                Err(PackageError::OtherBundle { found, expected }.into())
            }
            other => Ok(other?),
        }
    }

    /// Profile, plan and bundle in `work`, as they are locked: nothing is measured or planned.
    ///
    /// # Errors
    /// When one is missing or is another than the locked one.
    pub fn locked(&self, work: &Path, check: &mut Check) -> Result<(Profile, Plan, Manifest), Failure> {
        let (profile_path, plan_path) = (work.join("profile.json"), work.join("plan.json"));
        require(&profile_path, "run")?;
        require(&plan_path, "run")?;
        let (profile, plan) = (Profile::read(&profile_path)?, Plan::read(&plan_path)?);
        check.engine(self.engine).model(&self.prepared.path, &self.prepared.identity.digest);
        check.profile(&profile_path, &profile)?.plan(&plan_path, &plan)?.end()?;
        let manifest = self.package_locked(&plan, &work.join("bundle"), check)?;
        Ok((profile, plan, manifest))
    }

    /// Compares whole and sliced model and writes the record beside the bundle.
    ///
    /// # Errors
    /// When either cannot be run. A difference is no error here.
    pub fn verify(
        &self,
        bundle: &Path,
        manifest: &Manifest,
        tolerance: Option<f64>,
    ) -> Result<Verification, Failure> {
        let options = LoadOptions {
            threads: self.settings.threads(),
            optimise: self.settings.optimise,
            ..LoadOptions::default()
        };
        let name = format!("seed={}", self.settings.seed);
        let plan = Plan::read(&bundle.join(Manifest::PLAN_FILE))?;
        let is_split = !plan.splits.is_empty();
        let record = verification::compare(
            self.engine,
            &verification::Comparison {
                model: &self.prepared.path,
                bundle,
                manifest,
                inputs: &[(name, self.inputs.to_vec())],
                options: &options,
                environment: environment(self.engine),
                accuracy: plan.constraints.accuracy,
                tolerance: tolerance.unwrap_or_else(|| {
                    verification::default_tolerance(self.engine.name(), self.settings.optimise, is_split)
                }),
            },
        )?;
        record.write(&Verification::path_beside(bundle))?;
        Ok(record)
    }
}
