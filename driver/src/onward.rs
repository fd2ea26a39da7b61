//! A request that goes from slice to slice by itself (docs/decisions/0005): the driver sends the
//! inputs to the first function and waits for the outputs at its callback.

use crate::bill::{self, Record};
use crate::callback::{Arrived, Callback};
use crate::client::{Passing, answer_limits};
use crate::ping::Pings;
use crate::plan::{PlannedFunction, WalkPlan, describe};
use crate::refusal::classify;
use crate::request::{Identity, decode, explain};
use crate::walk::{Failure, GiveUp, Retry};
use crate::{Answer, Call, DriverError, FunctionIndex, Inner};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tranche_schema::{Destination, FunctionMetrics, Itinerary, Stop, TensorSpec};
use tranche_transport::{Frame, RequestHeader};

/// The way through every function in the deployment's order, which is one in which they can run.
/// The first stop is the one that the driver calls.
///
/// # Errors
/// Names a function that cannot be reached by URL.
pub(crate) fn stops(inner: &Inner) -> Result<Vec<Stop>, DriverError> {
    let plan = &inner.plan;
    let stop = |(index, function): (usize, &PlannedFunction)| {
        let url = inner.clients.get(index).and_then(|client| client.url());
        let url = url.ok_or_else(|| DriverError::NoUrl { slice: function.slice.clone() })?;
        Ok(Stop { slice: function.slice.clone(), url: url.to_owned(), send: alive_before(plan, index) })
    };
    plan.functions.iter().enumerate().map(stop).collect()
}

/// Names of the tensors that are made before a function runs and read by it, a later one or the
/// caller.
fn alive_before(plan: &WalkPlan, index: FunctionIndex) -> Vec<String> {
    let before = plan.functions.iter().take(index).flat_map(|function| &function.outputs).copied();
    (0..plan.input_count)
        .chain(before)
        .filter_map(|at| plan.tensors.get(at))
        .filter(|tensor| tensor.to_caller || tensor.readers.iter().any(|&reader| reader >= index))
        .map(|tensor| tensor.spec.name.clone())
        .collect()
}

pub(crate) async fn run(
    inner: &Arc<Inner>,
    inputs: Vec<Passing>,
    call: &Call,
    callback: &Callback,
    started: Instant,
) -> Result<Answer, DriverError> {
    let mut stops = stops(inner)?;
    let identity = Identity::of(call, inner.options.deadline);
    if stops.is_empty() {
        return crate::request::run(inner, inputs, call, started).await;
    }
    let first = stops.remove(0);
    let inputs: Vec<Passing> =
        inputs.into_iter().filter(|input| first.send.contains(&input.tensor().spec.name)).collect();
    let outputs: Vec<TensorSpec> = inner.deployment.outputs.clone();
    let limits = answer_limits(&outputs, inner.options.max_string_bytes);
    let (waiting, mut arriving) = callback.expect(limits.max_frame_bytes);
    let names = outputs.iter().map(|spec| spec.name.clone()).collect();
    let itinerary = Itinerary { stops, answer: Destination { url: waiting.url.clone(), send: names } };
    let mut pings = Pings::default();
    // The first is called at once.
    for function in inner.warmth.doubtful().into_iter().filter(|&function| function > 0) {
        pings.send(inner, function, identity.deadline, None);
    }
    let mut last = None;
    for attempt in 1..=inner.options.retry.max_attempts {
        let left = identity.deadline.saturating_sub(started.elapsed());
        if left.is_zero() {
            break;
        }
        let round = inner.options.attempt_timeout.map_or(left, |most| left.min(most));
        match send(inner, &identity, &inputs, &itinerary, (attempt, round), &mut arriving).await {
            Ok(arrived) => {
                (0..inner.clients.len()).for_each(|function| inner.warmth.answered(function));
                return finish(inner, &identity, arrived, attempt, started);
            }
            Err(failure) if failure.retry == Retry::Never => {
                return Err(failed(inner, 0, attempt, failure));
            }
            Err(failure) => {
                let asked = match failure.retry {
                    Retry::After(wait) => wait,
                    Retry::Later | Retry::Never => Duration::ZERO,
                };
                last = Some(failure);
                let wait = inner.options.retry.wait(attempt, identity.span_seed).max(asked);
                tokio::time::sleep(wait.min(identity.deadline.saturating_sub(started.elapsed()))).await;
            }
        }
    }
    Err(match last {
        Some(failure) if started.elapsed() < identity.deadline => {
            failed(inner, 0, inner.options.retry.max_attempts, failure)
        }
        last => explain(inner, GiveUp::Deadline { waiting: vec![(0, last)] }, identity.deadline),
    })
}

/// One round: the inputs to the first function, then the wait for whatever arrives.
async fn send(
    inner: &Inner,
    identity: &Identity,
    inputs: &[Passing],
    itinerary: &Itinerary,
    (attempt, left): (u32, Duration),
    arriving: &mut oneshot::Receiver<Arrived>,
) -> Result<Arrived, Failure> {
    let never = |reason: &str| Failure { reason: reason.to_owned(), retry: Retry::Never, hint: None };
    let Some(client) = inner.clients.first() else { return Err(never("there is no function")) };
    let mut header = RequestHeader::new(identity.request_id, client.slice());
    header.attempt = attempt;
    header.traceparent = Some(identity.traceparent(0, attempt));
    header.deadline = Some(left);
    let until = Instant::now() + left;
    client.hand_over(header, inputs, itinerary, left).await?;
    match tokio::time::timeout_at(until.into(), arriving).await {
        Ok(Ok(arrived)) => Ok(arrived),
        Ok(Err(_)) => Err(never("the callback listener has ended")),
        Err(_) => Err(Failure {
            reason: format!(
                "it took the request, but no answer arrived at the callback within {:.1} s",
                left.as_secs_f64()
            ),
            retry: Retry::Later,
            hint: Some(NOTHING_ARRIVED.to_owned()),
        }),
    }
}

