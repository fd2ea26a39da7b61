//! The Lambda target and what it uses besides Lambda, on an emulator of AWS's API.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "support/lambda.rs"]
mod lambda;
mod support;

use lambda::{Bundle, Cloud, FIRST, NAME, SECOND, created_role, given_role, nothing, zip};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use tranche_aws_peers::{MiniStack, cargo_lambda};
use tranche_deployer::lambda::{
    Bucket, Entry, EntryPackage, LambdaSettings, StateMachine, StateMachineDefinition,
};
use tranche_deployer::{DeployError, DeployEvent, DeploymentPhase, Target as _};
use tranche_packager::lambda::{FunctionDescription, policies};
use tranche_schema::{Deployment, Document as _, LambdaIndex, LambdaPackageKind, ObjectStore};

fn weights(cloud: &Cloud) -> Value {
    cloud.client(
        "alias = lam.get_alias(FunctionName='toy-slice-1', Name='live')\n\
         show([alias['FunctionVersion'], alias.get('RoutingConfig', {}).get('AdditionalVersionWeights', {})])",
    )
}

#[test]
fn a_canary_gets_a_share_until_it_is_promoted_or_aborted() {
    let cloud = Cloud::new();
    let deploy = |slices, canary| {
        let bundle = cloud.bundle(slices);
        let settings = LambdaSettings { canary, ..bundle.settings() };
        cloud.deploy_with(&bundle, settings).0
    };
    deploy(&FIRST, Some(0.1)).unwrap();
    assert_eq!(weights(&cloud), json!(["1", {}]), "nothing to be a canary beside");
    let served = cloud.target().deployment(NAME).unwrap();
    deploy(&SECOND, Some(0.1)).unwrap();
    assert_eq!(weights(&cloud), json!(["1", {"2": 0.1}]));
    assert_eq!(cloud.target().deployment(NAME).unwrap(), served);
    assert_eq!(cloud.target().status(NAME).unwrap().notices, ["new versions get 10 % of the requests"]);
    assert!(matches!(deploy(&FIRST, None), Err(DeployError::Canary { .. })));
    assert!(matches!(cloud.target().rollback(NAME), Err(DeployError::Canary { .. })));
    assert!(matches!(cloud.target().set_canary(NAME, 1.5), Err(DeployError::Canary { .. })));
    cloud.target().set_canary(NAME, 0.5).unwrap();
    assert_eq!(weights(&cloud), json!(["1", {"2": 0.5}]));
    cloud.target().abort(NAME, &mut |_| {}).unwrap();
    assert_eq!(weights(&cloud), json!(["1", {}]));
    assert_eq!(cloud.everything()["toy-slice-1"]["versions"], json!(["$LATEST", "1"]));
    assert!(matches!(cloud.target().promote(NAME, &mut |_| {}), Err(DeployError::Canary { .. })));

    deploy(&SECOND, Some(0.2)).unwrap();
    cloud.target().promote(NAME, &mut |_| {}).unwrap();
    assert_eq!(cloud.says(), ["one", "two"]);
    assert!(cloud.plan(&SECOND).is_empty());
    cloud.target().rollback(NAME).unwrap();
    assert_eq!(cloud.says(), ["one", "one"]);
}

#[test]
fn a_canary_of_other_cuts_is_refused() {
    let cloud = Cloud::new();
    cloud.deploy(&FIRST).0.unwrap();
    let bundle = cloud.bundle(&[("slice-0", "one"), ("slice-2", "one")]);
    let settings = LambdaSettings { canary: Some(0.1), ..bundle.settings() };
    let before = cloud.everything();
    let error = cloud.deploy_with(&bundle, settings).0.unwrap_err();
    assert_eq!(
        error.to_string(),
        "deployment `toy` and its canary: its slices are cut elsewhere than those that serve, and requests would mix both"
    );
    assert_eq!(cloud.everything(), before);
}

#[test]
fn concurrency_is_set_aside_and_given_back() {
    let cloud = Cloud::new();
    let reserved = || {
        cloud.client("show(lam.get_function_concurrency(FunctionName='toy-slice-0').get('ReservedConcurrentExecutions'))")
    };
    let provisioned = || {
        // The emulator cannot list them.
        cloud.client(
            r"
try: found = lam.get_provisioned_concurrency_config(FunctionName='toy-slice-0', Qualifier='live')
except lam.exceptions.ProvisionedConcurrencyConfigNotFoundException: found = {}
show(found.get('RequestedProvisionedConcurrentExecutions'))
",
        )
    };
    let bundle = cloud.bundle(&FIRST);
    let mut settings = bundle.settings();
    settings.functions[0].reserved_concurrency = Some(7);
    settings.functions[0].provisioned_concurrency = Some(2);
    cloud.deploy_with(&bundle, settings.clone()).0.unwrap();
    assert_eq!((reserved(), provisioned()), (json!(7), json!(2)));
    let (again, events) = cloud.deploy_with(&bundle, settings);
    assert!(again.is_ok() && events.contains(&DeployEvent::Unchanged), "{events:?}");
    cloud.target().set_concurrency(NAME, Some("slice-0"), Some(9), None).unwrap();
    assert_eq!((reserved(), provisioned()), (json!(9), Value::Null));
    let missing = cloud.target().set_concurrency(NAME, Some("slice-9"), None, None);
    assert!(matches!(missing, Err(DeployError::NotFound { name }) if name == "toy/slice-9"));
    cloud.deploy(&FIRST).0.unwrap();
    assert_eq!(reserved(), Value::Null);
}

