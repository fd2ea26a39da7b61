//! Every codec over every element type: what comes back, and what damage does.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use bytes::Bytes;
use proptest::prelude::*;
use tranche_schema::{AlignedBuffer, Codec, ElementType, Tensor};
use tranche_transport::{CodedTensor, FrameLimits, Payload, Placement, measure_codec};
use xxhash_rust::xxh3::xxh3_64;

/// Values that rounding, sign and payload rules are about.
const SPECIAL: [u32; 16] = [
    0x0000_0000, // 0
    0x8000_0000, // −0
    0x0000_0001, // least subnormal
    0x807F_FFFF, // greatest subnormal, negative
    0x0080_0000, // least normal
    0x7F7F_FFFF, // greatest
    0x7F80_0000, // ∞
    0xFF80_0000, // −∞
    0x7FC0_0000, // NaN
    0x7F80_0001, // signalling NaN
    0xFFFF_FFFF, // NaN, all ones
    0x3F80_0000, // 1
    0x477F_E000, // 65504, greatest half
    0x477F_F000, // 65520, rounds to no half
    0x3380_0000, // 2⁻²⁴, least subnormal half
    0xBF80_0001, // just below −1
];

/// Bytes of tensors: zeros, noise, a ramp, runs, special values, zeros in between.
fn contents(length: usize) -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        4 => Just(0_u32),
        2 => any::<u32>(),
        2 => prop::sample::select(SPECIAL.to_vec()),
        2 => (-1000.0_f32..1000.0).prop_map(f32::to_bits),
    ];
    let words = length.div_ceil(4);
    prop_oneof![
        Just(vec![0_u32; words]),
        Just((0..words as u32).collect()),
        prop::collection::vec(any::<u32>(), words),
        prop::collection::vec((-8.0_f32..8.0).prop_map(|value| value.max(0.0).to_bits()), words),
        prop::collection::vec(word, words),
    ]
    .prop_map(move |words: Vec<u32>| bytemuck::cast_slice::<u32, u8>(&words)[..length].to_vec())
}

fn tensor() -> impl Strategy<Value = Tensor> {
    let fixed = ElementType::ALL.iter().copied().filter(|kind| kind.bits().is_some());
    let shape = prop_oneof![
        12 => prop::collection::vec(0_u64..8, 0..4),
        4 => prop::collection::vec(30_u64..40, 1..3),
        // More than one block of the sparse codec; larger ones are below.
        1 => Just(vec![2, 3, 700]),
    ];
    let others = (prop::sample::select(fixed.collect::<Vec<_>>()), shape).prop_flat_map(|(kind, shape)| {
        let length = kind.byte_size(&shape).unwrap() as usize;
        contents(length).prop_map(move |bytes| tensor_of(kind, &shape, &bytes))
    });
    let strings = prop::collection::vec("(same|.{0,6})", 0..40)
        .prop_map(|texts| Tensor::from_strings(vec![texts.len() as u64], &texts).unwrap());
    prop_oneof![9 => others, 1 => strings]
}

fn floats() -> impl Strategy<Value = Tensor> {
    let shape = prop_oneof![9 => prop::collection::vec(1_u64..8, 0..4), 1 => Just(vec![2, 3, 700])];
    (shape, -30_i32..16).prop_flat_map(|(shape, exponent)| {
        let count = shape.iter().product::<u64>() as usize;
        let scale = 2.0_f32.powi(exponent);
        prop::collection::vec((-1.0_f32..1.0).prop_map(move |value| value * scale), count)
            .prop_map(move |values| Tensor::from_f32(shape.clone(), &values).unwrap())
    })
}

fn tensor_of(kind: ElementType, shape: &[u64], bytes: &[u8]) -> Tensor {
    Tensor::new(kind, shape.to_vec(), AlignedBuffer::copy_of(bytes).freeze()).unwrap()
}

fn lossless() -> impl Strategy<Value = Codec> {
    let codecs = Codec::ALL.iter().copied().filter(|codec| codec.is_lossless());
    prop::sample::select(codecs.collect::<Vec<_>>())
}

fn coded(tensor: &Tensor, codec: Codec) -> CodedTensor {
    CodedTensor::encode("x", tensor, codec, Placement::Inline).unwrap()
}

fn back(tensor: &Tensor, codec: Codec) -> Tensor {
    coded(tensor, codec).decode(&FrameLimits::default(), None).unwrap()
}

fn inline(tensor: &CodedTensor) -> &Bytes {
    let Payload::Inline(bytes) = &tensor.payload else { panic!("not inline") };
    bytes
}

