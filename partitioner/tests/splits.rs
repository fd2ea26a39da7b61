//! Plans in which layers run as parts at once.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../../packager/tests/common/mod.rs"]
mod small;

use proptest::prelude::*;
use std::collections::BTreeSet;
use tranche_graph::Graph;
use tranche_graph::coarsen::coarsen;
use tranche_graph::split::apply;
use tranche_partitioner::{CostModel, Costs, Problem, Strategy, partition, reprice, verify};
use tranche_schema::{
    Constraints, Document as _, Join, LayerScaling, MilliCpu, Millis, Plan, Profile, ResourceDominance,
    SliceMeasurement, Timing, WholeProfile,
};

/// The small model, whose layers take so long and all stand out.
fn slow(times: &[f64]) -> (Graph, Profile) {
    let graph = small::model();
    let layers = coarsen(&graph);
    let mut profile = small::profile(&graph, &layers);
    for (layer, time) in profile.layers.iter_mut().zip(times.iter().cycle()) {
        layer.cpu.as_mut().unwrap().time.median_ms = Millis(*time);
        layer.resource_dominant = Some(ResourceDominance { time: true, memory: false });
    }
    profile.whole.run.median_ms = profile.layers.iter().map(|layer| layer.cpu.unwrap().time.median_ms).sum();
    profile.inner_tensors = vec![small::spec("c")];
    (graph, profile)
}

fn problem(graph: &Graph, profile: &Profile) -> Problem {
    Problem::new(graph, &coarsen(graph), &small::identity(graph), profile).unwrap()
}

fn plan_within(problem: &Problem, latency: f64, parts: u32) -> Option<Plan> {
    let constraints =
        Constraints { latency_ms: Some(Millis(latency)), max_parts: Some(parts), ..Constraints::default() };
    let model = CostModel::of(problem);
    let plan = partition(problem, &model, &Strategy::Optimal, &constraints).ok()?;
    verify(&Costs::new(problem, &model), &plan).unwrap();
    Some(plan)
}

/// Every node of the graph with the plan's patch in it is in one slice.
fn assert_covers(graph: &Graph, plan: &Plan) {
    let split = plan.patch.as_ref().map(|patch| apply(graph, patch).unwrap());
    let graph = split.as_ref().unwrap_or(graph);
    let nodes: BTreeSet<&str> = graph.nodes().iter().map(|node| node.name.as_str()).collect();
    let placed: Vec<&str> = plan.slices.iter().flat_map(|slice| &slice.nodes).map(String::as_str).collect();
    assert_eq!(placed.len(), nodes.len());
    assert_eq!(placed.into_iter().collect::<BTreeSet<_>>(), nodes);
}

#[test]
fn layers_are_split_where_nothing_else_is_fast_enough() {
    let (graph, profile) = slow(&[40.0]);
    let problem = problem(&graph, &profile);
    let whole = profile.whole.run.median_ms.0;
    assert!(plan_within(&problem, 0.7 * whole, 1).is_none());
    let plan = plan_within(&problem, 0.7 * whole, 4).unwrap();
    assert!(!plan.splits.is_empty());
    assert!(plan.prediction.latency_ms.0 <= 0.7 * whole);
    assert_covers(&graph, &plan);
}

#[test]
fn no_layer_is_split_where_it_does_not_pay() {
    let (graph, profile) = slow(&[40.0]);
    let plan = plan_within(&problem(&graph, &profile), 1e9, 8).unwrap();
    assert!(plan.splits.is_empty() && plan.patch.is_none(), "{:?}", plan.splits);
}

#[test]
fn a_plan_with_splits_is_priced_anew_and_read_back() {
    let (graph, profile) = slow(&[40.0]);
    let problem = problem(&graph, &profile);
    let plan = plan_within(&problem, 0.7 * profile.whole.run.median_ms.0, 4).unwrap();
    assert_eq!(Plan::from_json(&plan.to_json().unwrap(), std::path::Path::new("plan.json")).unwrap(), plan);
    let again = reprice(&problem, &CostModel::of(&problem), &Strategy::Optimal, &plan).unwrap();
    assert_eq!(again.slices, plan.slices);
    assert_eq!(again.patch, plan.patch);
}

#[test]
fn a_patch_of_something_else_is_found_out() {
    let (graph, profile) = slow(&[40.0]);
    let problem = problem(&graph, &profile);
    let mut plan = plan_within(&problem, 0.7 * profile.whole.run.median_ms.0, 4).unwrap();
    plan.patch.as_mut().unwrap().nodes.pop();
    let model = CostModel::of(&problem);
    let broken = verify(&Costs::new(&problem, &model), &plan).unwrap_err();
    assert!(broken.contains("patch"), "{broken}");
}

