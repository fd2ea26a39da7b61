use tranche_schema::{ByteCount, Digest, Millis};

/// A plan that cannot be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// The profile speaks of another model.
    #[error("the profile of `{model}` is of {}, but the model is {}", found.short(), expected.short())]
    StaleProfile {
        /// Name in the profile.
        model: String,
        /// Digest of the model given.
        expected: Digest,
        /// Digest in the profile.
        found: Digest,
    },
    /// The profile's layers are not those that the model coarsens to.
    #[error("layer {position} of the profile is `{found}`, but the model's is `{expected}`")]
    LayersDiffer {
        /// Place in the order, from 0.
        position: usize,
        /// Name by coarsening the model; `nothing` where it has fewer layers.
        expected: String,
        /// Name in the profile; `nothing` where it has fewer layers.
        found: String,
    },
    /// The profile has no CPU time for a layer.
    #[error("the profile has no CPU time for layer `{layer}`")]
    MissingTime {
        /// The layer.
        layer: String,
    },
    /// The profile does not know the shape of a tensor that a cut may send.
    #[error("the profile lacks tensor `{tensor}`, which crosses a border between layers")]
    MissingTensor {
        /// The tensor.
        tensor: String,
    },
    /// An output of the model is a stored weight, so that no slice computes it.
    #[error("output `{tensor}` is a stored weight: no slice computes it")]
    WeightOutput {
        /// The tensor.
        tensor: String,
    },
    /// The numbers do not describe a model that can be planned.
    #[error("{0}")]
    InvalidProblem(String),
    /// The text names no strategy.
    #[error("`{0}` is not a strategy")]
    UnknownStrategy(String),
    /// More parts than layers, or none.
    #[error("{asked} slices asked for, but the model has {layers} layers")]
    WrongPartCount {
        /// Parts asked for.
        asked: u32,
        /// Layers there are.
        layers: usize,
    },
    /// A cut after something that is neither a layer nor a tensor between layers.
    #[error(
        "cannot cut after `{name}`: no layer and no tensor between layers has this name{}",
        list(nearest)
    )]
    UnknownCut {
        /// The name given.
        name: String,
        /// Valid names closest to it.
        nearest: Vec<String>,
    },
    /// A cut after the last layer.
    #[error("cannot cut after `{name}`: nothing runs after it")]
    CutAtEnd {
        /// The name given.
        name: String,
    },
    /// A region cannot be split as the plan says.
    #[error("split `{split}`: {refusal}")]
    Split {
        /// The split.
        split: String,
        /// Why.
        refusal: tranche_graph::split::Refusal,
    },
    /// A slice of a plan holds other layers than the problem has there.
    #[error("slice `{slice}` of the plan is not a run of this model's layers")]
    OtherLayers {
        /// The slice.
        slice: String,
    },
    /// No plan satisfies the constraints.
    #[error("no plan satisfies the constraints: {0}")]
    Infeasible(Infeasible),
    /// The plan that the strategy makes breaks a constraint.
    #[error("the `{strategy}` plan breaks a constraint: {what}")]
    BreaksConstraint {
        /// The strategy.
        strategy: String,
        /// Which, and by how much.
        what: String,
    },
    /// A pass made a plan that breaks an invariant: a bug.
    #[error("pass `{pass}` broke the plan: {rule}")]
    BrokenPlan {
        /// The pass.
        pass: &'static str,
        /// The invariant, with the slice or tensor concerned.
        rule: String,
    },
}

