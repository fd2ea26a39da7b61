//! Prices: the worked examples of AWS's pages, and laws over random usage.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use proptest::prelude::*;
use tranche_partitioner::price::tariff::{self, MebibyteMillis, billed, marginal, tiered};
use tranche_partitioner::price::{
    FunctionUse, Hop, LineKind, Month, NamedBytes, Orchestration, PriceError, Workload, handoff, month, parse,
};
use tranche_schema::{MilliCpu, Millis, PriceModel, Usd};

const X86: &str = include_str!("../../prices/aws-lambda-x86.toml");
const ARM: &str = include_str!("../../prices/aws-lambda-arm.toml");

fn x86() -> PriceModel {
    parse(X86, "x86").unwrap()
}

fn usd(text: &str) -> Usd {
    text.parse().unwrap()
}

/// A month of one function that is called directly.
fn one(memory_mib: u32, ephemeral_mib: u32, ms: f64, requests: u64, free_tier: bool) -> Month {
    let function =
        FunctionUse { name: "f".into(), memory_mib, ephemeral_mib, time_ms: Millis(ms), start_up_ms: None };
    let workload = Workload { requests_per_month: requests, cold_fraction: 0.0, free_tier };
    month::month(&x86(), &[function], &[Hop::default()], Orchestration::Driver, &workload)
}

/// aws.amazon.com/lambda/pricing, "Example 1: Mobile application backend".
#[test]
fn a_mobile_backend_costs_what_the_page_says() {
    let month = one(1536, 512, 120.0, 3_000_000, true);
    assert_eq!(month.of(LineKind::Compute).to_cents(), usd("2.33"));
    assert_eq!(month.of(LineKind::Requests), usd("0.40"));
    assert_eq!(month.total_usd.to_cents(), usd("2.73"));
}

/// "Example 2: Enriching streaming telemetry with additional metadata": no free tier.
#[test]
fn telemetry_costs_what_the_page_says() {
    let month = one(1024, 512, 2000.0, 7_440_000, false);
    assert_eq!(month.of(LineKind::Compute).to_cents(), usd("248.00"));
    assert_eq!(month.of(LineKind::Requests), usd("1.488"));
    assert_eq!(month.total_usd.to_cents(), usd("249.49"));
}

/// "Example 3: Performing ML on customer support tickets": BERT, with `/tmp` of 2 GB.
#[test]
fn support_tickets_cost_what_the_page_says() {
    let month = one(4096, 2048, 280.0, 6_000_000, true);
    assert_eq!(month.of(LineKind::Compute).to_cents(), usd("105.33"));
    assert_eq!(month.of(LineKind::Requests), usd("1.00"));
    assert_eq!(month.of(LineKind::EphemeralStorage).to_cents(), usd("0.08"));
    assert_eq!(month.total_usd.to_cents(), usd("106.41"));
}

/// "Provisioned Concurrency", both examples of the page.
#[test]
fn kept_functions_cost_what_the_page_says() {
    let prices = x86();
    assert_eq!(tariff::provisioned(&prices, 1536, 100, 8 * 3600).to_cents(), usd("18.00"));
    let run = MebibyteMillis::of(1536, 100, 500_000);
    assert_eq!(tariff::provisioned_run(&prices, run).to_cents(), usd("0.73"));
    assert_eq!(tariff::provisioned(&prices, 4096, 7, 24 * 3600).to_cents(), usd("10.08"));
    let run = MebibyteMillis::of(4096, 280, 2_000_000);
    assert_eq!(tariff::provisioned_run(&prices, run).to_cents(), usd("21.78"));
    // A second is kept for five minutes.
    assert_eq!(tariff::provisioned(&prices, 1024, 1, 1), tariff::provisioned(&prices, 1024, 1, 300));
}

