//! A plan as one page: what it costs beside other plans, its layers, slices and bill.

mod bars;
mod html;
mod labels;
mod layers;
mod pareto;
mod tables;

pub use html::render as html;

use crate::arguments::ReportArguments;
use crate::compare::figures;
use crate::cost::bills_in;
use crate::failure::Failure;
use crate::prepare::require;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use tranche_partitioner::explain::PlanCosts;
use tranche_schema::{
    Bill, ByteCount, Comparison, Digest, Document as _, LayerProfile, Plan, PlanFigures, Profile, Refusal,
    SlicePlan, exit_code,
};

/// What a page is made of.
pub struct Report {
    /// The plan.
    pub plan: Plan,
    /// What it was made from.
    pub profile: Profile,
    /// What one request was billed.
    pub bill: Option<Bill>,
    /// What one request to the whole model was billed.
    pub unsplit_bill: Option<Bill>,
    /// The plan, other strategies' plans, and the whole model in one function.
    pub candidates: Vec<Candidate>,
    /// Strategies that have no plan.
    pub refused: Vec<(String, Refusal)>,
    /// What a reader should know, beside the plan's notes.
    pub notes: Vec<String>,
}

/// Whose plan a candidate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The plan that the page is of.
    Own,
    /// Another strategy's.
    Other,
    /// The whole model in one function.
    Unsplit,
}

/// A plan in a chart of plans.
pub struct Candidate {
    /// Its strategy.
    pub name: String,
    /// Whose it is.
    pub role: Role,
    /// Its numbers.
    pub figures: PlanFigures,
    /// Slices by name with what one request costs there.
    pub parts: Vec<(String, f64)>,
}

/// What `report` prints as JSON.
#[derive(Serialize)]
pub struct Summary<'a> {
    /// The page.
    pub path: &'a Path,
    /// The model.
    pub model: &'a str,
    /// Functions of the plan.
    pub slices: usize,
    /// Layers drawn.
    pub layers: usize,
    /// Plans of the frontier drawn.
    pub frontier: usize,
    /// Strategies drawn, the plan's own first.
    pub strategies: Vec<&'a str>,
    /// Whether a bill is in it.
    pub billed: bool,
}

impl Report {
    /// Reads the files, and checks that they are of one plan.
    ///
    /// # Errors
    /// When one cannot be read, or is of another model or of other slices.
    pub fn read(arguments: &ReportArguments) -> Result<Self, Failure> {
        require(&arguments.plan, "partition")?;
        require(&arguments.profile, "profile")?;
        let plan = Plan::read(&arguments.plan)?;
        let profile = Profile::read(&arguments.profile)?;
        same_model(&arguments.profile, "profile", &profile.model.digest, &plan)?;
        let (bill, unsplit_bill) = match &arguments.bill {
            Some(path) => {
                let (bill, unsplit) = bills_in(path)?;
                same_slices(path, &bill, &plan)?;
                (Some(bill), unsplit)
            }
            None => (None, None),
        };
        let comparison = arguments.compare.as_deref().map(|path| read_comparison(path, &plan)).transpose()?;
        let mut notes = Vec::new();
        if Digest::of(profile.to_json()?.as_bytes()) != plan.profile_digest {
            notes.push("the profile is not the one that the plan was made from: it was measured again since, or slices were added to it".to_owned());
        }
        let (candidates, refused) = candidates(&plan, comparison);
        let report = Self { plan, profile, bill, unsplit_bill, candidates, refused, notes };
        report.layers()?;
        Ok(report)
    }

    /// What is drawn, in the words of JSON.
    #[must_use]
    pub fn summary<'a>(&'a self, path: &'a Path) -> Summary<'a> {
        Summary {
            path,
            model: &self.plan.model.name,
            slices: self.plan.slices.len(),
            layers: self.layers().map_or(0, |slices| slices.iter().map(Vec::len).sum()),
            frontier: self.plan.frontier.points.len(),
            strategies: self.candidates.iter().map(|candidate| candidate.name.as_str()).collect(),
            billed: self.bill.is_some(),
        }
    }

    /// Layers as measured, slice by slice in the plan's order. Of layers that are split the first part
    /// has all, the others none; what only cuts and joins tensors is no layer that was measured.
    ///
    /// # Errors
    /// When the profile lacks a layer of the plan.
    pub fn layers(&self) -> Result<Vec<Vec<&LayerProfile>>, Failure> {
        let known: BTreeMap<&str, &LayerProfile> =
            self.profile.layers.iter().map(|layer| (layer.name.as_str(), layer)).collect();
        let layer = |name: &String| {
            known.get(name.as_str()).copied().ok_or_else(|| {
                Failure::new(
                    "report",
                    exit_code::UNSUPPORTED_MODEL,
                    format!("the profile has no layer `{name}`, which the plan has"),
                )
                .hint("give the profile that the plan was made from, or partition again")
            })
        };
        let own = |name: &&String| !self.plan.splits.iter().any(|split| is_of_split(name, &split.name));
        let of = |slice: &SlicePlan| -> Result<Vec<&LayerProfile>, Failure> {
            let first = self.plan.splits.iter().find(|split| slice.layers == [format!("{}.0", split.name)]);
            match first {
                Some(split) => split.layers.iter().map(layer).collect(),
                None => slice.layers.iter().filter(own).map(layer).collect(),
            }
        };
        self.plan.slices.iter().map(of).collect()
    }
}

