//! Planning and measuring in turn, until the one agrees with the other.

use crate::calls;
use crate::deployments::{self, Deployed};
use crate::failure::Failure;
use crate::interruption::INTERRUPTED;
use crate::pipeline::Walk;
use std::path::Path;
use std::sync::atomic::Ordering;
use tranche_host::Cgroups;
use tranche_partitioner::{Strategy, partition, reprice, with_frontier};
use tranche_profiler::{KnownTensors, timing};
use tranche_schema::{
    Bill, ByteCount, Constraints, Manifest, MilliCpu, Millis, Plan, Profile, Residual, SliceMeasurement,
    SlicePlan, Timing,
};

/// Rounds of measuring chosen slices, each alone, and planning again.
const ROUNDS_ALONE: usize = 3;
/// Rounds of measuring a plan as deployed, and planning again.
const ROUNDS_DEPLOYED: u32 = 3;
/// Billed times agree that differ by no more than this share.
const AGREEMENT: f64 = 0.05;
/// Added to the memory of a function that was killed for want of it, at least.
const MORE_MEMORY: ByteCount = ByteCount::mebibytes(16);
/// The same as a divisor of what it had: large frames need more than a step.
const MORE_OF_ITS_OWN: u64 = 8;
/// Deployments whose functions were killed for want of memory, which are no rounds of measuring.
const MOST_KILLED: u32 = 6;

/// What a slice took in its function.
struct Deployment {
    /// Its run.
    run: Timing,
    /// What it was billed: run and hand-off.
    billed: Timing,
}

/// What became of a plan that was deployed to be measured.
enum Outcome {
    /// Times of each slice, in the plan's order, and the latency of a request.
    Measured(Vec<Deployment>, Millis),
    /// Slices that had too little memory.
    OutOfMemory(Vec<String>),
    /// It could not be deployed as planned here.
    NotHere,
}

impl Walk<'_> {
    /// Plans, and measures what is planned, until the plan stands.
    ///
    /// First each chosen slice is measured alone, and planned again with that, until the
    /// plan is one whose slices are all measured. Of the plans measured the cheapest is
    /// taken, or the fastest where that is what the strategy looks for: estimates only say what
    /// is worth measuring. Then it is deployed on this
    /// machine, its functions held to their sizes, and called; the profile takes what was
    /// billed, and all is planned again until what the plan said beforehand is within
    /// 5 % of that, or three rounds are over. The plan carries the difference.
    ///
    /// Where functions cannot be held to their sizes here, what was measured alone stands.
    /// The bundle holds the plan that is given.
    ///
    /// # Errors
    /// As the stages; when every measured plan breaks the constraints.
    pub fn settle(
        &self,
        profile: &mut Profile,
        strategy: &Strategy,
        constraints: &Constraints,
        bundle: &Path,
    ) -> Result<(Plan, Manifest), Failure> {
        let mut settling = Settling {
            walk: self,
            strategy,
            constraints,
            bundle,
            tensors: KnownTensors::default(),
            tried: Vec::new(),
            deployed: Vec::new(),
        };
        settling.alone(profile)?;
        settling.deployed(profile)?;
        let plan = settling.cheapest(profile)?;
        let (problem, cost) = self.problem(profile)?;
        let plan = with_frontier(&problem, &cost, plan);
        let plan = Plan { residual: settling.residual_of(&plan), ..plan };
        let plan = self.guard(profile, strategy, plan, bundle)?;
        let manifest = self.package(&plan, bundle)?;
        Ok((plan, manifest))
    }
}

struct Settling<'a> {
    walk: &'a Walk<'a>,
    strategy: &'a Strategy,
    constraints: &'a Constraints,
    bundle: &'a Path,
    tensors: KnownTensors,
    /// Plans whose slices the profile has measured.
    tried: Vec<Plan>,
    /// Plans that were deployed, how far off they were, and the latency of a request.
    deployed: Vec<(Plan, Residual, Millis)>,
}

