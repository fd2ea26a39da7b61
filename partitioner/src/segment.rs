use crate::horizontal::PartNeeds;
use crate::live::own_live_bytes;
use crate::measured::{Measured, measured_layers, measured_segments};
use crate::timing::{ShareFactors, Work};
use crate::{CostModel, Problem, Transport};
use std::collections::HashMap;
use std::ops::Range;
use tranche_schema::{ByteCount, GibSeconds, MilliCpu, Millis};

/// A run of adjacent layers in one function of one size, priced.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// The layers.
    pub layers: Range<usize>,
    /// Memory limit.
    pub memory: ByteCount,
    /// CPU share.
    pub cpu: MilliCpu,
    /// Time of one warm run.
    pub run: Millis,
    /// Time to receive and send its tensors, per-request time included.
    pub handoff: Millis,
    /// Run and hand-off.
    pub billed: Millis,
    /// What one request is charged, in the unit of the prices.
    pub cost: f64,
    /// Memory limit × billed.
    pub memory_time: GibSeconds,
    /// What it adds to the latency of a plan.
    pub latency: Millis,
    /// From the start of its process until it takes requests.
    pub start_up: Millis,
    /// How much longer its first run takes.
    pub first_run_excess: Millis,
    /// Bytes of its initialisers, each once.
    pub weights: ByteCount,
    /// Highest sum of its live activations.
    pub peak_activation: ByteCount,
    /// How many tensors it gives to later layers or the caller.
    pub outputs: usize,
    /// Whether run and memory were measured for exactly these layers.
    pub measured: bool,
}

/// A run of adjacent layers, before a size is chosen for its function.
#[derive(Clone, Debug)]
pub struct Stretch<'a> {
    /// The layers.
    pub layers: Range<usize>,
    /// The least memory limit that holds it, whether there are functions of as much or not.
    pub need: ByteCount,
    /// Bytes of its initialisers, each once.
    pub weights: ByteCount,
    /// Highest sum of its live activations.
    pub peak_activation: ByteCount,
    /// How many tensors it gives to later layers or the caller.
    pub outputs: usize,
    /// Most bytes that travel in one call to it or in its answer.
    pub payload: ByteCount,
    work: Work,
    handoff: f64,
    fees: f64,
    measured: Option<&'a Measured>,
    /// The CPU that it has whatever its function has: it shares that with others.
    own_cpu: Option<MilliCpu>,
}

impl Stretch<'_> {
    /// Whether run and memory were measured for exactly these layers.
    pub(crate) fn is_measured(&self) -> bool {
        self.measured.is_some()
    }
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
    /// Work of each layer, scaled to the fused total.
    work: Vec<Work>,
    factors: ShareFactors,
    measured: HashMap<(usize, usize), Measured>,
    /// What was measured of parts of splits, by name of the layer that a part is.
    measured_parts: HashMap<String, Measured>,
}

impl<'a> Costs<'a> {
    /// Prepares a problem that [`Problem::check`] accepts.
    #[must_use]
    pub fn new(problem: &'a Problem, model: &'a CostModel) -> Self {
        let count = problem.layers.len();
        let (reads, writes) = problem.touched();
        let bytes: Vec<u64> = problem.tensors.iter().map(|tensor| tensor.spec.bytes().0).collect();
        let transports = problem
            .tensors
            .iter()
            .map(|tensor| {
                let internal = tensor.producer.is_some() && !tensor.to_caller;
                let codings = problem.codings_of(&tensor.spec.name);
                model.transport_coded(tensor.spec.bytes(), internal, codings)
            })
            .collect();
        let last_use = problem
            .tensors
            .iter()
            .map(
                |tensor| if tensor.to_caller { count } else { tensor.consumers.last().copied().unwrap_or(0) },
            )
            .collect();
        let scale = fused_scale(problem.unsplit());
        let work = scaled_work(problem, scale);
        let whole = scaled_work(problem.unsplit(), scale).iter().fold(Work::default(), |mut sum, part| {
            sum.add(*part);
            sum
        });
        Self {
            problem,
            model,
            transports,
            own_live: own_live_bytes(problem, &bytes, &reads, &writes),
            bytes,
            reads,
            writes,
            last_use,
            factors: ShareFactors::of(&problem.whole, whole),
            work,
            measured: measured_segments(problem),
            measured_parts: measured_layers(problem),
        }
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

    /// Run of one layer at one CPU, scaled to the fused total.
    #[must_use]
    pub fn layer_run(&self, layer: usize) -> Millis {
        Millis(self.work[layer].at(MilliCpu(1000)))
    }

    /// Every stretch that starts at layer `first`, shortest first.
    #[must_use]
    pub fn row(&self, first: usize) -> Row<'_> {
        Row {
            costs: self,
            first,
            next: first,
            weight_seen: vec![false; self.problem.weights.len()],
            input_seen: vec![false; self.bytes.len()],
            work: Work::default(),
            receive: 0.0,
            send: 0.0,
            fees: 0.0,
            payload_in: 0,
            payload_out: 0,
            weights: 0,
            largest: 0,
            inputs: 0,
            outputs: 0,
            alive: 0,
            peak: 0,
        }
    }

