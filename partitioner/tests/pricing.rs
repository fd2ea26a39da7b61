//! Plans under price files: sizes, fees, cold starts, replicas, limits.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{MIB, any_ordered_problem, chain, close};
use proptest::prelude::*;
use tranche_partitioner::price::{BUILT_IN, check_valid, parse_prices};
use tranche_partitioner::{
    CostModel, Costs, Infeasible, PlanError, Pricing, Problem, Segment, Strategy, partition,
};
use tranche_schema::{
    Billing, ByteCount, Constraints, CostUnit, LayerScaling, MilliCpu, Millis, Plan, PlanWorkload,
    ShareSample, Timing,
};

fn cloud_run() -> &'static str {
    text_of("cloud-run")
}

fn text_of(name: &str) -> &'static str {
    BUILT_IN.iter().find(|(known, _)| *known == name).unwrap().1
}

fn pricing(name: &str, billing: Option<Billing>, workload: &PlanWorkload) -> Pricing {
    Pricing::of(&parse_prices(text_of(name), name).unwrap(), MilliCpu(1000), billing, workload).unwrap()
}

fn model(problem: &Problem, name: &str, workload: PlanWorkload) -> CostModel {
    CostModel::of(problem).priced(pricing(name, None, &workload), workload)
}

fn warm(problem: &Problem, name: &str) -> CostModel {
    model(problem, name, PlanWorkload::default())
}

fn planned(
    problem: &Problem,
    model: &CostModel,
    strategy: &str,
    constraints: &Constraints,
) -> Result<Plan, PlanError> {
    partition(problem, model, &strategy.parse().unwrap(), constraints)
}

fn free(problem: &Problem, model: &CostModel, strategy: &str) -> Plan {
    planned(problem, model, strategy, &Constraints::default()).unwrap()
}

/// A chain whose layers' times threads divide by this share.
fn scaling(layers: &[(f64, u64, u64)], parallel: f64) -> Problem {
    let mut problem = chain(layers);
    for layer in &mut problem.layers {
        layer.parallel_share = parallel;
    }
    problem
}

#[test]
fn built_in_files_are_read_and_named_as_they_are_called() {
    for (name, text) in BUILT_IN {
        let prices = parse_prices(text, name).unwrap();
        assert_eq!(prices.name(), name);
        let pricing = pricing(name, None, &PlanWorkload::default());
        assert_eq!(pricing.identity.unit, if name == "local" { CostUnit::GibSeconds } else { CostUnit::Usd });
    }
}

#[test]
fn the_local_file_prices_as_memory_time() {
    let problem = chain(&[(40.0, MIB, 3 * MIB), (5.0, 400 * MIB, MIB), (3.0, 200 * MIB, MIB)]);
    let plan = free(&problem, &warm(&problem, "local"), "optimal");
    let own = free(&problem, &CostModel::of(&problem), "optimal");
    assert_eq!(plan.slices, own.slices);
    assert!(close(plan.prediction.cost, plan.prediction.memory_time.0));
}

#[test]
fn a_cpu_bound_model_that_fits_one_cpu_is_left_whole_on_lambda() {
    let problem = scaling(&[(200.0, 50 * MIB, MIB), (300.0, 100 * MIB, MIB), (100.0, 200 * MIB, MIB)], 0.9);
    let plan = free(&problem, &warm(&problem, "aws-lambda-x86"), "optimal");
    assert_eq!(plan.slices.len(), 1);
    // The charge is the same below one CPU: the fastest of those is taken, or a faster one within the tie.
    assert!(plan.slices[0].size.cpu_milli >= MilliCpu(1000), "{:?}", plan.slices[0].size);
    let expected = f64::from(plan.slices[0].size.memory_bytes.as_mebibytes_ceil() as u32) / 1024.0
        * 0.000_016_666_7
        * plan.slices[0].prediction.billed_ms.0.ceil()
        / 1000.0
        + 0.2e-6;
    assert!(close(plan.prediction.cost, expected), "{} {expected}", plan.prediction.cost);
}

