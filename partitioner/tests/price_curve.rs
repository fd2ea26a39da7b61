//! Times at sizes that were not measured, and sliced against whole.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use proptest::prelude::*;
use tranche_partitioner::price::compare::Question;
use tranche_partitioner::price::verdict::Advice;
use tranche_partitioner::price::{
    Basis, Comparison, Facts, Hop, LineKind, NamedBytes, Orchestration, Sample, TimeCurve, Workload, compare,
    parse,
};
use tranche_schema::{ByteCount, MilliCpu, Millis, PriceModel};

fn prices() -> PriceModel {
    parse(include_str!("../../prices/aws-lambda-x86.toml"), "x86").unwrap()
}

/// What a function of these parts takes at a share (Amdahl, ⌊share⌋ threads).
fn time(serial: f64, parallel: f64, cpu: MilliCpu) -> Millis {
    let share = f64::from(cpu.0) / 1000.0;
    let threads = share.floor().max(1.0);
    Millis(if share < 1.0 { (serial + parallel) / share } else { serial + parallel / threads })
}

fn samples(serial: f64, parallel: f64, shares: &[u32]) -> Vec<Sample> {
    shares
        .iter()
        .map(|&milli| Sample { cpu_milli: MilliCpu(milli), time_ms: time(serial, parallel, MilliCpu(milli)) })
        .collect()
}

proptest! {
    #[test]
    fn parts_are_found_again(serial in 0.0..500.0_f64, parallel in 1.0..500.0_f64, cpu in 72..5788_u32) {
        let shares = [289, 579, 1000, 2000];
        let fit = TimeCurve::fit(&samples(serial, parallel, &shares)).unwrap();
        let (found, _) = fit.at(MilliCpu(cpu));
        // Shares within a hundredth of a sample's have its time, which may be of another number of threads.
        let near = |share: &&u32| share.abs_diff(cpu) * 100 <= **share;
        let expected = time(serial, parallel, MilliCpu(*shares.iter().find(near).unwrap_or(&cpu)));
        prop_assert!((found.0 / expected.0 - 1.0).abs() < 0.011, "{found} {expected}");
    }

    #[test]
    fn more_cpu_never_takes_longer(times in prop::collection::vec(1.0..1000.0_f64, 1..5), cpu in 72..5000_u32) {
        let shares = [400, 900, 1000, 2000, 3000];
        let samples: Vec<Sample> = times
            .iter()
            .zip(shares)
            .map(|(&ms, milli)| Sample { cpu_milli: MilliCpu(milli), time_ms: Millis(ms) })
            .collect();
        let fit = TimeCurve::fit(&samples).unwrap();
        let unmeasured = TimeCurve { samples: Vec::new(), ..fit };
        prop_assert!(unmeasured.at(MilliCpu(cpu)).0 >= unmeasured.at(MilliCpu(cpu + 200)).0);
    }
}

#[test]
fn times_say_where_they_are_from() {
    let fit = TimeCurve::fit(&samples(10.0, 90.0, &[500, 1000, 2000])).unwrap();
    let basis = [100, 500, 505, 700, 2000, 3000].map(|milli| fit.at(MilliCpu(milli)).1);
    use Basis::{Extrapolated, Fitted, Measured};
    assert_eq!(basis, [Extrapolated, Measured, Measured, Fitted, Measured, Extrapolated]);
    assert!(fit.knows_scaling());
    let one = TimeCurve::fit(&samples(10.0, 90.0, &[500, 1000])).unwrap();
    assert!(!one.knows_scaling());
    assert_eq!(one.at(MilliCpu(4000)).0, one.at(MilliCpu(1000)).0);
    assert!(TimeCurve::fit(&[]).is_none());
}

/// A chain of slices or a whole, of `serial` + `parallel` ms each at one CPU.
fn facts(name: &str, at: usize, mebibytes: u64, serial: f64, parallel: f64) -> Facts {
    let tensor = |at: usize| NamedBytes { name: format!("t{at}"), bytes: 100_000 };
    Facts {
        name: name.into(),
        memory: ByteCount::mebibytes(mebibytes),
        samples: samples(serial, parallel, &[289, 579, 1000, 2000]),
        start_up: Some(Millis(mebibytes as f64)),
        hop: Hop { inputs: vec![tensor(at)], outputs: vec![tensor(at + 1)] },
    }
}