#[test]
fn packages_go_through_a_bucket_with_a_role_and_a_layer_of_their_own() {
    let cloud = Cloud::new();
    let mut bundle = Bundle::of_kind(cloud.folder.path(), &FIRST, LambdaPackageKind::ZipBucket);
    bundle.add_layer();
    let settings = |bundle: &Bundle| LambdaSettings {
        role: created_role(),
        bucket: Some(Bucket::Own),
        store: true,
        ..bundle.settings()
    };
    let deployment = cloud.deploy_with(&bundle, settings(&bundle)).0.unwrap();
    let bucket = format!("tranche-{}-{}", MiniStack::ACCOUNT, MiniStack::REGION);
    let store = ObjectStore { bucket: bucket.clone(), prefix: "tranche/toy/requests".to_owned() };
    assert_eq!(deployment.lambda.unwrap().store, Some(store));
    assert_eq!(cloud.says(), ["one", "one"]);
    let everything = cloud.everything();
    assert_eq!(everything["roles"], json!(["tranche-toy"]));
    assert_eq!(everything["layers"], json!(["tranche-toy-engine"]));
    let keys = everything[format!("s3://{bucket}")].as_array().unwrap();
    // Both slices' zip files are the same bytes.
    assert_eq!(keys.len(), 1, "{keys:?}");
    let rules = cloud.client(&format!(
        "show([[r['ID'], r['Filter']['Prefix'], r['Expiration']['Days']] for r in \
         client('s3').get_bucket_lifecycle_configuration(Bucket='{bucket}')['Rules']])"
    ));
    assert_eq!(rules, json!([["tranche-toy", "tranche/toy/requests/", 1]]));
    let (_, events, calls) = cloud.counted(&bundle, settings(&bundle));
    assert!(
        events.contains(&DeployEvent::Unchanged) && calls.values().sum::<u64>() == 3,
        "{events:?} {calls:?}"
    );

    // What somebody else put there stays, and the bucket with it.
    cloud.client(&format!(
        "client('s3').put_object(Bucket='{bucket}', Key='tranche/other/code/a.zip', Body=b'a')"
    ));
    cloud.target().destroy(NAME).unwrap();
    assert_eq!(cloud.everything(), json!({format!("s3://{bucket}"): ["tranche/other/code/a.zip"]}));
    cloud.client(&format!("client('s3').delete_object(Bucket='{bucket}', Key='tranche/other/code/a.zip')"));
    cloud.deploy_with(&bundle, settings(&bundle)).0.unwrap();
    cloud.target().destroy(NAME).unwrap();
    assert_eq!(cloud.everything(), nothing(), "the last one takes the bucket along");
}

#[test]
fn a_deploy_that_fails_leaves_no_bucket_role_or_layer() {
    let cloud = Cloud::new();
    let mut bundle = Bundle::of_kind(
        cloud.folder.path(),
        &[("slice-0", "one"), ("slice-1", "broken")],
        LambdaPackageKind::ZipBucket,
    );
    bundle.add_layer();
    let settings =
        LambdaSettings { role: created_role(), bucket: Some(Bucket::Own), store: true, ..bundle.settings() };
    let error = cloud.deploy_with(&bundle, settings).0.unwrap_err();
    assert!(matches!(&error, DeployError::Function { function, .. } if function == "slice-1"), "{error:?}");
    assert_eq!(cloud.everything(), nothing());
}

/// A state machine of one step after the other.
struct Chain;

impl StateMachineDefinition for Chain {
    fn make(&self, deployment: &Deployment) -> Result<String, DeployError> {
        let lambda = deployment.lambda.as_ref().unwrap();
        let mut states = serde_json::Map::new();
        for (place, function) in lambda.functions.iter().enumerate() {
            let arn = format!(
                "arn:aws:lambda:{}:{}:function:{}:live",
                lambda.region, lambda.account, function.function
            );
            let mut state = json!({"Type": "Task", "Resource": arn});
            match lambda.functions.get(place + 1) {
                Some(next) => state["Next"] = json!(next.slice),
                None => state["End"] = json!(true),
            }
            states.insert(function.slice.clone(), state);
        }
        Ok(json!({"StartAt": lambda.functions[0].slice, "States": states}).to_string())
    }
}