const NOTHING_ARRIVED: &str = "check that functions reach the callback's URL and that their TRANCHE_CONTINUE_TO allows it; a function that died on the way loses the request, which is sent again only when a time for one attempt is set";

fn finish(
    inner: &Inner,
    identity: &Identity,
    arrived: Arrived,
    attempt: u32,
    started: Instant,
) -> Result<Answer, DriverError> {
    let last = inner.plan.functions.len().saturating_sub(1);
    let wrong = |reason: String| failed(inner, last, 1, Failure { reason, retry: Retry::Never, hint: None });
    if !arrived.is_frame {
        let (slice, failure) = reported(&arrived.body);
        let index = inner.plan.functions.iter().position(|function| function.slice == slice).unwrap_or(0);
        return Err(failed(inner, index, attempt, failure));
    }
    let limits = answer_limits(&inner.deployment.outputs, inner.options.max_string_bytes);
    let frame = Frame::parse(arrived.body, &limits)
        .map_err(|error| wrong(format!("what arrived at the callback is no frame: {error}")))?;
    if frame.header.request_id != identity.request_id {
        return Err(wrong("another request's answer arrived at the callback".to_owned()));
    }
    let find = |spec: &TensorSpec| {
        let found = frame.tensor(&spec.name).filter(|tensor| tensor.spec == *spec).cloned();
        let missing = || wrong(format!("the answer at the callback lacks {}", describe(spec)));
        found.map(|tensor| Passing::new(tensor, None)).ok_or_else(missing)
    };
    let outputs = inner.deployment.outputs.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let outputs = decode(inner, outputs)?;
    let records = records(inner, arrived.trail);
    let request_id = RequestHeader::new(identity.request_id, "").request_id_hex();
    Ok(Answer { request_id, outputs, bill: bill::assemble(inner, records, started.elapsed(), None) })
}

/// What the slices measured, as the walk would have recorded it. How long tensors were on their way
/// nobody saw, so the bill says nothing of it.
fn records(inner: &Inner, trail: Vec<FunctionMetrics>) -> Vec<Option<Record>> {
    let mut records: Vec<Option<Record>> = inner.clients.iter().map(|_| None).collect();
    for metrics in trail {
        let index = inner.clients.iter().position(|client| client.slice() == metrics.slice);
        let sane = metrics.billed_ms.0.is_finite() && metrics.billed_ms.0 >= 0.0;
        if let (Some(record), true) = (index.and_then(|index| records.get_mut(index)), sane) {
            let elapsed = Duration::try_from_secs_f64(metrics.billed_ms.as_seconds()).unwrap_or_default();
            *record = Some(Record { attempts: metrics.attempt, metrics, elapsed });
        }
    }
    records
}

/// The failure that a slice reported, and which slice that was.
fn reported(body: &[u8]) -> (String, Failure) {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let slice = value.get("slice").and_then(|slice| slice.as_str()).unwrap_or("?").to_owned();
    let status = value.get("status").and_then(serde_json::Value::as_u64).unwrap_or(500);
    (slice, classify(u16::try_from(status).unwrap_or(500), body, None, None))
}

fn failed(inner: &Inner, function: FunctionIndex, attempts: u32, failure: Failure) -> DriverError {
    explain(inner, GiveUp::Failed { function, attempts, failure }, inner.options.deadline)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tranche_schema::{ElementType, TensorSpec};

    fn tensor(name: &str, readers: &[usize], to_caller: bool) -> crate::PlannedTensor {
        crate::PlannedTensor {
            spec: TensorSpec { name: name.to_owned(), element_type: ElementType::Float32, shape: vec![] },
            readers: readers.to_vec(),
            to_caller,
            codec: tranche_schema::Codec::Raw,
            channel: tranche_schema::Channel::Inline,
        }
    }

    fn function(slice: &str, inputs: &[usize], outputs: &[usize]) -> PlannedFunction {
        PlannedFunction { slice: slice.to_owned(), inputs: inputs.to_vec(), outputs: outputs.to_vec() }
    }

    /// `left` and `right` read `x`, `join` reads both and `x`; `l` is an output of the model too.
    #[test]
    fn each_stop_is_sent_what_it_and_later_ones_read() {
        let plan = WalkPlan {
            tensors: vec![
                tensor("x", &[0, 1, 2], false),
                tensor("l", &[2], true),
                tensor("r", &[2], false),
                tensor("y", &[], true),
            ],
            functions: vec![
                function("left", &[0], &[1]),
                function("right", &[0], &[2]),
                function("join", &[1, 2, 0], &[3]),
            ],
            input_count: 1,
            outputs: vec![1, 3],
        };
        let sent: Vec<String> = (0..4).map(|index| alive_before(&plan, index).join(" ")).collect();
        assert_eq!(sent, ["x", "x l", "x l r", "l y"]);
    }
}
