//! Model-local functions.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failure in a test says itself what it is")]

mod common;

use common::*;
use tranche_graph::Graph;
use tranche_graph::onnx::attribute_proto::AttributeType;
use tranche_graph::onnx::*;

fn function(name: &str, inputs: &[&str], outputs: &[&str], nodes: Vec<NodeProto>) -> FunctionProto {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    FunctionProto {
        name: Some(name.to_owned()),
        domain: Some("local".to_owned()),
        input: names(inputs),
        output: names(outputs),
        node: nodes,
        opset_import: vec![opset("", 17), opset("local", 1)],
        ..FunctionProto::default()
    }
}

fn call(name: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto { domain: Some("local".to_owned()), ..node(name, inputs, outputs) }
}

fn with_functions(mut model: ModelProto, functions: Vec<FunctionProto>) -> ModelProto {
    model.opset_import.push(opset("local", 1));
    model.functions = functions;
    model
}

/// The nodes of the loaded model, one on a line.
fn nodes(graph: &Graph) -> String {
    let text = graph.to_string();
    let (_, rest) = text.split_once("nodes:\n").unwrap();
    rest.split_once("outputs:").unwrap().0.to_owned()
}

/// `Twice(v) = v * 2`, through a tensor named as the model's own.
fn twice() -> FunctionProto {
    function(
        "Twice",
        &["v"],
        &["r"],
        vec![node("Add", &["v", "v"], &["a"]), node("Identity", &["a"], &["r"])],
    )
}

