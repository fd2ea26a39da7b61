//! Damaged and lying frames end in an error, never in a panic or a large allocation.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use bytes::Bytes;
use proptest::prelude::*;
use std::time::Duration;
use tranche_schema::{Codec, ElementType, Tensor};
use tranche_transport::{
    CodedTensor, Frame, FrameError, FrameLimits, LeaseReference, Payload, Placement, RequestHeader,
    SharedFolder,
};
use xxhash_rust::xxh3::xxh3_64;

fn sample() -> Frame {
    let x = Tensor::from_f32(vec![2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    let zeros = Tensor::from_i64(vec![64], &[0; 64]).unwrap();
    let ramp = Tensor::from_i64(vec![64], &(0..64).collect::<Vec<_>>()).unwrap();
    let relu = Tensor::from_f32(vec![1, 2, 8], &[[0.0, 1.0, 0.0, 2.0]; 4].concat()).unwrap();
    let words = Tensor::from_strings(vec![2], &["one", ""]).unwrap();
    let mut lease = CodedTensor::encode("lease", &x, Codec::Raw, Placement::Inline).unwrap();
    lease.payload = Payload::Lease(LeaseReference { name: "a".repeat(32), offset: 0, length: 24 });
    Frame {
        header: RequestHeader {
            request_id: [9; 16],
            slice: "slice-0".to_owned(),
            attempt: 1,
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            deadline: Some(Duration::from_millis(1500)),
        },
        tensors: vec![
            CodedTensor::encode("x", &x, Codec::Raw, Placement::Inline).unwrap(),
            CodedTensor::encode("zeros", &zeros, Codec::Zstd, Placement::Inline).unwrap(),
            CodedTensor::encode("lz4", &zeros, Codec::Lz4, Placement::Inline).unwrap(),
            CodedTensor::encode("shuffle", &ramp, Codec::ShuffleZstd, Placement::Inline).unwrap(),
            CodedTensor::encode("sparse", &relu, Codec::Sparse, Placement::Inline).unwrap(),
            CodedTensor::encode("f16", &x, Codec::F16, Placement::Inline).unwrap(),
            CodedTensor::encode("bf16", &x, Codec::Bf16, Placement::Inline).unwrap(),
            CodedTensor::encode("int8", &relu, Codec::Int8, Placement::Inline).unwrap(),
            CodedTensor::encode("words", &words, Codec::Raw, Placement::Inline).unwrap(),
            lease,
        ],
    }
}

fn read(bytes: Bytes) -> Result<(), FrameError> {
    let limits = FrameLimits { max_total_tensor_bytes: 1 << 20, ..FrameLimits::default() };
    let frame = Frame::parse(bytes, &limits)?;
    for tensor in frame.tensors.iter().filter(|tensor| matches!(tensor.payload, Payload::Inline(_))) {
        tensor.decode(&limits, None)?;
    }
    Ok(())
}

#[test]
fn the_sample_itself_is_fine_and_has_every_codec() {
    read(sample().to_bytes().unwrap()).unwrap();
    let has = |codec| sample().tensors.iter().any(|tensor| tensor.codec == codec);
    assert!(Codec::ALL.iter().all(|&codec| has(codec)));
}

#[test]
fn every_truncation_is_refused() {
    let bytes = sample().to_bytes().unwrap();
    for length in 0..bytes.len() {
        assert!(read(bytes.slice(..length)).is_err(), "{length} of {} bytes accepted", bytes.len());
    }
}

#[test]
fn every_single_bit_flip_is_refused() {
    let bytes = sample().to_bytes().unwrap();
    for index in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.to_vec();
            damaged[index] ^= 1 << bit;
            assert!(read(damaged.into()).is_err(), "bit {bit} of byte {index} changed unseen");
        }
    }
}

