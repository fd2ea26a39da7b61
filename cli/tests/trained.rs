//! Trained models in slices give the answers that people know them for. The
//! models come out of public packages through pip: `registry_` tests need it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use serde_json::Value;
use std::path::{Path, PathBuf};
use support::Place;
use tranche_cli::tensor_files::{read_tensors, write_tensors};
use tranche_models::answers::ocr::{self, Image, Line};
use tranche_models::answers::sentence::{self, Encoding, WordPiece, cosine, mean_pool};
use tranche_schema::{Tensor, TensorSpec};

/// The first three with their cosines are the example in the documentation of
/// Sentence Transformers; the last two mean the same, and nothing of the others.
const SENTENCES: [&str; 5] = [
    "The weather is lovely today.",
    "It's so sunny outside!",
    "He drove to the stadium.",
    "The company's profits rose sharply last year.",
    "Earnings of the firm grew strongly in the past year.",
];
const DOCUMENTED: [(usize, usize, f32); 3] = [(0, 1, 0.6660), (0, 2, 0.1046), (1, 2, 0.1411)];

/// A line of the page that detection and recognition are given.
const LINE: &str = "Let us first determine markers of the coins and the";

#[test]
fn registry_minilm_in_slices_knows_which_sentences_mean_the_same() {
    let inputs: Vec<(String, Tensor)> = sentence::inputs(&encodings()).unwrap().into_iter().collect();
    assert_meanings(&run(&Place::new(), "minilm_l6_v2_fp32", &inputs));
}

#[test]
fn registry_minilm_verb_by_verb_on_onnx_runtime_knows_it_too() {
    let place = Place::new();
    let library = kept(&["engine", "add", "onnxruntime"], "library");
    let engine = ["--engine", "onnxruntime", "--onnxruntime", library.to_str().unwrap()];
    assert_meanings(&hidden_by_verbs(&place, &engine));
}

#[test]
fn registry_ocr_in_slices_reads_a_page() {
    let lines = read_page(&Place::new());
    assert_eq!(lines.len(), 7, "{lines:#?}");
    let found = lines.iter().find(|line| line.text == LINE).unwrap_or_else(|| panic!("{lines:#?}"));
    assert!(found.confidence >= 0.95, "{found:?}");
    assert!(lines.iter().all(|line| line.confidence >= 0.9), "{lines:#?}");
}

/// Cosines of the sentences whose answer this is.
fn assert_meanings(hidden: &Tensor) {
    let vectors = mean_pool(&hidden.view(), &encodings()).unwrap();
    let cosine = |a: usize, b: usize| cosine(&vectors[a], &vectors[b]);
    for (a, b, documented) in DOCUMENTED {
        assert!((cosine(a, b) - documented).abs() < 1e-4, "{a} and {b}: {}", cosine(a, b));
    }
    assert!(cosine(3, 4) >= 0.5, "{}", cosine(3, 4));
    for (a, b) in (0..3).flat_map(|a| [(a, 3), (a, 4)]) {
        assert!(cosine(a, b) <= 0.2, "{a} and {b}: {}", cosine(a, b));
    }
}

/// What MiniLM answers to the sentences, through every verb and two slices or more.
fn hidden_by_verbs(place: &Place, engine: &[&str]) -> Tensor {
    let model = fetched("minilm_l6_v2_fp32");
    let model = model.to_str().unwrap();
    let inputs: Vec<(String, Tensor)> = sentence::inputs(&encodings()).unwrap().into_iter().collect();
    write_tensors(&place.path("sentences.npz"), &inputs).unwrap();
    let shapes = shapes_of(&inputs);
    let on_model = |verb: &str, more: &[&str]| {
        let shapes: Vec<&str> = shapes.iter().map(String::as_str).collect();
        place.json(&[&[verb, model, "--inputs", "sentences.npz"], engine, &shapes, more].concat())
    };
    on_model("profile", &["--warmup", "0", "--repeats", "1"]);
    let plan = on_model("partition", &["--min-slices", "2"]);
    assert!(plan["slices"].as_array().unwrap().len() >= 2);
    on_model("package", &[]);
    assert_agreement(&on_model("verify", &[])["outputs"]);
    place.json(&[&["deploy", "--name", "minilm"], engine].concat());
    place.json(&["invoke", "minilm", "--inputs", "sentences.npz", "--output", "hidden.npz"]);
    place.json(&["destroy", "minilm"]);
    only_output(&place.path("hidden.npz"), &plan)
}

