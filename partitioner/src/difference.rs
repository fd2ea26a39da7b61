//! Two plans side by side: what a change of model, profile or constraints changes in functions.

mod text;

pub use text::{markdown, render};

use crate::explain::layer_span;
use serde::Serialize;
use std::collections::BTreeSet;
use tranche_schema::{ByteCount, GibSeconds, MilliCpu, Millis, ModelIdentity, Plan, SlicePlan};

/// What `tranche diff` finds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanDifference {
    /// Whether both plans make the same functions of the same model, whatever they predict.
    pub same: bool,
    /// Whether the models differ.
    pub model_changed: bool,
    /// The plan before.
    pub base: PlanSummary,
    /// The plan after.
    pub head: PlanSummary,
    /// Predicted memory-time of one warm request after over before; `None` over nothing.
    pub memory_time_ratio: Option<f64>,
    /// Predicted latency of one warm request after over before; `None` over nothing.
    pub latency_ratio: Option<f64>,
    /// Layers after which only the plan after is cut.
    pub cuts_added: Vec<String>,
    /// Layers after which only the plan before is cut.
    pub cuts_removed: Vec<String>,
    /// Functions of either plan, those after first, in their orders.
    pub slices: Vec<SliceDifference>,
}

/// A plan in a few numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanSummary {
    /// The model.
    pub model: ModelIdentity,
    /// The engine.
    pub engine: String,
    /// How it was cut.
    pub strategy: String,
    /// Number of functions.
    pub slices: usize,
    /// Memory limits of all functions together.
    pub memory_bytes: ByteCount,
    /// Largest memory limit.
    pub largest_memory_bytes: ByteCount,
    /// Bytes of the tensors that cross a border, each once.
    pub handoff_bytes: ByteCount,
    /// Predicted memory-time of one warm request.
    pub memory_time: GibSeconds,
    /// Predicted latency of one warm request.
    pub latency_ms: Millis,
    /// Predicted memory-time of the whole model in one function.
    pub unsplit_memory_time: GibSeconds,
}

/// What happens to a function, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SliceChange {
    /// Only the plan after has it.
    Added,
    /// Only the plan before has it.
    Removed,
    /// It runs other nodes, passes other tensors on, or is given another size.
    Changed,
    /// It does the same with the same.
    Same,
}

/// A function before and after.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SliceDifference {
    /// Its name.
    pub name: String,
    /// What happens to it.
    pub change: SliceChange,
    /// Before.
    pub base: Option<SliceSummary>,
    /// After.
    pub head: Option<SliceSummary>,
}

/// A function in a few numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SliceSummary {
    /// Its first and last layer and how many it has, as `first .. last (5)`.
    pub layers: String,
    /// Memory limit.
    pub memory_bytes: ByteCount,
    /// CPU share.
    pub cpu_milli: MilliCpu,
    /// Bytes of its weights.
    pub weights_bytes: ByteCount,
    /// Predicted time that is billed.
    pub billed_ms: Millis,
    /// Predicted memory-time.
    pub memory_time: GibSeconds,
}

/// Compares two plans.
#[must_use]
pub fn compare(base: &Plan, head: &Plan) -> PlanDifference {
    let model_changed = base.model.digest != head.model.digest;
    let (before, after) = (cuts(base), cuts(head));
    let only = |of: &[&String], others: &[&String]| {
        let others: BTreeSet<_> = others.iter().collect();
        of.iter().filter(|cut| !others.contains(cut)).map(|cut| (*cut).clone()).collect()
    };
    let slices = slices(base, head);
    let same = !model_changed
        && base.engine == head.engine
        && base.edges == head.edges
        && slices.iter().all(|slice| slice.change == SliceChange::Same);
    let (old, new) = (&base.prediction, &head.prediction);
    PlanDifference {
        same,
        model_changed,
        base: summary(base),
        head: summary(head),
        memory_time_ratio: ratio(new.memory_time.0, old.memory_time.0),
        latency_ratio: ratio(new.latency_ms.0, old.latency_ms.0),
        cuts_added: only(&after, &before),
        cuts_removed: only(&before, &after),
        slices,
    }
}

/// The last layer of every slice but the last, which is how `manual=` names cuts.
fn cuts(plan: &Plan) -> Vec<&String> {
    let before_last = plan.slices.split_last().map_or(&[][..], |(_, rest)| rest);
    before_last.iter().filter_map(|slice| slice.layers.last()).collect()
}

fn slices(base: &Plan, head: &Plan) -> Vec<SliceDifference> {
    fn named<'a>(plan: &'a Plan, name: &str) -> Option<&'a SlicePlan> {
        plan.slices.iter().find(|slice| slice.name == name)
    }
    let after = head.slices.iter().map(|slice| {
        let before = named(base, &slice.name);
        let change = match before {
            None => SliceChange::Added,
            Some(before) if work(before) == work(slice) => SliceChange::Same,
            Some(_) => SliceChange::Changed,
        };
        let base = before.map(slice_summary);
        SliceDifference { name: slice.name.clone(), change, base, head: Some(slice_summary(slice)) }
    });
    let gone = base.slices.iter().filter(|slice| named(head, &slice.name).is_none());
    let gone = gone.map(|slice| SliceDifference {
        name: slice.name.clone(),
        change: SliceChange::Removed,
        base: Some(slice_summary(slice)),
        head: None,
    });
    after.chain(gone).collect()
}

/// What a function does and is given, without what is predicted of it.
fn work(slice: &SlicePlan) -> impl PartialEq + '_ {
    (&slice.nodes, &slice.inputs, &slice.outputs, slice.size, slice.threads)
}

fn summary(plan: &Plan) -> PlanSummary {
    PlanSummary {
        model: plan.model.clone(),
        engine: plan.engine.clone(),
        strategy: plan.strategy.clone(),
        slices: plan.slices.len(),
        memory_bytes: plan.slices.iter().map(|slice| slice.size.memory_bytes).sum(),
        largest_memory_bytes: plan.prediction.largest_memory_bytes,
        handoff_bytes: plan.edges.iter().map(|edge| edge.tensor.bytes()).sum(),
        memory_time: plan.prediction.memory_time,
        latency_ms: plan.prediction.latency_ms,
        unsplit_memory_time: plan.prediction.unsplit_memory_time,
    }
}

fn slice_summary(slice: &SlicePlan) -> SliceSummary {
    SliceSummary {
        layers: layer_span(slice),
        memory_bytes: slice.size.memory_bytes,
        cpu_milli: slice.size.cpu_milli,
        weights_bytes: slice.prediction.weights_bytes,
        billed_ms: slice.prediction.billed_ms,
        memory_time: slice.prediction.memory_time,
    }
}

fn ratio(over: f64, under: f64) -> Option<f64> {
    (under > 0.0).then(|| over / under)
}
