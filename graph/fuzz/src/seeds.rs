//! Writes small valid models as seeds: `cargo run --bin seeds corpus/load`.

#[path = "../../tests/common/mod.rs"]
mod common;

use common::*;
use std::path::PathBuf;
use tranche_graph::onnx::attribute_proto::AttributeType;
use tranche_graph::onnx::*;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| "corpus/load".into()));
    std::fs::create_dir_all(&folder)?;
    let seeds = [
        ("chain", chain()),
        ("conditional", conditional()),
        ("functions", functions()),
        ("typed", typed()),
        ("external", externals()),
    ];
    for (name, model) in seeds {
        std::fs::write(folder.join(name), encode(&model))?;
    }
    Ok(())
}

fn functions() -> ModelProto {
    let mut soft = node("Softmax", &["v"], &["r"]);
    soft.attribute = vec![reference("axis", "dim", AttributeType::Int)];
    let function = |name: &str, nodes: Vec<NodeProto>| FunctionProto {
        name: Some(name.to_owned()),
        domain: Some("local".to_owned()),
        input: vec!["v".to_owned()],
        output: vec!["r".to_owned()],
        attribute_proto: vec![int("dim", 1)],
        node: nodes,
        opset_import: vec![opset("", 17), opset("local", 1)],
        ..FunctionProto::default()
    };
    let call = |name: &str, input: &str, output: &str| NodeProto {
        domain: Some("local".to_owned()),
        ..node(name, &[input], &[output])
    };
    let outer = function("Twice", vec![call("Soft", "v", "m"), call("Soft", "m", "r")]);
    let mut model = model(vec![call("Twice", "x", "y")], &["x"], &["y"], vec![]);
    model.opset_import.push(opset("local", 1));
    model.functions = vec![function("Soft", vec![soft]), outer];
    model
}

fn typed() -> ModelProto {
    let mut model = chain();
    let tensor = |name: &str, element_type: i32| TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(element_type),
        dims: vec![2],
        ..TensorProto::default()
    };
    if let Some(graph) = &mut model.graph {
        graph.initializer.extend([
            TensorProto { int32_data: vec![1, 2], ..tensor("i8", 3) },
            TensorProto { int32_data: vec![0x21], ..tensor("i4", 22) },
            TensorProto { string_data: vec![b"a".to_vec(), b"b".to_vec()], ..tensor("s", 8) },
        ]);
        graph.sparse_initializer.push(SparseTensorProto {
            values: Some(weight("sparse", &[1], 1.0)),
            indices: Some(raw("", INT64, &[1], vec![0; 8])),
            dims: vec![4],
        });
        graph.value_info.push(info("a", FLOAT, &["batch", "?"]));
        graph.quantization_annotation.push(TensorAnnotation {
            tensor_name: Some("a".to_owned()),
            quant_parameter_tensor_names: vec![],
        });
    }
    model
}

fn externals() -> ModelProto {
    let mut model = chain();
    if let Some(graph) = &mut model.graph {
        graph.initializer = vec![external("w", &[2, 3], &[("location", "w.bin"), ("offset", "0")])];
    }
    model
}