/// The lines of the page, found and read by slices, detection being told first
/// where they are and recognition then given all of them in one request.
fn read_page(place: &Place) -> Vec<Line> {
    let page = Image::from_png(&std::fs::read(fetched("page")).unwrap()).unwrap();
    let map = run(place, "PP-OCRv6_det_small", &[("x".to_owned(), ocr::prepare(&page).unwrap())]);
    let areas = ocr::boxes(&map.view(), &page).unwrap();
    let recognition = fetched("PP-OCRv6_rec_small");
    let characters = ocr::characters(&tranche_graph::Model::load(&recognition).unwrap()).unwrap();
    let strips = ocr::prepare_lines(&page, &areas).unwrap();
    let answer = run(place, "PP-OCRv6_rec_small", &[("x".to_owned(), strips)]);
    ocr::decode(&answer.view(), &characters).unwrap()
}

/// What a model answers through `run`, in two slices.
fn run(place: &Place, model: &str, inputs: &[(String, Tensor)]) -> Tensor {
    let path = fetched(model);
    write_tensors(&place.path("inputs.npz"), inputs).unwrap();
    let shapes = shapes_of(inputs);
    let shapes: Vec<&str> = shapes.iter().map(String::as_str).collect();
    let once = ["--warmup", "0", "--repeats", "1", "--requests", "1", "--no-unsplit"];
    let how = ["--inputs", "inputs.npz", "--strategy", "uniform=2", "--output", "answer.npz"];
    let report = place.json(&[&["run", path.to_str().unwrap()], &shapes[..], &how, &once].concat());
    assert_eq!(report["slices"], 2);
    assert_agreement(&report["outputs"]);
    let plan = std::fs::read(place.path(report["plan"].as_str().unwrap())).unwrap();
    only_output(&place.path("answer.npz"), &serde_json::from_slice(&plan).unwrap())
}

/// Whole and sliced model give the same, as far as rounding goes.
fn assert_agreement(outputs: &Value) {
    for output in outputs.as_array().unwrap() {
        let difference = output["max_relative_difference"].as_f64().unwrap();
        assert!(difference <= 1e-5, "{output}");
    }
}

fn encodings() -> Vec<Encoding> {
    let text = std::fs::read_to_string(fetched("minilm_tokenizer")).unwrap();
    let tokenizer = WordPiece::from_json(&text).unwrap();
    SENTENCES.iter().map(|sentence| tokenizer.encode(sentence)).collect()
}

/// The path of a file of the catalogue.
fn fetched(name: &str) -> PathBuf {
    kept(&["models", "fetch", name], "path")
}

/// What a verb fetches is kept for later tests and later runs of them; the
/// program checks its digest each time. Gives the path that it says.
fn kept(verb: &[&str], path: &str) -> PathBuf {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fetched");
    let output = Place::new().tranche(verb).arg("--json").env("TRANCHE_CACHE", cache).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_str(&text).unwrap();
    PathBuf::from(document[path].as_str().unwrap())
}

/// `--shape` for each input.
fn shapes_of(inputs: &[(String, Tensor)]) -> Vec<String> {
    let text = |tensor: &Tensor| tensor.shape().iter().map(u64::to_string).collect::<Vec<_>>().join("x");
    let flags =
        inputs.iter().map(|(name, tensor)| ["--shape".to_owned(), format!("{name}={}", text(tensor))]);
    flags.flatten().collect()
}

/// The answer of a model with one output, as its plan describes it.
fn only_output(file: &Path, plan: &Value) -> Tensor {
    let outputs: Vec<TensorSpec> = serde_json::from_value(plan["outputs"].clone()).unwrap();
    let mut tensors = read_tensors(file.to_str().unwrap(), &outputs).unwrap();
    assert_eq!(tensors.len(), 1);
    tensors.remove(0).1
}
