//! What is left when the command or the supervisor dies, and that it can be
//! removed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use support::{NAME, Place, Traces, get, kill, wait_until};
use tranche_deployer::{DeploymentPhase, FunctionState, Target};

#[test]
fn a_dead_supervisor_takes_its_functions_along_and_can_be_removed() {
    let place = Place::new();
    let deployment = place.deploy(&["slice-0", "slice-1"]);
    let traces = Traces::of(&place.revisions()[0]);
    let functions = [place.function(0), place.function(1)].map(|function| function.process_id.unwrap());
    kill(deployment.local.as_ref().unwrap().process_id);
    let gone = |id: u32| tranche_host::resident(id).is_err();
    wait_until("end of functions", || functions.iter().all(|id| gone(*id)));
    // The kernel ends functions before it has closed the supervisor's last file.
    wait_until("end of supervisor", || place.status().phase == DeploymentPhase::Stopped);
    let status = place.status();
    assert!(status.functions.iter().all(|function| function.state == FunctionState::Stopped));
    assert!(status.notices[0].starts_with("its supervisor is not running"), "{:?}", status.notices);
    assert!(get(&deployment, 0, "/process").is_err());
    let destroyed = place.target.destroy(NAME).unwrap();
    assert!(!destroyed.drained);
    assert_eq!(traces.left(), Vec::<String>::new());
}

#[test]
fn a_deploy_after_a_dead_supervisor_starts_anew() {
    let place = Place::new();
    let first = place.deploy(&["slice-0"]);
    let traces = Traces::of(&place.revisions()[0]);
    kill(first.local.as_ref().unwrap().process_id);
    let request = place.request(&first.bundle);
    wait_until("end", || place.status().phase == DeploymentPhase::Stopped);
    let plan = place.target.plan(&request).unwrap();
    insta::assert_snapshot!(plan, @r"
    demo on local:
      ~ functions  not running -> running
    ");
    let second = place.target.deploy(&request, &mut |_| {}).unwrap();
    assert!(get(&second, 0, "/process").is_ok());
    assert_eq!(traces.left(), Vec::<String>::new());
}

#[test]
fn a_terminated_supervisor_stops_in_order() {
    let place = Place::new();
    let deployment = place.deploy(&["slice-0"]);
    let supervisor = deployment.local.unwrap();
    tranche_host::ProcessHandle::find(supervisor.process_id, supervisor.process_start_ticks)
        .unwrap()
        .terminate()
        .unwrap();
    wait_until("end", || place.status().phase == DeploymentPhase::Stopped);
    assert!(!supervisor.shared_folder.exists() && !supervisor.control_socket.exists());
    place.target.destroy(NAME).unwrap();
}

#[test]
fn a_command_killed_while_deploying_leaves_what_destroy_removes() {
    let place = Place::new();
    let bundle = place.bundle(&["slice-0", "silent"]);
    let state = place.folder.path().join("state");
    let mut command = std::process::Command::new(support::program())
        .args(["deploy".as_ref(), NAME.as_ref(), bundle.as_os_str(), state.as_os_str()])
        .spawn()
        .unwrap();
    wait_until("one function", || {
        place.target.status(NAME).is_ok_and(|status| {
            status.functions.first().is_some_and(|function| function.state == FunctionState::Ready)
        })
    });
    command.kill().unwrap();
    command.wait().unwrap();
    let traces = Traces::of(&place.revisions()[0]);
    let status = place.status();
    assert_eq!(status.phase, DeploymentPhase::Incomplete);
    assert!(status.notices[0].contains("is running and was never completed"), "{:?}", status.notices);
    assert_eq!(place.target.list().unwrap(), [NAME]);
    assert!(!traces.left().is_empty());
    place.target.destroy(NAME).unwrap();
    assert_eq!(traces.left(), Vec::<String>::new());
}

#[test]
fn a_deploy_that_died_before_its_first_step_is_removed_by_the_next() {
    let place = Place::new();
    let state = place.folder.path().join("state/local").join(NAME);
    fs::create_dir_all(state.join("0123abcd/logs")).unwrap();
    assert_eq!(place.status().phase, DeploymentPhase::Incomplete);
    place.deploy(&["slice-0"]);
    assert!(!state.join("0123abcd").exists());
    fs::create_dir_all(state.join("0123abcd")).unwrap();
    fs::write(state.join("0123abcd/revision.json"), "{").unwrap();
    assert_eq!(place.status().phase, DeploymentPhase::Running);
    assert_eq!(place.status().notices.len(), 1);
    place.target.destroy(NAME).unwrap();
}

#[test]
fn a_supervisor_that_does_not_answer_is_killed() {
    let place = Place::new();
    let deployment = place.deploy(&["slice-0"]);
    let traces = Traces::of(&place.revisions()[0]);
    fs::remove_file(deployment.local.unwrap().control_socket).unwrap();
    assert!(!place.target.destroy(NAME).unwrap().drained);
    assert_eq!(traces.left(), Vec::<String>::new());
}

/// Needs a control group; without one the deployment says so, and what is forked
/// stays.
#[test]
fn what_a_function_forks_goes_with_it() {
    let place = Place::new();
    let deployment = place.deploy(&["slice-0"]);
    let fork = || get(&deployment, 0, "/fork").unwrap().parse::<u32>().unwrap();
    if !deployment.functions[0].limits.memory {
        assert!(place.function(0).notice.is_some());
        return;
    }
    let (forked, function) = (fork(), place.function(0));
    assert!(tranche_host::resident(forked).is_ok());
    kill(function.process_id.unwrap());
    wait_until("restart", || {
        let function = place.function(0);
        function.restarts == 1 && function.state == FunctionState::Ready
    });
    assert!(tranche_host::resident(forked).is_err());
    let forked = fork();
    place.target.destroy(NAME).unwrap();
    assert!(tranche_host::resident(forked).is_err());
}
