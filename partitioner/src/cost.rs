//! The cost model: every number that planning is based on, in one place.
//!
//! For a slice of layers `i..j` of a linear order:
//!
//! - **memory** = round up to the target's grid of
//!   `(base_memory + weights × weights_factor + largest × loading_factor +
//!   peak × activations_factor + buffers) × headroom`, at least the smallest size. `weights` counts each
//!   initialiser once, `largest` is the largest of them. `peak` is the highest sum, over the slice's layers, of the layer's own live bytes
//!   and of tensors made earlier *in the slice* that something still needs.
//!   `buffers` are the slice's input and output tensors, which the function
//!   holds as frames from the first byte received to the last sent.
//! - **run** = Σ layer medians × (whole run / Σ all layer medians): engines fuse
//!   across layers, and timing every layer costs time, so the sum is scaled to
//!   what the whole takes.
//!   Each layer has a part that threads divide, where that was measured (`crate::timing`).
//! - **hand-off** = `per_request` + Σ inputs (receive + decode) + Σ outputs
//!   (encode + send). A tensor that several later slices read is sent once by
//!   its writer, held by the driver, and received by each reader.
//! - **billed** = run + hand-off; **memory-time** = memory × billed; **cost** is what
//!   [`crate::Pricing`] charges for that at a size, and for objects that carry what no
//!   payload takes; **latency** of a plan = Σ (billed + `driver` + `call`).
//! - **start-up** = `start_fixed` + weights × `start_per_mebibyte`, a line through what was
//!   measured. A request that meets no started function waits for the longest remaining
//!   start, as all start when it arrives: with `r` the time at which it reaches a slice, the
//!   slice is done at `max(r, start-up) + billed + first-run excess`.
//!
//! A slice that was measured whole (the whole model always is) takes run and memory from
//! that: memory = the smallest limit under which it was seen to keep its speed, else round
//! up of (measured peak + output tensors, coded beside the engine's own) × headroom. One
//! that was measured as deployed takes its hand-off from that as well.
//!
//! **Channels and codecs** are chosen per tensor by the least estimated send +
//! receive time: raw inline, Zstandard inline, or raw in a mapped file. Tensors
//! from or to the caller travel inline and never in mapped files: the caller
//! sees only frames. The choice depends on the tensor alone, never on where the
//! other cuts are, which keeps costs of slices additive.
//!
//! **Lower bound** = Σ layers (memory of the layer alone, without buffers, ×
//! its run), with no hand-off. A slice's memory is at least that of each of its
//! layers, so no vertical plan under this model costs less. Where a measured
//! slice costs less than its layers' sum, the bound takes the measurement.

use crate::Problem;
use crate::{Pricing, StartLine};
use tranche_schema::{ByteCount, Channel, Codec, LinkProfile, MilliCpu, Millis, PlanWorkload, TensorCoding};

/// Largest factor from weight bytes to engine memory that is taken for weights:
/// the file's copy, a packed copy and a transient one. What a process holds
/// beyond that does not come from its weights.
const LARGEST_WEIGHTS_FACTOR: f64 = 3.0;
/// Activations that engines hold at most, per byte that is live at once.
const LARGEST_ACTIVATIONS_FACTOR: f64 = 2.5;

/// What hand-off takes where no profile measured it.
const DEFAULT_LINK: LinkProfile = LinkProfile {
    per_request_ms: Millis(0.3),
    driver_ms: Millis(0.3),
    inline_send_ms_per_mib: Millis(0.5),
    inline_receive_ms_per_mib: Millis(0.5),
    mapped_fixed_ms: Millis(0.05),
    mapped_send_ms_per_mib: Millis(0.25),
    mapped_receive_ms_per_mib: Millis(0.0),
};

/// An object's time and that of its mebibytes where no price file tells: tens of
/// milliseconds and about 75 MiB/s (Skyrise, arXiv 2501.07771), in microseconds.
const DEFAULT_OBJECT: (u64, u64) = (25_000, 13_000);

