//! Constant folding.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod build;

use build::{Build, integers};
use std::collections::{BTreeMap, HashMap};
use tranche_graph::fold::{ConstantEvaluator, FoldLimit, FoldReport, fold_constants};
use tranche_graph::onnx::{AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto};
use tranche_graph::{Graph, Model};
use tranche_schema::{ElementType, Tensor};

/// An engine for sums of stored tensors and for zeros of a shape: `Add` with
/// broadcast extents of 1, and `ConstantOfShape`.
struct Sums;

impl ConstantEvaluator for Sums {
    fn evaluate(&self, model: &Model, outputs: &[String]) -> Result<Vec<Tensor>, String> {
        let graph = model.proto.graph.as_ref().ok_or("no graph")?;
        let mut known: HashMap<String, Tensor> = HashMap::new();
        for weight in &graph.initializer {
            let data = model.tensor_bytes(weight).map_err(|error| error.to_string())?;
            let element_type = ElementType::from_onnx(weight.data_type()).ok_or("no type")?;
            let shape = weight.dims.iter().map(|&extent| extent as u64).collect();
            let tensor = Tensor::new(element_type, shape, data).map_err(|error| error.to_string())?;
            known.insert(weight.name().to_owned(), tensor);
        }
        for node in &graph.node {
            let inputs: Vec<&Tensor> = node.input.iter().filter_map(|name| known.get(name)).collect();
            let made = match (node.op_type(), inputs.as_slice()) {
                ("Add", &[a, b]) => sum(a, b),
                ("ConstantOfShape", &[shape]) => zeros(shape),
                (operator, _) => Err(format!("cannot run {operator}")),
            }?;
            known.insert(node.output[0].clone(), made);
        }
        outputs.iter().map(|name| known.get(name).cloned().ok_or_else(|| format!("no {name}"))).collect()
    }
}

fn zeros(shape: &Tensor) -> Result<Tensor, String> {
    let shape: Vec<u64> =
        shape.as_slice::<i64>().ok_or("a shape is int64")?.iter().map(|&extent| extent as u64).collect();
    let elements: u64 = shape.iter().product();
    Tensor::from_f32(shape, &vec![0.0; elements as usize]).map_err(|error| error.to_string())
}

fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor, String> {
    if let (Some(x), Some(y)) = (a.as_slice::<i64>(), b.as_slice::<i64>()) {
        let values: Vec<i64> = x.iter().zip(y).map(|(x, y)| x + y).collect();
        return Tensor::from_i64(a.shape().to_vec(), &values).map_err(|error| error.to_string());
    }
    // A column and a row.
    let (x, y) = (a.as_slice::<f32>().ok_or("not float")?, b.as_slice::<f32>().ok_or("not float")?);
    let values: Vec<f32> = x.iter().flat_map(|x| y.iter().map(move |y| x + y)).collect();
    Tensor::from_f32(vec![x.len() as u64, y.len() as u64], &values).map_err(|error| error.to_string())
}

struct Broken;

impl ConstantEvaluator for Broken {
    fn evaluate(&self, _: &Model, _: &[String]) -> Result<Vec<Tensor>, String> {
        Err("the engine is out of order".to_owned())
    }
}

fn value(tensor: TensorProto) -> Vec<AttributeProto> {
    vec![AttributeProto { name: Some("value".to_owned()), t: Some(tensor), ..Default::default() }]
}

fn fold(graph: &Graph, evaluator: Option<&dyn ConstantEvaluator>) -> (Graph, FoldReport) {
    fold_constants(graph, evaluator, FoldLimit::default()).expect("folds")
}

fn node_names(graph: &Graph) -> Vec<&str> {
    graph.nodes().iter().map(|node| node.name.as_str()).collect()
}

fn integers_of(graph: &Graph, name: &str) -> Vec<i64> {
    let id = graph.find_tensor(name).expect("the tensor exists");
    let stored = graph.initializer(id).expect("it is stored");
    let bytes = graph.model().tensor_bytes(stored).expect("readable");
    bytes.chunks_exact(8).map(|chunk| i64::from_le_bytes(chunk.try_into().expect("8 bytes"))).collect()
}

