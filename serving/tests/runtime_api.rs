//! The Runtime API's client against a double.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "support/runtime_api.rs"]
mod runtime_api;

use base64::Engine as _;
use bytes::Bytes;
use futures_util::stream;
use runtime_api::{ARN, RuntimeApiDouble, TRACE};
use std::time::{Duration, SystemTime};
use tranche_serving::lambda::{Initialization, PAYLOAD_LIMIT, RuntimeApi, RuntimeApiError, RuntimeFailure};

fn client(double: &RuntimeApiDouble) -> RuntimeApi {
    RuntimeApi::new(&double.address, Initialization::OnDemand).unwrap()
}

async fn double() -> (RuntimeApiDouble, RuntimeApi) {
    let double = RuntimeApiDouble::start("").await;
    let api = client(&double);
    (double, api)
}

fn failure() -> RuntimeFailure {
    RuntimeFailure::new("engine-failed", "the engine stopped", "try again")
}

#[tokio::test]
async fn an_event_is_taken_and_answered() {
    let (double, api) = double().await;
    let sent = double.send("{\"a\":1}");
    let event = api.next().await.unwrap();
    assert_eq!((&event.request_id, &event.payload[..]), (&sent, b"{\"a\":1}".as_slice()));
    assert_eq!((event.function_arn.as_deref(), event.trace_id.as_deref()), (Some(ARN), Some(TRACE)));
    assert!(event.time_left() > Duration::from_secs(58) && event.time_left() <= Duration::from_secs(60));
    assert!(event.deadline_time > SystemTime::now());
    api.respond(&sent, Bytes::from_static(b"{\"b\":2}")).await.unwrap();
    let said = double.said_of(&sent).await;
    assert_eq!(said.path, format!("/2018-06-01/runtime/invocation/{sent}/response"));
    assert_eq!(
        (said.json(), &said.headers["content-length"]),
        (serde_json::json!({"b": 2}), &"7".parse().unwrap())
    );
}

#[tokio::test]
async fn a_prefix_stays_before_every_path() {
    let double = RuntimeApiDouble::start("/.rt/slice-0").await;
    let api = client(&double);
    let sent = double.send("{}");
    assert_eq!(api.next().await.unwrap().request_id, sent);
    api.respond(&sent, Bytes::new()).await.unwrap();
    assert_eq!(double.said_of(&sent).await.kind(), "response");
}

#[tokio::test]
async fn failures_say_their_type_twice() {
    let (double, api) = double().await;
    api.fail("id-1", &failure()).await.unwrap();
    api.init_error(&failure()).await.unwrap();
    for call in [double.said_of("id-1").await, double.said_at("/runtime/init/error").await] {
        assert_eq!(call.headers["lambda-runtime-function-error-type"], "tranche.engine-failed");
        assert_eq!(call.json()["errorType"], "tranche.engine-failed");
        assert_eq!(call.json()["errorMessage"], "the engine stopped (try again)");
    }
}

#[tokio::test]
async fn a_streamed_answer_goes_in_chunks() {
    let (double, api) = double().await;
    let chunks = stream::iter(["one ", "two"].map(|text| Ok(Bytes::from_static(text.as_bytes()))));
    api.respond_streamed("id-1", "application/octet-stream", chunks).await.unwrap();
    let said = double.said_of("id-1").await;
    assert_eq!(said.body, "one two");
    assert_eq!(said.headers["lambda-runtime-function-response-mode"], "streaming");
    assert_eq!(said.headers["transfer-encoding"], "chunked");
    assert_eq!(said.headers["connection"], "close");
    assert!(said.trailers.is_empty(), "{:?}", said.trailers);
}

#[tokio::test]
async fn a_stream_that_fails_in_the_middle_ends_with_the_reason() {
    let (double, api) = double().await;
    let chunks =
        stream::iter([Ok(Bytes::from_static(b"one ")), Err(failure()), Ok(Bytes::from_static(b"two"))]);
    api.respond_streamed("id-1", "application/octet-stream", chunks).await.unwrap();
    let said = double.said_of("id-1").await;
    assert_eq!(said.body, "one ");
    assert_eq!(said.trailers["lambda-runtime-function-error-type"], "tranche.engine-failed");
    let body = &said.trailers["lambda-runtime-function-error-body"];
    let body = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
    assert_eq!(body, failure().to_json());
}

#[tokio::test]
async fn an_answer_that_lambda_does_not_take_is_not_sent() {
    let (double, api) = double().await;
    let error = api.respond("id-1", vec![b' '; PAYLOAD_LIMIT + 1].into()).await.unwrap_err();
    assert_eq!(error.to_string(), "the answer has 6291557 bytes, Lambda takes 6291556");
    assert!(error.hint().contains("streamed"));
    assert!(double.calls().is_empty());
    api.respond("id-1", vec![b' '; PAYLOAD_LIMIT].into()).await.unwrap();
    assert_eq!(double.said_of("id-1").await.body.len(), PAYLOAD_LIMIT);
}

#[tokio::test]
async fn broken_connections_are_made_again() {
    let (double, api) = double().await;
    double.break_connection();
    double.break_connection();
    let sent = double.send("{}");
    assert_eq!(api.next().await.unwrap().request_id, sent);
    // In the middle of the wait, too.
    let waiting = tokio::spawn(async move { api.next().await });
    double.polled(4).await;
    double.break_connection();
    let sent = double.send("{}");
    assert_eq!(waiting.await.unwrap().unwrap().request_id, sent);
}

#[tokio::test]
async fn an_event_that_ends_early_is_answered_and_the_next_one_taken() {
    let (double, api) = double().await;
    double.cut_event("id-1");
    let sent = double.send("{}");
    assert_eq!(api.next().await.unwrap().request_id, sent);
    let said = double.said_of("id-1").await;
    assert_eq!((said.kind(), said.json()["errorType"].as_str()), ("error", Some("tranche.bad-event")));
}

#[tokio::test]
async fn a_refusal_is_final() {
    let (double, api) = double().await;
    double.refuse(403);
    let error = api.next().await.unwrap_err();
    assert!(matches!(&error, RuntimeApiError::Refused { status, .. } if status.as_u16() == 403));
    assert!(error.to_string().contains("InvalidState"), "{error}");
}

/// Ten seconds of patience are for what comes back, not for ever.
#[tokio::test]
async fn an_api_that_is_gone_is_given_up() {
    let (double, api) = double().await;
    let address = double.address.clone();
    drop(double);
    let waiting = tokio::time::timeout(Duration::from_secs(20), api.next()).await.unwrap();
    let error = waiting.unwrap_err();
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test]
async fn only_snap_start_restores() {
    let (double, api) = double().await;
    assert!(!api.restore_next().await.unwrap());
    api.restore_error(&failure()).await.unwrap();
    assert!(double.calls().is_empty());
    let api = RuntimeApi::new(&double.address, Initialization::SnapStart).unwrap();
    assert!(api.restore_next().await.unwrap());
    api.restore_error(&failure()).await.unwrap();
    let paths: Vec<_> = double.calls().into_iter().map(|call| call.path).collect();
    assert_eq!(paths, ["/2018-06-01/runtime/restore/next", "/2018-06-01/runtime/restore/error"]);
}
