//! The Lambda target on an emulator of AWS's API that runs the functions.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "support/lambda.rs"]
mod lambda;
mod support;

use lambda::{BROKEN, Bundle, Cloud, FIRST, NAME, SECOND, THIRD, nothing, notices};
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use tranche_deployer::{DeployError, DeployEvent, DeploymentPhase, LogQuery, Target as _};
use tranche_schema::Address;

#[test]
fn functions_come_up_and_go_again() {
    let cloud = Cloud::new();
    let (deployment, events) = cloud.deploy(&FIRST);
    let deployment = deployment.unwrap();
    assert_eq!(events.iter().filter(|event| matches!(event, DeployEvent::Ready { .. })).count(), 2);
    let address = Address::Lambda { function: "toy-slice-0".to_owned(), qualifier: "live".to_owned() };
    assert_eq!(deployment.functions[0].address, address);
    let lambda_part = deployment.lambda.as_ref().unwrap();
    assert_eq!((lambda_part.functions[1].version.as_str(), lambda_part.account.len()), ("1", 12));
    assert_eq!(cloud.says(), ["one", "one"]);

    let target = cloud.target();
    assert_eq!(
        (target.list().unwrap(), target.deployment(NAME).unwrap()),
        (vec![NAME.to_owned()], deployment)
    );
    let status = target.status(NAME).unwrap();
    assert_eq!(
        (status.phase, status.notices.len(), status.functions.len()),
        (DeploymentPhase::Running, 0, 2)
    );
    let logs = target.logs(NAME, &LogQuery { function: Some("slice-1".to_owned()), tail: Some(50) }).unwrap();
    assert!(logs[0].lines.iter().any(|line| line.contains("the toy answers")), "{logs:?}");

    assert_eq!(target.destroy(NAME).unwrap().functions, 2);
    assert_eq!(cloud.everything(), nothing());
    assert!(matches!(target.status(NAME), Err(DeployError::NotFound { .. })));
    assert!(matches!(target.destroy(NAME), Err(DeployError::NotFound { .. })));
    assert_eq!(std::fs::read_dir(cloud.state().join("lambda")).unwrap().count(), 0);
}

