//! The local target with real processes.
//!
//! Memory limits need the right to make control groups; without it the tests
//! check that the status says that nothing is limited.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use support::{NAME, Place, Traces, get, kill, wait_until};
use tranche_deployer::{
    DeployError, DeployEvent, DeployRequest, DeploymentPhase, FunctionState, LogQuery, Target,
};
use tranche_schema::{ByteCount, FunctionSize, Manifest, MilliCpu};

#[test]
fn two_functions_run_and_leave_nothing() {
    let place = Place::new();
    let deployment = place.deploy(&["slice-0", "slice-1"]);
    let traces = Traces::of(&place.revisions()[0]);
    let status = place.status();
    assert_eq!(status.phase, DeploymentPhase::Running);
    assert_eq!(status.notices, Vec::<String>::new());
    for (index, function) in status.functions.iter().enumerate() {
        assert_eq!(get(&deployment, index, "/process").unwrap(), function.process_id.unwrap().to_string());
        assert!(function.memory_peak_bytes.unwrap() > ByteCount(0));
        assert_eq!(deployment.functions[index].limits, function.limits);
        assert_eq!(function.notice.is_none(), function.limits.memory && function.limits.cpu);
    }
    assert_eq!(place.target.list().unwrap(), [NAME]);
    assert_eq!(place.target.deployment(NAME).unwrap(), deployment);
    let destroyed = place.target.destroy(NAME).unwrap();
    assert_eq!((destroyed.functions, destroyed.drained), (2, true));
    assert_eq!(traces.left(), Vec::<String>::new());
    assert_eq!(place.target.list().unwrap(), Vec::<String>::new());
    assert_eq!(fs::read_dir(place.folder.path().join("state/local")).unwrap().count(), 0);
    assert!(matches!(place.target.status(NAME), Err(DeployError::NotFound { .. })));
    assert!(matches!(place.target.destroy(NAME), Err(DeployError::NotFound { .. })));
}

#[test]
fn a_function_gets_what_it_needs_to_know() {
    let place = Place::new();
    let bundle = place.bundle(&["slice-0"]);
    let mut request = place.request(&bundle);
    request.options.cpu = Some(MilliCpu(2500));
    request.options.engine = Some("onnxruntime".to_owned());
    request.options.onnxruntime = Some("lib.so".into());
    let deployment = place.target.deploy(&request, &mut |_| {}).unwrap();
    let local = deployment.local.clone().unwrap();
    let text = get(&deployment, 0, "/arguments").unwrap();
    let text = text
        .replace(&bundle.canonicalize().unwrap().display().to_string(), "BUNDLE")
        .replace(&local.shared_folder.display().to_string(), "SHARED")
        .replace(&local.control_socket.parent().unwrap().display().to_string(), "RUNTIME");
    insta::assert_snapshot!(text.replace('\n', " "), @"__shim --manifest BUNDLE/manifest.json --slice slice-0 --listen unix:RUNTIME/function-0 --shared-folder SHARED --engine onnxruntime --threads 2 --optimise true --drain-deadline-ms 3000 --onnxruntime lib.so");
    assert_eq!(deployment.functions[0].size.cpu_milli, MilliCpu(2500));
}

#[test]
fn a_killed_function_is_started_again() {
    let place = Place::new();
    let deployment = place.deploy(&["slice-0", "slice-1"]);
    let (first, other) = (place.function(0), place.function(1));
    kill(first.process_id.unwrap());
    wait_until("restart", || {
        place.function(0).restarts == 1 && place.status().phase == DeploymentPhase::Running
    });
    let again = place.function(0);
    assert_ne!(again.process_id, first.process_id);
    let exit = again.last_exit.unwrap();
    assert_eq!((exit.signal, exit.code, exit.out_of_memory), (Some(9), None, false));
    assert_eq!(get(&deployment, 0, "/process").unwrap(), again.process_id.unwrap().to_string());
    assert_eq!(place.function(1).process_id, other.process_id);
}

#[test]
fn a_function_over_its_memory_is_recognised() {
    let place = Place::new();
    let deployment = place.deploy(&["slice-0"]);
    if !deployment.functions[0].limits.memory {
        assert!(place.function(0).notice.unwrap().contains("not limited"));
        return;
    }
    assert_eq!(get(&deployment, 0, "/allocate/8").unwrap(), "allocated");
    assert!(get(&deployment, 0, "/allocate/256").is_err());
    wait_until("restart", || {
        place.function(0).restarts == 1 && place.status().phase == DeploymentPhase::Running
    });
    let function = place.function(0);
    assert!(function.last_exit.unwrap().out_of_memory);
    assert!(function.memory_peak_bytes.unwrap() <= ByteCount::mebibytes(64));
    let lines = place.target.logs(NAME, &LogQuery::default()).unwrap().remove(0).lines;
    assert!(lines.iter().any(|line| line.contains("out of memory")), "{lines:?}");
}

