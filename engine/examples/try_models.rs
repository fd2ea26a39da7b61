//! Runs models with every engine on the same random inputs and prints one table row
//! each: how docs/engines.md is made.
//!
//! `try_models [--dim NAME=SIZE] [--shape INPUT=1x3x224x224] [--limit INPUT=SIZE]
//! [--value INPUT=NUMBER] [--plain] [--profile] MODEL.onnx...`
//!
//! Options hold for the models after them. `--limit` bounds an integer input's values,
//! `--value` gives an int64 scalar,
//! `--plain` turns optimisation off, `--profile` adds how much of the time and of the
//! shapes a profile attributes to nodes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use prost::Message;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use tranche_engine::{
    Engine, EngineError, LoadOptions, OutputBuffer, RandomHints, compare, open_engine, random_tensor,
};
use tranche_graph::onnx;
use tranche_schema::{ElementType, Tensor, TensorSpec};

type Failure = Box<dyn std::error::Error>;

#[derive(Default)]
struct Arguments {
    dims: BTreeMap<String, u64>,
    shapes: BTreeMap<String, Vec<u64>>,
    hints: RandomHints,
    values: BTreeMap<String, i64>,
    plain: bool,
    profile: bool,
}

struct Ports {
    inputs: Vec<TensorSpec>,
    outputs: Vec<String>,
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]
fn main() -> ExitCode {
    println!("| model | tract load ms | tract run ms | ort load ms | ort run ms | max relative difference |");
    println!("|---|---|---|---|---|---|");
    let mut arguments = Arguments::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let result = match word.as_str() {
            "--plain" => {
                arguments.plain = true;
                Ok(())
            }
            "--profile" => {
                arguments.profile = true;
                Ok(())
            }
            "--dim" | "--shape" | "--limit" | "--value" => bind(&mut arguments, &word, words.next()),
            model => try_model(Path::new(model), &arguments).map(|row| println!("{row}")),
        };
        if let Err(error) = result {
            eprintln!("{word}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn bind(arguments: &mut Arguments, option: &str, value: Option<String>) -> Result<(), Failure> {
    let value = value.ok_or("a value is missing")?;
    let (name, size) = value.split_once('=').ok_or("the value is not NAME=SIZE")?;
    match option {
        "--dim" => drop(arguments.dims.insert(name.to_owned(), size.parse()?)),
        "--limit" => drop(arguments.hints.integer_limits.insert(name.to_owned(), size.parse()?)),
        "--value" => drop(arguments.values.insert(name.to_owned(), size.parse()?)),
        _ => {
            let shape = size.split('x').filter(|part| !part.is_empty()).map(str::parse);
            arguments.shapes.insert(name.to_owned(), shape.collect::<Result<_, _>>()?);
        }
    }
    Ok(())
}

fn try_model(path: &Path, arguments: &Arguments) -> Result<String, Failure> {
    let ports = read_ports(path, arguments)?;
    let inputs = ports.inputs.iter().map(|spec| match arguments.values.get(&spec.name) {
        Some(value) => Tensor::from_i64(spec.shape.clone(), &[*value]),
        None => random_tensor(spec, 7, &arguments.hints),
    });
    let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
    let mut cells = vec![path.file_stem().unwrap_or_default().to_string_lossy().into_owned()];
    let mut results: Vec<Vec<Tensor>> = Vec::new();
    let mut notes = Vec::new();
    for name in ["tract", "onnxruntime"] {
        let engine = open_engine(Some(name), None)?;
        match run(engine.as_ref(), path, &ports, &inputs, arguments) {
            Ok(outcome) => {
                cells.extend([format!("{:.0}", outcome.load), format!("{:.1}", outcome.run)]);
                notes.extend(outcome.note);
                results.push(outcome.outputs);
            }
            Err(error) => {
                cells.extend(["–".to_owned(), "–".to_owned()]);
                notes.push(error.to_string());
            }
        }
    }
    if let [tract, runtime] = results.as_slice() {
        let differences = runtime.iter().zip(tract).map(|(reference, other)| compare(reference, other));
        let differences = differences.collect::<Result<Vec<_>, _>>()?;
        let largest = differences.iter().map(|difference| difference.max_relative).fold(0.0, f64::max);
        cells.push(format!("{largest:.1e}"));
    } else {
        cells.push("–".to_owned());
    }
    Ok(format!(
        "| {} |{}",
        cells.join(" | "),
        notes.iter().map(|note| format!(" {note}")).collect::<String>()
    ))
}

struct Outcome {
    load: f64,
    run: f64,
    outputs: Vec<Tensor>,
    note: Option<String>,
}

fn run(
    engine: &dyn Engine,
    path: &Path,
    ports: &Ports,
    inputs: &[Tensor],
    arguments: &Arguments,
) -> Result<Outcome, EngineError> {
    let options = LoadOptions { optimise: !arguments.plain, ..LoadOptions::default() };
    let start = Instant::now();
    let mut session = engine.load(path, &ports.inputs, &ports.outputs, &options)?;
    let load = start.elapsed();
    let views: Vec<_> = inputs.iter().map(Tensor::view).collect();
    let mut buffers: Vec<_> = ports.outputs.iter().map(|_| OutputBuffer::Engine(None)).collect();
    let mut times = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        session.run(&views, &mut buffers)?;
        times.push(start.elapsed());
    }
    let outputs = buffers.into_iter().filter_map(|buffer| match buffer {
        OutputBuffer::Engine(tensor) => tensor,
        OutputBuffer::Caller { .. } => None,
    });
    let outputs = outputs.collect();
    drop(session);
    let note = arguments.profile.then(|| profile(engine, path, ports, inputs)).transpose()?;
    let fastest = times.into_iter().min().unwrap_or_default();
    Ok(Outcome { load: load.as_secs_f64() * 1e3, run: fastest.as_secs_f64() * 1e3, outputs, note })
}

/// Shares of time and of tensors that a profile attributes.
fn profile(
    engine: &dyn Engine,
    path: &Path,
    ports: &Ports,
    inputs: &[Tensor],
) -> Result<String, EngineError> {
    let options = LoadOptions { profile: true, ..LoadOptions::default() };
    let mut session = engine.load(path, &ports.inputs, &ports.outputs, &options)?;
    let views: Vec<_> = inputs.iter().map(Tensor::view).collect();
    let runs = session.profile_runs(&views, 1, 2, &mut |_| {})?;
    let nodes = runs.last().map(Vec::as_slice).unwrap_or_default();
    let total: f64 = nodes.iter().map(|node| node.time.as_secs_f64()).sum();
    let named = nodes.iter().filter(|node| !node.node.is_empty());
    let attributed: f64 = named.clone().map(|node| node.time.as_secs_f64()).sum();
    let mut largest: Vec<_> = named.clone().collect();
    largest.sort_by_key(|node| std::cmp::Reverse(node.time));
    let largest = largest.iter().take(3).map(|node| node.node.as_str()).collect::<Vec<_>>().join(", ");
    Ok(format!(
        "[{}: {:.1} ms, {:.1} % in {} nodes of which {} timed, {} tensors; most in {largest}]",
        engine.name(),
        total * 1e3,
        100.0 * attributed / total,
        named.clone().count(),
        named.clone().filter(|node| !node.time.is_zero()).count(),
        named.map(|node| node.outputs.len()).sum::<usize>(),
    ))
}

fn read_ports(path: &Path, arguments: &Arguments) -> Result<Ports, Failure> {
    let bytes = std::fs::read(PathBuf::from(path))?;
    let graph = onnx::ModelProto::decode(bytes::Bytes::from(bytes))?.graph.ok_or("no graph")?;
    let weights: std::collections::BTreeSet<&str> =
        graph.initializer.iter().map(|weight| weight.name()).collect();
    let inputs = graph.input.iter().filter(|input| !weights.contains(input.name()));
    let inputs = inputs.map(|input| spec_of(input, arguments)).collect::<Result<_, _>>()?;
    Ok(Ports { inputs, outputs: graph.output.iter().map(|output| output.name().to_owned()).collect() })
}

fn spec_of(info: &onnx::ValueInfoProto, arguments: &Arguments) -> Result<TensorSpec, Failure> {
    use onnx::tensor_shape_proto::dimension::Value;
    let declared = info.r#type.as_ref().and_then(|declared| declared.value.as_ref());
    let Some(onnx::type_proto::Value::TensorType(tensor)) = declared else {
        return Err(format!("input `{}` is not a tensor", info.name()).into());
    };
    let element_type = ElementType::from_onnx(tensor.elem_type()).ok_or("unknown element type")?;
    let dims = tensor.shape.iter().flat_map(|shape| &shape.dim);
    let shape = dims.map(|dim| match &dim.value {
        Some(Value::DimValue(extent)) => u64::try_from(*extent).unwrap_or(1),
        Some(Value::DimParam(name)) => arguments.dims.get(name).copied().unwrap_or(1),
        None => 1,
    });
    let shape = arguments.shapes.get(info.name()).cloned().unwrap_or_else(|| shape.collect());
    Ok(TensorSpec { name: info.name().to_owned(), element_type, shape })
}
