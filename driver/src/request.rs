//! One request: does what its walk asks for.

use crate::bill::{self, Record};
use crate::client::{Passing, Reply};
use crate::lambda::LambdaRequest;
use crate::ping::Pings;
use crate::plan::mix;
use crate::trace::Trace;
use crate::walk::{Action, Event, Failure, GiveUp, Walk};
use crate::warmth::Pinged;
use crate::watch::Watcher;
use crate::{Answer, Call, DriverError, FunctionIndex, Inner};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tranche_transport::{FrameLimits, Payload, RequestHeader};

/// What a call ended with.
type Called = (FunctionIndex, Result<Reply, Failure>);

/// Whose request it is, and how long it may take.
pub(crate) struct Identity {
    pub(crate) request_id: [u8; 16],
    /// Half of the span ids; the function and the try make the other half.
    pub(crate) span_seed: u64,
    trace: Trace,
    watcher: Option<Watcher>,
    pub(crate) deadline: Duration,
}

impl Identity {
    /// 128 and 64 bits from the operating system's generator.
    pub(crate) fn of(call: &Call, longest: Duration) -> Self {
        let request_id = rand::random();
        let trace = call.traceparent.as_deref().and_then(Trace::read);
        Self {
            request_id,
            span_seed: rand::random(),
            trace: trace.unwrap_or_else(|| Trace::of(request_id, 0)),
            watcher: call.watcher.clone(),
            deadline: call.deadline.map_or(longest, |asked| asked.min(longest)),
        }
    }

    /// Every call is a span of its own.
    pub(crate) fn traceparent(&self, function: FunctionIndex, attempt: u32) -> String {
        let span = mix(self.span_seed ^ ((function as u64) << 32) ^ u64::from(attempt));
        self.trace.child(span).to_traceparent()
    }
}

pub(crate) async fn run(
    inner: &Arc<Inner>,
    inputs: Vec<Passing>,
    call: &Call,
    started: Instant,
) -> Result<Answer, DriverError> {
    let identity = Identity::of(call, inner.options.deadline);
    let id = RequestHeader::new(identity.request_id, "").request_id_hex();
    let lambda = inner.cloud.as_ref().map(|cloud| Arc::new(LambdaRequest::new(Arc::clone(cloud), id)));
    let walked = walk(inner, inputs, &identity, lambda.as_ref(), started).await;
    if let Some(lambda) = &lambda {
        lambda.clean().await;
    }
    let (request_id, outputs, records, latency) = walked?;
    let bill = bill::assemble(inner, records, latency, lambda.as_deref());
    Ok(Answer { request_id, outputs, bill })
}

/// What a walk ends with: the request's id, the outputs, what the slices measured, and the time.
type Walked = (String, Vec<(String, tranche_schema::Tensor)>, Vec<Option<Record>>, Duration);

async fn walk(
    inner: &Arc<Inner>,
    inputs: Vec<Passing>,
    identity: &Identity,
    lambda: Option<&Arc<LambdaRequest>>,
    started: Instant,
) -> Result<Walked, DriverError> {
    let deadline = identity.deadline;
    let walk = Walk::new(Arc::clone(&inner.plan), inner.options.retry, deadline, identity.span_seed);
    let mut walk = walk.doubting(inner.warmth.doubtful());
    let mut pings = Pings::default();
    let mut records: Vec<Option<Record>> = inner.clients.iter().map(|_| None).collect();
    let mut calls: JoinSet<Called> = JoinSet::new();
    let mut actions = walk.start(inputs);
    loop {
        for action in actions.drain(..) {
            match action {
                Action::Ping { function } => {
                    pings.send(inner, function, deadline.saturating_sub(started.elapsed()), lambda);
                }
                Action::Call { function, attempt, inputs } => {
                    let called = Calling { function, attempt, inputs, after: pings.end_of(function) };
                    spawn(inner, identity, lambda, &mut calls, called, started);
                }
                // The last owner of a tensor removes its file.
                Action::Release(tensors) => drop(tensors),
                Action::Finished(outputs) => {
                    let left = deadline.saturating_sub(started.elapsed());
                    let outputs = decode(inner, fetch(outputs, lambda, left).await?)?;
                    let request_id = RequestHeader::new(identity.request_id, "").request_id_hex();
                    return Ok((request_id, outputs, records, started.elapsed()));
                }
                Action::GiveUp(why) => return Err(explain(inner, why, deadline)),
            }
        }
        let wake = started + walk.next_tick().unwrap_or(deadline);
        let event = tokio::select! {
            Some(called) = calls.join_next() => {
                let (function, result) =
                    called.map_err(|error| DriverError::Task { reason: error.to_string() })?;
                match result {
                    Ok(reply) => {
                        inner.warmth.answered(function);
                        if let Some(record) = records.get_mut(function) {
                            let attempts = walk.attempts(function);
                            *record =
                                Some(Record { attempts, metrics: reply.metrics, elapsed: reply.elapsed });
                        }
                        Event::Answered { function, outputs: reply.outputs }
                    }
                    Err(failure) => {
                        let slice = slice_of(inner, function);
                        tracing::debug!(slice, reason = %failure.reason, "call failed");
                        Event::Failed { function, failure }
                    }
                }
            }
            () = tokio::time::sleep_until(wake.into()) => Event::Tick,
        };
        actions = walk.handle(started.elapsed(), event);
    }
}

