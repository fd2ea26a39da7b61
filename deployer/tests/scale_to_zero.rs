//! Functions of the local target that start with their first request, with real processes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::time::Duration;
use support::{NAME, Place, Traces, get, kill, wait_until};
use tranche_deployer::{DeployError, DeployRequest, DeploymentPhase, FunctionState, Target};
use tranche_schema::Deployment;

/// A deployment of these slices that ends functions after so many idle seconds.
fn scaled(slices: &[&str], seconds: u64) -> (Place, Deployment) {
    let place = Place::new();
    let bundle = place.bundle(slices);
    let deployment = place.target.deploy(&request(&place, &bundle, seconds), &mut |_| {}).unwrap();
    (place, deployment)
}

fn request(place: &Place, bundle: &std::path::Path, seconds: u64) -> DeployRequest {
    let mut request = place.request(bundle);
    request.options.scale_to_zero = Some(Duration::from_secs(seconds));
    request
}

fn states(place: &Place) -> Vec<FunctionState> {
    place.status().functions.iter().map(|function| function.state).collect()
}

fn process(deployment: &Deployment, index: usize) -> u32 {
    get(deployment, index, "/process").unwrap().parse().unwrap()
}

#[test]
fn nothing_runs_until_it_is_asked_for_and_all_of_it_is_removed() {
    let (place, deployment) = scaled(&["slice-0", "slice-1"], 0);
    assert_eq!(states(&place), [FunctionState::Idle, FunctionState::Idle]);
    assert_eq!(place.status().phase, DeploymentPhase::Running);
    assert_eq!(deployment.local.as_ref().unwrap().scale_to_zero_seconds, Some(0));
    let started = process(&deployment, 1);
    wait_until("ready", || states(&place) == [FunctionState::Idle, FunctionState::Ready]);
    let function = place.function(1);
    assert_eq!((function.process_id, function.restarts), (Some(started), 0));
    assert_eq!(function.limits, deployment.functions[1].limits, "held to its limits as if it always ran");
    let traces = Traces::of(&place.revisions()[0]);
    assert!(place.target.destroy(NAME).unwrap().drained);
    assert_eq!(traces.left(), Vec::<String>::new());
}

#[test]
fn it_ends_when_idle_and_starts_again() {
    let (place, deployment) = scaled(&["slice-0"], 1);
    let first = process(&deployment, 0);
    wait_until("idle", || states(&place) == [FunctionState::Idle]);
    assert_ne!(process(&deployment, 0), first);
    let function = place.function(0);
    assert_eq!((function.restarts, function.last_exit.unwrap().code), (0, Some(0)));
}

#[test]
fn all_that_come_while_it_starts_are_answered_by_one_process() {
    let (_place, deployment) = scaled(&["slow"], 0);
    let answers: Vec<u32> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..8).map(|_| scope.spawn(|| process(&deployment, 0))).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[test]
fn what_is_killed_is_idle_until_it_is_asked_for() {
    let (place, deployment) = scaled(&["slice-0"], 0);
    let first = process(&deployment, 0);
    wait_until("ready", || states(&place) == [FunctionState::Ready]);
    kill(first);
    wait_until("idle", || states(&place) == [FunctionState::Idle]);
    assert_ne!(process(&deployment, 0), first);
    assert_eq!(place.function(0).restarts, 1);
    assert_eq!(place.function(0).last_exit.unwrap().signal, Some(9));
}

#[test]
fn a_request_outlives_the_process_that_was_started_for_it() {
    let (place, deployment) = scaled(&["slow"], 0);
    std::thread::scope(|scope| {
        let caller = scope.spawn(|| process(&deployment, 0));
        wait_until("start", || place.function(0).process_id.is_some());
        let first = place.function(0).process_id.unwrap();
        kill(first);
        assert_ne!(caller.join().unwrap(), first);
    });
}

#[test]
fn whoever_waits_for_what_cannot_start_is_told() {
    let (place, deployment) = scaled(&["broken"], 0);
    let answer = get(&deployment, 0, "/process").unwrap();
    assert!(answer.contains("function `broken` did not start: ended with exit code 1"), "{answer}");
    assert!(answer.contains("\"load-failed\""), "{answer}");
    assert_eq!(states(&place), [FunctionState::Failed]);
    assert_eq!(place.status().phase, DeploymentPhase::Degraded);
    // It may have been mended.
    assert!(get(&deployment, 0, "/process").unwrap().contains("did not start"));
}

#[test]
fn a_start_that_never_ends_is_ended() {
    let place = Place::new();
    let bundle = place.bundle(&["stuck"]);
    let mut request = request(&place, &bundle, 0);
    request.options.ready_timeout = Duration::from_millis(300);
    let deployment = place.target.deploy(&request, &mut |_| {}).unwrap();
    let answer = get(&deployment, 0, "/process").unwrap();
    assert!(answer.contains("function `stuck` did not start: killed by signal 9"), "{answer}");
}

#[test]
fn it_is_scaled_by_hand_too() {
    let (place, deployment) = scaled(&["slice-0", "slice-1"], 0);
    place.target.scale(NAME, Some("slice-1"), 1).unwrap();
    assert_eq!(states(&place), [FunctionState::Idle, FunctionState::Ready]);
    place.target.scale(NAME, None, 1).unwrap();
    let first = process(&deployment, 0);
    place.target.scale(NAME, None, 0).unwrap();
    wait_until("idle", || states(&place) == [FunctionState::Idle, FunctionState::Idle]);
    assert_ne!(process(&deployment, 0), first);
    assert!(matches!(place.target.scale(NAME, None, 2), Err(DeployError::Unsupported { .. })));
    assert!(matches!(place.target.scale(NAME, Some("other"), 0), Err(DeployError::NotFound { .. })));
    let (always, bundle) = (Place::new(), place.bundle(&["slice-0"]));
    always.target.deploy(&always.request(&bundle), &mut |_| {}).unwrap();
    assert!(matches!(always.target.scale(NAME, None, 0), Err(DeployError::Unsupported { .. })));
}

#[test]
fn a_dead_supervisor_is_told_and_what_it_kept_is_removed() {
    let (place, deployment) = scaled(&["slice-0", "slice-1"], 0);
    let function = process(&deployment, 0);
    let traces = Traces::of(&place.revisions()[0]);
    kill(deployment.local.as_ref().unwrap().process_id);
    wait_until("end of the function", || tranche_host::resident(function).is_err());
    wait_until("end of the supervisor", || place.status().phase == DeploymentPhase::Stopped);
    place.target.destroy(NAME).unwrap();
    assert_eq!(traces.left(), Vec::<String>::new());
}

#[test]
fn the_same_again_changes_nothing_and_another_patience_is_shown() {
    let (place, deployment) = scaled(&["slice-0"], 5);
    let same = request(&place, &deployment.bundle, 5);
    assert_eq!(place.target.deploy(&same, &mut |_| {}).unwrap(), deployment);
    // Also while it runs.
    process(&deployment, 0);
    assert!(place.target.plan(&same).unwrap().is_empty());
    insta::assert_snapshot!(place.target.plan(&place.request(&deployment.bundle)).unwrap(), @r"
    demo on local:
      - scale to zero  idle after 5 s
    ");
    insta::assert_snapshot!(place.target.plan(&request(&place, &deployment.bundle, 60)).unwrap(), @r"
    demo on local:
      ~ scale to zero  idle after 5 s -> idle after 60 s
    ");
}
