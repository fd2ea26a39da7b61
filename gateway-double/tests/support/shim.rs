//! tranche's own image: a bundle of one slice, packed with the static shim.

use super::subject::{OutOfMemory, Subject};
use std::path::{Path, PathBuf};
use tranche_graph::{ExternalPolicy, Model, onnx};
use tranche_packager::image::{ImageRequest, build_images};
use tranche_schema::{
    ByteCount, Channel, Codec, Digest, Document as _, Edge, ElementType, FileEntry, FunctionSize, Manifest,
    MilliCpu, ModelIdentity, SliceManifest, SlicePrediction, Tensor, TensorSpec,
};
use tranche_transport::{CodedTensor, Frame, FrameLimits, Placement, RequestHeader};

const SLICE: &str = "slice-0";
/// Rows of the input: its frame is about 1 MiB.
const ROWS: usize = 64;
/// The weight is square: 64 MiB.
const WIDTH: usize = 4096;

/// A slice that computes `y = x · W`. Its weight alone is larger than the limit at which it is
/// killed.
pub fn shim(folder: &Path) -> Subject {
    let (bundled, layout) = (folder.join("bundle"), folder.join("images"));
    bundle(&bundled);
    build_images(&ImageRequest::new(&bundled, &program(), &layout)).unwrap();
    Subject {
        layout,
        name: SLICE.to_owned(),
        health: "/_/health",
        ready: "/_/ready",
        path: "/",
        body: request(),
        is_answer,
        memory: 512 << 20,
        one_in_flight: "TRANCHE_MAX_IN_FLIGHT=1",
        out_of_memory: OutOfMemory::Start(32 << 20),
    }
}

/// What `cargo xtask shim` has built.
fn program() -> PathBuf {
    let folder = std::env::var_os("TRANCHE_SHIMS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("target/shims"),
        PathBuf::from,
    );
    let path = folder.join("tranche-shim-static");
    assert!(path.is_file(), "{} is missing: run `cargo xtask shim`, or set TRANCHE_SHIMS", path.display());
    path
}

fn request() -> Vec<u8> {
    let values: Vec<f32> = (0..ROWS * WIDTH).map(|index| input_at(index / WIDTH, index % WIDTH)).collect();
    let tensor = Tensor::from_f32(shape(), &values).unwrap();
    let coded = CodedTensor::encode("x", &tensor, Codec::Raw, Placement::Inline).unwrap();
    let frame = Frame { header: RequestHeader::new([7; 16], SLICE), tensors: vec![coded] };
    frame.to_bytes().unwrap().to_vec()
}

/// Compares some of the columns: the sums are exact.
fn is_answer(body: &[u8]) -> bool {
    let limits = FrameLimits::default();
    let frame = Frame::parse(body.to_vec().into(), &limits).unwrap();
    let tensors = frame.decode(&limits, None).unwrap();
    let values = tensors[0].1.as_slice::<f32>().unwrap();
    let expected = |row: usize, column: usize| -> f32 {
        (0..WIDTH).map(|inner| input_at(row, inner) * weight_at(inner, column)).sum()
    };
    let is_right = |index: usize| values[index] == expected(index / WIDTH, index % WIDTH);
    values.len() == ROWS * WIDTH && (0..values.len()).step_by(997).all(is_right)
}

/// Small whole numbers, like [`weight_at`]: every sum is exact in whichever order.
fn input_at(row: usize, column: usize) -> f32 {
    ((row + column) % 5) as f32
}

fn weight_at(row: usize, column: usize) -> f32 {
    ((row + 2 * column) % 7) as f32
}

fn shape() -> Vec<u64> {
    vec![ROWS as u64, WIDTH as u64]
}

