//! What is encoded comes back, whatever the element type, shape, codec and channel.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use bytes::Bytes;
use proptest::prelude::*;
use std::time::Duration;
use tranche_schema::{AlignedBuffer, Codec, ElementType, Tensor};
use tranche_transport::{
    ALIGNMENT, CodedTensor, Frame, FrameError, FrameLimits, ObjectReference, Payload, Placement,
    RequestHeader, SharedFolder,
};

fn tensor() -> impl Strategy<Value = Tensor> {
    let shape = prop::collection::vec(0_u64..5, 0..5);
    (prop::sample::select(ElementType::ALL), shape).prop_flat_map(|(element_type, shape)| {
        let elements = shape.iter().product::<u64>() as usize;
        if element_type == ElementType::String {
            prop::collection::vec(".{0,6}", elements)
                .prop_map(move |texts| Tensor::from_strings(shape.clone(), &texts).unwrap())
                .boxed()
        } else {
            let bytes = element_type.byte_size(&shape).unwrap() as usize;
            // Few distinct values, so that both outcomes of compression occur.
            prop::collection::vec(0_u8..4, bytes)
                .prop_map(move |bytes| {
                    let data = AlignedBuffer::copy_of(&bytes).freeze();
                    Tensor::new(element_type, shape.clone(), data).unwrap()
                })
                .boxed()
        }
    })
}

fn lossless() -> impl Strategy<Value = Codec> {
    let codecs = Codec::ALL.iter().copied().filter(|codec| codec.is_lossless());
    prop::sample::select(codecs.collect::<Vec<_>>())
}

fn header() -> impl Strategy<Value = RequestHeader> {
    let trace = prop::option::of("00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]");
    (any::<[u8; 16]>(), "[a-z0-9-]{0,12}", any::<u32>(), trace, prop::option::of(0_u64..1 << 40)).prop_map(
        |(request_id, slice, attempt, traceparent, milliseconds)| RequestHeader {
            request_id,
            slice,
            attempt,
            traceparent,
            deadline: milliseconds.map(Duration::from_millis),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn frames_come_back(
        header in header(),
        tensors in prop::collection::vec((tensor(), lossless(), any::<bool>()), 0..6),
    ) {
        let temporary = tempfile::tempdir().unwrap();
        let folder = SharedFolder::create(&temporary.path().join("shared")).unwrap();
        let coded = tensors.iter().enumerate().map(|(index, (tensor, codec, shared))| {
            let placement = if *shared { Placement::Shared(&folder) } else { Placement::Inline };
            CodedTensor::encode(&format!("t{index}"), tensor, *codec, placement).unwrap()
        });
        let sent = Frame { header, tensors: coded.collect() };
        let bytes = sent.to_bytes().unwrap();
        let limits = FrameLimits::default();
        let received = Frame::parse(bytes.clone(), &limits).unwrap();
        prop_assert_eq!(&received, &sent);
        prop_assert_eq!(received.to_bytes().unwrap(), bytes);
        let decoded = received.decode(&limits, Some(&folder)).unwrap();
        for ((_, decoded), (original, ..)) in decoded.iter().zip(&tensors) {
            prop_assert_eq!(decoded, original);
        }
    }
}

fn large() -> Tensor {
    let values: Vec<f32> = (0..10_000).map(|n| if n % 3 == 0 { n as f32 } else { 0.0 }).collect();
    Tensor::from_f32(vec![100, 100], &values).unwrap()
}

fn frame(tensors: Vec<CodedTensor>) -> Frame {
    Frame { header: RequestHeader::new([1; 16], "slice-0"), tensors }
}

#[test]
fn raw_inline_tensors_are_read_in_place() {
    let scalar = Tensor::from_i64(vec![], &[5]).unwrap();
    let sent = frame(vec![
        CodedTensor::encode("n", &scalar, Codec::Raw, Placement::Inline).unwrap(),
        CodedTensor::encode("x", &large(), Codec::Raw, Placement::Inline).unwrap(),
    ]);
    let bytes = sent.to_bytes().unwrap();
    let limits = FrameLimits::default();
    let decoded = Frame::parse(bytes.clone(), &limits).unwrap().decode(&limits, None).unwrap();
    for (_, tensor) in &decoded {
        let at = tensor.data().as_ptr() as usize;
        assert!(bytes.as_ptr_range().contains(&tensor.data().as_ptr()), "copied");
        assert!(at.is_multiple_of(ALIGNMENT));
    }
    assert_eq!(decoded[1].1, large());
}

#[test]
fn a_misaligned_frame_decodes_all_the_same() {
    let sent = frame(vec![CodedTensor::encode("x", &large(), Codec::Raw, Placement::Inline).unwrap()]);
    let bytes = sent.to_bytes().unwrap();
    let mut shifted = vec![0];
    shifted.extend_from_slice(&bytes);
    let limits = FrameLimits::default();
    let received = Frame::parse(Bytes::from(shifted).slice(1..), &limits).unwrap();
    assert_eq!(received.tensors[0].decode(&limits, None).unwrap(), large());
}

#[test]
fn chunks_share_the_payload_and_join_to_the_frame() {
    let tensor = large();
    let sent = frame(vec![CodedTensor::encode("x", &tensor, Codec::Raw, Placement::Inline).unwrap()]);
    let chunks = sent.to_chunks().unwrap();
    assert!(chunks.iter().any(|chunk| chunk.as_ptr() == tensor.data().as_ptr()));
    assert_eq!(Bytes::from(chunks.concat()), sent.to_bytes().unwrap());
}

/// A driver without the shared folder passes leases, compressed bytes and objects on.
#[test]
fn forwarding_needs_neither_decoding_nor_the_folder() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = SharedFolder::create(&temporary.path().join("shared")).unwrap();
    let mut object = CodedTensor::encode("o", &large(), Codec::Raw, Placement::Inline).unwrap();
    object.payload =
        Payload::Object(ObjectReference { uri: "s3://bucket/key".to_owned(), etag: "\"1\"".to_owned() });
    let first = frame(vec![
        CodedTensor::encode("z", &large(), Codec::Zstd, Placement::Inline).unwrap(),
        CodedTensor::encode("l", &large(), Codec::Zstd, Placement::Shared(&folder)).unwrap(),
        object,
    ]);
    let limits = FrameLimits::default();
    let received = Frame::parse(first.to_bytes().unwrap(), &limits).unwrap();
    let second = Frame { header: RequestHeader::new([1; 16], "slice-1"), tensors: received.tensors };
    let arrived = Frame::parse(second.to_bytes().unwrap(), &limits).unwrap();
    assert_eq!(arrived.tensors, first.tensors);
    assert_eq!(arrived.tensors[0].decode(&limits, None).unwrap(), large());
    assert_eq!(arrived.tensors[1].decode(&limits, Some(&folder)).unwrap(), large());
    assert!(matches!(arrived.tensors[1].decode(&limits, None), Err(FrameError::NoSharedFolder { .. })));
    assert!(matches!(arrived.tensors[2].decode(&limits, None), Err(FrameError::Object { .. })));
    assert!(arrived.coded_bytes() < arrived.raw_bytes());
    assert_eq!(arrived.leases().count(), 1);
}

#[test]
fn two_tensors_of_one_name_are_not_sent() {
    let tensor = CodedTensor::encode("x", &large(), Codec::Raw, Placement::Inline).unwrap();
    assert!(frame(vec![tensor.clone(), tensor]).to_bytes().is_err());
}
