//! Results on disk, and the tables made of them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use support::{failed, measured, results};
use tranche_bench::{Lines, render};

fn table(lines: &[String]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = results(folder.path(), lines);
    render(&Lines::open(&path).unwrap().latest(), &[])
}

#[test]
fn gains_losses_and_failures_are_all_shown() {
    let lines = [
        measured("vgg16", "optimal", &[(400, 100.0), (600, 100.0)], (2000, 180.0), (3000, 200.0)),
        measured("gat_cora", "optimal", &[(64, 12.0)], (64, 12.0), (96, 8.0)),
        measured("bert_base", "optimal", &[(900, 150.0), (300, 10.0)], (512, 150.0), (1024, 150.0)),
        failed("convlstm", "optimal", "failed: tract cannot run this | node\nmore"),
    ];
    insta::assert_snapshot!(table(&lines), @r"
    ## Summary

    | plans | models | failed | sliced | gain over whole | losses | gain over Python | losses | latency against whole | efficiency: Python, whole, sliced |
    |---|---|---|---|---|---|---|---|---|---|
    | optimal on onnxruntime, memory-time | 3 | 1 | 2 | 1.26x | 1 | 1.88x | 0 | 1.07x | 50 %, 50 %, 50 % |

    ## optimal on onnxruntime, memory-time

    | model | slices | memory-time: Python, whole, sliced (GiB·s) | gain over whole | gain over Python | p50: Python, whole, sliced (ms) | p99: Python, whole, sliced (ms) | middle half of the memory-time |
    |---|---|---|---|---|---|---|---|
    | vgg16 | 2 | 0.5859, 0.3516, 0.0977 | 3.60x | 6.00x | 202.0, 182.0, 204.0 | 303.0, 273.0, 306.0 | ± 2.0 % |
    | gat_cora | 1 | 0.0008, 0.0008, 0.0008 | 1.00x | 1.00x | 10.0, 14.0, 14.0 | 15.0, 21.0, 21.0 | ± 2.0 % |
    | bert_base | 2 | 0.1500, 0.0750, 0.1348 | 0.56x (loss) | 1.11x | 152.0, 152.0, 164.0 | 228.0, 228.0, 246.0 | ± 2.0 % |
    | convlstm | – | not measured: failed: tract cannot run this \| node | | | | | |
    | **geometric mean of 3** | | | **1.26x** | **1.88x** | | | |

    | model | efficiency: Python, whole, sliced | memory: Python, whole, sum of slices (MiB) | difference from Python | load average |
    |---|---|---|---|---|
    | vgg16 | 50 %, 50 %, 50 % | 3000, 2000, 1000 | 1.5e-6 | 0.25 |
    | gat_cora | 50 %, 50 %, 50 % | 96, 64, 64 | 1.5e-6 | 0.25 |
    | bert_base | 50 %, 50 %, 50 % | 1024, 512, 1200 | 1.5e-6 | 0.25 |

    ## Predicted against measured billed time

    | plans | models | median difference | p95 | worst |
    |---|---|---|---|---|
    | optimal on onnxruntime, memory-time | 3 | 5.0 % | 5.0 % | bert_base 5.0 % |
    ");
}

#[test]
fn a_later_line_replaces_an_earlier_one() {
    let lines = [
        failed("vgg16", "optimal", "failed: no memory"),
        measured("vgg16", "optimal", &[(512, 50.0)], (1024, 100.0), (1024, 100.0)),
    ];
    let text = table(&lines);
    assert!(text.contains("| vgg16 | 1 |") && text.contains("4.00x"), "{text}");
    assert!(!text.contains("no memory"), "{text}");
}

#[test]
fn an_interrupted_line_is_measured_again_and_others_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let whole = measured("vgg16", "optimal", &[(512, 50.0)], (1024, 100.0), (1024, 100.0));
    let path = results(folder.path(), &[whole.clone(), failed("vgg16", "gillis", "failed")]);
    let cut = format!("{}{}", fs::read_to_string(&path).unwrap(), &whole[..whole.len() / 2]);
    fs::write(&path, cut).unwrap();
    let lines = Lines::open(&path).unwrap();
    assert!(lines.has("vgg16", "onnxruntime", "optimal", "local", true));
    assert!(!lines.has("vgg16", "onnxruntime", "gillis", "local", true), "tried again when asked to");
    assert!(lines.has("vgg16", "onnxruntime", "gillis", "local", false));
    for (engine, prices) in [("tract", "local"), ("onnxruntime", "openfaas")] {
        assert!(!lines.has("vgg16", engine, "optimal", prices, false), "{engine} {prices}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2, "what was cut off is gone");
}

#[test]
fn a_file_of_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = results(folder.path(), &["{\"model\":\"vgg16\"}".to_owned()]);
    let error = Lines::open(&path).unwrap_err().to_string();
    assert!(error.contains("results.jsonl: line 1: "), "{error}");
}

#[test]
fn what_was_measured_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = results(folder.path(), &[measured("a", "optimal", &[(64, 1.0)], (64, 1.0), (64, 1.0))]);
    let before = fs::read_to_string(&path).unwrap();
    let record = Lines::open(&path).unwrap().latest()[0].clone();
    let again = folder.path().join("again.jsonl");
    Lines::open(&again).unwrap().append(record).unwrap();
    assert_eq!(fs::read_to_string(again).unwrap(), before);
}