/// What one side of a transfer takes: the writer's or the reader's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChannelRate {
    /// Per tensor.
    pub fixed: Millis,
    /// Per mebibyte sent.
    pub send_per_mebibyte: Millis,
    /// Per mebibyte received.
    pub receive_per_mebibyte: Millis,
}

/// What a codec takes and gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CodecRate {
    /// Per raw mebibyte.
    pub encode_per_mebibyte: Millis,
    /// Per raw mebibyte.
    pub decode_per_mebibyte: Millis,
    /// Coded bytes per raw byte.
    pub ratio: f64,
}

/// Parameters of the cost model; the module's text has the formulas.
#[derive(Clone, Debug, PartialEq)]
pub struct CostModel {
    /// Memory of a function before it holds weights or activations.
    pub base_memory: ByteCount,
    /// Engine memory per byte of weights, at least 1.
    pub weights_factor: f64,
    /// Engine memory per byte of the highest sum of live activations, at least 1: an engine may hold
    /// more of them at once than the graph needs.
    pub activations_factor: f64,
    /// Engine memory per byte of the largest initialiser while it is loaded, beside
    /// what it holds afterwards: tract reads each into memory and then converts it.
    pub loading_factor: f64,
    /// Memory limit per byte of expected peak, at least 1.
    pub headroom: f64,
    /// Billed per request besides tensors.
    pub per_request: Millis,
    /// The driver's own time per slice; adds to latency, is not billed.
    pub driver: Millis,
    /// What a caller waits for each call beside what the function is billed.
    pub call: Millis,
    /// Tensors inside requests and responses.
    pub inline: ChannelRate,
    /// Tensors as objects in a store, for what no payload takes; `None` where there is none.
    pub object: Option<ChannelRate>,
    /// Tensors in files that functions of one host map; `None` where the target has none.
    pub mapped_file: Option<ChannelRate>,
    /// Zstandard; `None` never compresses.
    pub zstd: Option<CodecRate>,
    /// How long functions take to start.
    pub start: StartLine,
    /// Sizes and charges.
    pub pricing: Pricing,
    /// The requests planned for.
    pub workload: PlanWorkload,
    /// Where parts and branches that run at once are models in one function: the CPU that each
    /// has. `None` where each has a function of its own.
    pub at_once: Option<MilliCpu>,
    /// The lossy codec that tensors may take.
    pub lossy: Option<Codec>,
}

impl CostModel {
    /// The cost model of functions on the profiled machine.
    ///
    /// `weights_factor` explains what the whole model's process held beyond base
    /// memory, activations and the largest initialiser's copy, up to 3; `activations_factor` what is left, up to
    /// 2.5; the rest is base memory. Hand-off rates
    /// are those that the profile measured, else those of loopback HTTP with copies at about
    /// 2 GiB/s a side and of memory mapping; Zstandard's are those of level 1.
    #[must_use]
    pub fn of(problem: &Problem) -> Self {
        let whole = &problem.whole;
        let link = problem.link.unwrap_or(DEFAULT_LINK);
        let base = whole.base_memory_bytes.0;
        let loading_factor = if problem.engine == "tract" { 1.0 } else { 0.0 };
        let largest = problem.weights.iter().map(|weight| weight.0).max().unwrap_or(0);
        let loading = (largest as f64 * loading_factor) as u64;
        let held = whole
            .peak_memory_bytes
            .0
            .saturating_sub(base)
            .saturating_sub(whole.peak_activation_bytes.0)
            .saturating_sub(loading) as f64;
        let weights = whole.weights_bytes.0 as f64;
        let weights_factor =
            if weights > 0.0 { (held / weights).clamp(1.0, LARGEST_WEIGHTS_FACTOR) } else { 1.0 };
        let unexplained = (held - weights * weights_factor).max(0.0);
        let activations = whole.peak_activation_bytes.0 as f64;
        let activations_factor = match activations > 0.0 {
            true => (1.0 + unexplained / activations).min(LARGEST_ACTIVATIONS_FACTOR),
            false => 1.0,
        };
        let unexplained = (unexplained - activations * (activations_factor - 1.0)).max(0.0) as u64;
        Self {
            base_memory: ByteCount(base.saturating_add(unexplained)),
            weights_factor,
            activations_factor,
            loading_factor,
            headroom: 1.1,
            per_request: link.per_request_ms,
            driver: link.driver_ms,
            call: Millis(0.0),
            inline: ChannelRate {
                fixed: Millis(0.0),
                send_per_mebibyte: link.inline_send_ms_per_mib,
                receive_per_mebibyte: link.inline_receive_ms_per_mib,
            },
            object: None,
            mapped_file: Some(ChannelRate {
                fixed: link.mapped_fixed_ms,
                send_per_mebibyte: link.mapped_send_ms_per_mib,
                receive_per_mebibyte: link.mapped_receive_ms_per_mib,
            }),
            zstd: Some(CodecRate {
                encode_per_mebibyte: Millis(2.5),
                decode_per_mebibyte: Millis(1.0),
                ratio: 0.9,
            }),
            start: StartLine::of(problem),
            pricing: Pricing::memory_time(problem.profiled_cpu),
            workload: PlanWorkload::default(),
            at_once: None,
            lossy: None,
        }
    }