    /// One stretch; `None` for an empty range or one past the end.
    #[must_use]
    pub fn stretch(&self, layers: Range<usize>) -> Option<Stretch<'_>> {
        self.row(layers.start).find(|stretch| stretch.layers.end == layers.end)
    }

    /// A part of layers that are split, as a stretch of its own.
    pub(crate) fn part(&self, layers: &Range<usize>, part: &PartNeeds) -> Stretch<'_> {
        let mut work = Work::default();
        for (own, share) in self.work[layers.clone()].iter().zip(&part.shares) {
            work.add(own.times(*share));
        }
        let internal = |bytes: &ByteCount| self.model.transport(*bytes, true);
        let received: u64 = part.receives.iter().map(|bytes| bytes.0).sum();
        let sent: u64 = part.sends.iter().map(|bytes| bytes.0).sum();
        let transports = || {
            part.receives
                .iter()
                .map(internal)
                .map(|way| (way.receive.0, way.object.map_or(0.0, |fees| fees.1)))
                .chain(
                    part.sends
                        .iter()
                        .map(internal)
                        .map(|way| (way.send.0, way.object.map_or(0.0, |fees| fees.0))),
                )
        };
        let measured = self.measured_parts.get(&part.name);
        let need = match measured {
            Some(Measured { limit: Some(limit), .. }) => self.model.pricing.unbounded_limit(*limit),
            Some(measured) => self.model.memory_limit(ByteCount(measured.peak.0.saturating_add(sent))),
            None => self.model.memory_limit(self.expected_memory(
                part.weights,
                part.largest,
                part.busiest,
                received + sent,
            )),
        };
        Stretch {
            layers: layers.clone(),
            need,
            weights: ByteCount(part.weights),
            peak_activation: ByteCount(part.busiest),
            outputs: part.sends.len(),
            payload: ByteCount(if self.model.object.is_some() { 0 } else { received.max(sent) }),
            work,
            handoff: self.model.per_request.0 + transports().map(|(time, _)| time).sum::<f64>(),
            fees: transports().map(|(_, fees)| fees).sum(),
            measured,
            own_cpu: self.model.at_once,
        }
    }

    /// The cheapest segment of a range, of equally cheap ones the fastest; where no
    /// function there is holds it, as if there were one. `None` for an empty range or one
    /// past the end.
    #[must_use]
    pub fn segment(&self, layers: Range<usize>) -> Option<Segment> {
        let stretch = self.stretch(layers)?;
        let mut offers = Vec::new();
        self.offers(&stretch, &mut offers);
        offers
            .into_iter()
            .min_by(|a, b| a.cost.total_cmp(&b.cost).then(a.latency.0.total_cmp(&b.latency.0)))
            .or_else(|| self.beyond(&stretch))
    }

    /// The stretch at each size worth looking at into `offers`, which is emptied first.
    pub fn offers(&self, stretch: &Stretch<'_>, offers: &mut Vec<Segment>) {
        offers.clear();
        let pricing = &self.model.pricing;
        if stretch.need > pricing.largest_memory() {
            return;
        }
        pricing.sizes_for(stretch.need, |memory, share| offers.extend(self.at(stretch, memory, share)));
    }

    /// Billed time of a range at the size at which it is fastest, whatever a call may take.
    pub(crate) fn fastest(&self, layers: Range<usize>) -> Millis {
        let Some(stretch) = self.stretch(layers) else { return Millis(0.0) };
        let mut least = f64::INFINITY;
        self.model.pricing.sizes_for(stretch.need, |_, share| {
            let (run, handoff) = self.times(&stretch, share);
            least = least.min(run.0 + handoff.0);
        });
        Millis(if least.is_finite() { least } else { 0.0 })
    }

    /// Interquartile range of a segment's measured billed time; 0 where it was not measured
    /// at this share.
    pub(crate) fn spread(&self, layers: &Range<usize>, share: MilliCpu) -> f64 {
        let measured = self.measured.get(&(layers.start, layers.end));
        measured.and_then(|measured| measured.spread(share)).unwrap_or(0.0)
    }

    /// The stretch at its need, though there is no function of as much.
    fn beyond(&self, stretch: &Stretch<'_>) -> Option<Segment> {
        let mut found = None;
        self.model.pricing.sizes_for(self.model.pricing.largest_memory().min(stretch.need), |_, share| {
            found = found.take().or_else(|| self.anyway(stretch, stretch.need, share));
        });
        found
    }

    /// The stretch in a function of this size; none where it takes longer than a call may, or
    /// would need more replicas than there may be.
    fn at(&self, stretch: &Stretch<'_>, memory: ByteCount, share: MilliCpu) -> Option<Segment> {
        let segment = self.anyway(stretch, memory, share)?;
        let late = self.model.pricing.longest_call.is_some_and(|most| segment.billed > most);
        (!late).then_some(segment)
    }

    /// [`Costs::offers`], with `run` in place of the estimate of its run at a share.
    pub(crate) fn offers_taking(
        &self,
        stretch: &Stretch<'_>,
        run: &dyn Fn(MilliCpu) -> f64,
        offers: &mut Vec<Segment>,
    ) {
        offers.clear();
        if stretch.need > self.model.pricing.largest_memory() {
            return;
        }
        self.model.pricing.sizes_for(stretch.need, |memory, share| {
            let times = self.times_taking(stretch, share, run);
            let segment = self.sized(stretch, memory, share, times);
            let most = self.model.pricing.longest_call;
            offers.extend(segment.filter(|segment| most.is_none_or(|most| segment.billed <= most)));
        });
    }

    /// Run of a stretch at a share.
    pub(crate) fn run_of(&self, stretch: &Stretch<'_>, share: MilliCpu) -> Millis {
        self.times(stretch, share).0
    }

    /// Run and hand-off of a stretch at a share.
    fn times(&self, stretch: &Stretch<'_>, share: MilliCpu) -> (Millis, Millis) {
        let share = stretch.own_cpu.map_or(share, |own| share.min(own));
        self.times_taking(stretch, share, &|share| stretch.work.at(share) * self.factors.at(share))
    }

    fn times_taking(
        &self,
        stretch: &Stretch<'_>,
        share: MilliCpu,
        estimate: &dyn Fn(MilliCpu) -> f64,
    ) -> (Millis, Millis) {
        let slower = slower(share);
        let estimated_handoff = stretch.handoff * slower;
        let (run, handoff) = match stretch.measured {
            Some(measured) => (
                measured.times.at(share, estimate),
                measured
                    .handoff(share)
                    .map_or(estimated_handoff, |(ms, exact)| if exact { ms } else { ms * slower }),
            ),
            None => (estimate(share), estimated_handoff),
        };
        (Millis(run), Millis(handoff))
    }

    /// [`Costs::at`], however long it takes.
    fn anyway(&self, stretch: &Stretch<'_>, memory: ByteCount, share: MilliCpu) -> Option<Segment> {
        self.sized(stretch, memory, share, self.times(stretch, share))
    }

    /// The stretch in a function of this size, with run and hand-off that take so long.
    fn sized(
        &self,
        stretch: &Stretch<'_>,
        memory: ByteCount,
        share: MilliCpu,
        (run, handoff): (Millis, Millis),
    ) -> Option<Segment> {
        let model = self.model;
        let slower = slower(share);
        let known = |value: fn(&Measured) -> Option<f64>| stretch.measured.and_then(value);
        let start_up =
            Millis(known(|measured| measured.start).unwrap_or(model.start.start(stretch.weights).0) * slower);
        let first_run_excess = Millis(
            known(|measured| measured.first_run_excess)
                .unwrap_or(model.start.first_run_excess(stretch.weights).0)
                * slower,
        );
        let billed = run + handoff;
        let cold = start_up + first_run_excess;
        let charge = model.pricing.charge(memory, share, billed, model.workload.cold_fraction, cold)?;
        Some(Segment {
            layers: stretch.layers.clone(),
            memory,
            cpu: share,
            run,
            handoff,
            billed,
            cost: charge + stretch.fees,
            memory_time: GibSeconds::of(memory, billed),
            latency: billed + model.driver + model.call,
            start_up,
            first_run_excess,
            weights: stretch.weights,
            peak_activation: stretch.peak_activation,
            outputs: stretch.outputs,
            measured: stretch.measured.is_some(),
        })
    }

    /// Cost that no vertical plan can go below (see [`crate::cost`]).
    #[must_use]
    pub fn lower_bound(&self) -> f64 {
        self.bound(|memory, share, time| self.model.pricing.least_charge(memory, share, time))
            + self.model.pricing.request_fee()
    }

    /// Memory-time that no vertical plan can go below.
    #[must_use]
    pub fn memory_time_bound(&self) -> GibSeconds {
        GibSeconds(self.bound(|memory, _, time| GibSeconds::of(memory, time).0))
    }

    /// Least sum over layers, or measured slices, of what running them alone takes.
    fn bound(&self, price: impl Fn(ByteCount, MilliCpu, Millis) -> f64) -> f64 {
        let unsplit = self.problem.unsplit();
        if !std::ptr::eq(unsplit, self.problem) {
            return Costs::new(unsplit, self.model).bound(price);
        }
        let count = self.problem.layers.len();
        let least = |need: ByteCount, time: &dyn Fn(MilliCpu) -> f64| {
            let mut least = f64::INFINITY;
            self.model.pricing.sizes_for(need, |memory, share| {
                least = least.min(price(memory, share, Millis(time(share))));
            });
            if least.is_finite() { least } else { 0.0 }
        };
        let mut measured: HashMap<usize, Vec<(usize, &Measured)>> = HashMap::new();
        for (&(start, end), slice) in &self.measured {
            measured.entry(end).or_default().push((start, slice));
        }
        let mut bound = vec![0.0_f64; count + 1];
        for last in 0..count {
            let estimate = |share: MilliCpu| self.work[last].at(share) * self.factors.at(share);
            let mut best = bound[last] + least(self.layer_need(last), &estimate);
            for (start, slice) in measured.get(&(last + 1)).into_iter().flatten() {
                let work = self.work[*start..=last].iter().fold(Work::default(), |mut sum, part| {
                    sum.add(*part);
                    sum
                });
                let time =
                    |share: MilliCpu| slice.times.at(share, |share| work.at(share) * self.factors.at(share));
                let need = slice.limit.unwrap_or_else(|| self.model.memory_limit(slice.peak));
                best = best.min(bound[*start] + least(self.model.pricing.unbounded_limit(need), &time));
            }
            bound[last + 1] = best;
        }
        bound[count]
    }

    fn layer_need(&self, layer: usize) -> ByteCount {
        let bytes =
            || self.problem.layers[layer].weights.iter().map(|&weight| self.problem.weights[weight].0);
        let (weights, largest) = (bytes().sum(), bytes().max().unwrap_or(0));
        self.model.memory_limit(self.expected_memory(weights, largest, self.own_live[layer], 0))
    }

    fn expected_memory(&self, weights: u64, largest: u64, peak: u64, buffers: u64) -> ByteCount {
        let weights = (weights as f64 * self.model.weights_factor).ceil() as u64;
        let loading = (largest as f64 * self.model.loading_factor).ceil() as u64;
        let peak = (peak as f64 * self.model.activations_factor).ceil() as u64;
        let parts = [self.model.base_memory.0, weights, loading, peak, buffers];
        ByteCount(parts.into_iter().fold(0, u64::saturating_add))
    }
}

