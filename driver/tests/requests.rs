//! The driver against functions on Unix sockets, well and broken.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::server::{Fault, Function, eventually};
use common::{deployment, spec};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tranche_driver::{Driver, DriverError, Options, RetryPolicy};
use tranche_schema::{Address, Channel, Codec, Deployment, LocalSupervisor, Tensor, exit_code};
use tranche_transport::SharedFolder;

/// `left` and `right` read `x`, `join` reads both and `x`; `y` = 2 (x + 1) + x + 1.
fn diamond(folder: &Path) -> Deployment {
    let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let functions = [
        ("left".to_owned(), own(&["x"]), own(&["l"])),
        ("right".to_owned(), own(&["x"]), own(&["r"])),
        ("join".to_owned(), own(&["l", "r", "x"]), own(&["y"])),
    ];
    let mut deployment = deployment(&own(&["x"]), &own(&["y"]), &functions);
    for function in &mut deployment.functions {
        function.address = Address::Unix { path: folder.join(format!("{}.sock", function.slice)) };
    }
    deployment
}

struct Setup {
    folder: TempDir,
    driver: Driver,
    functions: Vec<Function>,
    shared: Option<Arc<SharedFolder>>,
}

/// The diamond with `faults` in `left`.
fn setup(faults: Vec<Fault>, options: Options, mapped: bool) -> Setup {
    let folder = TempDir::new().unwrap();
    let mut deployment = diamond(folder.path());
    let shared_folder = folder.path().join("shared");
    let shared = mapped.then(|| Arc::new(SharedFolder::create(&shared_folder).unwrap()));
    if mapped {
        deployment.edges[0].channel = Channel::MappedFile;
        deployment.local = Some(LocalSupervisor {
            process_id: 1,
            process_start_ticks: 1,
            control_socket: folder.path().join("control"),
            shared_folder,
            log_folder: folder.path().join("logs"),
            scale_to_zero_seconds: None,
        });
    }
    let functions = start(&deployment, faults, shared.as_ref());
    Setup { driver: Driver::connect(deployment, options).unwrap(), folder, functions, shared }
}

fn start(deployment: &Deployment, faults: Vec<Fault>, shared: Option<&Arc<SharedFolder>>) -> Vec<Function> {
    let mut faults = Some(faults);
    let functions = deployment.functions.iter();
    functions
        .map(|function| {
            let Address::Unix { path } = &function.address else { unreachable!() };
            let faults = faults.take().unwrap_or_default();
            Function::start(path, (&function.slice, &function.outputs), faults, shared.cloned())
        })
        .collect()
}

fn quick() -> Options {
    let retry = RetryPolicy { first_wait: Duration::from_millis(5), ..RetryPolicy::default() };
    Options { deadline: Duration::from_secs(10), retry, ..Options::default() }
}

fn x() -> Vec<(String, Tensor)> {
    vec![("x".to_owned(), Tensor::from_f32(vec![4], &[0.0, 1.0, 2.0, 3.0]).unwrap())]
}

fn assert_right(answer: &tranche_driver::Answer) {
    let expected = Tensor::from_f32(vec![4], &[3.0, 6.0, 9.0, 12.0]).unwrap();
    assert_eq!(answer.outputs, [("y".to_owned(), expected)]);
}

/// Shared tensors that nobody has released.
fn leases(folder: &Path) -> u64 {
    SharedFolder::open(&folder.join("shared")).unwrap().leases().unwrap()
}

#[tokio::test]
async fn a_request_is_answered_and_billed() {
    let setup = setup(vec![], quick(), false);
    let answer = setup.driver.invoke(x()).await.unwrap();
    assert_right(&answer);
    let bill = &answer.bill;
    let slices: Vec<_> = bill.slices.iter().map(|slice| (slice.slice.as_str(), slice.attempts)).collect();
    assert_eq!(slices, [("left", 1), ("right", 1), ("join", 1)]);
    assert_eq!(bill.billed_ms.0, 0.75);
    assert!((bill.memory_time.0 - 0.5 * 0.00075).abs() < 1e-12, "{}", bill.memory_time.0);
    assert_eq!(bill.predicted_latency_ms.0, 20.0, "left and right run at once");
    assert_eq!(bill.slices[2].handoff_bytes.0, 64);
    assert!(bill.latency_ms.0 > 0.0);
}

