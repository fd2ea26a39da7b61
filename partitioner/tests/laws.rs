//! Laws of planning over random problems.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;

use common::downsets::best_chain;
use common::synthetic::Random;
use common::{any_constraints, any_ordered_problem, any_problem, brute_force, close, path, segment_matches};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use tranche_partitioner::{
    CostModel, Costs, Infeasible, PlanError, Problem, Strategy, partition, reprice, verify,
};
use tranche_schema::{Constraints, Document as _, Plan};

/// An order in which the layers can run, picked by `seed`.
fn any_order(problem: &Problem, seed: u64) -> Vec<usize> {
    let mut random = Random::new(seed);
    let mut order: Vec<usize> = Vec::new();
    let made = |order: &[usize], layer: usize| {
        problem.tensors.iter().all(|tensor| {
            !tensor.consumers.contains(&layer) || tensor.producer.is_none_or(|from| order.contains(&from))
        })
    };
    while order.len() < problem.layers.len() {
        let ready: Vec<usize> = (0..problem.layers.len())
            .filter(|&layer| !order.contains(&layer) && made(&order, layer))
            .collect();
        order.push(ready[random.below(ready.len() as u64) as usize]);
    }
    order
}

/// The problem where tensors take a byte each.
fn without_activations(problem: &Problem) -> Problem {
    let mut bare = problem.clone();
    bare.layers.iter_mut().for_each(|layer| layer.peak_live = tranche_schema::ByteCount(0));
    bare.tensors.iter_mut().for_each(|tensor| tensor.spec.shape = vec![1]);
    bare.outputs.iter_mut().for_each(|output| output.shape = vec![1]);
    bare.inputs.iter_mut().for_each(|input| input.shape = vec![1]);
    bare
}

/// The problem with the live bytes that its own tensors explain.
fn grown(problem: &Problem) -> Problem {
    problem.reordered(&(0..problem.layers.len()).collect::<Vec<_>>())
}

fn optimal(problem: &Problem, constraints: &Constraints) -> Result<Plan, PlanError> {
    partition(problem, &CostModel::of(problem), &Strategy::Optimal, constraints)
}

