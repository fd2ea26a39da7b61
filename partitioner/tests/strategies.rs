//! Strategies, reasons and the text of plans on small chains.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{MIB, border, chain, path};
use tranche_partitioner::{CostModel, PlanError, Problem, Strategy, partition, render_in_full, reprice};
use tranche_schema::{
    ByteCount, Channel, Codec, Constraints, MilliCpu, Millis, Plan, SliceMeasurement, TensorCoding, Timing,
    WholeProfile,
};

/// Early layers slow and light, late ones fast and heavy: slicing pays.
fn pays() -> Problem {
    chain(&[
        (40.0, MIB, 3 * MIB),
        (60.0, 2 * MIB, 2 * MIB),
        (50.0, 4 * MIB, MIB),
        (5.0, 400 * MIB, MIB / 64),
        (3.0, 200 * MIB, MIB / 64),
    ])
}

/// Everything small: each further function costs a base memory.
fn does_not_pay() -> Problem {
    chain(&[(2.0, MIB, MIB), (2.0, MIB, MIB), (2.0, MIB, MIB)])
}

fn planned(problem: &Problem, strategy: &str, constraints: &Constraints) -> Result<Plan, PlanError> {
    partition(problem, &CostModel::of(problem), &strategy.parse().unwrap(), constraints)
}

fn ends(plan: &Plan) -> Vec<usize> {
    path(plan).into_iter().map(|range| range.end).collect()
}

fn free(problem: &Problem, strategy: &str) -> Vec<usize> {
    ends(&planned(problem, strategy, &Constraints::default()).unwrap())
}

#[test]
fn a_forced_cut_says_so() {
    let constraints = Constraints { min_slices: Some(2), ..Constraints::default() };
    let plan = planned(&does_not_pay(), "optimal", &constraints).unwrap();
    assert_eq!(plan.slices.len(), 2);
    assert!(plan.notes.iter().any(|note| note.contains("forced by min-slices 2")), "{:?}", plan.notes);
}

#[test]
fn strategies_cut_where_they_say() {
    let problem = pays();
    assert_eq!(free(&problem, "unsplit"), [5]);
    assert_eq!(free(&problem, "uniform=1"), [5]);
    assert_eq!(free(&problem, "uniform=3"), [1, 2, 5]);
    assert_eq!(free(&problem, "uniform=5"), [1, 2, 3, 4, 5]);
    assert_eq!(free(&problem, "similarity=2"), [3, 5]);
    assert_eq!(free(&problem, "similarity"), [1, 3, 4, 5]);
    assert_eq!(free(&problem, "optimal"), [3, 4, 5]);
    assert_eq!(free(&problem, "manual=tensor_3,layer_0,layer_3"), [1, 4, 5]);
}

#[test]
fn the_bounds_that_errors_name_are_enough_as_printed() {
    let problem = pays();
    for latency in [144.0, 143.0, 142.0, 0.1] {
        let constraints = Constraints { latency_ms: Some(Millis(latency)), ..Constraints::default() };
        let Err(error) = planned(&problem, "optimal", &constraints) else { continue };
        let text = error.to_string();
        let printed = text.rsplit_once(" takes ").unwrap().1.trim_end_matches(" ms");
        let printed = Some(Millis(printed.parse().unwrap()));
        planned(&problem, "optimal", &Constraints { latency_ms: printed, ..constraints }).unwrap();
    }
}

#[test]
fn the_fewest_slices_of_almost_the_same_cost_are_named() {
    let problem = chain(&[(0.7, 20 * MIB, MIB / 16); 16]);
    let plan = planned(&problem, "optimal", &Constraints::default()).unwrap();
    let note = plan.notes.iter().find(|note| note.contains("max-slices")).unwrap();
    let named: u32 = note.split(' ').next().unwrap().parse().unwrap();
    let cost_of = |most| {
        let constraints = Constraints { max_slices: Some(most), ..Constraints::default() };
        planned(&problem, "optimal", &constraints).unwrap().prediction.memory_time.0
    };
    assert!((named as usize) < plan.slices.len());
    assert!(cost_of(named) <= plan.prediction.memory_time.0 * 1.05);
    assert!(cost_of(named - 1) > plan.prediction.memory_time.0 * 1.05);
    assert!(plan.notes.iter().any(|note| note.starts_with("a request takes +")), "{:?}", plan.notes);
}

