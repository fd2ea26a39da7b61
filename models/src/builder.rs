//! Writes an ONNX graph node by node.
//!
//! Nodes and weights share one counter, which names them; small constants are
//! stored once. Weights come from the model's own random stream, in the order
//! in which the layers are written.

use crate::random::RandomStream;
use std::cell::RefCell;
use std::collections::HashMap;
use tranche_graph::Model;
use tranche_graph::onnx::attribute_proto::AttributeType;
use tranche_graph::onnx::tensor_shape_proto::{Dimension, dimension};
use tranche_graph::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, type_proto,
};
use tranche_schema::{AlignedBuffer, ElementType};

/// Constants below this many elements are stored once, however often they are asked for.
const SHARED_CONSTANT_ELEMENTS: usize = 64;

/// A tensor of the graph under construction, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value(pub(crate) String);

/// An attribute's value.
#[derive(Clone)]
pub(crate) enum Attribute {
    Integer(i64),
    Integers(Vec<i64>),
    Real(f32),
    Text(&'static str),
    Tensor(TensorProto),
}

/// Named attributes of a node, in any order.
pub(crate) type Attributes<'a> = &'a [(&'a str, Attribute)];

/// An elementwise function behind a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    None,
    Relu,
    /// min(max(x, 0), 6)
    Relu6,
    Sigmoid,
    Tanh,
    /// x · sigmoid(x)
    Silu,
    /// x/2 · (1 + erf(x/√2))
    Gelu,
    /// The approximation of GELU by tanh that GPT-2 was trained with.
    GeluTanh,
}

/// A convolution's parameters; [`Convolution::new`] keeps the extent ("same" padding).
#[derive(Clone, Copy)]
pub(crate) struct Convolution {
    pub(crate) channels_in: i64,
    pub(crate) channels_out: i64,
    pub(crate) kernel: [i64; 2],
    pub(crate) stride: i64,
    pub(crate) padding: [i64; 2],
    pub(crate) groups: i64,
    pub(crate) activation: Activation,
    /// Scale of the weights over that which keeps the variance.
    pub(crate) gain: f64,
    pub(crate) bias: bool,
}

impl Convolution {
    pub(crate) fn new(channels_in: i64, channels_out: i64, kernel: [i64; 2]) -> Self {
        Self {
            channels_in,
            channels_out,
            kernel,
            stride: 1,
            padding: [kernel[0] / 2, kernel[1] / 2],
            groups: 1,
            activation: Activation::Relu,
            gain: 1.41,
            bias: true,
        }
    }

    pub(crate) fn square(channels_in: i64, channels_out: i64, kernel: i64) -> Self {
        Self::new(channels_in, channels_out, [kernel, kernel])
    }

    pub(crate) fn stride(self, stride: i64) -> Self {
        Self { stride, ..self }
    }

    pub(crate) fn padding(self, padding: i64) -> Self {
        Self { padding: [padding, padding], ..self }
    }

    pub(crate) fn groups(self, groups: i64) -> Self {
        Self { groups, ..self }
    }

    pub(crate) fn activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    pub(crate) fn gain(self, gain: f64) -> Self {
        Self { gain, ..self }
    }

    pub(crate) fn without_bias(self) -> Self {
        Self { bias: false, ..self }
    }
}

type ConstantKey = (ElementType, Vec<i64>, Vec<u8>);

struct State {
    random: RandomStream,
    counter: usize,
    graph: GraphProto,
    constants: HashMap<ConstantKey, Value>,
}

/// A graph under construction.
///
/// Its methods take `&self`, so that layers nest as expressions do.
pub(crate) struct Builder {
    state: RefCell<State>,
}

/// What the bias of every seeded layer is drawn with: small against its activations.
const BIAS_FAN: f64 = 3e3;

impl Builder {
    /// An empty graph, with the random stream of its name.
    pub(crate) fn new(name: &str) -> Self {
        let graph = GraphProto { name: Some(name.to_owned()), ..GraphProto::default() };
        let random = RandomStream::of_model(name);
        Self { state: RefCell::new(State { random, counter: 0, graph, constants: HashMap::new() }) }
    }

    /// The finished model: opset 18, IR version 8.
    pub(crate) fn finish(self) -> Model {
        let opset = OperatorSetIdProto { domain: Some(String::new()), version: Some(18) };
        let proto = ModelProto {
            ir_version: Some(8),
            producer_name: Some("zoo".to_owned()),
            graph: Some(self.state.into_inner().graph),
            opset_import: vec![opset],
            ..ModelProto::default()
        };
        Model { proto, folder: None }
    }

    /// A graph input. `shape` is written as `N,3,224,224`: numbers and symbols.
    pub(crate) fn input(&self, name: &str, element_type: ElementType, shape: &str) -> Value {
        self.state.borrow_mut().graph.input.push(value_info(name, element_type, shape));
        Value(name.to_owned())
    }

    /// Names `value` as a real-valued graph output.
    pub(crate) fn output(&self, value: &Value, name: &str, shape: &str) {
        let mut state = self.state.borrow_mut();
        state.graph.node.push(NodeProto {
            input: vec![value.0.clone()],
            output: vec![name.to_owned()],
            name: Some(format!("{name}_out")),
            op_type: Some("Identity".to_owned()),
            ..NodeProto::default()
        });
        state.graph.output.push(value_info(name, ElementType::Float32, shape));
    }

    /// Makes the last output the first one.
    pub(crate) fn last_output_first(&self) {
        self.state.borrow_mut().graph.output.rotate_right(1);
    }

    /// Number of nodes so far.
    pub(crate) fn node_count(&self) -> usize {
        self.state.borrow().graph.node.len()
    }

    /// A node with one output.
    pub(crate) fn node(&self, operator: &str, inputs: &[&Value], attributes: Attributes) -> Value {
        let mut state = self.state.borrow_mut();
        state.counter += 1;
        let name = format!("{operator}_{}", state.counter);
        state.push_node(operator, inputs, attributes, &name, vec![name.clone()]);
        Value(name)
    }

    /// A node with `N` outputs.
    pub(crate) fn node_with<const N: usize>(
        &self,
        operator: &str,
        inputs: &[&Value],
        attributes: Attributes,
    ) -> [Value; N] {
        let mut state = self.state.borrow_mut();
        state.counter += 1;
        let name = format!("{operator}_{}", state.counter);
        let outputs: [Value; N] = std::array::from_fn(|index| Value(format!("{name}_{index}")));
        let names = outputs.iter().map(|value| value.0.clone()).collect();
        state.push_node(operator, inputs, attributes, &name, names);
        outputs
    }

    /// A stored tensor; one without a name is called `c` and the counter.
    pub(crate) fn constant(
        &self,
        element_type: ElementType,
        shape: &[i64],
        data: AlignedBuffer,
        name: Option<String>,
    ) -> Value {
        let mut state = self.state.borrow_mut();
        let elements: i64 = shape.iter().product();
        let key = (usize::try_from(elements).is_ok_and(|count| count < SHARED_CONSTANT_ELEMENTS))
            .then(|| (element_type, shape.to_vec(), data.as_ref().to_vec()));
        if let Some(known) = key.as_ref().and_then(|key| state.constants.get(key)) {
            return known.clone();
        }
        state.counter += 1;
        let value = Value(name.unwrap_or_else(|| format!("c{}", state.counter)));
        state.graph.initializer.push(TensorProto {
            dims: shape.to_vec(),
            data_type: Some(element_type.to_onnx()),
            name: Some(value.0.clone()),
            raw_data: Some(data.freeze()),
            ..TensorProto::default()
        });
        if let Some(key) = key {
            state.constants.insert(key, value.clone());
        }
        value
    }

    /// Whole numbers in a vector.
    pub(crate) fn integers(&self, values: &[i64]) -> Value {
        let extent = i64::try_from(values.len()).unwrap_or(i64::MAX);
        self.constant(ElementType::Int64, &[extent], bytes_of(values), None)
    }

    /// A whole number without dimensions.
    pub(crate) fn integer(&self, value: i64) -> Value {
        self.constant(ElementType::Int64, &[], bytes_of(&[value]), None)
    }

    /// A real number without dimensions.
    pub(crate) fn real(&self, value: f64) -> Value {
        #[expect(clippy::cast_possible_truncation, reason = "the graph computes in single precision")]
        let value = value as f32;
        self.constant(ElementType::Float32, &[], bytes_of(&[value]), None)
    }

    /// Stored reals of this shape under this name.
    pub(crate) fn reals(&self, shape: &[i64], name: &str, values: impl FnMut() -> f32) -> Value {
        self.constant(ElementType::Float32, shape, filled(shape, values), Some(name.to_owned()))
    }

    /// Seeded weights, uniform in ±`gain`·√(3/`fan`): variance `gain`²/`fan`.
    pub(crate) fn weight(&self, shape: &[i64], fan: f64, gain: f64) -> Value {
        let name = format!("w{}", self.next_number());
        self.weight_named(shape, fan, gain, &name)
    }

    /// [`Builder::weight`] under a name.
    #[expect(clippy::cast_possible_truncation, reason = "weights are single precision, as is their scaling")]
    pub(crate) fn weight_named(&self, shape: &[i64], fan: f64, gain: f64, name: &str) -> Value {
        let bound = gain * (3.0 / fan).sqrt();
        let (scale, shift) = ((2.0 * bound) as f32, bound as f32);
        let data = {
            let random = &mut self.state.borrow_mut().random;
            filled(shape, || random.uniform() as f32 * scale - shift)
        };
        self.constant(ElementType::Float32, shape, data, Some(name.to_owned()))
    }

    /// A seeded bias.
    pub(crate) fn bias(&self, extent: i64) -> Value {
        self.weight(&[extent], BIAS_FAN, 1.0)
    }

    /// Seeded reals, normal around `centre`, named `prefix` and the counter.
    #[expect(clippy::cast_possible_truncation, reason = "weights are single precision")]
    fn normal_weight(&self, extent: i64, centre: f64, deviation: f64, prefix: &str) -> Value {
        let name = format!("{prefix}{}", self.next_number());
        let data = {
            let random = &mut self.state.borrow_mut().random;
            filled(&[extent], || (centre + deviation * random.normal()) as f32)
        };
        self.constant(ElementType::Float32, &[extent], data, Some(name))
    }

    fn next_number(&self) -> usize {
        self.state.borrow().counter + 1
    }
}

/// Layers.
impl Builder {
    /// The elementwise function `activation`.
    pub(crate) fn activate(&self, x: Value, activation: Activation) -> Value {
        match activation {
            Activation::None => x,
            Activation::Relu => self.node("Relu", &[&x], &[]),
            Activation::Sigmoid => self.node("Sigmoid", &[&x], &[]),
            Activation::Tanh => self.node("Tanh", &[&x], &[]),
            Activation::Relu6 => self.node("Clip", &[&x, &self.real(0.0), &self.real(6.0)], &[]),
            Activation::Silu => self.multiply(&x, &self.node("Sigmoid", &[&x], &[])),
            Activation::Gelu => {
                let scaled = self.divide(&x, &self.real(std::f64::consts::SQRT_2));
                let error = self.node("Erf", &[&scaled], &[]);
                let doubled = self.multiply(&x, &self.add(&error, &self.real(1.0)));
                self.multiply(&doubled, &self.real(0.5))
            }
            Activation::GeluTanh => {
                let cube = self.node("Pow", &[&x, &self.real(3.0)], &[]);
                let inner = self.add(&x, &self.multiply(&cube, &self.real(0.044_715)));
                let inner = self.multiply(&inner, &self.real((2.0 / std::f64::consts::PI).sqrt()));
                let half = self.multiply(&x, &self.real(0.5));
                let tanh = self.node("Tanh", &[&inner], &[]);
                self.multiply(&half, &self.add(&tanh, &self.real(1.0)))
            }
        }
    }

    pub(crate) fn add(&self, a: &Value, b: &Value) -> Value {
        self.node("Add", &[a, b], &[])
    }

    pub(crate) fn subtract(&self, a: &Value, b: &Value) -> Value {
        self.node("Sub", &[a, b], &[])
    }

    pub(crate) fn multiply(&self, a: &Value, b: &Value) -> Value {
        self.node("Mul", &[a, b], &[])
    }

    pub(crate) fn divide(&self, a: &Value, b: &Value) -> Value {
        self.node("Div", &[a, b], &[])
    }

    pub(crate) fn matrix_multiply(&self, a: &Value, b: &Value) -> Value {
        self.node("MatMul", &[a, b], &[])
    }

    pub(crate) fn concat(&self, parts: &[&Value], axis: i64) -> Value {
        self.node("Concat", parts, &[("axis", Attribute::Integer(axis))])
    }

    pub(crate) fn transpose(&self, x: &Value, permutation: &[i64]) -> Value {
        self.node("Transpose", &[x], &[("perm", Attribute::Integers(permutation.to_vec()))])
    }

    pub(crate) fn reshape(&self, x: &Value, shape: &[i64]) -> Value {
        self.node("Reshape", &[x, &self.integers(shape)], &[])
    }

    pub(crate) fn unsqueeze(&self, x: &Value, axes: &[i64]) -> Value {
        self.node("Unsqueeze", &[x, &self.integers(axes)], &[])
    }

    /// Rows of `table` (axis 0).
    pub(crate) fn gather(&self, table: &Value, indices: &Value) -> Value {
        self.node("Gather", &[table, indices], &[])
    }

    /// The slice of `x` at `index` of `axis`, without that axis.
    pub(crate) fn select(&self, x: &Value, index: i64, axis: i64) -> Value {
        self.node("Gather", &[x, &self.integer(index)], &[("axis", Attribute::Integer(axis))])
    }

    /// The extent of `axis` of `x`, without dimensions.
    pub(crate) fn extent(&self, x: &Value, axis: i64) -> Value {
        let shape = self.node("Shape", &[x], &[]);
        self.select(&shape, axis, 0)
    }

    /// `N` equal parts along `axis`.
    pub(crate) fn split<const N: usize>(&self, x: &Value, axis: i64) -> [Value; N] {
        let count = i64::try_from(N).unwrap_or(i64::MAX);
        let attributes = [("axis", Attribute::Integer(axis)), ("num_outputs", Attribute::Integer(count))];
        self.node_with("Split", &[x], &attributes)
    }

    pub(crate) fn softmax(&self, x: &Value) -> Value {
        self.node("Softmax", &[x], &[("axis", Attribute::Integer(-1))])
    }

    /// A convolution with seeded weights and its activation.
    #[expect(clippy::cast_precision_loss, reason = "a fan is small")]
    pub(crate) fn convolution(&self, x: &Value, layer: &Convolution) -> Value {
        let [height, width] = layer.kernel;
        let group_channels = layer.channels_in / layer.groups;
        let fan = (group_channels * height * width) as f64;
        let weight = self.weight(&[layer.channels_out, group_channels, height, width], fan, layer.gain);
        let bias = layer.bias.then(|| self.bias(layer.channels_out));
        let inputs: Vec<&Value> = [Some(x), Some(&weight), bias.as_ref()].into_iter().flatten().collect();
        let [top, left] = layer.padding;
        let attributes = [
            ("kernel_shape", Attribute::Integers(layer.kernel.to_vec())),
            ("strides", Attribute::Integers(vec![layer.stride; 2])),
            ("pads", Attribute::Integers(vec![top, left, top, left])),
            ("group", Attribute::Integer(layer.groups)),
        ];
        self.activate(self.node("Conv", &inputs, &attributes), layer.activation)
    }

    /// x · W with seeded W of shape [`from`, `to`].
    #[expect(clippy::cast_precision_loss, reason = "a fan is small")]
    pub(crate) fn projection(&self, x: &Value, from: i64, to: i64, gain: f64) -> Value {
        self.matrix_multiply(x, &self.weight(&[from, to], from as f64, gain))
    }

    /// x · W + b as MatMul and Add, for any number of leading axes.
    pub(crate) fn linear(&self, x: &Value, from: i64, to: i64, gain: f64, activation: Activation) -> Value {
        let product = self.projection(x, from, to, gain);
        self.activate(self.add(&product, &self.bias(to)), activation)
    }

    /// x · Wᵀ + b as one Gemm, for a matrix x.
    #[expect(clippy::cast_precision_loss, reason = "a fan is small")]
    pub(crate) fn dense(&self, x: &Value, from: i64, to: i64, gain: f64, activation: Activation) -> Value {
        let weight = self.weight(&[to, from], from as f64, gain);
        let bias = self.bias(to);
        let y = self.node("Gemm", &[x, &weight, &bias], &[("transB", Attribute::Integer(1))]);
        self.activate(y, activation)
    }

    /// Batch normalisation with seeded statistics.
    #[expect(clippy::cast_possible_truncation, reason = "weights are single precision")]
    pub(crate) fn batch_normalization(&self, x: &Value, channels: i64) -> Value {
        let name = format!("bnv{}", self.next_number());
        let data = {
            let random = &mut self.state.borrow_mut().random;
            filled(&[channels], || (0.5 + random.uniform()) as f32)
        };
        let variance = self.constant(ElementType::Float32, &[channels], data, Some(name));
        let scale = self.normal_weight(channels, 1.0, 0.05, "bn");
        let bias = self.normal_weight(channels, 0.0, 0.05, "bn");
        let mean = self.normal_weight(channels, 0.0, 0.05, "bn");
        let inputs = [x, &scale, &bias, &mean, &variance];
        self.node("BatchNormalization", &inputs, &[("epsilon", Attribute::Real(1e-5))])
    }

    /// Seeded scale and shift of a layer normalisation.
    pub(crate) fn normalization_weights(&self, channels: i64) -> [Value; 2] {
        [self.normal_weight(channels, 1.0, 0.02, "g"), self.normal_weight(channels, 0.0, 0.02, "b")]
    }

    /// Layer normalisation over the last axis.
    pub(crate) fn layer_normalization(&self, x: &Value, weights: &[Value; 2], epsilon: f32) -> Value {
        let [scale, shift] = weights;
        let attributes = [("axis", Attribute::Integer(-1)), ("epsilon", Attribute::Real(epsilon))];
        self.node("LayerNormalization", &[x, scale, shift], &attributes)
    }

    pub(crate) fn max_pool(&self, x: &Value, kernel: i64, stride: i64, padding: i64) -> Value {
        self.node("MaxPool", &[x], &pooling(kernel, stride, padding))
    }

    /// Average pooling that counts the padding.
    pub(crate) fn average_pool(&self, x: &Value, kernel: i64, stride: i64, padding: i64) -> Value {
        let mut attributes = pooling(kernel, stride, padding).to_vec();
        attributes.push(("count_include_pad", Attribute::Integer(1)));
        self.node("AveragePool", &[x], &attributes)
    }

    pub(crate) fn flatten(&self, x: &Value) -> Value {
        self.node("Flatten", &[x], &[("axis", Attribute::Integer(1))])
    }

    /// Global average and 1000 classes.
    pub(crate) fn classifier(&self, x: &Value, channels: i64) -> Value {
        let pooled = self.node("GlobalAveragePool", &[x], &[]);
        self.dense(&self.flatten(&pooled), channels, 1000, 1.0, Activation::None)
    }
}

fn pooling(kernel: i64, stride: i64, padding: i64) -> [(&'static str, Attribute); 3] {
    [
        ("kernel_shape", Attribute::Integers(vec![kernel; 2])),
        ("strides", Attribute::Integers(vec![stride; 2])),
        ("pads", Attribute::Integers(vec![padding; 4])),
    ]
}

impl State {
    fn push_node(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        attributes: Attributes,
        name: &str,
        outputs: Vec<String>,
    ) {
        let mut attribute: Vec<_> = attributes.iter().map(|(name, value)| attribute(name, value)).collect();
        attribute.sort_by(|a, b| a.name.cmp(&b.name));
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|value| value.0.clone()).collect(),
            output: outputs,
            name: Some(name.to_owned()),
            op_type: Some(operator.to_owned()),
            attribute,
            ..NodeProto::default()
        });
    }
}

