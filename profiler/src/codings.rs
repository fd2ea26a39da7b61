//! What codecs take and save on tensors that slices pass on.

use crate::{ProfilerError, timing};
use tranche_schema::{Codec, Millis, Tensor, TensorCoding};
use tranche_transport::measure_codec;

/// Tensors of less are passed on as they are: their bytes are not what a hand-off takes.
const LEAST_BYTES: usize = 64 << 10;
/// Times that a tensor is coded with a codec.
const REPEATS: usize = 3;
/// Coded bytes per raw byte from which a codec saves nothing worth its time.
const WORTH: f64 = 0.95;

/// As it is, and every codec that saves something on this tensor, on one thread. None of a
/// small tensor.
///
/// # Errors
/// When a codec does not bring back the tensor.
pub(crate) fn codings(name: &str, tensor: &Tensor) -> Result<Vec<TensorCoding>, ProfilerError> {
    if tensor.data().len() < LEAST_BYTES {
        return Ok(Vec::new());
    }
    let as_it_is = TensorCoding {
        tensor: name.to_owned(),
        codec: Codec::Raw,
        ratio: 1.0,
        loss: 0.0,
        encode_ms_per_mib: Millis(0.0),
        decode_ms_per_mib: Millis(0.0),
    };
    let mut found = vec![as_it_is];
    for codec in Codec::ALL.iter().copied().filter(|codec| *codec != Codec::Raw) {
        let wrap = |source| ProfilerError::Codec { tensor: name.to_owned(), codec, source };
        let first = measure_codec(tensor, codec).map_err(wrap)?;
        let ratio = first.coded_bytes as f64 / first.raw_bytes as f64;
        if first.codec != codec || ratio > WORTH {
            continue;
        }
        let (mut encode, mut decode) = (Vec::new(), Vec::new());
        for _ in 0..REPEATS {
            let again = measure_codec(tensor, codec).map_err(wrap)?;
            encode.push(again.encode_time.as_secs_f64() * 1000.0);
            decode.push(again.decode_time.as_secs_f64() * 1000.0);
        }
        let mebibytes = first.raw_bytes as f64 / f64::from(1 << 20);
        let per_mebibyte = |times: &[f64]| Millis(timing(times).median_ms.0 / mebibytes);
        found.push(TensorCoding {
            tensor: name.to_owned(),
            codec,
            ratio,
            loss: if first.largest_value > 0.0 { first.largest_error / first.largest_value } else { 0.0 },
            encode_ms_per_mib: per_mebibyte(&encode),
            decode_ms_per_mib: per_mebibyte(&decode),
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(value: impl Fn(usize) -> f32) -> Tensor {
        let values: Vec<f32> = (0..32 << 10).map(value).collect();
        Tensor::from_f32(vec![32, 1 << 10], &values).unwrap()
    }

    #[test]
    fn only_what_saves_something_is_told() {
        let mut state = 1_u32;
        let noise: Vec<f32> = (0..32 << 10)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                f32::from_bits(state ^ (state >> 15))
            })
            .collect();
        let lossless = |found: Vec<TensorCoding>| -> Vec<Codec> {
            found.iter().map(|coding| coding.codec).filter(|codec| codec.is_lossless()).collect()
        };
        assert_eq!(lossless(codings("noise", &tensor(|place| noise[place])).unwrap()), [Codec::Raw]);
        let found =
            codings("zeros", &tensor(|place| if place % 2 == 0 { noise[place] } else { 0.0 })).unwrap();
        assert!(found.iter().any(|coding| coding.codec == Codec::Sparse && coding.ratio < 0.6), "{found:?}");
        assert!(found.iter().skip(1).all(|coding| coding.encode_ms_per_mib.0 > 0.0));
    }

    #[test]
    fn small_tensors_are_left_alone() {
        assert_eq!(codings("small", &Tensor::from_f32(vec![4], &[0.0; 4]).unwrap()).unwrap(), []);
    }
}
