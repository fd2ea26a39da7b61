//! Plans as people read them, in short and in full.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{MIB, chain};
use tranche_partitioner::explain::{PlanCosts, share};
use tranche_partitioner::{CostModel, Strategy, partition, render, render_in_full};
use tranche_schema::{
    Billing, ByteCount, Constraints, CostUnit, Document as _, FrontierPoint, GibSeconds, MilliCpu, Millis,
    Plan, PlanPricing, PlanWorkload, Residual,
};

#[test]
fn a_plan_in_short() {
    insta::assert_snapshot!(render(&plan("optimal")));
}

#[test]
fn a_plan_in_full() {
    insta::assert_snapshot!(render_in_full(&plan("optimal")));
}

#[test]
fn a_plan_that_says_that_slicing_does_not_pay() {
    let problem = chain(&[(2.0, MIB, MIB), (2.0, MIB, MIB), (2.0, MIB, MIB)]);
    let plan = partition(&problem, &CostModel::of(&problem), &Strategy::Optimal, &Constraints::default());
    insta::assert_snapshot!(render(&plan.unwrap()));
}

#[test]
fn a_priced_plan_in_short() {
    insta::assert_snapshot!(render(&priced(plan("optimal"), CostUnit::Usd)));
}

#[test]
fn a_priced_plan_in_full() {
    let mut plan = priced(plan("optimal"), CostUnit::GibSeconds);
    plan.constraints.max_slices = Some(4);
    plan.constraints.cold_latency_ms = Some(Millis(500.0));
    plan.dimensions.insert("batch".to_owned(), 1);
    insta::assert_snapshot!(render_in_full(&plan));
}

#[test]
fn a_plan_of_an_older_version_is_read_and_shown_with_memory_time() {
    let mut json = serde_json::to_value(plan("similarity")).unwrap();
    for new in ["pricing", "workload", "order", "frontier", "residual"] {
        json.as_object_mut().unwrap().remove(new);
    }
    let new = [
        "cost",
        "cost_lower_bound",
        "unsplit_cost",
        "unsplit_cpu_milli",
        "cold_latency_ms",
        "unsplit_cold_latency_ms",
        "p50_ms",
        "p99_ms",
        "unsplit_p99_ms",
    ];
    for new in new {
        json["prediction"].as_object_mut().unwrap().remove(new);
    }
    let old = Plan::from_json(&json.to_string(), "plan.json".as_ref()).unwrap();
    let costs = PlanCosts::of(&old);
    assert_eq!(costs.total, old.prediction.memory_time.0);
    assert_eq!(costs.unsplit, old.prediction.unsplit_memory_time.0);
    for text in [render(&old), render_in_full(&old)] {
        for absent in ["Priced by", "Frontier", "Measured as deployed", "cold  ", "p99"] {
            assert!(!text.contains(absent), "{absent}: {text}");
        }
    }
}

#[test]
fn a_frontier_of_one_plan_and_one_not_searched_to_its_end_say_so() {
    let mut plan = priced(plan("optimal"), CostUnit::GibSeconds);
    plan.frontier.complete = false;
    assert!(render(&plan).contains("Frontier: 3 plans that no other beats, of those searched, from "));
    plan.frontier.complete = true;
    plan.frontier.points.truncate(1);
    assert!(render(&plan).contains("Frontier: one plan is both cheapest and fastest: 120 ms for "));
}

#[test]
fn notes_beyond_the_third_are_counted_in_short_and_shown_in_full() {
    let mut plan = plan("optimal");
    plan.notes = (0..5).map(|at| format!("note {at}")).collect();
    assert!(render(&plan).ends_with("  - note 2\n  … and 2 more\n"));
    assert!(render_in_full(&plan).ends_with("  - note 4\n"));
}

#[test]
fn shares_round_to_tenths_of_a_percent() {
    let said: Vec<String> = [1.0, 1.00004, 0.5, 2.315, 0.99951].into_iter().map(share).collect();
    assert_eq!(said, ["±0 %", "±0 %", "-50.0 %", "+131.5 %", "±0 %"]);
}

/// Early layers slow and light, late ones fast and heavy: slicing pays.
fn plan(strategy: &str) -> Plan {
    let problem = chain(&[
        (90.0, 3 * MIB, 2 * MIB),
        (50.0, 4 * MIB, MIB),
        (5.0, 300 * MIB, MIB / 64),
        (4.0, 90 * MIB, 1),
    ]);
    partition(&problem, &CostModel::of(&problem), &strategy.parse().unwrap(), &Constraints::default())
        .unwrap()
}

/// The plan as one with prices, cold starts, a frontier and a measurement.
fn priced(mut plan: Plan, unit: CostUnit) -> Plan {
    let price = match unit {
        CostUnit::GibSeconds => 1.0,
        CostUnit::Usd => 0.000_016_67,
    };
    plan.pricing = PlanPricing {
        name: "somewhere".to_owned(),
        date: "2026-11-25".to_owned(),
        unit,
        billing: Billing::PerRequest,
    };
    plan.workload =
        PlanWorkload { cold_fraction: 0.01, rate_per_second: Some(0.5), keep_alive_seconds: Some(600.0) };
    plan.order = "branches".to_owned();
    for slice in &mut plan.slices {
        slice.prediction.cost = slice.prediction.memory_time.0 * price;
        slice.prediction.start_up_ms = Millis(80.0);
    }
    let last = plan.slices.len() - 1;
    for slice in &mut plan.slices[..last] {
        slice.without_cut = Some(0.25);
    }
    let prediction = &mut plan.prediction;
    prediction.cost = prediction.memory_time.0 * price;
    prediction.unsplit_cost = prediction.unsplit_memory_time.0 * price;
    prediction.cost_lower_bound = prediction.lower_bound.0 * price;
    prediction.unsplit_cpu_milli = MilliCpu(1000);
    (prediction.cold_latency_ms, prediction.unsplit_cold_latency_ms) = (Millis(310.0), Millis(1400.0));
    (prediction.p99_ms, prediction.unsplit_p99_ms) = (Millis(305.0), Millis(1390.0));
    let point = |latency, cost: f64, slices, chosen| FrontierPoint {
        cost: cost * price,
        latency_ms: Millis(latency),
        cold_latency_ms: Millis(latency + 170.0),
        memory_time: GibSeconds(cost),
        largest_memory_bytes: ByteCount::mebibytes(912),
        slices,
        chosen,
    };
    plan.frontier.complete = true;
    plan.frontier.points = vec![
        point(120.0, 0.03, 6, false),
        point(prediction.latency_ms.0, prediction.memory_time.0, 3, true),
        point(180.0, 0.0098, 4, false),
    ];
    plan.residual = Some(Residual {
        rounds: 2,
        predicted_ms: Millis(144.0),
        measured_ms: Millis(140.0),
        largest_of_a_slice: 0.041,
    });
    plan
}
