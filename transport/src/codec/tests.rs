use super::*;

fn bytes_of(length: u64) -> Layout<'static> {
    let shape = Box::leak(Box::new([length]));
    Layout { element_type: ElementType::UInt8, shape }
}

/// Noise of the multiplicative kind: the same everywhere, in no order that a codec sees.
fn noise(length: u64) -> Vec<u8> {
    (0..length).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

#[test]
fn numbers_in_frames_stand_for_one_codec_each() {
    for &codec in Codec::ALL {
        assert_eq!(from_wire(to_wire(codec)), Some(codec));
    }
    let numbers: Vec<u8> = Codec::ALL.iter().map(|&codec| to_wire(codec)).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7], "numbers of frames that were sent");
    assert_eq!(from_wire(8), None);
}

#[test]
fn incompressible_bytes_stay_raw() {
    for &codec in Codec::ALL {
        let (used, coded) = encode(&Bytes::from(noise(32)), bytes_of(32), codec).unwrap();
        assert_eq!((used, coded.len()), (Codec::Raw, 32), "{codec}");
    }
}

#[test]
fn zeros_shrink_and_come_back() {
    let length = 1 << 22;
    let raw = AlignedBuffer::zeroed(length).freeze();
    let layout = Layout { element_type: ElementType::Float32, shape: &[1 << 20] };
    for &codec in &Codec::ALL[1..] {
        let (used, coded) = encode(&raw, layout, codec).unwrap();
        assert_eq!(used, codec);
        let most = if codec.is_lossless() { length / 200 } else { length / 2 };
        assert!(coded.len() <= most, "{codec}: {} bytes", coded.len());
        assert!(plausible(codec, layout, length as u64, coded.len() as u64), "{codec}");
        assert_eq!(decode(coded, layout, codec, length).unwrap(), raw, "{codec}");
    }
}

#[test]
fn other_sizes_than_the_declared_are_refused() {
    let length = 1 << 16;
    let values: Vec<f32> = (0..length / 4).map(|n| if n % 2 == 0 { 0.0 } else { n as f32 }).collect();
    let raw = AlignedBuffer::copy_of(bytemuck::cast_slice(&values)).freeze();
    let shape_of = |length: usize| [(length / 4) as u64];
    for &codec in Codec::ALL {
        let shape = shape_of(length);
        let layout = Layout { element_type: ElementType::Float32, shape: &shape };
        let (used, coded) = encode(&raw, layout, codec).unwrap();
        assert_eq!(used, codec);
        for claimed in [0, 4, 1 << 10, length - 4, length + 4, length * 2] {
            let shape = shape_of(claimed);
            let layout = Layout { element_type: ElementType::Float32, shape: &shape };
            assert!(decode(coded.clone(), layout, codec, claimed).is_err(), "{codec}: {claimed}");
        }
    }
}

#[test]
fn gibibytes_out_of_a_few_bytes_are_implausible() {
    let layout = Layout { element_type: ElementType::Float32, shape: &[1 << 29] };
    for &codec in Codec::ALL {
        assert!(!plausible(codec, layout, 1 << 31, 100), "{codec}");
    }
}

/// Two frames after each other: the first says 4 bytes, both make 8.
#[test]
fn a_second_frame_is_refused() {
    let mut coded = zstd::bulk::compress(b"aaaa", 1).unwrap();
    coded.extend(zstd::bulk::compress(b"bbbb", 1).unwrap());
    assert!(decode(coded.clone().into(), bytes_of(4), Codec::Zstd, 4).is_err());
    assert!(decode(coded.into(), bytes_of(8), Codec::Zstd, 8).is_err());
}