#[tokio::test]
async fn connections_are_used_again_and_requests_are_traced() {
    let setup = setup(vec![], quick(), false);
    for _ in 0..5 {
        assert_right(&setup.driver.invoke(x()).await.unwrap());
    }
    for function in &setup.functions {
        assert_eq!(*function.connections.lock().unwrap(), 1);
    }
    let of = |index: usize| setup.functions[index].requests.lock().unwrap().clone();
    let (left, join) = (of(0), of(2));
    assert_eq!(left.len(), 5);
    assert_eq!(left[0].request_id, join[0].request_id);
    assert_ne!(left[0].request_id, left[1].request_id);
    let trace = left[0].traceparent.clone().unwrap();
    assert_eq!(trace.len(), 55);
    assert_eq!(trace[3..35], left[0].request_id_hex());
    assert_eq!((&trace[..3], &trace[52..]), ("00-", "-01"));
    assert_ne!(Some(trace), join[0].traceparent, "each call is a span of its own");
    assert!(left[0].deadline.unwrap() <= Duration::from_secs(10));
}

#[tokio::test]
async fn mapped_tensors_are_passed_on_and_released() {
    let setup = setup(vec![], quick(), true);
    assert_right(&setup.driver.invoke(x()).await.unwrap());
    eventually("released", || leases(setup.folder.path()) == 0).await;
    assert!(setup.shared.is_some());
}

#[tokio::test]
async fn failures_that_pass_are_tried_again() {
    for (fault, mapped) in [
        (Fault::Status(503, "draining"), false),
        (Fault::Status(502, ""), true),
        (Fault::Status(500, "Can't reach service for: left."), false),
        (Fault::Busy(0), false),
        (Fault::BreakOff, false),
        (Fault::BreakOff, true),
    ] {
        let setup = setup(vec![fault.clone(), fault.clone()], quick(), mapped);
        let answer = setup.driver.invoke(x()).await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_right(&answer);
        assert_eq!(answer.bill.slices[0].attempts, 3, "{fault:?}");
        let attempts: Vec<u32> =
            setup.functions[0].requests.lock().unwrap().iter().map(|header| header.attempt).collect();
        assert_eq!(attempts, [1, 2, 3]);
    }
}

