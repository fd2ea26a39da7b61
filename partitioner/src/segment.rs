use crate::{CostModel, Problem, Transport};
use std::collections::HashMap;
use std::ops::Range;
use tranche_schema::{ByteCount, GibSeconds, Millis, WholeProfile};

/// A run of adjacent layers in one function, priced.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// The layers.
    pub layers: Range<usize>,
    /// Memory limit.
    pub memory: ByteCount,
    /// Time of one warm run.
    pub run: Millis,
    /// Time to receive and send its tensors, per-request time included.
    pub handoff: Millis,
    /// Run and hand-off.
    pub billed: Millis,
    /// Memory limit × billed.
    pub cost: GibSeconds,
    /// What it adds to the latency of a plan.
    pub latency: Millis,
    /// Bytes of its initialisers, each once.
    pub weights: ByteCount,
    /// Highest sum of its live activations.
    pub peak_activation: ByteCount,
    /// How many tensors it gives to later layers or the caller.
    pub outputs: usize,
    /// Whether run and memory were measured for exactly these layers.
    pub measured: bool,
}

/// A problem and a cost model, prepared so that all segments from one start are
/// priced in one walk.
pub struct Costs<'a> {
    problem: &'a Problem,
    model: &'a CostModel,
    /// How each border tensor travels.
    transports: Vec<Transport>,
    /// Bytes of each border tensor.
    bytes: Vec<u64>,
    /// Border tensors that each layer reads.
    reads: Vec<Vec<usize>>,
    /// Border tensors that each layer writes.
    writes: Vec<Vec<usize>>,
    /// Last layer that reads each border tensor; past the end when the caller gets it.
    last_use: Vec<usize>,
    /// Live bytes of each layer less tensors that only pass over it.
    own_live: Vec<u64>,
    /// Run of each layer, scaled.
    run: Vec<f64>,
    measured: HashMap<(usize, usize), &'a WholeProfile>,
}

impl<'a> Costs<'a> {
    /// Prepares a problem that [`Problem::check`] accepts.
    #[must_use]
    pub fn new(problem: &'a Problem, model: &'a CostModel) -> Self {
        let count = problem.layers.len();
        let mut reads = vec![Vec::new(); count];
        let mut writes = vec![Vec::new(); count];
        for (index, tensor) in problem.tensors.iter().enumerate() {
            if let Some(producer) = tensor.producer {
                writes[producer].push(index);
            }
            for &consumer in &tensor.consumers {
                reads[consumer].push(index);
            }
        }
        let bytes: Vec<u64> = problem.tensors.iter().map(|tensor| tensor.spec.bytes().0).collect();
        let transports = problem
            .tensors
            .iter()
            .map(|tensor| {
                model.transport(tensor.spec.bytes(), tensor.producer.is_some() && !tensor.to_caller)
            })
            .collect();
        let last_use = problem
            .tensors
            .iter()
            .map(
                |tensor| if tensor.to_caller { count } else { tensor.consumers.last().copied().unwrap_or(0) },
            )
            .collect();
        let mut costs = Self {
            problem,
            model,
            transports,
            bytes,
            reads,
            writes,
            last_use,
            own_live: Vec::new(),
            run: scaled_runs(problem, model),
            measured: measured_segments(problem, model),
        };
        costs.own_live = costs.own_live_bytes();
        costs
    }

