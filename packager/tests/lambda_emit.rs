//! State machines and templates for teams that deploy themselves, read by the validators that
//! such teams use: cfn-lint and statelint (`cargo xtask peers`).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod toy;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use toy::{functions_with, index, manifest};
use tranche_packager::lambda::{AslOptions, LambdaError, SamOptions, asl, sam};
use tranche_schema::Manifest;

/// What a validator of `target/peers` says of a file: whether it is well, and its words.
fn validate(tool: &str, arguments: &[&str], name: &str, text: &str) -> (bool, String) {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers/python/bin");
    let program = peers.join(tool);
    assert!(program.is_file(), "{} is missing: run `cargo xtask peers`", program.display());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new("timeout");
    command.arg("120").arg(&program).args(arguments).arg(&file).current_dir(folder.path());
    // Nothing outside is asked.
    command.env("AWS_EC2_METADATA_DISABLED", "true").stdin(Stdio::null());
    let output = command.output().expect("`timeout` of coreutils is needed");
    let words = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&words).into_owned())
}

fn options() -> AslOptions {
    let arn = |slice: &str| format!("arn:aws:lambda:eu-central-1:123456789012:function:toy-{slice}:live");
    let functions = ["first", "second", "third"].map(|slice| (slice.to_owned(), arn(slice)));
    AslOptions::new(functions.into())
}

fn template(state_machine: bool) -> String {
    let options = SamOptions { state_machine, ..SamOptions::new("toy") };
    sam(&functions_with(|_| {}), &index(), &manifest(), &options).unwrap()
}

/// A file that people can look at, below the target folder.
fn keep(name: &str, text: &str) {
    std::fs::write(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name), text).unwrap();
}