/// A call to be made, after the end of a ping.
struct Calling {
    function: FunctionIndex,
    attempt: u32,
    inputs: Vec<Passing>,
    after: Option<oneshot::Receiver<Pinged>>,
}

fn spawn(
    inner: &Arc<Inner>,
    identity: &Identity,
    lambda: Option<&Arc<LambdaRequest>>,
    calls: &mut JoinSet<Called>,
    Calling { function, attempt, inputs, after }: Calling,
    started: Instant,
) {
    let Some(client) = inner.clients.get(function).map(Arc::clone) else { return };
    let (deadline, attempt_timeout) = (identity.deadline, inner.options.attempt_timeout);
    let mut header = RequestHeader::new(identity.request_id, client.slice());
    header.attempt = attempt;
    let traceparent = identity.traceparent(function, attempt);
    header.traceparent = Some(traceparent.clone());
    let watcher = identity.watcher.clone();
    let lambda = lambda.map(Arc::clone);
    calls.spawn(async move {
        if let Some(ping) = after {
            let _ = ping.await;
        }
        let left = deadline.saturating_sub(started.elapsed()).max(Duration::from_millis(1));
        let left = attempt_timeout.map_or(left, |most| left.min(most));
        header.deadline = Some(left);
        let watched = watcher.map(|watcher| watcher.begin(client.slice(), attempt, &traceparent));
        let result = client.call(header, &inputs, left, lambda.as_deref()).await;
        if let Some(watched) = watched {
            watched.end(&result);
        }
        (function, result)
    });
}

/// The outputs with their bytes here, wherever they lie.
async fn fetch(
    outputs: Vec<Passing>,
    lambda: Option<&Arc<LambdaRequest>>,
    left: Duration,
) -> Result<Vec<Passing>, DriverError> {
    let Some(lambda) = lambda else { return Ok(outputs) };
    let fetch = |output: Passing| async move {
        if !matches!(output.tensor().payload, Payload::Object(_)) {
            return Ok(output);
        }
        let name = output.tensor().spec.name.clone();
        let fetched = lambda.fetch(output.tensor(), left).await;
        fetched.map(|tensor| Passing::new(tensor, None)).map_err(|source| DriverError::Store { name, source })
    };
    futures_util::future::try_join_all(outputs.into_iter().map(fetch)).await
}

pub(crate) fn decode(
    inner: &Inner,
    outputs: Vec<Passing>,
) -> Result<Vec<(String, tranche_schema::Tensor)>, DriverError> {
    // The frame was held to what the plan says of these tensors when it came.
    let limits = FrameLimits {
        max_tensor_bytes: u64::MAX,
        max_total_tensor_bytes: u64::MAX,
        ..FrameLimits::default()
    };
    outputs
        .iter()
        .map(|passing| {
            let name = passing.tensor().spec.name.clone();
            match passing.tensor().decode(&limits, inner.shared.as_deref()) {
                Ok(tensor) => Ok((name, tensor)),
                Err(source) => Err(DriverError::Receive { name, source }),
            }
        })
        .collect()
}

fn slice_of(inner: &Inner, function: FunctionIndex) -> &str {
    inner.clients.get(function).map_or("?", |client| client.slice())
}

pub(crate) fn explain(inner: &Inner, why: GiveUp, deadline: Duration) -> DriverError {
    match why {
        GiveUp::Failed { function, attempts, failure } => DriverError::Function {
            slice: slice_of(inner, function).to_owned(),
            attempts,
            reason: failure.reason,
            hint: failure.hint,
        },
        GiveUp::Deadline { waiting } => {
            let waiting: Vec<String> = waiting
                .into_iter()
                .map(|(function, failure)| match failure {
                    Some(failure) => format!("`{}` ({})", slice_of(inner, function), failure.reason),
                    None => format!("`{}`", slice_of(inner, function)),
                })
                .collect();
            DriverError::Deadline { deadline, waiting: waiting.join(", ") }
        }
    }
}
