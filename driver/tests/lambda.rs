//! The driver against functions on Lambda, and the ways that tensors take there.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

mod aws;
mod common;

use aws::{Aws, Fault, empty};
use common::deployment;
use std::time::Duration;
use tranche_driver::{Answer, Call, Clouds, Driver, DriverError, Options, Overlap, RetryPolicy};
use tranche_schema::{Deployment, Millis, Tensor, exit_code};

/// 1,000 floats fit any payload; 2,000,000 fit none (8 MB) and go through a stream or the store.
const SMALL: usize = 1000;
const LARGE: usize = 2_000_000;

#[tokio::test]
async fn small_tensors_go_in_payloads() {
    let setup = Setup::start(SMALL, true).await;
    let answer = setup.invoke().await.unwrap();
    assert_eq!(values(&answer)[7], expected(7));
    let invocations = setup.aws.invocations();
    assert_eq!(invocations.len(), 3);
    assert!(invocations.iter().all(|invocation| !invocation.streamed && !invocation.event));
    let headers: Vec<_> = invocations.into_iter().map(|invocation| invocation.header.unwrap()).collect();
    assert!(headers.iter().all(|header| header.request_id_hex() == answer.request_id && header.attempt == 1));
    assert!(headers.iter().all(|header| header.traceparent.is_some() && header.deadline.is_some()));
    assert!(setup.aws.state.lock().unwrap().store.is_empty());
}

#[tokio::test]
async fn what_lambda_counts_is_in_the_bill() {
    let setup = Setup::start(SMALL, true).await;
    setup.aws.fault("test-left", Fault::Fails("Runtime.ExitError", "killed"));
    let bill = setup.invoke().await.unwrap().bill;
    let left = bill.slices[0].lambda.clone().unwrap();
    assert_eq!((left.invocations, left.reported, left.billed_ms), (2, 2, Millis(10.0)));
    assert!((left.memory_time.0 - 0.010 * f64::from(left.memory_mib) / 1024.0).abs() < 1e-12);
    assert!(left.payload_bytes.0 > 2 * 4 * SMALL as u64 && left.streamed_bytes.0 == 0);
    let lambda = bill.lambda.unwrap();
    assert_eq!((lambda.store.puts, lambda.entry), (0, None));
}

