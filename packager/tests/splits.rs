//! Bundles of plans in which layers run as parts.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{WIDTH, identity, model, profile};
use tranche_graph::Graph;
use tranche_graph::coarsen::coarsen;
use tranche_packager::{PackageError, check_bundle, package};
use tranche_partitioner::{CostModel, Problem, Strategy, partition};
use tranche_schema::{
    Constraints, Document as _, Ensemble, Manifest, MilliCpu, Millis, Plan, ResourceDominance,
};

/// A plan that must split to be fast enough.
fn split_plan(graph: &Graph) -> Plan {
    let layers = coarsen(graph);
    let mut profile = profile(graph, &layers);
    for layer in &mut profile.layers {
        layer.cpu.as_mut().unwrap().time.median_ms = Millis(40.0);
        layer.resource_dominant = Some(ResourceDominance { time: true, memory: false });
    }
    let whole = Millis(40.0 * layers.len() as f64);
    profile.whole.run.median_ms = whole;
    profile.inner_tensors = vec![common::spec("c")];
    let problem = Problem::new(graph, &layers, &identity(graph), &profile).unwrap();
    let constraints =
        Constraints { latency_ms: Some(Millis(0.7 * whole.0)), max_parts: Some(2), ..Constraints::default() };
    partition(&problem, &CostModel::of(&problem), &Strategy::Optimal, &constraints).unwrap()
}

fn packaged(plan: &Plan) -> (tempfile::TempDir, Result<Manifest, PackageError>) {
    let graph = model();
    let folder = tempfile::tempdir().unwrap();
    let manifest = package(&graph, &identity(&graph), plan, &folder.path().join("bundle"), "0");
    (folder, manifest)
}

#[test]
fn parts_are_slices_that_hold_their_share_of_the_weights() {
    let plan = split_plan(&model());
    let (folder, manifest) = packaged(&plan);
    let manifest = manifest.unwrap();
    let parts: Vec<_> = plan.slices.iter().filter(|slice| slice.reason.starts_with("part ")).collect();
    assert!(parts.len() >= 2, "{:?}", plan.splits);
    for part in parts {
        let packaged = manifest.slices.iter().find(|slice| slice.name == part.name).unwrap();
        let graph = Graph::load(&folder.path().join("bundle").join(&packaged.model)).unwrap();
        let held: u64 = graph
            .tensors()
            .iter()
            .filter(|tensor| matches!(tensor.kind, tranche_graph::TensorKind::Initializer(_)))
            .filter(|tensor| tensor.element_type.is_some_and(|kind| kind.is_float()))
            .map(|tensor| {
                tensor
                    .shape
                    .as_ref()
                    .unwrap()
                    .iter()
                    .map(|extent| match extent {
                        tranche_graph::Dimension::Fixed(extent) => *extent,
                        _ => panic!("a weight of unknown shape"),
                    })
                    .product::<u64>()
            })
            .sum();
        let whole = part.prediction.weights_bytes.0 / 4;
        assert_eq!(held, whole, "{}", part.name);
        assert!(held < 3 * WIDTH * WIDTH);
    }
}

#[test]
fn a_patch_that_does_not_fit_is_refused() {
    let mut plan = split_plan(&model());
    let patch = plan.patch.as_mut().unwrap();
    patch.removed.push("nobody".to_owned());
    let (folder, refused) = packaged(&plan);
    assert!(
        matches!(&refused, Err(PackageError::InvalidPlan(reason)) if reason.contains("nobody")),
        "{refused:?}"
    );
    assert!(!folder.path().join("bundle").exists());
}

#[test]
fn a_part_beyond_its_weight_is_refused() {
    let mut plan = split_plan(&model());
    let patch = plan.patch.as_mut().unwrap();
    patch.weights[0].ranges = vec![(0, WIDTH + 1)];
    let (_folder, refused) = packaged(&plan);
    assert!(
        matches!(&refused, Err(PackageError::InvalidPlan(reason)) if reason.contains("beyond")),
        "{refused:?}"
    );
}

/// A plan with one function of two CPUs, whose parts are models in it.
fn colocated_plan(graph: &Graph) -> Plan {
    let layers = coarsen(graph);
    let mut profile = profile(graph, &layers);
    for layer in &mut profile.layers {
        layer.cpu.as_mut().unwrap().time.median_ms = Millis(40.0);
        layer.resource_dominant = Some(ResourceDominance { time: true, memory: false });
    }
    profile.whole.run.median_ms = Millis(40.0 * layers.len() as f64);
    profile.inner_tensors = vec![common::spec("c")];
    let problem = Problem::new(graph, &layers, &identity(graph), &profile).unwrap();
    let model = CostModel::of(&problem).with_cpu(MilliCpu(2000));
    let constraints = Constraints { max_parts: Some(2), max_slices: Some(1), ..Constraints::default() };
    partition(&problem, &model, &Strategy::Gillis, &constraints).unwrap()
}

#[test]
fn members_are_models_beside_an_ensemble() {
    let plan = colocated_plan(&model());
    let (folder, manifest) = packaged(&plan);
    let manifest = manifest.unwrap();
    let bundle = folder.path().join("bundle");
    let [slice] = manifest.slices.as_slice() else { panic!("{} slices", manifest.slices.len()) };
    let ensemble = Ensemble::read(&bundle.join(&slice.model)).unwrap();
    assert_eq!(ensemble.members.len(), plan.slices[0].members.len());
    let names: Vec<String> =
        ensemble.members.iter().map(|member| format!("model/{}", member.model)).collect();
    assert_eq!(names, slice.members);
    for name in &slice.members {
        Graph::load(&bundle.join(name)).unwrap();
    }
    assert_eq!(check_bundle(&bundle).unwrap(), manifest);
}

#[test]
fn members_that_are_not_the_slice_are_refused() {
    let mut plan = colocated_plan(&model());
    let twice = plan.slices[0].members[0].nodes[0].clone();
    plan.slices[0].members[1].nodes.push(twice.clone());
    let (_folder, refused) = packaged(&plan);
    assert!(refused.unwrap_err().to_string().contains(&format!("node `{twice}` of member")));
}
