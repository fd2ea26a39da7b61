//! Files in and out of the graph crate.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tranche_graph::{ExternalPolicy, Graph, Model};
use tranche_schema::Digest;

/// What a model may take besides the map of its file: names, nodes and small constants.
const LARGEST_GROWTH_KIB: u64 = 8 << 10;

/// Loading and writing back gives the bytes that were there, and copies no weights: a copy
/// of a large model does not fit into what the allocator keeps of earlier work. How little
/// it takes in a fresh process is measured by the graph crate's `lean` test.
pub fn rewriting_takes_no_memory_and_changes_nothing(path: &Path, folder: &Path) {
    let copy = folder.join("copy.onnx");
    let kib = anonymous_growth_kib(|| Model::load(path).unwrap().save(&copy).unwrap());
    assert!(same_bytes(path, &copy), "{} is written otherwise than it was read", path.display());
    let bytes = std::fs::metadata(path).unwrap().len();
    assert!(kib < LARGEST_GROWTH_KIB, "{bytes} bytes took {kib} KiB");
    std::fs::remove_file(copy).unwrap();
}

/// A model written with its weights in files of their own, and read and written again, is
/// the same files; gives the graph of the first.
pub fn rewriting_external_data_changes_nothing(path: &Path, folder: &Path) -> Graph {
    let [first, second] = ["first", "second"].map(|name| folder.join(name).join("model.onnx"));
    let policy = ExternalPolicy::default();
    let saved = Model::load(path).unwrap().save_external(&first, &policy).unwrap();
    let external = Model::load(&first).unwrap();
    assert_eq!(external.has_external_data(), !saved.weights.is_empty());
    assert_eq!(external.save_external(&second, &policy).unwrap(), saved);
    for file in saved.weights.iter().chain([&saved.model]) {
        let written = second.parent().unwrap().join(&file.path);
        assert_eq!(Digest::of_file(&written).unwrap(), file.digest, "{}", written.display());
    }
    std::fs::remove_dir_all(second.parent().unwrap()).unwrap();
    let copy = first.with_file_name("copy.onnx");
    external.save(&copy).unwrap();
    assert!(same_bytes(&first, &copy), "{}", path.display());
    Graph::load(&first).unwrap()
}

/// Each initialiser of one graph has the same elements in the other.
pub fn same_weights(left: &Graph, right: &Graph) {
    let (weights, others) = (&left.source().initializer, &right.source().initializer);
    assert_eq!(weights.len(), others.len());
    for (weight, other) in weights.iter().zip(others) {
        assert_eq!(weight.name(), other.name());
        let elements = left.model().tensor_bytes(weight).unwrap();
        assert!(elements == right.model().tensor_bytes(other).unwrap(), "{}", weight.name());
    }
}

pub fn same_bytes(left: &Path, right: &Path) -> bool {
    const PIECE: u64 = 1 << 20;
    let [mut left, mut right] = [left, right].map(|path| File::open(path).unwrap());
    let (mut from_left, mut from_right) = (Vec::new(), Vec::new());
    loop {
        from_left.clear();
        from_right.clear();
        left.by_ref().take(PIECE).read_to_end(&mut from_left).unwrap();
        right.by_ref().take(PIECE).read_to_end(&mut from_right).unwrap();
        if from_left != from_right {
            return false;
        }
        if from_left.is_empty() {
            return true;
        }
    }
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
        most.fetch_max(anonymous_kib(), Ordering::Relaxed);
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