#[test]
fn a_model_larger_than_any_function_is_cut_and_says_so() {
    let problem = chain(&[(100.0, 4000 * MIB, MIB), (100.0, 4000 * MIB, MIB)]);
    let plan = free(&problem, &warm(&problem, "aws-lambda-x86"), "optimal");
    assert_eq!(plan.slices.len(), 2);
    assert!(plan.notes.iter().any(|note| note.contains("more than a function may have")), "{:?}", plan.notes);
    let error = planned(&problem, &warm(&problem, "aws-lambda-x86"), "unsplit", &Constraints::default());
    assert!(matches!(error, Err(PlanError::BreaksConstraint { .. })), "{error:?}");
}

#[test]
fn where_cpu_is_apart_memory_time_is_saved_by_slicing() {
    let layers = [(400.0, MIB, 2 * MIB), (400.0, 2 * MIB, MIB), (20.0, 3000 * MIB, MIB / 64)];
    let problem = chain(&layers);
    let plan = free(&problem, &warm(&problem, "cloud-run"), "optimal");
    assert!(plan.slices.len() > 1);
    assert!(plan.prediction.cost < plan.prediction.unsplit_cost);
    let times: Vec<f64> = plan.slices.iter().map(|slice| slice.prediction.billed_ms.0).collect();
    let billed: f64 = times
        .iter()
        .map(|time| (time / 100.0).ceil() / 10.0)
        .zip(&plan.slices)
        .map(|(seconds, slice)| {
            seconds
                * (slice.size.memory_bytes.as_gibibytes() * 2.5e-6
                    + f64::from(slice.size.cpu_milli.0) / 1000.0 * 24e-6)
                + 0.4e-6
        })
        .sum();
    assert!(close(plan.prediction.cost, billed), "{} {billed}", plan.prediction.cost);
}

#[test]
fn always_on_functions_are_paid_by_replicas() {
    let problem = chain(&[(100.0, 300 * MIB, MIB), (100.0, 300 * MIB, MIB)]);
    let at = |rate: f64| {
        let workload = PlanWorkload { rate_per_second: Some(rate), ..PlanWorkload::default() };
        model(&problem, "openfaas", workload)
    };
    let slow = free(&problem, &at(0.1), "unsplit");
    let twice = free(&problem, &at(0.2), "unsplit");
    assert!(close(slow.prediction.cost, 2.0 * twice.prediction.cost), "one replica serves both rates");
    assert_eq!(at(0.1).pricing.replicas_for(Millis(1000.0)), Some(1));
    assert_eq!(at(2.0).pricing.replicas_for(Millis(1000.0)), Some(3));
    // Splitting is never cheaper where one replica of each part idles.
    assert_eq!(free(&problem, &at(0.1), "optimal").slices.len(), 1);
    let error = planned(&problem, &at(1000.0), "optimal", &Constraints::default());
    assert!(matches!(error, Err(PlanError::Infeasible(Infeasible::Replicas { most: 5, .. }))), "{error:?}");
}

#[test]
fn no_plan_has_more_functions_than_the_platform_takes() {
    let problem = chain(&[(50.0, 600 * MIB, MIB / 64); 24]);
    let workload = PlanWorkload::default();
    let prices = pricing("openfaas", Some(Billing::PerRequest), &workload);
    let plan = free(&problem, &CostModel::of(&problem).priced(prices, workload), "optimal");
    assert!((2..=15).contains(&plan.slices.len()), "{}", plan.slices.len());
}