/// The constraint that no plan meets, and its smallest relaxation that some plan meets.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Infeasible {
    /// Some part needs more memory than a function may have.
    #[error("max-memory is {asked}, but {place} needs {} MiB", needed.as_mebibytes_ceil())]
    MaxMemory {
        /// The bound.
        asked: ByteCount,
        /// The least bound that some plan meets.
        needed: ByteCount,
        /// The part that needs it, as `layer \`fc1\` alone`.
        place: String,
    },
    /// The weights of some part are more than a package may hold.
    #[error("a package may hold {asked} of weights, but {place} has {needed}")]
    Weights {
        /// The bound.
        asked: ByteCount,
        /// The least bound that some plan meets.
        needed: ByteCount,
        /// The part that has them.
        place: String,
    },
    /// What passes between some parts is more than a call may carry.
    #[error("a call may carry {asked} of tensors, but {place} takes or gives {needed}")]
    Payload {
        /// The bound.
        asked: ByteCount,
        /// The least bound that some plan meets.
        needed: ByteCount,
        /// The part that takes or gives them.
        place: String,
    },
    /// Some layer alone takes longer than a call may.
    #[error("a call may take {:.0} s, but layer `{layer}` alone takes {:.1} s", most.as_seconds(), needed.as_seconds())]
    CallTime {
        /// The bound.
        most: Millis,
        /// The layer.
        layer: String,
        /// What it takes at the size at which it is fastest.
        needed: Millis,
    },
    /// Functions that are always on would need too many replicas.
    #[error("at {rate} requests a second some layer needs more than {most} replicas")]
    Replicas {
        /// Most replicas of a function.
        most: u32,
        /// Requests a second.
        rate: f64,
    },
    /// The memory bound takes more slices than allowed.
    #[error(
        "max-slices is {asked}, but functions within max-memory take {needed} slices ({asked} need max-memory {} MiB)",
        memory.as_mebibytes_ceil()
    )]
    MaxSlices {
        /// The bound.
        asked: u32,
        /// Slices that it takes.
        needed: u32,
        /// The memory bound under which the slices asked for suffice.
        memory: ByteCount,
    },
    /// The model cannot be cut into as many slices.
    #[error("min-slices is {asked}, but the model can be cut into at most {possible}")]
    MinSlices {
        /// The bound.
        asked: u32,
        /// The most there can be.
        possible: u32,
    },
    /// The bounds on the number of slices exclude each other.
    #[error("min-slices {least} is above max-slices {most}")]
    SliceBounds {
        /// The lower bound.
        least: u32,
        /// The upper bound.
        most: u32,
    },
    /// The fastest plan is too slow.
    #[error("latency is bound to {asked}, but the fastest plan takes {:.1} ms", (needed.0 * 10.0).ceil() / 10.0)]
    Latency {
        /// The bound.
        asked: Millis,
        /// The least that some plan takes.
        needed: Millis,
    },
    /// The soonest answer to a request that meets no started function is too late.
    #[error("the latency of a cold request is bound to {asked}, but the soonest plan takes {:.1} ms", (needed.0 * 10.0).ceil() / 10.0)]
    ColdLatency {
        /// The bound.
        asked: Millis,
        /// The least that some plan takes.
        needed: Millis,
    },
    /// Both bounds on latency can be met, but not by one plan.
    #[error("latency is bound to {warm} and that of a cold request to {cold}, but plans that keep the second take {:.1} ms warm", (needed.0 * 10.0).ceil() / 10.0)]
    BothLatencies {
        /// The bound on a warm request.
        warm: Millis,
        /// The bound on a cold one.
        cold: Millis,
        /// The least warm latency within the bound on the cold one.
        needed: Millis,
    },
}

fn list(nearest: &[String]) -> String {
    if nearest.is_empty() {
        return String::new();
    }
    format!(
        "; the closest are {}",
        nearest.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    )
}

impl PlanError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::StaleProfile { .. } | Self::LayersDiffer { .. } | Self::MissingTensor { .. } => {
                "profile this model again with `tranche profile`"
            }
            Self::MissingTime { .. } => "profile the model on a CPU with `tranche profile`",
            Self::WeightOutput { .. } => {
                "remove this output from the model, or give it through an Identity node"
            }
            Self::InvalidProblem(_) => "profile the model again; if that does not help, please report it",
            Self::UnknownStrategy(_) => {
                "use optimal, similarity, similarity=N, uniform=N, unsplit, gillis or manual=NAME,NAME"
            }
            Self::WrongPartCount { .. } => "ask for at least one slice and at most one a layer",
            Self::UnknownCut { .. } | Self::CutAtEnd { .. } => "list the layers with `tranche inspect`",
            Self::Infeasible(Infeasible::MaxMemory { .. }) => "raise --max-memory to the amount named",
            Self::Infeasible(Infeasible::MaxSlices { .. }) => "raise --max-slices or --max-memory as named",
            Self::Infeasible(Infeasible::MinSlices { .. } | Infeasible::SliceBounds { .. }) => {
                "lower --min-slices"
            }
            Self::Infeasible(Infeasible::Weights { .. }) => {
                "raise --max-weights, or choose prices whose packages are larger"
            }
            Self::Infeasible(Infeasible::Payload { .. }) => {
                "choose prices of a platform whose calls carry more"
            }
            Self::Infeasible(Infeasible::CallTime { .. }) => {
                "choose prices of a platform whose calls may take longer"
            }
            Self::Infeasible(Infeasible::Replicas { .. }) => {
                "lower --rate, or choose prices with more replicas or `--billing per-request`"
            }
            Self::Infeasible(Infeasible::ColdLatency { .. }) => {
                "raise --cold-slo to the time named, or allow more slices"
            }
            Self::Infeasible(Infeasible::BothLatencies { .. }) => {
                "raise --slo to the time named, or --cold-slo"
            }
            Self::Infeasible(Infeasible::Latency { .. }) => {
                "raise the latency bound, the CPU share or --max-memory"
            }
            Self::BreaksConstraint { .. } => {
                "relax the constraint, or use --strategy optimal, which searches within the constraints"
            }
            Self::Split { .. } | Self::OtherLayers { .. } => {
                "partition this model again with `tranche partition`"
            }
            Self::BrokenPlan { .. } => "this is a bug in tranche; please report it",
        }
    }
}
