//! The driver against functions behind a gateway's URLs, and against a local deployment that is gone.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::deployment;
use common::server::{Fault, Function};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tranche_driver::{Answer, Driver, DriverError, Options, RetryPolicy};
use tranche_schema::{Address, Deployment, LocalSupervisor, Tensor, exit_code};
use tranche_transport::SharedFolder;

fn own(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// `first` makes `h` of `x`, `second` makes `y` of `h` and `x`.
fn chain() -> Deployment {
    let functions = [
        ("first".to_owned(), own(&["x"]), own(&["h"])),
        ("second".to_owned(), own(&["h", "x"]), own(&["y"])),
    ];
    deployment(&own(&["x"]), &own(&["y"]), &functions)
}

/// The chain behind gateways, with `faults` in `first`.
async fn gateway(faults: Vec<Fault>) -> (Deployment, Vec<Function>) {
    let mut deployment = chain();
    let mut faults = Some(faults);
    let mut functions = Vec::new();
    for function in &mut deployment.functions {
        let described = (function.slice.as_str(), function.outputs.as_slice());
        let (running, url) = Function::behind_gateway(described, faults.take().unwrap_or_default()).await;
        function.address = Address::Http { url };
        functions.push(running);
    }
    (deployment, functions)
}

fn quick() -> Options {
    let retry = RetryPolicy { first_wait: Duration::from_millis(5), ..RetryPolicy::default() };
    Options { deadline: Duration::from_secs(10), retry, ..Options::default() }
}

async fn invoke(deployment: Deployment, options: Options) -> Result<Answer, DriverError> {
    let x = Tensor::from_f32(vec![4], &[0.0, 1.0, 2.0, 3.0]).unwrap();
    Driver::connect(deployment, options)?.invoke(vec![("x".to_owned(), x)]).await
}

#[tokio::test]
async fn functions_are_called_below_their_urls() {
    let (deployment, functions) = gateway(vec![]).await;
    let driver = Driver::connect(deployment.clone(), quick()).unwrap();
    assert_eq!(driver.warm_up().await.unwrap().len(), 2);
    let answer = invoke(deployment, quick()).await.unwrap();
    assert_eq!(answer.outputs[0].1.as_slice::<f32>().unwrap(), [2.0, 4.0, 6.0, 8.0]);
    assert_eq!(functions[1].requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn every_call_has_an_id_and_its_deadline() {
    let (deployment, functions) = gateway(vec![Fault::Status(500, "Can't reach service for: first.")]).await;
    invoke(deployment, quick()).await.unwrap();
    let header = |function: usize, call: usize, name: &str| {
        functions[function].headers.lock().unwrap()[call][name].to_str().unwrap().to_owned()
    };
    let request = functions[0].requests.lock().unwrap()[0].request_id_hex();
    assert_eq!(header(0, 0, "x-call-id"), format!("{request}-first-1"));
    assert_eq!(header(0, 1, "x-call-id"), format!("{request}-first-2"));
    assert_eq!(header(1, 0, "x-call-id"), format!("{request}-second-1"));
    let timeout = tranche_transport::parse_go_duration(&header(0, 0, "x-timeout")).unwrap();
    assert!(timeout > Duration::from_secs(8) && timeout <= Duration::from_secs(10), "{timeout:?}");
}

#[tokio::test]
async fn what_a_gateway_says_while_a_function_restarts_is_tried_again() {
    for fault in [
        Fault::Status(500, "Can't reach service for: first."),
        Fault::Status(500, "dial tcp 10.62.0.9:8080: connect: connection refused"),
        Fault::Status(502, ""),
        Fault::Status(503, "no endpoints"),
        Fault::Status(504, "timeout"),
        Fault::Busy(0),
    ] {
        let (deployment, _functions) = gateway(vec![fault.clone(), fault.clone()]).await;
        let answer = invoke(deployment, quick()).await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(answer.bill.slices[0].attempts, 3, "{fault:?}");
    }
}

#[tokio::test]
async fn what_a_gateway_says_for_good_ends_the_request_with_a_hint() {
    let of = async |fault: Fault| {
        let (deployment, functions) = gateway(vec![fault]).await;
        let error = invoke(deployment, quick()).await.unwrap_err();
        assert_eq!(functions[0].requests.lock().unwrap().len(), 1);
        assert_eq!(error.exit_code(), exit_code::REMOTE);
        format!("{error}; {}", error.hint())
    };
    insta::assert_snapshot!(of(Fault::Status(404, "error finding function first.openfaas-fn")).await, @"function `first` failed at the first try: HTTP 404: error finding function first.openfaas-fn; the gateway knows no such function: deploy the bundle again, or check the gateway's URL in deployment.json");
    insta::assert_snapshot!(of(Fault::Status(401, "invalid credentials")).await, @"function `first` failed at the first try: HTTP 401: invalid credentials; something before the function wants credentials: OpenFaaS leaves /function/ open, so look for a proxy, or check the gateway's URL in deployment.json");
    insta::assert_snapshot!(of(Fault::Status(413, "")).await, @"function `first` failed at the first try: HTTP 413; something before the function bounds bodies below what its tensors take; raise that bound");
    insta::assert_snapshot!(of(Fault::Redirect("http://elsewhere/")).await, @"function `first` failed at the first try: HTTP 302 (to http://elsewhere/); redirects are not followed: put the address that it leads to into deployment.json by deploying again");
}

#[tokio::test]
async fn a_function_that_is_not_deployed_is_not_waited_for() {
    let (mut deployment, _functions) = gateway(vec![]).await;
    let Address::Http { url } = &mut deployment.functions[1].address else { unreachable!() };
    *url = url.replace("second", "third");
    let started = Instant::now();
    let error = Driver::connect(deployment, quick()).unwrap().warm_up().await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(error.to_string().contains("function `second` is not ready"), "{error}");
    assert!(error.to_string().contains("HTTP 404"), "{error}");
}

#[tokio::test]
async fn urls_that_paths_cannot_be_appended_to_are_refused() {
    let refused = |url: &str| {
        let mut deployment = chain();
        deployment.functions[0].address = Address::Http { url: url.to_owned() };
        let error = Driver::connect(deployment, quick()).unwrap_err();
        assert_eq!(error.exit_code(), exit_code::USAGE);
        error.to_string()
    };
    insta::assert_snapshot!(refused("127.0.0.1:8080/function/a"), @"cannot make an HTTP client for `first`: `127.0.0.1:8080/function/a`: relative URL without a base");
    insta::assert_snapshot!(refused("ftp://127.0.0.1/function/a"), @"cannot make an HTTP client for `first`: `ftp://127.0.0.1/function/a`: `ftp` is neither http nor https");
    insta::assert_snapshot!(refused("http://127.0.0.1/function/a?x=1"), @"cannot make an HTTP client for `first`: `http://127.0.0.1/function/a?x=1`: it has a query or a fragment, but paths are appended to it");
}

/// A local deployment whose supervisor was the process of this id, with nobody at the sockets.
fn local(folder: &TempDir, process_id: u32, process_start_ticks: u64) -> Deployment {
    let shared_folder = folder.path().join("shared");
    SharedFolder::create(&shared_folder).unwrap();
    let mut deployment = chain();
    for function in &mut deployment.functions {
        function.address = Address::Unix { path: folder.path().join(&function.slice) };
    }
    deployment.local = Some(LocalSupervisor {
        process_id,
        process_start_ticks,
        control_socket: folder.path().join("control"),
        shared_folder,
        log_folder: folder.path().join("logs"),
        scale_to_zero_seconds: None,
    });
    deployment
}

#[tokio::test]
async fn a_deployment_that_nobody_keeps_any_more_fails_at_once() {
    let folder = TempDir::new().unwrap();
    let deployment = local(&folder, std::process::id(), 0);
    let error = invoke(deployment.clone(), quick()).await.unwrap_err();
    insta::assert_snapshot!(format!("{error}; {}", error.hint()), @"function `first` failed at the first try: cannot connect: No such file or directory (os error 2); the deployment was destroyed, or its supervisor was killed: deploy the bundle again");
    let started = Instant::now();
    Driver::connect(deployment, quick()).unwrap().warm_up().await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_deployment_that_is_kept_is_waited_for() {
    let folder = TempDir::new().unwrap();
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let ticks = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap();
    let deployment = local(&folder, std::process::id(), ticks);
    let retry = RetryPolicy { max_attempts: 3, ..quick().retry };
    let error = invoke(deployment, Options { retry, ..quick() }).await.unwrap_err();
    assert!(error.to_string().starts_with("function `first` failed 3 times: cannot connect"), "{error}");
}