#[test]
fn calls_are_replaced_by_bodies_of_their_own() {
    let calls = vec![call("Twice", &["x"], &["a"]), call("Twice", &["a"], &["y"])];
    let graph = load(&with_functions(model(calls, &["x"], &["y"], vec![]), vec![twice()])).unwrap();
    insta::assert_snapshot!(nodes(&graph), @r"
    a_node/a = Add(x, x)
    a = Identity(a_node/a)
    y_node/a = Add(a, a)
    y: float32[2, 3] = Identity(y_node/a)
    ");
    assert!(graph.proto().functions.is_empty());
    assert_eq!(graph.proto().opset_import, [opset("", 17)]);
}

#[test]
fn functions_call_functions() {
    let four =
        function("Four", &["v"], &["r"], vec![call("Twice", &["v"], &["m"]), call("Twice", &["m"], &["r"])]);
    let calls = vec![call("Four", &["x"], &["y"])];
    let graph = load(&with_functions(model(calls, &["x"], &["y"], vec![]), vec![four, twice()])).unwrap();
    let operators: Vec<&str> = graph.nodes().iter().map(|node| node.operator()).collect();
    assert_eq!(operators, ["Add", "Identity", "Add", "Identity"]);
}

#[test]
fn attributes_are_given_defaulted_or_left_out() {
    let mut soft = node("Softmax", &["v"], &["r"]);
    soft.attribute = vec![reference("axis", "dim", AttributeType::Int)];
    let mut plain = function("Soft", &["v"], &["r"], vec![soft]);
    plain.attribute = vec!["dim".to_owned()];
    let axes = |function: FunctionProto, given: Vec<AttributeProto>| {
        let calls = vec![with_attributes(call("Soft", &["x"], &["y"]), given)];
        let graph = load(&with_functions(model(calls, &["x"], &["y"], vec![]), vec![function])).unwrap();
        graph.nodes()[0].attribute("axis").map(AttributeProto::i)
    };
    let defaulted = FunctionProto { attribute_proto: vec![int("dim", 1)], ..plain.clone() };
    assert_eq!(axes(plain.clone(), vec![int("dim", 0)]), Some(0));
    assert_eq!(axes(plain, vec![]), None);
    assert_eq!(axes(defaulted.clone(), vec![]), Some(1));
    assert_eq!(axes(defaulted, vec![int("dim", 0)]), Some(0));
}

#[test]
fn attributes_of_the_wrong_type() {
    let mut soft = node("Softmax", &["v"], &["r"]);
    soft.attribute = vec![reference("axis", "dim", AttributeType::Int)];
    let given =
        AttributeProto { r#type: Some(AttributeType::Float as i32), i: None, f: Some(1.0), ..int("dim", 0) };
    let calls = vec![with_attributes(call("Soft", &["x"], &["y"]), vec![given])];
    let function = function("Soft", &["v"], &["r"], vec![soft]);
    assert_eq!(
        refusal(&with_functions(model(calls, &["x"], &["y"], vec![]), vec![function])),
        "node `y_node`: gives function `Soft` attribute `dim` of type FLOAT, it needs INT"
    );
}

#[test]
fn inside_subgraphs_and_with_subgraphs() {
    let then = branch(vec![node("Add", &["v", "own"], &["t"])], "t", vec![weight("own", &[2, 3], 1.0)]);
    let otherwise = branch(vec![call("Twice", &["v"], &["t"])], "t", vec![]);
    let choose = with_attributes(
        node("If", &["c"], &["r"]),
        vec![subgraph("then_branch", then), subgraph("else_branch", otherwise)],
    );
    let pick = function("Pick", &["c", "v"], &["r"], vec![choose]);
    let body = branch(vec![call("Pick", &["flag", "x"], &["picked"])], "picked", vec![]);
    let outer = with_attributes(
        node("If", &["flag"], &["y"]),
        vec![subgraph("then_branch", body.clone()), subgraph("else_branch", body)],
    );
    let mut whole = model(vec![outer], &["x"], &["y"], vec![]);
    whole.graph.as_mut().unwrap().input.push(info("flag", 9, &[]));
    let graph = load(&with_functions(whole, vec![pick, twice()])).unwrap();
    assert!(graph.proto().functions.is_empty());
    insta::assert_snapshot!(nodes(&graph));
}

#[test]
fn optional_inputs_and_outputs() {
    let clip = function(
        "Bound",
        &["v", "low"],
        &["r", "copy", "input"],
        vec![node("Clip", &["v", "low"], &["r"]), node("Neg", &["r"], &["copy"])],
    );
    let calls = vec![call("Bound", &["x"], &["y", "", "z"])];
    let graph = load(&with_functions(
        model(calls, &["x"], &["y", "z"], vec![]),
        vec![FunctionProto { output: vec!["r".to_owned(), "copy".to_owned(), "v".to_owned()], ..clip }],
    ))
    .unwrap();
    insta::assert_snapshot!(nodes(&graph), @r"
    y: float32[2, 3] = Clip(x, _)
    y_node/copy = Neg(y)
    z: float32[2, 3] = Identity(x)
    ");
}

#[test]
fn operator_sets_are_merged_or_refused() {
    let calls = || model(vec![call("Twice", &["x"], &["y"])], &["x"], &["y"], vec![]);
    let mut extended = twice();
    extended.opset_import.push(opset("com.example", 3));
    let graph = load(&with_functions(calls(), vec![extended])).unwrap();
    assert_eq!(graph.proto().opset_import, [opset("", 17), opset("com.example", 3)]);

    let newer = FunctionProto { opset_import: vec![opset("ai.onnx", 18)], ..twice() };
    assert_eq!(
        refusal(&with_functions(calls(), vec![newer])),
        "function `Twice` needs version 18 of operator set `ai.onnx`, the model imports 17"
    );
}

#[test]
fn recursion_and_other_mistakes() {
    let refuse = |name: &str, functions: Vec<FunctionProto>| {
        refusal(&with_functions(model(vec![call(name, &["x"], &["y"])], &["x"], &["y"], vec![]), functions))
    };
    let around = |name: &str, inner: &str| function(name, &["v"], &["r"], vec![call(inner, &["v"], &["r"])]);
    assert_eq!(
        refuse("F", vec![around("F", "G"), around("G", "F")]),
        "node `y_node/r_node/r_node`: function `F` calls itself"
    );
    assert_eq!(refuse("Twice", vec![twice(), twice()]), "function `Twice` is defined twice");
    assert_eq!(
        refuse("F", vec![function("F", &["v"], &["r"], vec![node("Relu", &["ghost"], &["r"])])]),
        "node `y_node`: function `F` reads `ghost`, which nothing in it defines before"
    );
    assert_eq!(
        refuse("F", vec![function("F", &[], &["r"], vec![])]),
        "node `y_node`: gives function `F` 1 inputs, it has 0"
    );
}

#[test]
fn doubling_functions_are_refused() {
    let level = |index: u32| {
        let inner = format!("F{}", index + 1);
        function(
            &format!("F{index}"),
            &["v"],
            &["r"],
            vec![call(&inner, &["v"], &["m"]), call(&inner, &["m"], &["r"])],
        )
    };
    let mut functions: Vec<FunctionProto> = (0..40).map(level).collect();
    functions.push(FunctionProto { name: Some("F40".to_owned()), ..twice() });
    let model = with_functions(model(vec![call("F0", &["x"], &["y"])], &["x"], &["y"], vec![]), functions);
    assert!(refusal(&model).contains("grow beyond all measure"));
}
