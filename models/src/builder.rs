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
    Tensor(Box<TensorProto>),
}

/// Named attributes of a node, in any order.
pub(crate) type Attributes<'a> = &'a [(&'a str, Attribute)];

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
        self.weight_named(shape, fan, gain, self.next_name("w"))
    }

    /// [`Builder::weight`] under a name.
    #[expect(clippy::cast_possible_truncation, reason = "weights are single precision, as is their scaling")]
    pub(crate) fn weight_named(&self, shape: &[i64], fan: f64, gain: f64, name: impl Into<String>) -> Value {
        let bound = gain * (3.0 / fan).sqrt();
        let (scale, shift) = ((2.0 * bound) as f32, bound as f32);
        self.drawn(shape, name, |random| random.uniform() as f32 * scale - shift)
    }

    /// Stored reals drawn one by one from the model's random stream.
    pub(crate) fn drawn(
        &self,
        shape: &[i64],
        name: impl Into<String>,
        mut draw: impl FnMut(&mut RandomStream) -> f32,
    ) -> Value {
        let data = {
            let random = &mut self.state.borrow_mut().random;
            filled(shape, || draw(random))
        };
        self.constant(ElementType::Float32, shape, data, Some(name.into()))
    }

    /// `prefix` and the number of the next node or weight.
    pub(crate) fn next_name(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.state.borrow().counter + 1)
    }
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
            proto.t = Some((**tensor).clone());
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
