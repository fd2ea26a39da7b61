//! Small models in code, for tests.
#![allow(dead_code, reason = "each test uses a part")]

use proptest::prelude::*;
use tranche_graph::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto,
};
use tranche_graph::{Graph, Model};

/// A model under construction.
#[derive(Default)]
pub struct Build {
    graph: GraphProto,
}

impl Build {
    pub fn input(mut self, name: &str) -> Self {
        self.graph.input.push(ValueInfoProto { name: Some(name.to_owned()), ..Default::default() });
        self
    }

    /// A float weight of zeros.
    pub fn weight(mut self, name: &str, dims: &[i64]) -> Self {
        let elements: i64 = dims.iter().product();
        self.graph.initializer.push(TensorProto {
            name: Some(name.to_owned()),
            dims: dims.to_vec(),
            data_type: Some(1),
            raw_data: Some(vec![0; elements as usize * 4].into()),
            ..Default::default()
        });
        self
    }

    /// A vector of int64.
    pub fn integers(mut self, name: &str, values: &[i64]) -> Self {
        self.graph.initializer.push(integers(name, values));
        self
    }

    /// One node as `y = Operator(a, b)`; several outputs as `y, z = Operator(a)`.
    pub fn node(self, line: &str) -> Self {
        self.node_with(line, Vec::new())
    }

    pub fn node_with(mut self, line: &str, attribute: Vec<AttributeProto>) -> Self {
        let (outputs, call) = line.split_once('=').expect("`outputs = Operator(inputs)`");
        let (operator, inputs) = call.trim().trim_end_matches(')').split_once('(').expect("a call");
        let names = |list: &str| -> Vec<String> {
            // Between commas, nothing is an input left out.
            let list = list.trim();
            if list.is_empty() {
                return Vec::new();
            }
            list.split(',').map(|name| name.trim().to_owned()).collect()
        };
        let output = names(outputs);
        self.graph.node.push(NodeProto {
            name: Some(format!("{}:{operator}", output[0])),
            op_type: Some(operator.to_owned()),
            input: names(inputs),
            output,
            attribute,
            ..Default::default()
        });
        self
    }

    /// Several nodes, one a line.
    pub fn nodes(self, lines: &str) -> Self {
        lines.lines().map(str::trim).filter(|line| !line.is_empty()).fold(self, Self::node)
    }

    pub fn output(mut self, name: &str) -> Self {
        self.graph.output.push(ValueInfoProto { name: Some(name.to_owned()), ..Default::default() });
        self
    }

    pub fn model(self) -> Model {
        let proto = ModelProto {
            ir_version: Some(8),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(17) }],
            graph: Some(self.graph),
            ..Default::default()
        };
        Model { proto, folder: None }
    }

    pub fn graph(self) -> Graph {
        Graph::new(self.model()).expect("a valid model")
    }
}

pub fn integers(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        dims: vec![values.len() as i64],
        data_type: Some(7),
        int64_data: values.to_vec(),
        ..Default::default()
    }
}

/// What a random node does with tensors picked among those before it.
#[derive(Clone, Debug)]
struct Step {
    operator: usize,
    picks: [prop::sample::Index; 2],
}

/// Random models of up to `largest` steps: products, gates, forks, shapes, constants.
pub fn any_graph(largest: usize) -> impl Strategy<Value = Graph> {
    let step = (0..14_usize, any::<[prop::sample::Index; 2]>())
        .prop_map(|(operator, picks)| Step { operator, picks });
    (prop::collection::vec(step, 1..largest), any::<[prop::sample::Index; 2]>())
        .prop_map(|(steps, extra)| assemble(&steps, &extra))
}

fn assemble(steps: &[Step], extra: &[prop::sample::Index]) -> Graph {
    let mut build = Build::default().input("x").input("y").weight("w", &[2, 2]).integers("i", &[0]);
    let mut tensors: Vec<String> = vec!["x".to_owned(), "y".to_owned()];
    for (index, step) in steps.iter().enumerate() {
        // Mostly recent tensors, so that chains come about.
        let recent = tensors.len().saturating_sub(4);
        let a = step.picks[0].get(&tensors[recent..]).clone();
        let b = step.picks[1].get(&tensors).clone();
        let t = format!("t{index}");
        build = match step.operator {
            0 => build.node(&format!("{t} = MatMul({a}, w)")),
            1 => build.node(&format!("{t} = MatMul({a}, {b})")),
            2 => build.node(&format!("{t} = Relu({a})")),
            3 => build.node(&format!("{t}s = Sigmoid({a})")).node(&format!("{t} = Mul({a}, {t}s)")),
            4 => build.node(&format!("{t} = Add({a}, w)")),
            5 => build.node(&format!("{t} = Add({a}, {b})")),
            6 => build.node(&format!("{t} = Softmax({a})")),
            7 => build.node(&format!("{t} = Concat({a}, {b})")),
            8 => build.node(&format!("{t}, {t}b = Split({a})")),
            9 => build.node(&format!("{t}s = Shape({b})")).node(&format!("{t} = Reshape({a}, {t}s)")),
            10 => build
                .node(&format!("{t}s = Shape({b})"))
                .node(&format!("{t}g = Gather({t}s, i)"))
                .node(&format!("{t}z = ConstantOfShape({t}g)"))
                .node(&format!("{t} = Add({a}, {t}z)")),
            11 => build
                .node(&format!("{t}c = Constant()"))
                .node(&format!("{t}k = Mul({t}c, w)"))
                .node(&format!("{t} = Mul({a}, {t}k)")),
            12 => build.node(&format!("{t} = Transpose({a})")),
            _ => build.node(&format!("{t} = GRU({a}, w, w)")),
        };
        tensors.push(t);
    }
    let mut outputs: Vec<&String> = extra.iter().map(|pick| pick.get(&tensors[2..])).collect();
    outputs.extend(tensors.last());
    outputs.sort();
    outputs.dedup();
    outputs.into_iter().fold(build, |build, output| build.output(output)).graph()
}
