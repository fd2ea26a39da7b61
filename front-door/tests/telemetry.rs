//! Metrics and traces, read by the Python libraries of Prometheus and OpenTelemetry.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use serde_json::Value;
use std::time::{Duration, Instant};
use support::clients::python;
use support::collector::Collector;
use support::common::server::Fault;
use support::{Door, X, functions};

/// The first fault meets the door's question whether the function is ready, which this one does not
/// change.
const FOR_THE_PING: Fault = Fault::NoMetrics;

/// Every sample by name and labels.
async fn scrape(door: &Door) -> Value {
    let response = door.client.get(format!("{}/metrics", door.url)).send().await.unwrap();
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), response.bytes().await.unwrap()).unwrap();
    serde_json::from_str(&python("scrape.py", &[file.path().to_str().unwrap()]).await).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_what_happened_is_counted() {
    let (deployment, _functions) = functions("toy", vec![FOR_THE_PING, Fault::Status(503, "later")]).await;
    let door = Door::start(vec![deployment], |_| {}).await;
    eventually_ready(&door).await;
    for body in [X, X, "{}"] {
        door.post("/toy", body).await;
    }
    let samples = scrape(&door).await;
    let of = |name: &str| samples[name].as_f64().unwrap_or_else(|| panic!("{name}: {samples:#}"));
    assert_eq!(of("tranche_requests_total{code=ok,model=toy}"), 2.0);
    assert_eq!(of("tranche_requests_total{code=bad-input,model=toy}"), 1.0);
    assert_eq!(of("tranche_request_duration_seconds_count{model=toy}"), 3.0);
    assert_eq!(of("tranche_request_bytes_total{model=toy}"), (2 * X.len() + 2) as f64);
    assert_eq!(of("tranche_slice_tries_total{model=toy,outcome=answered,slice=first}"), 2.0);
    assert_eq!(of("tranche_slice_tries_total{model=toy,outcome=failed,slice=first}"), 1.0);
    assert_eq!(of("tranche_slice_billed_seconds_total{model=toy,slice=second}"), 2.0 * 0.25 / 1000.0);
    let memory_time = 2.0 * 0.5 * 0.25 / 1000.0;
    assert_eq!(of("tranche_slice_gib_seconds_total{model=toy,slice=second}"), memory_time);
    assert_eq!(of("tranche_slice_tensor_bytes_total{direction=in,form=coded,model=toy,slice=second}"), 64.0);
    assert_eq!(of("tranche_model_ready{model=toy}"), 1.0);
    assert_eq!((of("tranche_in_flight{}"), of("tranche_waiting{}")), (0.0, 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_a_request_is_one_trace_through_all_slices() {
    let collector = Collector::start(200).await;
    let (deployment, functions) = functions("toy", vec![FOR_THE_PING, Fault::Status(503, "broken")]).await;
    let door = traced(deployment, &collector).await;
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let sent = door.request("/", X).header("traceparent", traceparent).send().await.unwrap();
    assert_eq!(sent.status(), 200);
    door.finish().await;
    let spans = collector.spans().await;
    let named = |name: &str| spans.iter().filter(|span| span["name"] == name).collect::<Vec<_>>();
    let [request] = named("infer toy")[..] else { panic!("{spans:#?}") };
    assert_eq!(
        (&request["parent"], &request["kind"]),
        (&"00f067aa0ba902b7".into(), &"SPAN_KIND_SERVER".into())
    );
    assert_eq!((&request["failed"], &request["service"]), (&false.into(), &"tranche-front-door".into()));
    for span in &spans {
        assert_eq!(span["trace"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(
            span["start"].as_u64() <= span["end"].as_u64()
                && span["start"].as_u64() >= request["start"].as_u64()
        );
    }
    let first = named("slice first");
    assert_eq!((first.len(), &first[0]["failed"], &first[1]["failed"]), (2, &true.into(), &false.into()));
    assert!(first[0]["message"].as_str().unwrap().contains("broken"), "{first:?}");
    assert!(first.iter().chain(&named("slice second")).all(|span| span["parent"] == request["span"]));
    assert_eq!((named("hand-off").len(), named("function").len(), spans.len()), (2, 2, 8));
    assert!(named("function").iter().any(|span| span["parent"] == first[1]["span"]));
    // What the function got is the span that the collector got.
    let told = functions[0].requests.lock().unwrap()[1].traceparent.clone().unwrap();
    assert_eq!(told[36..52], *first[1]["span"].as_str().unwrap());
}

async fn traced(deployment: tranche_schema::Deployment, collector: &Collector) -> Door {
    let url = collector.url.clone();
    let door = Door::start(vec![deployment], |options| options.otlp = Some(url)).await;
    eventually_ready(&door).await;
    door
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_unsampled_traces_stay_here_and_calls_cut_off_are_told() {
    let collector = Collector::start(200).await;
    let (deployment, _functions) = functions("toy", vec![FOR_THE_PING, Fault::Hang, Fault::Hang]).await;
    let door = traced(deployment, &collector).await;
    for flags in ["00", "01"] {
        let traceparent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        let request = door.request("/", X).header("x-timeout", "300ms").header("traceparent", traceparent);
        assert_eq!(request.send().await.unwrap().status(), 504);
    }
    door.finish().await;
    let spans = collector.spans().await;
    let mut names: Vec<&str> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["infer toy", "slice first"]);
    assert!(spans.iter().all(|span| span["failed"] == true), "{spans:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_a_collector_that_is_not_there_costs_spans_and_nothing_else() {
    for status in [None, Some(400)] {
        let collector = Collector::start(status.unwrap_or(200)).await;
        let (deployment, _functions) = functions("toy", vec![]).await;
        let nowhere = "http://127.0.0.1:9".to_owned();
        let url = status.map_or(nowhere, |_| collector.url.clone());
        let door = Door::start(vec![deployment], |options| options.otlp = Some(url)).await;
        eventually_ready(&door).await;
        let started = Instant::now();
        assert_eq!(door.post("/", X).await.0, 200);
        assert!(started.elapsed() < Duration::from_secs(2), "it did not wait for the collector");
        let mut dropped = 0.0;
        while dropped < 7.0 {
            assert!(started.elapsed() < Duration::from_secs(20));
            dropped = scrape(&door).await["tranche_spans_dropped_total{}"].as_f64().unwrap();
        }
        assert_eq!(collector.count(), usize::from(status.is_some()));
        door.finish().await;
    }
}

#[tokio::test]
async fn collectors_that_cannot_be_spoken_to_are_refused_at_once() {
    let (deployment, _functions) = functions("toy", vec![]).await;
    let refused = async |url: &str| {
        let mut options = tranche_front_door::FrontDoorOptions::new("127.0.0.1:0".parse().unwrap());
        options.otlp = Some(url.to_owned());
        let served = tranche_front_door::serve(vec![deployment.clone()], &options, async {}, |_| {}).await;
        served.unwrap_err().to_string()
    };
    insta::assert_snapshot!(refused("https://collector:4318").await, @"the collector `https://collector:4318`: `https` is not http");
    insta::assert_snapshot!(refused("collector").await, @"the collector `collector`: relative URL without a base");
}

/// At most the time that a request of the test's client may take in all.
async fn eventually_ready(door: &Door) {
    let ready = async {
        while door.get("/_/ready").await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ready).await.expect("the functions are ready");
}