/// How many times longer work takes at a share than at one CPU, for want of CPU.
fn slower(share: MilliCpu) -> f64 {
    (1000.0 / f64::from(share.0.max(1))).max(1.0)
}

/// What layer medians are to be multiplied with to add up to the whole model's run.
fn fused_scale(problem: &Problem) -> f64 {
    let sum: f64 = problem.layers.iter().map(|layer| layer.time.0).sum();
    let whole = problem.whole.run.median_ms.0;
    if sum > 0.0 && whole > 0.0 { whole / sum } else { 1.0 }
}

/// Layer medians, scaled.
fn scaled_work(problem: &Problem, fused: f64) -> Vec<Work> {
    let threads = problem.profiled_cpu.threads();
    problem
        .layers
        .iter()
        .map(|layer| Work::of(layer.time.0, threads, layer.parallel_share).times(fused))
        .collect()
}

/// Stretches from one start; see [`Costs::row`].
pub struct Row<'a> {
    costs: &'a Costs<'a>,
    first: usize,
    next: usize,
    weight_seen: Vec<bool>,
    input_seen: Vec<bool>,
    work: Work,
    receive: f64,
    send: f64,
    /// Charges of objects that it reads and writes.
    fees: f64,
    payload_in: u64,
    payload_out: u64,
    weights: u64,
    /// Bytes of its largest initialiser.
    largest: u64,
    inputs: u64,
    outputs: usize,
    /// Bytes of its outputs so far: made here, needed by a later layer or the caller.
    alive: u64,
    peak: u64,
}