/// AWS's workshop on Step Functions: 1,000 Express workflows of 11.3 s within 64 MB.
#[test]
fn a_workflow_costs_its_requests_and_its_steps() {
    let prices = x86();
    let (calls, usage, time) = handoff::workflow_month(&prices, Millis(11_300.0), 1000);
    assert_eq!(calls, usd("0.001"));
    assert_eq!(usage.gib_seconds(), 706.25);
    assert_eq!(time, usd("0.0117731875"));
    let step = |ms| handoff::workflow_month(&prices, Millis(ms), 1).1;
    assert_eq!(step(1.0), step(100.0));
    assert!(step(100.5) > step(100.0));
}

#[test]
fn large_events_count_as_several_requests() {
    let prices = x86();
    let requests = [1, 262_144, 262_145, 327_680, 327_681, 1_048_576]
        .map(|bytes| tariff::event_requests(&prices, bytes));
    assert_eq!(requests, [1, 1, 2, 2, 3, 13]);
}

#[test]
fn cpu_comes_with_memory() {
    let prices = x86();
    let shares = [128, 884, 1769, 3538, 10_240, 20_000].map(|mib| tariff::cpu(&prices, mib));
    assert_eq!(shares, [72, 500, 1000, 2000, 5788, 5788].map(MilliCpu));
    assert_eq!(tariff::size_for(&prices, 1), Some(128));
    assert_eq!(tariff::size_for(&prices, 4097), Some(4097));
    assert_eq!(tariff::size_for(&prices, 10_241), None);
}

#[test]
fn both_files_are_whole() {
    let arm = parse(ARM, "arm").unwrap();
    assert_eq!((x86().name.as_str(), arm.name.as_str()), ("aws-lambda-x86", "aws-lambda-arm"));
    assert!(arm.compute.tiers[0].usd_per_gib_second < x86().compute.tiers[0].usd_per_gib_second);
    assert!([&x86(), &arm].iter().all(|prices| prices.compute.start_up_billed));
}

