//! The HTTP contract of a function, with an engine whose timing the test decides.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::time::Duration;
use support::{Doubler, FAIL, Gate, PANIC, Setup, answer, frame, frame_bytes, json, metrics, values};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tranche_schema::{Channel, Codec, ElementType, FunctionMetrics, StartUp, Tensor};
use tranche_shim::{Listen, ShimOptions, serve};
use tranche_transport::{CodedTensor, Frame, FrameLimits, Payload, Placement, SharedFolder};

fn loading() -> Setup {
    let mut setup = Setup::new();
    setup.engine.load = Gate::new(false);
    setup
}

fn holding() -> Setup {
    let mut setup = Setup::new();
    setup.engine.run = Gate::new(false);
    setup
}

#[tokio::test]
async fn a_frame_is_answered_with_a_frame_and_its_metrics() {
    let server = Setup::new().start().await;
    let response = server.post(frame_bytes(&[1.0, 2.0, 3.0, 4.0])).await;
    assert_eq!(response.headers()["content-type"], "application/vnd.tranche.frame");
    let first = metrics(&response);
    let output = answer(response).await;
    assert_eq!(output.header, frame(&[0.0; 4]).header);
    let tensors = output.decode(&FrameLimits::default(), None).unwrap();
    assert_eq!(tensors[0].0, "y");
    assert_eq!(tensors[0].1, Tensor::from_f32(vec![4], &[2.0, 4.0, 6.0, 8.0]).unwrap());

    assert_eq!(first.request_id, "07".repeat(16));
    assert_eq!((first.attempt, first.cold), (1, true));
    assert_eq!((first.input_bytes.0, first.output_bytes.0), (16, 16));
    assert!(first.billed_ms.0 >= first.decode_ms.0 + first.run_ms.0 + first.encode_ms.0);
    assert!(first.peak_memory_bytes.0 > 1 << 20);
    let second = metrics(&server.post(frame_bytes(&[0.0; 4])).await);
    assert!(!second.cold);
    assert_eq!(server.finish().await, 0);
}

#[tokio::test]
async fn health_answers_while_loading_and_early_requests_are_held() {
    let server = loading().start().await;
    let health = server.get("/_/health").await;
    assert_eq!(health.status(), 200);
    assert_eq!(json(health).await["state"], "loading");
    assert_eq!(server.get("/_/ready").await.status(), 503);
    let early = server.posting(&frame(&[5.0; 4]));
    server.in_flight(1).await;
    assert!(!early.is_finished());
    server.engine.load.open();
    let response = early.await.unwrap();
    let metrics: FunctionMetrics = metrics(&response);
    assert!(metrics.wait_ms.0 > 0.0 && metrics.billed_ms.0 >= metrics.wait_ms.0);
    assert_eq!(values(response).await, [10.0; 4]);
    let ready = server.get("/_/ready").await;
    assert_eq!(ready.status(), 200);
    let state = json(ready).await;
    assert_eq!((&state["state"], &state["answered"]), (&"ready".into(), &1.into()));
    let start_up: StartUp = serde_json::from_value(state["start_up"].clone()).unwrap();
    assert_eq!(start_up.total_ms, metrics.start_up_ms);
    assert!(start_up.weights_ms.0 > 0.0 && start_up.total_ms.unwrap().0 >= start_up.weights_ms.0);
}

#[tokio::test]
async fn the_start_is_told_with_the_first_answer_only() {
    let server = Setup::new().start().await;
    let of = |response: reqwest::Response| metrics(&response);
    assert!(of(server.post(frame_bytes(&[1.0; 4])).await).start_up_ms.unwrap().0 > 0.0);
    assert_eq!(of(server.post(frame_bytes(&[1.0; 4])).await).start_up_ms, None);
}

#[tokio::test]
async fn it_ends_when_idle_but_not_while_it_loads_or_runs() {
    let patience = Duration::from_millis(200);
    let server = loading().options(move |options| options.idle_exit = Some(patience)).start().await;
    tokio::time::sleep(3 * patience).await;
    assert_eq!(server.get("/_/health").await.status(), 200, "it still loads");
    server.engine.run.close();
    server.engine.load.open();
    let held = server.posting(&frame(&[1.0; 4]));
    server.in_flight(1).await;
    tokio::time::sleep(3 * patience).await;
    server.engine.run.open();
    assert_eq!(held.await.unwrap().status(), 200);
    assert_eq!(server.ended().await, 0);
}

