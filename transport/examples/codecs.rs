//! What codecs do to recorded tensors, one JSON line a file and codec:
//!
//! ```text
//! cargo run --release -p tranche-transport --example codecs -- FOLDER [CODEC] > codecs.jsonl
//! ```
//!
//! FOLDER holds raw little-endian tensors named `NAME.TYPE.SHAPE.bin`, such as
//! `relu.float32.1x64x56x56.bin`; `bench/activations.py` records them. Each codec runs on one
//! thread, at least seven times and for a fifth of a second; times are medians. For comparison
//! stand beside them `memcpy` (into fresh memory), `zstd-3`, `shuffle-lz4` (bytes of elements
//! transposed, then LZ4) and `pco` (`float32` alone, without modes and deltas, level 4).

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
    let mut files: Vec<_> =
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.sort();
    for file in files {
        let Some((name, tensor)) = read(&file)? else { continue };
        for &codec in &Codec::ALL[1..] {
            if only.as_deref().is_none_or(|only| only == codec.name()) {
                print(&name, &tensor, codec.name(), &median(|| Ok(measure_codec(&tensor, codec)?))?);
            }
        }
        if only.is_none() {
            print_baselines(&name, &tensor)?;
        }
    }
    Ok(())
}

fn print_baselines(name: &str, tensor: &Tensor) -> Result<(), Box<dyn Error>> {
    print(name, tensor, "zstd-3", &baseline(tensor, zstd_3, zstd_decompress)?);
    let width = tensor.element_type().bits().map_or(1, |bits| (bits as usize / 8).max(1));
    let elements = tensor.data().len() / width;
    let shuffle = |raw: &[u8]| Ok(lz4_flex::block::compress(&transposed(raw, elements, width)));
    let unshuffle = |coded: &[u8], raw: &mut [u8]| {
        let planes = lz4_flex::block::decompress(coded, raw.len())?;
        raw.copy_from_slice(&transposed(&planes, width, elements));
        Ok(())
    };
    print(name, tensor, "shuffle-lz4", &baseline(tensor, shuffle, unshuffle)?);
    if tensor.element_type() == ElementType::Float32 {
        print(name, tensor, "pco", &baseline(tensor, pco_compress, pco_decompress)?);
    }
    let copy = |raw: &[u8]| Ok(raw.to_vec());
    let copy_back = |coded: &[u8], raw: &mut [u8]| {
        raw.copy_from_slice(coded);
        Ok(())
    };
    print(name, tensor, "memcpy", &baseline(tensor, copy, copy_back)?);
    Ok(())
}

fn zstd_3(raw: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    Ok(zstd::bulk::compress(raw, 3)?)
}

fn zstd_decompress(coded: &[u8], raw: &mut [u8]) -> Result<(), Box<dyn Error>> {
    Ok(zstd::bulk::decompress_to_buffer(coded, raw).map(drop)?)
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

/// What a compressor beside tranche's codecs does, measured as they are.
fn baseline(
    tensor: &Tensor,
    encode: impl Fn(&[u8]) -> Result<Vec<u8>, Box<dyn Error>>,
    decode: impl Fn(&[u8], &mut [u8]) -> Result<(), Box<dyn Error>>,
) -> Result<CodecMeasurement, Box<dyn Error>> {
    median(|| {
        let start = Instant::now();
        let coded = encode(tensor.data())?;
        let encode_time = start.elapsed();
        let start = Instant::now();
        let mut raw = AlignedBuffer::zeroed(tensor.data().len());
        decode(&coded, raw.as_mut())?;
        let decode_time = start.elapsed();
        if raw.as_ref() != &tensor.data()[..] {
            return Err("a compressor did not bring back what it was given".into());
        }
        Ok(CodecMeasurement {
            codec: Codec::Raw,
            raw_bytes: tensor.data().len() as u64,
            coded_bytes: coded.len() as u64,
            encode_time,
            decode_time,
            largest_error: 0.0,
            largest_value: 0.0,
        })
    })
}

/// A matrix of bytes with rows and columns exchanged.
fn transposed(bytes: &[u8], rows: usize, columns: usize) -> Vec<u8> {
    let mut out = vec![0; bytes.len()];
    if columns < rows {
        for (column, row) in out.chunks_exact_mut(rows).enumerate() {
            row.iter_mut().zip(bytes.iter().skip(column).step_by(columns)).for_each(|(to, from)| *to = *from);
        }
    } else {
        for (row, values) in bytes.chunks_exact(columns).enumerate() {
            out.iter_mut().skip(row).step_by(rows).zip(values).for_each(|(to, from)| *to = *from);
        }
    }
    out
}

fn pco_compress(raw: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let config = pco::ChunkConfig::default()
        .with_compression_level(4)
        .with_mode_spec(pco::ModeSpec::Classic)
        .with_delta_spec(pco::DeltaSpec::NoOp);
    Ok(pco::standalone::simple_compress::<f32>(
        bytemuck::try_cast_slice(raw).map_err(|e| e.to_string())?,
        &config,
    )?)
}

fn pco_decompress(coded: &[u8], raw: &mut [u8]) -> Result<(), Box<dyn Error>> {
    let values = bytemuck::try_cast_slice_mut::<u8, f32>(raw).map_err(|error| error.to_string())?;
    pco::standalone::simple_decompress_into(coded, values)?;
    Ok(())
}

fn print(file: &str, tensor: &Tensor, codec: &str, measured: &CodecMeasurement) {
    let speed = |time: Duration| {
        (measured.raw_bytes as f64 / time.as_secs_f64().max(1e-9) / 1e9 * 1000.0).round() / 1000.0
    };
    let relative = measured.largest_error / measured.largest_value.max(f64::MIN_POSITIVE);
    // A tensor that a codec left as it is comes back without being touched.
    let is_decoded = measured.codec.name() == codec || Codec::ALL.iter().all(|known| known.name() != codec);
    println!(
        "{}",
        json!({
            "file": file,
            "codec": codec,
            "travels_as": measured.codec,
            "raw_bytes": tensor.data().len(),
            "coded_bytes": measured.coded_bytes,
            "encode_gb_per_s": speed(measured.encode_time),
            "decode_gb_per_s": is_decoded.then(|| speed(measured.decode_time)),
            "relative_error": if measured.largest_error == 0.0 { 0.0 } else { relative },
        })
    );
}
