//! State machines, read by statelint.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod toy;
mod validators;

use serde_json::Value;
use toy::manifest;
use tranche_packager::lambda::{AslOptions, LambdaError, asl};
use validators::{keep, validate};

fn options() -> AslOptions {
    let arn = |slice: &str| format!("arn:aws:lambda:eu-central-1:123456789012:function:toy-{slice}:live");
    let functions = ["first", "second", "third"].map(|slice| (slice.to_owned(), arn(slice)));
    AslOptions::new(functions.into())
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