#[test]
fn what_no_call_carries_is_an_object_or_no_plan() {
    let problem = chain(&[(100.0, 3500 * MIB, 40 * MIB), (100.0, 3500 * MIB, MIB)]);
    let plan = free(&problem, &warm(&problem, "aws-lambda-x86"), "optimal");
    let calls = plan.slices.len() as f64 * 0.2e-6;
    let compute: f64 = plan
        .slices
        .iter()
        .map(|slice| {
            slice.size.memory_bytes.as_gibibytes() * slice.prediction.billed_ms.0.ceil() / 1000.0
                * 0.000_016_666_7
        })
        .sum();
    assert!(close(plan.prediction.cost, compute + calls + 5e-6 + 0.4e-6), "one write and one read");
    let toml = cloud_run()
        .replace("[object_store]\nusd_per_million_writes = \"5.00\"\nusd_per_million_reads = \"0.40\"\n", "");
    let prices = parse_prices(&toml.replace("maximum_mib = 32_768", "maximum_mib = 10_240"), "mine").unwrap();
    let pricing = Pricing::of(&prices, MilliCpu(1000), None, &PlanWorkload::default()).unwrap();
    let model = CostModel::of(&problem).priced(pricing, PlanWorkload::default());
    let error = planned(&problem, &model, "optimal", &Constraints::default());
    assert!(
        matches!(
            error,
            Err(PlanError::Infeasible(Infeasible::Payload { .. } | Infeasible::MaxMemory { .. }))
        ),
        "{error:?}"
    );
}

#[test]
fn weights_beyond_a_package_are_named_with_their_layer() {
    let problem = chain(&[(10.0, 100 * MIB, MIB), (10.0, 300 * MIB, MIB)]);
    let bound = |mebibytes| Constraints {
        max_weights_bytes: Some(ByteCount::mebibytes(mebibytes)),
        ..Constraints::default()
    };
    let model = CostModel::of(&problem);
    let error = planned(&problem, &model, "optimal", &bound(200)).unwrap_err();
    insta::assert_snapshot!(error.to_string(), @"no plan satisfies the constraints: a package may hold 200 MiB of weights, but layer `layer_1` alone has 300 MiB");
    assert_eq!(planned(&problem, &model, "optimal", &bound(300)).unwrap().slices.len(), 2);
}

/// A chain whose whole model was seen to start in 20 ms and 1 ms a mebibyte.
fn starting(layers: &[(f64, u64, u64)]) -> Problem {
    let mut problem = chain(layers);
    let weights: u64 = layers.iter().map(|&(_, weights, _)| weights).sum();
    problem.whole.weights_bytes = ByteCount(weights);
    problem.whole.start_up_ms = Some(Millis(20.0 + weights as f64 / MIB as f64));
    problem
}

#[test]
fn starts_overlap_and_are_charged_by_their_share() {
    let problem = starting(&[(100.0, 400 * MIB, MIB), (100.0, 400 * MIB, MIB)]);
    let cold = PlanWorkload { cold_fraction: 0.5, ..PlanWorkload::default() };
    let plan = |strategy, workload| free(&problem, &model(&problem, "aws-lambda-x86", workload), strategy);
    let (halves, whole) = (plan("uniform=2", cold), plan("unsplit", cold));
    assert!(halves.prediction.cold_latency_ms.0 < whole.prediction.cold_latency_ms.0);
    assert!(whole.prediction.cost > plan("unsplit", PlanWorkload::default()).prediction.cost);
    // Half of all requests wait for the start, and the slowest hundredth do.
    assert!(close(whole.prediction.p99_ms.0, whole.prediction.cold_latency_ms.0));
}

#[test]
fn a_bound_on_cold_requests_cuts_where_that_helps() {
    let problem =
        starting(&[(10.0, 400 * MIB, MIB / 64), (10.0, 400 * MIB, MIB / 64), (10.0, 400 * MIB, MIB / 64)]);
    let model = warm(&problem, "aws-lambda-x86");
    let bound = |ms| Constraints { cold_latency_ms: Some(Millis(ms)), ..Constraints::default() };
    let free = free(&problem, &model, "optimal");
    assert_eq!(free.slices.len(), 1);
    let plan = planned(&problem, &model, "optimal", &bound(free.prediction.cold_latency_ms.0 * 0.7)).unwrap();
    assert!(plan.slices.len() > 1);
    let error = planned(&problem, &model, "optimal", &bound(5.0)).unwrap_err();
    assert!(matches!(error, PlanError::Infeasible(Infeasible::ColdLatency { .. })), "{error}");
}

