//! An event's way to its answer.

use hyper::StatusCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tranche_schema::{AnswerWish, FunctionMetrics, LAMBDA_EVENT_VERSION, LambdaAnswer, LambdaAsk};
use tranche_serving::lambda::Invocation;
use tranche_serving::{Refusal, becomes};
use tranche_transport::lambda::{LambdaError, decode_event, decode_frame, encode_answer};
use tranche_transport::{Frame, RequestHeader};

use super::answer::Said;
use super::{Runtime, emf};
use crate::answer::bad_frame;
use crate::function::State;
use crate::process::{gone, load_failed, wait};
use crate::worker::{Job, Outcome};

/// A request in hand.
pub(super) struct Call<'a> {
    pub(super) invocation: &'a Invocation,
    /// When its event was there.
    pub(super) received: Instant,
    /// When it must be answered.
    pub(super) deadline: Instant,
}

impl Call<'_> {
    pub(super) fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// What a run made: a frame with every tensor inline, and what it took.
pub(super) struct Ran {
    pub(super) frame: Frame,
    pub(super) metrics: FunctionMetrics,
}

impl Runtime {
    /// Answers an event before its deadline, whatever else happens.
    pub(super) async fn answer(&self, invocation: &Invocation) -> Result<Said, Refusal> {
        let deadline = self.deadline(invocation);
        let call = Call { invocation, received: Instant::now(), deadline };
        let answered = tokio::time::timeout_at(deadline.into(), self.act(call)).await;
        answered.unwrap_or_else(|_| {
            Err(Refusal::deadline("the function's time was over before the answer was ready"))
        })
    }

    async fn act(&self, call: Call<'_>) -> Result<Said, Refusal> {
        let event = decode_event(&call.invocation.payload).map_err(|error| bad_event(&error))?;
        match event.ask {
            LambdaAsk::Ping {} => self.ping().await,
            LambdaAsk::Run { frame, answer } => self.run(call, frame, answer).await,
            LambdaAsk::RunStored { request, itinerary } => self.run_stored(call, request, itinerary).await,
        }
    }

    async fn ping(&self) -> Result<Said, Refusal> {
        becomes(&self.function.state, |state| !matches!(state, State::Loading)).await;
        match &*self.function.state.borrow() {
            State::Failed(failure) => Err(load_failed(failure)),
            State::Loading | State::Ready => without_frame(None),
        }
    }

    async fn run(&self, mut call: Call<'_>, text: String, wish: AnswerWish) -> Result<Said, Refusal> {
        let started = Instant::now();
        let mut frame = decode_frame(&text, &self.slice.frame_limits).map_err(|error| bad_event(&error))?;
        drop(text);
        if let Some(left) = frame.header.deadline {
            call.deadline = call.deadline.min(call.received.checked_add(left).unwrap_or(call.deadline));
        }
        self.slice.check(&frame)?;
        self.store.fetch(&mut frame, call.time_left()).await?;
        let ran = self.execute(&call, frame, started.elapsed()).await?;
        self.deliver(&call, ran, wish).await
    }

    /// Runs a frame whose tensors are all here; they took `fetched` to come.
    pub(super) async fn execute(
        &self,
        call: &Call<'_>,
        frame: Frame,
        fetched: Duration,
    ) -> Result<Ran, Refusal> {
        let function = &self.function;
        let permit = Arc::clone(&function.in_flight).try_acquire_owned();
        let permit = Arc::new(permit.map_err(|_| Refusal::busy(function.options.server.max_in_flight))?);
        let header =
            RequestHeader { slice: self.slice.manifest.name.clone(), deadline: None, ..frame.header.clone() };
        let (reply, outcome) = oneshot::channel();
        let job = Job {
            frame,
            call_id: Some(call.invocation.request_id.clone()),
            received: Instant::now(),
            deadline: call.deadline,
            reply,
            permit,
            inline: true,
            quiet: true,
        };
        function.jobs.send(job).map_err(|_| gone(function))?;
        let Outcome { result, metrics } = wait(function, outcome, call.deadline).await?;
        let mut metrics = metrics.unwrap_or_default();
        metrics.decode_ms.0 += fetched.as_secs_f64() * 1000.0;
        metrics.billed_ms = call.received.elapsed().into();
        match result {
            Ok(output) => Ok(Ran { frame: Frame { header, tensors: output.tensors }, metrics }),
            Err(refusal) => {
                self.print(call, &header, &metrics, Some(refusal.code));
                Err(refusal)
            }
        }
    }

    /// Prints what a request took; before it is answered, because Lambda freezes the process then.
    pub(super) fn print(
        &self,
        call: &Call<'_>,
        header: &RequestHeader,
        metrics: &FunctionMetrics,
        code: Option<&str>,
    ) {
        let started = self.function.start_up.get().filter(|_| metrics.cold);
        let load = started.map(|taken| taken.library_ms + taken.weights_ms);
        emf::print(&emf::Line {
            metrics,
            code,
            load,
            traceparent: header.traceparent.as_deref(),
            xray: call.invocation.trace_id.as_deref(),
        });
    }
}

/// An answer that has no frame.
pub(super) fn without_frame(metrics: Option<FunctionMetrics>) -> Result<Said, Refusal> {
    let answer = LambdaAnswer { tranche: LAMBDA_EVENT_VERSION, frame: None, metrics };
    encode_answer(&answer).map(Said::Whole).map_err(|error| unwritable(&error))
}

pub(super) fn bad_event(error: &LambdaError) -> Refusal {
    if let LambdaError::Frame(error) = error {
        return bad_frame(error);
    }
    let code = if matches!(error, LambdaError::Base64 { .. }) { "bad-frame" } else { "bad-event" };
    Refusal::new(StatusCode::BAD_REQUEST, code, error.to_string(), error.hint())
}

pub(super) fn unwritable(error: &LambdaError) -> Refusal {
    let code = if matches!(error, LambdaError::TooLarge { .. }) { "too-large" } else { "engine-failed" };
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, code, error.to_string(), error.hint())
}
