#![allow(dead_code)]
//! Problems to plan, and an independent price and search to compare with.

pub mod downsets;
pub mod synthetic;

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use tranche_partitioner::{BorderTensor, CostModel, Costs, Problem, ProblemLayer, ProblemNode};
use tranche_schema::{
    ByteCount, Constraints, Digest, ElementType, GibSeconds, MilliCpu, Millis, ModelIdentity, TensorSpec,
    Timing, WholeProfile,
};

pub const MIB: u64 = 1 << 20;

pub fn spec(name: &str, bytes: u64) -> TensorSpec {
    TensorSpec { name: name.to_owned(), element_type: ElementType::UInt8, shape: vec![bytes] }
}

/// What a layer of a test problem takes.
#[derive(Clone, Debug)]
pub struct TestLayer {
    pub ms: f64,
    pub weights: Vec<usize>,
    pub live: u64,
    pub parallel: f64,
}

/// A problem from layers, weight sizes and tensors as (producer, consumers, bytes, to the caller).
pub fn problem(layers: &[TestLayer], weights: &[u64], tensors: Vec<BorderTensor>) -> Problem {
    let sum: f64 = layers.iter().map(|layer| layer.ms).sum();
    Problem {
        model: ModelIdentity { name: "test".to_owned(), digest: Digest::of(b"model") },
        profile_digest: Digest::of(b"profile"),
        dimensions: BTreeMap::new(),
        engine: "tract".to_owned(),
        inputs: tensors.iter().filter(|tensor| tensor.producer.is_none()).map(|t| t.spec.clone()).collect(),
        outputs: tensors.iter().filter(|tensor| tensor.to_caller).map(|t| t.spec.clone()).collect(),
        layers: layers
            .iter()
            .enumerate()
            .map(|(index, layer)| ProblemLayer {
                name: format!("layer_{index}"),
                kind: "Conv".to_owned(),
                nodes: (0..2)
                    .map(|part| ProblemNode {
                        name: format!("node_{index}_{part}"),
                        index: (2 * index + part) as u32,
                    })
                    .collect(),
                time: Millis(layer.ms),
                weights: layer.weights.clone(),
                peak_live: ByteCount(layer.live),
                parallel_share: layer.parallel,
                dominant: false,
            })
            .collect(),
        tensors,
        weights: weights.iter().map(|&bytes| ByteCount(bytes)).collect(),
        whole: WholeProfile {
            run: Timing { median_ms: Millis(sum * 0.9), ..Timing::default() },
            base_memory_bytes: ByteCount(20 * MIB),
            ..WholeProfile::default()
        },
        profiled_cpu: MilliCpu(1000),
        measured: Vec::new(),
        codings: Default::default(),
        link: None,
        horizontal: tranche_partitioner::Horizontal::default(),
    }
}

/// A chain: each layer has its own weights and hands `bytes` to the next.
pub fn chain(layers: &[(f64, u64, u64)]) -> Problem {
    let test_layers: Vec<TestLayer> = layers
        .iter()
        .enumerate()
        .map(|(index, &(ms, _, bytes))| TestLayer {
            ms,
            weights: vec![index],
            live: 2 * bytes,
            parallel: 0.0,
        })
        .collect();
    let weights: Vec<u64> = layers.iter().map(|&(_, weights, _)| weights).collect();
    let mut tensors = vec![border("input", None, vec![0], 4 * MIB / 10, false)];
    for (index, &(_, _, bytes)) in layers.iter().enumerate() {
        let last = index + 1 == layers.len();
        let consumers = if last { Vec::new() } else { vec![index + 1] };
        tensors.push(border(&format!("tensor_{index}"), Some(index), consumers, bytes, last));
    }
    problem(&test_layers, &weights, tensors)
}

pub fn border(
    name: &str,
    producer: Option<usize>,
    consumers: Vec<usize>,
    bytes: u64,
    to_caller: bool,
) -> BorderTensor {
    BorderTensor { spec: spec(name, bytes), producer, consumers, to_caller }
}

/// Random layered graphs: weights shared between layers, tensors that skip
/// layers, several readers, outputs in the middle, layers that nobody reads.
pub fn any_problem(max_layers: usize) -> impl Strategy<Value = Problem> {
    problems(max_layers, 0.9)
}

/// The same where each layer reads from the one before: there is one order to run them in.
pub fn any_ordered_problem(max_layers: usize) -> impl Strategy<Value = Problem> {
    problems(max_layers, 1.0)
}

