//! IAM policies as they are printed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use tranche_packager::lambda::policies::{
    PolicyScope, caller, deployer, execution, execution_trust, state_machine, state_machine_trust,
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
    insta::assert_json_snapshot!(execution(&full()), @r#"
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
        },
        {
          "Sid": "Tensors",
          "Effect": "Allow",
          "Action": [
            "s3:GetObject",
            "s3:PutObject",
            "s3:DeleteObject"
          ],
          "Resource": [
            "arn:aws:s3:::tensors/tranche/toy/*"
          ]
        },
        {
          "Sid": "FindTensors",
          "Effect": "Allow",
          "Action": [
            "s3:ListBucket"
          ],
          "Resource": [
            "arn:aws:s3:::tensors"
          ]
        },
        {
          "Sid": "GoOn",
          "Effect": "Allow",
          "Action": [
            "lambda:InvokeFunction"
          ],
          "Resource": [
            "arn:aws:lambda:eu-central-1:123456789012:function:toy-*"
          ]
        }
      ]
    }
    "#);
}

#[test]
fn the_state_machine_may_call_functions() {
    insta::assert_json_snapshot!((state_machine_trust(), state_machine(&full())), @r#"
    [
      {
        "Version": "2012-10-17",
        "Statement": [
          {
            "Effect": "Allow",
            "Principal": {
              "Service": "states.amazonaws.com"
            },
            "Action": "sts:AssumeRole"
          }
        ]
      },
      {
        "Version": "2012-10-17",
        "Statement": [
          {
            "Sid": "Walk",
            "Effect": "Allow",
            "Action": [
              "lambda:InvokeFunction"
            ],
            "Resource": [
              "arn:aws:lambda:eu-central-1:123456789012:function:toy-*"
            ]
          }
        ]
      }
    ]
    "#);
}

#[test]
fn who_deploys_may_handle_this_deployment() {
    insta::assert_json_snapshot!(deployer(&plain(), &[]), @r#"
    {
      "Version": "2012-10-17",
      "Statement": [
        {
          "Sid": "Functions",
          "Effect": "Allow",
          "Action": [
            "lambda:AddPermission",
            "lambda:CreateAlias",
            "lambda:CreateFunction",
            "lambda:CreateFunctionUrlConfig",
            "lambda:DeleteAlias",
            "lambda:DeleteFunction",
            "lambda:DeleteFunctionConcurrency",
            "lambda:DeleteFunctionUrlConfig",
            "lambda:DeleteProvisionedConcurrencyConfig",
            "lambda:GetAlias",
            "lambda:GetFunction",
            "lambda:GetFunctionConcurrency",
            "lambda:GetFunctionConfiguration",
            "lambda:GetFunctionUrlConfig",
            "lambda:GetPolicy",
            "lambda:GetProvisionedConcurrencyConfig",
            "lambda:InvokeFunction",
            "lambda:ListAliases",
            "lambda:ListFunctionUrlConfigs",
            "lambda:ListProvisionedConcurrencyConfigs",
            "lambda:ListTags",
            "lambda:ListVersionsByFunction",
            "lambda:PublishVersion",
            "lambda:PutFunctionConcurrency",
            "lambda:PutFunctionEventInvokeConfig",
            "lambda:PutProvisionedConcurrencyConfig",
            "lambda:RemovePermission",
            "lambda:TagResource",
            "lambda:UntagResource",
            "lambda:UpdateAlias",
            "lambda:UpdateFunctionCode",
            "lambda:UpdateFunctionConfiguration",
            "lambda:UpdateFunctionUrlConfig"
          ],
          "Resource": [
            "arn:aws:lambda:eu-central-1:123456789012:function:toy-*"
          ]
        },
        {
          "Sid": "Layers",
          "Effect": "Allow",
          "Action": [
            "lambda:PublishLayerVersion",
            "lambda:GetLayerVersion",
            "lambda:DeleteLayerVersion"
          ],
          "Resource": [
            "arn:aws:lambda:eu-central-1:123456789012:layer:tranche-*",
            "arn:aws:lambda:eu-central-1:123456789012:layer:tranche-*:*"
          ]
        },
        {
          "Sid": "Account",
          "Effect": "Allow",
          "Action": [
            "lambda:GetAccountSettings",
            "lambda:ListFunctions",
            "lambda:ListLayerVersions",
            "sts:GetCallerIdentity"
          ],
          "Resource": [
            "*"
          ]
        },
        {
          "Sid": "Role",
          "Effect": "Allow",
          "Action": [
            "iam:CreateRole",
            "iam:DeleteRole",
            "iam:DeleteRolePolicy",
            "iam:GetRole",
            "iam:GetRolePolicy",
            "iam:PutRolePolicy",
            "iam:TagRole"
          ],
          "Resource": [
            "arn:aws:iam::123456789012:role/tranche-toy"
          ]
        },
        {
          "Sid": "PassRole",
          "Effect": "Allow",
          "Action": [
            "iam:PassRole"
          ],
          "Resource": [
            "arn:aws:iam::123456789012:role/tranche-toy"
          ],
          "Condition": {
            "StringEquals": {
              "iam:PassedToService": [
                "lambda.amazonaws.com"
              ]
            }
          }
        },
        {
          "Sid": "Logs",
          "Effect": "Allow",
          "Action": [
            "logs:CreateLogGroup",
            "logs:DeleteLogGroup",
            "logs:DescribeLogStreams",
            "logs:FilterLogEvents",
            "logs:GetLogEvents",
            "logs:PutRetentionPolicy"
          ],
          "Resource": [
            "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/lambda/toy-*",
            "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/lambda/toy-*:*"
          ]
        }
      ]
    }
    "#);
    insta::assert_json_snapshot!(deployer(&full(), &["toy".to_owned()]), @r#"
    {
      "Version": "2012-10-17",
      "Statement": [
        {
          "Sid": "Functions",
          "Effect": "Allow",
          "Action": [
            "lambda:AddPermission",
            "lambda:CreateAlias",
            "lambda:CreateFunction",
            "lambda:CreateFunctionUrlConfig",
            "lambda:DeleteAlias",
            "lambda:DeleteFunction",
            "lambda:DeleteFunctionConcurrency",
            "lambda:DeleteFunctionUrlConfig",
            "lambda:DeleteProvisionedConcurrencyConfig",
            "lambda:GetAlias",
            "lambda:GetFunction",
            "lambda:GetFunctionConcurrency",
            "lambda:GetFunctionConfiguration",
            "lambda:GetFunctionUrlConfig",
            "lambda:GetPolicy",
            "lambda:GetProvisionedConcurrencyConfig",
            "lambda:InvokeFunction",
            "lambda:ListAliases",
            "lambda:ListFunctionUrlConfigs",
            "lambda:ListProvisionedConcurrencyConfigs",
            "lambda:ListTags",
            "lambda:ListVersionsByFunction",
            "lambda:PublishVersion",
            "lambda:PutFunctionConcurrency",
            "lambda:PutFunctionEventInvokeConfig",
            "lambda:PutProvisionedConcurrencyConfig",
            "lambda:RemovePermission",
            "lambda:TagResource",
            "lambda:UntagResource",
            "lambda:UpdateAlias",
            "lambda:UpdateFunctionCode",
            "lambda:UpdateFunctionConfiguration",
            "lambda:UpdateFunctionUrlConfig"
          ],
          "Resource": [
            "arn:aws:lambda:eu-central-1:123456789012:function:toy-*"
          ]
        },
        {
          "Sid": "Layers",
          "Effect": "Allow",
          "Action": [
            "lambda:PublishLayerVersion",
            "lambda:GetLayerVersion",
            "lambda:DeleteLayerVersion"
          ],
          "Resource": [
            "arn:aws:lambda:eu-central-1:123456789012:layer:tranche-*",
            "arn:aws:lambda:eu-central-1:123456789012:layer:tranche-*:*"
          ]
        },
        {
          "Sid": "Account",
          "Effect": "Allow",
          "Action": [
            "lambda:GetAccountSettings",
            "lambda:ListFunctions",
            "lambda:ListLayerVersions",
            "sts:GetCallerIdentity"
          ],
          "Resource": [
            "*"
          ]
        },
        {
          "Sid": "Role",
          "Effect": "Allow",
          "Action": [
            "iam:CreateRole",
            "iam:DeleteRole",
            "iam:DeleteRolePolicy",
            "iam:GetRole",
            "iam:GetRolePolicy",
            "iam:PutRolePolicy",
            "iam:TagRole"
          ],
          "Resource": [
            "arn:aws:iam::123456789012:role/tranche-toy"
          ]
        },
        {
          "Sid": "PassRole",
          "Effect": "Allow",
          "Action": [
            "iam:PassRole"
          ],
          "Resource": [
            "arn:aws:iam::123456789012:role/tranche-toy"
          ],
          "Condition": {
            "StringEquals": {
              "iam:PassedToService": [
                "lambda.amazonaws.com",
                "states.amazonaws.com"
              ]
            }
          }
        },
        {
          "Sid": "Logs",
          "Effect": "Allow",
          "Action": [
            "logs:CreateLogGroup",
            "logs:DeleteLogGroup",
            "logs:DescribeLogStreams",
            "logs:FilterLogEvents",
            "logs:GetLogEvents",
            "logs:PutRetentionPolicy"
          ],
          "Resource": [
            "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/lambda/toy-*",
            "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/lambda/toy-*:*"
          ]
        },
        {
          "Sid": "Code",
          "Effect": "Allow",
          "Action": [
            "s3:GetObject",
            "s3:PutObject",
            "s3:DeleteObject"
          ],
          "Resource": [
            "arn:aws:s3:::code/packages/*"
          ]
        },
        {
          "Sid": "FindCode",
          "Effect": "Allow",
          "Action": [
            "s3:ListBucket"
          ],
          "Resource": [
            "arn:aws:s3:::code"
          ]
        },
        {
          "Sid": "Tensors",
          "Effect": "Allow",
          "Action": [
            "s3:GetObject",
            "s3:PutObject",
            "s3:DeleteObject"
          ],
          "Resource": [
            "arn:aws:s3:::tensors/tranche/toy/*"
          ]
        },
        {
          "Sid": "FindTensors",
          "Effect": "Allow",
          "Action": [
            "s3:ListBucket"
          ],
          "Resource": [
            "arn:aws:s3:::tensors"
          ]
        },
        {
          "Sid": "Lifecycle",
          "Effect": "Allow",
          "Action": [
            "s3:GetLifecycleConfiguration",
            "s3:PutLifecycleConfiguration"
          ],
          "Resource": [
            "arn:aws:s3:::tensors"
          ]
        },
        {
          "Sid": "Login",
          "Effect": "Allow",
          "Action": [
            "ecr:GetAuthorizationToken"
          ],
          "Resource": [
            "*"
          ]
        },
        {
          "Sid": "Images",
          "Effect": "Allow",
          "Action": [
            "ecr:BatchCheckLayerAvailability",
            "ecr:BatchGetImage",
            "ecr:CompleteLayerUpload",
            "ecr:DescribeImages",
            "ecr:GetDownloadUrlForLayer",
            "ecr:GetRepositoryPolicy",
            "ecr:InitiateLayerUpload",
            "ecr:PutImage",
            "ecr:SetRepositoryPolicy",
            "ecr:UploadLayerPart"
          ],
          "Resource": [
            "arn:aws:ecr:eu-central-1:123456789012:repository/toy"
          ]
        },
        {
          "Sid": "StateMachine",
          "Effect": "Allow",
          "Action": [
            "states:CreateStateMachine",
            "states:DeleteStateMachine",
            "states:DescribeStateMachine",
            "states:StartExecution",
            "states:StartSyncExecution",
            "states:TagResource",
            "states:UpdateStateMachine"
          ],
          "Resource": [
            "arn:aws:states:eu-central-1:123456789012:stateMachine:toy-walk"
          ]
        }
      ]
    }
    "#);
}

#[test]
fn who_calls_may_call() {
    insta::assert_json_snapshot!(caller(&plain()), @r#"
    {
      "Version": "2012-10-17",
      "Statement": [
        {
          "Sid": "Call",
          "Effect": "Allow",
          "Action": [
            "lambda:InvokeFunction"
          ],
          "Resource": [
            "arn:aws:lambda:eu-central-1:123456789012:function:toy-*"
          ]
        },
        {
          "Sid": "CallByUrl",
          "Effect": "Allow",
          "Action": [
            "lambda:InvokeFunctionUrl"
          ],
          "Resource": [
            "arn:aws:lambda:eu-central-1:123456789012:function:toy-*"
          ],
          "Condition": {
            "StringEquals": {
              "lambda:FunctionUrlAuthType": "AWS_IAM"
            }
          }
        }
      ]
    }
    "#);
    insta::assert_json_snapshot!(caller(&full()), @r#"
    {
      "Version": "2012-10-17",
      "Statement": [
        {
          "Sid": "Call",
          "Effect": "Allow",
          "Action": [
            "lambda:InvokeFunction"
          ],
          "Resource": [
            "arn:aws:lambda:eu-central-1:123456789012:function:toy-*"
          ]
        },
        {
          "Sid": "CallByUrl",
          "Effect": "Allow",
          "Action": [
            "lambda:InvokeFunctionUrl"
          ],
          "Resource": [
            "arn:aws:lambda:eu-central-1:123456789012:function:toy-*"
          ],
          "Condition": {
            "StringEquals": {
              "lambda:FunctionUrlAuthType": "AWS_IAM"
            }
          }
        },
        {
          "Sid": "Tensors",
          "Effect": "Allow",
          "Action": [
            "s3:GetObject",
            "s3:PutObject",
            "s3:DeleteObject"
          ],
          "Resource": [
            "arn:aws:s3:::tensors/tranche/toy/*"
          ]
        },
        {
          "Sid": "FindTensors",
          "Effect": "Allow",
          "Action": [
            "s3:ListBucket"
          ],
          "Resource": [
            "arn:aws:s3:::tensors"
          ]
        },
        {
          "Sid": "Walk",
          "Effect": "Allow",
          "Action": [
            "states:StartExecution",
            "states:StartSyncExecution"
          ],
          "Resource": [
            "arn:aws:states:eu-central-1:123456789012:stateMachine:toy-walk"
          ]
        }
      ]
    }
    "#);
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