#[test]
fn every_form_of_constant_becomes_an_initialiser() {
    let attribute = |name: &str| AttributeProto { name: Some(name.to_owned()), ..Default::default() };
    let forms = [
        AttributeProto { t: Some(integers("", &[3, 4])), ..attribute("value") },
        AttributeProto { f: Some(0.5), ..attribute("value_float") },
        AttributeProto { floats: vec![0.5, 1.5], ..attribute("value_floats") },
        AttributeProto { i: Some(7), ..attribute("value_int") },
        AttributeProto { ints: vec![7, 8, 9], ..attribute("value_ints") },
        AttributeProto { s: Some(b"a".to_vec()), ..attribute("value_string") },
        AttributeProto { strings: vec![b"a".to_vec()], ..attribute("value_strings") },
    ];
    let mut build = Build::default();
    for (index, form) in forms.into_iter().enumerate() {
        build = build
            .node_with(&format!("c{index} = Constant()"), vec![form])
            .node(&format!("y{index} = Shape(c{index})"))
            .output(&format!("y{index}"));
    }
    let (folded, report) = fold(&build.graph(), None);
    let summary: Vec<String> = folded
        .source()
        .initializer
        .iter()
        .map(|weight| {
            let bytes = folded.model().tensor_bytes(weight).expect("readable").len();
            format!("{} type {} {:?} {bytes} bytes", weight.name(), weight.data_type(), weight.dims)
        })
        .collect();
    assert_eq!(report.constants, 7);
    insta::assert_snapshot!(summary.join("\n"), @r"
    c0 type 7 [2] 16 bytes
    c1 type 1 [] 4 bytes
    c2 type 1 [2] 8 bytes
    c3 type 7 [] 8 bytes
    c4 type 7 [3] 24 bytes
    c5 type 8 [] 5 bytes
    c6 type 8 [1] 5 bytes
    ");
}

#[test]
fn sparse_constants_and_those_given_out_stay() {
    let sparse = AttributeProto { name: Some("sparse_value".to_owned()), ..Default::default() };
    let graph = Build::default()
        .node_with("s = Constant()", vec![sparse])
        .node("y = Relu(s)")
        .node_with("z = Constant()", value(integers("", &[1])))
        .output("y")
        .output("z")
        .graph();
    let (folded, report) = fold(&graph, Some(&Sums));
    assert_eq!(node_names(&folded), ["s:Constant", "y:Relu", "z:Constant"]);
    assert_eq!(report, FoldReport::default());
}

#[test]
fn identities_go_by_renaming() {
    let graph = Build::default()
        .input("x")
        .weight("w", &[2, 2])
        .nodes(
            "wi = Identity(w)
             a = MatMul(x, wi)
             b = Identity(a)
             c = Identity(b)
             d = Relu(c)
             y = Identity(d)
             z = Neg(d)
             from_input = Identity(x)
             from_weight = Identity(w)",
        )
        .output("y")
        .output("z")
        .output("from_input")
        .output("from_weight")
        .graph();
    let (folded, report) = fold(&graph, None);
    let lines: Vec<String> = folded
        .nodes()
        .iter()
        .map(|node| {
            format!("{} = {}({})", node.proto.output.join(", "), node.name, node.proto.input.join(", "))
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    a = a:MatMul(x, w)
    y = d:Relu(a)
    z = z:Neg(y)
    from_input = from_input:Identity(x)
    from_weight = from_weight:Identity(w)
    ");
    assert_eq!(report.removed_nodes, ["wi:Identity", "b:Identity", "c:Identity", "y:Identity"]);
    assert_eq!(report.identities, 4);
}

#[test]
fn one_tensor_given_out_under_two_names_keeps_an_identity() {
    let graph = Build::default()
        .input("x")
        .nodes("a = Relu(x)\n y = Identity(a)\n z = Identity(a)")
        .output("y")
        .output("z")
        .graph();
    let (folded, _) = fold(&graph, None);
    assert_eq!(node_names(&folded), ["a:Relu", "z:Identity"]);
    assert_eq!(folded.nodes()[1].proto.input, ["y"]);
}

#[test]
fn tensors_that_a_subgraph_captures_keep_their_names() {
    let body = GraphProto {
        node: vec![NodeProto {
            op_type: Some("Neg".to_owned()),
            input: vec!["b".to_owned()],
            output: vec!["inner".to_owned()],
            ..Default::default()
        }],
        output: vec![ValueInfoProto { name: Some("inner".to_owned()), ..Default::default() }],
        ..Default::default()
    };
    let branch = AttributeProto { name: Some("then_branch".to_owned()), g: Some(body), ..Default::default() };
    let graph = Build::default()
        .input("x")
        .input("condition")
        .nodes("a = Relu(x)\n b = Identity(a)")
        .node_with("y = If(condition)", vec![branch])
        .output("y")
        .graph();
    let (folded, _) = fold(&graph, None);
    assert_eq!(node_names(&folded), ["a:Relu", "b:Identity", "y:If"]);
}

#[test]
fn dropout_is_removed_where_it_drops_nothing() {
    let graph = Build::default()
        .input("x")
        .input("ratio")
        .input("mode")
        .nodes(
            "a = Dropout(x)
             b, mask = Dropout(a)
             c, used = Dropout(b)
             d = Dropout(c, ratio, mode)
             y = Relu(d)
             z = Not(used)",
        )
        .output("y")
        .output("z")
        .graph();
    let (folded, report) = fold(&graph, None);
    assert_eq!(report.removed_nodes, ["a:Dropout", "b:Dropout"]);
    assert_eq!(node_names(&folded), ["c:Dropout", "d:Dropout", "y:Relu", "z:Not"]);
}

fn with_constant_arithmetic() -> Graph {
    Build::default()
        .input("x")
        .node_with("k = Constant()", value(integers("", &[2, 3])))
        .integers("one", &[1, 1])
        .integers("unused", &[9])
        .nodes(
            "sum = Add(k, one)
             twice = Add(sum, sum)
             y = Reshape(x, twice)
             z = Tile(y, sum)",
        )
        .output("z")
        .graph()
}

#[test]
fn constant_parts_are_computed() {
    let (folded, report) = fold(&with_constant_arithmetic(), Some(&Sums));
    assert_eq!(node_names(&folded), ["y:Reshape", "z:Tile"]);
    assert_eq!(integers_of(&folded, "sum"), [3, 4]);
    assert_eq!(integers_of(&folded, "twice"), [6, 8]);
    assert_eq!(report.removed_weights, ["one", "unused", "k"]);
    assert_eq!((report.constants, report.evaluated), (1, 2));
    assert_eq!(fold(&folded, Some(&Sums)).1, FoldReport::default());
}

#[test]
fn a_failing_evaluator_leaves_the_nodes() {
    let (folded, report) = fold(&with_constant_arithmetic(), Some(&Broken));
    assert_eq!(node_names(&folded), ["sum:Add", "twice:Add", "y:Reshape", "z:Tile"]);
    assert_eq!(report.notes, ["sum:Add, twice:Add: left as it is, the engine is out of order"]);
}

#[test]
fn what_would_grow_stays() {
    let graph = Build::default()
        .input("x")
        .integers("large", &[1 << 40])
        .integers("small", &[4])
        .integers("one", &[1])
        .weight("w", &[2, 2])
        .nodes(
            "a = ConstantOfShape(large)
             b = ConstantOfShape(small)
             shape = Add(small, one)
             c = ConstantOfShape(shape)
             random = RandomNormal()
             q = DequantizeLinear(w, one)
             y = Sum(x, a, b, c, random, q)",
        )
        .output("y")
        .graph();
    let (folded, report) = fold(&graph, Some(&Sums));
    assert_eq!(
        node_names(&folded),
        ["a:ConstantOfShape", "random:RandomNormal", "q:DequantizeLinear", "y:Sum"]
    );
    assert_eq!(report.removed_nodes, ["b:ConstantOfShape", "shape:Add", "c:ConstantOfShape"]);
}

#[test]
fn a_result_beyond_the_limit_is_refused_and_noted() {
    let graph = Build::default()
        .input("x")
        .weight("column", &[100, 1])
        .weight("row", &[1, 100])
        .nodes("table = Add(column, row)\n y = Add(x, table)")
        .output("y")
        .graph();
    let (folded, report) =
        fold_constants(&graph, Some(&Sums), FoldLimit { growth_bytes: 1_000 }).expect("folds");
    assert_eq!(folded.nodes().len(), 2);
    assert_eq!(report.notes, ["table:Add: left as it is, since 40000 bytes would replace 800"]);
    assert_eq!(fold(&graph, Some(&Sums)).0.nodes().len(), 1);
}

#[test]
fn untouched_weights_share_their_bytes() {
    let graph = Build::default()
        .input("x")
        .weight("w", &[64, 64])
        .nodes("i = Identity(w)\n y = MatMul(x, i)")
        .output("y")
        .graph();
    let (folded, _) = fold(&graph, None);
    let place = |graph: &Graph| graph.source().initializer[0].raw_data().as_ptr();
    assert_eq!(place(&folded), place(&graph));
}

#[test]
fn unnamed_nodes_keep_the_names_they_had() {
    let mut model =
        Build::default().input("x").nodes("i = Identity(x)\n a = Relu(i)\n y = Relu(a)").output("y").model();
    for node in &mut model.proto.graph.as_mut().expect("a graph").node {
        node.name = None;
    }
    let graph = Graph::new(model).expect("valid");
    let before: BTreeMap<&str, &str> =
        graph.nodes().iter().map(|node| (node.proto.output[0].as_str(), node.name.as_str())).collect();
    let (folded, _) = fold(&graph, None);
    for node in folded.nodes() {
        assert_eq!(before[node.proto.output[0].as_str()], node.name);
    }
}