#[test]
fn measured_shares_correct_what_a_quota_costs() {
    let mut problem = chain(&[(50.0, MIB, MIB), (50.0, MIB, MIB)]);
    let whole = problem.whole.run.median_ms.0;
    let run = Timing { median_ms: Millis(whole * 4.4), ..Timing::default() };
    problem.whole.shares = vec![ShareSample { cpu: MilliCpu(250), run }];
    let model = CostModel::of(&problem).with_cpu(MilliCpu(250));
    let costs = Costs::new(&problem, &model);
    assert!(close(costs.segment(0..1).unwrap().run.0, whole / 2.0 * 4.4));
}

#[test]
fn threads_divide_the_parallel_part() {
    let scaling =
        LayerScaling { serial_ms: Millis(20.0), parallel_ms: Millis(80.0), error: 0.0, most_threads: 2 };
    let share = scaling.parallel_ms.0 / (scaling.serial_ms.0 + scaling.parallel_ms.0);
    let mut problem = chain(&[(100.0, MIB, MIB)]);
    problem.layers[0].parallel_share = share;
    problem.whole.run.median_ms = Millis(100.0);
    let model = CostModel::of(&problem).with_cpu(MilliCpu(4000));
    assert!(close(Costs::new(&problem, &model).segment(0..1).unwrap().run.0, 20.0 + 80.0 / 4.0));
}

/// All offers of all ranges that can be slices.
fn offers(costs: &Costs<'_>) -> Vec<Vec<Vec<Segment>>> {
    let count = costs.problem().layers.len();
    (0..count)
        .map(|first| {
            let mut row = vec![Vec::new(); count + 1];
            for stretch in costs.row(first).filter(|stretch| stretch.outputs > 0) {
                costs.offers(&stretch, &mut row[stretch.layers.end]);
            }
            row
        })
        .collect()
}

/// Every choice of cuts and sizes as (cost, latency, latency of a cold request).
fn every_plan(costs: &Costs<'_>) -> Vec<(f64, f64, f64)> {
    let offers = offers(costs);
    let count = costs.problem().layers.len();
    let mut open = vec![(0, (0.0, 0.0, 0.0_f64))];
    let mut done = Vec::new();
    while let Some((first, (cost, latency, cold))) = open.pop() {
        if first == count {
            done.push((cost, latency, cold));
            continue;
        }
        for segment in offers[first].iter().flatten() {
            let finish = cold.max(segment.start_up.0) + segment.latency.0 + segment.first_run_excess.0;
            open.push((segment.layers.end, (cost + segment.cost, latency + segment.latency.0, finish)));
        }
    }
    done
}

/// The plans that no other beats in cost and latency, by rising latency.
fn unbeaten(mut plans: Vec<(f64, f64, f64)>) -> Vec<(f64, f64)> {
    plans.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.total_cmp(&b.0)));
    let mut least = f64::INFINITY;
    plans.retain(|plan| {
        let better = plan.0 < least * (1.0 - 1e-12);
        if better {
            least = plan.0;
        }
        better
    });
    plans.into_iter().map(|(cost, latency, _)| (cost, latency)).collect()
}

