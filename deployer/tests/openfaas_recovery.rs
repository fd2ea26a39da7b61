//! Deploys that were cut off, state that was lost, functions that others changed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/openfaas.rs"]
mod openfaas;
mod support;

use gateway::{Behaviour, Fault};
use openfaas::{BOTH, Cluster, FIRST, NAME, SECOND, deployed, position};
use serde_json::json;
use std::fs;
use tranche_deployer::{DeployError, DeployEvent, DeploymentPhase, FunctionState, Target};
use tranche_packager::openfaas::Provider;

#[test]
fn a_false_success_is_not_believed() {
    let cluster = Cluster::new(Provider::Kubernetes);
    // The updates say yes and do nothing; creating tells the truth.
    cluster.gateway.fail("PUT /system/functions", &[Fault::FalseSuccess; 2]);
    let deployment = cluster.deploy(&FIRST).0.unwrap();
    assert_eq!(cluster.gateway.functions().len(), 2);
    let name = &deployment.openfaas.unwrap().functions[0].function;
    cluster.gateway.edit(name, |function| function["image"] = json!("by-hand"));
    cluster.gateway.fail("PUT /system/functions", &[Fault::FalseSuccess; 2]);
    let error = cluster.deploy(&FIRST).0.unwrap_err().to_string();
    assert!(
        error.contains("answered with success and not done: the gateway still has image by-hand"),
        "{error}"
    );
}

#[test]
fn what_the_gateway_loses_on_the_way_is_made_up_for() {
    let cluster = Cluster::new(Provider::Faasd);
    cluster.gateway.fail("GET /system/info", &[Fault::Reset]);
    cluster.gateway.fail("GET /system/functions", &[Fault::Status(502)]);
    cluster.gateway.fail("PUT /system/functions", &[Fault::Status(500)]);
    cluster.gateway.fail("POST /system/functions", &[Fault::LostAnswer]);
    cluster.gateway.fail("GET /function/", &[Fault::Reset, Fault::Status(500)]);
    cluster.deploy(&FIRST).0.unwrap();
    cluster.gateway.fail("DELETE /system/functions", &[Fault::Status(500)]);
    cluster.deploy(&SECOND).0.unwrap();
    assert_eq!(cluster.gateway.functions().len(), 2);
}

#[test]
fn an_interrupted_deploy_goes_on_where_it_was() {
    let cluster = deployed(Provider::Faasd);
    let serving = fs::read(cluster.deployment_path()).unwrap();
    let cut_off = std::panic::catch_unwind(|| {
        let target = cluster.target(cluster.settings(&BOTH));
        let _ = target.deploy(&cluster.request(&["slice-0", "slice-1"]), &mut |event| {
            assert!(!matches!(event, DeployEvent::Ready { .. }), "cut off");
        });
    });
    assert!(cut_off.is_err());
    assert_eq!(fs::read(cluster.deployment_path()).unwrap(), serving);
    let half_way = cluster.gateway.functions().len();
    assert!(half_way > 2);
    let plan = cluster.plan(&BOTH).to_string();
    assert!(plan.contains("~ slice-0"), "{plan}");
    cluster.gateway.calls();
    cluster.deploy(&BOTH).0.unwrap();
    let made = cluster.gateway.changes().iter().filter(|call| call.starts_with("POST")).count();
    assert_eq!(made, 4 - half_way, "what was made is kept");
    assert_eq!(cluster.gateway.functions().len(), 2);
}

#[test]
fn functions_that_nobody_refers_to_are_removed() {
    let cluster = deployed(Provider::Faasd);
    let serving = cluster.gateway.functions();
    let saved = fs::read(cluster.deployment_path()).unwrap();
    cluster.gateway.behave("slice-1", Behaviour::Ready);
    cluster.deploy(&SECOND).0.unwrap();
    // As if the second deploy had died before it wrote deployment.json.
    let [stray] = &cluster
        .gateway
        .functions()
        .into_iter()
        .filter(|name| !serving.contains(name))
        .collect::<Vec<_>>()[..]
    else {
        panic!()
    };
    fs::write(cluster.deployment_path(), saved).unwrap();
    let status = cluster.target(cluster.settings(&[])).status(NAME).unwrap();
    assert_eq!(status.phase, DeploymentPhase::Degraded);
    assert!(status.notices[0].starts_with(stray.as_str()), "{:?}", status.notices);
    let plan = cluster.plan(&FIRST).to_string();
    assert!(plan.contains(&format!("- {stray}")) && plan.contains("missing at the gateway"), "{plan}");
    cluster.deploy(&FIRST).0.unwrap();
    assert_eq!(cluster.gateway.functions(), serving);
}

