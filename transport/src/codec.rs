//! Raw and Zstandard.

use tranche_schema::{AlignedBuffer, Codec};

use bytes::Bytes;

/// Compression level of [`Codec::Zstd`]: the fastest of the standard levels, because
/// activations are coded while somebody is billed.
pub const ZSTD_LEVEL: i32 = 1;

/// Most bytes that one coded byte can stand for: a run-length block is 4 bytes and makes
/// at most 128 KiB (RFC 8878, 3.1.1.2).
const ZSTD_LARGEST_RATIO: u64 = 128 * 1024 / 4;

/// Codes `raw`. The codec returned is [`Codec::Raw`] where coding would not make it smaller.
pub(crate) fn encode(raw: &Bytes, codec: Codec) -> Result<(Codec, Bytes), String> {
    match codec {
        Codec::Raw => Ok((Codec::Raw, raw.clone())),
        Codec::Zstd => {
            let coded = zstd::bulk::compress(raw, ZSTD_LEVEL).map_err(|error| error.to_string())?;
            Ok(if coded.len() < raw.len() { (Codec::Zstd, coded.into()) } else { (Codec::Raw, raw.clone()) })
        }
    }
}

/// Whether `coded_bytes` can stand for `raw_bytes` at all; asked before anything is allocated.
pub(crate) fn plausible(codec: Codec, raw_bytes: u64, coded_bytes: u64) -> bool {
    match codec {
        Codec::Raw => raw_bytes == coded_bytes,
        Codec::Zstd => coded_bytes.saturating_mul(ZSTD_LARGEST_RATIO) >= raw_bytes,
    }
}

/// Decodes exactly `raw_bytes` bytes; raw bytes are shared, not copied.
pub(crate) fn decode(coded: Bytes, codec: Codec, raw_bytes: usize) -> Result<Bytes, String> {
    match codec {
        Codec::Raw if coded.len() == raw_bytes => Ok(coded),
        Codec::Raw => Err(format!("it holds {} bytes instead of {raw_bytes}", coded.len())),
        Codec::Zstd => {
            match zstd::zstd_safe::get_frame_content_size(&coded) {
                Ok(Some(declared)) if declared == raw_bytes as u64 => {}
                Ok(Some(declared)) => {
                    return Err(format!("it decodes to {declared} bytes instead of {raw_bytes}"));
                }
                Ok(None) => return Err("its Zstandard frame does not say its size".to_owned()),
                Err(_) => return Err("it is not a Zstandard frame".to_owned()),
            }
            let mut buffer = AlignedBuffer::zeroed(raw_bytes);
            // The destination bounds the output: whatever the frame holds, no byte more is written.
            let written = zstd::bulk::decompress_to_buffer(&coded, buffer.as_mut())
                .map_err(|error| error.to_string())?;
            if written != raw_bytes {
                return Err(format!("it decoded to {written} bytes instead of {raw_bytes}"));
            }
            Ok(buffer.freeze())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incompressible_bytes_stay_raw() {
        let noise: Vec<u8> =
            (0_u64..512).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
        let (codec, coded) = encode(&Bytes::from(noise[..32].to_vec()), Codec::Zstd).unwrap();
        assert_eq!((codec, coded.len()), (Codec::Raw, 32));
    }

    #[test]
    fn zeros_shrink_and_come_back() {
        let raw = Bytes::from(vec![0; 1 << 20]);
        let (codec, coded) = encode(&raw, Codec::Zstd).unwrap();
        assert_eq!(codec, Codec::Zstd);
        assert!(coded.len() < 1024, "{} bytes", coded.len());
        assert!(plausible(codec, 1 << 20, coded.len() as u64));
        assert_eq!(decode(coded, codec, 1 << 20).unwrap(), raw);
    }

    #[test]
    fn bombs_are_refused() {
        let bomb = Bytes::from(zstd::bulk::compress(&vec![0; 1 << 22], 1).unwrap());
        for claimed in [0, 1, 1 << 10, (1 << 22) - 1, (1 << 22) + 1] {
            assert!(decode(bomb.clone(), Codec::Zstd, claimed).is_err(), "{claimed}");
        }
        assert!(!plausible(Codec::Zstd, 1 << 31, 100));
    }

    /// Two frames after each other: the first says 4 bytes, both make 8.
    #[test]
    fn a_second_frame_is_refused() {
        let mut coded = zstd::bulk::compress(b"aaaa", 1).unwrap();
        coded.extend(zstd::bulk::compress(b"bbbb", 1).unwrap());
        assert!(decode(coded.clone().into(), Codec::Zstd, 4).is_err());
        assert!(decode(coded.into(), Codec::Zstd, 8).is_err());
    }
}
