//! IAM policies as they are printed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use serde_json::Value;
use std::collections::BTreeSet;
use tranche_packager::lambda::policies::{
    ANY, PolicyScope, caller, deployer, execution, execution_trust, state_machine, state_machine_trust,
};
use tranche_schema::ObjectStore;

fn plain() -> PolicyScope {
    PolicyScope::new("eu-central-1", "123456789012", "toy")
}

fn store(bucket: &str, prefix: &str) -> Option<ObjectStore> {
    Some(ObjectStore { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

fn full() -> PolicyScope {
    PolicyScope {
        store: store("tensors", "tranche/toy"),
        code: store("code", "packages"),
        invokes: true,
        state_machine: true,
        ..plain()
    }
}

#[test]
fn functions_may_little() {
    insta::assert_json_snapshot!((execution_trust(), execution(&plain())), @r#"
    [
      {
        "Version": "2012-10-17",
        "Statement": [
          {
            "Effect": "Allow",
            "Principal": {
              "Service": "lambda.amazonaws.com"
            },
            "Action": "sts:AssumeRole"
          }
        ]
      },
      {
        "Version": "2012-10-17",
        "Statement": [
          {
            "Sid": "Logs",
            "Effect": "Allow",
            "Action": [
              "logs:CreateLogGroup",
              "logs:CreateLogStream",
              "logs:PutLogEvents"
            ],
            "Resource": [
              "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/lambda/toy-*",
              "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/lambda/toy-*:*"
            ]
          }
        ]
      }
    ]
    "#);
    insta::assert_snapshot!(shown(&execution(&full())), @r"
    Logs
      logs:CreateLogGroup logs:CreateLogStream logs:PutLogEvents
      on arn:aws:logs:eu-central-1:123456789012:log-group:/aws/lambda/toy-* arn:aws:logs:eu-central-1:123456789012:log-group:/aws/lambda/toy-*:*
    Tensors
      s3:GetObject s3:PutObject s3:DeleteObject
      on arn:aws:s3:::tensors/tranche/toy/*
    FindTensors
      s3:ListBucket
      on arn:aws:s3:::tensors
    GoOn
      lambda:InvokeFunction
      on arn:aws:lambda:eu-central-1:123456789012:function:toy-*
    ");
}

#[test]
fn the_state_machine_may_call_functions() {
    assert!(state_machine_trust().to_string().contains("states.amazonaws.com"));
    insta::assert_snapshot!(shown(&state_machine(&full())), @r"
    Walk
      lambda:InvokeFunction
      on arn:aws:lambda:eu-central-1:123456789012:function:toy-*
    ");
}

#[test]
fn who_deploys_may_handle_this_deployment() {
    insta::assert_snapshot!(shown(&deployer(&plain(), &[])), @r#"
    Functions
      lambda:AddPermission lambda:CreateAlias lambda:CreateFunction lambda:CreateFunctionUrlConfig lambda:DeleteAlias lambda:DeleteFunction lambda:DeleteFunctionConcurrency lambda:DeleteFunctionUrlConfig lambda:DeleteProvisionedConcurrencyConfig lambda:GetAlias lambda:GetFunction lambda:GetFunctionConcurrency lambda:GetFunctionConfiguration lambda:GetFunctionUrlConfig lambda:GetPolicy lambda:GetProvisionedConcurrencyConfig lambda:InvokeFunction lambda:ListAliases lambda:ListFunctionUrlConfigs lambda:ListProvisionedConcurrencyConfigs lambda:ListTags lambda:ListVersionsByFunction lambda:PublishVersion lambda:PutFunctionConcurrency lambda:PutFunctionEventInvokeConfig lambda:PutProvisionedConcurrencyConfig lambda:RemovePermission lambda:TagResource lambda:UntagResource lambda:UpdateAlias lambda:UpdateFunctionCode lambda:UpdateFunctionConfiguration lambda:UpdateFunctionUrlConfig
      on arn:aws:lambda:eu-central-1:123456789012:function:toy-*
    Layers
      lambda:PublishLayerVersion lambda:GetLayerVersion lambda:DeleteLayerVersion
      on arn:aws:lambda:eu-central-1:123456789012:layer:tranche-* arn:aws:lambda:eu-central-1:123456789012:layer:tranche-*:*
    Account
      lambda:GetAccountSettings lambda:ListFunctions lambda:ListLayerVersions sts:GetCallerIdentity
      on *
    Role
      iam:CreateRole iam:DeleteRole iam:DeleteRolePolicy iam:GetRole iam:GetRolePolicy iam:PutRolePolicy iam:TagRole
      on arn:aws:iam::123456789012:role/tranche-toy
    PassRole
      iam:PassRole
      on arn:aws:iam::123456789012:role/tranche-toy
      if {"StringEquals":{"iam:PassedToService":["lambda.amazonaws.com"]}}
    Logs
      logs:CreateLogGroup logs:DeleteLogGroup logs:DescribeLogStreams logs:FilterLogEvents logs:GetLogEvents logs:PutRetentionPolicy
      on arn:aws:logs:eu-central-1:123456789012:log-group:/aws/lambda/toy-* arn:aws:logs:eu-central-1:123456789012:log-group:/aws/lambda/toy-*:*
    "#);
    insta::assert_snapshot!(shown(&deployer(&full(), &["toy".to_owned()])), @r#"
    Functions
      lambda:AddPermission lambda:CreateAlias lambda:CreateFunction lambda:CreateFunctionUrlConfig lambda:DeleteAlias lambda:DeleteFunction lambda:DeleteFunctionConcurrency lambda:DeleteFunctionUrlConfig lambda:DeleteProvisionedConcurrencyConfig lambda:GetAlias lambda:GetFunction lambda:GetFunctionConcurrency lambda:GetFunctionConfiguration lambda:GetFunctionUrlConfig lambda:GetPolicy lambda:GetProvisionedConcurrencyConfig lambda:InvokeFunction lambda:ListAliases lambda:ListFunctionUrlConfigs lambda:ListProvisionedConcurrencyConfigs lambda:ListTags lambda:ListVersionsByFunction lambda:PublishVersion lambda:PutFunctionConcurrency lambda:PutFunctionEventInvokeConfig lambda:PutProvisionedConcurrencyConfig lambda:RemovePermission lambda:TagResource lambda:UntagResource lambda:UpdateAlias lambda:UpdateFunctionCode lambda:UpdateFunctionConfiguration lambda:UpdateFunctionUrlConfig
      on arn:aws:lambda:eu-central-1:123456789012:function:toy-*
    Layers
      lambda:PublishLayerVersion lambda:GetLayerVersion lambda:DeleteLayerVersion
      on arn:aws:lambda:eu-central-1:123456789012:layer:tranche-* arn:aws:lambda:eu-central-1:123456789012:layer:tranche-*:*
    Account
      lambda:GetAccountSettings lambda:ListFunctions lambda:ListLayerVersions sts:GetCallerIdentity
      on *
    Role
      iam:CreateRole iam:DeleteRole iam:DeleteRolePolicy iam:GetRole iam:GetRolePolicy iam:PutRolePolicy iam:TagRole
      on arn:aws:iam::123456789012:role/tranche-toy arn:aws:iam::123456789012:role/tranche-toy-walk
    PassRole
      iam:PassRole
      on arn:aws:iam::123456789012:role/tranche-toy arn:aws:iam::123456789012:role/tranche-toy-walk
      if {"StringEquals":{"iam:PassedToService":["lambda.amazonaws.com","states.amazonaws.com"]}}
    Logs
      logs:CreateLogGroup logs:DeleteLogGroup logs:DescribeLogStreams logs:FilterLogEvents logs:GetLogEvents logs:PutRetentionPolicy
      on arn:aws:logs:eu-central-1:123456789012:log-group:/aws/lambda/toy-* arn:aws:logs:eu-central-1:123456789012:log-group:/aws/lambda/toy-*:*
    Code
      s3:GetObject s3:PutObject s3:DeleteObject
      on arn:aws:s3:::code/packages/*
    FindCode
      s3:ListBucket
      on arn:aws:s3:::code
    Tensors
      s3:GetObject s3:PutObject s3:DeleteObject
      on arn:aws:s3:::tensors/tranche/toy/*
    FindTensors
      s3:ListBucket
      on arn:aws:s3:::tensors
    Lifecycle
      s3:GetLifecycleConfiguration s3:PutLifecycleConfiguration
      on arn:aws:s3:::tensors
    Login
      ecr:GetAuthorizationToken
      on *
    Images
      ecr:BatchCheckLayerAvailability ecr:BatchGetImage ecr:CompleteLayerUpload ecr:CreateRepository ecr:DescribeImages ecr:DescribeRepositories ecr:GetDownloadUrlForLayer ecr:GetRepositoryPolicy ecr:InitiateLayerUpload ecr:PutImage ecr:SetRepositoryPolicy ecr:TagResource ecr:UploadLayerPart
      on arn:aws:ecr:eu-central-1:123456789012:repository/toy
    StateMachine
      states:CreateStateMachine states:DeleteStateMachine states:DescribeStateMachine states:ListTagsForResource states:StartExecution states:StartSyncExecution states:TagResource states:UpdateStateMachine
      on arn:aws:states:eu-central-1:123456789012:stateMachine:toy-walk
    "#);
}

#[test]
fn who_calls_may_call() {
    insta::assert_snapshot!(shown(&caller(&plain())), @r#"
    Call
      lambda:InvokeFunction
      on arn:aws:lambda:eu-central-1:123456789012:function:toy-*
    CallByUrl
      lambda:InvokeFunctionUrl
      on arn:aws:lambda:eu-central-1:123456789012:function:toy-*
      if {"StringEquals":{"lambda:FunctionUrlAuthType":"AWS_IAM"}}
    "#);
    insta::assert_snapshot!(shown(&caller(&full())), @r#"
    Call
      lambda:InvokeFunction
      on arn:aws:lambda:eu-central-1:123456789012:function:toy-*
    CallByUrl
      lambda:InvokeFunctionUrl
      on arn:aws:lambda:eu-central-1:123456789012:function:toy-*
      if {"StringEquals":{"lambda:FunctionUrlAuthType":"AWS_IAM"}}
    Tensors
      s3:GetObject s3:PutObject s3:DeleteObject
      on arn:aws:s3:::tensors/tranche/toy/*
    FindTensors
      s3:ListBucket
      on arn:aws:s3:::tensors
    Walk
      states:StartExecution states:StartSyncExecution
      on arn:aws:states:eu-central-1:123456789012:stateMachine:toy-walk
    "#);
}

/// What `doctor` prints where no deployment is named.
#[test]
fn a_policy_for_every_deployment_holds_patterns() {
    let scope = PolicyScope { deployment: ANY.to_owned(), own_bucket: true, ..full() };
    let text = shown(&deployer(&scope, &["tranche/*-*".to_owned()]));
    for resource in [
        "function:*-*",
        "role/tranche-* arn:aws:iam::123456789012:role/tranche-*-walk",
        "stateMachine:*-walk",
        "repository/tranche/*-*",
        "s3:CreateBucket s3:DeleteBucket s3:PutBucketPublicAccessBlock\n  on arn:aws:s3:::tensors",
    ] {
        assert!(text.contains(resource), "{resource} is not in {text}");
    }
}

#[test]
fn only_actions_without_resources_are_allowed_on_all() {
    let all =
        [execution(&full()), state_machine(&full()), deployer(&full(), &["toy".to_owned()]), caller(&full())];
    let statements = all.iter().flat_map(|policy| policy["Statement"].as_array().unwrap());
    let on_all: BTreeSet<String> = statements
        .filter(|statement| statement["Resource"].as_array().unwrap().iter().any(|resource| resource == "*"))
        .flat_map(|statement| statement["Action"].as_array().unwrap())
        .map(|action| action.as_str().unwrap().to_owned())
        .collect();
    // None of these takes a resource (Service Authorization Reference).
    let expected = [
        "ecr:GetAuthorizationToken",
        "lambda:GetAccountSettings",
        "lambda:ListFunctions",
        "lambda:ListLayerVersions",
        "sts:GetCallerIdentity",
    ];
    assert_eq!(on_all, expected.map(str::to_owned).into());
}

#[test]
fn no_policy_holds_a_wildcard_action_and_sizes_fit_roles() {
    for policy in [execution(&full()), deployer(&full(), &["toy".to_owned()]), caller(&full())] {
        let text = policy.to_string();
        assert!(!text.contains(":*\",\"lambda") && !text.contains("\"lambda:*\""));
        // Characters of a managed policy.
        assert!(text.len() <= 6144, "{}", text.len());
    }
}

/// A line for each statement, and one for each of its conditions.
fn shown(policy: &Value) -> String {
    let list = |value: &Value| -> String {
        let words: Vec<&str> = value.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        words.join(" ")
    };
    let statement = |statement: &Value| {
        assert_eq!(statement["Effect"], "Allow");
        let (id, actions) = (statement["Sid"].as_str().unwrap(), list(&statement["Action"]));
        let condition = statement.get("Condition").map_or(String::new(), |when| format!("\n  if {when}"));
        format!("{id}\n  {actions}\n  on {}{condition}", list(&statement["Resource"]))
    };
    assert_eq!(policy["Version"], "2012-10-17");
    policy["Statement"].as_array().unwrap().iter().map(statement).collect::<Vec<_>>().join("\n")
}
