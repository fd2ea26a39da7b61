//! What a node is to the planner: work, glue, or bookkeeping.

use crate::{Graph, Node, NodeId, TensorId, TensorKind};

/// What a node is to the planner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Depends on initialisers and constants only.
    Constant,
    /// Computes a shape, an extent or an index from the shapes of tensors.
    Shape,
    /// One pass over its inputs: follows the work it is next to.
    Light,
    /// Work of its own: at most one such node founds a layer, except in attention.
    Heavy,
}

impl Role {
    /// Whether the node computes no activation of any size.
    pub(super) fn is_weak(self) -> bool {
        matches!(self, Self::Constant | Self::Shape)
    }
}

/// How the output of a light node compares to its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Growth {
    Same,
    Shrinks,
    Grows,
}

const ACTIVATIONS: &[&str] = &[
    "Relu",
    "LeakyRelu",
    "PRelu",
    "Elu",
    "Selu",
    "Celu",
    "Clip",
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "Swish",
    "Mish",
    "Tanh",
    "Softplus",
    "Softsign",
    "ThresholdedRelu",
    "Shrink",
    "Gelu",
    "FastGelu",
    "QuickGelu",
];

const ELEMENTWISE: &[&str] = &[
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Pow",
    "Mod",
    "Min",
    "Max",
    "Mean",
    "Sum",
    "Equal",
    "Less",
    "Greater",
    "LessOrEqual",
    "GreaterOrEqual",
    "And",
    "Or",
    "Xor",
    "Not",
    "Where",
    "BitShift",
    "BitwiseAnd",
    "BitwiseOr",
    "BitwiseXor",
    "BitwiseNot",
    "Erf",
    "Exp",
    "Log",
    "Sqrt",
    "Reciprocal",
    "Abs",
    "Neg",
    "Sign",
    "Floor",
    "Ceil",
    "Round",
    "Sin",
    "Cos",
    "Tan",
    "Asin",
    "Acos",
    "Atan",
    "Sinh",
    "Cosh",
    "Asinh",
    "Acosh",
    "Atanh",
    "IsNaN",
    "IsInf",
    "CumSum",
    "Trilu",
    "BiasGelu",
    "Affine",
];

const NORMALISATIONS: &[&str] = &[
    "BatchNormalization",
    "LayerNormalization",
    "SimplifiedLayerNormalization",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
    "RMSNormalization",
    "InstanceNormalization",
    "GroupNormalization",
    "LpNormalization",
    "MeanVarianceNormalization",
    "LRN",
    "Softmax",
    "LogSoftmax",
    "Hardmax",
];

const LAYOUT: &[&str] = &[
    "Reshape",
    "Transpose",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Identity",
    "Dropout",
    "Cast",
    "CastLike",
    "DepthToSpace",
    "SpaceToDepth",
    "Concat",
    "Split",
    "ReverseSequence",
];

const SHRINKING: &[&str] = &[
    "Slice",
    "ReduceMean",
    "ReduceSum",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceSumSquare",
    "ArgMax",
    "ArgMin",
    "QuantizeLinear",
    "DynamicQuantizeLinear",
];

const GROWING: &[&str] = &[
    "Expand",
    "Tile",
    "Pad",
    "Resize",
    "Upsample",
    "ConstantOfShape",
    "Range",
    "EyeLike",
    "OneHot",
    "DequantizeLinear",
];

/// Operators whose output differs from run to run.
pub(crate) const RANDOM: &[&str] =
    &["RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"];

/// Operators that compute shapes out of shapes.
const SHAPE_ARITHMETIC: &[&str] = &[
    "Gather",
    "Slice",
    "Unsqueeze",
    "Squeeze",
    "Concat",
    "Cast",
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Mod",
    "Floor",
    "Ceil",
    "Neg",
    "Abs",
    "Sqrt",
    "Pow",
    "Min",
    "Max",
    "ReduceProd",
    "ReduceMax",
    "ReduceMin",
    "ReduceSum",
    "Equal",
    "Less",
    "Greater",
    "LessOrEqual",
    "GreaterOrEqual",
    "Not",
    "And",
    "Or",
    "Where",
    "Identity",
    "Reshape",
    "Split",
    "Reciprocal",
    "Exp",
    "Log",
    "Round",
];

/// Operators that turn a shape into a tensor of it, which may itself be a shape
/// (a vector of ones, say) or an activation.
const GENERATORS: &[&str] = &["ConstantOfShape", "Range", "Expand", "Tile", "EyeLike"];

/// Operators that only change how elements are laid out or named.
pub(super) const RESHAPES: &[&str] =
    &["Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Cast", "CastLike", "Dropout"];

pub(super) fn is_activation(node: &Node) -> bool {
    is_known(node) && ACTIVATIONS.contains(&node.operator())
}