#[test]
fn limits_can_be_left_out() {
    let place = Place::new();
    let size = FunctionSize { memory_bytes: ByteCount::mebibytes(16), cpu_milli: MilliCpu(500) };
    let bundle = place.sized_bundle(&["slice-0"], size);
    let mut request = place.request(&bundle);
    request.options.limits = false;
    let deployment = place.target.deploy(&request, &mut |_| {}).unwrap();
    assert!(!deployment.functions[0].limits.memory && !deployment.functions[0].limits.cpu);
    assert_eq!(get(&deployment, 0, "/allocate/64").unwrap(), "allocated");
    assert_eq!(place.function(0).notice, None);
}

#[test]
fn logs_are_kept_per_function() {
    let place = Place::new();
    let deployment = place.deploy(&["slice-0", "slice-1"]);
    assert_eq!(get(&deployment, 1, "/print/3").unwrap(), "printed");
    let query = LogQuery { function: Some("slice-1".to_owned()), tail: Some(2) };
    let tail = || place.target.logs(NAME, &query).unwrap().remove(0).lines;
    wait_until("log", || tail() == ["line 1", "line 2"]);
    assert_eq!(place.target.logs(NAME, &LogQuery::default()).unwrap().len(), 2);
    let unknown = LogQuery { function: Some("slice-2".to_owned()), tail: None };
    assert!(matches!(place.target.logs(NAME, &unknown), Err(DeployError::NotFound { .. })));
}

#[test]
fn a_function_that_ends_at_once_fails_the_deploy() {
    let place = Place::new();
    let bundle = place.bundle(&["slice-0", "broken"]);
    let error = place.target.deploy(&place.request(&bundle), &mut |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "function `broken` did not start: ended with exit code 1");
    assert!(error.log_tail().unwrap().contains("the model is damaged"), "{error:?}");
    assert_eq!(place.target.list().unwrap(), Vec::<String>::new());
}

#[test]
fn a_function_that_is_never_ready_fails_the_deploy() {
    let place = Place::new();
    let bundle = place.bundle(&["slice-0", "silent"]);
    let mut request = place.request(&bundle);
    request.options.ready_timeout = std::time::Duration::from_millis(700);
    let error = place.target.deploy(&request, &mut |_| {}).unwrap_err();
    assert!(matches!(&error, DeployError::NotReady { functions, .. } if functions == "silent"), "{error}");
    assert_eq!(place.target.list().unwrap(), Vec::<String>::new());
}

#[test]
fn the_same_again_changes_nothing() {
    let place = Place::new();
    let first = place.deploy(&["slice-0"]);
    let request = place.request(&first.bundle);
    assert!(place.target.plan(&request).unwrap().is_empty());
    let (again, events) = place.deploy_events(&request);
    assert_eq!(again.unwrap(), first);
    assert_eq!(events, [DeployEvent::BundleChecked, DeployEvent::Unchanged]);
}

