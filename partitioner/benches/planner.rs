//! How long planning takes as models grow, and how far plans are from the best over all
//! downset chains, printed as JSON lines:
//! `cargo bench --profile release -p tranche-partitioner --bench planner > bench/planner.jsonl`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "what was measured is its output")]

#[path = "../tests/common/mod.rs"]
mod common;

use common::downsets::best_chain;
use common::synthetic::{chain_of, graph_of, small_graph_of};
use std::time::Instant;
use tranche_partitioner::price::{BUILT_IN, parse_prices};
use tranche_partitioner::{CostModel, Pricing, Problem, Strategy, partition};
use tranche_schema::{Constraints, MilliCpu, PlanWorkload};

const PRICES: [&str; 3] = ["local", "cloud-run", "aws-lambda-x86"];

fn main() {
    growth();
    gap();
}

fn model(problem: &Problem, name: &str) -> CostModel {
    let (_, text) = BUILT_IN.iter().find(|(known, _)| *known == name).unwrap();
    let workload = PlanWorkload::default();
    let prices = parse_prices(text, name).unwrap();
    CostModel::of(problem).priced(Pricing::of(&prices, MilliCpu(1000), None, &workload).unwrap(), workload)
}

fn sizes() -> Vec<usize> {
    let given = std::env::var("TRANCHE_BENCH_LAYERS").ok();
    given.map_or(vec![250, 500, 1000, 2000, 5000], |list| {
        list.split(',').filter_map(|size| size.parse().ok()).collect()
    })
}

/// Median of three, at each size; the exponent between a size and the one before it.
fn growth() {
    for (shape, make) in [("chain", chain_of as fn(usize, u64) -> Problem), ("graph", graph_of)] {
        for prices in PRICES {
            let mut before: Option<(usize, f64)> = None;
            for layers in sizes() {
                let problem = make(layers, 1);
                let model = model(&problem, prices);
                let mut times: Vec<f64> = (0..3)
                    .map(|_| {
                        let started = Instant::now();
                        let plan =
                            partition(&problem, &model, &Strategy::Optimal, &Constraints::default()).unwrap();
                        assert!(!plan.slices.is_empty());
                        started.elapsed().as_secs_f64()
                    })
                    .collect();
                times.sort_by(f64::total_cmp);
                let exponent =
                    before.map(|(fewer, time)| (times[1] / time).ln() / (layers as f64 / fewer as f64).ln());
                println!(
                    "{{\"what\":\"growth\",\"shape\":\"{shape}\",\"prices\":\"{}\",\"layers\":{layers},\"seconds\":{:.4},\"exponent\":{}}}",
                    prices,
                    times[1],
                    exponent.map_or("null".to_owned(), |exponent| format!("{exponent:.2}"))
                );
                before = Some((layers, times[1]));
            }
        }
    }
}

/// How much dearer the plan is than the best chain of downsets, over random graphs of twelve layers.
fn gap() {
    for prices in PRICES {
        let mut gaps: Vec<f64> = (0..200)
            .filter_map(|seed| {
                let problem = small_graph_of(12, seed);
                let model = model(&problem, prices);
                let plan = partition(&problem, &model, &Strategy::Optimal, &Constraints::default()).ok()?;
                Some(plan.prediction.cost / best_chain(&problem, &model)? - 1.0)
            })
            .collect();
        gaps.sort_by(f64::total_cmp);
        let at = |share: f64| gaps[((gaps.len() - 1) as f64 * share) as usize];
        println!(
            "{{\"what\":\"gap to all downset chains\",\"prices\":\"{}\",\"graphs\":{},\"exact\":{:.3},\"mean\":{:.5},\"p95\":{:.5},\"largest\":{:.5}}}",
            prices,
            gaps.len(),
            gaps.iter().filter(|gap| **gap < 1e-9).count() as f64 / gaps.len() as f64,
            gaps.iter().sum::<f64>() / gaps.len() as f64,
            at(0.95),
            at(1.0)
        );
    }
}