/// The attribute `name` of a node.
fn attribute(name: &str, value: &Attribute) -> AttributeProto {
    let mut proto = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
    let kind = match value {
        Attribute::Integer(value) => {
            proto.i = Some(*value);
            AttributeType::Int
        }
        Attribute::Integers(values) => {
            proto.ints.clone_from(values);
            AttributeType::Ints
        }
        Attribute::Real(value) => {
            proto.f = Some(*value);
            AttributeType::Float
        }
        Attribute::Text(text) => {
            proto.s = Some(text.as_bytes().to_vec());
            AttributeType::String
        }
        Attribute::Tensor(tensor) => {
            proto.t = Some(tensor.clone());
            AttributeType::Tensor
        }
    };
    proto.set_type(kind);
    proto
}

/// The declaration of an input or output; see [`Builder::input`] for `shape`.
fn value_info(name: &str, element_type: ElementType, shape: &str) -> ValueInfoProto {
    let dim = shape
        .split(',')
        .map(|extent| {
            let value = match extent.parse() {
                Ok(number) => dimension::Value::DimValue(number),
                Err(_) => dimension::Value::DimParam(extent.to_owned()),
            };
            Dimension { value: Some(value), denotation: None }
        })
        .collect();
    let tensor =
        type_proto::Tensor { elem_type: Some(element_type.to_onnx()), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), denotation: None }),
        ..ValueInfoProto::default()
    }
}

/// A tensor's bytes: little-endian, as ONNX files and the machines tranche runs on store them.
pub(crate) fn bytes_of<T: bytemuck::NoUninit>(values: &[T]) -> AlignedBuffer {
    AlignedBuffer::copy_of(bytemuck::must_cast_slice(values))
}

/// Reals of this shape, drawn in row-major order.
fn filled(shape: &[i64], mut draw: impl FnMut() -> f32) -> AlignedBuffer {
    let elements: i64 = shape.iter().product();
    let mut data = AlignedBuffer::zeroed(usize::try_from(elements).unwrap_or(0) * size_of::<f32>());
    let (chunks, _) = data.as_mut().as_chunks_mut::<4>();
    for chunk in chunks {
        *chunk = draw().to_le_bytes();
    }
    data
}
