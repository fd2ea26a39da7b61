//! A Step Functions state machine that walks a request through a deployment.

use super::LambdaError;
use super::limits::{EXPRESS_S, STATE_BYTES};
use super::name::function_name;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tranche_schema::{LAMBDA_EVENT_VERSION, Manifest};

/// What a state machine calls.
#[derive(Clone, Debug)]
pub struct AslOptions {
    /// Function of each slice: its ARN or name, with its qualifier.
    pub functions: BTreeMap<String, String>,
    /// Seconds after which an invocation is given up.
    pub task_timeout_s: u32,
    /// Seconds after which a request is given up: 300 at most, where Express state machines
    /// end.
    pub timeout_s: u32,
}

impl AslOptions {
    /// With the longest times that Express state machines have.
    #[must_use]
    pub fn new(functions: BTreeMap<String, String>) -> Self {
        Self { functions, task_timeout_s: EXPRESS_S, timeout_s: EXPRESS_S }
    }
}

/// What Step Functions tries again: throttling, failures of the service, functions that died,
/// and what slices say may end otherwise (docs/formats/lambda.md, "Failures").
const RETRIED: [&str; 10] = [
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
    "Lambda.Unknown",
    "Runtime.ExitError",
    "Sandbox.Timedout",
    "tranche.deadline",
    "tranche.store-failed",
];

/// The state machine in the Amazon States Language, as JSON, for an Express state machine.
///
/// Its input is a `StoredRequest` (docs/formats/lambda.md) whose inputs lie in its store. Each
/// slice is asked `run-stored`, so that only references pass through; slices that wait for
/// the same slices run side by side. Its output is `{"request": …, "metrics": {SLICE: …}}`.
///
/// # Errors
/// When a slice has no function, or the document is larger than Step Functions takes.
pub fn asl(manifest: &Manifest, options: &AslOptions) -> Result<String, LambdaError> {
    let mut text = serde_json::to_string_pretty(&state_machine(manifest, options)?)
        .map_err(|error| LambdaError::Encode { document: "the state machine", reason: error.to_string() })?;
    text.push('\n');
    // 1 MiB in Step Functions, of which events and template have their part.
    if text.len() as u64 > 4 * STATE_BYTES {
        return Err(LambdaError::Encode {
            document: "the state machine",
            reason: format!("it has {} bytes, Step Functions takes {}", text.len(), 4 * STATE_BYTES),
        });
    }
    Ok(text)
}

/// The document itself.
pub(super) fn state_machine(manifest: &Manifest, options: &AslOptions) -> Result<Value, LambdaError> {
    let levels = levels(manifest);
    let name = |level: usize| match levels.get(level).map(Vec::as_slice) {
        None => "Answer".to_owned(),
        Some([slice]) => state_name(slice),
        Some(_) => format!("Level {level}"),
    };
    let mut states = Map::new();
    // Beside the request there is room for what each level gives.
    let begin = json!({ "Type": "Pass", "Parameters": { "stored.$": "$" }, "Next": name(0) });
    states.insert("Begin".to_owned(), begin);
    let mut metrics = Map::new();
    for (level, slices) in levels.iter().enumerate() {
        let path = format!("$.levels.level{level}");
        let mut state = if let [slice] = slices.as_slice() {
            metrics.insert(format!("{slice}.$"), json!(format!("{path}.metrics")));
            task(slice, options)?
        } else {
            for (branch, slice) in slices.iter().enumerate() {
                metrics.insert(format!("{slice}.$"), json!(format!("{path}[{branch}].metrics")));
            }
            parallel(slices, options)?
        };
        if let Value::Object(state) = &mut state {
            state.insert("ResultPath".to_owned(), json!(path));
            state.insert("Next".to_owned(), json!(name(level + 1)));
        }
        states.insert(name(level), state);
    }
    let answer = json!({
        "Type": "Pass",
        "Parameters": { "request.$": "$.stored.request", "metrics": metrics },
        "End": true,
    });
    states.insert("Answer".to_owned(), answer);
    Ok(json!({
        "Comment": format!("Walks requests through {} of {}", plural(manifest.slices.len()), manifest.model.name),
        "StartAt": "Begin",
        "TimeoutSeconds": options.timeout_s.clamp(1, EXPRESS_S),
        "States": states,
    }))
}

fn plural(slices: usize) -> String {
    if slices == 1 { "one slice".to_owned() } else { format!("{slices} slices") }
}

/// Slices by how many others must have run before them: those of one level may run side by
/// side. The manifest's slices are in an order in which they can run.
fn levels(manifest: &Manifest) -> Vec<Vec<&str>> {
    let mut level_of: BTreeMap<&str, usize> = BTreeMap::new();
    let mut levels: Vec<Vec<&str>> = Vec::new();
    for slice in &manifest.slices {
        let read = manifest.edges.iter().filter(|edge| edge.to.contains(&slice.name));
        let before = read.filter_map(|edge| level_of.get(edge.from.as_deref()?)).max();
        let level = before.map_or(0, |level| level + 1);
        level_of.insert(&slice.name, level);
        if levels.len() <= level {
            levels.resize_with(level + 1, Vec::new);
        }
        levels[level].push(&slice.name);
    }
    levels
}

/// At most 80 characters that Step Functions takes, each slice's its own.
fn state_name(slice: &str) -> String {
    function_name("Run", slice)
}

fn parallel(slices: &[&str], options: &AslOptions) -> Result<Value, LambdaError> {
    let branch = |slice: &&str| {
        let mut state = task(slice, options)?;
        if let Value::Object(state) = &mut state {
            state.insert("End".to_owned(), json!(true));
        }
        Ok(json!({ "StartAt": state_name(slice), "States": { state_name(slice): state } }))
    };
    let branches: Vec<Value> = slices.iter().map(branch).collect::<Result<_, LambdaError>>()?;
    Ok(json!({ "Type": "Parallel", "Branches": branches }))
}

fn task(slice: &str, options: &AslOptions) -> Result<Value, LambdaError> {
    let function =
        options.functions.get(slice).ok_or_else(|| LambdaError::NoFunction { slice: slice.to_owned() })?;
    Ok(json!({
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {
            "FunctionName": function,
            "Payload": {
                "tranche": LAMBDA_EVENT_VERSION,
                "ask": { "run-stored": { "request.$": "$.stored" } },
            },
        },
        "ResultSelector": { "metrics.$": "$.Payload.metrics" },
        "TimeoutSeconds": options.task_timeout_s.clamp(1, EXPRESS_S),
        "Retry": [{
            "ErrorEquals": RETRIED,
            "IntervalSeconds": 1,
            "MaxAttempts": 4,
            "BackoffRate": 2.0,
            "JitterStrategy": "FULL",
        }],
    }))
}