pub(super) fn is_elementwise(node: &Node) -> bool {
    is_known(node) && ELEMENTWISE.contains(&node.operator())
}

/// Whether the operator's name means what the standard says.
fn is_known(node: &Node) -> bool {
    matches!(node.domain(), "" | "com.microsoft")
}

/// Roles of the nodes, and what they say about tensors.
pub(super) struct Roles<'g> {
    graph: &'g Graph,
    roles: Vec<Role>,
    /// Size of each tensor relative to [`UNIT`].
    sizes: Vec<u64>,
    given: Vec<bool>,
}

/// Relative size of what heavy work writes. Sizes are followed through light
/// nodes from there, so that layers do not depend on which shapes a file declares.
const UNIT: u64 = 1 << 20;
const LARGEST: u64 = 1 << 40;

impl<'g> Roles<'g> {
    pub(super) fn new(graph: &'g Graph) -> Self {
        let mut given = vec![false; graph.tensors().len()];
        for output in graph.outputs() {
            given[output.0 as usize] = true;
        }
        let mut generators = vec![true; graph.nodes().len()];
        let roles = loop {
            let roles = assign(graph, &generators);
            if !demote(graph, &roles, &given, &mut generators) {
                break roles;
            }
        };
        let mut this = Self { graph, roles, sizes: vec![UNIT; graph.tensors().len()], given };
        this.estimate_sizes();
        this
    }

    pub(super) fn role(&self, node: NodeId) -> Role {
        self.roles[node.0 as usize]
    }

    /// Whether a tensor is an activation or an input with data in it, rather
    /// than a weight, a constant or a shape.
    pub(super) fn is_strong(&self, tensor: TensorId) -> bool {
        match self.graph.tensor(tensor).kind {
            TensorKind::Input => true,
            TensorKind::Activation(node) => !self.role(node).is_weak(),
            TensorKind::Initializer(_) | TensorKind::SparseInitializer(_) => false,
        }
    }

    /// Strong tensors that a node reads; may repeat. What a shape node reads of
    /// a tensor is not its data, so it reads none.
    pub(super) fn strong_reads(&self, node: NodeId) -> impl Iterator<Item = TensorId> + '_ {
        let weak = self.role(node).is_weak();
        self.graph.node(node).reads().filter(move |&tensor| !weak && self.is_strong(tensor))
    }

    /// Nodes that read a tensor's data.
    pub(super) fn strong_consumers(&self, tensor: TensorId) -> impl Iterator<Item = NodeId> + '_ {
        let consumers = &self.graph.tensor(tensor).consumers;
        consumers.iter().copied().filter(|&consumer| !self.role(consumer).is_weak())
    }

    /// Whether the caller gets the tensor.
    pub(super) fn is_given(&self, tensor: TensorId) -> bool {
        self.given[tensor.0 as usize]
    }

    /// Size of a tensor relative to the others.
    pub(super) fn size(&self, tensor: TensorId) -> u64 {
        self.sizes[tensor.0 as usize]
    }

    fn estimate_sizes(&mut self) {
        for id in self.graph.node_ids() {
            if self.role(id) != Role::Light {
                continue;
            }
            let node = self.graph.node(id);
            let size = self.estimate(id, node);
            for output in node.writes() {
                self.sizes[output.0 as usize] = size.clamp(1, LARGEST);
            }
        }
    }

    fn estimate(&self, id: NodeId, node: &Node) -> u64 {
        let mut reads: Vec<TensorId> = self.strong_reads(id).collect();
        reads.sort_unstable();
        reads.dedup();
        if reads.is_empty() {
            return UNIT;
        }
        if node.operator() == "Concat" {
            return reads.iter().map(|&tensor| self.size(tensor)).sum();
        }
        // Of several inputs, those computed that end here stand for the output: the
        // others may come from far, where sizes were counted from another start.
        let largest_of = |wanted: &dyn Fn(TensorId) -> bool| {
            let wanted = reads.iter().copied().filter(|&tensor| wanted(tensor));
            wanted.map(|tensor| self.size(tensor)).max()
        };
        let largest = largest_of(&|tensor| {
            self.graph.producer(tensor).is_some() && self.strong_consumers(tensor).count() == 1
        })
        .or_else(|| largest_of(&|tensor| self.strong_consumers(tensor).count() == 1))
        .or_else(|| largest_of(&|_| true))
        .unwrap_or(UNIT);
        match growth(node) {
            _ if node.operator() == "Split" => largest / (node.writes().count() as u64).max(1),
            Growth::Same => largest,
            Growth::Shrinks => largest / 2,
            Growth::Grows => largest * 2,
        }
    }
}