fn any_pricing() -> impl proptest::strategy::Strategy<Value = &'static str> {
    prop::sample::select(vec!["local", "aws-lambda-x86", "cloud-run", "openfaas", "faasd"])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn the_frontier_is_what_no_plan_beats(
        mut problem in any_ordered_problem(5),
        name in any_pricing(),
        parallel in 0.0..1.0_f64,
    ) {
        problem.layers.iter_mut().for_each(|layer| layer.parallel_share = parallel);
        let model = model(&problem, name, PlanWorkload { rate_per_second: Some(0.2), ..PlanWorkload::default() });
        let expected = unbeaten(every_plan(&Costs::new(&problem, &model)));
        let Ok(plan) = planned(&problem, &model, "optimal", &Constraints::default()) else {
            prop_assert!(expected.is_empty());
            return Ok(());
        };
        prop_assume!(expected.len() <= 32);
        prop_assert!(plan.frontier.complete);
        // The chosen point may be beaten by less than the tie of prices.
        let found: Vec<(f64, f64)> = plan
            .frontier
            .points
            .iter()
            .map(|point| (point.cost, point.latency_ms.0))
            .filter(|point| !plan.frontier.points.iter().any(|other| {
                (other.cost < point.0 && other.latency_ms.0 <= point.1)
                    || (other.cost <= point.0 && other.latency_ms.0 < point.1)
            }))
            .collect();
        prop_assert_eq!(found.len(), expected.len(), "{:?} {:?}", found, expected);
        for (found, expected) in found.iter().zip(&expected) {
            prop_assert!(close(found.0, expected.0) && close(found.1, expected.1), "{:?} {:?}", found, expected);
        }
    }

    #[test]
    fn bounds_on_warm_and_cold_requests_are_met_at_least_cost(
        mut problem in any_ordered_problem(5),
        name in any_pricing(),
        (warm, cold) in (0.0..1.0_f64, 0.0..1.0_f64),
    ) {
        problem.whole.weights_bytes = ByteCount(100 * MIB);
        problem.whole.start_up_ms = Some(Millis(220.0));
        let model = model(&problem, name, PlanWorkload { rate_per_second: Some(0.2), ..PlanWorkload::default() });
        let plans = every_plan(&Costs::new(&problem, &model));
        let range = |value: fn(&(f64, f64, f64)) -> f64, part: f64| {
            let least = plans.iter().map(value).fold(f64::INFINITY, f64::min);
            let most = plans.iter().map(value).fold(0.0, f64::max);
            least + (most - least) * part * 0.5
        };
        prop_assume!(!plans.is_empty());
        let (warm, cold) = (range(|plan| plan.1, warm), range(|plan| plan.2, cold));
        let constraints = Constraints {
            latency_ms: Some(Millis(warm)),
            cold_latency_ms: Some(Millis(cold)),
            ..Constraints::default()
        };
        let best = plans
            .iter()
            .filter(|plan| plan.1 <= warm && plan.2 <= cold)
            .map(|plan| plan.0)
            .reduce(f64::min);
        match (planned(&problem, &model, "optimal", &constraints), best) {
            (Ok(plan), Some(best)) => {
                let most = best * (1.0 + model.pricing.tie) * (1.0 + 1e-9);
                prop_assert!(plan.prediction.cost <= most, "{} above {best}", plan.prediction.cost);
                prop_assert!(plan.prediction.cost >= best * (1.0 - 1e-9), "{} below {best}", plan.prediction.cost);
                prop_assert!(plan.prediction.latency_ms.0 <= warm * (1.0 + 1e-9));
                prop_assert!(plan.prediction.cold_latency_ms.0 <= cold * (1.0 + 1e-9));
            }
            (Err(PlanError::Infeasible(_)), None) => {}
            (planned, best) => prop_assert!(false, "{:?} against {:?}", planned, best),
        }
    }

    #[test]
    fn no_strategy_beats_the_optimum_or_the_bound(
        problem in common::any_problem(8),
        name in any_pricing(),
        cold_fraction in 0.0..0.5_f64,
    ) {
        let workload = PlanWorkload { cold_fraction, rate_per_second: Some(0.5), ..PlanWorkload::default() };
        let model = model(&problem, name, workload);
        let Ok(best) = planned(&problem, &model, "optimal", &Constraints::default()) else { return Ok(()) };
        prop_assert!(best.prediction.cost_lower_bound <= best.prediction.cost * (1.0 + 1e-9));
        prop_assert!(best.prediction.cost <= best.prediction.unsplit_cost * (1.0 + 1e-9));
        for strategy in ["similarity", "unsplit", "gillis", "uniform=2"] {
            let Ok(plan) = planned(&problem, &model, strategy, &Constraints::default()) else { continue };
            let most = plan.prediction.cost * (1.0 + model.pricing.tie) * (1.0 + 1e-9);
            prop_assert!(best.prediction.cost <= most, "{strategy} beats optimal");
            prop_assert!(plan.prediction.cost_lower_bound <= plan.prediction.cost * (1.0 + 1e-9));
        }
    }
}