#[tokio::test]
async fn requests_run_one_at_a_time_in_the_order_they_came() {
    let server = loading().start().await;
    let mut early = vec![];
    for index in 0..5_u8 {
        early.push(server.posting(&frame(&[f32::from(index); 4])));
        server.in_flight(u64::from(index) + 1).await;
    }
    server.engine.load.open();
    for request in early {
        assert_eq!(request.await.unwrap().status(), 200);
    }
    assert_eq!(*server.engine.order.lock().unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0]);
}

#[tokio::test]
async fn a_slice_that_cannot_be_loaded_is_said_to_everybody() {
    let mut setup = loading();
    setup.engine.refusal = Some("operator Foo is unknown");
    let server = setup.start().await;
    let early = server.posting(&frame(&[1.0; 4]));
    server.in_flight(1).await;
    server.engine.load.open();
    let late = early.await.unwrap();
    for response in [late, server.post(frame_bytes(&[1.0; 4])).await, server.get("/_/ready").await] {
        assert_eq!(response.status(), 500);
        let body = json(response).await;
        assert!(body["message"].as_str().unwrap().contains("operator Foo is unknown"), "{body}");
        assert!(body["hint"].as_str().unwrap().len() > 10);
    }
    assert_eq!(server.get("/_/health").await.status(), 200);
    assert_eq!(server.finish().await, 20);
}

#[tokio::test]
async fn a_manifest_without_the_slice_is_said_too() {
    let server = Setup::new().options(|options| options.slice = "slice-9".to_owned()).start().await;
    let body = json(server.post(frame_bytes(&[1.0; 4])).await).await;
    assert_eq!(body["code"], "load-failed");
    assert!(body["message"].as_str().unwrap().contains("slice-9"), "{body}");
    assert!(body["hint"].as_str().unwrap().contains("slice-0"), "{body}");
    assert_eq!(server.finish().await, 20);
}

#[tokio::test]
async fn a_load_that_takes_too_long_fails_until_it_ends() {
    let server = {
        let setup = loading().options(|options| options.load_deadline = Duration::from_millis(50));
        setup.start().await
    };
    let response = server.post(frame_bytes(&[1.0; 4])).await;
    assert_eq!(response.status(), 500);
    assert!(response.text().await.unwrap().contains("not loaded within"));
    server.engine.load.open();
    support::wait_for_ready(&server).await;
    assert_eq!(server.post(frame_bytes(&[1.0; 4])).await.status(), 200);
    assert_eq!(server.finish().await, 0);
}

#[tokio::test]
async fn wrong_frames_are_refused_with_the_tensor_named() {
    let server = Setup::new().start().await;
    let whole = frame_bytes(&[1.0; 4]);
    let mut other_slice = frame(&[1.0; 4]);
    other_slice.header.slice = "slice-1".to_owned();
    let mut extra = frame(&[1.0; 4]);
    let mut copy = extra.tensors[0].clone();
    copy.spec.name = "z".to_owned();
    extra.tensors.push(copy);
    let mut missing = frame(&[1.0; 4]);
    missing.tensors.clear();
    let mut integers = frame(&[1.0; 4]);
    integers.tensors[0].spec.element_type = ElementType::Int32;
    let mut damaged = whole.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let mut lease = frame(&[1.0; 4]);
    let temporary = tempfile::tempdir().unwrap();
    let folder = SharedFolder::create(&temporary.path().join("shared")).unwrap();
    lease.tensors[0].payload = Payload::Lease(folder.write(&[0; 16]).unwrap());
    let bytes = |frame: Frame| frame.to_bytes().unwrap();
    let cases = [
        ("bad-frame", "not a tranche frame", bytes::Bytes::from_static(b"what is this? no frame")),
        ("bad-frame", "ends in the middle", bytes::Bytes::new()),
        ("bad-frame", "ends in the middle", whole.slice(..whole.len() - 1)),
        ("bad-frame", "tensor `x` does not match", damaged.into()),
        ("bad-frame", "no shared folder", bytes(lease)),
        ("wrong-slice", "slice-1", bytes(other_slice)),
        ("bad-input", "input `x` is missing", bytes(missing)),
        ("bad-input", "no input `z`", bytes(extra)),
        ("bad-input", "input `x` is int32", bytes(integers)),
        ("bad-input", "input `x` is float32 [3]", frame_bytes(&[1.0; 3])),
    ];
    for (code, message, body) in cases {
        let response = server.post(body).await;
        assert_eq!(response.status(), 400, "{message}");
        let said = json(response).await;
        assert_eq!(said["code"], code, "{said}");
        assert!(said["message"].as_str().unwrap().contains(message), "{said}");
        assert!(!said["hint"].as_str().unwrap().is_empty());
    }
    assert_eq!(server.post(whole).await.status(), 200);
}