/// A bundle whose weight is in a file of its own.
fn bundle(folder: &Path) {
    std::fs::create_dir_all(folder.join("model")).unwrap();
    let saved =
        model().save_external(&folder.join("model/slice-0.onnx"), &ExternalPolicy::default()).unwrap();
    std::fs::write(folder.join(Manifest::PLAN_FILE), "plan").unwrap();
    let below = |entry: FileEntry| FileEntry { path: format!("model/{}", entry.path), ..entry };
    let plan =
        FileEntry { path: Manifest::PLAN_FILE.to_owned(), bytes: ByteCount(4), digest: Digest::of(b"plan") };
    let weights = saved.weights.into_iter().map(below).collect();
    manifest(below(saved.model), weights, plan).write(&folder.join(Manifest::FILE)).unwrap();
}

fn manifest(graph: FileEntry, weights: Vec<FileEntry>, plan: FileEntry) -> Manifest {
    let spec =
        |name: &str| TensorSpec { name: name.to_owned(), element_type: ElementType::Float32, shape: shape() };
    let slice = SliceManifest {
        name: SLICE.to_owned(),
        model: graph.path.clone(),
        weights: weights.iter().map(|entry| entry.path.clone()).collect(),
        members: Vec::new(),
        inputs: vec![spec("x")],
        outputs: vec![spec("y")],
        size: FunctionSize { memory_bytes: ByteCount::mebibytes(512), cpu_milli: MilliCpu(1000) },
        threads: 1,
        prediction: SlicePrediction::default(),
    };
    let edge = Edge {
        tensor: spec("y"),
        from: Some(SLICE.to_owned()),
        to: vec![],
        to_caller: true,
        codec: Codec::Raw,
        channel: Channel::Inline,
    };
    Manifest {
        header: Manifest::header(),
        model: ModelIdentity { name: "product".to_owned(), digest: graph.digest.clone() },
        plan_digest: plan.digest.clone(),
        tranche_version: env!("CARGO_PKG_VERSION").to_owned(),
        engine: "tract".to_owned(),
        inputs: vec![spec("x")],
        outputs: vec![spec("y")],
        slices: vec![slice],
        edges: vec![edge],
        files: [weights, vec![graph, plan]].concat(),
    }
}

fn model() -> Model {
    let weight = (0..WIDTH * WIDTH).flat_map(|index| weight_at(index / WIDTH, index % WIDTH).to_le_bytes());
    let graph = onnx::GraphProto {
        name: Some("product".to_owned()),
        input: vec![value_info("x")],
        output: vec![value_info("y")],
        initializer: vec![onnx::TensorProto {
            name: Some("w".to_owned()),
            data_type: Some(1),
            dims: vec![WIDTH as i64; 2],
            raw_data: Some(weight.collect::<Vec<u8>>().into()),
            ..Default::default()
        }],
        node: vec![onnx::NodeProto {
            name: Some("product".to_owned()),
            op_type: Some("MatMul".to_owned()),
            input: vec!["x".to_owned(), "w".to_owned()],
            output: vec!["y".to_owned()],
            ..Default::default()
        }],
        ..Default::default()
    };
    let proto = onnx::ModelProto {
        ir_version: Some(8),
        opset_import: vec![onnx::OperatorSetIdProto { domain: None, version: Some(17) }],
        graph: Some(graph),
        ..Default::default()
    };
    Model::from_proto(proto)
}

fn value_info(name: &str) -> onnx::ValueInfoProto {
    use onnx::tensor_shape_proto::{Dimension, dimension::Value};
    let extent =
        |extent: u64| Dimension { value: Some(Value::DimValue(extent as i64)), ..Default::default() };
    let dimensions = shape().into_iter().map(extent).collect();
    let tensor = onnx::type_proto::Tensor {
        elem_type: Some(1),
        shape: Some(onnx::TensorShapeProto { dim: dimensions }),
    };
    let declared = onnx::type_proto::Value::TensorType(tensor);
    onnx::ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(onnx::TypeProto { value: Some(declared), ..Default::default() }),
        ..Default::default()
    }
}
