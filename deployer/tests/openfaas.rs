//! The OpenFaaS target on a gateway with a table of functions.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/openfaas.rs"]
mod openfaas;
mod support;

use gateway::{Behaviour, Fault, PASSWORD};
use openfaas::{BOTH, Cluster, FIRST, NAME, SECOND, deployed, notices, position};
use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tranche_deployer::openfaas::{FrontDoor, FrontDoorImage};
use tranche_deployer::{DeployError, DeployEvent, DeploymentPhase, LogQuery, Replicas, Target};
use tranche_packager::openfaas::Provider;
use tranche_schema::{
    Address, ByteCount, Deployment, Digest, Document, FunctionSize, Header, ImageIndex, LimitsEnforced,
    MilliCpu,
};

#[test]
fn functions_come_up_and_go_again() {
    for provider in [Provider::Faasd, Provider::Kubernetes] {
        let cluster = Cluster::new(provider);
        cluster.gateway.add_others(1);
        let (deployment, events) = cluster.deploy(&FIRST);
        let deployment = deployment.unwrap();
        assert_eq!(events.iter().filter(|event| matches!(event, DeployEvent::Ready { .. })).count(), 2);
        let openfaas = deployment.openfaas.as_ref().unwrap();
        assert_eq!(
            (openfaas.gateway.clone(), openfaas.provider.clone()),
            (cluster.gateway.url(), provider.to_string())
        );
        let name = &openfaas.functions[0].function;
        assert!(name.starts_with("toy-slice-0-") && cluster.gateway.functions().contains(name));
        let url = format!("{}/function/{name}", cluster.gateway.url());
        assert_eq!(deployment.functions[0].address, Address::Http { url });
        let limits = LimitsEnforced { memory: true, cpu: provider == Provider::Kubernetes };
        assert_eq!(deployment.functions[0].limits, limits);

        let target = cluster.target(cluster.settings(&[]));
        assert_eq!(target.deployment(NAME).unwrap(), deployment);
        assert_eq!(target.list().unwrap(), [NAME]);
        let status = target.status(NAME).unwrap();
        assert_eq!((status.phase, status.notices.len()), (DeploymentPhase::Running, 0));
        assert_eq!(status.functions[1].replicas, Some(Replicas { available: 1, wanted: 1 }));
        assert_eq!(status.functions[1].limits, limits);
        let destroyed = target.destroy(NAME).unwrap();
        assert_eq!((destroyed.functions, destroyed.drained), (2, true));
        assert_eq!(cluster.gateway.functions(), ["other-0"]);
        assert_eq!(target.list().unwrap(), Vec::<String>::new());
        assert!(matches!(target.status(NAME), Err(DeployError::NotFound { .. })));
        assert!(matches!(target.destroy(NAME), Err(DeployError::NotFound { .. })));
        assert_eq!(fs::read_dir(cluster.folder.path().join("state/openfaas")).unwrap().count(), 0);
    }
}

#[test]
fn the_same_again_changes_nothing() {
    for provider in [Provider::Faasd, Provider::Kubernetes] {
        let cluster = deployed(provider);
        assert!(cluster.plan(&FIRST).is_empty());
        cluster.gateway.calls();
        let (again, events) = cluster.deploy(&FIRST);
        assert!(again.is_ok() && events.contains(&DeployEvent::Unchanged), "{again:?} {events:?}");
        let calls = cluster.gateway.calls();
        assert!(calls.iter().all(|call| call.starts_with("GET")), "{calls:?}");
        // What the gateway is, the list, each function and its readiness.
        assert_eq!(calls.len(), 2 + 2 + 2, "{calls:#?}");
    }
}

