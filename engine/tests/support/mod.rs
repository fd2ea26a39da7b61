//! Tiny models made in code, and their inputs.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod behaviour;

use prost::Message;
use std::path::{Path, PathBuf};
use tranche_engine::{Engine, EngineError, LoadOptions, OutputBuffer, Session};
use tranche_graph::onnx;
use tranche_schema::{ElementType, Tensor, TensorSpec, TensorView};

/// A model in a folder of its own.
pub struct Fixture {
    pub path: PathBuf,
    folder: tempfile::TempDir,
}

impl Fixture {
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Builds a graph node by node.
#[derive(Default)]
pub struct ModelBuilder(onnx::GraphProto);

impl ModelBuilder {
    pub fn new() -> Self {
        Self(onnx::GraphProto { name: Some("test".into()), ..Default::default() })
    }

    /// A dimension of −1 is symbolic.
    pub fn input(mut self, name: &str, element_type: ElementType, shape: &[i64]) -> Self {
        self.0.input.push(value_info(name, element_type, Some(shape)));
        self
    }

    pub fn output(mut self, name: &str, element_type: ElementType) -> Self {
        self.0.output.push(value_info(name, element_type, None));
        self
    }

    pub fn weight(mut self, name: &str, tensor: &Tensor) -> Self {
        self.0.initializer.push(tensor_proto(name, tensor));
        self
    }

    /// A weight in a file of its own beside the model.
    pub fn external(mut self, name: &str, tensor: &Tensor, file: &str) -> Self {
        let entry = |key: &str, value: String| onnx::StringStringEntryProto {
            key: Some(key.into()),
            value: Some(value),
        };
        self.0.initializer.push(onnx::TensorProto {
            raw_data: None,
            data_location: Some(onnx::tensor_proto::DataLocation::External as i32),
            external_data: vec![
                entry("location", file.into()),
                entry("offset", "0".into()),
                entry("length", tensor.data().len().to_string()),
            ],
            ..tensor_proto(name, tensor)
        });
        self
    }

    pub fn node(self, name: &str, operator: &str, inputs: &[&str], outputs: &[&str]) -> Self {
        self.node_with(name, operator, inputs, outputs, vec![])
    }

    pub fn node_with(
        mut self,
        name: &str,
        operator: &str,
        inputs: &[&str],
        outputs: &[&str],
        attribute: Vec<onnx::AttributeProto>,
    ) -> Self {
        self.0.node.push(onnx::NodeProto {
            name: (!name.is_empty()).then(|| name.into()),
            op_type: Some(operator.into()),
            input: inputs.iter().map(|name| (*name).into()).collect(),
            output: outputs.iter().map(|name| (*name).into()).collect(),
            attribute,
            ..Default::default()
        });
        self
    }

    /// Puts the last node's operator in another set than the standard one.
    pub fn in_domain(mut self, domain: &str) -> Self {
        self.0.node.last_mut().unwrap().domain = Some(domain.into());
        self
    }

    /// Gives the last node an axis.
    pub fn with_axis(mut builder: Self, axis: i64) -> Self {
        builder.0.node.last_mut().unwrap().attribute.push(integer("axis", axis));
        builder
    }

    pub fn encode(self) -> Vec<u8> {
        self.encode_for(17)
    }

    /// For a version of the operator set.
    pub fn encode_for(self, version: i64) -> Vec<u8> {
        let of =
            |domain: Option<String>, version| onnx::OperatorSetIdProto { domain, version: Some(version) };
        let domains: std::collections::BTreeSet<String> =
            self.0.node.iter().filter_map(|node| node.domain.clone()).collect();
        let others = domains.into_iter().map(|domain| of(Some(domain), 1));
        onnx::ModelProto {
            ir_version: Some(8),
            opset_import: [of(None, version)].into_iter().chain(others).collect(),
            graph: Some(self.0),
            ..Default::default()
        }
        .encode_to_vec()
    }

    pub fn write(self) -> Fixture {
        self.write_for(17)
    }

