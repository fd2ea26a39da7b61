//! Overlapped start-up: functions that a request needs later start while the first does.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::deployment;
use common::server::{Cold, Fault, Function};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tranche_driver::{Driver, Options, Overlap};
use tranche_schema::{Address, Deployment, LocalSupervisor, Tensor};
use tranche_transport::SharedFolder;

const START: Duration = Duration::from_millis(300);
const FAULTLESS: [Vec<Fault>; 3] = [Vec::new(), Vec::new(), Vec::new()];

/// `first` → `second` → `third`, none of which runs.
struct Chain {
    _folder: TempDir,
    deployment: Deployment,
    events: Arc<Mutex<Vec<String>>>,
    _functions: Vec<Function>,
}

impl Chain {
    fn start(faults: [Vec<Fault>; 3]) -> Self {
        let folder = TempDir::new().unwrap();
        let own = |name: &str| vec![name.to_owned()];
        let functions = [("first", "x", "a"), ("second", "a", "b"), ("third", "b", "y")];
        let functions = functions.map(|(slice, reads, writes)| (slice.to_owned(), own(reads), own(writes)));
        let mut deployment = deployment(&own("x"), &own("y"), &functions);
        let cold = Cold::taking(START);
        let mut started = Vec::new();
        for (function, faults) in deployment.functions.iter_mut().zip(faults) {
            let path = folder.path().join(&function.slice);
            let serves = (function.slice.as_str(), function.outputs.as_slice());
            started.push(Function::cold(&path, serves, faults, cold.another()));
            function.address = Address::Unix { path };
        }
        Self { _folder: folder, deployment, events: cold.events, _functions: started }
    }

    fn driver(&self, overlap: Overlap) -> Driver {
        let options = Options { overlap, deadline: Duration::from_secs(10), ..Options::default() };
        Driver::connect(self.deployment.clone(), options).unwrap()
    }

    fn events(&self) -> Vec<String> {
        std::mem::take(&mut *self.events.lock().unwrap())
    }
}

fn x() -> Vec<(String, Tensor)> {
    vec![("x".to_owned(), Tensor::from_f32(vec![4], &[0.0, 1.0, 2.0, 3.0]).unwrap())]
}

fn place(events: &[String], event: &str) -> usize {
    events.iter().position(|other| other == event).unwrap_or_else(|| panic!("no `{event}` in {events:?}"))
}

#[tokio::test]
async fn all_start_while_the_first_does() {
    let chain = Chain::start(FAULTLESS);
    let driver = chain.driver(Overlap::Always);
    let answer = driver.invoke(x()).await.unwrap();
    let expected = Tensor::from_f32(vec![4], &[3.0, 4.0, 5.0, 6.0]).unwrap();
    assert_eq!(answer.outputs, [("y".to_owned(), expected)]);
    let events = chain.events();
    for later in ["second", "third"] {
        let (ping, started) = (format!("ping {later}"), format!("started {later}"));
        assert!(place(&events, &ping) < place(&events, "started first"), "{events:?}");
        // One start's time: nobody's start waits for another's answer.
        assert!(place(&events, &ping) < place(&events, "answered first"), "{events:?}");
        assert!(place(&events, &started) < place(&events, &format!("answered {later}")), "{events:?}");
    }
    assert!(!events.contains(&"ping first".to_owned()), "the first is called at once: {events:?}");
    // They are known to be warm now.
    driver.invoke(x()).await.unwrap();
    assert_eq!(chain.events(), ["answered first", "answered second", "answered third"]);
}

#[tokio::test]
async fn without_overlap_each_start_waits_for_the_answer_before() {
    for overlap in [Overlap::Never, Overlap::Auto] {
        let chain = Chain::start(FAULTLESS);
        chain.driver(overlap).invoke(x()).await.unwrap();
        let order = [
            "started first",
            "answered first",
            "started second",
            "answered second",
            "started third",
            "answered third",
        ];
        assert_eq!(chain.events(), order, "{overlap:?}: nothing says that these functions are ever stopped");
    }
}

#[tokio::test]
async fn a_deployment_that_scales_to_zero_is_pinged_without_being_told() {
    let mut chain = Chain::start(FAULTLESS);
    let shared_folder = chain._folder.path().join("shared");
    SharedFolder::create(&shared_folder).unwrap();
    chain.deployment.local = Some(LocalSupervisor {
        process_id: std::process::id(),
        process_start_ticks: 1,
        control_socket: chain._folder.path().join("control"),
        shared_folder,
        log_folder: chain._folder.path().join("logs"),
        scale_to_zero_seconds: Some(60),
    });
    chain.driver(Overlap::Auto).invoke(x()).await.unwrap();
    let events = chain.events();
    assert!(place(&events, "ping third") < place(&events, "answered first"), "{events:?}");
}

#[tokio::test]
async fn pings_that_fail_fail_no_request() {
    let refuses = || vec![Fault::Status(500, "{\"code\": \"load-failed\", \"message\": \"no\"}")];
    let chain = Chain::start([Vec::new(), refuses(), refuses()]);
    let answer = chain.driver(Overlap::Always).invoke(x()).await.unwrap();
    assert!(answer.bill.slices.iter().all(|slice| slice.attempts == 1), "{:?}", answer.bill);
}

#[tokio::test]
async fn requests_at_once_ping_once() {
    let chain = Chain::start(FAULTLESS);
    let driver = chain.driver(Overlap::Always);
    let (one, two) = tokio::join!(driver.invoke(x()), driver.invoke(x()));
    assert!(one.is_ok() && two.is_ok());
    let pings: Vec<String> = chain.events().into_iter().filter(|event| event.starts_with("ping")).collect();
    assert_eq!(pings.len(), 2, "{pings:?}");
}
