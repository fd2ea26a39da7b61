//! A model, split and whole.

#![allow(dead_code, reason = "rules use their own part")]

use crate::support::{Fixture, ModelBuilder, floats, run_once};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;
use tranche_engine::{Engine, LoadOptions, OnnxRuntimeEngine, TractEngine, open_onnxruntime};
use tranche_graph::shapes::TensorFacts;
use tranche_graph::split::{Division, Names, Refusal, apply, divide, even_bounds, write};
use tranche_graph::{Graph, NodeId, TensorId, onnx};
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

    /// Stored integers in a row.
    pub fn integers(self, name: &str, values: &[i64]) -> Self {
        self.stored(name, &crate::support::integers(&[values.len() as u64], values))
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
        let model = self.builder.write_for(self.version);
        Whole { model, inputs: self.inputs, output: output.to_owned(), beside: Vec::new(), region: None }
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
    /// Outputs besides.
    beside: Vec<String>,
    /// Where only some of its nodes are split: those, and the tensor that is made by parts.
    region: Option<(BTreeSet<NodeId>, String)>,
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

/// Text as an attribute.
pub fn text(name: &str, value: &str) -> onnx::AttributeProto {
    onnx::AttributeProto {
        name: Some(name.into()),
        r#type: Some(onnx::attribute_proto::AttributeType::String as i32),
        s: Some(value.as_bytes().to_vec()),
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

/// Integers of a shape.
pub fn indices(shape: &[u64], values: &[i64]) -> Tensor {
    crate::support::integers(shape, values)
}

/// Places of `axis` up to each bound.
pub fn bounds(axis: u32, bounds: &[u64]) -> Join {
    Join::Concat { axis, bounds: bounds.to_vec() }
}

/// Real numbers as an attribute.
pub fn reals(name: &str, values: &[f32]) -> onnx::AttributeProto {
    onnx::AttributeProto {
        name: Some(name.into()),
        r#type: Some(onnx::attribute_proto::AttributeType::Floats as i32),
        floats: values.to_vec(),
        ..Default::default()
    }
}

/// Whether every part has a place.
pub fn is_filled(join: &Join) -> bool {
    let Join::Concat { bounds, .. } = join else { return true };
    bounds.windows(2).all(|pair| pair[0] < pair[1])
}

pub fn onnxruntime() -> &'static OnnxRuntimeEngine {
    static ENGINE: LazyLock<OnnxRuntimeEngine> = LazyLock::new(|| {
        open_onnxruntime(None).expect("these tests need ONNX Runtime: run `tranche engine add onnxruntime`")
    });
    &ENGINE
}

impl Whole {
    /// Nodes of a graph as a model of their own, given random numbers; `shapes` are those of the tensors
    /// that it reads and gives out. What its last node makes is to be made by parts.
    pub fn of(graph: &Graph, nodes: &[NodeId], shapes: &[(TensorId, &[u64])]) -> Self {
        let spec = |&(tensor, shape): &(TensorId, &[u64])| {
            let name = graph.tensor(tensor).name.clone();
            (name.clone(), TensorSpec { name, element_type: ElementType::Float32, shape: shape.to_vec() })
        };
        let specs: BTreeMap<String, TensorSpec> = shapes.iter().map(spec).collect();
        let extracted = graph.extract_with(nodes, "region", &specs).unwrap();
        let model = ModelBuilder::new().write();
        extracted.model.save(&model.path).unwrap();
        let mut numbers = Case::new();
        let inputs = extracted.inputs.iter();
        let inputs = inputs.map(|name| (name.clone(), numbers.random(&specs[name].shape))).collect();
        let last = graph.node(*nodes.last().unwrap());
        let output = graph.tensor(last.outputs[0].unwrap()).name.clone();
        let beside = extracted.outputs.into_iter().filter(|name| *name != output).collect();
        Self { model, inputs, output, beside, region: None }
    }

    /// What the model gives out, the output that is made by parts first.
    fn run(&self, engine: &dyn Engine, model: &Fixture) -> Vec<Tensor> {
        let inputs: Vec<(&str, &Tensor)> =
            self.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let options = LoadOptions { threads: 1, ..LoadOptions::default() };
        let outputs: Vec<&str> =
            std::iter::once(&self.output).chain(&self.beside).map(String::as_str).collect();
        run_once(engine, model, &inputs, &outputs, &options).unwrap()
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

    /// A model of the zoo, whose output of this name is to be made by parts.
    pub fn zoo(model: &str, inputs: Vec<(String, Tensor)>, output: &str) -> Self {
        let fixture = ModelBuilder::new().write();
        tranche_models::build(model).unwrap().save(&fixture.path).unwrap();
        Self { model: fixture, inputs, output: output.to_owned(), beside: Vec::new(), region: None }
    }

    /// With these of its nodes split, that the tensor is made by parts.
    pub fn with_region(mut self, pick: impl Fn(&Graph) -> (BTreeSet<NodeId>, TensorId)) -> Self {
        let graph = Graph::load(&self.model.path).unwrap();
        let (nodes, seed) = pick(&graph);
        self.region = Some((nodes, graph.tensor(seed).name.clone()));
        self
    }

    fn seed(&self) -> &str {
        self.region.as_ref().map_or(&self.output, |(_, seed)| seed)
    }

    /// Bytes of all weights, and of those that each part holds.
    pub fn weights(&self, division: &Division) -> (u64, Vec<u64>) {
        let (graph, facts) = self.graph();
        let stored = (0..graph.tensors().len() as u32).map(TensorId);
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
        let nodes = match &self.region {
            Some((nodes, _)) => nodes.clone(),
            None => graph.node_ids().collect(),
        };
        let seed = graph.find_tensor(self.seed()).unwrap();
        divide(&graph, &facts, &nodes, seed, join, parts, grain)
    }

    /// Places of `axis`, as evenly as can be.
    pub fn even(&self, axis: u32, parts: usize) -> Join {
        let (graph, facts) = self.graph();
        let shape = &facts.spec(graph.find_tensor(self.seed()).unwrap()).unwrap().shape;
        Join::Concat { axis, bounds: even_bounds(shape[axis as usize], parts) }
    }

    /// [`Whole::agrees_on`] both engines.
    pub fn agrees(&self, join: Join, parts: usize, grain: u64) -> Division {
        self.agrees_on(&[&TractEngine::new(), onnxruntime()], join, parts, grain)
    }

    /// [`Whole::agrees_on`] ONNX Runtime alone, for what tract lacks or reads another way.
    pub fn agrees_on_onnxruntime(&self, join: Join, parts: usize, grain: u64) -> Division {
        self.agrees_on(&[onnxruntime()], join, parts, grain)
    }

    /// Divides the whole model into parts that make its output so, and compares what they make,
    /// joined, with what the whole makes, on each of these engines.
    pub fn agrees_on(&self, engines: &[&dyn Engine], join: Join, parts: usize, grain: u64) -> Division {
        let division = self.divide(join, parts, grain).unwrap_or_else(|refusal| panic!("{refusal}"));
        let (graph, facts) = self.graph();
        let patch = write(&graph, &facts, &division, Names { split: "s" });
        let split = apply(&graph, &patch).unwrap();
        let builder = ModelBuilder::new();
        let fixture = builder.write();
        split.model().save(&fixture.path).unwrap();
        for &engine in engines {
            let (whole, parts) = (self.run(engine, &self.model), self.run(engine, &fixture));
            for (whole, parts) in whole.iter().zip(&parts) {
                assert_eq!(whole.shape(), parts.shape(), "{}", engine.name());
                assert_close(engine.name(), whole, parts);
            }
        }
        division
    }
}

fn assert_close(engine: &str, whole: &Tensor, parts: &Tensor) {
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
