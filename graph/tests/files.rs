//! Models in and out of files: nothing lost, nothing copied, nothing stored twice.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failure in a test says itself what it is")]

mod common;

use common::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tranche_graph::onnx::*;
use tranche_graph::{ErrorKind, ExternalPolicy, Graph, Model};
use tranche_schema::{ByteCount, Digest, ElementType, TensorSpec};

/// A model with something in most fields of the schema.
fn elaborate() -> ModelProto {
    let mut model = conditional();
    model.domain = Some(String::new());
    model.doc_string = Some("a model".to_owned());
    model.metadata_props = vec![entry("author", "tests")];
    model.opset_import.push(opset("com.example", 3));
    let graph = model.graph.as_mut().unwrap();
    graph.initializer.push(TensorProto {
        name: Some("typed".to_owned()),
        data_type: Some(FLOAT),
        dims: vec![2],
        float_data: vec![1.5, f32::NAN],
        ..TensorProto::default()
    });
    graph.node[0].domain = Some(String::new());
    graph.quantization_annotation.push(TensorAnnotation {
        tensor_name: Some("a".to_owned()),
        quant_parameter_tensor_names: vec![entry("SCALE_TENSOR", "unused")],
    });
    model
}

fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: Some(key.to_owned()), value: Some(value.to_owned()) }
}

fn save(model: &ModelProto, path: &Path) {
    Model::from_proto(model.clone()).save(path).unwrap();
}

#[test]
fn rewriting_is_byte_identical() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["first.onnx", "second.onnx"].map(|name| folder.path().join(name));
    let mut model = elaborate();
    // Longer than the pieces that the writer gathers.
    model.graph.as_mut().unwrap().initializer.push(weight("long", &[50_000], 0.5));
    std::fs::write(&first, prost::Message::encode_to_vec(&model)).unwrap();
    Model::load(&first).unwrap().save(&second).unwrap();
    assert!(std::fs::read(&first).unwrap() == std::fs::read(&second).unwrap());
}

#[test]
fn every_supported_version_is_read() {
    for ir_version in 3..=12 {
        for version in 7..=23 {
            let opset_import = vec![opset("", version)];
            let model = ModelProto { ir_version: Some(ir_version), opset_import, ..chain() };
            assert_eq!(load(&model).unwrap().proto(), &model);
        }
    }
}

#[test]
fn unknown_domains_are_kept() {
    let mut model = chain();
    model.opset_import.push(opset("com.example", 3));
    let node = &mut model.graph.as_mut().unwrap().node[1];
    (node.domain, node.op_type) = (Some("com.example".to_owned()), Some("Fancy".to_owned()));
    node.metadata_props = vec![entry("layer", "last")];
    let graph = load(&model).unwrap();
    assert_eq!(graph.proto(), &model);
    let last = graph.node_ids().last().unwrap();
    let part = graph.extract_with(&[last], "part", &float_specs(&["a"])).unwrap();
    assert_eq!(part.model.proto.graph.unwrap().node, model.graph.unwrap().node[1..]);
    assert_eq!(part.model.proto.opset_import, model.opset_import);
}

fn float_specs(names: &[&str]) -> BTreeMap<String, TensorSpec> {
    let spec = |name: &str| TensorSpec {
        name: name.to_owned(),
        element_type: ElementType::Float32,
        shape: vec![2, 3],
    };
    names.iter().map(|&name| (name.to_owned(), spec(name))).collect()
}

#[test]
fn digest_is_that_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    save(&elaborate(), &path);
    let model = Model::load(&path).unwrap();
    assert_eq!(model.digest().unwrap(), Digest::of_file(&path).unwrap());
}