impl<'a> Iterator for Row<'a> {
    type Item = Stretch<'a>;

    fn next(&mut self) -> Option<Stretch<'a>> {
        let costs = self.costs;
        let position = self.next;
        let layer = costs.problem.layers.get(position)?;
        self.next += 1;
        self.work.add(costs.work[position]);
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
                    self.receive_from_outside(tensor);
                }
                continue;
            }
            read_inside += bytes;
            if costs.last_use[tensor] == position {
                ended += bytes;
                self.give_out(tensor, false);
            }
        }
        self.peak = self.peak.max(costs.own_live[position] + (self.alive - read_inside));
        self.alive -= ended;
        for &tensor in &costs.writes[position] {
            if costs.last_use[tensor] > position {
                self.alive += costs.bytes[tensor];
                self.give_out(tensor, true);
            }
        }
        Some(self.stretch())
    }
}

impl<'a> Row<'a> {
    fn receive_from_outside(&mut self, tensor: usize) {
        let transport = &self.costs.transports[tensor];
        self.inputs += self.costs.bytes[tensor];
        self.receive += transport.receive.0;
        match transport.object {
            Some((_, read)) => self.fees += read,
            None => self.payload_in += self.costs.bytes[tensor],
        }
    }

    /// Counts a tensor among the outputs, or no longer.
    fn give_out(&mut self, tensor: usize, more: bool) {
        let transport = &self.costs.transports[tensor];
        let sign = if more { 1.0 } else { -1.0 };
        self.outputs = if more { self.outputs + 1 } else { self.outputs - 1 };
        self.send += sign * transport.send.0;
        match transport.object {
            Some((write, _)) => self.fees += sign * write,
            None if more => self.payload_out += self.costs.bytes[tensor],
            None => self.payload_out -= self.costs.bytes[tensor],
        }
    }

