//! Any bytes end in an error or in a frame that is written as the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tranche_transport::{Frame, FrameLimits, Payload};
use xxhash_rust::xxh3::xxh3_64;

/// Small enough that an allocation beyond it is a finding.
const LIMITS: FrameLimits = FrameLimits {
    max_frame_bytes: 1 << 20,
    max_tensors: 64,
    max_rank: 8,
    max_name_bytes: 256,
    max_tensor_bytes: 1 << 20,
    max_total_tensor_bytes: 1 << 22,
};

fuzz_target!(|data: &[u8]| {
    let mut bytes = data.to_vec();
    seal(&mut bytes);
    let Ok(frame) = Frame::parse(bytes.clone().into(), &LIMITS) else { return };
    let written = frame.to_bytes().expect("what was read can be written");
    assert!(written == bytes, "a frame is written as it was read");
    for mut tensor in frame.tensors {
        let _ = tensor.decode(&LIMITS, None);
        if let Payload::Inline(coded) = &tensor.payload {
            tensor.checksum = xxh3_64(coded);
            if let Ok(decoded) = tensor.decode(&LIMITS, None) {
                assert_eq!(decoded.data().len() as u64, tensor.raw_bytes);
            }
        }
    }
});

/// Sets the header's checksum to what its bytes give: no fuzzer guesses a hash.
fn seal(bytes: &mut [u8]) {
    let Some(length) = bytes.get(8..12).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes) else {
        return;
    };
    let length = length as usize;
    if length >= 32 && length <= bytes.len() {
        bytes[24..32].fill(0);
        let checksum = xxh3_64(&bytes[..length]);
        bytes[24..32].copy_from_slice(&checksum.to_le_bytes());
    }
}