#[test]
fn wrong_files_are_told_what_is_wrong() {
    let said = |from: &str, to: &str| {
        let text = X86.replacen(from, to, 1);
        assert_ne!(text, X86, "{from}");
        let error = parse(&text, "mine.toml").unwrap_err();
        assert!(!error.hint().is_empty());
        error.to_string()
    };
    let all = [
        said("usd_per_million = \"0.20\"", "usd_per_million = 0.20"),
        said("usd_per_million = \"0.20\"", "usd_per_million = \"0,20\""),
        said("step_ms = 1\n", "step_ms = 0\n"),
        said("step_mib = 1\n", "step = 1\n"),
        said("date = \"2026-11-25\"", "date = \"25.11.2026\""),
        said("version = 1", "version = 2"),
        said("up_to_gib_seconds = 15_000_000_000", "up_to_gib_seconds = 5_000_000_000"),
        said("milli_cpu = 5_788", "milli_cpu = 788"),
        said("maximum_mib = 10_240", "maximum_mib = 100_240"),
        said("[free_tier]", "[free-tier]"),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    mine.toml is not a valid price file: line 61: invalid type: floating point `0.2`, expected an amount of dollars as text, in quotes, as "0.0000166667"
    mine.toml is not a valid price file: line 61: `0,20` is not an amount of dollars: digits, a point and at most 12 digits after it, as 0.0000166667
    mine.toml: `compute.step_ms` is 0
    mine.toml is not a valid price file: line 44: unknown field `step`, expected one of `minimum_mib`, `maximum_mib`, `step_mib`
    mine.toml: `date` is `25.11.2026`, not a day as 2026-11-25
    mine.toml is a `tranche-prices` file of version 2, expected `tranche-prices` version 1
    mine.toml: `compute.tiers` has the bound 5000000000 after 6000000000
    mine.toml: `cpu` falls at 10240 MiB
    mine.toml: `cpu` does not reach from memory.minimum_mib to memory.maximum_mib
    mine.toml is not a valid price file: line 121: unknown field `free-tier`, expected one of `format`, `version`, `name`, `title`, `date`, `region`, `architecture`, `sources`, `compute`, `memory`, `cpu`, `requests`, `events`, `ephemeral_storage`, `provisioned`, `payload`, `package`, `time`, `object_store`, `workflow`, `free_tier`, `valid_until`, `link`
    "#);
    assert!(matches!(parse("{", "mine.toml"), Err(PriceError::Parse { .. })));
}

fn tensor(name: &str, bytes: u64) -> NamedBytes {
    NamedBytes { name: name.into(), bytes }
}

/// Three slices: the first feeds the others, the third reads both; `big` is beyond a payload.
fn diamond(big: u64) -> Vec<Hop> {
    vec![
        Hop { inputs: vec![tensor("x", 1000)], outputs: vec![tensor("a", big), tensor("b", 1000)] },
        Hop { inputs: vec![tensor("a", big)], outputs: vec![tensor("c", 1000)] },
        Hop { inputs: vec![tensor("b", 1000), tensor("c", 1000)], outputs: vec![tensor("y", 1000)] },
    ]
}

#[test]
fn hand_off_takes_what_the_contract_says() {
    let count = |big, orchestration| {
        let found = handoff::operations(&x86(), &diamond(big), orchestration);
        (found.requests, found.writes, found.reads, found.workflow_requests)
    };
    // a and b in base64, and the payload's own kilobyte, just fit 6,291,556 bytes.
    assert_eq!(count(4_716_897, Orchestration::Driver), (3, 0, 0, 0));
    assert_eq!(count(4_716_898, Orchestration::Driver), (3, 1, 1, 0));
    assert_eq!(count(1000, Orchestration::Entry { memory_mib: 256 }), (4, 0, 0, 0));
    // x, a, b, c, y as objects, each read once.
    assert_eq!(count(1000, Orchestration::Workflow), (3, 5, 5, 1));
    // Beside those: 3 metrics; claims by the writers of b and c and of a, each after as
    // many looks as the stop has inputs; the answer, after a look at y.
    assert_eq!(count(1000, Orchestration::Continuation), (3, 5 + 3 + 3 + 1, 5 + 3 + 5 + 1 + 1, 0));
}

#[test]
fn one_function_is_called_directly() {
    let hops = [Hop { inputs: vec![tensor("x", 8_000_000)], outputs: vec![tensor("y", 10)] }];
    for orchestration in [Orchestration::Driver, Orchestration::Workflow, Orchestration::Continuation] {
        let found = handoff::operations(&x86(), &hops, orchestration);
        assert_eq!((found.requests, found.writes, found.reads), (1, 1, 1));
    }
}

#[test]
fn an_entry_function_is_billed_while_it_waits() {
    let used = |name: &str, ms| FunctionUse {
        name: name.into(),
        memory_mib: 1024,
        ephemeral_mib: 512,
        time_ms: Millis(ms),
        start_up_ms: Some(Millis(500.0)),
    };
    let functions = [used("0", 100.0), used("1", 50.0), used("2", 50.0)];
    let workload = Workload { requests_per_month: 1_000_000, cold_fraction: 0.01, free_tier: false };
    let month = |orchestration| month::month(&x86(), &functions, &diamond(1000), orchestration, &workload);
    let (driver, entry) = (month(Orchestration::Driver), month(Orchestration::Entry { memory_mib: 512 }));
    // 200 ms of 0.5 GB a request.
    assert_eq!(entry.of(LineKind::Waiting), usd("1.66667"));
    assert_eq!(entry.total_usd - driver.total_usd, usd("1.66667") + usd("0.20"));
    // 10,000 starts of three functions, 0.5 s each.
    assert_eq!(driver.of(LineKind::StartUp), usd("0.2500005"));
}

fn any_prices() -> impl Strategy<Value = PriceModel> {
    prop_oneof![Just(X86), Just(ARM)].prop_map(|text| parse(text, "prices").unwrap())
}

proptest! {
    #[test]
    fn amounts_are_read_as_they_are_written(pico in 0..i128::from(u64::MAX)) {
        let amount = Usd::from_pico(pico);
        prop_assert_eq!(amount.to_string().parse::<Usd>().unwrap(), amount);
    }

    #[test]
    fn time_is_rounded_up_to_the_step(micros in 0..10_000_000_u64, step in 1..500_u64) {
        let rounded = billed(Millis(micros as f64 / 1000.0), step);
        prop_assert_eq!(rounded % step, 0);
        prop_assert!(rounded * 1000 >= micros && rounded * 1000 < micros + step * 1000);
    }

    #[test]
    fn more_memory_or_time_never_costs_less(
        mib in 128..10_240_u32, ms in 1..900_000_u64, calls in 0..1_000_000_000_u64,
        more in 0..1000_u32, longer in 0..1000_u64, prices in any_prices(),
    ) {
        let cost = |mib, ms| tariff::compute(&prices, MebibyteMillis::of(mib, ms, calls));
        prop_assert!(cost(mib + more, ms) >= cost(mib, ms));
        prop_assert!(cost(mib, ms + longer) >= cost(mib, ms));
    }

    #[test]
    fn within_a_tier_costs_add_up(a in 0..2_000_000_000_u64, b in 0..2_000_000_000_u64, prices in any_prices()) {
        let usage = |gib_seconds| MebibyteMillis::of_gib_seconds(gib_seconds);
        let cost = |usage| tariff::compute(&prices, usage);
        prop_assert_eq!(cost(usage(a)) + cost(usage(b)), cost(usage(a + b)));
    }

    /// Crossing a bound changes the slope, not the amount; and splits at bounds add up.
    #[test]
    fn tiers_are_continuous(gib_seconds in 0..40_000_000_000_u64, step in 0..2000_u128, prices in any_prices()) {
        let tiers = &prices.compute.tiers;
        let at = MebibyteMillis::of_gib_seconds(gib_seconds);
        let after = MebibyteMillis(at.0 + step);
        let dearest = tiers.iter().map(|tier| tier.usd_per_gib_second).max().unwrap();
        let rise = tiered(tiers, after) - tiered(tiers, at);
        prop_assert!(rise >= Usd::ZERO);
        prop_assert!(rise <= tariff::at(dearest, MebibyteMillis(step)) + Usd::from_pico(3));
        prop_assert!(tiered(tiers, at) <= tariff::at(dearest, at) + Usd::from_pico(3));
        prop_assert!(marginal(tiers, at) <= dearest);
    }

    #[test]
    fn cpu_never_falls_with_memory(mib in 128..10_240_u32, prices in any_prices()) {
        prop_assert!(tariff::cpu(&prices, mib) <= tariff::cpu(&prices, mib + 1));
        prop_assert_eq!(tariff::size_for(&prices, mib.into()), Some(mib));
    }

    #[test]
    fn a_month_is_the_sum_of_its_lines(
        ms in 1.0..5000.0_f64, requests in 0..100_000_000_u64, cold in 0.0..1.0_f64, free_tier: bool,
    ) {
        let function = |name: &str| FunctionUse {
            name: name.into(), memory_mib: 1769, ephemeral_mib: 1024,
            time_ms: Millis(ms), start_up_ms: Some(Millis(ms)),
        };
        let functions = [function("0"), function("1"), function("2")];
        let workload = Workload { requests_per_month: requests, cold_fraction: cold, free_tier };
        for orchestration in [
            Orchestration::Driver, Orchestration::Workflow, Orchestration::Continuation,
            Orchestration::Entry { memory_mib: 256 },
        ] {
            let month = month::month(&x86(), &functions, &diamond(9_000_000), orchestration, &workload);
            prop_assert_eq!(month.lines.iter().map(|line| line.usd).sum::<Usd>(), month.total_usd);
        }
    }
}
