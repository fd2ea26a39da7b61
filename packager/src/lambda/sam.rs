//! A template of the AWS Serverless Application Model, for teams that deploy themselves.

use super::asl::{AslOptions, state_machine};
use super::describe::ENTRY;
use super::limits::{EXPRESS_S, RUNTIME};
use super::policies::{self, PolicyScope};
use super::{ALIAS, FunctionDescription, IMAGES_FOLDER, LambdaError};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tranche_schema::{LambdaIndex, LambdaPackage, LambdaPackageKind, Manifest, ObjectStore};

/// Logical ids of what is there once.
const BUCKET: &str = "TensorBucket";
const REPOSITORY: &str = "ImageRepository";
const ROLE: &str = "FunctionRole";
const STATE_MACHINE: &str = "StateMachine";
const STATE_MACHINE_ROLE: &str = "StateMachineRole";

/// How the template is written.
#[derive(Clone, Debug)]
pub struct SamOptions {
    /// Name of the deployment.
    pub deployment: String,
    /// Folder of the packages, relative to the template.
    pub packages: String,
    /// Prefix of tensors' keys in the bucket that the template makes.
    pub prefix: String,
    /// Whether there is a state machine that walks requests.
    pub state_machine: bool,
    /// Whether slices may call each other, so that requests can go on by themselves.
    pub continuation: bool,
    /// Days that logs are kept: a number that CloudWatch Logs takes.
    pub log_days: u32,
}

impl SamOptions {
    /// Packages beside the template, requests walked from outside, logs for two weeks.
    #[must_use]
    pub fn new(deployment: &str) -> Self {
        Self {
            deployment: deployment.to_owned(),
            packages: ".".to_owned(),
            prefix: format!("tranche/{deployment}"),
            state_machine: false,
            continuation: false,
            log_days: 14,
        }
    }
}

/// template.yaml for `sam deploy`: one function with alias `live` a slice, their role, their
/// log groups, layers, a bucket for tensors whose objects live for a day, and a state machine
/// where one is asked for. Images are pushed beforehand, to the repository that the parameter
/// `ImageRepository` names.
///
/// # Errors
/// When a function has no package or a slice has no function, or a value has no YAML form.
pub fn sam(
    functions: &[FunctionDescription],
    index: &LambdaIndex,
    manifest: &Manifest,
    options: &SamOptions,
) -> Result<String, LambdaError> {
    let template = Template { functions, index, manifest, options, ids: logical_ids(functions) };
    let style = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(&template.build()?, style)
        .map_err(|error| LambdaError::Encode { document: "template.yaml", reason: error.to_string() })
}

struct Template<'a> {
    functions: &'a [FunctionDescription],
    index: &'a LambdaIndex,
    manifest: &'a Manifest,
    options: &'a SamOptions,
    /// Logical id of each function, in their order.
    ids: Vec<String>,
}