    /// Objects that a call or an answer needs though each tensor alone would fit its payload.
    fn spilled(&self, payload: u64) -> f64 {
        let most = self.costs.model.pricing.call_bytes.unwrap_or(u64::MAX).max(1);
        if payload <= most || self.costs.model.object.is_none() {
            0.0
        } else {
            (payload.div_ceil(most) - 1) as f64
        }
    }

    fn stretch(&self) -> Stretch<'a> {
        let costs = self.costs;
        let model = costs.model;
        let estimate = costs.expected_memory(self.weights, self.largest, self.peak, self.inputs + self.alive);
        let measured = costs.measured.get(&(self.first, self.next));
        let need = match measured {
            // It was seen to keep its speed under this limit.
            Some(Measured { limit: Some(limit), .. }) => model.pricing.unbounded_limit(*limit),
            // The measuring process made its outputs, and did not code them.
            Some(measured) => model.memory_limit(ByteCount(measured.peak.0.saturating_add(self.alive))),
            None => model.memory_limit(estimate),
        };
        let (into, out) = (self.spilled(self.payload_in), self.spilled(self.payload_out));
        let mut fees = self.fees.max(0.0);
        let mut handoff = model.per_request.0 + self.receive + self.send.max(0.0);
        if into + out > 0.0 {
            let (write, read) = model.pricing.object.unwrap_or_default();
            let each = model.object.map_or(0.0, |rate| rate.fixed.0);
            fees += (into + out) * (write + read);
            handoff += (into + out) * each;
        }
        let payload = if model.object.is_some() { 0 } else { self.payload_in.max(self.payload_out) };
        Stretch {
            layers: self.first..self.next,
            need,
            weights: ByteCount(self.weights),
            peak_activation: ByteCount(self.peak),
            outputs: self.outputs,
            payload: ByteCount(payload),
            work: self.work,
            handoff,
            fees,
            measured,
            own_cpu: None,
        }
    }
}