#[test]
fn gillis_is_the_fastest() {
    let problem = scaling(&[(40.0, 100 * MIB, 3 * MIB), (60.0, 200 * MIB, MIB), (50.0, 400 * MIB, MIB)], 0.9);
    let model = warm(&problem, "aws-lambda-x86");
    let plan = free(&problem, &model, "gillis");
    let plans = every_plan(&Costs::new(&problem, &model));
    let fastest = plans.iter().map(|plan| plan.1).fold(f64::INFINITY, f64::min);
    assert!(close(plan.prediction.latency_ms.0, fastest));
    assert_eq!(plan.strategy, Strategy::Gillis.to_string());
}

#[test]
fn a_price_file_ends_when_it_says() {
    let text = cloud_run().replace("region = ", "valid_until = \"2026-12-31\"\nregion = ");
    let prices = parse_prices(&text, "mine").unwrap();
    assert_eq!(check_valid(&prices, "2026-12-31"), Ok(()));
    let error = check_valid(&prices, "2027-01-01").unwrap_err();
    insta::assert_snapshot!(error.to_string(), @"cloud-run holds until 2026-12-31 and is not planned with after that");
}

#[test]
fn wrong_files_of_separate_prices_are_told_what_is_wrong() {
    let changed = |from: &str, to: &str| {
        let text = cloud_run().replace(from, to);
        assert_ne!(text, cloud_run(), "{from}");
        parse_prices(&text, "mine.toml").unwrap_err().to_string()
    };
    let errors = [
        changed("kind = \"separate\"", "kind = \"apart\""),
        changed("version = 1", "version = 3"),
        changed("billing = [\"per-request\"]", "billing = []"),
        changed("unit = \"usd\"", "unit = \"gib-seconds\""),
        changed("milli_cpu = [1000, 2000, 4000, 8000]", "milli_cpu = [2000, 1000]"),
        changed("utilisation = 0.8", "utilisation = 1.8"),
        changed("date = \"2026-11-25\"", "date = \"soon\""),
        changed("step_mib = 1\n", "step_mib = 0\n"),
        changed("[requests]\n", "[request]\n"),
    ];
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn billing_that_is_not_offered_is_refused() {
    let prices = parse_prices(cloud_run(), "cloud-run").unwrap();
    let error = Pricing::of(&prices, MilliCpu(1000), Some(Billing::AlwaysOn), &PlanWorkload::default());
    assert!(error.unwrap_err().to_string().contains("it offers per-request"));
}

#[test]
fn calls_that_take_too_long_are_cut_and_said() {
    let problem = chain(&[(600_000.0, 100 * MIB, MIB), (600_000.0, 100 * MIB, MIB)]);
    let model = warm(&problem, "aws-lambda-x86");
    let plan = free(&problem, &model, "optimal");
    assert_eq!(plan.slices.len(), 2);
    assert!(plan.notes.iter().any(|note| note.contains("longer than a call may")), "{:?}", plan.notes);
    let longer = chain(&[(1_200_000.0, 100 * MIB, MIB)]);
    let error = planned(&longer, &warm(&longer, "aws-lambda-x86"), "optimal", &Constraints::default());
    let error = error.unwrap_err().to_string();
    insta::assert_snapshot!(error, @"no plan satisfies the constraints: a call may take 900 s, but layer `layer_0` alone takes 1080.0 s");
}

#[test]
fn starts_that_take_too_long_are_noted() {
    let mut problem = starting(&[(10.0, 600 * MIB, MIB)]);
    problem.whole.start_up_ms = Some(Millis(15_000.0));
    let plan = free(&problem, &warm(&problem, "aws-lambda-x86"), "optimal");
    assert!(
        plan.notes.iter().any(|note| note.contains("to start, longer than the 10 s")),
        "{:?}",
        plan.notes
    );
}