impl Template<'_> {
    fn build(&self) -> Result<Value, LambdaError> {
        let mut resources = Map::new();
        resources.insert(BUCKET.to_owned(), self.bucket());
        resources.insert(ROLE.to_owned(), self.role());
        for layer in &self.index.layers {
            resources.insert(layer_id(&layer.name), self.layer(&layer.name, &layer.file));
        }
        for (function, id) in self.functions.iter().zip(&self.ids) {
            resources.insert(logs_id(id), self.logs(function));
            resources.insert(id.clone(), self.function(function, id)?);
        }
        if self.options.state_machine {
            resources.insert(STATE_MACHINE_ROLE.to_owned(), self.state_machine_role());
            resources.insert(STATE_MACHINE.to_owned(), self.state_machine()?);
        }
        let mut template = Map::from_iter([
            ("AWSTemplateFormatVersion".to_owned(), json!("2010-09-09")),
            ("Transform".to_owned(), json!("AWS::Serverless-2016-10-31")),
            ("Description".to_owned(), json!(self.description())),
        ]);
        if self.functions.iter().any(|function| function.package == LambdaPackageKind::Image) {
            let about = format!(
                "URI of a private ECR repository in this region that holds the images of {}/{IMAGES_FOLDER}",
                self.options.packages
            );
            let repository = json!({ REPOSITORY: { "Type": "String", "Description": about } });
            template.insert("Parameters".to_owned(), repository);
        }
        template.insert("Resources".to_owned(), Value::Object(resources));
        template.insert("Outputs".to_owned(), self.outputs());
        Ok(Value::Object(template))
    }

    fn description(&self) -> String {
        format!("{}: slices of the model {}", self.options.deployment, self.manifest.model.name)
    }

    /// Names that only the stack knows are left to it.
    fn scope(&self) -> PolicyScope {
        PolicyScope {
            partition: "${AWS::Partition}".to_owned(),
            store: Some(ObjectStore {
                bucket: format!("${{{BUCKET}}}"),
                prefix: self.options.prefix.clone(),
            }),
            invokes: self.options.continuation
                || self.functions.iter().any(|function| function.slice == ENTRY),
            state_machine: self.options.state_machine,
            ..PolicyScope::new("${AWS::Region}", "${AWS::AccountId}", &self.options.deployment)
        }
    }

    fn bucket(&self) -> Value {
        json!({
            "Type": "AWS::S3::Bucket",
            "DeletionPolicy": "Delete",
            "UpdateReplacePolicy": "Delete",
            "Properties": {
                "BucketEncryption": {
                    "ServerSideEncryptionConfiguration": [
                        { "ServerSideEncryptionByDefault": { "SSEAlgorithm": "AES256" } },
                    ],
                },
                "PublicAccessBlockConfiguration": {
                    "BlockPublicAcls": true,
                    "BlockPublicPolicy": true,
                    "IgnorePublicAcls": true,
                    "RestrictPublicBuckets": true,
                },
                "LifecycleConfiguration": {
                    "Rules": [{
                        "Id": "tensors-live-for-a-day",
                        "Status": "Enabled",
                        "Prefix": format!("{}/", self.options.prefix),
                        "ExpirationInDays": 1,
                        "AbortIncompleteMultipartUpload": { "DaysAfterInitiation": 1 },
                    }],
                },
            },
        })
    }

    fn role(&self) -> Value {
        role(policies::execution_trust(), "run", policies::execution(&self.scope()))
    }

    fn state_machine_role(&self) -> Value {
        role(policies::state_machine_trust(), "walk", policies::state_machine(&self.scope()))
    }

    fn layer(&self, name: &str, file: &str) -> Value {
        json!({
            "Type": "AWS::Serverless::LayerVersion",
            "Properties": {
                "LayerName": name,
                "ContentUri": self.path(file),
                "CompatibleArchitectures": [self.index.architecture],
                "CompatibleRuntimes": [RUNTIME],
                "RetentionPolicy": "Delete",
            },
        })
    }

    fn logs(&self, function: &FunctionDescription) -> Value {
        json!({
            "Type": "AWS::Logs::LogGroup",
            "DeletionPolicy": "Delete",
            "UpdateReplacePolicy": "Delete",
            "Properties": {
                "LogGroupName": format!("/aws/lambda/{}", function.name),
                "RetentionInDays": self.options.log_days,
            },
        })
    }

    fn function(&self, function: &FunctionDescription, id: &str) -> Result<Value, LambdaError> {
        let package = self.package(function)?;
        let mut properties = Map::from_iter([
            ("FunctionName".to_owned(), json!(function.name)),
            ("Description".to_owned(), json!(function.description)),
        ]);
        let mut set = |name: &str, value: Value| properties.insert(name.to_owned(), value);
        if let Some(file) = &package.file {
            set("PackageType", json!("Zip"));
            set("CodeUri", json!(self.path(file)));
            set("Runtime", json!(function.runtime));
            set("Handler", json!(function.handler));
        } else {
            set("PackageType", json!("Image"));
            set("ImageUri", json!({ "Fn::Sub": format!("${{{REPOSITORY}}}@{}", package.digest) }));
        }
        set("Architectures", json!([function.architecture]));
        set("MemorySize", json!(function.memory_mib));
        set("Timeout", json!(function.timeout_s));
        set("EphemeralStorage", json!({ "Size": function.ephemeral_storage_mib }));
        if !function.environment.is_empty() {
            set("Environment", json!({ "Variables": function.environment }));
        }
        if !function.layers.is_empty() {
            let layers: Vec<Value> =
                function.layers.iter().map(|name| json!({ "Ref": layer_id(name) })).collect();
            set("Layers", json!(layers));
        }
        set("Role", json!({ "Fn::GetAtt": [ROLE, "Arn"] }));
        set("AutoPublishAlias", json!(ALIAS));
        // A version for every change, not of code alone.
        set("AutoPublishAliasAllProperties", json!(true));
        if function.snap_start {
            set("SnapStart", json!({ "ApplyOn": "PublishedVersions" }));
        }
        if let Some(reserved) = function.reserved_concurrency {
            set("ReservedConcurrentExecutions", json!(reserved));
        }
        if let Some(ready) = function.provisioned_concurrency {
            set("ProvisionedConcurrencyConfig", json!({ "ProvisionedConcurrentExecutions": ready }));
        }
        set("Tags", json!(function.tags));
        Ok(json!({
            "Type": "AWS::Serverless::Function",
            "DependsOn": [logs_id(id)],
            "Properties": properties,
        }))
    }

    fn package(&self, function: &FunctionDescription) -> Result<&LambdaPackage, LambdaError> {
        let mut packages = self.index.packages.iter().chain(&self.index.entry);
        packages
            .find(|package| package.slice == function.slice)
            .ok_or_else(|| LambdaError::NoPackage { slice: function.slice.clone() })
    }

    fn state_machine(&self) -> Result<Value, LambdaError> {
        let mut functions = BTreeMap::new();
        let mut substitutions = Map::new();
        for (function, id) in self.functions.iter().zip(&self.ids) {
            functions.insert(function.slice.clone(), format!("${{{id}}}"));
            if self.manifest.slices.iter().any(|slice| slice.name == function.slice) {
                // The transform makes this the ARN with the alias.
                substitutions.insert(id.clone(), json!({ "Ref": format!("{id}.Alias") }));
            }
        }
        let longest = self.functions.iter().map(|function| function.timeout_s).max().unwrap_or(EXPRESS_S);
        let options = AslOptions { task_timeout_s: longest.min(EXPRESS_S), ..AslOptions::new(functions) };
        Ok(json!({
            "Type": "AWS::Serverless::StateMachine",
            "Properties": {
                "Name": self.scope().state_machine_name(),
                "Type": "EXPRESS",
                "Role": { "Fn::GetAtt": [STATE_MACHINE_ROLE, "Arn"] },
                "Definition": state_machine(self.manifest, &options)?,
                "DefinitionSubstitutions": substitutions,
            },
        }))
    }

    fn outputs(&self) -> Value {
        let mut outputs = Map::new();
        let mut add = |id: &str, about: &str, value: Value| {
            outputs.insert(id.to_owned(), json!({ "Description": about, "Value": value }));
        };
        add("Bucket", "Where tensors go that no payload takes", json!({ "Ref": BUCKET }));
        add("Prefix", "Their keys begin with it", json!(self.options.prefix));
        for (function, id) in self.functions.iter().zip(&self.ids) {
            add(
                &format!("{id}Arn"),
                &format!("Alias of {}", function.slice),
                json!({ "Ref": format!("{id}.Alias") }),
            );
        }
        if self.options.state_machine {
            add("Walk", "Walks requests", json!({ "Ref": STATE_MACHINE }));
        }
        Value::Object(outputs)
    }

    fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.options.packages.trim_end_matches('/'))
    }
}