#[test]
fn the_same_again_changes_nothing() {
    let cloud = Cloud::new();
    let bundle = cloud.bundle(&FIRST);
    let (first, _, first_calls) = cloud.counted(&bundle, bundle.settings());
    assert!(cloud.plan(&FIRST).is_empty());
    let (again, events, calls) = cloud.counted(&bundle, bundle.settings());
    assert_eq!(again.unwrap(), first.unwrap());
    assert!(events.contains(&DeployEvent::Unchanged), "{events:?}");
    // Who asks, and each function.
    insta::assert_debug_snapshot!(calls, @r#"
    {
        "lambda.GetFunction": 2,
        "sts.GetCallerIdentity": 1,
    }
    "#);
    let writes = |name: &str| first_calls.get(name).copied();
    assert_eq!(
        ["CreateFunction", "PublishVersion", "Invoke", "CreateAlias"]
            .map(|name| writes(&format!("lambda.{name}"))),
        [Some(2); 4]
    );
}

#[test]
fn an_update_changes_what_differs_and_can_be_rolled_back() {
    let cloud = Cloud::new();
    cloud.deploy(&FIRST).0.unwrap();
    // The toy's bytes, and so all digests, are this compiler's.
    let filters = [(r"code [A-Za-z0-9+/]{12}", "code CODE"), (r"\b[0-9a-f]{12}\b", "DIGEST")];
    insta::with_settings!({ filters => filters }, {
        insta::assert_snapshot!(cloud.plan(&SECOND), @r"
        toy on lambda:
          ~ bundle   DIGEST -> DIGEST
          ~ plan     DIGEST -> DIGEST
          ~ slice-1  version 1, 128 MiB, 5 s, code CODE -> 128 MiB, 5 s, code CODE
        ");
    });
    let bundle = cloud.bundle(&SECOND);
    let (deployment, _, calls) = cloud.counted(&bundle, bundle.settings());
    deployment.unwrap();
    assert_eq!(calls.get("lambda.UpdateFunctionCode"), Some(&1), "slice-0 is left alone: {calls:?}");
    assert_eq!(
        (calls.get("lambda.UpdateFunctionConfiguration"), calls.get("lambda.DeleteFunction")),
        (None, None)
    );
    assert_eq!(cloud.says(), ["one", "two"]);

    cloud.target().rollback(NAME).unwrap();
    assert_eq!(cloud.says(), ["one", "one"]);
    assert!(cloud.plan(&FIRST).is_empty());
    cloud.target().rollback(NAME).unwrap();
    assert_eq!(cloud.says(), ["one", "two"]);

    // One generation is kept.
    cloud.deploy(&THIRD).0.unwrap();
    assert_eq!(
        cloud.everything()["toy-slice-1"],
        json!({"versions": ["$LATEST", "2", "3"], "aliases": {"live": "3"}})
    );
    cloud.target().rollback(NAME).unwrap();
    assert_eq!(cloud.says(), ["one", "two"]);
    cloud.target().destroy(NAME).unwrap();
    assert_eq!(cloud.everything(), nothing());
}

#[test]
fn a_version_that_fails_is_rolled_back() {
    let cloud = Cloud::new();
    let error = cloud.deploy(&BROKEN).0.unwrap_err();
    assert!(matches!(&error, DeployError::Function { function, .. } if function == "slice-1"), "{error:?}");
    assert_eq!(cloud.everything(), nothing());

    cloud.deploy(&FIRST).0.unwrap();
    let before = (cloud.everything(), std::fs::read(cloud.target().deployment_path(NAME)).unwrap());
    for text in ["broken", "refusing"] {
        let error = cloud.deploy(&[("slice-0", "two"), ("slice-1", text)]).0.unwrap_err();
        assert!(
            matches!(&error, DeployError::Function { function, .. } if function == "slice-1"),
            "{error:?}"
        );
        let after = (cloud.everything(), std::fs::read(cloud.target().deployment_path(NAME)).unwrap());
        assert_eq!(after, before);
        assert_eq!(cloud.says(), ["one", "one"]);
    }
    assert!(cloud.plan(&FIRST).is_empty());
    cloud.deploy(&SECOND).0.unwrap();
    assert_eq!(cloud.says(), ["one", "two"]);
}

#[test]
fn a_function_of_somebody_else_is_left_alone() {
    let cloud = Cloud::new();
    let packages = cloud.bundle(&FIRST).packages;
    let create = |name: &str, tags: &str| {
        format!(
            "lam.create_function(FunctionName='{name}', Runtime='provided.al2023', Handler='bootstrap', \
             Role='arn:aws:iam::000000000000:role/other', Tags={tags}, \
             Code={{'ZipFile': open('{}', 'rb').read()}})",
            packages.join("slice-0.zip").display()
        )
    };
    cloud.client(&create("toy-slice-1", "{}"));
    cloud.client(&create("toy-other", "{'tranche:deployment': 'other'}"));
    let before = cloud.everything();
    let error = cloud.deploy(&FIRST).0.unwrap_err();
    assert_eq!(
        error.to_string(),
        "function toy-slice-1 is not of this deployment: it has no tag tranche:deployment"
    );
    assert_eq!(cloud.everything(), before);
    cloud.client("lam.delete_function(FunctionName='toy-slice-1')");
    cloud.deploy(&FIRST).0.unwrap();
    cloud.target().destroy(NAME).unwrap();
    assert_eq!(cloud.everything(), json!({"toy-other": {"versions": ["$LATEST"], "aliases": {}}}));
}

#[test]
fn a_slice_that_is_no_more_stays_for_one_rollback() {
    let cloud = Cloud::new();
    cloud.deploy(&FIRST).0.unwrap();
    cloud.deploy(&[("slice-0", "whole")]).0.unwrap();
    assert_eq!(cloud.invoke("toy-slice-0")["says"], "whole");
    cloud.target().rollback(NAME).unwrap();
    assert_eq!(cloud.says(), ["one", "one"]);
    cloud.target().rollback(NAME).unwrap();
    cloud.deploy(&[("slice-0", "another")]).0.unwrap();
    let everything = cloud.everything();
    assert!(everything.get("toy-slice-1").is_none(), "{everything:#}");
}

#[test]
fn an_interrupted_deploy_is_undone() {
    static INTERRUPTED: AtomicBool = AtomicBool::new(false);
    let cloud = Cloud::new();
    let bundle = cloud.bundle(&[("slice-0", "slow"), ("slice-1", "slow")]);
    let mut request = bundle.request();
    request.options.interrupted = Some(&INTERRUPTED);
    let mut settings = bundle.settings();
    settings.concurrency = 1;
    let target = cloud.target_with(settings);
    let result = target.deploy(&request, &mut |event| {
        INTERRUPTED.store(matches!(event, DeployEvent::Ready { .. }), Ordering::Relaxed);
    });
    assert!(matches!(result, Err(DeployError::Interrupted { .. })), "{result:?}");
    assert_eq!(cloud.everything(), nothing());
    assert_eq!(target.list().unwrap(), Vec::<String>::new());
}

#[test]
fn what_is_not_of_the_bundle_is_refused_before_anything_is_asked() {
    let cloud = Cloud::new();
    let bundle = cloud.bundle(&FIRST);
    let settings = bundle.settings();
    let other = Bundle::new(&cloud.folder.path().join("other"), &SECOND);
    let (error, _, calls) = cloud.counted(&other, settings);
    let error = error.unwrap_err();
    assert!(
        matches!(&error, DeployError::Packages { reason, .. } if reason.starts_with("they were made of bundle"))
    );
    assert!(calls.is_empty(), "{calls:?}");
    assert!(notices(&[]).is_empty());
}
