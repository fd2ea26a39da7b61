//! Shims packed into images and run in a bare root file system: only the image's files,
//! mounted read-only, and `/proc`, as the image's user. Needs root, and what `cargo xtask shim` and
//! `tranche engine add onnxruntime` make.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use support::{frame_bytes, json, values};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tranche_graph::{ExternalPolicy, Model, onnx};
use tranche_packager::image::{ImageRequest, build_images};
use tranche_schema::{ByteCount, Channel, Codec, Digest, Document as _, FileEntry, ImageIndex, Manifest};

const WIDTH: usize = 64;

#[tokio::test]
async fn the_program_of_this_build_runs_with_the_libraries_packed_beside_it() {
    let image = Image::build(Path::new(env!("CARGO_BIN_EXE_tranche-shim")), "tract", None);
    image.serves("tract").await;
}

#[tokio::test]
async fn the_static_shim_needs_nothing() {
    let image = Image::build(&built("tranche-shim-static"), "tract", None);
    assert!(!image.root.path().join("tranche/lib").exists());
    image.serves("tract").await;
}

#[tokio::test]
async fn the_dynamic_shim_runs_onnx_runtime_with_its_pinned_loader() {
    let library = std::env::var_os(tranche_engine::LIBRARY_VARIABLE).map(PathBuf::from);
    let library = library.or_else(tranche_engine::cached_library).filter(|path| path.is_file());
    let library = library.expect("ONNX Runtime is missing: run `tranche engine add onnxruntime`");
    let image = Image::build(&built("tranche-shim-onnxruntime"), "onnxruntime", Some(library));
    assert!(image.root.path().join("tranche/lib/libstdc++.so.6").is_file());
    image.serves("onnxruntime").await;
}

/// A program that `cargo xtask shim` has built.
fn built(name: &str) -> PathBuf {
    let folder = std::env::var_os("TRANCHE_SHIMS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("target/shims"),
        PathBuf::from,
    );
    let path = folder.join(name);
    assert!(path.is_file(), "{} is missing: run `cargo xtask shim`, or set TRANCHE_SHIMS", path.display());
    path
}

/// A bundle whose slice computes `y = x · W`, with W in a file of its own.
fn bundle(folder: &Path, engine: &str) {
    let saved =
        model().save_external(&folder.join("model/slice-0.onnx"), &ExternalPolicy::default()).unwrap();
    assert_eq!(saved.weights.len(), 1);
    std::fs::write(folder.join(Manifest::PLAN_FILE), "plan").unwrap();
    let below = |entry: FileEntry| FileEntry { path: format!("model/{}", entry.path), ..entry };
    let (graph, weights) = (below(saved.model), saved.weights.into_iter().map(below).collect::<Vec<_>>());
    let mut manifest = support::manifest(&[WIDTH as u64], Codec::Raw, Channel::Inline);
    manifest.engine = engine.to_owned();
    manifest.slices[0].model = graph.path.clone();
    manifest.slices[0].weights = weights.iter().map(|entry| entry.path.clone()).collect();
    manifest.files = weights;
    manifest.files.extend([
        graph,
        FileEntry { path: Manifest::PLAN_FILE.to_owned(), bytes: ByteCount(4), digest: Digest::of(b"plan") },
    ]);
    manifest.write(&folder.join(Manifest::FILE)).unwrap();
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

/// Small whole numbers: every engine's sums are exact.
fn weight_at(row: usize, column: usize) -> f32 {
    ((row + 2 * column) % 7) as f32
}

fn value_info(name: &str) -> onnx::ValueInfoProto {
    use onnx::tensor_shape_proto::{Dimension, dimension::Value};
    let extent = Dimension { value: Some(Value::DimValue(WIDTH as i64)), ..Default::default() };
    let tensor = onnx::type_proto::Tensor {
        elem_type: Some(1),
        shape: Some(onnx::TensorShapeProto { dim: vec![extent] }),
    };
    let declared = onnx::type_proto::Value::TensorType(tensor);
    onnx::ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(onnx::TypeProto { value: Some(declared), ..Default::default() }),
        ..Default::default()
    }
}