impl Settling<'_> {
    /// Plans and measures slices alone until a plan comes up again.
    fn alone(&mut self, profile: &mut Profile) -> Result<(), Failure> {
        let mut plan = self.walk.partition_as(profile, self.strategy, self.constraints)?;
        for _ in 0..ROUNDS_ALONE {
            self.measure(profile, &plan)?;
            let next = self.walk.partition_as(profile, self.strategy, self.constraints)?;
            let seen = same_cuts(&next, &plan) || self.is_tried(&next);
            self.tried.push(std::mem::replace(&mut plan, next));
            if seen {
                break;
            }
        }
        if *self.strategy == Strategy::Optimal && self.tried.iter().all(Plan::is_whole) {
            self.try_a_cut(profile)?;
        }
        Ok(())
    }

    /// The best plan with a cut, measured: estimates of parts are less certain than the
    /// measured whole, and should not decide against every cut unheard.
    fn try_a_cut(&mut self, profile: &mut Profile) -> Result<(), Failure> {
        let with_a_cut = Constraints { min_slices: Some(2), ..*self.constraints };
        // Where there is no place to cut, the whole stands.
        let Ok(plan) = self.walk.partition_as(profile, &Strategy::Optimal, &with_a_cut) else {
            return Ok(());
        };
        self.measure(profile, &plan)?;
        self.tried.push(Plan { constraints: *self.constraints, ..plan });
        Ok(())
    }

    fn measure(&mut self, profile: &mut Profile, plan: &Plan) -> Result<Manifest, Failure> {
        let manifest = self.walk.package(plan, self.bundle)?;
        self.walk.measure_slices(profile, self.bundle, &manifest, plan, &mut self.tensors)?;
        Ok(manifest)
    }

    fn is_tried(&self, plan: &Plan) -> bool {
        self.tried.iter().any(|tried| same_cuts(tried, plan))
    }

    /// Deploys the cheapest plan and measures it, and plans again, until prediction and
    /// measurement agree.
    fn deployed(&mut self, profile: &mut Profile) -> Result<(), Failure> {
        let (mut round, mut killed) = (0, 0);
        while round < ROUNDS_DEPLOYED {
            let plan = self.cheapest(profile)?;
            let manifest = self.measure(profile, &plan)?;
            let (found, latency) = match self.deploy(&plan, &manifest)? {
                Outcome::NotHere => return Ok(()),
                Outcome::OutOfMemory(slices) => {
                    give_more_memory(profile, &plan, &slices);
                    killed += 1;
                    if killed < MOST_KILLED {
                        continue;
                    }
                    let names = slices.join(", ");
                    self.walk.context.printer.warning(&format!(
                        "{names}: killed for want of memory {killed} times while the plan was settled; \
                         its last sizes are not tried"
                    ));
                    break;
                }
                Outcome::Measured(found, latency) => (found, latency),
            };
            round += 1;
            let residual = self.take(profile, &plan, found, round)?;
            self.deployed.push((plan.clone(), residual, latency));
            let next = self.walk.partition_as(profile, self.strategy, self.constraints)?;
            if !self.is_tried(&next) {
                self.measure(profile, &next)?;
                self.tried.push(next);
            }
            let stands = same_cuts(&self.cheapest(profile)?, &plan);
            if stands && residual.relative().abs() <= AGREEMENT {
                return Ok(());
            }
        }
        if !self.deployed.is_empty() {
            // What was never deployed is not preferred to what was.
            self.tried = self.deployed.iter().map(|(plan, ..)| plan.clone()).collect();
        }
        Ok(())
    }

    /// Takes what a plan took as deployed into the profile.
    fn take(
        &self,
        profile: &mut Profile,
        plan: &Plan,
        found: Vec<Deployment>,
        round: u32,
    ) -> Result<Residual, Failure> {
        let elsewhere = !self.walk.problem(profile)?.1.pricing.one_host;
        let as_planned = |(found, slice): (Deployment, &SlicePlan)| match elsewhere {
            true => with_handoff(found, slice),
            false => found,
        };
        let found: Vec<Deployment> = found.into_iter().zip(&plan.slices).map(as_planned).collect();
        let residual = difference(round, plan, &found);
        self.walk.context.printer.step("Measured", &describe(&residual));
        for (slice, found) in plan.slices.iter().zip(&found) {
            record(profile, slice, found, elsewhere);
        }
        Ok(residual)
    }

    fn residual_of(&self, plan: &Plan) -> Option<Residual> {
        let rounds = self.deployed.last()?.1.rounds;
        let (_, residual, _) = self.deployed.iter().rfind(|(deployed, ..)| same_cuts(deployed, plan))?;
        Some(Residual { rounds, ..*residual })
    }

    /// Deploys a plan on this machine and calls it. What is deployed is destroyed.
    fn deploy(&self, plan: &Plan, manifest: &Manifest) -> Result<Outcome, Failure> {
        let settings = self.walk.settings;
        let available = Cgroups::detect().available();
        let most =
            MilliCpu(u32::try_from(tranche_host::usable_cpus()).unwrap_or(u32::MAX).saturating_mul(1000));
        if !(available.cpu && available.memory) || plan.slices.iter().any(|slice| slice.size.cpu_milli > most)
        {
            return Ok(Outcome::NotHere);
        }
        let name = deployments::name_for(&self.walk.prepared.identity.name);
        let name = format!("{name}-settling-{}", std::process::id());
        let started = Deployed::start_unverified(self.walk.context, settings, self.bundle, &name);
        let result = match started {
            Err(failure) => match killed_at_start(&failure, manifest) {
                Some(slice) => return Ok(Outcome::OutOfMemory(vec![slice])),
                None => Err(failure),
            },
            Ok(deployed) => {
                let deployment = deployed.deployment().clone();
                let called =
                    calls::bills(deployment, self.walk.inputs, settings.repeats, settings.deadline());
                let killed = deployed.out_of_memory();
                deployed.end(false)?;
                if !killed.is_empty() {
                    return Ok(Outcome::OutOfMemory(killed));
                }
                called
            }
        };
        match result {
            Ok(bills) => {
                let latencies: Vec<f64> = bills.iter().map(|bill| bill.latency_ms.0).collect();
                let latency = timing(&latencies).median_ms;
                Ok(times(plan, &bills).map_or(Outcome::NotHere, |times| Outcome::Measured(times, latency)))
            }
            Err(failure) if INTERRUPTED.load(Ordering::SeqCst) => Err(failure),
            Err(failure) => {
                let printer = &self.walk.context.printer;
                printer.warning(&format!("the plan is not measured as deployed: {}", failure.message));
                Ok(Outcome::NotHere)
            }
        }
    }

    /// What the strategy makes small: what a request is charged, or its latency, as it was where the plan
    /// was deployed.
    fn value(&self, plan: &Plan) -> f64 {
        if *self.strategy != Strategy::Gillis {
            return charge(plan);
        }
        let measured = self.deployed.iter().rfind(|(deployed, ..)| same_cuts(deployed, plan));
        measured.map_or(plan.prediction.latency_ms, |(_, _, latency)| *latency).0
    }

    /// The best of the plans tried, and of the whole model in one function, which wins
    /// ties, where the strategy may choose it.
    fn cheapest(&self, profile: &Profile) -> Result<Plan, Failure> {
        let (problem, cost) = self.walk.problem(profile)?;
        let free = matches!(self.strategy, Strategy::Optimal | Strategy::Gillis)
            && self.constraints.min_slices.is_none_or(|least| least <= 1);
        let unsplit = match free {
            true => partition(&problem, &cost, &Strategy::Unsplit, self.constraints).ok(),
            false => None,
        };
        let mut best = unsplit.map(|plan| Plan { strategy: self.strategy.to_string(), ..plan });
        let mut refused = None;
        for plan in &self.tried {
            match reprice(&problem, &cost, self.strategy, plan) {
                Ok(plan) => {
                    // The whole wins what is within the tie of prices, as in the search.
                    let slack = |best: &Plan| if best.is_whole() { 1.0 - cost.pricing.tie } else { 1.0 };
                    let cheaper =
                        best.as_ref().is_none_or(|best| self.value(&plan) < self.value(best) * slack(best));
                    best = if cheaper { Some(plan) } else { best };
                }
                Err(error) => refused = Some(error),
            }
        }
        match (best, refused) {
            (Some(plan), _) => Ok(plan),
            (None, Some(error)) => Err(error.into()),
            (None, None) => Err(Failure::bug("no plan was tried")),
        }
    }
}

