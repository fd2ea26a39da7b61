//! Any bytes, said to be coded, end in an error or in a tensor of the declared size, which every
//! codec brings back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tranche_schema::{Codec, ElementType, Tensor, TensorSpec};
use tranche_transport::{CodedTensor, FrameLimits, Payload, Placement};
use xxhash_rust::xxh3::xxh3_64;

const LARGEST: u64 = 1 << 20;
const LIMITS: FrameLimits = FrameLimits {
    max_frame_bytes: LARGEST,
    max_tensors: 1,
    max_rank: 8,
    max_name_bytes: 16,
    max_tensor_bytes: LARGEST,
    max_total_tensor_bytes: LARGEST,
};

fuzz_target!(|data: &[u8]| {
    let Some(coded) = claim(data) else { return };
    let Ok(tensor) = coded.decode(&LIMITS, None) else { return };
    assert_eq!(tensor.data().len() as u64, coded.raw_bytes);
    for &codec in Codec::ALL {
        let again = CodedTensor::encode("x", &tensor, codec, Placement::Inline).expect("what was decoded is coded");
        assert!(again.coded_bytes <= again.raw_bytes);
        let back: Tensor = again.decode(&LIMITS, None).expect("what was coded is decoded");
        assert!(!again.codec.is_lossless() || back == tensor, "{codec} changed a tensor");
    }
});

/// Codec, element type, rank and `u16` extents in the first bytes, the rest is the payload.
/// Of strings, whose bytes the shape does not give, the raw length comes first.
fn claim(data: &[u8]) -> Option<CodedTensor> {
    let (&[codec, element_type, rank], mut rest) = data.split_first_chunk()?;
    let codec = Codec::ALL[usize::from(codec) % Codec::ALL.len()];
    let element_type = ElementType::ALL[usize::from(element_type) % ElementType::ALL.len()];
    let mut number = || {
        let (number, after) = rest.split_first_chunk()?;
        rest = after;
        Some(u64::from(u16::from_le_bytes(*number)))
    };
    let shape = (0..rank % 5).map(|_| number()).collect::<Option<Vec<_>>>()?;
    let raw_bytes = match element_type {
        ElementType::String => number()?,
        fixed => fixed.byte_size(&shape)?,
    };
    Some(CodedTensor {
        spec: TensorSpec { name: "x".to_owned(), element_type, shape },
        codec,
        checksum: xxh3_64(rest),
        raw_bytes,
        coded_bytes: rest.len() as u64,
        payload: Payload::Inline(rest.to_vec().into()),
    })
}
