//! The problem of a real graph and a profile of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../../packager/tests/common/mod.rs"]
mod small;

use small::{WIDTH, identity, model, profile, spec};
use tranche_graph::Graph;
use tranche_graph::coarsen::coarsen;
use tranche_partitioner::{PlanError, Problem};
use tranche_schema::{ByteCount, Profile};

fn refused(change: impl FnOnce(&Graph, &mut Profile)) -> PlanError {
    let graph = model();
    let layers = coarsen(&graph);
    let mut profile = profile(&graph, &layers);
    change(&graph, &mut profile);
    Problem::new(&graph, &layers, &identity(&graph), &profile).unwrap_err()
}

#[test]
fn a_problem_has_the_graphs_tensors_and_weights() {
    let graph = model();
    let problem = small::problem(&graph);
    let matrix = ByteCount(WIDTH * WIDTH * 4);
    assert_eq!(problem.weights, [matrix; 3]);
    let shared = problem.layers.iter().filter(|layer| layer.weights.contains(&0)).count();
    assert_eq!(shared, 2, "`first` is read by the layers of `a` and `d`");
    let tensor = |name: &str| problem.tensors.iter().find(|tensor| tensor.spec == spec(name)).unwrap();
    assert_eq!((tensor("x").producer, tensor("x").consumers.as_slice()), (None, [0].as_slice()));
    assert_eq!(tensor("a").consumers.len(), 2, "by `b` and by the sum");
    assert!(tensor("d").to_caller && tensor("d").consumers.is_empty());
}

#[test]
fn profiles_of_something_else_are_refused() {
    let stale = refused(|_, profile| profile.model.digest = small::other_digest());
    assert!(matches!(stale, PlanError::StaleProfile { .. }), "{stale}");
    let renamed = refused(|_, profile| profile.layers[1].name = "other".to_owned());
    assert!(matches!(&renamed, PlanError::LayersDiffer { position: 1, found, .. } if found == "other"));
    let short = refused(|_, profile| profile.layers.truncate(2));
    assert!(matches!(&short, PlanError::LayersDiffer { position: 2, found, .. } if found == "nothing"));
    let untimed = refused(|_, profile| profile.layers[0].cpu = None);
    assert!(matches!(untimed, PlanError::MissingTime { .. }), "{untimed}");
    let shapeless = refused(|_, profile| profile.tensors.retain(|tensor| tensor.name != "b"));
    assert!(matches!(&shapeless, PlanError::MissingTensor { tensor } if tensor == "b"), "{shapeless}");
    for error in [stale, renamed, short, untimed, shapeless] {
        assert!(error.hint().contains("tranche profile"), "{error}");
    }
}