fn growth(node: &Node) -> Growth {
    let operator = node.operator();
    if SHRINKING.contains(&operator) || operator == "Gather" {
        Growth::Shrinks
    } else if GROWING.contains(&operator) {
        Growth::Grows
    } else {
        Growth::Same
    }
}

fn assign(graph: &Graph, generators: &[bool]) -> Vec<Role> {
    let mut roles: Vec<Role> = Vec::with_capacity(graph.nodes().len());
    for (node, &may_generate) in graph.nodes().iter().zip(generators) {
        let producer_role = |tensor: TensorId| match graph.tensor(tensor).kind {
            TensorKind::Input => None,
            TensorKind::Initializer(_) | TensorKind::SparseInitializer(_) => Some(Role::Constant),
            TensorKind::Activation(producer) => {
                roles.get(producer.0 as usize).copied().filter(|role| role.is_weak())
            }
        };
        let sources: Option<Vec<Role>> = node.reads().map(producer_role).collect();
        roles.push(role_of(graph, node, sources.as_deref(), may_generate));
    }
    roles
}

/// `sources` are the roles behind a node's inputs when all are weak.
fn role_of(graph: &Graph, node: &Node, sources: Option<&[Role]>, may_generate: bool) -> Role {
    let operator = node.operator();
    let has_subgraph = node.proto.attribute.iter().any(|attribute| attribute.g.is_some());
    if !is_known(node) || has_subgraph {
        return Role::Heavy;
    }
    if matches!(operator, "Shape" | "Size") {
        let constant = sources.is_some_and(|sources| sources.iter().all(|&role| role == Role::Constant));
        return if constant { Role::Constant } else { Role::Shape };
    }
    if RANDOM.contains(&operator) {
        return Role::Light;
    }
    if let Some(sources) = sources {
        if sources.iter().all(|&role| role == Role::Constant) {
            return Role::Constant;
        }
        let arithmetic = SHAPE_ARITHMETIC.contains(&operator) && !reads_weight_matrix(graph, node);
        if arithmetic || (GENERATORS.contains(&operator) && may_generate) {
            return Role::Shape;
        }
    }
    let light = [ACTIVATIONS, ELEMENTWISE, NORMALISATIONS, LAYOUT, SHRINKING, GROWING]
        .iter()
        .any(|table| table.contains(&operator));
    if light || (operator == "Gather" && selects(graph, node)) { Role::Light } else { Role::Heavy }
}

/// A `Gather` out of an activation at places known beforehand, as the first
/// token of a sequence; not the look-up of many rows.
fn selects(graph: &Graph, node: &Node) -> bool {
    let [Some(data), Some(indices)] = node.inputs.as_slice() else { return false };
    let known = match graph.tensor(*indices).kind {
        TensorKind::Input => false,
        TensorKind::Initializer(_) | TensorKind::SparseInitializer(_) => true,
        TensorKind::Activation(producer) => graph.node(producer).operator() == "Constant",
    };
    known && !graph.is_initializer(*data)
}

/// Whether a node looks rows up in a stored table, which no shape computation does.
fn reads_weight_matrix(graph: &Graph, node: &Node) -> bool {
    node.operator() == "Gather"
        && node.inputs.first().copied().flatten().is_some_and(|data| {
            graph.is_initializer(data)
                && graph.tensor(data).shape.as_ref().is_some_and(|shape| shape.len() > 1)
        })
}

/// Finds generators whose tensor ends up as data; says whether there were new ones.
fn demote(graph: &Graph, roles: &[Role], given: &[bool], generators: &mut [bool]) -> bool {
    let mut changed = false;
    // Whether what a weak node writes is data to somebody.
    let mut is_data = vec![false; graph.nodes().len()];
    for (index, node) in graph.nodes().iter().enumerate().rev() {
        if !roles[index].is_weak() {
            continue;
        }
        is_data[index] = node.writes().any(|tensor| {
            given[tensor.0 as usize]
                || graph.tensor(tensor).consumers.iter().any(|&consumer| {
                    let place = consumer.0 as usize;
                    (!roles[place].is_weak() || is_data[place])
                        && !reads_as_shape(graph.node(consumer), tensor)
                })
        });
        let generates = roles[index] == Role::Shape && GENERATORS.contains(&node.operator());
        if generates && is_data[index] && std::mem::replace(&mut generators[index], false) {
            changed = true;
        }
    }
    changed
}

/// Whether a node reads this tensor only as a shape, extents, axes or places.
fn reads_as_shape(node: &Node, tensor: TensorId) -> bool {
    let first = match node.operator() {
        "Reshape" | "Expand" | "Tile" | "Slice" | "Unsqueeze" | "Squeeze" | "Pad" | "Resize" | "Split" => 1,
        "ConstantOfShape" | "Range" => 0,
        _ => return false,
    };
    !node.inputs.iter().take(first).any(|&input| input == Some(tensor))
}