fn problems(max_layers: usize, linked: f64) -> impl Strategy<Value = Problem> {
    (1..=max_layers).prop_flat_map(move |count| {
        let layer = (0.1..50.0_f64, prop::collection::btree_set(0..count, 0..3), 0..20 * MIB).prop_map(
            |(ms, weights, live)| TestLayer {
                ms,
                weights: weights.into_iter().collect(),
                live,
                parallel: 0.0,
            },
        );
        let layers = prop::collection::vec(layer, count);
        let weights = prop::collection::vec(0..200 * MIB, count);
        let tensor =
            (0..=count, prop::collection::btree_set(0..count, 0..4), 1..8 * MIB, prop::bool::weighted(0.1));
        let link = (prop::bool::weighted(linked), 1..8 * MIB);
        let extra = prop::collection::vec(tensor, 0..2 * count);
        (layers, weights, prop::collection::vec(link, count), extra, any::<bool>()).prop_map(
            move |(layers, weights, sizes, extra, measured)| {
                let mut tensors = vec![border("input", None, vec![0], MIB, false)];
                for (index, (linked, bytes)) in sizes.into_iter().enumerate() {
                    let last = index + 1 == count;
                    if !linked && !last {
                        continue;
                    }
                    let consumers = if last { Vec::new() } else { vec![index + 1] };
                    tensors.push(border(&format!("chain_{index}"), Some(index), consumers, bytes, last));
                }
                for (number, (producer, readers, bytes, to_caller)) in extra.into_iter().enumerate() {
                    let producer = producer.checked_sub(1);
                    let start = producer.map_or(0, |layer| layer + 1);
                    let readers: BTreeSet<usize> =
                        readers.into_iter().filter(|&layer| layer >= start).collect();
                    if readers.is_empty() && !to_caller {
                        continue;
                    }
                    let name = format!("skip_{number}");
                    tensors.push(border(&name, producer, readers.into_iter().collect(), bytes, to_caller));
                }
                let mut problem = problem(&layers, &weights, tensors);
                if measured {
                    problem.whole.peak_memory_bytes = ByteCount(300 * MIB);
                }
                problem
            },
        )
    })
}

/// Bounds around what random problems need, some of them impossible.
pub fn any_constraints() -> impl Strategy<Value = Constraints> {
    (
        prop::option::of((2..60_u64).prop_map(|count| ByteCount(count * 16 * MIB))),
        prop::option::of(1..6_u32),
        prop::option::of(1..5_u32),
        prop::option::of((1.0..400.0_f64).prop_map(Millis)),
    )
        .prop_map(|(max_memory_bytes, max_slices, min_slices, latency_ms)| Constraints {
            max_memory_bytes,
            max_slices,
            min_slices,
            latency_ms,
            ..Constraints::default()
        })
}

/// What a segment takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Price {
    pub memory: u64,
    pub cost: f64,
    pub latency: f64,
    pub outputs: usize,
}

