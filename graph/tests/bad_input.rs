//! Hostile and broken files end in an error that names what is wrong, and never
//! in a panic or a large allocation.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failure in a test says itself what it is")]

mod common;

use common::*;
use prost::Message as _;
use tranche_graph::onnx::attribute_proto::AttributeType;
use tranche_graph::onnx::*;
use tranche_graph::{ErrorKind, Graph, Model};

#[track_caller]
fn refuses(model: &ModelProto, message: &str) {
    assert_eq!(refusal(model), message);
}

fn graph_of(model: &mut ModelProto) -> &mut GraphProto {
    model.graph.as_mut().unwrap()
}

#[test]
fn truncated_anywhere() {
    // The operator sets come last, so that no proper prefix is a whole model.
    let bytes = encode(&chain());
    load(&chain()).unwrap();
    for length in 0..bytes.len() {
        let whole = Model::decode(bytes::Bytes::copy_from_slice(&bytes[..length])).and_then(Graph::new);
        assert!(whole.and_then(|graph| graph.verify()).is_err(), "prefix of {length} bytes");
    }
}

#[test]
fn not_a_protobuf() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.onnx");
    std::fs::write(&path, "just text").unwrap();
    let error = Graph::load(&path).unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Decode(_)), "{error}");
    assert!(error.to_string().contains("notes.onnx"), "{error}");
    assert!(error.hint().contains("truncated"));
}

#[test]
fn missing_file_and_folder_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("absent.onnx"), folder.path().to_owned()] {
        let error = Graph::load(&path).unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Io(_)), "{error}");
        assert_eq!(error.path.as_deref(), Some(path.as_path()));
    }
}

#[test]
fn cycle_names_a_node_on_it() {
    let nodes = vec![
        node("Relu", &["x"], &["y"]),
        node("Add", &["x", "c"], &["a"]),
        node("Relu", &["a"], &["b"]),
        node("Relu", &["b"], &["c"]),
        node("Relu", &["c"], &["after"]),
    ];
    refuses(
        &model(nodes, &["x"], &["y"], vec![]),
        "node `b_node`: is on a cycle: b_node → c_node → a_node → b_node",
    );
    refuses(
        &model(vec![node("Add", &["x", "y"], &["y"])], &["x"], &["y"], vec![]),
        "node `y_node`: is on a cycle: y_node → y_node",
    );
}

#[test]
fn disorder_is_sorted() {
    let mut disordered = chain();
    graph_of(&mut disordered).node.reverse();
    let graph = load(&disordered).unwrap();
    let operators: Vec<&str> = graph.nodes().iter().map(|node| node.operator()).collect();
    assert_eq!(operators, ["Add", "Relu"]);
    assert_eq!(graph.source().node[0].op_type(), "Add");
}

#[test]
fn disorder_in_a_subgraph_is_sorted() {
    let mut model = conditional();
    let choose = &mut graph_of(&mut model).node[1];
    let then = choose.attribute[0].g.as_mut().unwrap();
    then.node = vec![node("Relu", &["late"], &["t"]), node("Mul", &["a", "w"], &["late"])];
    let graph = load(&model).unwrap();
    let captures: Vec<&str> =
        graph.nodes()[1].captures.iter().map(|&id| graph.tensor(id).name.as_str()).collect();
    assert_eq!(captures, ["a", "w"]);
}

#[test]
fn names() {
    let twice = vec![node("Relu", &["x"], &["y"]), node("Neg", &["x"], &["y"])];
    let mut second = model(twice, &["x"], &["y"], vec![]);
    graph_of(&mut second).node[1].name = Some("second".to_owned());
    refuses(&second, "node `second`, tensor `y`: two tensors have this name");

    let weights = vec![weight("w", &[1], 0.0), weight("w", &[1], 0.0)];
    refuses(&model(vec![], &["x"], &["x"], weights), "tensor `w`: two tensors have this name");
    refuses(&model(vec![], &["x", "x"], &["x"], vec![]), "tensor `x`: the graph has two inputs of this name");
    refuses(
        &model(vec![node("Relu", &["ghost"], &["y"])], &["x"], &["y"], vec![]),
        "node `y_node`: reads `ghost`, which nothing defines",
    );
    refuses(
        &model(vec![], &["x"], &["ghost"], vec![]),
        "tensor `ghost`: the graph gives it out, but nothing computes it",
    );
}

#[test]
fn names_in_subgraphs() {
    let mut lost = conditional();
    graph_of(&mut lost).node[1].attribute[0].g.as_mut().unwrap().node[0].input[1] = "ghost".to_owned();
    refuses(&lost, "node `y_node`: reads `ghost`, which nothing defines");

    let mut twice = conditional();
    let then = graph_of(&mut twice).node[1].attribute[0].g.as_mut().unwrap();
    then.node.push(node("Relu", &["a"], &["t"]));
    refuses(&twice, "node `y_node`, tensor `t`: two tensors of a subgraph have this name");
}