#[tokio::test]
async fn a_function_that_starts_late_is_waited_for() {
    let folder = TempDir::new().unwrap();
    let deployment = diamond(folder.path());
    let driver = Driver::connect(deployment.clone(), quick()).unwrap();
    let request = tokio::spawn(async move { driver.invoke(x()).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let _functions = start(&deployment, vec![], None);
    let answer = request.await.unwrap().unwrap();
    assert_right(&answer);
    assert!(answer.bill.slices[0].attempts > 1);
}

#[tokio::test]
async fn the_wait_that_a_busy_function_asks_for_is_kept() {
    let setup = setup(vec![Fault::Busy(1)], quick(), false);
    let started = Instant::now();
    assert_right(&setup.driver.invoke(x()).await.unwrap());
    assert!(started.elapsed() >= Duration::from_secs(1));
}

/// The message of a request that meets `fault` once.
async fn message(fault: Fault, mapped: bool) -> String {
    let setup = setup(vec![fault.clone()], quick(), mapped);
    let error = setup.driver.invoke(x()).await.unwrap_err();
    assert_eq!(error.exit_code(), exit_code::REMOTE);
    assert!(!error.hint().is_empty());
    if mapped {
        eventually(&format!("released after {fault:?}"), || leases(setup.folder.path()) == 0).await;
    }
    assert_eq!(setup.functions[0].requests.lock().unwrap().len(), 1, "{fault:?} is final");
    error.to_string()
}

#[tokio::test]
async fn failures_that_last_end_the_request() {
    let of = async |fault| message(fault, false).await;
    insta::assert_snapshot!(of(Fault::Status(500, "{\"code\": \"engine-failed\", \"message\": \"tract failed\"}")).await, @"function `left` failed at the first try: HTTP 500: tract failed");
    insta::assert_snapshot!(of(Fault::Status(400, "no input `x`")).await, @"function `left` failed at the first try: HTTP 400: no input `x`");
    insta::assert_snapshot!(of(Fault::Status(413, "")).await, @"function `left` failed at the first try: HTTP 413");
    insta::assert_snapshot!(of(Fault::Status(302, "")).await, @"function `left` failed at the first try: HTTP 302");
    insta::assert_snapshot!(of(Fault::Garbage).await, @"function `left` failed at the first try: its answer is no frame: this is not a tranche frame");
    insta::assert_snapshot!(of(Fault::NoMetrics).await, @"function `left` failed at the first try: its answer has no `tranche-metrics` header");
    insta::assert_snapshot!(of(Fault::TooLong).await, @"function `left` failed at the first try: its answer has 1048576 bytes, its outputs take at most 69648");
    insta::assert_snapshot!(of(Fault::MissingTensor).await, @"function `left` failed at the first try: its answer lacks tensor `l` float32 [4]");
    assert!(of(Fault::TooLongUnannounced).await.contains("its outputs take at most 69648"));
}

#[tokio::test]
async fn wrong_answers_are_named_and_their_files_released() {
    let of = async |fault| message(fault, true).await;
    insta::assert_snapshot!(of(Fault::WrongTensor).await, @"function `left` failed at the first try: it answered a tensor `nonsense` that it should not write");
    insta::assert_snapshot!(of(Fault::WrongShape).await, @"function `left` failed at the first try: it answered `l` float32 [2, 2] instead of `l` float32 [4]");
    insta::assert_snapshot!(of(Fault::OtherRequest).await, @"function `left` failed at the first try: it answered another request");
    insta::assert_snapshot!(of(Fault::OtherSlice).await, @"function `left` failed at the first try: `other` answered in its place");
    insta::assert_snapshot!(of(Fault::NoMetrics).await, @"function `left` failed at the first try: its answer has no `tranche-metrics` header");
}

#[tokio::test]
async fn a_function_that_hangs_ends_at_the_deadline() {
    let options = Options { deadline: Duration::from_millis(300), ..quick() };
    let setup = setup(vec![Fault::Hang], options, true);
    let started = Instant::now();
    let error = setup.driver.invoke(x()).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(2));
    assert!(matches!(error, DriverError::Deadline { .. }), "{error}");
    assert!(error.to_string().starts_with("no answer within 0.3 s; waiting for `left`"), "{error}");
    eventually("released", || leases(setup.folder.path()) == 0).await;
}

#[tokio::test]
async fn a_try_that_hangs_is_cut_off_and_made_again() {
    let options = Options { attempt_timeout: Some(Duration::from_millis(200)), ..quick() };
    let setup = setup(vec![Fault::Hang], options, false);
    let answer = setup.driver.invoke(x()).await.unwrap();
    assert_right(&answer);
    assert_eq!(answer.bill.slices[0].attempts, 2);
}

#[tokio::test]
async fn too_many_failures_are_an_error_that_counts_them() {
    let retry = RetryPolicy { max_attempts: 3, ..quick().retry };
    let faults = vec![Fault::Status(503, "{\"message\": \"loading\"}"); 3];
    let setup = setup(faults, Options { retry, ..quick() }, true);
    let error = setup.driver.invoke(x()).await.unwrap_err();
    insta::assert_snapshot!(error, @"function `left` failed 3 times: HTTP 503: loading");
    eventually("released", || leases(setup.folder.path()) == 0).await;
}

#[tokio::test]
async fn a_request_that_is_dropped_releases_its_tensors() {
    let setup = setup(vec![Fault::Hang], quick(), true);
    let request = setup.driver.invoke(x());
    assert!(tokio::time::timeout(Duration::from_millis(200), request).await.is_err());
    assert_eq!(setup.functions[1].requests.lock().unwrap().len(), 1, "`right` has answered");
    eventually("released", || leases(setup.folder.path()) == 0).await;
}

#[tokio::test]
async fn damaged_outputs_are_not_given_out() {
    let folder = TempDir::new().unwrap();
    let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let functions = [("only".to_owned(), own(&["x"]), own(&["y"]))];
    let mut deployment = deployment(&own(&["x"]), &own(&["y"]), &functions);
    deployment.functions[0].address = Address::Unix { path: folder.path().join("only.sock") };
    let _function = start(&deployment, vec![Fault::BitFlip], None);
    let error = Driver::connect(deployment, quick()).unwrap().invoke(x()).await.unwrap_err();
    insta::assert_snapshot!(error, @"cannot read output `y`: tensor `y` does not match its checksum");
    assert_eq!(error.exit_code(), exit_code::REMOTE);
}

#[tokio::test]
async fn inputs_are_checked_before_anything_is_sent() {
    let setup = setup(vec![], quick(), false);
    let tensor = |shape: Vec<u64>| {
        Tensor::from_f32(shape.clone(), &vec![0.0; shape.iter().product::<u64>() as usize]).unwrap()
    };
    let refused = async |inputs: Vec<(&str, Tensor)>| {
        let inputs = inputs.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
        let error = setup.driver.invoke(inputs).await.unwrap_err();
        assert_eq!(error.exit_code(), exit_code::USAGE);
        error.to_string()
    };
    insta::assert_snapshot!(refused(vec![("z", tensor(vec![4]))]).await, @"the model has no input `z`; its inputs are `x` float32 [4]");
    insta::assert_snapshot!(refused(vec![]).await, @"input `x` float32 [4] is missing");
    insta::assert_snapshot!(refused(vec![("x", tensor(vec![4])), ("x", tensor(vec![4]))]).await, @"input `x` is given twice");
    insta::assert_snapshot!(refused(vec![("x", tensor(vec![2, 2]))]).await, @"input `x` float32 [2, 2] does not fit: the deployment takes `x` float32 [4]");
    let integers = Tensor::from_i64(vec![4], &[0; 4]).unwrap();
    insta::assert_snapshot!(refused(vec![("x", integers)]).await, @"input `x` int64 [4] does not fit: the deployment takes `x` float32 [4]");
    assert_eq!(setup.functions[0].requests.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn compressed_inputs_are_answered_alike() {
    let folder = TempDir::new().unwrap();
    let mut deployment = diamond(folder.path());
    deployment.inputs[0] = spec("x", &[1024]);
    deployment.edges[0].codec = Codec::Zstd;
    for function in &mut deployment.functions {
        function.inputs.iter_mut().filter(|input| input.name == "x").for_each(|input| {
            input.shape = vec![1024];
        });
    }
    let functions = start(&deployment, vec![], None);
    let driver = Driver::connect(deployment, quick()).unwrap();
    let zeros = Tensor::from_f32(vec![1024], &[0.0; 1024]).unwrap();
    let answer = driver.invoke(vec![("x".to_owned(), zeros)]).await.unwrap();
    assert_eq!(answer.outputs[0].1.as_slice::<f32>().unwrap(), [3.0; 4]);
    assert!(answer.bill.slices[0].handoff_bytes.0 < 200, "4096 zeros shrink");
    drop(functions);
}

#[tokio::test]
async fn warm_up_waits_for_every_function() {
    let setup = setup(vec![Fault::Status(503, "loading"), Fault::Status(503, "loading")], quick(), false);
    let times = setup.driver.warm_up().await.unwrap();
    assert_eq!(times.iter().map(|(slice, _)| slice.as_str()).collect::<Vec<_>>(), ["left", "right", "join"]);
    assert!(times[0].1 >= Duration::from_millis(50), "two pauses: {:?}", times[0].1);
}

#[tokio::test]
async fn warm_up_says_who_is_not_there() {
    let folder = TempDir::new().unwrap();
    let options = Options { deadline: Duration::from_millis(200), ..quick() };
    let error = Driver::connect(diamond(folder.path()), options).unwrap().warm_up().await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("is not ready after 0.2 s: cannot connect: No such file or directory"), "{text}");
}

#[tokio::test]
async fn a_shared_folder_that_is_gone_is_an_error() {
    let folder = TempDir::new().unwrap();
    let setup = setup(vec![], quick(), true);
    let mut deployment = setup.driver.deployment().clone();
    deployment.local.as_mut().unwrap().shared_folder = folder.path().join("gone");
    let error = Driver::connect(deployment, quick()).unwrap_err();
    assert_eq!(error.exit_code(), exit_code::REMOTE);
    assert!(error.to_string().starts_with("cannot open the folder of shared tensors"), "{error}");
}
