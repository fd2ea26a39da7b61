//! Sizes and times of packaging, printed:
//! `cargo bench --profile release -p tranche-packager --bench lambda_packages`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "what was measured is its output")]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/lambda_support/mod.rs"]
mod lambda_support;
#[path = "../tests/support/mod.rs"]
mod support;

use common::WIDTH;
use lambda_support::Packages;
use std::path::Path;
use std::time::Instant;
use tranche_graph::onnx::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, tensor_shape_proto, type_proto,
};
use tranche_graph::{Graph, Model};
use tranche_schema::{ElementType, LambdaPackageKind};

fn main() {
    for megabytes in [100, 230] {
        let graph = model(megabytes * 1_000_000);
        for kind in [LambdaPackageKind::ZipBucket, LambdaPackageKind::Image] {
            let mut before = Usage::now();
            let packages = Packages::of_model(&graph, 1, "tract", |request| {
                request.shim =
                    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/shims/tranche-shim-static");
                request.prefer = Some(kind);
                before = Usage::now();
            });
            let (after, package) = (Usage::now(), &packages.index.packages[0]);
            println!(
                "{megabytes} MB of weights, {kind}: {} packed, {} unpacked, {:.1} s, of processors {:.1} s, {} MiB of memory",
                package.bytes,
                package.unzipped_bytes,
                (after.time - before.time).as_secs_f64(),
                after.processor_s - before.processor_s,
                (after.peak_kib - before.resident_kib) / 1024
            );
            assert!(package.unzipped_bytes.0 > megabytes * 1_000_000);
        }
    }
}

/// What the process has used.
struct Usage {
    time: Instant,
    processor_s: f64,
    resident_kib: u64,
    /// Since the last look.
    peak_kib: u64,
}

impl Usage {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let of = |name: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        // Resets the peak (proc(5)).
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        // User and system time, in ticks of a hundredth of a second.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: f64 = fields[11..13].iter().map(|field| field.parse::<f64>().unwrap()).sum();
        Self {
            time: Instant::now(),
            processor_s: ticks / 100.0,
            resident_kib: of("VmRSS"),
            peak_kib: of("VmHWM"),
        }
    }
}

/// x → h → d over two weights of noise with so many bytes in all.
fn model(bytes: u64) -> Graph {
    let wide = bytes / (2 * 4 * WIDTH);
    let graph = GraphProto {
        name: Some("large".to_owned()),
        node: vec![node(&["x", "up"], "h"), node(&["h", "down"], "d")],
        initializer: vec![weight("up", [WIDTH, wide]), weight("down", [wide, WIDTH])],
        input: vec![value("x")],
        output: vec![value("d")],
        ..GraphProto::default()
    };
    let proto = ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(17) }],
        graph: Some(graph),
        ..ModelProto::default()
    };
    Graph::new(Model::from_proto(proto)).unwrap()
}

fn node(inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: Some("MatMul".to_owned()),
        name: Some(format!("make_{output}")),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

/// Between -0.1 and 0.1, different in each weight.
fn weight(name: &str, shape: [u64; 2]) -> TensorProto {
    let mut state = name.len() as u64;
    let bytes: Vec<u8> = (0..shape[0] * shape[1])
        .flat_map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1 << 24) as f32 * 0.2 - 0.1).to_le_bytes()
        })
        .collect();
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(ElementType::Float32.to_onnx()),
        dims: shape.map(|extent| extent as i64).to_vec(),
        raw_data: Some(bytes.into()),
        ..TensorProto::default()
    }
}

fn value(name: &str) -> ValueInfoProto {
    let dim = [1, WIDTH as i64]
        .map(|extent| tensor_shape_proto::Dimension {
            value: Some(tensor_shape_proto::dimension::Value::DimValue(extent)),
            denotation: None,
        })
        .to_vec();
    let tensor = type_proto::Tensor {
        elem_type: Some(ElementType::Float32.to_onnx()),
        shape: Some(TensorShapeProto { dim }),
    };
    let declared = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), denotation: None };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(declared), ..ValueInfoProto::default() }
}
