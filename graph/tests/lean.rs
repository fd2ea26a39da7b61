//! Models far larger than the memory that reading and writing them takes.
//!
//! Alone in its file: another test of the same process would be counted too.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failure in a test says itself what it is")]

mod common;

use common::*;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tranche_graph::{ExternalPolicy, Graph, Model};

/// A few megabytes, whatever the model weighs.
const LARGEST_GROWTH_KIB: u64 = 4 << 10;
/// Elements of each weight: 250 MB of float32.
const ELEMENTS: i64 = 62_500_000;

#[test]
fn gigabytes_pass_through_a_few_megabytes() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let external = folder.path().join("external.onnx");
    write_external(&external, 10);
    let kib = anonymous_growth_kib(|| {
        let graph = Graph::load(&external).unwrap();
        graph.verify().unwrap();
        graph.model().save(&folder.path().join("copy.onnx")).unwrap();
        // Equal weights are one file, so that this writes a tenth of what it reads.
        let slice = folder.path().join("slice/model.onnx");
        graph.model().save_external(&slice, &ExternalPolicy::default()).unwrap();
    });
    assert!(kib < LARGEST_GROWTH_KIB, "2.5 GB of external data took {kib} KiB");
    let same = |left: &Path, right: &Path| std::fs::read(left).unwrap() == std::fs::read(right).unwrap();
    assert!(same(&external, &folder.path().join("copy.onnx")));

    let inline = folder.path().join("inline.onnx");
    let error = taken_in(&external, 10).save(&inline).unwrap_err().to_string();
    assert!(error.ends_with("is larger than the 2 GiB that protobuf allows; save it with external data"));
    assert!(!inline.exists());
    taken_in(&external, 2).save(&inline).unwrap();
    let bytes = inline.metadata().unwrap().len();
    let kib = anonymous_growth_kib(|| {
        let graph = Graph::load(&inline).unwrap();
        graph.verify().unwrap();
        graph.model().save(&folder.path().join("slice/inline.onnx")).unwrap();
    });
    assert!(kib < LARGEST_GROWTH_KIB, "{bytes} bytes in the file took {kib} KiB");
    assert_eq!(folder.path().join("slice/inline.onnx").metadata().unwrap().len(), bytes);
}

/// A model of `count` weights in one file without a single written block.
fn write_external(path: &Path, count: i64) {
    let length = 4 * ELEMENTS;
    let mut model = chain();
    model.graph.as_mut().unwrap().initializer.extend((0..count).map(|index| {
        let (offset, length) = ((index * length).to_string(), length.to_string());
        let entries = [("location", "weights.bin"), ("offset", offset.as_str()), ("length", length.as_str())];
        external(&format!("large{index}"), &[ELEMENTS], &entries)
    }));
    std::fs::write(path, encode(&model)).unwrap();
    let weights = File::create(path.with_file_name("weights.bin")).unwrap();
    weights.set_len((count * length).unsigned_abs()).unwrap();
}

/// The model with the first `count` of its large weights as raw data, and no others.
fn taken_in(source: &Path, count: usize) -> Model {
    let loaded = Model::load(source).unwrap();
    let mut model = loaded.clone();
    let weights = &mut model.proto.graph.as_mut().unwrap().initializer;
    weights.truncate(count + 1);
    for tensor in weights.iter_mut().skip(1) {
        tensor.raw_data = Some(loaded.tensor_bytes(tensor).unwrap());
        tensor.external_data.clear();
        tensor.data_location = None;
    }
    model
}

/// By how many KiB the process's anonymous memory grew at most while `work` ran, looked
/// at every millisecond.
fn anonymous_growth_kib(work: impl FnOnce()) -> u64 {
    let before = anonymous_kib();
    let (most, done) = (AtomicU64::new(before), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(anonymous_kib(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        work();
        done.store(true, Ordering::Relaxed);
    });
    most.into_inner() - before
}

/// Memory that no file stands behind (`RssAnon` of proc(5)).
fn anonymous_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
