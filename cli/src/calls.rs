//! Requests to deployments, and who walks them through the slices.

use crate::failure::Failure;
use bytes::Bytes;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tranche_deployer::lambda::AwsSession;
use tranche_driver::{Answer, Call, Callback, Clouds, Driver, Options};
use tranche_schema::{Bill, Deployment, Document as _, Tensor, TensorSpec, exit_code, write_tensors_json};
use tranche_transport::aws::{AwsClient, InvocationKind};

/// What a number of equal requests gave: their median bill, and the last one's outputs.
pub type Called = (Bill, Vec<(String, Tensor)>);

/// A request's inputs by name.
type Inputs = Vec<(String, Tensor)>;

/// Who walks requests through a deployment's slices.
pub enum Walker {
    /// This process.
    Driver,
    /// The slices, which post the answer to a listener: its address, and its URL where functions
    /// reach it by another.
    Callback(SocketAddr, Option<String>),
    /// The slices, through the deployment's object store.
    Store,
    /// The deployment's state machine.
    StateMachine(Box<AwsSession>),
    /// The deployment's entry function.
    Entry,
}

/// Sends the same request several times to each deployment, in turn, so that what
/// else the machine does falls on all alike. One more goes first that is not counted.
///
/// # Errors
/// When a request fails.
pub fn in_turn(
    deployments: Vec<Deployment>,
    inputs: &[(TensorSpec, Tensor)],
    requests: u32,
    deadline: Duration,
) -> Result<Vec<Called>, Failure> {
    block_on(async {
        let inputs = named(inputs);
        let options = Options { deadline, ..Options::default() };
        let mut calls = Vec::with_capacity(deployments.len());
        for deployment in deployments {
            let driver = Driver::connect(deployment, options)?;
            driver.invoke(inputs.clone()).await?;
            calls.push((driver, Vec::new()));
        }
        for _ in 0..requests.max(1) {
            for (driver, answers) in &mut calls {
                answers.push(driver.invoke(inputs.clone()).await?);
            }
        }
        calls.into_iter().map(|(_, answers)| called(answers)).collect()
    })
}

/// Sends the same request several times to a deployment, after one that is not counted, and
/// gives the bill of each.
///
/// # Errors
/// When a request fails.
pub fn bills(
    deployment: Deployment,
    inputs: &[(TensorSpec, Tensor)],
    requests: u32,
    deadline: Duration,
) -> Result<Vec<Bill>, Failure> {
    block_on(async {
        let inputs = named(inputs);
        let driver = Driver::connect(deployment, Options { deadline, ..Options::default() })?;
        driver.invoke(inputs.clone()).await?;
        let mut bills = Vec::new();
        for _ in 0..requests.max(1) {
            bills.push(driver.invoke(inputs.clone()).await?.bill);
        }
        Ok(bills)
    })
}

/// Sends the same request several times to a deployment.
///
/// # Errors
/// When a request fails, or the deployment has no such walker.
pub fn call(
    deployment: Deployment,
    clouds: Clouds,
    walker: &Walker,
    inputs: &[(TensorSpec, Tensor)],
    requests: u32,
    options: Options,
) -> Result<Called, Failure> {
    let deadline = options.deadline;
    block_on(async {
        let inputs = named(inputs);
        let aws = clouds.aws.clone();
        let driver = Driver::connect_with(deployment, options, clouds)?;
        let callback = match walker {
            Walker::Callback(address, url) => Some(Callback::listen(*address, url.as_deref()).await?),
            _ => None,
        };
        let mut answers = Vec::new();
        for _ in 0..requests.max(1) {
            let inputs = inputs.clone();
            let call = Call::default();
            answers.push(match (walker, &callback, &aws) {
                (Walker::Driver, ..) => driver.invoke(inputs).await?,
                (Walker::Callback(..), Some(callback), _) => {
                    driver.invoke_onward(inputs, &call, callback).await?
                }
                (Walker::Store, ..) => driver.invoke_stored(inputs, &call).await?,
                (Walker::StateMachine(session), ..) => {
                    let machine = state_machine(driver.deployment())?;
                    let walk = async |request| {
                        session.walk(machine, &request, deadline).await.map_err(|error| error.to_string())
                    };
                    driver.invoke_stored_by(inputs, &call, walk).await?
                }
                (Walker::Entry, _, Some(aws)) => entry(driver.deployment(), aws, inputs, deadline).await?,
                (Walker::Callback(..) | Walker::Entry, ..) => {
                    return Err(Failure::bug("a walker lacks what it walks with"));
                }
            });
        }
        called(answers)
    })
}

