//! A deployment made by hand: x → first → y → second and third → z and w.

#![allow(dead_code, reason = "each test file uses its part")]

use tranche_packager::lambda::{FunctionDescription, LambdaOptions, Surroundings, describe_functions};
use tranche_schema::{
    ByteCount, Channel, Codec, Digest, Document as _, Edge, ElementType, FileEntry, FunctionSize,
    LambdaIndex, LambdaLayer, LambdaPackage, LambdaPackageKind, Manifest, MilliCpu, Millis, ModelIdentity,
    SliceManifest, SlicePrediction, TensorSpec,
};

pub fn tensor(name: &str, floats: u64) -> TensorSpec {
    TensorSpec { name: name.to_owned(), element_type: ElementType::Float32, shape: vec![1, floats] }
}

fn edge(tensor: TensorSpec, from: Option<&str>, to: &[&str]) -> Edge {
    Edge {
        tensor,
        from: from.map(str::to_owned),
        to: to.iter().map(|&name| name.to_owned()).collect(),
        to_caller: to.is_empty(),
        codec: Codec::Raw,
        channel: Channel::Inline,
    }
}

pub fn manifest() -> Manifest {
    let slice = |name: &str, inputs: Vec<TensorSpec>, outputs: Vec<TensorSpec>| SliceManifest {
        name: name.to_owned(),
        model: format!("model/{name}.onnx"),
        weights: vec![format!("model/weights/{name}.bin")],
        members: Vec::new(),
        inputs,
        outputs,
        size: FunctionSize { memory_bytes: ByteCount::mebibytes(512), cpu_milli: MilliCpu(500) },
        threads: 1,
        prediction: SlicePrediction { billed_ms: Millis(20.0), ..SlicePrediction::default() },
    };
    let file = |name: &str| FileEntry {
        path: format!("model/weights/{name}.bin"),
        bytes: ByteCount::mebibytes(100),
        digest: Digest::of(name.as_bytes()),
    };
    let (x, y, z, w) = (tensor("x", 8), tensor("y", 100_000), tensor("z", 8), tensor("w", 8));
    Manifest {
        header: Manifest::header(),
        model: ModelIdentity { name: "net".to_owned(), digest: Digest::of(b"model") },
        plan_digest: Digest::of(b"plan"),
        tranche_version: "1.2.3".to_owned(),
        engine: "tract".to_owned(),
        inputs: vec![x.clone()],
        outputs: vec![z.clone(), w.clone()],
        slices: vec![
            slice("first", vec![x.clone()], vec![y.clone()]),
            slice("second", vec![y.clone()], vec![z.clone()]),
            slice("third", vec![y.clone()], vec![w.clone()]),
        ],
        edges: vec![
            edge(x, None, &["first"]),
            edge(y, Some("first"), &["second", "third"]),
            edge(z, Some("second"), &[]),
            edge(w, Some("third"), &[]),
        ],
        files: ["first", "second", "third"].map(file).into(),
    }
}

/// One slice of each kind of package; the first uses a layer.
pub fn index() -> LambdaIndex {
    let package = |slice: &str, kind, file: Option<&str>, layers: &[&str]| LambdaPackage {
        slice: slice.to_owned(),
        kind,
        reason: "a test".to_owned(),
        file: file.map(str::to_owned),
        bytes: ByteCount::mebibytes(20),
        unzipped_bytes: ByteCount::mebibytes(110),
        digest: Digest::of(slice.as_bytes()),
        layers: layers.iter().map(|&name| name.to_owned()).collect(),
    };
    LambdaIndex {
        header: LambdaIndex::header(),
        bundle_digest: Digest::of(b"bundle"),
        engine: "tract".to_owned(),
        architecture: "x86_64".to_owned(),
        packages: vec![
            package("first", LambdaPackageKind::ZipInline, Some("first.zip"), &["tranche-shared"]),
            package("second", LambdaPackageKind::ZipBucket, Some("second.zip"), &[]),
            package("third", LambdaPackageKind::Image, None, &[]),
        ],
        layers: vec![LambdaLayer {
            name: "tranche-shared".to_owned(),
            file: "layers/tranche-shared.zip".to_owned(),
            bytes: ByteCount::mebibytes(10),
            unzipped_bytes: ByteCount::mebibytes(30),
            digest: Digest::of(b"layer"),
        }],
        entry: None,
    }
}

pub fn functions_with(change: impl FnOnce(&mut LambdaOptions)) -> Vec<FunctionDescription> {
    let mut options = LambdaOptions::new("toy");
    change(&mut options);
    describe_functions(&manifest(), &index(), &options).unwrap()
}

/// With all that the three packages need.
pub fn surroundings() -> Surroundings {
    Surroundings { code_bucket: true, repository: true, ..Surroundings::default() }
}