/// The constraints with the bound that an error names relaxed as it says.
fn relaxed(constraints: &Constraints, why: &Infeasible) -> Constraints {
    let mut relaxed = *constraints;
    match why {
        Infeasible::MaxMemory { needed, .. } => relaxed.max_memory_bytes = Some(*needed),
        Infeasible::MaxSlices { needed, .. } => relaxed.max_slices = Some(*needed),
        Infeasible::MinSlices { possible, .. } => relaxed.min_slices = Some(*possible),
        Infeasible::SliceBounds { most, .. } => relaxed.min_slices = Some(*most),
        Infeasible::Latency { needed, .. } => relaxed.latency_ms = Some(*needed),
        other => panic!("no bound of these is {other}"),
    }
    relaxed
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn segments_cost_what_the_formulas_say(problem in any_problem(9)) {
        let model = CostModel::of(&problem);
        let costs = Costs::new(&problem, &model);
        let count = problem.layers.len();
        for start in 0..count {
            for end in start + 1..=count {
                prop_assert!(segment_matches(&costs, &problem, &model, start..end), "{start}..{end}");
            }
        }
    }

    #[test]
    fn the_optimum_equals_brute_force(problem in any_ordered_problem(10), constraints in any_constraints()) {
        let found = brute_force(&problem, &CostModel::of(&problem), &constraints);
        match (optimal(&problem, &constraints), found) {
            (Ok(plan), Some(found)) => {
                let cost = plan.prediction.memory_time.0;
                prop_assert!(close(cost, found.cost), "plan {cost}, brute force {}", found.cost);
            }
            (Err(PlanError::Infeasible(_)), None) => {}
            (planned, found) => prop_assert!(false, "planned {planned:?}, brute force {found:?}"),
        }
    }

    #[test]
    fn no_order_is_worse_than_the_graphs_and_none_beats_all_chains_of_downsets(problem in any_problem(8)) {
        let model = CostModel::of(&problem);
        let plan = optimal(&problem, &Constraints::default()).unwrap();
        let (cost, slack) = (plan.prediction.cost, 1.0 + 1e-9);
        let in_graph_order = brute_force(&problem, &model, &Constraints::default()).unwrap();
        prop_assert!(cost <= in_graph_order.cost * slack, "{cost} above {}", in_graph_order.cost);
        // The order of layers within a slice decides what is alive at once: without activations none does.
        let bare = without_activations(&problem);
        let model = CostModel::of(&bare);
        let cost = optimal(&bare, &Constraints::default()).unwrap().prediction.cost;
        let of_all = best_chain(&bare, &model).unwrap();
        prop_assert!(of_all <= cost * slack, "{of_all} above {cost}");
    }

    #[test]
    fn slices_of_another_order_cost_what_they_cost_there(problem in any_problem(8), seed in any::<u64>()) {
        let order = any_order(&problem, seed);
        let reordered = problem.reordered(&order);
        prop_assert_eq!(reordered.check(), Ok(()));
        let mut back = vec![0; order.len()];
        order.iter().enumerate().for_each(|(new, &old)| back[old] = new);
        prop_assert_eq!(&reordered.reordered(&back).layers, &grown(&problem).layers);
        let model = CostModel::of(&problem);
        let (costs, there) = (Costs::new(&problem, &model), Costs::new(&reordered, &model));
        for (new, &old) in order.iter().enumerate() {
            let (one, other) = (costs.segment(old..old + 1), there.segment(new..new + 1));
            prop_assert!(one.zip(other).is_some_and(|(one, other)| one.memory == other.memory && close(one.cost, other.cost)));
        }
    }

    #[test]
    fn a_latency_bound_between_fastest_and_cheapest_is_met_exactly(
        problem in any_ordered_problem(10),
        place in 0.0..1.0_f64,
    ) {
        let cheapest = optimal(&problem, &Constraints::default()).unwrap();
        let impossible = Constraints { latency_ms: Some(tranche_schema::Millis(1e-6)), ..Constraints::default() };
        let Err(PlanError::Infeasible(Infeasible::Latency { needed, .. })) = optimal(&problem, &impossible) else {
            panic!("a microsecond is enough");
        };
        let bound = needed.0 + place * (cheapest.prediction.latency_ms.0 - needed.0).max(0.0);
        let constraints =
            Constraints { latency_ms: Some(tranche_schema::Millis(bound)), ..Constraints::default() };
        let plan = optimal(&problem, &constraints).unwrap();
        let found = brute_force(&problem, &CostModel::of(&problem), &constraints);
        prop_assert!(found.is_none_or(|found| close(plan.prediction.memory_time.0, found.cost)));
        // Sums in another order may differ in the last bits.
        prop_assert!(plan.prediction.latency_ms.0 <= bound * (1.0 + 1e-9));
    }

    #[test]
    fn every_plan_holds_every_invariant(
        problem in any_problem(12),
        parts in 1..6_u32,
        cut in 0..12_usize,
    ) {
        let model = CostModel::of(&problem);
        let costs = Costs::new(&problem, &model);
        let best = optimal(&problem, &Constraints::default()).unwrap();
        let layers = problem.layers.len();
        let mut strategies = vec![Strategy::Unsplit, Strategy::Similarity { slices: None }];
        if parts as usize <= layers {
            strategies.push(Strategy::Uniform(parts));
            strategies.push(Strategy::Similarity { slices: Some(parts) });
        }
        if cut + 1 < layers {
            strategies.push(Strategy::Manual(vec![format!("layer_{cut}")]));
        }
        for strategy in strategies {
            let plan = match partition(&problem, &model, &strategy, &Constraints::default()) {
                Ok(plan) => plan,
                Err(PlanError::BreaksConstraint { what, .. }) if what.contains("nobody reads") => continue,
                Err(error) => panic!("{strategy}: {error}"),
            };
            prop_assert_eq!(verify(&costs, &plan), Ok(()));
            let (least, cost) = (best.prediction.memory_time.0, plan.prediction.memory_time.0);
            prop_assert!(least <= cost * (1.0 + 1e-9), "{} beats optimal", strategy);
            prop_assert!(plan.prediction.lower_bound.0 <= cost * (1.0 + 1e-9), "{} beats the bound", strategy);
        }
    }

    #[test]
    fn the_relaxation_named_is_enough_and_nothing_less_is(
        problem in any_ordered_problem(9),
        constraints in any_constraints(),
    ) {
        let Err(PlanError::Infeasible(why)) = optimal(&problem, &constraints) else { return Ok(()) };
        let model = CostModel::of(&problem);
        let others = Constraints { latency_ms: None, ..relaxed(&constraints, &why) };
        match why {
            Infeasible::MaxMemory { needed, .. } => {
                let step = tranche_schema::ByteCount(1);
                let any_count = Constraints { max_slices: None, min_slices: None, ..others };
                let less = Constraints { max_memory_bytes: Some(needed - step), ..others };
                prop_assert!(brute_force(&problem, &model, &any_count).is_some());
                prop_assert!(brute_force(&problem, &model, &less).is_none());
            }
            Infeasible::MaxSlices { needed, memory, asked } => {
                let any_least = Constraints { min_slices: None, ..others };
                let less = Constraints { max_slices: Some(needed - 1), ..any_least };
                prop_assert!(brute_force(&problem, &model, &any_least).is_some());
                prop_assert!(brute_force(&problem, &model, &less).is_none());
                let more_memory = Constraints { max_slices: Some(asked), max_memory_bytes: Some(memory), ..others };
                prop_assert!(brute_force(&problem, &model, &more_memory).is_some());
            }
            Infeasible::MinSlices { possible, .. } => {
                let more = Constraints { min_slices: Some(possible + 1), max_slices: None, ..others };
                prop_assert!(brute_force(&problem, &model, &more).is_none());
            }
            Infeasible::SliceBounds { least, most } => prop_assert!(least > most),
            Infeasible::Latency { needed, .. } => {
                let exact = Constraints { latency_ms: Some(needed), ..constraints };
                let less = Constraints { latency_ms: Some(tranche_schema::Millis(needed.0 * 0.999_999)), ..exact };
                prop_assert!(optimal(&problem, &exact).is_ok());
                prop_assert!(brute_force(&problem, &model, &less).is_none());
            }
            other => prop_assert!(false, "no bound of these is {}", other),
        }
    }

    #[test]
    fn equal_inputs_give_equal_bytes(problem in any_problem(12), constraints in any_constraints()) {
        let json = || optimal(&problem, &constraints).map(|plan| plan.to_json().unwrap());
        prop_assert_eq!(json(), json());
    }

    #[test]
    fn unsplit_wins_ties_and_fewer_slices_never_cost_more(problem in any_problem(8)) {
        let plan = optimal(&problem, &Constraints::default()).unwrap();
        let unsplit = plan.prediction.unsplit_memory_time.0;
        if path(&plan).len() > 1 {
            prop_assert!(plan.prediction.memory_time.0 < unsplit);
        } else {
            prop_assert_eq!(plan.prediction.memory_time.0, unsplit);
        }
    }

    #[test]
    fn a_plan_priced_anew_by_the_same_profile_is_the_same_plan(
        problem in any_problem(9),
        constraints in any_constraints(),
    ) {
        if let Ok(plan) = optimal(&problem, &constraints) {
            let again = reprice(&problem, &CostModel::of(&problem), &Strategy::Optimal, &plan).unwrap();
            prop_assert_eq!(again, plan);
        }
    }
}