/// Whether a layer of a plan is a part of a split, or cuts or joins tensors for it.
fn is_of_split(layer: &str, split: &str) -> bool {
    layer.strip_prefix(split).is_some_and(|rest| rest.starts_with('.'))
}

fn same_model(path: &Path, what: &str, found: &Digest, plan: &Plan) -> Result<(), Failure> {
    if *found == plan.model.digest {
        return Ok(());
    }
    Err(Failure::new(
        "report",
        exit_code::UNSUPPORTED_MODEL,
        format!(
            "{} is a {what} of {}, but the plan is of {}",
            path.display(),
            found.short(),
            plan.model.digest.short()
        ),
    )
    .hint("give files of one model"))
}

fn same_slices(path: &Path, bill: &Bill, plan: &Plan) -> Result<(), Failure> {
    let billed = bill.slices.iter().map(|slice| &slice.slice);
    if billed.eq(plan.slices.iter().map(|slice| &slice.name)) {
        return Ok(());
    }
    let message = format!(
        "{} bills {} slice(s), the plan has {} of other names or in another order",
        path.display(),
        bill.slices.len(),
        plan.slices.len()
    );
    Err(Failure::new("report", exit_code::UNSUPPORTED_MODEL, message)
        .hint("give a bill of this plan: deploy its bundle and invoke it"))
}

fn read_comparison(path: &Path, plan: &Plan) -> Result<Comparison, Failure> {
    require(path, "compare --json")?;
    let comparison = Comparison::read(path)?;
    same_model(path, "comparison", &comparison.model.digest, plan)?;
    Ok(comparison)
}

/// The plan first, then the strategies compared at its prices but its own, the whole
/// model last.
fn candidates(plan: &Plan, comparison: Option<Comparison>) -> (Vec<Candidate>, Vec<(String, Refusal)>) {
    let mut candidates = vec![candidate(plan.strategy.clone(), Role::Own, plan)];
    let mut refused = Vec::new();
    let mut unsplit = None;
    let rows = comparison.into_iter().flat_map(|comparison| comparison.strategies);
    for row in rows.filter(|row| row.prices == plan.pricing.name && row.strategy != plan.strategy) {
        match (row.plan, row.refusal) {
            (Some(other), _) if row.strategy == "unsplit" => {
                unsplit = Some(candidate(row.strategy, Role::Unsplit, &other));
            }
            (Some(other), _) => candidates.push(candidate(row.strategy, Role::Other, &other)),
            (None, Some(refusal)) => refused.push((row.strategy, refusal)),
            (None, None) => {}
        }
    }
    if plan.strategy != "unsplit" && !plan.is_whole() {
        candidates.extend(unsplit.or_else(|| whole(plan)));
    }
    (candidates, refused)
}

fn candidate(name: String, role: Role, plan: &Plan) -> Candidate {
    let costs = PlanCosts::of(plan);
    let parts = plan.slices.iter().map(|slice| (slice.name.clone(), costs.slice(slice))).collect();
    Candidate { name, role, figures: figures(plan), parts }
}

/// The whole model in one function, as the plan knows it.
fn whole(plan: &Plan) -> Option<Candidate> {
    let (costs, prediction) = (PlanCosts::of(plan), &plan.prediction);
    let known = costs.unsplit > 0.0 && prediction.unsplit_memory_bytes > ByteCount(0);
    let over = |under: f64| (under > 0.0).then(|| costs.unsplit / under);
    known.then(|| Candidate {
        name: "unsplit".to_owned(),
        role: Role::Unsplit,
        figures: PlanFigures {
            slices: 1,
            unit: costs.unit,
            cost: costs.unsplit,
            cost_over_unsplit: over(costs.unsplit),
            cost_over_lower_bound: over(costs.lower_bound),
            latency_ms: prediction.unsplit_latency_ms,
            cold_latency_ms: prediction.unsplit_cold_latency_ms,
            p99_ms: prediction.unsplit_p99_ms,
            largest_memory_bytes: prediction.unsplit_memory_bytes,
        },
        parts: vec![("whole model".to_owned(), costs.unsplit)],
    })
}
