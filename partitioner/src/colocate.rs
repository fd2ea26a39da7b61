//! Colocation: slices and parts of layers as models in one function, that hand tensors on in memory.
//!
//! Parts that run at once in functions of their own pay for passing tensors and hold an engine each.
//! In one function with as many CPUs they pay for neither. What they compete with there are the engine's
//! own threads, which share each layer's work and wait for each other after each; parts wait once a
//! region. Which is faster is told by the profile's scaling of layers, and then by measuring.
//!
//! This pass is not exact: it takes the fastest way through layers as parts, with functions of that many
//! CPUs and nothing paid for hand-off, and compares the function that holds all of it with the plan
//! that was found otherwise. Groups of slices in several functions are not looked for.

use crate::borders::{slice_inputs, slice_outputs};
use crate::horizontal::{Candidate, compose};
use crate::order::Order;
use crate::plan::{keep_latencies, make, placed};
use crate::search::{Choice, Points, Taken, Totals, fastest};
use crate::{ChannelRate, CostModel, Costs, PlanError, Pricing, Problem, Segment, Strategy};
use std::ops::Range;
use tranche_schema::{Constraints, MemberPlan, MilliCpu, Millis, Plan};

/// What starting a thread for a member and handing it its tensors takes.
const MEMBER: Millis = Millis(0.05);
/// One thread's CPU.
const ONE: MilliCpu = MilliCpu(1000);

/// The best plan with the whole model in one function, as parts that run at once; none where no
/// function has two CPUs, nothing can be split, or no function holds it.
///
/// # Errors
/// When what was chosen cannot be made into a plan.
pub(crate) fn colocated(
    problem: &Problem,
    model: &CostModel,
    strategy: &Strategy,
    constraints: &Constraints,
    candidates: &[Candidate],
) -> Result<Option<Plan>, PlanError> {
    if constraints.min_slices.is_some_and(|least| least > 1) {
        return Ok(None);
    }
    let mut best: Option<Plan> = None;
    for threads in widths(problem, model, constraints) {
        let own: Vec<Candidate> =
            candidates.iter().filter(|candidate| candidate.parts.len() <= threads).cloned().collect();
        let share = MilliCpu(ONE.0 * threads as u32);
        let Ok(choice) = fastest(problem, &inside(model, share), &Constraints::default(), &own) else {
            continue;
        };
        if choice.taken.iter().all(|taken| matches!(taken, Taken::Slice(_))) {
            continue;
        }
        let (composed, cuts) = compose(problem, &placed(&choice))?;
        let Some(plan) = together(&composed, model, strategy, constraints, &cuts, Some(threads))? else {
            continue;
        };
        if best.as_ref().is_none_or(|best| is_less(strategy, &plan, best)) {
            best = Some(plan);
        }
    }
    Ok(best)
}

/// What the strategy makes small.
fn is_less(strategy: &Strategy, plan: &Plan, other: &Plan) -> bool {
    match strategy {
        Strategy::Gillis => plan.prediction.latency_ms < other.prediction.latency_ms,
        _ => plan.prediction.cost < other.prediction.cost,
    }
}

/// How many threads functions have, where they have several.
fn widths(problem: &Problem, model: &CostModel, constraints: &Constraints) -> Vec<usize> {
    let most = constraints.max_parts.unwrap_or(1) as usize;
    let costs = Costs::new(problem, model);
    let need = costs.stretch(0..problem.layers.len()).map(|stretch| stretch.need).unwrap_or_default();
    let mut widths = Vec::new();
    model.pricing.sizes_for(need, |_, share| widths.push(share.threads().min(most)));
    widths.retain(|&width| width > 1);
    widths.sort_unstable();
    widths.dedup();
    widths
}

/// What things cost within one function of this share.
fn inside(model: &CostModel, share: MilliCpu) -> CostModel {
    let free =
        ChannelRate { fixed: Millis(0.0), send_per_mebibyte: Millis(0.0), receive_per_mebibyte: Millis(0.0) };
    CostModel {
        per_request: Millis(0.0),
        driver: MEMBER,
        call: Millis(0.0),
        inline: free,
        object: None,
        mapped_file: None,
        zstd: None,
        at_once: Some(ONE),
        pricing: Pricing::memory_time(share),
        ..model.clone()
    }
}