#[test]
fn an_update_keeps_the_old_until_the_new_is_ready() {
    let cluster = deployed(Provider::Faasd);
    let [old] = &cluster.gateway.of_slice("slice-1")[..] else { panic!() };
    insta::with_settings!({ filters => [(r"-[0-9a-f]{8},", "-GENERATION,"), (r"image [0-9a-f]{12}", "image DIGEST")] }, {
        insta::assert_snapshot!(cluster.plan(&SECOND), @r"
        toy on openfaas:
          ~ slice-1  toy-slice-1-GENERATION, 64Mi, 500m, image DIGEST -> toy-slice-1-GENERATION, 64Mi, 500m, image DIGEST
        ");
    });
    cluster.gateway.calls();
    let (deployment, events) = cluster.deploy(&SECOND);
    let deployment = deployment.unwrap();
    let new = &deployment.openfaas.as_ref().unwrap().functions[1].function;
    let calls = cluster.gateway.calls();
    let (made, ready, deleted) = (
        position(&calls, &format!("POST /system/functions {new}")),
        position(&calls, &format!("GET /function/{new}/_/ready")),
        position(&calls, &format!("DELETE /system/functions {old}")),
    );
    assert!(made < ready && ready < deleted, "{calls:#?}");
    assert_eq!(
        calls.iter().filter(|call| !call.starts_with("GET")).count(),
        3,
        "slice-0 is left alone: {calls:#?}"
    );
    assert!(events.contains(&DeployEvent::Draining));
    assert_eq!(cluster.gateway.functions().len(), 2);
}

#[test]
fn a_slice_that_fails_is_rolled_back() {
    for (behaviour, expected) in [
        (Behaviour::Broken, "function `slice-1` did not start: the model is damaged"),
        (Behaviour::Loading, "not ready after 400ms: slice-1 (loading)"),
        (Behaviour::NoReplica, "not ready after 400ms: slice-1 (no replica runs yet)"),
    ] {
        let cluster = deployed(Provider::Kubernetes);
        let before = (cluster.gateway.functions(), fs::read(cluster.deployment_path()).unwrap());
        let [old] = &cluster.gateway.of_slice("slice-1")[..] else { panic!() };
        cluster.gateway.behave(old, Behaviour::Ready);
        cluster.gateway.behave("slice-1", behaviour);
        let error = cluster.deploy_within(&SECOND, Duration::from_millis(400)).0.unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert!(error.log_tail().unwrap().ends_with("line 2"), "{error:?}");
        assert_eq!((cluster.gateway.functions(), fs::read(cluster.deployment_path()).unwrap()), before);
    }
}

#[test]
fn a_refused_slice_is_named_with_the_gateways_words() {
    let cluster = deployed(Provider::Faasd);
    let before = cluster.gateway.functions();
    let error = cluster.deploy(&[("slice-0", "2"), ("slice-1", "missing")]).0.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("slice `slice-1`: create function toy-slice-1-"), "{text}");
    assert!(text.ends_with("refused with status 400: unable to pull image: not found"), "{text}");
    assert_eq!(cluster.gateway.functions(), before);
}

#[test]
fn where_old_and_new_do_not_fit_the_update_is_in_place() {
    let cluster = deployed(Provider::Faasd);
    cluster.gateway.add_others(12);
    let (deployment, events) = cluster.deploy(&BOTH);
    deployment.unwrap();
    let notice = notices(&events).into_iter().find(|text| text.starts_with("updating in place")).unwrap();
    insta::assert_snapshot!(notice, @"updating in place (old and new functions together would be 16 of at most 15): the deployment does not answer until the new functions are ready");
    let draining = events.iter().position(|event| *event == DeployEvent::Draining).unwrap();
    let starting = events.iter().position(|event| matches!(event, DeployEvent::Starting { .. })).unwrap();
    assert!(draining < starting, "{events:?}");
    let calls = cluster.gateway.changes();
    assert!(calls[0].starts_with("DELETE") && calls[1].starts_with("DELETE"), "{calls:#?}");
    assert_eq!(cluster.gateway.functions().len(), 14);
}

#[test]
fn a_failed_update_in_place_puts_the_old_back() {
    let cluster = deployed(Provider::Faasd);
    cluster.gateway.add_others(12);
    let before = cluster.gateway.functions();
    let described: Vec<_> = before.iter().map(|name| cluster.gateway.function(name)).collect();
    for old in cluster.gateway.of_slice("toy-") {
        cluster.gateway.behave(&old, Behaviour::Ready);
    }
    cluster.gateway.behave("slice-1", Behaviour::Broken);
    let (result, events) = cluster.deploy(&BOTH);
    assert_eq!(result.unwrap_err().to_string(), "function `slice-1` did not start: the model is damaged");
    assert!(notices(&events).contains(&"putting back what ran before"), "{events:?}");
    assert_eq!(cluster.gateway.functions(), before);
    let after: Vec<_> = before.iter().map(|name| cluster.gateway.function(name)).collect();
    assert_eq!(after, described);
    assert!(cluster.plan(&FIRST).is_empty());
}