    /// The problem.
    #[must_use]
    pub fn problem(&self) -> &'a Problem {
        self.problem
    }

    /// The cost model.
    #[must_use]
    pub fn model(&self) -> &'a CostModel {
        self.model
    }

    /// How a border tensor travels, by its place in [`Problem::tensors`].
    #[must_use]
    pub fn transport(&self, tensor: usize) -> Transport {
        self.transports[tensor]
    }

    /// Run of one layer, scaled to the fused total.
    #[must_use]
    pub fn layer_run(&self, layer: usize) -> Millis {
        Millis(self.run[layer])
    }

    /// Every segment that starts at layer `first`, shortest first.
    #[must_use]
    pub fn row(&self, first: usize) -> Row<'_> {
        Row {
            costs: self,
            first,
            next: first,
            weight_seen: vec![false; self.problem.weights.len()],
            input_seen: vec![false; self.bytes.len()],
            run: 0.0,
            receive: 0.0,
            send: 0.0,
            weights: 0,
            largest: 0,
            inputs: 0,
            outputs: 0,
            alive: 0,
            peak: 0,
        }
    }

    /// One segment; `None` for an empty range or one past the end.
    #[must_use]
    pub fn segment(&self, layers: Range<usize>) -> Option<Segment> {
        self.row(layers.start).find(|segment| segment.layers.end == layers.end)
    }

    /// Memory-time that no vertical plan can go below (see [`crate::cost`]).
    #[must_use]
    pub fn lower_bound(&self) -> GibSeconds {
        let count = self.problem.layers.len();
        let mut bound = vec![0.0_f64; count + 1];
        for last in 0..count {
            let mut least = bound[last] + self.layer_bound(last).0;
            for (&(start, end), whole) in &self.measured {
                if end == last + 1 {
                    let memory = self.model.memory_limit(whole.peak_memory_bytes);
                    least = least.min(bound[start] + GibSeconds::of(memory, whole.run.median_ms).0);
                }
            }
            bound[last + 1] = least;
        }
        GibSeconds(bound[count])
    }

    fn layer_bound(&self, layer: usize) -> GibSeconds {
        let bytes =
            || self.problem.layers[layer].weights.iter().map(|&weight| self.problem.weights[weight].0);
        let (weights, largest) = (bytes().sum(), bytes().max().unwrap_or(0));
        let memory = self.expected_memory(weights, largest, self.own_live[layer], 0);
        GibSeconds::of(self.model.memory_limit(memory), self.layer_run(layer))
    }

    fn expected_memory(&self, weights: u64, largest: u64, peak: u64, buffers: u64) -> ByteCount {
        let weights = (weights as f64 * self.model.weights_factor).ceil() as u64;
        let loading = (largest as f64 * self.model.loading_factor).ceil() as u64;
        let parts = [self.model.base_memory.0, weights, loading, peak, buffers];
        ByteCount(parts.into_iter().fold(0, u64::saturating_add))
    }

    /// Live bytes of each layer within the whole, less model inputs and tensors
    /// of earlier layers that it does not read; at least its own tensors.
    fn own_live_bytes(&self) -> Vec<u64> {
        let mut alive: u64 = 0;
        let mut ending = vec![0_u64; self.problem.layers.len() + 1];
        for (index, tensor) in self.problem.tensors.iter().enumerate() {
            if tensor.producer.is_none() {
                alive += self.bytes[index];
                ending[self.last_use[index]] += self.bytes[index];
            }
        }
        let mut own = Vec::with_capacity(self.problem.layers.len());
        for (position, layer) in self.problem.layers.iter().enumerate() {
            let read: u64 = self.reads[position].iter().map(|&tensor| self.bytes[tensor]).sum();
            let written: u64 = self.writes[position].iter().map(|&tensor| self.bytes[tensor]).sum();
            let passing = alive - read;
            own.push(layer.peak_live.0.saturating_sub(passing).max(read + written));
            for &tensor in &self.writes[position] {
                ending[self.last_use[tensor].max(position)] += self.bytes[tensor];
            }
            alive = alive + written - ending[position];
        }
        own
    }
}

/// Layer medians scaled so that they add up to the whole model's run, then to
/// the planned CPU share.
fn scaled_runs(problem: &Problem, model: &CostModel) -> Vec<f64> {
    let sum: f64 = problem.layers.iter().map(|layer| layer.time.0).sum();
    let whole = problem.whole.run.median_ms.0;
    let fused = if sum > 0.0 && whole > 0.0 { whole / sum } else { 1.0 };
    let scale = fused * model.slowdown(problem.profiled_cpu);
    problem.layers.iter().map(|layer| layer.time.0 * scale).collect()
}