/// The price of a segment, from the formulas of the cost model
/// with sets, without the incremental walk.
pub fn naive_price(problem: &Problem, model: &CostModel, range: &Range<usize>) -> Price {
    let count = problem.layers.len();
    let inside = |layer: usize| range.contains(&layer);
    let needed_after = |tensor: &BorderTensor, layer: usize| {
        tensor.to_caller || tensor.consumers.iter().any(|&consumer| consumer > layer)
    };
    let weights: BTreeSet<usize> =
        problem.layers[range.clone()].iter().flat_map(|layer| layer.weights.iter().copied()).collect();
    let largest = weights.iter().map(|&weight| problem.weights[weight].0).max().unwrap_or(0);
    let weights: u64 = weights.into_iter().map(|weight| problem.weights[weight].0).sum();
    let (mut receive, mut send, mut buffers, mut outputs, mut output_bytes) = (0.0, 0.0, 0, 0, 0);
    for tensor in &problem.tensors {
        let bytes = tensor.spec.bytes();
        let transport = model.transport(bytes, tensor.producer.is_some() && !tensor.to_caller);
        let made_inside = tensor.producer.is_some_and(inside);
        if !made_inside && tensor.consumers.iter().any(|&layer| inside(layer)) {
            receive += transport.receive.0;
            buffers += bytes.0;
        }
        if made_inside && needed_after(tensor, range.end - 1) {
            send += transport.send.0;
            buffers += bytes.0;
            output_bytes += bytes.0;
            outputs += 1;
        }
    }
    let live = |layer: usize| {
        let touches =
            |tensor: &&BorderTensor| tensor.producer == Some(layer) || tensor.consumers.contains(&layer);
        let passing = |tensor: &&BorderTensor, from: usize, with_inputs: bool| {
            !touches(tensor)
                && needed_after(tensor, layer)
                && tensor.producer.map_or(with_inputs, |producer| (from..layer).contains(&producer))
        };
        let sum = |keep: &dyn Fn(&&BorderTensor) -> bool| -> u64 {
            problem.tensors.iter().filter(keep).map(|tensor| tensor.spec.bytes().0).sum()
        };
        let over_whole = sum(&|tensor| passing(tensor, 0, true));
        let own = problem.layers[layer].peak_live.0.saturating_sub(over_whole).max(sum(&touches));
        own + sum(&|tensor| passing(tensor, range.start, false))
    };
    let peak = range.clone().map(live).max().unwrap_or(0);
    let mut expected = model.base_memory.0 as f64 + (weights as f64 * model.weights_factor).ceil();
    expected += (largest as f64 * model.loading_factor).ceil() + (peak + buffers) as f64;
    let sum: f64 = problem.layers.iter().map(|layer| layer.time.0).sum();
    let own: f64 = problem.layers[range.clone()].iter().map(|layer| layer.time.0).sum();
    let mut run = own * problem.whole.run.median_ms.0 / sum;
    if *range == (0..count) && problem.whole.peak_memory_bytes.0 > 0 {
        expected = (problem.whole.peak_memory_bytes.0 + output_bytes) as f64;
        run = problem.whole.run.median_ms.0;
    }
    let step = 16 * MIB;
    let memory = ((expected * model.headroom).ceil() as u64).max(step).div_ceil(step) * step;
    let billed = run + model.per_request.0 + receive + send;
    let cost = GibSeconds::of(ByteCount(memory), Millis(billed)).0;
    Price { memory, cost, latency: billed + model.driver.0, outputs }
}

/// A segmentation found by trying all.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub cost: f64,
    pub slices: usize,
}

/// The cheapest of all contiguous segmentations within the constraints.
pub fn brute_force(problem: &Problem, model: &CostModel, constraints: &Constraints) -> Option<Found> {
    let count = problem.layers.len();
    let mut prices = vec![vec![Price::default(); count + 1]; count];
    for (start, row) in prices.iter_mut().enumerate() {
        for (end, price) in row.iter_mut().enumerate().skip(start + 1) {
            *price = naive_price(problem, model, &(start..end));
        }
    }
    let mut best: Option<Found> = None;
    for mask in 0..1_u32 << (count - 1) {
        let ends: Vec<usize> =
            (1..=count).filter(|&end| end == count || mask & (1 << (end - 1)) != 0).collect();
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let parts: Vec<_> = starts.zip(&ends).map(|(start, &end)| prices[start][end]).collect();
        let cost: f64 = parts.iter().map(|part| part.cost).sum();
        let latency: f64 = parts.iter().map(|part| part.latency).sum();
        let allowed = parts.iter().all(|part| part.outputs > 0)
            && constraints.max_memory_bytes.is_none_or(|most| parts.iter().all(|part| part.memory <= most.0))
            && constraints.max_slices.is_none_or(|most| parts.len() <= most as usize)
            && constraints.min_slices.is_none_or(|least| parts.len() >= least as usize)
            && constraints.latency_ms.is_none_or(|most| latency <= most.0);
        if allowed && best.as_ref().is_none_or(|best| cost < best.cost) {
            best = Some(Found { cost, slices: parts.len() });
        }
    }
    best
}

/// The segments of a plan.
pub fn path(plan: &tranche_schema::Plan) -> Vec<Range<usize>> {
    let mut start = 0;
    plan.slices
        .iter()
        .map(|slice| {
            let range = start..start + slice.layers.len();
            start = range.end;
            range
        })
        .collect()
}

pub fn close(left: f64, right: f64) -> bool {
    (left - right).abs() <= 1e-9 * left.abs().max(right.abs())
}

pub fn segment_matches(costs: &Costs<'_>, problem: &Problem, model: &CostModel, range: Range<usize>) -> bool {
    let price = naive_price(problem, model, &range);
    costs.segment(range).is_some_and(|segment| {
        segment.memory.0 == price.memory
            && segment.outputs == price.outputs
            && close(segment.cost, price.cost)
            && close(segment.latency.0, price.latency)
    })
}