    pub fn write_for(self, version: i64) -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        std::fs::write(&path, self.encode_for(version)).unwrap();
        Fixture { path, folder }
    }
}

pub fn integer(name: &str, value: i64) -> onnx::AttributeProto {
    onnx::AttributeProto {
        name: Some(name.into()),
        r#type: Some(onnx::attribute_proto::AttributeType::Int as i32),
        i: Some(value),
        ..Default::default()
    }
}

fn value_info(name: &str, element_type: ElementType, shape: Option<&[i64]>) -> onnx::ValueInfoProto {
    use onnx::tensor_shape_proto::{Dimension, dimension::Value};
    let dimension = |extent: &i64| Dimension {
        value: Some(match u64::try_from(*extent) {
            Ok(_) => Value::DimValue(*extent),
            Err(_) => Value::DimParam("n".into()),
        }),
        ..Default::default()
    };
    let shape = shape.map(|shape| onnx::TensorShapeProto { dim: shape.iter().map(dimension).collect() });
    let tensor = onnx::type_proto::Tensor { elem_type: Some(element_type.to_onnx()), shape };
    onnx::ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(onnx::TypeProto {
            value: Some(onnx::type_proto::Value::TensorType(tensor)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn tensor_proto(name: &str, tensor: &Tensor) -> onnx::TensorProto {
    onnx::TensorProto {
        name: Some(name.into()),
        data_type: Some(tensor.element_type().to_onnx()),
        dims: tensor.shape().iter().map(|&extent| extent as i64).collect(),
        raw_data: Some(tensor.data().clone()),
        ..Default::default()
    }
}

pub fn spec(name: &str, element_type: ElementType, shape: &[u64]) -> TensorSpec {
    TensorSpec { name: name.into(), element_type, shape: shape.to_vec() }
}

pub fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).into()).collect()
}

pub fn floats(shape: &[u64], values: &[f32]) -> Tensor {
    Tensor::from_f32(shape.to_vec(), values).unwrap()
}

pub fn integers(shape: &[u64], values: &[i64]) -> Tensor {
    Tensor::from_i64(shape.to_vec(), values).unwrap()
}

/// Loads for these inputs, runs once, and gives the outputs that the engine made.
pub fn run_once(
    engine: &dyn Engine,
    model: &Fixture,
    inputs: &[(&str, &Tensor)],
    outputs: &[&str],
    options: &LoadOptions,
) -> Result<Vec<Tensor>, EngineError> {
    let specs: Vec<_> =
        inputs.iter().map(|(name, tensor)| spec(name, tensor.element_type(), tensor.shape())).collect();
    let mut session = engine.load(&model.path, &specs, &names(outputs), options)?;
    let views: Vec<_> = inputs.iter().map(|(_, tensor)| tensor.view()).collect();
    run(session.as_mut(), &views, outputs.len())
}

pub fn run(
    session: &mut dyn Session,
    inputs: &[TensorView<'_>],
    outputs: usize,
) -> Result<Vec<Tensor>, EngineError> {
    let mut buffers: Vec<_> = (0..outputs).map(|_| OutputBuffer::Engine(None)).collect();
    session.run(inputs, &mut buffers)?;
    let tensor = |buffer| match buffer {
        OutputBuffer::Engine(Some(tensor)) => tensor,
        other => panic!("no tensor in {other:?}"),
    };
    Ok(buffers.into_iter().map(tensor).collect())
}

/// `s = a + b·w`, `p = max(s, 0)` with a symbolic first dimension.
pub fn affine() -> ModelBuilder {
    ModelBuilder::new()
        .input("a", ElementType::Float32, &[-1, 2])
        .input("b", ElementType::Float32, &[-1, 2])
        .weight("w", &floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0]))
        .node("product", "MatMul", &["b", "w"], &["bw"])
        .node("sum", "Add", &["a", "bw"], &["s"])
        .node("positive", "Relu", &["s"], &["p"])
        .output("p", ElementType::Float32)
}