    /// The same functions where `pricing` holds, for `workload`: its sizes, charges and
    /// links. Files are mapped by functions of one host alone.
    #[must_use]
    pub fn priced(self, pricing: Pricing, workload: PlanWorkload) -> Self {
        let mut model = self;
        if !pricing.one_host {
            model.mapped_file = None;
        }
        let milliseconds = |micros: u64| Millis(micros as f64 / 1000.0);
        if let Some(link) = pricing.link {
            let payload = milliseconds(link.payload_us_per_mib);
            model.call = milliseconds(link.call_us);
            model.inline =
                ChannelRate { fixed: Millis(0.0), send_per_mebibyte: payload, receive_per_mebibyte: payload };
        }
        model.object = pricing.object.map(|_| {
            let (fixed, each) =
                pricing.link.map_or(DEFAULT_OBJECT, |link| (link.object_us, link.object_us_per_mib));
            ChannelRate {
                fixed: milliseconds(fixed),
                send_per_mebibyte: milliseconds(each),
                receive_per_mebibyte: milliseconds(each),
            }
        });
        Self { pricing, workload, ..model }
    }

    /// The same on functions of one host that have this CPU share, in memory-time.
    #[must_use]
    pub fn with_cpu(self, share: MilliCpu) -> Self {
        Self { pricing: Pricing::memory_time(share), ..self }
    }

    /// The memory limit for an expected peak of `bytes`, whether there are functions of as much or not.
    #[must_use]
    pub fn memory_limit(&self, bytes: ByteCount) -> ByteCount {
        let wanted = (bytes.0 as f64 * self.headroom.max(1.0)).ceil() as u64;
        self.pricing.unbounded_limit(ByteCount(wanted))
    }

    /// The fastest way for a tensor of `bytes` that may go; `internal` when both ends are
    /// slices. What no payload takes goes as an object, where there is a store.
    #[must_use]
    pub fn transport(&self, bytes: ByteCount, internal: bool) -> Transport {
        self.transport_coded(bytes, internal, std::iter::empty())
    }