/// The same claims about other bytes, with their checksum right.
fn forged(tensor: &CodedTensor, bytes: Vec<u8>) -> CodedTensor {
    CodedTensor {
        checksum: xxh3_64(&bytes),
        coded_bytes: bytes.len() as u64,
        payload: Payload::Inline(bytes.into()),
        ..tensor.clone()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn lossless_codecs_bring_back_every_bit(tensor in tensor(), codec in lossless()) {
        prop_assert_eq!(back(&tensor, codec), tensor);
    }

    #[test]
    fn coding_never_makes_a_tensor_larger(tensor in tensor(), codec in prop::sample::select(Codec::ALL)) {
        let coded = coded(&tensor, codec);
        prop_assert!(coded.coded_bytes <= coded.raw_bytes);
        prop_assert_eq!(coded.codec == Codec::Raw, coded.coded_bytes == coded.raw_bytes);
    }

    #[test]
    fn lossy_codecs_leave_other_types_alone(tensor in tensor(), codec in prop::sample::select(Codec::ALL)) {
        if !codec.is_lossless() && tensor.element_type() != ElementType::Float32 {
            prop_assert_eq!(coded(&tensor, codec).codec, Codec::Raw);
        }
    }

    #[test]
    fn halves_are_within_their_bounds(tensor in tensor()) {
        if tensor.element_type() == ElementType::Float32 {
            within(&tensor, Codec::F16, |value| (value.abs() * 2_f64.powi(-11)).max(2_f64.powi(-25)));
            within(&tensor, Codec::Bf16, |value| (value.abs() * 2_f64.powi(-8)).max(2_f64.powi(-134)));
        }
    }

    #[test]
    fn ordinary_floats_do_travel_as_halves(tensor in floats()) {
        prop_assert_eq!(coded(&tensor, Codec::F16).codec, Codec::F16);
        prop_assert_eq!(coded(&tensor, Codec::Bf16).codec, Codec::Bf16);
    }

    #[test]
    fn eight_bits_are_within_half_a_step(tensor in floats()) {
        let steps = steps(&tensor);
        let decoded = back(&tensor, Codec::Int8);
        let values = tensor.as_slice::<f32>().unwrap().iter().zip(decoded.as_slice::<f32>().unwrap());
        for ((before, after), step) in values.zip(steps) {
            let error = (f64::from(*before) - f64::from(*after)).abs();
            prop_assert!(error <= 0.501 * step, "{before} came back as {after}, a step is {step}");
            prop_assert!(*before != 0.0 || *after == 0.0);
        }
    }

    /// No checksum in between: the codec's own rules are all there is.
    #[test]
    fn damaged_bytes_never_panic(
        tensor in tensor(),
        codec in prop::sample::select(Codec::ALL),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let coded = coded(&tensor, codec);
        let mut bytes = inline(&coded).to_vec();
        for (index, value) in changes.iter().filter(|_| !inline(&coded).is_empty()) {
            let at = index.index(bytes.len());
            bytes[at] = *value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        if let Ok(decoded) = forged(&coded, bytes).decode(&FrameLimits::default(), None) {
            prop_assert_eq!(decoded.data().len(), tensor.data().len());
        }
    }

    #[test]
    fn truncated_bytes_are_refused(tensor in tensor(), codec in prop::sample::select(Codec::ALL), cut in any::<prop::sample::Index>()) {
        let coded = coded(&tensor, codec);
        prop_assume!(coded.coded_bytes > 0);
        let mut bytes = inline(&coded).to_vec();
        bytes.truncate(cut.index(bytes.len()));
        prop_assert!(forged(&coded, bytes).decode(&FrameLimits::default(), None).is_err());
    }

    #[test]
    fn added_bytes_are_refused(tensor in tensor(), codec in prop::sample::select(Codec::ALL), more in prop::collection::vec(any::<u8>(), 1..9)) {
        let coded = coded(&tensor, codec);
        let bytes = [&inline(&coded)[..], &more].concat();
        prop_assert!(forged(&coded, bytes).decode(&FrameLimits::default(), None).is_err());
    }

    #[test]
    fn noise_is_not_decoded_beyond_its_claim(
        noise in prop::collection::vec(any::<u8>(), 0..300),
        count in 0_u64..200,
        codec in prop::sample::select(Codec::ALL),
    ) {
        let claim = coded(&Tensor::from_f32(vec![count], &vec![0.0; count as usize]).unwrap(), Codec::Raw);
        let forged = CodedTensor { codec, ..forged(&claim, noise) };
        if let Ok(decoded) = forged.decode(&FrameLimits::default(), None) {
            prop_assert_eq!(decoded.data().len() as u64, 4 * count);
        }
    }
}

/// Every finite value comes back within `bound` of itself; the others keep their kind.
fn within(tensor: &Tensor, codec: Codec, bound: impl Fn(f64) -> f64) {
    let decoded = back(tensor, codec);
    let values = tensor.as_slice::<f32>().unwrap().iter().zip(decoded.as_slice::<f32>().unwrap());
    for (&before, &after) in values {
        let error = (f64::from(before) - f64::from(after)).abs();
        let is_fine = match before.classify() {
            std::num::FpCategory::Nan => after.is_nan(),
            std::num::FpCategory::Infinite => before == after,
            _ => error <= bound(f64::from(before)),
        };
        assert!(is_fine, "{codec}: {before:e} came back as {after:e}");
    }
}

/// (largest − smallest) / 255 of the channel of each element, the range widened to 0.
fn steps(tensor: &Tensor) -> Vec<f64> {
    let values = tensor.as_slice::<f32>().unwrap();
    let (channels, inner) = match tensor.shape() {
        [_, channels, inner @ ..] => (*channels as usize, inner.iter().product::<u64>() as usize),
        _ => (1, values.len()),
    };
    let channel = |index: usize| index / inner % channels;
    let mut ranges = vec![(0.0_f64, 0.0_f64); channels];
    for (index, &value) in values.iter().enumerate() {
        let range = &mut ranges[channel(index)];
        *range = (range.0.min(f64::from(value)), range.1.max(f64::from(value)));
    }
    (0..values.len()).map(|index| (ranges[channel(index)].1 - ranges[channel(index)].0) / 255.0).collect()
}

/// Seeds 300,000 values, of which a share is zero, over several blocks of every codec.
fn activations(shape: &[u64], zeros: u64) -> Tensor {
    let count = shape.iter().product::<u64>();
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let values: Vec<f32> = (0..count)
        .map(|_| if next() % 100 < zeros { 0.0 } else { (next() % 100_000) as f32 / 12_345.0 })
        .collect();
    Tensor::from_f32(shape.to_vec(), &values).unwrap()
}

#[test]
fn many_blocks_come_back() {
    for zeros in [0, 1, 3, 50, 97, 100] {
        let tensor = activations(&[1, 3, 317, 317], zeros);
        for &codec in Codec::ALL.iter().filter(|codec| codec.is_lossless()) {
            assert_eq!(back(&tensor, codec), tensor, "{codec}, {zeros} % zeros");
        }
    }
}

#[test]
fn half_of_the_elements_zero_make_half_of_the_bytes() {
    let tensor = activations(&[1, 64, 56, 56], 50);
    let ratio = |codec| tensor.data().len() as f64 / coded(&tensor, codec).coded_bytes as f64;
    assert!(ratio(Codec::Sparse) > 1.8, "{}", ratio(Codec::Sparse));
    assert!(ratio(Codec::ShuffleZstd) > ratio(Codec::Sparse));
}

#[test]
fn values_that_a_codec_cannot_hold_go_as_they_are() {
    let as_is = |value: f32, codec| {
        let tensor = Tensor::from_f32(vec![64], &[&[value], &[1.0; 63][..]].concat()).unwrap();
        let coded = coded(&tensor, codec);
        assert_eq!(back(&tensor, codec).as_slice::<f32>().unwrap()[1..], [1.0; 63]);
        coded.codec == Codec::Raw
    };
    assert!(as_is(65_520.0, Codec::F16) && !as_is(65_519.0, Codec::F16));
    assert!(as_is(f32::MAX, Codec::Bf16) && !as_is(3.38e38, Codec::Bf16));
    assert!(as_is(f32::NAN, Codec::Int8) && as_is(f32::INFINITY, Codec::Int8));
    assert!(!as_is(f32::NAN, Codec::F16) && !as_is(f32::INFINITY, Codec::Bf16));
    let tiny = Tensor::from_f32(vec![64], &[1e-38; 64]).unwrap();
    assert_eq!(coded(&tiny, Codec::Int8).codec, Codec::Raw, "a step would be no normal number");
}

#[test]
fn channels_of_eight_bits_are_those_of_axis_1() {
    // Channel 0 is a thousand times channel 1, in both items of the batch.
    let values: Vec<f32> = (0..64)
        .map(|index: u32| (index % 16) as f32 * if (index / 16).is_multiple_of(2) { 1000.0 } else { 1.0 })
        .collect();
    let tensor = Tensor::from_f32(vec![2, 2, 4, 4], &values).unwrap();
    let decoded = back(&tensor, Codec::Int8);
    let small = &decoded.as_slice::<f32>().unwrap()[16..32];
    assert!(small.iter().zip(0_u8..).all(|(value, n)| (value - f32::from(n)).abs() < 0.03), "{small:?}");
}

#[test]
fn a_measurement_says_what_the_encoder_does() {
    let tensor = activations(&[1, 16, 32, 32], 50);
    for &codec in Codec::ALL {
        let measured = measure_codec(&tensor, codec).unwrap();
        let coded = coded(&tensor, codec);
        assert_eq!((measured.codec, measured.coded_bytes), (coded.codec, coded.coded_bytes), "{codec}");
        assert_eq!(measured.largest_error == 0.0, codec.is_lossless(), "{codec}");
        assert!(measured.largest_error < 0.01 * measured.largest_value, "{codec}");
    }
}
