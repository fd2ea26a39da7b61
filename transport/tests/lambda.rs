//! Events, answers and keys of functions on AWS Lambda.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use tranche_schema::{
    AnswerWish, Codec, FunctionMetrics, LambdaAnswer, LambdaAsk, LambdaEvent, ObjectStore, Tensor,
};
use tranche_transport::lambda::*;
use tranche_transport::{CodedTensor, Frame, FrameLimits, Placement, RequestHeader};

fn frame(values: &[f32]) -> Frame {
    let tensor = Tensor::from_f32(vec![values.len() as u64], values).unwrap();
    Frame {
        header: RequestHeader::new([7; 16], "s0"),
        tensors: vec![CodedTensor::encode("x", &tensor, Codec::Raw, Placement::Inline).unwrap()],
    }
}

fn store() -> ObjectStore {
    ObjectStore { bucket: "tensors".to_owned(), prefix: "toy".to_owned() }
}

/// A frame whose run event is as large as Lambda takes; one more float is too many.
fn largest() -> usize {
    let fits = |count: usize| {
        let bytes = frame_bytes(&frame(&vec![0.0; count])).unwrap();
        run_event_bytes(bytes, &AnswerWish::default()) <= PAYLOAD_LIMIT
    };
    let mut count = 1_000_000;
    while fits(count + 1) {
        count += 1000;
    }
    while !fits(count) {
        count -= 1;
    }
    count
}

#[test]
fn the_largest_event_is_made_and_the_next_is_not() {
    let count = largest();
    let wish = AnswerWish::default();
    let event = encode_run(&frame(&vec![0.5; count]), &wish).unwrap();
    assert!(event.len() as u64 <= PAYLOAD_LIMIT && event.len() as u64 > PAYLOAD_LIMIT - 8);
    let error = encode_run(&frame(&vec![0.5; count + 3]), &wish).unwrap_err();
    assert!(matches!(error, LambdaError::TooLarge { limit: PAYLOAD_LIMIT, .. }), "{error}");
}

#[test]
fn documents_look_as_described() {
    let ping = LambdaEvent { tranche: 1, ask: LambdaAsk::Ping {} };
    assert_eq!(encode_event(&ping).unwrap(), "{\"tranche\":1,\"ask\":{\"ping\":{}}}");
    let run = encode_run(&frame(&[1.0]), &AnswerWish { stream: true, ..AnswerWish::default() }).unwrap();
    let text = String::from_utf8(run.to_vec()).unwrap();
    assert!(text.starts_with("{\"tranche\":1,\"ask\":{\"run\":{\"frame\":\"VFJORgEA"), "{text}");
    assert!(text.ends_with("\",\"answer\":{\"stream\":true}}}}"), "{text}");
}

#[test]
fn other_versions_and_unknown_fields_are_refused() {
    let error = decode_event(b"{\"tranche\": 2, \"ask\": {\"ping\": {}}}").unwrap_err();
    assert!(matches!(error, LambdaError::Version { found: 2, .. }), "{error}");
    assert!(decode_event(b"{\"tranche\": 1, \"ask\": {\"ping\": {}}, \"more\": 1}").is_err());
    assert!(decode_event(b"{\"tranche\": 1, \"ask\": {\"stop\": {}}}").is_err());
}

#[test]
fn frames_longer_than_expected_are_refused_before_they_are_decoded() {
    let text = encode_frame(&frame(&[0.0; 4096]), PAYLOAD_LIMIT).unwrap();
    let limits = FrameLimits { max_frame_bytes: 1024, ..FrameLimits::default() };
    assert!(matches!(decode_frame(&text, &limits), Err(LambdaError::TooLarge { what: "frame", .. })));
    assert!(matches!(decode_frame("%%%%", &limits), Err(LambdaError::Base64 { .. })));
}