fn role(trust: Value, name: &str, policy: Value) -> Value {
    json!({
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": trust,
            "Policies": [{ "PolicyName": name, "PolicyDocument": substituted(policy) }],
        },
    })
}

/// Texts with `${…}` in them are left to CloudFormation.
fn substituted(value: Value) -> Value {
    match value {
        Value::String(text) if text.contains("${") => json!({ "Fn::Sub": text }),
        Value::Array(values) => values.into_iter().map(substituted).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, substituted(value))).collect::<Map<_, _>>().into()
        }
        other => other,
    }
}

/// Letters and digits of the slices' names, in the functions' order, each once.
fn logical_ids(functions: &[FunctionDescription]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let ids = functions.iter().enumerate().map(|(position, function)| {
        let mut id = format!("Run{}", joined(&function.slice));
        if !taken.insert(id.clone()) {
            id = format!("{id}Number{position}");
            taken.insert(id.clone());
        }
        id
    });
    ids.collect()
}

/// `slice-0` as `Slice0`: logical ids are letters and digits.
fn joined(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    words
        .map(|word| {
            let (first, rest) = word.split_at(word.len().min(1));
            format!("{}{rest}", first.to_ascii_uppercase())
        })
        .collect()
}

fn layer_id(name: &str) -> String {
    format!("Layer{}", joined(name))
}

fn logs_id(function: &str) -> String {
    format!("{function}Logs")
}