fn named(inputs: &[(TensorSpec, Tensor)]) -> Inputs {
    inputs.iter().map(|(spec, tensor)| (spec.name.clone(), tensor.clone())).collect()
}

fn called(answers: Vec<Answer>) -> Result<Called, Failure> {
    let bills: Vec<Bill> = answers.iter().map(|answer| answer.bill.clone()).collect();
    let none = || Failure::bug("no request was billed");
    let bill = tranche_driver::median(&bills).ok_or_else(none)?;
    let last = answers.into_iter().next_back().ok_or_else(none)?;
    Ok((bill, last.outputs))
}

fn block_on<T>(calls: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::new("driver", exit_code::REMOTE, format!("cannot start the driver: {error}"))
    })?;
    runtime.block_on(calls)
}

fn state_machine(deployment: &Deployment) -> Result<&str, Failure> {
    deployment.lambda.as_ref().and_then(|lambda| lambda.state_machine.as_deref()).ok_or_else(|| {
        Failure::usage(format!("`{}` has no state machine", deployment.name))
            .hint("deploy it with `--target lambda --step-functions`")
    })
}

/// Asks the entry function, in JSON as its callers do (docs/formats/front-door.md).
async fn entry(
    deployment: &Deployment,
    aws: &AwsClient,
    inputs: Inputs,
    deadline: Duration,
) -> Result<Answer, Failure> {
    let lambda = deployment.lambda.as_ref();
    let missing = || {
        Failure::usage(format!("`{}` has no entry function", deployment.name))
            .hint("deploy it with `--target lambda --entry`")
    };
    let (lambda, entry) =
        lambda.and_then(|lambda| Some((lambda, lambda.entry.as_ref()?))).ok_or_else(missing)?;
    let mut text = b"{\"inputs\": ".to_vec();
    write_tensors_json(&mut text, &inputs)
        .map_err(|error| Failure::bug(format!("cannot write inputs as JSON: {error}")))?;
    text.extend_from_slice(b"}");
    let invoked = aws
        .invoke(
            &entry.function,
            Some(&lambda.alias),
            Bytes::from(text),
            InvocationKind::RequestResponse,
            deadline,
        )
        .await?;
    let fail = |reason: &str| {
        let text = String::from_utf8_lossy(&invoked.payload);
        let start: String = text.chars().take(2000).collect();
        Failure::new("entry", exit_code::REMOTE, format!("the entry function {reason}: {start}"))
            .hint(format!("see `tranche logs {} --slice entry`", deployment.name))
    };
    if invoked.function_error.is_some() {
        return Err(fail("failed"));
    }
    let answer: Value = serde_json::from_slice(&invoked.payload).map_err(|_| fail("answered no JSON"))?;
    let outputs = answer.get("outputs").ok_or_else(|| fail("answered no outputs"))?;
    let outputs = crate::tensor_files::from_json(Path::new("the answer"), outputs, &deployment.outputs)?;
    let bill = answer.get("bill").ok_or_else(|| fail("answered no bill"))?;
    let bill = Bill::from_json(&bill.to_string(), Path::new("the answer"))
        .map_err(|_| fail("answered no valid bill"))?;
    let request_id = answer["request_id"].as_str().unwrap_or_default().to_owned();
    Ok(Answer { request_id, outputs, bill })
}