#[test]
fn lost_state_is_no_lost_deployment() {
    let cluster = deployed(Provider::Faasd);
    let serving = cluster.gateway.functions();
    fs::remove_dir_all(cluster.folder.path().join("state")).unwrap();
    let target = cluster.target(cluster.settings(&[]));
    assert_eq!(target.list().unwrap(), [NAME]);
    let status = target.status(NAME).unwrap();
    assert_eq!((status.phase, status.functions.len()), (DeploymentPhase::Incomplete, 2));
    let (again, _) = cluster.deploy(&FIRST);
    assert!(again.is_ok() && cluster.gateway.changes().is_empty());
    // Others may use what runs: it goes last.
    fs::remove_dir_all(cluster.folder.path().join("state")).unwrap();
    cluster.gateway.calls();
    cluster.deploy(&BOTH).0.unwrap();
    let calls = cluster.gateway.calls();
    assert!(position(&calls, "POST") < position(&calls, &format!("DELETE /system/functions {}", serving[0])));
    assert_eq!(cluster.gateway.functions().len(), 2);
    fs::remove_dir_all(cluster.folder.path().join("state")).unwrap();
    cluster.gateway.fail("DELETE /system/functions", &[Fault::Status(500)]);
    assert_eq!(target.destroy(NAME).unwrap().functions, 2);
    assert_eq!(cluster.gateway.functions(), Vec::<String>::new());
}

#[test]
fn what_others_changed_is_shown_and_put_right() {
    let cluster = deployed(Provider::Kubernetes);
    let names = cluster.gateway.functions();
    cluster.gateway.edit(&names[0], |function| function["limits"]["memory"] = json!("1Gi"));
    cluster.gateway.remove(&names[1]);
    insta::with_settings!({ filters => [(r"-[0-9a-f]{8},", "-GENERATION,"), (r"image [0-9a-f]{12}", "image DIGEST")] }, {
        insta::assert_snapshot!(cluster.plan(&FIRST), @r"
        toy on openfaas:
          ~ slice-0  toy-slice-0-GENERATION, 64Mi, 500m, image DIGEST (changed by hand: memory limit 1Gi) -> toy-slice-0-GENERATION, 64Mi, 500m, image DIGEST
          ~ slice-1  toy-slice-1-GENERATION, 64Mi, 500m, image DIGEST (missing at the gateway) -> toy-slice-1-GENERATION, 64Mi, 500m, image DIGEST
        ");
    });
    let status = cluster.target(cluster.settings(&[])).status(NAME).unwrap();
    assert_eq!(status.functions[0].notice.as_deref(), Some("changed by hand: memory limit 1Gi"));
    assert_eq!(status.functions[1].state, FunctionState::Stopped);
    cluster.deploy(&FIRST).0.unwrap();
    assert_eq!(cluster.gateway.function(&names[0])["limits"]["memory"], "64Mi");
    assert_eq!(cluster.gateway.functions(), names);
}

#[test]
fn a_deployment_belongs_to_one_gateway() {
    let (here, there) = (deployed(Provider::Faasd), Cluster::new(Provider::Faasd));
    let folder = there.folder.path().join("state/openfaas").join(NAME);
    fs::create_dir_all(&folder).unwrap();
    fs::copy(here.deployment_path(), folder.join("deployment.json")).unwrap();
    let error = there.deploy(&FIRST).0.unwrap_err();
    assert!(
        matches!(&error, DeployError::OtherGateway { there, .. } if *there == here.gateway.url()),
        "{error}"
    );
    assert!(matches!(there.target(there.settings(&[])).destroy(NAME), Err(DeployError::OtherGateway { .. })));
    assert_eq!(there.gateway.changes(), Vec::<String>::new());
}

#[test]
fn a_function_scaled_to_nothing_comes_back() {
    let cluster = deployed(Provider::Kubernetes);
    let name = &cluster.gateway.functions()[0];
    cluster.gateway.set_replicas(name, 0);
    let plan = cluster.plan(&FIRST).to_string();
    assert!(plan.contains("(no replica runs)"), "{plan}");
    cluster.deploy(&FIRST).0.unwrap();
    assert!(cluster.plan(&FIRST).is_empty());
}

#[test]
fn a_damaged_deployment_can_be_destroyed() {
    let cluster = deployed(Provider::Faasd);
    fs::write(cluster.deployment_path(), "{").unwrap();
    assert!(matches!(cluster.deploy(&FIRST).0, Err(DeployError::Document(_))));
    assert_eq!(cluster.target(cluster.settings(&[])).destroy(NAME).unwrap().functions, 2);
    assert_eq!(cluster.gateway.functions(), Vec::<String>::new());
}