#[test]
fn more_than_fit_are_refused_before_anything_is_done() {
    let cluster = Cluster::new(Provider::Faasd);
    let names: Vec<String> = (0..16).map(|index| format!("slice-{index}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let error = cluster.deploy(&many).0.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the deployment would not work: 16 functions are more than the 15 of the Community Edition"
    );
    assert_eq!(cluster.gateway.calls(), Vec::<String>::new());
    cluster.gateway.add_others(14);
    let error = cluster.deploy(&FIRST).0.unwrap_err();
    assert!(error.to_string().contains("2 functions beside 14 that run already"), "{error}");
    assert_eq!(cluster.gateway.changes(), Vec::<String>::new());
}

#[test]
fn functions_in_use_are_waited_for_and_then_said_to_be_removed() {
    let cluster = deployed(Provider::Faasd);
    for old in cluster.gateway.functions() {
        cluster.gateway.behave(&old, Behaviour::Busy(1));
    }
    let start = std::time::Instant::now();
    let (deployment, events) = cluster.deploy(&BOTH);
    deployment.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert!(
        notices(&events).iter().any(|text| text.starts_with("old functions may have been in use")),
        "{events:?}"
    );
    assert_eq!(cluster.gateway.functions().len(), 2);
}

#[test]
fn no_request_is_lost_over_updates() {
    let cluster = deployed(Provider::Faasd);
    let end = AtomicBool::new(false);
    let answered = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut answered = 0;
            while !end.load(Ordering::Relaxed) {
                let deployment = Deployment::read(&cluster.deployment_path()).unwrap();
                for function in &deployment.openfaas.unwrap().functions {
                    assert_eq!(cluster.gateway.invoke(&function.function), 200, "{}", function.function);
                    // On its way from slice to slice.
                    std::thread::sleep(Duration::from_millis(50));
                }
                answered += 1;
            }
            answered
        });
        for version in ["2", "3", "4"] {
            let slices = [("slice-0", version), ("slice-1", version)];
            let mut settings = cluster.settings(&slices);
            settings.quiet = Duration::from_secs(1);
            let mut request = cluster.request(&["slice-0", "slice-1"]);
            request.options.drain_timeout = Duration::from_secs(10);
            cluster.target(settings).deploy(&request, &mut |_| {}).unwrap();
        }
        end.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });
    assert!(answered > 5, "{answered}");
    assert_eq!(cluster.gateway.functions().len(), 2);
}

#[test]
fn credentials_are_nowhere() {
    let cluster = deployed(Provider::Faasd);
    let target = cluster.target(cluster.settings(&FIRST));
    cluster.gateway.fail("GET /system/info", &[Fault::Status(401)]);
    let error = target.status(NAME).unwrap_err();
    let (_, events) = cluster.deploy(&SECOND);
    let functions: String =
        cluster.gateway.functions().iter().map(|name| cluster.gateway.function(name).to_string()).collect();
    let encoded = "YWRtaW46czNjcmV0LXBhNTV3b3Jk";
    for text in [
        cluster.state_text(),
        format!("{target:?}"),
        format!("{error} {error:?}"),
        format!("{events:?}"),
        functions,
    ] {
        assert!(!text.contains(PASSWORD) && !text.contains(encoded), "{text}");
    }
    assert!(cluster.state_text().contains("slice-0"), "the state was read");
}

#[test]
fn replicas_are_set_where_there_can_be_more_than_one() {
    let cluster = deployed(Provider::Kubernetes);
    let target = cluster.target(cluster.settings(&[]));
    target.scale(NAME, Some("slice-1"), 3).unwrap();
    let replicas: Vec<_> = target
        .status(NAME)
        .unwrap()
        .functions
        .iter()
        .map(|function| function.replicas.unwrap().available)
        .collect();
    assert_eq!(replicas, [1, 3]);
    for (slice, count) in [(None, 6), (None, 0), (Some("slice-9"), 1)] {
        assert!(target.scale(NAME, slice, count).is_err(), "{slice:?} {count}");
    }
    let cluster = deployed(Provider::Faasd);
    let error = cluster.target(cluster.settings(&[])).scale(NAME, None, 2).unwrap_err();
    assert!(error.to_string().ends_with("faasd runs 1 to 1 replicas of a function"), "{error}");
}

