//! Templates for teams that deploy themselves, read by cfn-lint.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod toy;
mod validators;

use toy::{functions_with, index, manifest};
use tranche_packager::lambda::{LambdaOptions, SamOptions, describe_functions, sam};
use tranche_schema::Manifest;
use validators::{keep, validate};

fn template(state_machine: bool) -> String {
    let options = SamOptions { state_machine, ..SamOptions::new("toy") };
    sam(&functions_with(|_| {}), &index(), &manifest(), &options).unwrap()
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
    let options = LambdaOptions::new("toy");
    let functions = describe_functions(&manifest, &index, &options).unwrap();
    let options = SamOptions { state_machine: true, ..SamOptions::new("toy") };
    let text = sam(&functions, &index, &manifest, &options).unwrap();
    assert!(text.contains("RunAB:") && text.contains("RunABNumber1:"), "{text}");
    let (well, words) = validate("cfn-lint", &["-t"], "template.yaml", &text);
    assert!(well, "{words}");
}