#[test]
fn versions() {
    let mut model = chain();
    model.opset_import = vec![opset("", 24)];
    refuses(&model, "version 24 of the standard operator set; supported are 7 to 23");
    model.opset_import = vec![opset("ai.onnx", 6)];
    refuses(&model, "version 6 of the standard operator set; supported are 7 to 23");
    model.opset_import = vec![opset("", 17), opset("ai.onnx", 18)];
    refuses(&model, "operator set `ai.onnx` is imported in versions 17 and 18");
    model.opset_import = vec![opset("com.example", 1)];
    refuses(&model, "node `a_node`: is `Add` of operator set `ai.onnx`, which the model does not import");
    let mut model = chain();
    model.ir_version = Some(13);
    refuses(&model, "IR version 13; supported are 3 to 12");
}

#[test]
fn impossible_shapes() {
    let cases: &[(&[i64], &str)] = &[
        (&[-1, 3], "tensor `w`: extent -1 is negative"),
        (&[i64::MAX], "tensor `w`: shape [9223372036854775807] is too large to exist"),
        (
            &[i64::MAX, i64::MAX],
            "tensor `w`: shape [9223372036854775807, 9223372036854775807] is too large to exist",
        ),
        (&[1 << 20, 1 << 20, 1 << 20], "tensor `w`: shape [1048576, 1048576, 1048576] is too large to exist"),
        (&[1 << 40], "tensor `w`: float32 of shape [1099511627776] needs 4398046511104 bytes, 24 are stored"),
        (&[2, 4], "tensor `w`: float32 of shape [2, 4] needs 32 bytes, 24 are stored"),
    ];
    for (dims, message) in cases {
        let mut model = chain();
        graph_of(&mut model).initializer[0].dims = dims.to_vec();
        refuses(&model, message);
    }
    let mut declared = chain();
    graph_of(&mut declared).value_info.push(info("a", FLOAT, &["9223372036854775807", "9"]));
    refuses(&declared, "tensor `a`: declared shape [9223372036854775807, 9] is too large to exist");
}

#[test]
fn wrong_types() {
    let mut unknown = chain();
    graph_of(&mut unknown).initializer[0].data_type = Some(99);
    refuses(&unknown, "tensor `w`: unknown element type 99");

    let mut undeclared = chain();
    graph_of(&mut undeclared).input[0] = info("x", 77, &["2"]);
    refuses(&undeclared, "tensor `x`: is declared with unknown element type 77");
    graph_of(&mut undeclared).input[0].r#type = None;
    refuses(&undeclared, "tensor `x`: is an input without an element type");

    let mut listed = chain();
    graph_of(&mut listed).input.push(info("w", INT64, &["2", "3"]));
    refuses(&listed, "tensor `w`: is declared as int64, but stored as float32");

    let mut strings = chain();
    graph_of(&mut strings).initializer[0].data_type = Some(8);
    refuses(&strings, "tensor `w`: strings are stored as raw data");
    graph_of(&mut strings).initializer[0].raw_data = None;
    refuses(&strings, "tensor `w`: shape [2, 3] needs 6 strings, 0 are stored");

    let mut range = chain();
    let weight = &mut graph_of(&mut range).initializer[0];
    (weight.data_type, weight.raw_data, weight.int32_data) = (Some(3), None, vec![1, 2, 3, 4, 5, 300]);
    refuses(&range, "tensor `w`: stored value 300 is out of range for the element type");
}