#[test]
fn parts_that_were_measured_are_planned_with_that() {
    let (graph, mut profile) = slow(&[40.0]);
    let bound = 0.7 * profile.whole.run.median_ms.0;
    let first = plan_within(&problem(&graph, &profile), bound, 2).unwrap();
    let parts = first.slices.iter().filter(|slice| slice.reason.starts_with("part "));
    let run = Timing { median_ms: Millis(1.0), ..Timing::default() };
    let peak_memory_bytes = tranche_schema::ByteCount::mebibytes(32);
    profile.slices = parts
        .map(|slice| SliceMeasurement {
            layers: slice.layers.clone(),
            cpu: slice.size.cpu_milli,
            whole: WholeProfile { run, peak_memory_bytes, ..WholeProfile::default() },
            billed: None,
        })
        .collect();
    assert!(!profile.slices.is_empty());
    let again = plan_within(&problem(&graph, &profile), bound, 2).unwrap();
    let split = |plan: &Plan| plan.splits.iter().map(|split| split.name.clone()).collect::<Vec<_>>();
    assert_eq!(split(&again), split(&first));
    assert!(again.prediction.latency_ms.0 < first.prediction.latency_ms.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is split, each node is in one slice, the quotient is acyclic, the plan keeps its bound.
    #[test]
    fn plans_with_splits_are_whole(
        times in prop::collection::vec(0.5_f64..60.0, 4), bound in 0.3_f64..1.0, parts in 2_u32..9,
    ) {
        let (graph, profile) = slow(&times);
        let problem = problem(&graph, &profile);
        let bound = bound * profile.whole.run.median_ms.0;
        if let Some(plan) = plan_within(&problem, bound, parts) {
            assert_covers(&graph, &plan);
            prop_assert!(plan.prediction.latency_ms.0 <= bound * (1.0 + 1e-9));
            for split in &plan.splits {
                prop_assert!(split.parts <= parts);
                prop_assert!(split.joins.values().all(|join| *join != Join::First || split.joins.len() > 1));
            }
        }
    }
}

#[test]
fn the_last_layers_can_be_split_too() {
    // Only the last one takes long.
    let (graph, profile) = slow(&[0.1, 0.1, 0.1, 80.0]);
    let problem = problem(&graph, &profile);
    let plan = plan_within(&problem, 45.0, 4).unwrap();
    let last = plan.splits.last().unwrap();
    assert!(last.joins.contains_key("d"), "{:?}", plan.splits);
    assert_covers(&graph, &plan);
    let joining = plan.slices.last().unwrap();
    assert!(joining.outputs.iter().any(|output| output.name == "d"));
}

/// The small model on functions of two CPUs, `share` of whose work the engine's threads divide.
fn on_two_cpus(share: f64) -> Plan {
    let (graph, mut profile) = slow(&[40.0]);
    for layer in &mut profile.layers {
        layer.scaling = Some(LayerScaling {
            serial_ms: Millis(40.0 * (1.0 - share)),
            parallel_ms: Millis(40.0 * share),
            error: 0.0,
            most_threads: 2,
        });
    }
    let problem = problem(&graph, &profile);
    let model = CostModel::of(&problem).with_cpu(MilliCpu(2000));
    let constraints = Constraints { max_parts: Some(2), max_slices: Some(1), ..Constraints::default() };
    let plan = partition(&problem, &model, &Strategy::Gillis, &constraints).unwrap();
    verify(&Costs::new(&problem, &model), &plan).unwrap();
    assert_eq!(reprice(&problem, &model, &Strategy::Gillis, &plan).unwrap(), plan);
    assert_covers(&graph, &plan);
    plan
}

#[test]
fn parts_share_a_function_where_threads_do_not_help() {
    let plan = on_two_cpus(0.0);
    let [slice] = plan.slices.as_slice() else { panic!("{} slices", plan.slices.len()) };
    assert!(slice.members.len() > 2 && !plan.splits.is_empty());
    assert!(slice.members.iter().any(|member| member.threads == 1));
    let whole = plan.prediction.unsplit_latency_ms.0;
    assert!(plan.prediction.latency_ms.0 < 0.75 * whole, "{} of {whole}", plan.prediction.latency_ms);
}

#[test]
fn threads_are_left_the_work_that_they_divide() {
    let plan = on_two_cpus(1.0);
    assert!(plan.splits.is_empty() && plan.slices[0].members.is_empty(), "{:?}", plan.splits);
}