/// What a request is charged.
fn charge(plan: &Plan) -> f64 {
    plan.prediction.cost
}

fn same_cuts(left: &Plan, right: &Plan) -> bool {
    left.slices.iter().map(|slice| &slice.layers).eq(right.slices.iter().map(|slice| &slice.layers))
}

/// The slice whose function the kernel killed before it ever answered.
fn killed_at_start(failure: &Failure, manifest: &Manifest) -> Option<String> {
    let names = manifest.slices.iter().map(|slice| &slice.name);
    let named = |name: &&String| failure.message.contains(&format!("`{name}`"));
    failure.message.contains("out of memory").then(|| names.clone().find(named).cloned()).flatten()
}

/// Times of each slice over bills; none where a bill lacks one.
fn times(plan: &Plan, bills: &[Bill]) -> Option<Vec<Deployment>> {
    let of = |slice: &SlicePlan| -> Option<Deployment> {
        let metrics: Option<Vec<_>> = bills
            .iter()
            .map(|bill| {
                bill.slices.iter().find(|found| found.slice == slice.name).map(|found| &found.measured)
            })
            .collect();
        let metrics = metrics?;
        let run: Vec<f64> = metrics.iter().map(|metrics| metrics.run_ms.0).collect();
        let billed: Vec<f64> = metrics.iter().map(|metrics| metrics.billed_ms.0).collect();
        Some(Deployment { run: timing(&run), billed: timing(&billed) })
    };
    plan.slices.iter().map(of).collect()
}

