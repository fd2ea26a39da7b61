//! A model, split and whole.

#![allow(dead_code, reason = "rules use their own part")]

use crate::support::{Fixture, ModelBuilder, floats, run_once};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;
use tranche_engine::{Engine, LoadOptions, OnnxRuntimeEngine, TractEngine, open_onnxruntime};
use tranche_graph::shapes::TensorFacts;
use tranche_graph::split::{Division, Names, Refusal, apply, divide, even_bounds, write};
use tranche_graph::{Graph, onnx};
use tranche_schema::{ElementType, Join, Tensor, TensorSpec};

/// Largest difference between whole and parts, beside the output's largest magnitude.
const TOLERANCE: f32 = 1e-5;

/// A model and its inputs; the tensor to be split is its output.
pub struct Case {
    builder: ModelBuilder,
    inputs: Vec<(String, Tensor)>,
    version: i64,
    count: u64,
}

impl Case {
    pub fn new() -> Self {
        Self { builder: ModelBuilder::new(), inputs: Vec::new(), version: 17, count: 0 }
    }

    /// For another version of the operator set.
    pub fn version(mut self, version: i64) -> Self {
        self.version = version;
        self
    }

    /// Numbers between -1 and 1, other ones for each tensor.
    fn random(&mut self, shape: &[u64]) -> Tensor {
        self.count += 1;
        let values: Vec<f32> = (0..shape.iter().product::<u64>())
            .map(|place| {
                let mut word = ((self.count << 32) + place).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                (word >> 40) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect();
        floats(shape, &values)
    }

    /// An input of random numbers.
    pub fn input(mut self, name: &str, shape: &[u64]) -> Self {
        let tensor = self.random(shape);
        self.given(name, tensor)
    }

    /// An input of these values.
    pub fn given(mut self, name: &str, tensor: Tensor) -> Self {
        let shape: Vec<i64> = tensor.shape().iter().map(|&extent| extent as i64).collect();
        self.builder = self.builder.input(name, tensor.element_type(), &shape);
        self.inputs.push((name.to_owned(), tensor));
        self
    }

    /// A stored weight of random numbers.
    pub fn weight(mut self, name: &str, shape: &[u64]) -> Self {
        let tensor = self.random(shape);
        self.stored(name, &tensor)
    }

    /// A stored weight of these values.
    pub fn stored(mut self, name: &str, tensor: &Tensor) -> Self {
        self.builder = self.builder.weight(name, tensor);
        self
    }

    /// A node named after its first output.
    pub fn node(self, operator: &str, inputs: &[&str], outputs: &[&str]) -> Self {
        self.node_with(operator, inputs, outputs, vec![])
    }

    /// A node with attributes.
    pub fn node_with(
        mut self,
        operator: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: Vec<onnx::AttributeProto>,
    ) -> Self {
        self.builder = self.builder.node_with(outputs[0], operator, inputs, outputs, attributes);
        self
    }

    /// Puts the last node's operator in another set than the standard one.
    pub fn in_domain(mut self, domain: &str) -> Self {
        self.builder = self.builder.in_domain(domain);
        self
    }

    /// The model, which gives out `output`.
    pub fn output(mut self, output: &str, element_type: ElementType) -> Whole {
        self.builder = self.builder.output(output, element_type);
        Whole { model: self.builder.write_for(self.version), inputs: self.inputs, output: output.to_owned() }
    }

    /// The model, which gives out real numbers named `y`.
    pub fn done(self) -> Whole {
        self.output("y", ElementType::Float32)
    }
}

/// A model whose output is to be made by parts.
pub struct Whole {
    model: Fixture,
    inputs: Vec<(String, Tensor)>,
    output: String,
}

/// Integers as an attribute.
pub fn integers(name: &str, values: &[i64]) -> onnx::AttributeProto {
    onnx::AttributeProto {
        name: Some(name.into()),
        r#type: Some(onnx::attribute_proto::AttributeType::Ints as i32),
        ints: values.to_vec(),
        ..Default::default()
    }
}

/// A real number as an attribute.
pub fn real(name: &str, value: f32) -> onnx::AttributeProto {
    onnx::AttributeProto {
        name: Some(name.into()),
        r#type: Some(onnx::attribute_proto::AttributeType::Float as i32),
        f: Some(value),
        ..Default::default()
    }
}

/// Stored integers in a row, or of a shape.
pub fn indices(shape: &[u64], values: &[i64]) -> Tensor {
    Tensor::from_i64(shape.to_vec(), values).unwrap()
}

/// Places of `axis` up to each bound.
pub fn bounds(axis: u32, bounds: &[u64]) -> Join {
    Join::Concat { axis, bounds: bounds.to_vec() }
}

/// Text as an attribute.
pub fn text(name: &str, value: &str) -> onnx::AttributeProto {
    onnx::AttributeProto {
        name: Some(name.into()),
        r#type: Some(onnx::attribute_proto::AttributeType::String as i32),
        s: Some(value.as_bytes().to_vec()),
        ..Default::default()
    }
}

pub fn onnxruntime() -> &'static OnnxRuntimeEngine {
    static ENGINE: LazyLock<OnnxRuntimeEngine> = LazyLock::new(|| {
        open_onnxruntime(None).expect("these tests need ONNX Runtime: run `tranche engine add onnxruntime`")
    });
    &ENGINE
}

impl Whole {
    fn run(&self, engine: &dyn Engine, model: &Fixture) -> Tensor {
        let inputs: Vec<(&str, &Tensor)> =
            self.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let options = LoadOptions { threads: 1, ..LoadOptions::default() };
        run_once(engine, model, &inputs, &[&self.output], &options).unwrap().remove(0)
    }