#[test]
fn failures_are_read_as_lambda_writes_them() {
    let own = FunctionFailure::read(
        br#"{"errorType": "tranche.bad-input", "errorMessage": "no", "stackTrace": []}"#,
    );
    assert_eq!((own.code(), own.message.as_str()), (Some("bad-input"), "no"));
    let timeout = FunctionFailure::read(br#"{"errorMessage": "Task timed out after 3.00 seconds"}"#);
    assert_eq!((timeout.code(), timeout.message.as_str()), (None, "Task timed out after 3.00 seconds"));
    assert_eq!(FunctionFailure::read(b"oops ").message, "oops");
}

#[test]
fn keys_lie_below_their_request() {
    let (store, request) = (store(), "07".repeat(16));
    let keys = [
        tensor_key(&store, &request, "logits"),
        tensor_key(&store, &request, "/layer/Add:0"),
        claim_key(&store, &request, "slice-1"),
        metrics_key(&store, &request, "slice-1"),
        answer_key(&store, &request),
        passing_key(&store, &request, ("slice-1", 2), 0xab, "logits"),
    ];
    let prefix = request_prefix(&store, &request);
    let below: Vec<&str> = keys.iter().map(|key| key.strip_prefix(&prefix).unwrap()).collect();
    assert_eq!(
        below,
        [
            "tensors/logits",
            "tensors/x-899e203f98ad7f4a6966a9e4e76c81a5",
            "claims/slice-1",
            "metrics/slice-1",
            "answer",
            "passing/slice-1-2/00000000000000ab-logits",
        ]
    );
    assert_eq!(parse_object_uri(&object_uri("b", "p/k")), Some(("b", "p/k")));
    assert_eq!(parse_object_uri("s3://b/"), None);
    assert_eq!(parse_object_uri("https://b/k"), None);
}

proptest! {
    #[test]
    fn events_come_back(values in proptest::collection::vec(any::<f32>(), 0..200), max in any::<Option<u64>>()) {
        let frame = frame(&values);
        let wish = AnswerWish { stream: false, max_bytes: max, store: Some(store()) };
        let payload = encode_run(&frame, &wish).unwrap();
        prop_assert_eq!(payload.len() as u64, run_event_bytes(frame_bytes(&frame).unwrap(), &wish));
        let event = decode_event(&payload).unwrap();
        prop_assert_eq!(encode_event(&event).unwrap(), payload);
        let LambdaAsk::Run { frame: text, answer } = event.ask else { panic!("another ask") };
        prop_assert_eq!(answer, wish);
        prop_assert_eq!(decode_frame(&text, &FrameLimits::default()).unwrap(), frame);
    }

    #[test]
    fn answers_come_back_buffered_and_streamed(values in proptest::collection::vec(any::<f32>(), 0..200)) {
        let frame = frame(&values);
        let metrics = FunctionMetrics { slice: "s0".to_owned(), attempt: 1, ..FunctionMetrics::default() };
        let buffered = encode_run_answer(&frame, &metrics).unwrap();
        prop_assert_eq!(buffered.len() as u64, run_answer_bytes(frame_bytes(&frame).unwrap(), &metrics));
        let streamed: BytesMut = encode_streamed(&frame, &metrics).unwrap().into_iter().flatten().collect();
        for payload in [buffered, streamed.freeze()] {
            let (answer, found) = decode_answer(payload, &FrameLimits::default()).unwrap();
            prop_assert_eq!(answer, LambdaAnswer { tranche: 1, frame: None, metrics: Some(metrics.clone()) });
            prop_assert_eq!(found, Some(frame.clone()));
        }
    }

    #[test]
    fn names_of_keys_are_plain(name in "\\PC{0,80}") {
        let key = key_name(&name);
        prop_assert!((1..=64).contains(&key.len()) && key != "." && key != "..");
        prop_assert!(key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)));
        prop_assert_eq!(&key_name(&key), &key);
    }

    #[test]
    fn nothing_makes_them_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = decode_event(&bytes);
        let _ = FunctionFailure::read(&bytes);
        let _ = decode_answer(Bytes::from(bytes), &FrameLimits::default());
    }
}