#[test]
fn the_state_machine_walks_the_slices() {
    insta::assert_snapshot!(asl(&manifest(), &options()).unwrap(), @r#"
    {
      "Comment": "Walks requests through 3 slices of net",
      "StartAt": "Begin",
      "TimeoutSeconds": 300,
      "States": {
        "Begin": {
          "Type": "Pass",
          "Parameters": {
            "stored.$": "$"
          },
          "Next": "Run-first"
        },
        "Run-first": {
          "Type": "Task",
          "Resource": "arn:aws:states:::lambda:invoke",
          "Parameters": {
            "FunctionName": "arn:aws:lambda:eu-central-1:123456789012:function:toy-first:live",
            "Payload": {
              "tranche": 1,
              "ask": {
                "run-stored": {
                  "request.$": "$.stored"
                }
              }
            }
          },
          "ResultSelector": {
            "metrics.$": "$.Payload.metrics"
          },
          "TimeoutSeconds": 300,
          "Retry": [
            {
              "ErrorEquals": [
                "Lambda.ClientExecutionTimeoutException",
                "Lambda.ServiceException",
                "Lambda.AWSLambdaException",
                "Lambda.SdkClientException",
                "Lambda.TooManyRequestsException",
                "Lambda.Unknown",
                "Runtime.ExitError",
                "Sandbox.Timedout",
                "tranche.deadline",
                "tranche.store-failed"
              ],
              "IntervalSeconds": 1,
              "MaxAttempts": 4,
              "BackoffRate": 2.0,
              "JitterStrategy": "FULL"
            }
          ],
          "ResultPath": "$.levels.level0",
          "Next": "Level 1"
        },
        "Level 1": {
          "Type": "Parallel",
          "Branches": [
            {
              "StartAt": "Run-second",
              "States": {
                "Run-second": {
                  "Type": "Task",
                  "Resource": "arn:aws:states:::lambda:invoke",
                  "Parameters": {
                    "FunctionName": "arn:aws:lambda:eu-central-1:123456789012:function:toy-second:live",
                    "Payload": {
                      "tranche": 1,
                      "ask": {
                        "run-stored": {
                          "request.$": "$.stored"
                        }
                      }
                    }
                  },
                  "ResultSelector": {
                    "metrics.$": "$.Payload.metrics"
                  },
                  "TimeoutSeconds": 300,
                  "Retry": [
                    {
                      "ErrorEquals": [
                        "Lambda.ClientExecutionTimeoutException",
                        "Lambda.ServiceException",
                        "Lambda.AWSLambdaException",
                        "Lambda.SdkClientException",
                        "Lambda.TooManyRequestsException",
                        "Lambda.Unknown",
                        "Runtime.ExitError",
                        "Sandbox.Timedout",
                        "tranche.deadline",
                        "tranche.store-failed"
                      ],
                      "IntervalSeconds": 1,
                      "MaxAttempts": 4,
                      "BackoffRate": 2.0,
                      "JitterStrategy": "FULL"
                    }
                  ],
                  "End": true
                }
              }
            },
            {
              "StartAt": "Run-third",
              "States": {
                "Run-third": {
                  "Type": "Task",
                  "Resource": "arn:aws:states:::lambda:invoke",
                  "Parameters": {
                    "FunctionName": "arn:aws:lambda:eu-central-1:123456789012:function:toy-third:live",
                    "Payload": {
                      "tranche": 1,
                      "ask": {
                        "run-stored": {
                          "request.$": "$.stored"
                        }
                      }
                    }
                  },
                  "ResultSelector": {
                    "metrics.$": "$.Payload.metrics"
                  },
                  "TimeoutSeconds": 300,
                  "Retry": [
                    {
                      "ErrorEquals": [
                        "Lambda.ClientExecutionTimeoutException",
                        "Lambda.ServiceException",
                        "Lambda.AWSLambdaException",
                        "Lambda.SdkClientException",
                        "Lambda.TooManyRequestsException",
                        "Lambda.Unknown",
                        "Runtime.ExitError",
                        "Sandbox.Timedout",
                        "tranche.deadline",
                        "tranche.store-failed"
                      ],
                      "IntervalSeconds": 1,
                      "MaxAttempts": 4,
                      "BackoffRate": 2.0,
                      "JitterStrategy": "FULL"
                    }
                  ],
                  "End": true
                }
              }
            }
          ],
          "ResultPath": "$.levels.level1",
          "Next": "Answer"
        },
        "Answer": {
          "Type": "Pass",
          "Parameters": {
            "request.$": "$.stored.request",
            "metrics": {
              "first.$": "$.levels.level0.metrics",
              "second.$": "$.levels.level1[0].metrics",
              "third.$": "$.levels.level1[1].metrics"
            }
          },
          "End": true
        }
      }
    }
    "#);
}

#[test]
fn statelint_takes_it_and_refuses_a_broken_one() {
    let text = asl(&manifest(), &options()).unwrap();
    keep("toy.asl.json", &text);
    let (well, words) = validate("statelint", &[], "toy.asl.json", &text);
    assert!(well, "{words}");
    let broken = text.replace("\"Next\": \"Answer\"", "\"Next\": \"Nowhere\"");
    assert_ne!(broken, text);
    let (well, words) = validate("statelint", &[], "toy.asl.json", &broken);
    assert!(!well && words.contains("Nowhere"), "{words}");
}

#[test]
fn a_state_machine_needs_every_function() {
    let mut options = options();
    options.functions.remove("second");
    let error = asl(&manifest(), &options).unwrap_err();
    assert!(matches!(&error, LambdaError::NoFunction { slice } if slice == "second"), "{error}");
}

/// Slices run after all that they read, whatever the graph.
#[test]
fn levels_respect_the_edges() {
    let mut manifest = manifest();
    // third reads what second writes.
    manifest.edges[2].to.push("third".to_owned());
    let text = asl(&manifest, &options()).unwrap();
    assert_eq!(order(&text), ["Begin", "Run-first", "Run-second", "Run-third", "Answer"]);
    let (well, words) = validate("statelint", &[], "toy.asl.json", &text);
    assert!(well, "{words}");
}

/// The names of the outer states in the order in which they follow each other.
fn order(text: &str) -> Vec<String> {
    let machine: Value = serde_json::from_str(text).unwrap();
    let mut names = vec![machine["StartAt"].as_str().unwrap().to_owned()];
    while let Some(next) = machine["States"][names.last().unwrap()]["Next"].as_str() {
        names.push(next.to_owned());
    }
    names
}

#[test]
fn cfn_lint_takes_the_template() {
    let text = template(true);
    keep("walked.yaml", &text);
    let (well, words) =
        validate("cfn-lint", &["--non-zero-exit-code", "informational", "-t"], "template.yaml", &text);
    assert!(well, "{words}");
}

#[test]
fn cfn_lint_refuses_a_broken_one() {
    let text = template(true);
    let broken = text
        .replace("RetentionInDays", "RetentionInYears")
        .replace("TRANCHE_SLICE", "AWS_REGION")
        .replace("Ref: TensorBucket", "Ref: Nothing");
    let (well, words) = validate("cfn-lint", &["-t"], "template.yaml", &broken);
    for word in ["RetentionInYears", "AWS_REGION", "Nothing"] {
        assert!(!well && words.contains(word), "{word}: {words}");
    }
}

#[test]
fn the_template_describes_every_function() {
    insta::assert_snapshot!(template(false), @r#"
    AWSTemplateFormatVersion: "2010-09-09"
    Transform: AWS::Serverless-2016-10-31
    Description: "toy: slices of the model net"
    Parameters:
      ImageRepository:
        Type: String
        Description: URI of a private ECR repository in this region that holds the images of ./images
    Resources:
      TensorBucket:
        Type: AWS::S3::Bucket
        DeletionPolicy: Delete
        UpdateReplacePolicy: Delete
        Properties:
          BucketEncryption:
            ServerSideEncryptionConfiguration:
            - ServerSideEncryptionByDefault:
                SSEAlgorithm: AES256
          PublicAccessBlockConfiguration:
            BlockPublicAcls: true
            BlockPublicPolicy: true
            IgnorePublicAcls: true
            RestrictPublicBuckets: true
          LifecycleConfiguration:
            Rules:
            - Id: tensors-live-for-a-day
              Status: Enabled
              Prefix: tranche/toy/
              ExpirationInDays: 1
              AbortIncompleteMultipartUpload:
                DaysAfterInitiation: 1
      FunctionRole:
        Type: AWS::IAM::Role
        Properties:
          AssumeRolePolicyDocument:
            Version: "2012-10-17"
            Statement:
            - Effect: Allow
              Principal:
                Service: lambda.amazonaws.com
              Action: sts:AssumeRole
          Policies:
          - PolicyName: run
            PolicyDocument:
              Version: "2012-10-17"
              Statement:
              - Sid: Logs
                Effect: Allow
                Action:
                - logs:CreateLogGroup
                - logs:CreateLogStream
                - logs:PutLogEvents
                Resource:
                - "Fn::Sub": arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:/aws/lambda/toy-*
                - "Fn::Sub": arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:/aws/lambda/toy-*:*
              - Sid: Tensors
                Effect: Allow
                Action:
                - s3:GetObject
                - s3:PutObject
                - s3:DeleteObject
                Resource:
                - "Fn::Sub": arn:${AWS::Partition}:s3:::${TensorBucket}/tranche/toy/*
              - Sid: FindTensors
                Effect: Allow
                Action:
                - s3:ListBucket
                Resource:
                - "Fn::Sub": arn:${AWS::Partition}:s3:::${TensorBucket}
      LayerTrancheShared:
        Type: AWS::Serverless::LayerVersion
        Properties:
          LayerName: tranche-shared
          ContentUri: ./layers/tranche-shared.zip
          CompatibleArchitectures:
          - x86_64
          CompatibleRuntimes:
          - provided.al2023
          RetentionPolicy: Delete
      RunFirstLogs:
        Type: AWS::Logs::LogGroup
        DeletionPolicy: Delete
        UpdateReplacePolicy: Delete
        Properties:
          LogGroupName: /aws/lambda/toy-first
          RetentionInDays: 14
      RunFirst:
        Type: AWS::Serverless::Function
        DependsOn:
        - RunFirstLogs
        Properties:
          FunctionName: toy-first
          Description: "tranche: first of net"
          PackageType: Zip
          CodeUri: ./first.zip
          Runtime: provided.al2023
          Handler: bootstrap
          Architectures:
          - x86_64
          MemorySize: 885
          Timeout: 120
          EphemeralStorage:
            Size: 512
          Environment:
            Variables:
              TRANCHE_MANIFEST: bundle/manifest.json
              TRANCHE_SLICE: first
              TRANCHE_THREADS: "1"
          Layers:
          - Ref: LayerTrancheShared
          Role:
            "Fn::GetAtt":
            - FunctionRole
            - Arn
          AutoPublishAlias: live
          AutoPublishAliasAllProperties: true
          Tags:
            "tranche:deployment": toy
            "tranche:digest": sha256:a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e
            "tranche:plan": sha256:64879f7d6b960a01909762d911a32d4582c20010c5641ee90278b644a9e3b525
            "tranche:slice": first
            "tranche:version": "1.2.3"
      RunSecondLogs:
        Type: AWS::Logs::LogGroup
        DeletionPolicy: Delete
        UpdateReplacePolicy: Delete
        Properties:
          LogGroupName: /aws/lambda/toy-second
          RetentionInDays: 14
      RunSecond:
        Type: AWS::Serverless::Function
        DependsOn:
        - RunSecondLogs
        Properties:
          FunctionName: toy-second
          Description: "tranche: second of net"
          PackageType: Zip
          CodeUri: ./second.zip
          Runtime: provided.al2023
          Handler: bootstrap
          Architectures:
          - x86_64
          MemorySize: 885
          Timeout: 120
          EphemeralStorage:
            Size: 512
          Environment:
            Variables:
              TRANCHE_MANIFEST: bundle/manifest.json
              TRANCHE_SLICE: second
              TRANCHE_THREADS: "1"
          Role:
            "Fn::GetAtt":
            - FunctionRole
            - Arn
          AutoPublishAlias: live
          AutoPublishAliasAllProperties: true
          Tags:
            "tranche:deployment": toy
            "tranche:digest": sha256:16367aacb67a4a017c8da8ab95682ccb390863780f7114dda0a0e0c55644c7c4
            "tranche:plan": sha256:64879f7d6b960a01909762d911a32d4582c20010c5641ee90278b644a9e3b525
            "tranche:slice": second
            "tranche:version": "1.2.3"
      RunThirdLogs:
        Type: AWS::Logs::LogGroup
        DeletionPolicy: Delete
        UpdateReplacePolicy: Delete
        Properties:
          LogGroupName: /aws/lambda/toy-third
          RetentionInDays: 14
      RunThird:
        Type: AWS::Serverless::Function
        DependsOn:
        - RunThirdLogs
        Properties:
          FunctionName: toy-third
          Description: "tranche: third of net"
          PackageType: Image
          ImageUri:
            "Fn::Sub": ${ImageRepository}@sha256:b1e99324505bd32da0e1f85dcf5e19a09db0481e8a15f62c41eb320304a8e927
          Architectures:
          - x86_64
          MemorySize: 885
          Timeout: 120
          EphemeralStorage:
            Size: 512
          Environment:
            Variables:
              TRANCHE_THREADS: "1"
          Role:
            "Fn::GetAtt":
            - FunctionRole
            - Arn
          AutoPublishAlias: live
          AutoPublishAliasAllProperties: true
          Tags:
            "tranche:deployment": toy
            "tranche:digest": sha256:b1e99324505bd32da0e1f85dcf5e19a09db0481e8a15f62c41eb320304a8e927
            "tranche:plan": sha256:64879f7d6b960a01909762d911a32d4582c20010c5641ee90278b644a9e3b525
            "tranche:slice": third
            "tranche:version": "1.2.3"
    Outputs:
      Bucket:
        Description: Where tensors go that no payload takes
        Value:
          Ref: TensorBucket
      Prefix:
        Description: Their keys begin with it
        Value: tranche/toy
      RunFirstArn:
        Description: Alias of first
        Value:
          Ref: RunFirst.Alias
      RunSecondArn:
        Description: Alias of second
        Value:
          Ref: RunSecond.Alias
      RunThirdArn:
        Description: Alias of third
        Value:
          Ref: RunThird.Alias
    "#);
}

#[test]
fn options_reach_the_template() {
    let functions = functions_with(|options| {
        options.reserved_concurrency = Some(5);
        options.snap_start = true;
    });
    let options = SamOptions {
        packages: "packages/".to_owned(),
        prefix: "hand/off".to_owned(),
        log_days: 30,
        continuation: true,
        ..SamOptions::new("toy")
    };
    let text = sam(&functions, &index(), &manifest(), &options).unwrap();
    for part in [
        "CodeUri: packages/first.zip",
        "Prefix: hand/off/",
        "RetentionInDays: 30",
        "ApplyOn: PublishedVersions",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.contains("Sid: GoOn") && !template(false).contains("Sid: GoOn"));
    assert!(text.contains("${TensorBucket}/hand/off/*") && text.contains("ReservedConcurrentExecutions: 5"));
}

#[test]
fn odd_slice_names_get_logical_ids_of_their_own() {
    let rename = |text: &str| text.replace("first", "a.b").replace("second", "a-b");
    let manifest: Manifest =
        serde_json::from_str(&rename(&serde_json::to_string(&manifest()).unwrap())).unwrap();
    let index = serde_json::from_str(&rename(&serde_json::to_string(&index()).unwrap())).unwrap();
    let options = tranche_packager::lambda::LambdaOptions::new("toy");
    let functions = tranche_packager::lambda::describe_functions(&manifest, &index, &options).unwrap();
    let options = SamOptions { state_machine: true, ..SamOptions::new("toy") };
    let text = sam(&functions, &index, &manifest, &options).unwrap();
    assert!(text.contains("RunAB:") && text.contains("RunABNumber1:"), "{text}");
    let (well, words) = validate("cfn-lint", &["-t"], "template.yaml", &text);
    assert!(well, "{words}");
}