    fn graph(&self) -> (Graph, TensorFacts) {
        let graph = Graph::load(&self.model.path).unwrap();
        let specs: Vec<TensorSpec> = self
            .inputs
            .iter()
            .map(|(name, tensor)| TensorSpec {
                name: name.clone(),
                element_type: tensor.element_type(),
                shape: tensor.shape().to_vec(),
            })
            .collect();
        let views: Vec<_> = self.inputs.iter().map(|(_, tensor)| tensor.view()).collect();
        let activations: Vec<String> = graph
            .tensors()
            .iter()
            .filter(|tensor| matches!(tensor.kind, tranche_graph::TensorKind::Activation(_)))
            .map(|tensor| tensor.name.clone())
            .collect();
        let found = onnxruntime().tensor_specs(&self.model.path, &specs, &views, &activations).unwrap();
        let measured: HashMap<String, TensorSpec> =
            found.into_iter().flatten().map(|spec| (spec.name.clone(), spec)).collect();
        let mut facts = TensorFacts::declared(&graph, &specs, &BTreeMap::new());
        facts.measure(&graph, &measured);
        (graph, facts)
    }

    /// Bytes of all weights, and of those that each part holds.
    pub fn weights(&self, division: &Division) -> (u64, Vec<u64>) {
        let (graph, facts) = self.graph();
        let stored = (0..graph.tensors().len() as u32).map(tranche_graph::TensorId);
        let all = stored
            .filter(|&tensor| graph.is_initializer(tensor))
            .filter_map(|tensor| facts.byte_size(tensor));
        (all.sum(), division.parts.iter().map(|part| part.weights_bytes(&facts)).collect())
    }

    /// Why the whole model cannot be divided so.
    pub fn refusal(&self, join: Join, parts: usize) -> Refusal {
        self.divide(join, parts, 1).expect_err("it was divided")
    }

    /// The whole model as parts that make its output so.
    pub fn divide(&self, join: Join, parts: usize, grain: u64) -> Result<Division, Refusal> {
        let (graph, facts) = self.graph();
        let nodes: BTreeSet<_> = graph.node_ids().collect();
        let seed = graph.find_tensor(&self.output).unwrap();
        divide(&graph, &facts, &nodes, seed, join, parts, grain)
    }

    /// Places of `axis`, as evenly as can be.
    pub fn even(&self, axis: u32, parts: usize) -> Join {
        let (graph, facts) = self.graph();
        let shape = &facts.spec(graph.find_tensor(&self.output).unwrap()).unwrap().shape;
        Join::Concat { axis, bounds: even_bounds(shape[axis as usize], parts) }
    }

    /// Divides the whole model into parts that make its output so, and compares what they make,
    /// joined, with what the whole makes, on both engines.
    pub fn agrees(&self, join: Join, parts: usize, grain: u64) -> Division {
        self.agrees_on(join, parts, grain, &[&TractEngine::new(), onnxruntime()])
    }

    /// The same on ONNX Runtime alone, for what tract lacks or reads another way.
    pub fn agrees_on_onnxruntime(&self, join: Join, parts: usize, grain: u64) -> Division {
        self.agrees_on(join, parts, grain, &[onnxruntime()])
    }

    fn agrees_on(&self, join: Join, parts: usize, grain: u64, engines: &[&dyn Engine]) -> Division {
        let division = self.divide(join, parts, grain).unwrap_or_else(|refusal| panic!("{refusal}"));
        let (graph, facts) = self.graph();
        let written = write(&graph, &facts, &division, Names { split: "s" });
        let split = apply(&graph, &written.patch).unwrap();
        let builder = ModelBuilder::new();
        let fixture = builder.write();
        split.model().save(&fixture.path).unwrap();
        for &engine in engines {
            let (whole, parts) = (self.run(engine, &self.model), self.run(engine, &fixture));
            assert_eq!(whole.shape(), parts.shape(), "{}", engine.name());
            assert_close(engine.name(), &whole, &parts);
        }
        division
    }
}

pub fn assert_close(engine: &str, whole: &Tensor, parts: &Tensor) {
    if whole.element_type() != ElementType::Float32 {
        assert_eq!(whole.data(), parts.data(), "{engine}");
        return;
    }
    let (whole, parts) = (whole.as_slice::<f32>().unwrap(), parts.as_slice::<f32>().unwrap());
    let scale = whole.iter().fold(1e-3_f32, |most, value| most.max(value.abs()));
    for (place, (one, other)) in whole.iter().zip(parts).enumerate() {
        assert!((one - other).abs() <= TOLERANCE * scale, "{engine}: {one} became {other} at {place}");
    }
}