/// What would be billed where hand-off is another: the run as it was here, and the hand-off as planned.
fn with_handoff(found: Deployment, slice: &SlicePlan) -> Deployment {
    let handoff = slice.prediction.handoff_ms;
    let billed = Timing {
        median_ms: found.run.median_ms + handoff,
        minimum_ms: found.run.minimum_ms + handoff,
        maximum_ms: found.run.maximum_ms + handoff,
        ..found.run
    };
    Deployment { billed, ..found }
}

/// How far the plan was from what was measured.
fn difference(rounds: u32, plan: &Plan, found: &[Deployment]) -> Residual {
    let pairs = || {
        plan.slices
            .iter()
            .map(|slice| slice.prediction.billed_ms.0)
            .zip(found.iter().map(|found| found.billed.median_ms.0))
    };
    Residual {
        rounds,
        predicted_ms: Millis(pairs().map(|(predicted, _)| predicted).sum()),
        measured_ms: Millis(pairs().map(|(_, measured)| measured).sum()),
        largest_of_a_slice: pairs()
            .filter(|(predicted, _)| *predicted > 0.0)
            .map(|(predicted, measured)| (measured / predicted - 1.0).abs())
            .fold(0.0, f64::max),
    }
}

fn describe(residual: &Residual) -> String {
    format!(
        "billed {} as deployed, {} predicted ({:+.1} %, one slice at most {:.1} %)",
        residual.measured_ms,
        residual.predicted_ms,
        residual.relative() * 100.0,
        residual.largest_of_a_slice * 100.0
    )
}

/// Puts what a slice took in its function into the profile. Its run there replaces that of
/// the process that measured it alone: the function is what is planned for. What it was
/// billed counts only where hand-off is as it was here.
fn record(profile: &mut Profile, slice: &SlicePlan, found: &Deployment, elsewhere: bool) {
    let share = slice.size.cpu_milli;
    let Some(known) = measurement(profile, slice) else { return };
    known.whole.run = found.run;
    for sample in known.whole.shares.iter_mut().filter(|sample| sample.cpu == share) {
        sample.run = found.run;
    }
    if !elsewhere {
        known.billed = Some(found.billed);
    }
}

/// Takes more memory to be needed than slices had that were killed.
fn give_more_memory(profile: &mut Profile, plan: &Plan, slices: &[String]) {
    for slice in plan.slices.iter().filter(|slice| slices.contains(&slice.name)) {
        if let Some(known) = measurement(profile, slice) {
            let had = slice.size.memory_bytes;
            let more = MORE_MEMORY.max(ByteCount(had.0 / MORE_OF_ITS_OWN));
            known.whole.memory_limit_bytes = Some(had + more);
        }
    }
}

/// The measurement of a slice at its share; one at another share, whose shares tell of this
/// one too, is copied where there is none.
fn measurement<'a>(profile: &'a mut Profile, slice: &SlicePlan) -> Option<&'a mut SliceMeasurement> {
    let share = slice.size.cpu_milli;
    let is_same = |known: &SliceMeasurement| known.layers == slice.layers && known.cpu == share;
    if !profile.slices.iter().any(is_same) {
        let other = profile.slices.iter().rfind(|known| known.layers == slice.layers)?;
        let copy = SliceMeasurement { cpu: share, billed: None, ..other.clone() };
        profile.slices.push(copy);
    }
    profile.slices.iter_mut().find(|known| is_same(known))
}