#[test]
fn a_new_bundle_replaces_the_old_once_it_serves() {
    let place = Place::new();
    let first = place.deploy(&["slice-0", "slice-1"]);
    let old = Traces::of(&place.revisions()[0]);
    let size = FunctionSize { memory_bytes: ByteCount::mebibytes(96), cpu_milli: MilliCpu(500) };
    let bundle = place.sized_bundle(&["slice-0", "slice-2"], size);
    let request = place.request(&bundle);
    insta::with_settings!({ filters => [(r"bundle   \w{12} -> \w{12}", "bundle   OLD -> NEW")] }, {
        insta::assert_snapshot!(place.target.plan(&request).unwrap(), @r"
        demo on local:
          ~ bundle   OLD -> NEW
          ~ slice-0  64.0 MiB, 0.50 CPU -> 96.0 MiB, 0.50 CPU
          + slice-2  96.0 MiB, 0.50 CPU
          - slice-1  64.0 MiB, 0.50 CPU
        ");
    });
    let mut served_until_then = false;
    let second = place.target.deploy(&request, &mut |event| {
        if event == DeployEvent::Draining {
            served_until_then = get(&first, 0, "/process").is_ok();
        }
    });
    assert!(served_until_then);
    assert_eq!(old.left(), Vec::<String>::new());
    assert_eq!(place.revisions().len(), 1);
    assert!(get(&second.unwrap(), 1, "/process").is_ok());
}

#[test]
fn a_failed_redeploy_leaves_the_old_serving() {
    let place = Place::new();
    let first = place.deploy(&["slice-0"]);
    let bundle = place.bundle(&["broken"]);
    assert!(place.target.deploy(&place.request(&bundle), &mut |_| {}).is_err());
    assert_eq!(place.target.deployment(NAME).unwrap(), first);
    assert_eq!(place.status().phase, DeploymentPhase::Running);
    assert!(get(&first, 0, "/process").is_ok());
}

#[test]
fn of_two_deploys_at_once_one_wins() {
    let place = Place::new();
    let bundle = place.bundle(&["slice-0", "slice-1"]);
    let deploy = || place.target.deploy(&place.request(&bundle), &mut |_| {});
    let mut during = None;
    // While the first is starting its functions, the second comes.
    let first = place.target.deploy(&place.request(&bundle), &mut |event| {
        if matches!(event, DeployEvent::Starting { .. }) {
            during = Some((deploy(), place.target.destroy(NAME)));
        }
    });
    let (second, destroyed) = during.unwrap();
    let mine = std::process::id().to_string();
    assert!(matches!(second, Err(DeployError::Locked { holder, .. }) if holder == mine));
    assert!(matches!(destroyed, Err(DeployError::Locked { .. })));
    assert_eq!(first.unwrap(), place.target.deployment(NAME).unwrap());
    assert!(deploy().is_ok());
}

#[test]
fn bundles_that_are_damaged_or_unverified_are_refused() {
    let place = Place::new();
    let bundle = place.bundle(&["slice-0"]);
    let refusal =
        |request: &DeployRequest| place.target.deploy(request, &mut |_| {}).unwrap_err().to_string();
    let request = place.request(&bundle);
    let mut unverified = request.clone();
    unverified.options.allow_unverified = true;

    fs::write(bundle.join("weights.bin"), b"Weights").unwrap();
    assert!(refusal(&request).ends_with("weights.bin differs from its digest in the manifest"));
    fs::write(bundle.join("weights.bin"), b"short").unwrap();
    assert!(refusal(&request).ends_with("weights.bin has 5 bytes, the manifest says 7"));
    fs::write(bundle.join("weights.bin"), b"weights").unwrap();

    let size = FunctionSize { memory_bytes: ByteCount::mebibytes(64), cpu_milli: MilliCpu(500) };
    let path = tranche_schema::Verification::path_beside(&bundle);
    let write =
        |record: tranche_schema::Verification| tranche_schema::Document::write(&record, &path).unwrap();
    write(support::verification(&support::manifest(&["slice-0"], size), false));
    assert!(refusal(&request).ends_with("bundle.verify.json says that outputs differ"));
    write(support::verification(&support::manifest(&["other"], size), true));
    assert!(refusal(&request).ends_with("bundle.verify.json is of another bundle"));
    fs::remove_file(&path).unwrap();
    assert!(refusal(&request).contains("is not verified: there is no "));
    assert!(place.target.deploy(&unverified, &mut |_| {}).is_ok());

    fs::write(bundle.join(Manifest::FILE), "{}").unwrap();
    assert!(refusal(&request).contains("is not a valid tranche-manifest file"));
    let hostile = Manifest { slices: Vec::new(), ..support::manifest(&[], size) };
    tranche_schema::Document::write(&hostile, &bundle.join(Manifest::FILE)).unwrap();
    assert!(refusal(&request).ends_with("it has no slices"));
    let hostile = support::manifest(&["../../etc"], size);
    tranche_schema::Document::write(&hostile, &bundle.join(Manifest::FILE)).unwrap();
    assert!(refusal(&request).ends_with("`../../etc` cannot name a function"));
}

#[test]
fn nonsense_at_the_control_socket_is_refused() {
    let place = Place::new();
    let deployment = place.deploy(&["slice-0"]);
    let say = |line: &[u8]| {
        let mut stream = UnixStream::connect(&deployment.local.as_ref().unwrap().control_socket).unwrap();
        // The other end may hang up before it has read all.
        let _ = stream.write_all(line);
        let mut answer = String::new();
        let _ = BufReader::new(stream).read_line(&mut answer);
        answer
    };
    assert!(say(b"nonsense\n").starts_with(r#"{"reply":"refused","reason":"not a request: "#));
    assert!(say(b"{\"verb\":\"explode\"}\n").contains("refused"));
    assert_eq!(say(&vec![b' '; 3 << 20]), "");
    assert!(say(b"{\"verb\":\"status\"}\n").contains("slice-0"));
    assert_eq!(place.status().phase, DeploymentPhase::Running);
}

#[test]
fn names_are_labels() {
    let place = Place::new();
    for name in ["", "..", "a/b", "A", "-a", "a.lock", &"a".repeat(64)] {
        assert!(matches!(place.target.status(name), Err(DeployError::Name { .. })), "{name}");
        assert!(matches!(place.target.destroy(name), Err(DeployError::Name { .. })), "{name}");
    }
}

#[test]
fn a_function_that_keeps_ending_is_restarted_more_slowly() {
    let place = Place::new();
    place.deploy(&["slice-0"]);
    for restarts in 0..3 {
        wait_until("restart", || {
            let function = place.function(0);
            function.restarts == restarts && function.state == FunctionState::Ready
        });
        kill(place.function(0).process_id.unwrap());
    }
    let start = std::time::Instant::now();
    wait_until("restart", || place.function(0).restarts == 3);
    // 100 ms, 200 ms, 400 ms.
    assert!(start.elapsed() >= std::time::Duration::from_millis(350), "{:?}", start.elapsed());
}