#[test]
fn trailing_bytes_are_refused() {
    let mut bytes = sample().to_bytes().unwrap().to_vec();
    bytes.push(0);
    assert!(read(bytes.into()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Changes anywhere in the header, with the checksum made right again: what is left
    /// are the rules.
    #[test]
    fn forged_headers_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = sample().to_bytes().unwrap().to_vec();
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        seal(&mut bytes);
        let _ = read(bytes.into());
    }

    #[test]
    fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..400), magic in any::<bool>()) {
        let mut bytes = noise;
        if magic && bytes.len() >= 32 {
            bytes[..8].copy_from_slice(b"TRNF\x01\0\0\0");
            seal(&mut bytes);
        }
        prop_assert!(read(bytes.into()).is_err());
    }
}

/// Sets the header's checksum to what its bytes give.
fn seal(bytes: &mut [u8]) {
    let length = u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
    if length < 32 || length > bytes.len() {
        return;
    }
    bytes[24..32].fill(0);
    let checksum = xxh3_64(&bytes[..length]);
    bytes[24..32].copy_from_slice(&checksum.to_le_bytes());
}

/// A frame of one inline tensor whose claims are not checked by the encoder: the bytes of
/// an honest frame with numbers replaced at their place in the first table entry.
fn lying(field: Field, value: u64) -> Bytes {
    let x = Tensor::from_f32(vec![2, 3], &[1.0; 6]).unwrap();
    let frame = Frame {
        header: RequestHeader::new([0; 16], "s"),
        tensors: vec![CodedTensor::encode("x", &x, Codec::Raw, Placement::Inline).unwrap()],
    };
    let mut bytes = frame.to_bytes().unwrap().to_vec();
    // Fixed header 64, slice name 2 + 1, traceparent 2, tensor name 2 + 1.
    let entry = 64 + 3 + 2 + 3;
    let (offset, width) = match field {
        Field::TensorCount => (12, 4),
        Field::FrameLength => (16, 8),
        Field::ElementType => (entry, 4),
        Field::Codec => (entry + 4, 1),
        Field::Location => (entry + 5, 1),
        Field::Rank => (entry + 6, 2),
        Field::Extent => (entry + 8, 8),
        Field::RawLength => (entry + 24, 8),
        Field::CodedLength => (entry + 32, 8),
        Field::Offset => (entry + 48, 8),
    };
    bytes[offset..offset + width].copy_from_slice(&value.to_le_bytes()[..width]);
    seal(&mut bytes);
    bytes.into()
}

#[derive(Clone, Copy, Debug)]
enum Field {
    TensorCount,
    FrameLength,
    ElementType,
    Codec,
    Location,
    Rank,
    Extent,
    RawLength,
    CodedLength,
    Offset,
}

#[test]
fn lies_in_the_table_are_refused() {
    use Field::*;
    let huge = u64::MAX;
    let lies = [
        (TensorCount, 0),
        (TensorCount, 2),
        (TensorCount, huge),
        (FrameLength, 0),
        (FrameLength, huge),
        (ElementType, 0),
        (ElementType, 99),
        (ElementType, 8),
        (ElementType, 11),
        (Codec, 1),
        (Codec, 2),
        (Codec, 3),
        (Codec, 4),
        (Codec, 5),
        (Codec, 6),
        (Codec, 7),
        (Codec, 8),
        (Codec, 255),
        (Location, 1),
        (Location, 2),
        (Location, 3),
        (Rank, 0),
        (Rank, 1),
        (Rank, huge),
        (Extent, 0),
        (Extent, 3),
        (Extent, huge),
        (RawLength, 0),
        (RawLength, 23),
        (RawLength, huge),
        (CodedLength, 0),
        (CodedLength, 25),
        (CodedLength, huge),
        (Offset, 0),
        (Offset, 64),
        (Offset, 129),
        (Offset, huge),
    ];
    for (field, value) in lies {
        assert!(read(lying(field, value)).is_err(), "{field:?} = {value} accepted");
    }
    assert!(read(lying(Rank, 2)).is_ok(), "the offsets above are wrong");
}