    /// [`CostModel::transport`] of a tensor on which codecs were measured. Where none was, Zstandard is
    /// taken to do what it does to most activations.
    #[must_use]
    pub fn transport_coded<'a>(
        &self,
        bytes: ByteCount,
        internal: bool,
        codings: impl Iterator<Item = &'a TensorCoding> + Clone,
    ) -> Transport {
        if self.pricing.call_bytes.is_some_and(|most| bytes.0 > most)
            && let (Some(rate), Some((write, read))) = (self.object, self.pricing.object)
        {
            return Transport {
                codec: Codec::Raw,
                channel: Channel::Inline,
                send: rate.send(bytes, 1.0),
                receive: rate.receive(bytes, 1.0),
                object: Some((write, read)),
            };
        }
        let mut best = self.inline_transport(bytes, Codec::Raw);
        let guessed = self.zstd.filter(|_| codings.clone().next().is_none());
        let coded = codings
            .filter(|coding| coding.codec.is_lossless() || Some(coding.codec) == self.lossy)
            .map(|coding| {
                let rate = CodecRate {
                    encode_per_mebibyte: coding.encode_ms_per_mib,
                    decode_per_mebibyte: coding.decode_ms_per_mib,
                    ratio: coding.ratio,
                };
                Some(self.inline_coded(bytes, coding.codec, rate))
            });
        let others = [
            guessed.map(|rate| self.inline_coded(bytes, Codec::Zstd, rate)),
            self.mapped_file.filter(|_| internal).map(|rate| Transport {
                codec: Codec::Raw,
                channel: Channel::MappedFile,
                send: rate.send(bytes, 1.0),
                receive: rate.receive(bytes, 1.0),
                object: None,
            }),
        ];
        for other in others.into_iter().chain(coded).flatten() {
            if other.send + other.receive < best.send + best.receive {
                best = other;
            }
        }
        best
    }

    /// What `codec` and `channel` take for a tensor of `bytes`; parameters that
    /// this model lacks count as the inline ones, or as no compression.
    #[must_use]
    pub fn rate(&self, bytes: ByteCount, codec: Codec, channel: Channel) -> Transport {
        match (channel, self.mapped_file) {
            (Channel::MappedFile, Some(rate)) => Transport {
                codec,
                channel,
                send: rate.send(bytes, 1.0),
                receive: rate.receive(bytes, 1.0),
                object: None,
            },
            _ => Transport { channel, ..self.inline_transport(bytes, codec) },
        }
    }

    fn inline_coded(&self, bytes: ByteCount, codec: Codec, rate: CodecRate) -> Transport {
        let mebibytes = mebibytes(bytes);
        Transport {
            codec,
            channel: Channel::Inline,
            send: Millis(mebibytes * rate.encode_per_mebibyte.0) + self.inline.send(bytes, rate.ratio),
            receive: Millis(mebibytes * rate.decode_per_mebibyte.0) + self.inline.receive(bytes, rate.ratio),
            object: None,
        }
    }

    fn inline_transport(&self, bytes: ByteCount, codec: Codec) -> Transport {
        match (codec, self.zstd) {
            (Codec::Zstd, Some(rate)) => self.inline_coded(bytes, codec, rate),
            _ => Transport {
                codec,
                channel: Channel::Inline,
                send: self.inline.send(bytes, 1.0),
                receive: self.inline.receive(bytes, 1.0),
                object: None,
            },
        }
    }
}

impl ChannelRate {
    fn send(&self, bytes: ByteCount, ratio: f64) -> Millis {
        Millis(self.fixed.0 + mebibytes(bytes) * ratio * self.send_per_mebibyte.0)
    }

    fn receive(&self, bytes: ByteCount, ratio: f64) -> Millis {
        Millis(self.fixed.0 + mebibytes(bytes) * ratio * self.receive_per_mebibyte.0)
    }
}

fn mebibytes(bytes: ByteCount) -> f64 {
    bytes.0 as f64 / (1024.0 * 1024.0)
}

/// How a tensor travels and what that takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transport {
    /// How its bytes are coded.
    pub codec: Codec,
    /// How they travel.
    pub channel: Channel,
    /// Billed to the writer, once.
    pub send: Millis,
    /// Billed to each reader.
    pub receive: Millis,
    /// Charges of writing and of reading it, where it goes as an object.
    pub object: Option<(f64, f64)>,
}