#[test]
fn a_state_machine_walks_requests() {
    let cloud = Cloud::new();
    let with_machine = |slices| {
        let bundle = cloud.bundle(slices);
        let machine = StateMachine { definition: Arc::new(Chain), role: given_role() };
        let settings = LambdaSettings { state_machine: Some(machine), ..bundle.settings() };
        cloud.deploy_with(&bundle, settings)
    };
    let deployment = with_machine(&FIRST).0.unwrap();
    let arn = deployment.lambda.unwrap().state_machine.unwrap();
    let answer = cloud.client(&format!(
        "sfn = client('stepfunctions')\nshow(sfn.start_sync_execution(stateMachineArn='{arn}', input='{{\"a\": 1}}'))"
    ));
    assert_eq!(answer["status"], "SUCCEEDED", "{answer:#}");
    let output: Value = serde_json::from_str(answer["output"].as_str().unwrap()).unwrap();
    assert_eq!((&output["slice"], &output["event"]["slice"]), (&json!("slice-1"), &json!("slice-0")));
    assert!(with_machine(&FIRST).1.contains(&DeployEvent::Unchanged));
    with_machine(&[("slice-0", "one")]).0.unwrap();
    cloud.deploy(&[("slice-0", "two")]).0.unwrap();
    assert_eq!(cloud.everything()["machines"], json!(["toy-walk"]), "a rollback needs it");
    cloud.deploy(&[("slice-0", "three")]).0.unwrap();
    assert_eq!(cloud.everything().get("machines"), None);
}

/// An entry whose package holds what it serves.
struct ToyEntry(PathBuf);

impl EntryPackage for ToyEntry {
    fn make(&self, deployment: &Deployment) -> Result<(FunctionDescription, PathBuf), DeployError> {
        let path = self.0.join("entry.zip");
        zip(&path, &format!("entry\n{}", deployment.to_json()?));
        let bundle = Bundle::new(&self.0.join("of-entry"), &FIRST);
        let mut function = bundle.settings().functions.remove(0);
        "entry".clone_into(&mut function.slice);
        "toy-entry".clone_into(&mut function.name);
        function.tags.retain(|key, _| key == "tranche:deployment");
        Ok((function, path))
    }
}

#[test]
fn an_entry_gets_a_url_that_only_iam_opens() {
    let cloud = Cloud::new();
    let with_entry = |slices, url| {
        let bundle = cloud.bundle(slices);
        let entry = Entry { package: Arc::new(ToyEntry(cloud.folder.path().to_owned())), url, ping: true };
        cloud.deploy_with(&bundle, LambdaSettings { entry: Some(entry), ..bundle.settings() })
    };
    let deployment = with_entry(&FIRST, true).0.unwrap();
    let part = deployment.lambda.unwrap();
    assert_eq!(part.entry.unwrap().function, "toy-entry");
    assert!(part.entry_url.unwrap().starts_with("https://"));
    assert_eq!(cloud.invoke("toy-entry")["says"], "entry");
    let url = cloud.client(
        "config = lam.get_function_url_config(FunctionName='toy-entry', Qualifier='live')\n\
         policy = json.loads(lam.get_policy(FunctionName='toy-entry', Qualifier='live')['Policy'])\n\
         show([config['AuthType'], sorted(s['Action'] for s in policy['Statement'])])",
    );
    assert_eq!(url, json!(["AWS_IAM", ["lambda:InvokeFunction", "lambda:InvokeFunctionUrl"]]));
    assert!(with_entry(&FIRST, true).1.contains(&DeployEvent::Unchanged));
    with_entry(&SECOND, true).0.unwrap();
    let part = with_entry(&SECOND, false).0.unwrap().lambda.unwrap();
    assert_eq!(part.entry_url, None);
    assert_eq!(cloud.everything()["toy-entry"].get("urls"), None);
    with_entry(&SECOND, true).0.unwrap();
    cloud.target().destroy(NAME).unwrap();
    assert_eq!(cloud.everything(), nothing());
}