#[test]
fn digest_covers_external_files_in_name_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = chain();
    model.graph.as_mut().unwrap().initializer =
        vec![external("w", &[2, 3], &[("location", "b.bin")]), external("v", &[1], &[("location", "a.bin")])];
    std::fs::write(folder.path().join("b.bin"), [2; 24]).unwrap();
    std::fs::write(folder.path().join("a.bin"), [1; 4]).unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, encode(&model)).unwrap();
    let expected = [encode(&model), vec![1; 4], vec![2; 24]].concat();
    assert_eq!(Model::load(&path).unwrap().digest().unwrap(), Digest::of(&expected));
}

#[test]
fn weights_are_shared_with_the_map() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    save(&elaborate(), &path);
    let model = Model::load(&path).unwrap();
    let weight = &model.proto.graph.as_ref().unwrap().initializer[0];
    let shared = model.tensor_bytes(weight).unwrap();
    assert_eq!(shared.as_ptr(), weight.raw_data.as_ref().unwrap().as_ptr());
    assert_eq!(shared.as_ref(), 2.0_f32.to_le_bytes().repeat(6));
    // They outlive the model.
    drop(model);
    assert_eq!(shared.len(), 24);
}

#[cfg(target_os = "linux")]
#[test]
fn loading_and_rewriting_take_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let mut model = chain();
    let graph = model.graph.as_mut().unwrap();
    graph.initializer.extend((0..64).map(|index| weight(&format!("w{index}"), &[1 << 18], index as f32)));
    save(&model, &path);
    drop(model);
    let before = anonymous_kib();
    let model = Model::load(&path).unwrap();
    model.save(&folder.path().join("copy.onnx")).unwrap();
    model.save_external(&folder.path().join("slice.onnx"), &ExternalPolicy::default()).unwrap();
    let grown = anonymous_kib().saturating_sub(before);
    assert!(grown < 4096, "64 MiB of weights took {grown} KiB");
}

#[cfg(target_os = "linux")]
fn anonymous_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn element_types() {
    let tensor = |element_type: i32, dims: &[i64]| TensorProto {
        data_type: Some(element_type),
        dims: dims.to_vec(),
        ..TensorProto::default()
    };
    let int32 = |element_type, dims: &[i64], int32_data: &[i32]| TensorProto {
        int32_data: int32_data.to_vec(),
        ..tensor(element_type, dims)
    };
    let cases: Vec<(TensorProto, Vec<u8>)> = vec![
        (TensorProto { float_data: vec![1.5], ..tensor(1, &[]) }, 1.5_f32.to_le_bytes().to_vec()),
        (int32(2, &[2], &[0, 255]), vec![0, 255]),
        (int32(3, &[2], &[-1, 127]), vec![255, 127]),
        (int32(4, &[1], &[0xfffe]), vec![0xfe, 0xff]),
        (int32(5, &[1], &[-2]), vec![0xfe, 0xff]),
        (int32(6, &[1], &[-2]), vec![0xfe, 0xff, 0xff, 0xff]),
        (TensorProto { int64_data: vec![-2], ..tensor(7, &[1]) }, (-2_i64).to_le_bytes().to_vec()),
        (
            TensorProto { string_data: vec![b"ab".to_vec(), vec![]], ..tensor(8, &[2]) },
            vec![2, 0, 0, 0, b'a', b'b', 0, 0, 0, 0],
        ),
        (int32(9, &[2], &[1, 0]), vec![1, 0]),
        (int32(10, &[1], &[0x3c00]), vec![0x00, 0x3c]),
        (TensorProto { double_data: vec![1.5], ..tensor(11, &[1]) }, 1.5_f64.to_le_bytes().to_vec()),
        (TensorProto { uint64_data: vec![7], ..tensor(12, &[1]) }, vec![7, 0, 0, 0]),
        (TensorProto { uint64_data: vec![u64::MAX], ..tensor(13, &[1]) }, vec![255; 8]),
        (
            TensorProto { float_data: vec![1.0, 2.0], ..tensor(14, &[1]) },
            [1.0_f32.to_le_bytes(), 2.0_f32.to_le_bytes()].concat(),
        ),
        (
            TensorProto { double_data: vec![1.0, 2.0], ..tensor(15, &[1]) },
            [1.0_f64.to_le_bytes(), 2.0_f64.to_le_bytes()].concat(),
        ),
        (int32(16, &[1], &[0x3f80]), vec![0x80, 0x3f]),
        (int32(17, &[2], &[1, 200]), vec![1, 200]),
        (int32(18, &[2], &[1, 200]), vec![1, 200]),
        (int32(19, &[2], &[1, 200]), vec![1, 200]),
        (int32(20, &[2], &[1, 200]), vec![1, 200]),
        // Two 4-bit elements lie in each entry; the last one is half empty.
        (int32(21, &[3], &[0x21, 0x03]), vec![0x21, 0x03]),
        (int32(22, &[3], &[0xf1, 0x03]), vec![0xf1, 0x03]),
        (int32(23, &[3], &[0xf1, 0x03]), vec![0xf1, 0x03]),
        (int32(24, &[2], &[1, 200]), vec![1, 200]),
        (int32(25, &[5], &[0xe4, 0x01]), vec![0xe4, 0x01]),
        (int32(26, &[5], &[0xe4, 0x01]), vec![0xe4, 0x01]),
        // Four 6-bit elements become three bytes.
        (int32(27, &[5], &[1, 2, 3, 63, 32]), vec![0x81, 0x30, 0xfc, 0x20]),
        (int32(28, &[5], &[1, 2, 3, 63, 32]), vec![0x81, 0x30, 0xfc, 0x20]),
        (raw("", 22, &[3], vec![0xf1, 0x03]), vec![0xf1, 0x03]),
        (raw("", 7, &[0], vec![]), vec![]),
    ];
    let covered: BTreeSet<i32> = cases.iter().map(|(tensor, _)| tensor.data_type()).collect();
    assert!(covered.into_iter().eq(ElementType::ALL.iter().map(|element_type| element_type.to_onnx())));
    let model = Model::from_proto(chain());
    for (tensor, expected) in cases {
        let bytes = model.tensor_bytes(&tensor).unwrap();
        assert_eq!(bytes.as_ref(), expected, "element type {}", tensor.data_type());
    }
}