/// Measurements that stand for a segment at the planned CPU share. A later
/// measurement of the same layers replaces an earlier one.
fn measured_segments<'a>(
    problem: &'a Problem,
    model: &CostModel,
) -> HashMap<(usize, usize), &'a WholeProfile> {
    let position: HashMap<&str, usize> =
        problem.layers.iter().enumerate().map(|(index, layer)| (layer.name.as_str(), index)).collect();
    let usable = |whole: &WholeProfile| whole.run.median_ms.0 > 0.0 && whole.peak_memory_bytes.0 > 0;
    let mut measured = HashMap::new();
    if model.cpu == problem.profiled_cpu && usable(&problem.whole) {
        measured.insert((0, problem.layers.len()), &problem.whole);
    }
    for slice in &problem.measured {
        let Some(&start) = slice.layers.first().and_then(|name| position.get(name.as_str())) else {
            continue;
        };
        let end = start + slice.layers.len();
        let same = problem
            .layers
            .get(start..end)
            .is_some_and(|layers| layers.iter().zip(&slice.layers).all(|(layer, name)| layer.name == *name));
        if same && slice.cpu == model.cpu && usable(&slice.whole) {
            measured.insert((start, end), &slice.whole);
        }
    }
    measured
}

/// Segments from one start; see [`Costs::row`].
pub struct Row<'a> {
    costs: &'a Costs<'a>,
    first: usize,
    next: usize,
    weight_seen: Vec<bool>,
    input_seen: Vec<bool>,
    run: f64,
    receive: f64,
    send: f64,
    weights: u64,
    /// Bytes of its largest initialiser.
    largest: u64,
    inputs: u64,
    outputs: usize,
    /// Bytes of its outputs so far: made here, needed by a later layer or the caller.
    alive: u64,
    peak: u64,
}

impl Iterator for Row<'_> {
    type Item = Segment;

    fn next(&mut self) -> Option<Segment> {
        let costs = self.costs;
        let position = self.next;
        let layer = costs.problem.layers.get(position)?;
        self.next += 1;
        self.run += costs.run[position];
        for &weight in &layer.weights {
            if !std::mem::replace(&mut self.weight_seen[weight], true) {
                self.weights += costs.problem.weights[weight].0;
                self.largest = self.largest.max(costs.problem.weights[weight].0);
            }
        }
        let mut read_inside = 0;
        let mut ended = 0;
        for &tensor in &costs.reads[position] {
            let bytes = costs.bytes[tensor];
            let inside =
                costs.problem.tensors[tensor].producer.is_some_and(|producer| producer >= self.first);
            if !inside {
                if !std::mem::replace(&mut self.input_seen[tensor], true) {
                    self.inputs += bytes;
                    self.receive += costs.transports[tensor].receive.0;
                }
                continue;
            }
            read_inside += bytes;
            if costs.last_use[tensor] == position {
                ended += bytes;
                self.outputs -= 1;
                self.send -= costs.transports[tensor].send.0;
            }
        }
        self.peak = self.peak.max(costs.own_live[position] + (self.alive - read_inside));
        self.alive -= ended;
        for &tensor in &costs.writes[position] {
            if costs.last_use[tensor] > position {
                self.outputs += 1;
                self.alive += costs.bytes[tensor];
                self.send += costs.transports[tensor].send.0;
            }
        }
        Some(self.price())
    }
}

impl Row<'_> {
    fn price(&self) -> Segment {
        let costs = self.costs;
        let estimate = costs.expected_memory(self.weights, self.largest, self.peak, self.inputs + self.alive);
        let measured = costs.measured.get(&(self.first, self.next));
        let (run, peak) = measured.map_or((Millis(self.run), estimate), |whole| {
            // The measuring process made its outputs, and did not code them.
            let coded = ByteCount(whole.peak_memory_bytes.0.saturating_add(self.alive));
            (whole.run.median_ms, coded)
        });
        let memory = costs.model.memory_limit(peak);
        let handoff = Millis(costs.model.per_request.0 + self.receive + self.send.max(0.0));
        let billed = run + handoff;
        Segment {
            layers: self.first..self.next,
            memory,
            run,
            handoff,
            billed,
            cost: GibSeconds::of(memory, billed),
            latency: billed + costs.model.driver,
            weights: ByteCount(self.weights),
            peak_activation: ByteCount(self.peak),
            outputs: self.outputs,
            measured: measured.is_some(),
        }
    }
}