#[test]
fn many_readers_are_shortened() {
    let mut problem = chain(&[(4.0, 40 * MIB, MIB); 5]);
    problem.tensors[1].consumers = vec![1, 2, 3, 4];
    problem.tensors[1].to_caller = true;
    problem.outputs.push(problem.tensors[1].spec.clone());
    let text = render_in_full(&planned(&problem, "uniform=5", &Constraints::default()).unwrap());
    assert!(text.contains("tensor_0  slice-0 -> slice-1 .. slice-4 (4), caller "), "{text}");
}

#[test]
fn strategies_read_back_as_written() {
    for text in ["optimal", "similarity", "similarity=3", "uniform=4", "unsplit", "manual=relu_5,pool1"] {
        assert_eq!(text.parse::<Strategy>().unwrap().to_string(), text);
    }
    for text in ["", "best", "uniform", "uniform=0", "uniform=x", "similarity=", "manual=", "optimal=2"] {
        assert!(matches!(text.parse::<Strategy>(), Err(PlanError::UnknownStrategy(_))), "{text}");
    }
}

#[test]
fn refusals_name_what_to_change() {
    let problem = pays();
    let mib = |count| Some(ByteCount::mebibytes(count));
    let none = Constraints::default();
    let cases: [(&str, Constraints); 11] = [
        ("uniform=6", none),
        ("similarity=6", none),
        ("manual=layer_9", none),
        ("manual=layer_4", none),
        ("optimal", Constraints { max_memory_bytes: mib(256), ..none }),
        ("optimal", Constraints { max_memory_bytes: mib(1000), max_slices: Some(1), ..none }),
        ("optimal", Constraints { min_slices: Some(6), ..none }),
        ("optimal", Constraints { min_slices: Some(3), max_slices: Some(2), ..none }),
        ("optimal", Constraints { latency_ms: Some(Millis(100.0)), ..none }),
        ("unsplit", Constraints { max_memory_bytes: mib(1000), ..none }),
        ("uniform=3", Constraints { max_slices: Some(2), ..none }),
    ];
    let text: Vec<String> = cases
        .iter()
        .map(|(strategy, constraints)| {
            let error = planned(&problem, strategy, constraints).unwrap_err();
            format!("{strategy}: {error}\n  {}", error.hint())
        })
        .collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn a_latency_bound_that_binds_is_noted() {
    let constraints = Constraints { latency_ms: Some(Millis(144.0)), ..Constraints::default() };
    let unbound = planned(&pays(), "optimal", &Constraints::default()).unwrap();
    let plan = planned(&pays(), "optimal", &constraints).unwrap();
    assert!(unbound.prediction.latency_ms.0 > 144.0 && plan.prediction.latency_ms.0 <= 144.0);
    assert!(plan.notes.iter().any(|note| note.starts_with("the latency bound binds")), "{:?}", plan.notes);
}

#[test]
fn a_measured_slice_replaces_its_estimate() {
    let mut problem = pays();
    problem.measured.push(SliceMeasurement {
        layers: vec!["layer_3".to_owned(), "layer_4".to_owned()],
        cpu: MilliCpu(1000),
        whole: WholeProfile {
            run: Timing { median_ms: Millis(33.0), ..Timing::default() },
            peak_memory_bytes: ByteCount(1000 * MIB),
            ..WholeProfile::default()
        },
        billed: None,
    });
    let plan = planned(&problem, "manual=layer_2", &Constraints::default()).unwrap();
    assert_eq!(plan.slices[1].prediction.run_ms, Millis(33.0));
    assert_eq!(plan.slices[1].size.memory_bytes, ByteCount::mebibytes(1104));
    problem.measured[0].cpu = MilliCpu(500);
    let plan = planned(&problem, "manual=layer_2", &Constraints::default()).unwrap();
    assert_ne!(plan.slices[1].prediction.run_ms, Millis(33.0));
}

#[test]
fn half_a_cpu_takes_twice_the_time() {
    let problem = pays();
    let model = CostModel::of(&problem).with_cpu(MilliCpu(500));
    let slow = partition(&problem, &model, &Strategy::Unsplit, &Constraints::default()).unwrap();
    let fast = planned(&problem, "unsplit", &Constraints::default()).unwrap();
    assert_eq!(slow.slices[0].prediction.run_ms.0, 2.0 * fast.slices[0].prediction.run_ms.0);
    assert!(slow.notes.iter().any(|note| note.starts_with("times at 0.50 CPU follow")), "{:?}", slow.notes);
}

#[test]
fn a_shared_weight_counts_once_in_a_slice_and_again_in_each_other() {
    let mut problem = pays();
    problem.layers[4].weights = vec![3];
    let weights = |strategy: &str| -> Vec<u64> {
        let plan = planned(&problem, strategy, &Constraints::default()).unwrap();
        plan.slices.iter().map(|slice| slice.prediction.weights_bytes.0 / MIB).collect()
    };
    assert_eq!(weights("unsplit"), [407]);
    assert_eq!(weights("manual=layer_3"), [407, 400]);
}

#[test]
fn transports_are_the_cheapest_and_the_caller_gets_no_files() {
    let mut problem = pays();
    problem.tensors.push(border("early_output", Some(0), vec![4], 8 * MIB, true));
    let out = problem.tensors.last().unwrap().spec.clone();
    problem.outputs.push(out);
    let channels = |model: &CostModel| -> Vec<(String, Channel, Codec)> {
        let strategy = Strategy::Manual(vec!["layer_0".to_owned(), "layer_3".to_owned()]);
        let plan = partition(&problem, model, &strategy, &Constraints::default()).unwrap();
        plan.edges.into_iter().map(|edge| (edge.tensor.name, edge.channel, edge.codec)).collect()
    };
    let local = CostModel::of(&problem);
    let named = |name: &str, channel, codec| (name.to_owned(), channel, codec);
    assert_eq!(
        channels(&local),
        [
            named("input", Channel::Inline, Codec::Raw),
            named("early_output", Channel::Inline, Codec::Raw),
            named("tensor_0", Channel::MappedFile, Codec::Raw),
            named("tensor_3", Channel::Inline, Codec::Raw),
            named("tensor_4", Channel::Inline, Codec::Raw),
        ]
    );
    let mut slow_network = CostModel { mapped_file: None, ..local.clone() };
    slow_network.inline.send_per_mebibyte = Millis(80.0);
    assert!(
        channels(&slow_network)
            .iter()
            .all(|(_, channel, codec)| { *channel == Channel::Inline && *codec == Codec::Zstd })
    );
}

#[test]
fn problems_that_make_no_sense_are_refused() {
    let broken = |change: fn(&mut Problem)| {
        let mut problem = pays();
        change(&mut problem);
        planned(&problem, "optimal", &Constraints::default()).unwrap_err().to_string()
    };
    let messages = [
        broken(|problem| problem.layers.clear()),
        broken(|problem| problem.layers[1].name = "layer_0".to_owned()),
        broken(|problem| problem.layers[1].nodes[0].name = "node_0_0".to_owned()),
        broken(|problem| problem.layers[1].time = Millis(f64::NAN)),
        broken(|problem| problem.layers[1].weights = vec![9]),
        broken(|problem| problem.tensors[2].consumers = vec![1]),
        broken(|problem| problem.tensors[2].consumers = vec![7]),
        broken(|problem| problem.tensors[2].consumers = vec![3, 2]),
        broken(|problem| problem.tensors[2].spec.name = "tensor_0".to_owned()),
        broken(|problem| problem.weights[0] = ByteCount(u64::MAX)),
        broken(|problem| problem.tensors[5].to_caller = false),
    ];
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn a_measured_slice_changes_the_price_and_not_the_cuts() {
    let mut problem = pays();
    let plan = planned(&problem, "optimal", &Constraints::default()).unwrap();
    let slice = &plan.slices[0];
    problem.measured.push(SliceMeasurement {
        layers: slice.layers.clone(),
        cpu: MilliCpu(1000),
        whole: WholeProfile {
            run: Timing { median_ms: Millis(1000.0), ..Timing::default() },
            peak_memory_bytes: ByteCount(500 * MIB),
            ..WholeProfile::default()
        },
        billed: None,
    });
    let again = reprice(&problem, &CostModel::of(&problem), &Strategy::Optimal, &plan).unwrap();
    assert_eq!(path(&again), path(&plan));
    assert_eq!(again.slices[0].prediction.run_ms, Millis(1000.0));
    assert!(again.slices[0].size.memory_bytes > ByteCount(500 * MIB));
}

#[test]
fn a_plan_of_other_layers_is_refused() {
    let plan = planned(&pays(), "optimal", &Constraints::default()).unwrap();
    let other = does_not_pay();
    let mut renamed = plan.clone();
    renamed.slices[0].layers[0].push('x');
    for (problem, plan) in [(&other, &plan), (&pays(), &renamed)] {
        let refused = reprice(problem, &CostModel::of(problem), &Strategy::Optimal, plan);
        assert!(matches!(refused, Err(PlanError::OtherLayers { .. })), "{refused:?}");
    }
}

/// The codec of `tensor_1` between two slices on a link that takes 10 ms a mebibyte, where these were measured.
fn codec_between(measured: &[(Codec, f64, f64)], lossy: Option<Codec>) -> Codec {
    let mut problem = pays();
    let codings = measured
        .iter()
        .map(|&(codec, ratio, time)| TensorCoding {
            tensor: "tensor_1".to_owned(),
            codec,
            ratio,
            loss: 0.0,
            encode_ms_per_mib: Millis(time),
            decode_ms_per_mib: Millis(time),
        })
        .collect();
    problem.codings = [("tensor_1".to_owned(), codings)].into();
    let mut model = CostModel { mapped_file: None, ..CostModel::of(&problem) };
    (model.inline.send_per_mebibyte, model.inline.receive_per_mebibyte) = (Millis(10.0), Millis(10.0));
    let strategy = Strategy::Manual(vec!["layer_1".to_owned()]);
    let plan =
        partition(&problem, &model, &strategy, &Constraints { lossy, ..Constraints::default() }).unwrap();
    plan.edges.into_iter().find(|edge| edge.tensor.name == "tensor_1").unwrap().codec
}

#[test]
fn a_tensor_takes_the_codec_that_saves_it_most_time() {
    let raw = (Codec::Raw, 1.0, 0.0);
    assert_eq!(codec_between(&[], None), Codec::Raw);
    assert_eq!(
        codec_between(&[raw, (Codec::Sparse, 0.5, 1.0), (Codec::ShuffleZstd, 0.45, 4.0)], None),
        Codec::Sparse
    );
    assert_eq!(
        codec_between(&[raw, (Codec::Sparse, 0.9, 1.0), (Codec::ShuffleZstd, 0.4, 4.0)], None),
        Codec::ShuffleZstd
    );
    assert_eq!(codec_between(&[raw, (Codec::Sparse, 0.95, 2.0)], None), Codec::Raw);
    // Lossy ones are for those who ask.
    assert_eq!(codec_between(&[raw, (Codec::F16, 0.5, 0.1)], None), Codec::Raw);
    assert_eq!(codec_between(&[raw, (Codec::F16, 0.5, 0.1)], Some(Codec::F16)), Codec::F16);
    assert_eq!(codec_between(&[raw, (Codec::F16, 0.5, 0.1)], Some(Codec::Int8)), Codec::Raw);
}