#[test]
fn attributes() {
    let mut model = chain();
    let attribute = &mut graph_of(&mut model).node[0].attribute;
    *attribute = vec![int("axis", 1), int("axis", 2)];
    refuses(&model, "node `a_node`: has two attributes `axis`");

    let attribute = &mut graph_of(&mut model).node[0].attribute;
    *attribute = vec![AttributeProto { floats: vec![1.0], ..int("axis", 1) }];
    refuses(&model, "node `a_node`: attribute `axis` is said to be INT, but holds INT, FLOATS");

    let attribute = &mut graph_of(&mut model).node[0].attribute;
    *attribute =
        vec![AttributeProto { r#type: Some(AttributeType::Tensor as i32), i: None, ..int("value", 0) }];
    refuses(&model, "node `a_node`: attribute `value` is said to be TENSOR, but holds nothing");

    let attribute = &mut graph_of(&mut model).node[0].attribute;
    *attribute = vec![reference("axis", "outer", AttributeType::Int)];
    refuses(&model, "node `a_node`: attribute `axis` refers to `outer` of a function, but is in none");
}

#[test]
fn external_data() {
    let message = |entries: &[(&str, &str)]| {
        let mut model = chain();
        graph_of(&mut model).initializer[0] = external("w", &[2, 3], entries);
        let folder = tempfile::tempdir().unwrap();
        let models = folder.path().join("models");
        std::fs::create_dir(&models).unwrap();
        std::fs::write(models.join("short.bin"), [0; 20]).unwrap();
        std::fs::write(folder.path().join("outside.bin"), [0; 24]).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink("../outside.bin", models.join("link.bin")).unwrap();
        std::fs::write(models.join("model.onnx"), encode(&model)).unwrap();
        let mut error = Graph::load(&models.join("model.onnx")).unwrap_err();
        error.path = None;
        assert!(matches!(error.kind, ErrorKind::ExternalData(_)), "{error}");
        assert!(error.hint().contains("external data"));
        error.to_string()
    };
    let at = |location: &'static str| [("location", location)];
    assert_eq!(message(&at("absent.bin")), "tensor `w`: external data file `absent.bin` is missing");
    for location in ["../outside.bin", "/etc/passwd", "a/../../outside.bin"] {
        assert_eq!(
            message(&at(location)),
            format!("tensor `w`: external data `{location}` is outside of the model's folder")
        );
    }
    #[cfg(unix)]
    assert_eq!(
        message(&at("link.bin")),
        "tensor `w`: external data `link.bin` is a link that leaves the model's folder"
    );
    assert_eq!(message(&at(".")), "tensor `w`: external data `.` is not a file");
    assert_eq!(message(&[]), "tensor `w`: external data has no location");
    assert_eq!(
        message(&at("short.bin")),
        "tensor `w`: needs 24 bytes from offset 0 of external data `short.bin`, which has 20"
    );
    let end = u64::MAX.to_string();
    assert_eq!(
        message(&[("location", "short.bin"), ("offset", &end)]),
        format!("tensor `w`: needs 24 bytes from offset {end} of external data `short.bin`, which has 20")
    );
    assert_eq!(
        message(&[("location", "short.bin"), ("offset", "-4")]),
        "tensor `w`: external data in `short.bin` has offset `-4`, not a number"
    );
    assert_eq!(
        message(&[("location", "short.bin"), ("length", "20")]),
        "tensor `w`: float32 of shape [2, 3] needs 24 bytes, its external data in `short.bin` has 20"
    );
}

#[test]
fn external_data_of_a_model_in_memory() {
    let mut model = chain();
    graph_of(&mut model).initializer[0] = external("w", &[2, 3], &[("location", "w.bin")]);
    let error = Graph::new(Model::from_proto(model)).unwrap().verify().unwrap_err();
    assert_eq!(
        error.to_string(),
        "tensor `w`: external data is in `w.bin`, but the model was built in memory"
    );
}

#[test]
fn deep_nesting_is_refused_before_it_is_walked() {
    // Built from the inside out as bytes, because dropping so deep a value would
    // itself overflow the stack.
    let field = |tag: u8, inner: &[u8]| {
        let mut bytes = vec![tag << 3 | 2];
        prost::encoding::encode_varint(inner.len() as u64, &mut bytes);
        bytes.extend_from_slice(inner);
        bytes
    };
    let mut graph = Vec::new();
    for _ in 0..2000 {
        let attribute = field(6, &graph);
        let node = field(5, &attribute);
        graph = field(1, &node);
    }
    let error = Model::decode(field(7, &graph).into()).unwrap_err();
    assert!(error.to_string().contains("recursion limit"), "{error}");
}

#[test]
fn many_subgraphs_in_a_large_graph_stay_cheap() {
    let empty = || GraphProto::default();
    let nodes: Vec<NodeProto> = (0..20_000)
        .map(|index| {
            with_attributes(node("Opaque", &["x"], &[&format!("t{index}")]), vec![subgraph("body", empty())])
        })
        .collect();
    let inner = branch(nodes, "t0", vec![]);
    let outer = with_attributes(node("If", &["x"], &["y"]), vec![subgraph("then_branch", inner)]);
    let bytes = encode(&model(vec![outer], &["x"], &["y"], vec![]));
    let start = std::time::Instant::now();
    Graph::new(Model::decode(bytes.into()).unwrap()).unwrap().verify().unwrap();
    assert!(start.elapsed().as_secs() < 5);
}

#[test]
fn sparse_weights() {
    let sparse = |dims: Vec<i64>, indices: TensorProto| SparseTensorProto {
        values: Some(weight("s", &[2], 1.0)),
        indices: Some(indices),
        dims,
    };
    let indices = raw("", INT64, &[2], [0_i64, 4].iter().flat_map(|index| index.to_le_bytes()).collect());
    let with = |sparse: SparseTensorProto| {
        let mut model = chain();
        graph_of(&mut model).sparse_initializer.push(sparse);
        model
    };
    load(&with(sparse(vec![2, 3], indices.clone()))).unwrap();
    refuses(
        &with(sparse(vec![1], indices.clone())),
        "tensor `s`: a sparse tensor has more values than its shape",
    );
    refuses(
        &with(sparse(vec![i64::MAX, 3], indices.clone())),
        "tensor `s`: a sparse tensor has a shape that cannot be",
    );
    let one = raw("", INT64, &[1], 0_i64.to_le_bytes().to_vec());
    refuses(&with(sparse(vec![2, 3], one)), "tensor `s`: a sparse tensor has not as many indices as values");
}

#[test]
fn a_model_without_a_graph() {
    let empty = ModelProto { ir_version: Some(8), ..ModelProto::default() };
    assert!(!empty.encode_to_vec().is_empty());
    refuses(&empty, "the model has no graph");
}