/// The plan of a problem with splits in it whose slices, cut as `cuts` say, are members of one
/// function; with this many threads where that is given. None where no function holds it.
///
/// # Errors
/// When the plan breaks its own rules or the constraints on latency.
pub(crate) fn together(
    composed: &Problem,
    model: &CostModel,
    strategy: &Strategy,
    constraints: &Constraints,
    cuts: &[Range<usize>],
    threads: Option<usize>,
) -> Result<Option<Plan>, PlanError> {
    composed.check()?;
    let waves = waves(composed, cuts);
    let Some(segment) = cheapest(composed, model, strategy, constraints, cuts, &waves, threads) else {
        return Ok(None);
    };
    let share = segment.cpu;
    let choice = Choice {
        order: Order::graph(composed.layers.len()),
        taken: vec![Taken::Slice(segment)],
        totals: Totals::default(),
        exact: true,
    };
    let mut plan = make(composed, model, strategy, constraints, choice, Points::default())?;
    if keep_latencies(&plan, constraints).is_err() {
        return Ok(None);
    }
    for slice in &mut plan.slices {
        slice.members = cuts
            .iter()
            .enumerate()
            .map(|(place, range)| {
                let alone = waves.iter().any(|wave| *wave == [place]);
                member(composed, range, if alone { share } else { ONE })
            })
            .collect();
    }
    let most = waves.iter().map(Vec::len).max().unwrap_or(1);
    plan.notes.push(format!("one function runs {} models, up to {most} at once", cuts.len()));
    Ok(Some(plan))
}

fn member(composed: &Problem, range: &Range<usize>, share: MilliCpu) -> MemberPlan {
    let layers = &composed.layers[range.clone()];
    let mut nodes: Vec<_> = layers.iter().flat_map(|layer| &layer.nodes).collect();
    nodes.sort_by_key(|node| node.index);
    MemberPlan {
        layers: layers.iter().map(|layer| layer.name.clone()).collect(),
        nodes: nodes.into_iter().map(|node| node.name.clone()).collect(),
        inputs: slice_inputs(composed, range),
        outputs: slice_outputs(composed, range),
        threads: share.threads() as u32,
    }
}

/// Places of cuts by when they can run: those of one wave wait for earlier waves alone.
fn waves(composed: &Problem, cuts: &[Range<usize>]) -> Vec<Vec<usize>> {
    let home = |layer: usize| cuts.iter().position(|range| range.contains(&layer));
    let mut level = vec![0; cuts.len()];
    // Writers come before readers, so one walk by reader settles all.
    for place in 0..cuts.len() {
        let reads = composed
            .tensors
            .iter()
            .filter(|tensor| tensor.consumers.iter().any(|consumer| cuts[place].contains(consumer)));
        let writers = reads.filter_map(|tensor| tensor.producer).filter_map(home);
        level[place] =
            writers.filter(|&writer| writer != place).map(|writer| level[writer] + 1).max().unwrap_or(0);
    }
    let mut waves = vec![Vec::new(); level.iter().max().map_or(0, |last| last + 1)];
    for (place, level) in level.into_iter().enumerate() {
        waves[level].push(place);
    }
    waves
}

/// The function at its best size for what the strategy looks for.
fn cheapest(
    composed: &Problem,
    model: &CostModel,
    strategy: &Strategy,
    constraints: &Constraints,
    cuts: &[Range<usize>],
    waves: &[Vec<usize>],
    threads: Option<usize>,
) -> Option<Segment> {
    let costs = Costs::new(composed, model);
    let mut stretch = costs.stretch(0..composed.layers.len())?;
    let spans: Vec<_> = cuts.iter().map(|range| costs.stretch(range.clone())).collect::<Option<_>>()?;
    // Of a wave all are live at once, where the stretch knows layers one after the other.
    let live = |place: &usize| spans[*place].peak_activation.0;
    let beside =
        |wave: &Vec<usize>| wave.iter().map(live).sum::<u64>() - wave.iter().map(live).max().unwrap_or(0);
    if !stretch.is_measured() {
        stretch.need = model.memory_limit(tranche_schema::ByteCount(
            stretch.need.0 + waves.iter().map(beside).max().unwrap_or(0),
        ));
    }
    let run = |share: MilliCpu| {
        let of_wave = |wave: &Vec<usize>| match wave.as_slice() {
            [alone] => costs.run_of(&spans[*alone], share).0,
            several => {
                let times = || several.iter().map(|&place| costs.run_of(&spans[place], ONE).0);
                let width = share.threads().max(1) as f64;
                times().fold(0.0, f64::max).max(times().sum::<f64>() / width) + MEMBER.0
            }
        };
        waves.iter().map(of_wave).sum::<f64>()
    };
    let mut offers = Vec::new();
    costs.offers_taking(&stretch, &run, &mut offers);
    offers.retain(|offer| {
        let width = offer.cpu.threads();
        width > 1
            && threads.is_none_or(|threads| threads == width)
            && constraints.max_memory_bytes.is_none_or(|most| offer.memory <= most)
    });
    let key = |offer: &Segment| match strategy {
        Strategy::Gillis => (offer.latency.0, offer.cost),
        _ => (offer.cost, offer.latency.0),
    };
    offers.into_iter().min_by(|a, b| {
        let (a, b) = (key(a), key(b));
        a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
    })
}