#[test]
fn logs_come_from_the_gateway() {
    let cluster = deployed(Provider::Faasd);
    let target = cluster.target(cluster.settings(&[]));
    let query = LogQuery { function: Some("slice-1".to_owned()), tail: Some(1) };
    let logs = target.logs(NAME, &query).unwrap();
    assert_eq!((logs.len(), logs[0].lines.clone()), (1, vec!["line 2".to_owned()]));
    assert_eq!(target.logs(NAME, &LogQuery::default()).unwrap().len(), 2);
    let unknown = LogQuery { function: Some("slice-2".to_owned()), tail: None };
    assert!(matches!(target.logs(NAME, &unknown), Err(DeployError::NotFound { .. })));
}

#[test]
fn images_must_be_those_of_the_bundle() {
    let cluster = Cluster::new(Provider::Faasd);
    let request = cluster.request(&["slice-0", "slice-1"]);
    let mut settings = cluster.settings(&FIRST);
    let bundle_digest = Digest::of(&fs::read(request.bundle.join("manifest.json")).unwrap());
    let index = |bundle_digest: Digest, engine: &str| ImageIndex {
        header: Header { format: ImageIndex::FORMAT.to_owned(), version: ImageIndex::VERSION },
        bundle_digest,
        engine: engine.to_owned(),
        architecture: "amd64".to_owned(),
        images: Vec::new(),
    };
    settings.image_index = Some(index(Digest::of(b"another"), "tract"));
    let refusal = |settings| cluster.target(settings).deploy(&request, &mut |_| {}).unwrap_err().to_string();
    assert!(refusal(settings.clone()).contains("they were made of bundle"));
    settings.image_index = Some(index(bundle_digest.clone(), "onnxruntime"));
    assert!(refusal(settings.clone()).ends_with("they hold engine onnxruntime, not tract"));
    settings.image_index = Some(index(bundle_digest, "tract"));
    assert!(cluster.target(settings).deploy(&request, &mut |_| {}).is_ok());
    assert!(cluster.deploy(&[("slice-0", "1"), ("slice-2", "1")]).0.is_ok());
    let missing = cluster.target(cluster.settings(&[])).deploy(&request, &mut |_| {}).unwrap_err();
    assert_eq!(missing.to_string(), "slice `slice-0` has no image");
}

/// Gives an image named after how often it was asked.
#[derive(Default)]
struct Maker(Mutex<Vec<String>>);

impl FrontDoorImage for Maker {
    fn make(&self, deployment: &Deployment) -> Result<String, DeployError> {
        let mut made = self.0.lock().unwrap();
        made.push(deployment.functions.iter().map(|function| format!("{:?}", function.address)).collect());
        Ok(format!("registry.example/door@{}", Digest::of(made.last().unwrap().as_bytes())))
    }
}

#[test]
fn a_front_door_serves_the_new_slices_before_the_old_go() {
    let cluster = Cluster::new(Provider::Faasd);
    let maker = Arc::new(Maker::default());
    let size = FunctionSize { memory_bytes: ByteCount::mebibytes(64), cpu_milli: MilliCpu(250) };
    let deploy = |slices: &[(&str, &str)]| {
        let mut settings = cluster.settings(slices);
        settings.front_door = Some(FrontDoor { image: maker.clone(), size, environment: BTreeMap::new() });
        let result = cluster.target(settings).deploy(&cluster.request(&["slice-0", "slice-1"]), &mut |_| {});
        result.map(|deployment| deployment.openfaas.unwrap().front_door.unwrap())
    };
    let door = deploy(&FIRST).unwrap();
    assert_eq!(door.function, "toy-front-door");
    assert_eq!(deploy(&FIRST).unwrap(), door);
    assert_eq!(maker.0.lock().unwrap().len(), 1, "nothing changed, nothing is made");
    let old = cluster.gateway.of_slice("slice-1");
    cluster.gateway.calls();
    let changed = deploy(&SECOND).unwrap();
    assert_ne!(changed.image, door.image);
    let calls = cluster.gateway.changes();
    let (opened, deleted) = (
        position(&calls, "PUT /system/functions toy-front-door"),
        position(&calls, &format!("DELETE /system/functions {}", old[0])),
    );
    assert!(opened < deleted, "{calls:#?}");
    assert_eq!(cluster.gateway.functions().len(), 3);
    // Without one, it goes.
    cluster.deploy(&SECOND).0.unwrap();
    assert_eq!(cluster.gateway.functions().len(), 2);
}