fn compared(whole: &Facts, slices: &[Facts], orchestration: Orchestration) -> Comparison {
    let prices = prices();
    let workload = Workload { requests_per_month: 1_000_000, cold_fraction: 0.01, free_tier: false };
    let sizes = vec![128, 256, 512, 1024, 1769, 3538, 7076, 10_240];
    compare(
        &Question { prices: &prices, workload, orchestration, entry_mib: 256, sizes },
        Some(whole),
        slices,
    )
}

#[test]
fn a_small_cpu_bound_model_is_better_left_whole() {
    let slices = [facts("0", 0, 300, 200.0, 0.0), facts("1", 1, 300, 200.0, 0.0)];
    let found = compared(&facts("whole", 0, 500, 400.0, 0.0), &slices, Orchestration::Driver);
    assert_eq!(found.verdict.advice, Advice::DoNotSlice);
    insta::assert_snapshot!(found.verdict.sentences.join("\n"), @r"
    Slicing does not pay here: it costs the same, within what measurements repeat; a warm request takes 400 ms against 400 ms whole (+0 %).
    CPU is sold with memory, 1769 MB for one CPU: the model needs 500 MB, and below 1769 MB half the memory takes twice the time, so every size costs about the same and smaller slices save nothing warm.
    2 slices pay $0.2000 a month more than the whole for requests, and $0 more for hand-off.
    Starting up takes 500 ms whole and 300 ms for the slowest of the slices, which can start at once; it is $0.1440 of the month whole and $0.1728 sliced.
    ");
}

/// 6 GB of weights that one thread walks through: CPU that comes with memory is idle.
#[test]
fn a_large_serial_model_is_better_sliced() {
    let slices: Vec<Facts> = (0..4).map(|at| facts(&at.to_string(), at, 1700, 100.0, 0.0)).collect();
    let found = compared(&facts("whole", 0, 6000, 400.0, 0.0), &slices, Orchestration::Driver);
    assert_eq!(found.verdict.advice, Advice::Slice);
    let saved =
        1.0 - found.verdict.sliced_usd.unwrap().dollars() / found.verdict.unsplit_usd.unwrap().dollars();
    assert!((0.6..0.75).contains(&saved), "{saved}");
    assert_eq!(found.own_sizes.unwrap().time_ms, Millis(400.0));
}

#[test]
fn what_fits_no_function_is_not_priced() {
    let slices: Vec<Facts> = (0..3).map(|at| facts(&at.to_string(), at, 5000, 100.0, 100.0)).collect();
    let found = compared(&facts("whole", 0, 14_000, 300.0, 300.0), &slices, Orchestration::Driver);
    assert_eq!(found.verdict.advice, Advice::Slice);
    let whole = found.unsplit.unwrap();
    assert!(
        whole.best.is_none() && whole.points.iter().all(|point| !point.fits && point.month.lines.is_empty())
    );
    let small = &found.slices[0].points[0];
    assert!(!small.fits && found.slices[0].best().unwrap().memory_mib >= 5000);
}

/// Below one CPU a size costs what any other does, but for rounding: half the CPU, twice the time.
#[test]
fn below_one_cpu_every_size_costs_the_same() {
    let found = compared(
        &facts("whole", 0, 100, 300.0, 0.0),
        &[facts("0", 0, 100, 300.0, 0.0)],
        Orchestration::Driver,
    );
    let whole = found.unsplit.unwrap();
    let below: Vec<f64> = whole
        .points
        .iter()
        .filter(|point| point.memory_mib <= 1769)
        .map(|point| point.month.of(LineKind::Compute).dollars())
        .collect();
    assert!(below.len() == 5 && below.iter().all(|cost| (cost / below[0] - 1.0).abs() < 0.01), "{below:?}");
    assert_eq!(whole.best().unwrap().memory_mib, 1769);
}

#[test]
fn every_walk_is_priced() {
    let slices = [facts("0", 0, 300, 20.0, 0.0), facts("1", 1, 300, 20.0, 0.0)];
    let found = compared(&facts("whole", 0, 500, 40.0, 0.0), &slices, Orchestration::Driver);
    let least = found.walks[0].month.total_usd;
    assert_eq!(found.walks.len(), 4);
    assert!(found.walks[1..].iter().all(|walk| walk.month.total_usd > least));
    let kinds = |at: usize| found.walks[at].month.lines.iter().map(|line| line.kind).collect::<Vec<_>>();
    assert!(kinds(1).contains(&LineKind::WorkflowTime) && kinds(2).contains(&LineKind::ObjectWrites));
    assert!(kinds(3).contains(&LineKind::Waiting));
}