/// An image unpacked.
struct Image {
    _folder: TempDir,
    root: TempDir,
    environment: Vec<String>,
    entrypoint: Vec<String>,
    user: String,
}

impl Image {
    fn build(shim: &Path, engine: &str, library: Option<PathBuf>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (bundled, output) = (folder.path().join("bundle"), folder.path().join("images"));
        std::fs::create_dir_all(bundled.join("model")).unwrap();
        bundle(&bundled, engine);
        let mut request = ImageRequest::new(&bundled, shim, &output);
        request.engine_library = library;
        let index = build_images(&request).unwrap();
        let root = unpack(&output, &index);
        let blob = |digest: &str| {
            let digits = digest.strip_prefix("sha256:").unwrap();
            std::fs::read(output.join("blobs/sha256").join(digits)).unwrap()
        };
        let manifest: serde_json::Value = serde_json::from_slice(&blob(&index.images[0].digest.0)).unwrap();
        let config = blob(manifest["config"]["digest"].as_str().unwrap());
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        let words = |name: &str| serde_json::from_value(config["config"][name].clone()).unwrap();
        let user = config["config"]["User"].as_str().unwrap().to_owned();
        Self { root, environment: words("Env"), entrypoint: words("Entrypoint"), user, _folder: folder }
    }

    /// Runs it as a container engine would, but on the host's network. ONNX Runtime needs
    /// `/proc` to read weights from files of their own.
    fn start(&self) -> Child {
        let effective = rustix::process::geteuid();
        assert!(effective.is_root(), "mounting and changing the root need root; run the tests as root");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.arg(
            "mount --bind \"$1\" \"$1\" && mount --rbind /proc \"$1/proc\" && \
             mount -o remount,bind,ro \"$1\" && exec chroot --userspec=\"$2\" \"$1\" \"$3\"",
        );
        command.arg("sh").arg(self.root.path()).arg(&self.user).args(&self.entrypoint);
        command.env_clear().env("TRANCHE_LOG", "info");
        command.envs(self.environment.iter().map(|pair| pair.split_once('=').unwrap()));
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("TRANCHE_LISTEN", "127.0.0.1:0");
        command.stderr(Stdio::piped()).stdout(Stdio::null()).stdin(Stdio::null()).kill_on_drop(true);
        command.spawn().expect("`unshare` of util-linux is needed")
    }

    async fn serves(&self, engine: &str) {
        let mut child = self.start();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = async {
            let mut seen = String::new();
            while let Some(line) = log.next_line().await.unwrap() {
                if let Some(address) = line.split("address=").nth(1) {
                    return address.split_whitespace().next().unwrap().to_owned();
                }
                seen.push_str(&line);
            }
            panic!("it ended: {seen}");
        };
        let address = tokio::time::timeout(Duration::from_secs(30), address).await.expect("it is silent");
        let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
        let health = client.get(format!("http://{address}/_/health")).send().await.unwrap();
        assert_eq!(health.status(), 200);
        let input: Vec<f32> = (0..WIDTH).map(|index| (index % 5) as f32).collect();
        let expected: Vec<f32> = (0..WIDTH)
            .map(|column| (0..WIDTH).map(|row| input[row] * weight_at(row, column)).sum())
            .collect();
        let request = client.post(format!("http://{address}/")).body(frame_bytes(&input));
        let response = request.send().await.unwrap();
        assert_eq!(values(response).await, expected);
        let state = json(client.get(format!("http://{address}/_/ready")).send().await.unwrap()).await;
        assert_eq!(state["engine"], engine);
        let id = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
        kill_process(id, Signal::TERM).unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(30), child.wait()).await;
        assert_eq!(ended.expect("it runs on").unwrap().code(), Some(0));
    }
}

/// The image's layers, one over the other.
fn unpack(layout: &Path, index: &ImageIndex) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for layer in &index.images[0].layers {
        let blob = std::fs::File::open(layout.join("blobs/sha256").join(layer.digest.hex())).unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(blob));
        archive.set_preserve_permissions(true);
        archive.unpack(root.path()).unwrap();
    }
    // A temporary folder is its maker's alone; a container's root is not.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(root.path(), open).unwrap();
    root
}