#[test]
fn external_data_is_read_at_its_offset() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = chain();
    let entries = [("location", "sub/weights.bin"), ("offset", "5"), ("length", "24")];
    let mut inner = conditional();
    let graph = model.graph.as_mut().unwrap();
    graph.initializer[0] = external("w", &[2, 3], &entries);
    // Also inside of a subgraph.
    let otherwise = inner.graph.as_mut().unwrap().node[1].attribute[1].g.as_mut().unwrap();
    otherwise.initializer[0] = external("own", &[2, 3], &entries);
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    let bytes: Vec<u8> = (0..40).collect();
    std::fs::write(folder.path().join("sub/weights.bin"), &bytes).unwrap();
    for model in [model, inner] {
        let path = folder.path().join("model.onnx");
        std::fs::write(&path, encode(&model)).unwrap();
        Graph::load(&path).unwrap();
    }
    let loaded = Model { folder: Some(folder.path().to_owned()), proto: chain() };
    let tensor = external("w", &[2, 3], &entries);
    assert_eq!(loaded.tensor_bytes(&tensor).unwrap().as_ref(), &bytes[5..29]);
    assert_eq!(loaded.tensor_bytes(&external("w", &[0], &entries[..2])).unwrap().len(), 0);
}

/// Two slices of 2 KiB weights, one of which both have, in one folder.
fn save_two_slices(folder: &Path) -> Vec<tranche_graph::SavedExternal> {
    let policy = ExternalPolicy { inline_limit: 1024, weights_folder: "weights".to_owned() };
    [("one", 1.0), ("two", 2.0)]
        .into_iter()
        .map(|(name, own)| {
            let typed =
                TensorProto { raw_data: None, float_data: vec![7.0; 512], ..weight("shared", &[512], 7.0) };
            let mut model = chain();
            model.graph.as_mut().unwrap().initializer.extend([weight("own", &[512], own), typed]);
            Model::from_proto(model)
                .save_external(&folder.join(name).with_extension("onnx"), &policy)
                .unwrap()
        })
        .collect()
}