#[tokio::test]
async fn large_tensors_go_from_slice_to_slice_as_references() {
    let setup = Setup::start(LARGE, true).await;
    let answer = setup.invoke().await.unwrap();
    assert_eq!(values(&answer)[LARGE - 1], expected(LARGE - 1));
    let by_reference: Vec<String> =
        setup.aws.invocations().iter().map(|invocation| invocation.by_reference.join(" ")).collect();
    assert_eq!(by_reference, ["x", "x", "l r x"]);
    // The input was written once for three readers, the functions wrote theirs; the driver read the
    // output of the last alone.
    let store = answer.bill.lambda.unwrap().store;
    let read_here = setup.aws.asked("GET");
    assert!(setup.aws.asked("PUT") <= 2 && read_here == 1, "{:?}", setup.aws.state.lock().unwrap().store);
    assert_eq!(store.gets, 5 + 1);
    assert!(store.puts >= 4 && store.written_bytes.0 >= 4 * 4 * LARGE as u64, "{store:?}");
    assert_eq!(setup.aws.keys(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_compressed_below_the_limit_needs_no_store() {
    let setup = Setup::start(LARGE, false).await;
    let zeros = Tensor::from_f32(vec![LARGE as u64], &vec![0.0; LARGE]).unwrap();
    let answer = setup.driver.invoke(vec![("x".to_owned(), zeros)]).await.unwrap();
    assert_eq!(values(&answer)[0], 3.0);
    let invocations = setup.aws.invocations();
    assert!(invocations.iter().all(|invocation| invocation.streamed && invocation.bytes < 100_000));
    assert!(answer.bill.slices[0].lambda.clone().unwrap().streamed_bytes.0 > 4 * LARGE as u64);
}

#[tokio::test]
async fn without_a_store_inputs_that_no_payload_takes_are_an_error() {
    let setup = Setup::start(LARGE, false).await;
    let error = setup.invoke().await.unwrap_err();
    assert!(error.to_string().contains("Lambda takes 6291556"), "{error}");
    assert!(error.hint().contains("--store"), "{}", error.hint());
}

#[tokio::test]
async fn throttling_and_failures_of_the_service_pass() {
    let setup = Setup::start(SMALL, true).await;
    for fault in [Fault::Throttled, Fault::Service, Fault::Fails("tranche.store-failed", "SlowDown")] {
        setup.aws.fault("test-join", fault);
    }
    let bill = setup.invoke().await.unwrap().bill;
    // The client repeats what was throttled by itself.
    assert_eq!((bill.slices[2].attempts, bill.slices[2].lambda.clone().unwrap().invocations), (3, 2));
}

#[tokio::test]
async fn failures_of_the_function_are_final() {
    let setup = Setup::start(SMALL, true).await;
    setup.aws.fault("test-left", Fault::Fails("tranche.engine-failed", "shape mismatch"));
    let error = setup.invoke().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "function `left` failed at the first try: tranche.engine-failed: shape mismatch"
    );
}

#[tokio::test]
async fn streams_that_fail_or_break_off_are_repeated() {
    let setup = Setup::start(LARGE, false).await;
    setup.aws.fault("test-left", Fault::BreakOff);
    setup.aws.fault("test-left", Fault::Fails("Sandbox.Timedout", "Task timed out after 3.00 seconds"));
    let zeros = Tensor::from_f32(vec![LARGE as u64], &vec![0.0; LARGE]).unwrap();
    let bill = setup.driver.invoke(vec![("x".to_owned(), zeros)]).await.unwrap().bill;
    assert_eq!(bill.slices[0].attempts, 3);
}

#[tokio::test]
async fn nothing_stays_in_the_store_after_a_failure() {
    let setup = Setup::start(LARGE, true).await;
    setup.aws.fault("test-left", Fault::WritesAndDies);
    setup.aws.fault("test-left", Fault::Fails("tranche.engine-failed", "no"));
    setup.invoke().await.unwrap_err();
    assert_eq!(setup.aws.keys(), Vec::<String>::new());
    // What a function may have written without having said so is looked for.
    assert!(setup.aws.asked("GET") >= 1);
}

#[tokio::test]
async fn nothing_stays_in_the_store_when_the_caller_leaves() {
    let setup = Setup::start(LARGE, true).await;
    setup.aws.fault("test-join", Fault::Hang);
    let left = tokio::time::timeout(Duration::from_millis(1500), setup.invoke()).await;
    assert!(left.is_err());
    empty(&setup.aws).await;
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let setup = Setup::start(SMALL, true).await;
    setup.aws.fault("test-join", Fault::Hang);
    let call = Call { deadline: Some(Duration::from_millis(500)), ..Call::default() };
    let error = setup.driver.invoke_as(setup.x(), &call).await.unwrap_err();
    assert!(matches!(error, DriverError::Deadline { .. }), "{error}");
}

#[tokio::test]
async fn references_to_somebody_else_s_objects_are_refused() {
    let setup = Setup::start(LARGE, true).await;
    setup.aws.fault("test-left", Fault::Foreign);
    let error = setup.invoke().await.unwrap_err();
    assert!(error.to_string().contains("which is not of this request"), "{error}");
}

#[tokio::test]
async fn pings_warm_every_function() {
    let setup = Setup::start(SMALL, true).await;
    setup.aws.fault("test-left", Fault::Fails("Runtime.ExitError", "killed"));
    let times = setup.driver.warm_up().await.unwrap();
    assert_eq!(times.len(), 3);
    assert_eq!(setup.aws.invocations().len(), 4);
}

#[tokio::test]
async fn a_deployment_in_a_cloud_wants_a_client_in_its_region() {
    let setup = Setup::start(SMALL, true).await;
    let mut deployment = setup.driver.deployment().clone();
    let error = Driver::connect(deployment.clone(), options()).unwrap_err();
    assert!(error.to_string().contains("no credentials"), "{error}");
    assert_eq!(error.exit_code(), exit_code::USAGE);
    deployment.lambda.as_mut().unwrap().region = "eu-central-1".to_owned();
    let clouds = Clouds { aws: Some(setup.aws.client.clone()) };
    let error = Driver::connect_with(deployment, options(), clouds).unwrap_err();
    assert!(error.to_string().contains("`eu-central-1`, not in `us-east-1`"), "{error}");
}

#[tokio::test]
async fn a_stored_request_goes_on_by_itself() {
    let setup = Setup::start(SMALL, true).await;
    let answer = setup.driver.invoke_stored(setup.x(), &Call::default()).await.unwrap();
    assert_eq!(values(&answer)[7], expected(7));
    let invocations = setup.aws.invocations();
    let started: Vec<&str> = invocations.iter().map(|invocation| invocation.function.as_str()).collect();
    assert!(invocations.iter().all(|invocation| invocation.event));
    assert_eq!(started, ["test-left", "test-right"]);
    let bill = &answer.bill;
    assert_eq!(
        bill.slices.iter().map(|slice| slice.slice.as_str()).collect::<Vec<_>>(),
        ["left", "right", "join"]
    );
    let counted: Vec<u32> =
        bill.slices.iter().map(|slice| slice.lambda.as_ref().unwrap().invocations).collect();
    assert_eq!((counted, bill.billed_ms), (vec![1, 1, 1], Millis(0.75)));
    assert!(bill.lambda.as_ref().unwrap().store.puts >= 10);
    assert_eq!(setup.aws.keys(), Vec::<String>::new());
}

#[tokio::test]
async fn a_stored_request_s_failure_is_read_and_nothing_stays() {
    let setup = Setup::start(SMALL, true).await;
    setup.aws.fault("test-left", Fault::Fails("engine-failed", "shape mismatch"));
    let error = setup.driver.invoke_stored(setup.x(), &Call::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "function `left` failed at the first try: engine-failed: shape mismatch");
    assert_eq!((error.hint(), setup.aws.keys()), ("h", vec![]));
}

#[tokio::test]
async fn a_stored_request_that_nobody_answers_ends_at_its_deadline() {
    let setup = Setup::start(SMALL, true).await;
    setup.aws.fault("test-left", Fault::Lost);
    let call = Call { deadline: Some(Duration::from_millis(700)), ..Call::default() };
    let error = setup.driver.invoke_stored(setup.x(), &call).await.unwrap_err();
    assert_eq!(error.to_string(), "no answer within 0.7 s; waiting for `left`, `join`");
    assert_eq!(setup.aws.keys(), Vec::<String>::new());
}

#[tokio::test]
async fn a_stored_request_needs_a_store() {
    let setup = Setup::start(SMALL, false).await;
    let error = setup.driver.invoke_stored(setup.x(), &Call::default()).await.unwrap_err();
    assert!(error.hint().contains("--store"), "{error}");
}

#[tokio::test]
async fn what_is_called_later_is_pinged_once_and_billed() {
    let setup = Setup::overlapped().await;
    let bill = setup.invoke().await.unwrap().bill;
    let pings = |setup: &Setup| {
        let all = setup.aws.invocations();
        all.into_iter().filter(|call| call.header.is_none()).map(|call| call.function).collect::<Vec<_>>()
    };
    assert_eq!(pings(&setup), ["test-join"], "left and right are called at once");
    let join = bill.slices[2].lambda.clone().unwrap();
    assert_eq!((join.invocations, join.reported, join.billed_ms), (2, 2, Millis(10.0)));
    setup.invoke().await.unwrap();
    assert_eq!(pings(&setup).len(), 1, "it is warm now");
}

/// An instance runs one request at a time: a call beside a ping would start another from nothing.
#[tokio::test]
async fn a_call_waits_for_the_ping_that_starts_its_function() {
    let setup = Setup::overlapped().await;
    for _ in 0..2 {
        setup.aws.fault("test-join", Fault::Slow);
    }
    assert_eq!(values(&setup.invoke().await.unwrap())[7], expected(7));
    assert_eq!(setup.aws.state.lock().unwrap().running["test-join"], (0, 1));
}

#[tokio::test]
async fn pings_that_fail_fail_no_request_on_lambda() {
    for fault in [Fault::Throttled, Fault::Service, Fault::Fails("tranche.load-failed", "no")] {
        let setup = Setup::overlapped().await;
        setup.aws.fault("test-join", fault.clone());
        let answer = setup.invoke().await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(answer.bill.slices[2].attempts, 1, "{fault:?}");
    }
}

/// `left` and `right` read `x`, `join` reads both and `x`; `y` = 2 (x + 1) + x + 1.
fn expected(index: usize) -> f32 {
    3.0 * noise(index) + 3.0
}

fn diamond(elements: usize) -> Deployment {
    let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let functions = [
        ("left".to_owned(), own(&["x"]), own(&["l"])),
        ("right".to_owned(), own(&["x"]), own(&["r"])),
        ("join".to_owned(), own(&["l", "r", "x"]), own(&["y"])),
    ];
    let mut deployment = deployment(&own(&["x"]), &own(&["y"]), &functions);
    let reshape = |specs: &mut Vec<tranche_schema::TensorSpec>| {
        specs.iter_mut().for_each(|spec| spec.shape = vec![elements as u64]);
    };
    reshape(&mut deployment.inputs);
    reshape(&mut deployment.outputs);
    for function in &mut deployment.functions {
        reshape(&mut function.inputs);
        reshape(&mut function.outputs);
    }
    for edge in &mut deployment.edges {
        edge.tensor.shape = vec![elements as u64];
    }
    deployment
}

/// Whole numbers below 2^21, so that sums are exact; their order leaves compressors nothing.
fn noise(index: usize) -> f32 {
    let mixed = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 43) as f32
}

fn values(answer: &Answer) -> &[f32] {
    answer.outputs[0].1.as_slice::<f32>().unwrap()
}

fn options() -> Options {
    let retry = RetryPolicy {
        max_attempts: 5,
        first_wait: Duration::from_millis(5),
        longest_wait: Duration::from_millis(20),
    };
    // Pings are invocations too: tests of the ways of tensors are without them.
    Options { deadline: Duration::from_secs(30), retry, overlap: Overlap::Never, ..Options::default() }
}

struct Setup {
    aws: Aws,
    driver: Driver,
    elements: usize,
}

impl Setup {
    async fn start(elements: usize, store: bool) -> Self {
        Self::start_with(elements, store, options()).await
    }

    async fn overlapped() -> Self {
        Self::start_with(SMALL, false, Options { overlap: Overlap::Auto, ..options() }).await
    }

    async fn start_with(elements: usize, store: bool, options: Options) -> Self {
        let mut deployment = diamond(elements);
        let aws = Aws::start(&mut deployment, store).await;
        let clouds = Clouds { aws: Some(aws.client.clone()) };
        let driver = Driver::connect_with(deployment, options, clouds).unwrap();
        Self { aws, driver, elements }
    }

    fn x(&self) -> Vec<(String, Tensor)> {
        let values: Vec<f32> = (0..self.elements).map(noise).collect();
        vec![("x".to_owned(), Tensor::from_f32(vec![self.elements as u64], &values).unwrap())]
    }

    async fn invoke(&self) -> Result<Answer, DriverError> {
        self.driver.invoke(self.x()).await
    }
}
