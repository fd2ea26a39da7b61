//! Which way a tensor goes: in the payload, as a stream, or through the object store.
//!
//! Inputs go in the payload when base64 of their frame fits ([`PAYLOAD_LIMIT`]), raw or compressed;
//! else the largest go through the store until the rest fits. Answers are buffered when they
//! surely fit. A larger answer that another slice reads goes through the store, since it would have
//! to be written there anyway; one that only the caller reads is streamed when that costs no more
//! and takes no longer than the store. Without a store it is always streamed.
//!
//! Prices and rates are those of `docs/formats/lambda.md`; the plan does not know them yet.

use tranche_transport::lambda::{
    PAYLOAD_LIMIT, STREAM_BYTES_PER_SECOND, STREAM_LIMIT, STREAM_UNCAPPED_BYTES, base64_bytes,
};

/// One PUT and one GET of S3 Standard in US dollars (us-east-1).
const STORE_FEE: f64 = 5.4e-6;
/// A GiB-second in US dollars (us-east-1, x86_64); arm64 has 0.8 of it.
const GIB_SECOND: f64 = 1.66667e-5;
/// The first byte of an object, written or read, takes about this long.
const STORE_LATENCY_SECONDS: f64 = 0.05;
/// What a function moves to and from S3 in a second, once its burst is used up (Skyrise,
/// arXiv 2501.07771).
const STORE_BYTES_PER_SECOND: f64 = 75.0 * 1024.0 * 1024.0;
/// Room for the metrics and the punctuation of an answer.
const ANSWER_ROOM: u64 = 16 * 1024;

/// How an answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerWay {
    /// In one payload; it fits.
    Buffered,
    /// As a streamed response.
    Streamed,
    /// In one payload, with what does not fit in the store.
    Stored,
    /// There is none.
    TooLarge,
}

/// What is known of an answer before it is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnswerSize {
    /// Most bytes of its frame; `None` when only its values tell.
    pub(super) frame_bytes: Option<u64>,
    /// Whether another slice reads a part of it.
    pub(super) passed_on: bool,
}

/// The way of an answer of a function with this much memory.
pub(super) fn answer_way(size: AnswerSize, has_store: bool, memory_mib: u32) -> AnswerWay {
    let Some(bytes) = size.frame_bytes else {
        return if has_store { AnswerWay::Stored } else { AnswerWay::Streamed };
    };
    if base64_bytes(bytes).saturating_add(ANSWER_ROOM) <= PAYLOAD_LIMIT {
        return AnswerWay::Buffered;
    }
    let streams = bytes.saturating_add(ANSWER_ROOM) <= STREAM_LIMIT;
    match (streams, has_store) {
        (true, false) => AnswerWay::Streamed,
        (true, true) if !size.passed_on && stream_is_no_worse(bytes, memory_mib) => AnswerWay::Streamed,
        (_, true) => AnswerWay::Stored,
        (false, false) => AnswerWay::TooLarge,
    }
}

/// Whether a stream of these bytes costs no more and ends no later than an object.
fn stream_is_no_worse(bytes: u64, memory_mib: u32) -> bool {
    let gib = f64::from(memory_mib) / 1024.0;
    let stream_seconds = bytes.saturating_sub(STREAM_UNCAPPED_BYTES) as f64 / STREAM_BYTES_PER_SECOND as f64;
    let store_seconds = STORE_LATENCY_SECONDS + bytes as f64 / STORE_BYTES_PER_SECOND;
    let stream_cost = stream_seconds * gib * GIB_SECOND;
    let store_cost = STORE_FEE + store_seconds * gib * GIB_SECOND;
    // The function writes, then the driver reads.
    stream_cost <= store_cost && stream_seconds <= 2.0 * store_seconds
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MEBIBYTE: u64 = 1 << 20;

    fn way(mebibytes: u64, passed_on: bool, has_store: bool) -> AnswerWay {
        let size = AnswerSize { frame_bytes: Some(mebibytes * MEBIBYTE), passed_on };
        answer_way(size, has_store, 1769)
    }

    #[test]
    fn each_size_has_its_way() {
        assert_eq!(way(4, true, true), AnswerWay::Buffered);
        assert_eq!(way(5, true, true), AnswerWay::Stored);
        assert_eq!(way(5, true, false), AnswerWay::Streamed);
        // Up to 6 MB a stream is as fast as the network; 100 MB would take 47 s.
        assert_eq!(way(6, false, true), AnswerWay::Streamed);
        assert_eq!(way(100, false, true), AnswerWay::Stored);
        assert_eq!(way(100, false, false), AnswerWay::Streamed);
        assert_eq!(way(201, false, true), AnswerWay::Stored);
        assert_eq!(way(201, false, false), AnswerWay::TooLarge);
    }

    #[test]
    fn answers_of_unknown_size_have_a_way_for_any() {
        let size = AnswerSize { frame_bytes: None, passed_on: false };
        assert_eq!(answer_way(size, true, 1769), AnswerWay::Stored);
        assert_eq!(answer_way(size, false, 1769), AnswerWay::Streamed);
    }

    proptest! {
        /// Larger answers never go back to a way for smaller ones.
        #[test]
        fn ways_change_in_one_direction(bytes in 0_u64..300 * MEBIBYTE, more in 0_u64..100 * MEBIBYTE,
                                        passed_on: bool, has_store: bool, memory in 128_u32..10_240) {
            let rank = |bytes| match answer_way(AnswerSize { frame_bytes: Some(bytes), passed_on }, has_store, memory) {
                AnswerWay::Buffered => 0,
                AnswerWay::Streamed => 1,
                AnswerWay::Stored => 2,
                AnswerWay::TooLarge => 3,
            };
            prop_assert!(rank(bytes) <= rank(bytes + more));
        }
    }
}
