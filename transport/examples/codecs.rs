//! What codecs do to recorded tensors, one JSON line a file and codec:
//!
//! ```text
//! cargo run --release -p tranche-transport --example codecs -- FOLDER > codecs.jsonl
//! ```
//!
//! FOLDER holds raw little-endian tensors named `NAME.TYPE.SHAPE.bin`, such as
//! `relu.float32.1x64x56x56.bin`; `bench/activations.py` records them. Each codec runs on one
//! thread, at least seven times and for a fifth of a second; times are medians. `memcpy` (into
//! fresh memory, which is what a raw tensor takes) and `zstd-3` stand beside for comparison.

#![allow(clippy::print_stdout, reason = "it prints what it measures")]

use serde_json::json;
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};
use tranche_schema::{AlignedBuffer, Codec, ElementType, Tensor};
use tranche_transport::{CodecMeasurement, measure_codec};

const LEAST_RUNS: usize = 7;
const LEAST_TIME: Duration = Duration::from_millis(200);

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("give the folder of recorded tensors")?;
    let only = std::env::args().nth(2);
    let mut files: Vec<_> = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    for file in files {
        let Some((name, tensor)) = read(&file)? else { continue };
        for &codec in &Codec::ALL[1..] {
            if only.as_deref().is_none_or(|only| only == codec.name()) {
                print(&name, &tensor, codec.name(), &median(|| Ok(measure_codec(&tensor, codec)?))?);
            }
        }
        if only.is_none() {
            print(&name, &tensor, "zstd-3", &median(|| zstd_3(&tensor))?);
            print(&name, &tensor, "memcpy", &median(|| Ok(memcpy(&tensor)))?);
        }
    }
    Ok(())
}

/// The tensor of a file; `None` where its name is none of a tensor.
fn read(file: &Path) -> Result<Option<(String, Tensor)>, Box<dyn Error>> {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let mut parts = name.rsplit('.').skip(1);
    let (Some(shape), Some(element_type), Some(_)) = (parts.next(), parts.next(), parts.next()) else {
        return Ok(None);
    };
    let Some(element_type) = ElementType::from_name(element_type) else { return Ok(None) };
    let extents = shape.split('x').filter(|extent| !extent.is_empty());
    let shape = extents.map(str::parse).collect::<Result<_, _>>()?;
    let data = AlignedBuffer::copy_of(&std::fs::read(file)?).freeze();
    Ok(Some((name.trim_end_matches(".bin").to_owned(), Tensor::new(element_type, shape, data)?)))
}

/// The run whose times are the medians, each by itself.
fn median(
    mut run: impl FnMut() -> Result<CodecMeasurement, Box<dyn Error>>,
) -> Result<CodecMeasurement, Box<dyn Error>> {
    let start = Instant::now();
    let mut runs = Vec::new();
    while runs.len() < LEAST_RUNS || start.elapsed() < LEAST_TIME {
        runs.push(run()?);
    }
    let middle = |time: fn(&CodecMeasurement) -> Duration| {
        let mut times: Vec<_> = runs.iter().map(time).collect();
        times.sort();
        times[times.len() / 2]
    };
    let encode_time = middle(|run| run.encode_time);
    let decode_time = middle(|run| run.decode_time);
    Ok(CodecMeasurement { encode_time, decode_time, ..runs[0] })
}

fn baseline(
    tensor: &Tensor,
    coded_bytes: usize,
    encode_time: Duration,
    decode_time: Duration,
) -> CodecMeasurement {
    CodecMeasurement {
        codec: Codec::Raw,
        raw_bytes: tensor.data().len() as u64,
        coded_bytes: coded_bytes as u64,
        encode_time,
        decode_time,
        largest_error: 0.0,
        largest_value: 0.0,
    }
}

fn zstd_3(tensor: &Tensor) -> Result<CodecMeasurement, Box<dyn Error>> {
    let start = Instant::now();
    let coded = zstd::bulk::compress(tensor.data(), 3)?;
    let encode_time = start.elapsed();
    let start = Instant::now();
    let mut raw = AlignedBuffer::zeroed(tensor.data().len());
    zstd::bulk::decompress_to_buffer(&coded, raw.as_mut())?;
    Ok(baseline(tensor, coded.len(), encode_time, start.elapsed()))
}

fn memcpy(tensor: &Tensor) -> CodecMeasurement {
    let copy = || {
        let start = Instant::now();
        std::hint::black_box(AlignedBuffer::copy_of(tensor.data()));
        start.elapsed()
    };
    baseline(tensor, tensor.data().len(), copy(), copy())
}

fn print(file: &str, tensor: &Tensor, codec: &str, measured: &CodecMeasurement) {
    let speed = |time: Duration| {
        (measured.raw_bytes as f64 / time.as_secs_f64().max(1e-9) / 1e9 * 1000.0).round() / 1000.0
    };
    let relative = measured.largest_error / measured.largest_value.max(f64::MIN_POSITIVE);
    println!(
        "{}",
        json!({
            "file": file,
            "codec": codec,
            "travels_as": measured.codec,
            "raw_bytes": tensor.data().len(),
            "coded_bytes": measured.coded_bytes,
            "encode_gb_per_s": speed(measured.encode_time),
            "decode_gb_per_s": speed(measured.decode_time),
            "relative_error": if measured.largest_error == 0.0 { 0.0 } else { relative },
        })
    );
}