/// The example program with the environment's account.
fn program(cloud: &Cloud, bundle: &Bundle) -> Command {
    bundle.index.write(&bundle.packages.join(LambdaIndex::FILE)).unwrap();
    let folder = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("examples");
    let mut command = Command::new(folder.join("lambda_program"));
    command
        .arg(cloud.state())
        .args([&bundle.folder, &bundle.packages])
        .args([NAME, "arn:aws:iam::000000000000:role/given"]);
    command.env_clear().envs(cloud.aws.environment()).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

#[test]
fn a_deploy_that_was_killed_is_gone_on_with() {
    use std::io::{BufRead as _, BufReader};
    let cloud = Cloud::new();
    let bundle = cloud.bundle(&[("slice-0", "fast"), ("slice-1", "slow")]);
    let mut child = program(&cloud, &bundle).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("Ready")));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(cloud.target().status(NAME).unwrap().phase, DeploymentPhase::Incomplete);
    assert_eq!(cloud.everything()["toy-slice-0"]["aliases"], json!({}));

    let output = program(&cloud, &bundle).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("CreateFunction"), "both were there: {text}");
    assert_eq!(cloud.says(), ["fast", "slow"]);
    assert_eq!(cloud.everything()["toy-slice-0"]["versions"], json!(["$LATEST", "1"]));
    let again = program(&cloud, &bundle).output().unwrap();
    assert!(String::from_utf8(again.stdout).unwrap().contains("Unchanged"));
    cloud.target().destroy(NAME).unwrap();
    assert_eq!(cloud.everything(), nothing());
}

#[test]
fn what_a_killed_deploy_made_is_destroyed_also_without_its_state() {
    use std::io::{BufRead as _, BufReader};
    let cloud = Cloud::new();
    let bundle = cloud.bundle(&[("slice-0", "fast"), ("slice-1", "slow")]);
    let mut child = program(&cloud, &bundle).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("Ready")));
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::remove_dir_all(cloud.state()).unwrap();
    assert_eq!(cloud.target().destroy(NAME).unwrap().functions, 2);
    assert_eq!(cloud.everything(), nothing());
}

/// The number that the program printed before the operation.
fn count(text: &str, operation: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.trim().split_once(' '));
    lines.find_map(|(count, name)| (name == operation).then(|| count.parse().unwrap())).unwrap_or(0)
}

#[test]
fn eight_functions_take_six_calls_each_and_then_one() {
    let cloud = Cloud::new();
    let names: Vec<String> = (0..8).map(|number| format!("slice-{number}")).collect();
    let slices: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "one")).collect();
    let bundle = cloud.bundle(&slices);
    let deploy = || String::from_utf8(program(&cloud, &bundle).output().unwrap().stdout).unwrap();
    let first = deploy();
    println!("{first}");
    for operation in ["GetFunction", "CreateFunction", "PublishVersion", "Invoke", "CreateAlias"] {
        assert_eq!(count(&first, &format!("lambda.{operation}")), 8, "{operation}: {first}");
    }
    // As many as it takes until a function is made.
    assert!(count(&first, "lambda.GetFunctionConfiguration") >= 8, "{first}");
    let second = deploy();
    println!("{second}");
    assert_eq!((count(&second, "lambda.GetFunction"), count(&second, "sts.GetCallerIdentity")), (8, 1));
    assert_eq!(
        second.lines().filter(|line| line.contains('.') && !line.ends_with(" s")).count(),
        2,
        "{second}"
    );
}

#[test]
fn another_client_calls_what_was_deployed() {
    let cloud = Cloud::new();
    cloud.deploy(&FIRST).0.unwrap();
    let output = Command::new(cargo_lambda())
        .args(["lambda", "invoke", "--remote", "--alias", "live", "--endpoint-url", &cloud.aws.endpoint()])
        .args([
            "--data-ascii",
            r#"{"tranche":1,"ask":{"ping":{}}}"#,
            "--output-format",
            "json",
            "toy-slice-0",
        ])
        .env_clear()
        .envs(cloud.aws.environment())
        .env("HOME", cloud.folder.path())
        .current_dir(cloud.folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&answer["tranche"], &answer["says"]), (&json!(1), &json!("one")));
}

#[test]
fn the_doctor_says_who_asks_and_what_is_left() {
    let cloud = Cloud::new();
    let scope = policies::PolicyScope::new(MiniStack::REGION, MiniStack::ACCOUNT, NAME);
    let checks = cloud.target().doctor(&policies::deployer(&scope, &[]), Some("missing"));
    let names: Vec<(&str, bool)> = checks.iter().map(|check| (check.name, check.ok)).collect();
    let expected =
        ["region", "identity", "concurrency", "code storage", "permissions"].map(|name| (name, true));
    assert_eq!(names, [&expected[..], &[("bucket", false)]].concat(), "{checks:#?}");
    assert!(checks[1].message.ends_with("in account 000000000000"), "{checks:#?}");
    let keys = cloud.target().credentials().unwrap();
    assert_eq!(keys.access_key_id, "test");
    assert!(!format!("{keys:?} {:?}", cloud.target()).contains("secret: \"test"));
}