#[test]
fn declared_sizes_are_bounded_before_anything_is_allocated() {
    let limits = FrameLimits { max_tensor_bytes: 1000, ..FrameLimits::default() };
    let zeros = Tensor::from_i64(vec![1000], &[0; 1000]).unwrap();
    let coded = CodedTensor::encode("zeros", &zeros, Codec::Zstd, Placement::Inline).unwrap();
    let frame = Frame { header: RequestHeader::new([0; 16], "s"), tensors: vec![coded.clone()] };
    let bytes = frame.to_bytes().unwrap();
    let error = Frame::parse(bytes.clone(), &limits).unwrap_err();
    assert_eq!(error.to_string(), "size of tensor `zeros` is 8000, the limit is 1000");
    assert!(matches!(coded.decode(&limits, None), Err(FrameError::Limit { .. })));

    let total = FrameLimits { max_total_tensor_bytes: 1000, ..FrameLimits::default() };
    assert!(matches!(Frame::parse(bytes.clone(), &total), Err(FrameError::Limit { .. })));
    let small = FrameLimits { max_frame_bytes: 100, ..FrameLimits::default() };
    assert!(matches!(Frame::parse(bytes, &small), Err(FrameError::Limit { .. })));
}

/// 8 GiB of zeros in a few bytes, and a mebibyte that says it is 256 bytes or a little more.
#[test]
fn bombs_are_refused() {
    let limits = FrameLimits { max_tensor_bytes: u64::MAX, ..FrameLimits::default() };
    let mut bytes = vec![0; 1 << 20];
    bytes[(1 << 20) - 1] = 1;
    let zeros = Tensor::new(ElementType::UInt8, vec![1 << 20], Bytes::from(bytes)).unwrap();
    for codec in [Codec::Zstd, Codec::Lz4, Codec::ShuffleZstd, Codec::Sparse] {
        let honest = CodedTensor::encode("x", &zeros, codec, Placement::Inline).unwrap();
        assert_eq!(honest.codec, codec);
        for claimed in [256_u64, (1 << 20) - 1, (1 << 20) + 1, 1 << 33] {
            let mut bomb = honest.clone();
            bomb.spec.shape = vec![claimed];
            bomb.raw_bytes = claimed;
            assert!(bomb.decode(&limits, None).is_err(), "{codec}: {claimed}");
        }
    }
}

#[test]
fn lease_names_are_names_of_files_of_the_folder_and_nothing_else() {
    let temporary = tempfile::tempdir().unwrap();
    std::fs::write(temporary.path().join("secret"), b"secret").unwrap();
    let folder = SharedFolder::create(&temporary.path().join("shared")).unwrap();
    std::os::unix::fs::symlink("../secret", folder.path().join("link")).unwrap();
    rustix::fs::mkdir(folder.path().join("folder"), rustix::fs::Mode::RWXU).unwrap();
    let long = "a".repeat(65);
    for name in
        ["../secret", "/etc/hostname", ".", "..", "", "a/b", "A", "a.b", "link", "folder", "gone", &long]
    {
        let lease = LeaseReference { name: name.to_owned(), offset: 0, length: 1 };
        assert!(folder.map(&lease).is_err(), "mapped `{name}`");
    }
    for name in ["../secret", "/etc/hostname", ".", ""] {
        assert!(folder.release(name).is_err(), "released `{name}`");
    }
    assert!(temporary.path().join("secret").exists());
}

#[test]
fn a_lease_beyond_its_file_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = SharedFolder::create(&temporary.path().join("shared")).unwrap();
    let lease = folder.write(b"0123456789").unwrap();
    assert_eq!(&folder.map(&lease).unwrap()[..], b"0123456789");
    let part = LeaseReference { offset: 3, length: 4, ..lease.clone() };
    assert_eq!(&folder.map(&part).unwrap()[..], b"3456");
    for (offset, length) in [(0, 11), (10, 1), (u64::MAX, 1), (0, u64::MAX), (1, u64::MAX)] {
        let lie = LeaseReference { offset, length, ..lease.clone() };
        assert!(folder.map(&lie).is_err(), "{offset} + {length}");
    }
}