#[test]
fn equal_weights_are_stored_once() {
    let folder = tempfile::tempdir().unwrap();
    let saved = save_two_slices(folder.path());
    let shared = Digest::of(&7.0_f32.to_le_bytes().repeat(512));
    for slice in &saved {
        assert_eq!(slice.weights.len(), 2);
        assert!(slice.weights.iter().any(|entry| entry.path == format!("weights/{}.bin", shared.hex())));
        for entry in slice.weights.iter().chain([&slice.model]) {
            let path = folder.path().join(&entry.path);
            assert_eq!(Digest::of_file(&path).unwrap(), entry.digest);
            assert_eq!(ByteCount(path.metadata().unwrap().len()), entry.bytes);
        }
    }
    assert_eq!(std::fs::read_dir(folder.path().join("weights")).unwrap().count(), 3);

    let graph = Graph::load(&folder.path().join("one.onnx")).unwrap();
    let small = graph.initializer(graph.find_tensor("w").unwrap()).unwrap();
    assert!(small.raw_data.is_some());
    let large = graph.initializer(graph.find_tensor("own").unwrap()).unwrap();
    assert!(large.raw_data.is_none());
    assert_eq!(graph.model().tensor_bytes(large).unwrap().as_ref(), 1.0_f32.to_le_bytes().repeat(512));
}

#[test]
fn saving_external_twice_gives_the_same_bytes() {
    let [first, second] = [(), ()].map(|()| tempfile::tempdir().unwrap());
    assert_eq!(save_two_slices(first.path()), save_two_slices(second.path()));
    let kept = first
        .path()
        .join("weights")
        .join(std::fs::read_dir(first.path().join("weights")).unwrap().next().unwrap().unwrap().file_name());
    let before = kept.metadata().unwrap().modified().unwrap();
    save_two_slices(first.path());
    assert_eq!(kept.metadata().unwrap().modified().unwrap(), before, "an equal file is kept");
}

#[test]
fn external_attributes_come_inline() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("value.bin"), [0; 24]).unwrap();
    let mut constant = node("Constant", &[], &["w"]);
    constant.attribute.push(AttributeProto {
        name: Some("value".to_owned()),
        r#type: Some(attribute_proto::AttributeType::Tensor as i32),
        t: Some(external("", &[2, 3], &[("location", "value.bin")])),
        ..AttributeProto::default()
    });
    let add = node("Add", &["x", "w"], &["y"]);
    let proto = model(vec![constant, add], &["x"], &["y"], vec![]);
    let source = Model { proto, folder: Some(folder.path().to_owned()) };
    let other = tempfile::tempdir().unwrap();
    let path = other.path().join("model.onnx");
    source.save_external(&path, &ExternalPolicy::default()).unwrap();
    assert!(!Model::load(&path).unwrap().has_external_data());
}

#[test]
fn a_plain_save_does_not_lose_external_data() {
    let folder = tempfile::tempdir().unwrap();
    save_two_slices(folder.path());
    let model = Model::load(&folder.path().join("one.onnx")).unwrap();
    model.save(&folder.path().join("copy.onnx")).unwrap();
    Graph::load(&folder.path().join("copy.onnx")).unwrap();
    let other = tempfile::tempdir().unwrap();
    let error = model.save(&other.path().join("copy.onnx")).unwrap_err();
    assert!(matches!(error.kind, ErrorKind::ExternalData(_)), "{error}");
}

#[cfg(unix)]
#[test]
fn written_files_are_readable_by_others() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "").unwrap();
    save_two_slices(folder.path());
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
    assert_eq!(mode(&folder.path().join("one.onnx")), mode(&plain));
}