#[tokio::test]
async fn bodies_beyond_the_limit_are_refused_declared_or_not() {
    let server = Setup::new().options(|options| options.server.max_body_bytes = 1000).start().await;
    let declared = server.post(vec![0; 1001]).await;
    assert_eq!(declared.status(), 413);
    assert_eq!(json(declared).await["code"], "too-large");
    let mut chunked = raw(&server, "POST / HTTP/1.1\r\nhost: f\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let chunk = format!("200\r\n{}\r\n", "x".repeat(0x200));
    chunked.write_all(format!("{chunk}{chunk}0\r\n\r\n").as_bytes()).await.unwrap();
    assert!(read_to_end(chunked).await.starts_with("HTTP/1.1 413 "));
    let asking = "POST / HTTP/1.1\r\nhost: f\r\ncontent-length: 99999999\r\nexpect: 100-continue\r\n\r\n";
    assert!(read_to_end(raw(&server, asking).await).await.starts_with("HTTP/1.1 413 "));
    assert_eq!(server.engine.runs.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn more_requests_than_allowed_are_told_to_come_back() {
    let server = holding().options(|options| options.server.max_in_flight = 2).start().await;
    let first = server.posting(&frame(&[1.0; 4]));
    let second = server.posting(&frame(&[2.0; 4]));
    server.in_flight(2).await;
    let third = server.post(frame_bytes(&[3.0; 4])).await;
    assert_eq!(third.status(), 429);
    assert_eq!(third.headers()["retry-after"], "1");
    server.engine.run.open();
    for request in [first, second] {
        assert_eq!(request.await.unwrap().status(), 200);
    }
    assert_eq!(server.post(frame_bytes(&[4.0; 4])).await.status(), 200);
}

#[tokio::test]
async fn a_request_waits_no_longer_than_its_deadline() {
    let server = holding().start().await;
    let running = server.posting(&frame(&[1.0; 4]));
    server.runs(1).await;
    let mut short = frame(&[2.0; 4]);
    short.header.deadline = Some(Duration::from_millis(40));
    let response = server.posting(&short).await.unwrap();
    assert_eq!(response.status(), 504);
    server.engine.run.open();
    assert_eq!(running.await.unwrap().status(), 200);
    assert_eq!(server.post(frame_bytes(&[3.0; 4])).await.status(), 200);
    assert_eq!(*server.engine.order.lock().unwrap(), [1.0, 3.0], "the late one ran");
}

#[tokio::test]
async fn a_caller_that_left_is_not_run_for() {
    let server = holding().start().await;
    let running = server.posting(&frame(&[1.0; 4]));
    server.runs(1).await;
    let gone = server.posting(&frame(&[2.0; 4]));
    server.in_flight(2).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.engine.run.open();
    assert_eq!(running.await.unwrap().status(), 200);
    assert_eq!(server.post(frame_bytes(&[3.0; 4])).await.status(), 200);
    assert_eq!(*server.engine.order.lock().unwrap(), [1.0, 3.0]);
}

#[tokio::test]
async fn an_engine_that_fails_answers_500_and_goes_on() {
    let server = Setup::new().start().await;
    let response = server.post(frame_bytes(&[FAIL; 4])).await;
    assert_eq!(response.status(), 500);
    assert!(metrics(&response).billed_ms.0 > 0.0);
    assert!(json(response).await["message"].as_str().unwrap().contains("asked to fail"));
    assert_eq!(server.post(frame_bytes(&[1.0; 4])).await.status(), 200);
    assert_eq!(server.finish().await, 0);
}

/// What a panic leaves of a session is not used again: the supervisor starts a new process.
#[tokio::test]
async fn an_engine_that_panics_ends_the_process() {
    let server = Setup::new().start().await;
    let response = server.post(frame_bytes(&[PANIC; 4])).await;
    assert_eq!(response.status(), 500);
    assert!(json(response).await["message"].as_str().unwrap().contains("panicked"));
    assert_eq!(server.ended().await, 101);
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let server = Setup::new().start().await;
    for (method, path, status, allow) in [
        ("GET", "/", 405, Some("POST")),
        ("PUT", "/", 405, Some("POST")),
        ("POST", "/_/health", 405, Some("GET")),
        ("DELETE", "/_/ready", 405, Some("GET")),
        ("GET", "/metrics", 404, None),
        ("POST", "/x", 404, None),
    ] {
        let url = format!("http://function{path}");
        let response = server.client.request(method.parse().unwrap(), url).body("body").send().await.unwrap();
        assert_eq!(response.status(), status, "{method} {path}");
        let allowed = response.headers().get("allow").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(allowed.as_deref(), allow, "{method} {path}");
    }
}

#[tokio::test]
async fn told_to_stop_it_answers_what_it_has_and_takes_no_more() {
    let mut server = holding().start().await;
    let running = server.posting(&frame(&[1.0; 4]));
    let waiting = server.posting(&frame(&[2.0; 4]));
    server.in_flight(2).await;
    let mut begun = raw(&server, "POST / HTTP/1.1\r\nhost: f\r\n").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.tell_to_stop();
    support::wait_for(|| !server.socket.exists()).await;
    assert!(server.client.get("http://function/_/health").send().await.is_err());
    begun.write_all(b"content-length: 0\r\n\r\n").await.unwrap();
    let refused = read_to_end(begun).await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("connection: close"), "{refused}");
    server.engine.run.open();
    assert_eq!(running.await.unwrap().status(), 200);
    assert_eq!(waiting.await.unwrap().status(), 200);
    assert_eq!(server.finish().await, 0);
}

#[tokio::test]
async fn draining_ends_at_its_deadline() {
    let server =
        holding().options(|options| options.server.drain_deadline = Duration::from_millis(50)).start().await;
    let gate = server.engine.run.clone();
    let running = server.posting(&frame(&[1.0; 4]));
    server.runs(1).await;
    assert_eq!(server.finish().await, 0);
    gate.open();
    running.abort();
}

/// The platform's bound holds whatever a frame asks for.
#[tokio::test]
async fn no_request_takes_longer_than_exec_timeout() {
    let server = {
        let setup =
            holding().options(|options| options.server.exec_timeout = Some(Duration::from_millis(100)));
        setup.start().await
    };
    let mut patient = frame(&[1.0; 4]);
    patient.header.deadline = Some(Duration::from_secs(60));
    let response = server.post(patient.to_bytes().unwrap()).await;
    assert_eq!(response.status(), 504);
    assert_eq!(json(response).await["code"], "deadline");
    server.engine.run.open();
}

#[tokio::test]
async fn slow_senders_are_cut_off() {
    let server = {
        let setup = Setup::new().options(|options| {
            options.server.header_timeout = Duration::from_millis(100);
            options.server.body_timeout = Duration::from_millis(100);
            options.server.max_in_flight = 1;
        });
        setup.start().await
    };
    let head = raw(&server, "POST / HTTP/1.1\r\nhost: f\r\n").await;
    read_to_end(head).await;
    let body = raw(&server, "POST / HTTP/1.1\r\nhost: f\r\ncontent-length: 100\r\n\r\nTRNF").await;
    assert!(read_to_end(body).await.starts_with("HTTP/1.1 408 "));
    assert_eq!(server.post(frame_bytes(&[1.0; 4])).await.status(), 200, "its place is free again");
}

#[tokio::test]
async fn a_body_cut_short_frees_its_place() {
    let server = Setup::new().options(|options| options.server.max_in_flight = 1).start().await;
    let cut = raw(&server, "POST / HTTP/1.1\r\nhost: f\r\ncontent-length: 100\r\n\r\nTRNF").await;
    server.in_flight(1).await;
    drop(cut);
    server.in_flight(0).await;
    assert_eq!(server.post(frame_bytes(&[1.0; 4])).await.status(), 200);
}

#[tokio::test]
async fn outputs_travel_as_the_manifest_says() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("shared");
    let folder = SharedFolder::create(&path).unwrap();
    let mut setup = Setup::new().options({
        let path = path.clone();
        move |options| options.shared_folder = Some(path)
    });
    setup.manifest = support::manifest(&[1000], Codec::Zstd, Channel::MappedFile);
    let server = setup.start().await;
    let mut input = frame(&[1.0; 1000]);
    let tensor = input.tensors[0].decode(&FrameLimits::default(), None).unwrap();
    input.tensors[0] = CodedTensor::encode("x", &tensor, Codec::Zstd, Placement::Shared(&folder)).unwrap();
    let response = server.post(input.to_bytes().unwrap()).await;
    let measured = metrics(&response);
    let output = answer(response).await;
    assert!(matches!(output.tensors[0].payload, Payload::Lease(_)));
    let decoded = output.tensors[0].decode(&FrameLimits::default(), Some(&folder)).unwrap();
    assert_eq!(decoded, Tensor::from_f32(vec![1000], &[2.0; 1000]).unwrap());
    assert_eq!((measured.input_bytes.0, measured.output_bytes.0), (4000, 4000));
    assert!(measured.input_coded_bytes.0 < 200 && measured.output_coded_bytes.0 < 200);
}

#[tokio::test]
async fn without_a_shared_folder_outputs_travel_inline() {
    let mut setup = Setup::new();
    setup.manifest = support::manifest(&[4], Codec::Raw, Channel::MappedFile);
    let server = setup.start().await;
    let output = answer(server.post(frame_bytes(&[1.0; 4])).await).await;
    assert!(matches!(output.tensors[0].payload, Payload::Inline(_)));
}

/// A lease in an answer that nobody reads would stay until it is swept.
#[tokio::test]
async fn leases_of_an_answer_nobody_waits_for_are_released() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("shared");
    let folder = SharedFolder::create(&path).unwrap();
    let mut setup = holding().options({
        let path = path.clone();
        move |options| options.shared_folder = Some(path)
    });
    setup.manifest = support::manifest(&[4], Codec::Raw, Channel::MappedFile);
    let server = setup.start().await;
    let gone = server.posting(&frame(&[1.0; 4]));
    server.runs(1).await;
    gone.abort();
    assert!(gone.await.is_err());
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.engine.run.open();
    server.in_flight(0).await;
    support::wait_for(|| folder.leases().unwrap() == 0).await;
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let server = Setup::new().start().await;
    let socket = server.socket.clone();
    let options =
        |path| ShimOptions::new(server.folder.path().join("manifest.json"), "slice-0", Listen::Unix(path));
    let again =
        |options| serve(options, Box::new(|_, _| Ok(std::sync::Arc::new(Doubler::new()))), async {}, |_| {});
    let error = again(options(socket.clone())).await.unwrap_err();
    assert!(error.to_string().contains("cannot listen on unix:"), "{error}");
    assert_eq!(error.exit_code(), 50);
    assert!(socket.exists(), "the refused one removed the socket");

    let stale = server.folder.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    assert_eq!(again(options(stale.clone())).await.unwrap(), 0);
    assert!(!stale.exists(), "left behind");

    let file = server.folder.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(again(options(file.clone())).await.is_err());
    assert_eq!(std::fs::read_to_string(file).unwrap(), "precious");
}

async fn raw(server: &support::Server, head: &str) -> UnixStream {
    let mut stream = UnixStream::connect(&server.socket).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn read_to_end(mut stream: UnixStream) -> String {
    let mut text = vec![];
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut text))
        .await
        .expect("it was not cut off")
        .unwrap();
    String::from_utf8(text).unwrap()
}
