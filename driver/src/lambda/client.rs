//! A function's client on AWS Lambda.

use super::channel::{AnswerSize, AnswerWay, answer_way};
use super::store::{Cloud, LambdaRequest};
use crate::client::{Expected, Passing, Reply, final_failure};
use crate::refusal::{classify_aws, classify_invocation};
use crate::walk::{Failure, Retry};
use crate::{FunctionIndex, Options, WalkPlan};
use bytes::Bytes;
use futures_util::future::try_join_all;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tranche_schema::{
    AnswerWish, DeployedFunction, ElementType, LAMBDA_EVENT_VERSION, LambdaAsk, LambdaEvent,
};
use tranche_transport::aws::{InvocationKind, Invoked};
use tranche_transport::lambda::{
    FunctionFailure, LambdaError, PAYLOAD_LIMIT, decode_answer, encode_event, encode_run, frame_bytes,
    run_event_bytes,
};
use tranche_transport::{CodedTensor, Frame, FrameError, ObjectReference, Payload, RequestHeader};

/// Where there is a store, nothing this many times beyond the limit is compressed in the hope that it
/// will fit.
const HOPELESS: u64 = 4;
/// Room for the metrics of an answer.
const METRICS_ROOM: u64 = 64 * 1024;
const WITHOUT_STORE: &str =
    "deploy with a bucket (`--store`), so that tensors that no payload takes go through it";

/// A client for one function.
#[derive(Debug)]
pub(crate) struct LambdaClient {
    pub(crate) expected: Expected,
    cloud: Arc<Cloud>,
    index: FunctionIndex,
    function: String,
    qualifier: String,
    way: AnswerWay,
}

impl LambdaClient {
    pub(crate) fn new(
        (index, deployed): (FunctionIndex, &DeployedFunction),
        (function, qualifier): (&str, &str),
        plan: &WalkPlan,
        cloud: Arc<Cloud>,
        options: &Options,
    ) -> Self {
        let expected = Expected::of(deployed, options);
        let strings = deployed.outputs.iter().any(|spec| spec.element_type == ElementType::String);
        let outputs = plan.functions.get(index).map_or(&[][..], |planned| &planned.outputs);
        let read = |&at: &usize| plan.tensors.get(at).is_some_and(|tensor| !tensor.readers.is_empty());
        let size = AnswerSize {
            frame_bytes: (!strings).then_some(expected.limits.max_frame_bytes),
            passed_on: outputs.iter().any(read),
        };
        let memory = cloud.memory_mib.get(index).copied().unwrap_or_default();
        let way = answer_way(size, cloud.store.is_some(), memory);
        let (function, qualifier) = (function.to_owned(), qualifier.to_owned());
        Self { expected, cloud, index, function, qualifier, way }
    }

    /// The function as whoever invokes it without a qualifier of its own names it.
    pub(super) fn qualified(&self) -> String {
        format!("{}:{}", self.function, self.qualifier)
    }

    /// Hands an event over, to be run later.
    pub(super) async fn start(
        &self,
        event: Bytes,
        left: Duration,
        request: &LambdaRequest,
    ) -> Result<(), Failure> {
        let sent = event.len() as u64;
        let (function, qualifier) = (self.function.as_str(), Some(self.qualifier.as_str()));
        let invoked = self.cloud.client.invoke(function, qualifier, event, InvocationKind::Event, left).await;
        let invoked = invoked.map_err(|error| classify_aws(&error))?;
        request.count(self.index, sent, &invoked, false);
        check(&invoked)
    }

    /// Sends the inputs, waits for the outputs at most `left`.
    pub(crate) async fn call(
        &self,
        header: RequestHeader,
        inputs: &[Passing],
        left: Duration,
        request: &LambdaRequest,
    ) -> Result<Reply, Failure> {
        let started = Instant::now();
        let request_id = header.request_id;
        let wish = self.wish()?;
        let tensors = inputs.iter().map(|input| input.tensor().clone()).collect();
        let frame = self.place(Frame { header, tensors }, &wish, left, request).await?;
        let event = encode_run(&frame, &wish).map_err(|error| unsendable(&error))?;
        let left = left.saturating_sub(started.elapsed());
        if wish.store.is_some() {
            request.doubt();
        }
        let invoked = self.invoke(event, left, request).await?;
        let elapsed = started.elapsed();
        let (answer, answered) = decode_answer(invoked.payload, &self.expected.limits)
            .map_err(|error| final_failure(format!("its answer: {error}")))?;
        let answered = answered.ok_or_else(|| final_failure("its answer has no frame".to_owned()))?;
        for tensor in &answered.tensors {
            if let Payload::Object(object) = &tensor.payload
                && !request.adopt(object)
            {
                let reason = format!("it answered {}, which is not of this request", object.uri);
                return Err(final_failure(reason));
            }
        }
        request.count_objects(frame.tensors.iter(), answered.tensors.iter());
        if wish.store.is_some() {
            request.settle();
        }
        let metrics = answer.metrics.ok_or_else(|| final_failure("its answer has no metrics".to_owned()));
        let (outputs, metrics) = self.expected.accept(answered, metrics, request_id, None)?;
        Ok(Reply { outputs, metrics, elapsed })
    }

    /// Starts an instance where none is idle, and waits until it has loaded its slice. What Lambda
    /// bills for it is the request's, where it is for one.
    pub(crate) async fn ping(&self, left: Duration, request: Option<&LambdaRequest>) -> Result<(), Failure> {
        let ping = LambdaEvent { tranche: LAMBDA_EVENT_VERSION, ask: LambdaAsk::Ping {} };
        let event = encode_event(&ping).map_err(|error| unsendable(&error))?;
        let sent = event.len() as u64;
        let client = &self.cloud.client;
        let kind = InvocationKind::RequestResponse;
        let invoked = client
            .invoke(&self.function, Some(&self.qualifier), event, kind, left)
            .await
            .map_err(|error| classify_aws(&error))?;
        if let Some(request) = request {
            request.count(self.index, sent, &invoked, false);
        }
        check(&invoked)?;
        decode_answer(invoked.payload, &self.expected.limits)
            .map_err(|error| final_failure(format!("its answer to a ping: {error}")))?;
        Ok(())
    }

    /// How it is to answer.
    fn wish(&self) -> Result<AnswerWish, Failure> {
        let store = || self.cloud.store.clone();
        match self.way {
            AnswerWay::Buffered => Ok(AnswerWish::default()),
            AnswerWay::Streamed => Ok(AnswerWish { stream: true, ..AnswerWish::default() }),
            AnswerWay::Stored => Ok(AnswerWish { store: store(), ..AnswerWish::default() }),
            AnswerWay::TooLarge => Err(Failure {
                reason: "its outputs are larger than Lambda answers or streams".to_owned(),
                retry: Retry::Never,
                hint: Some(WITHOUT_STORE.to_owned()),
            }),
        }
    }

    async fn invoke(
        &self,
        event: Bytes,
        left: Duration,
        request: &LambdaRequest,
    ) -> Result<Invoked, Failure> {
        let client = &self.cloud.client;
        let (function, qualifier) = (self.function.as_str(), Some(self.qualifier.as_str()));
        let sent = event.len() as u64;
        let streamed = self.way == AnswerWay::Streamed;
        let invoked = if streamed {
            let limit = self.expected.limits.max_frame_bytes.saturating_add(METRICS_ROOM);
            client.invoke_streamed(function, qualifier, event, limit, left).await
        } else {
            let kind = InvocationKind::RequestResponse;
            client.invoke(function, qualifier, event, kind, left).await
        };
        let invoked = invoked.map_err(|error| classify_aws(&error))?;
        request.count(self.index, sent, &invoked, streamed);
        check(&invoked)?;
        Ok(invoked)
    }

    /// The frame with as much inline as fits: all of it, compressed if need be, else without its
    /// largest tensors, which are written to the store.
    async fn place(
        &self,
        frame: Frame,
        wish: &AnswerWish,
        left: Duration,
        request: &LambdaRequest,
    ) -> Result<Frame, Failure> {
        let excess = excess(&frame, wish)?;
        if excess == 0 {
            return Ok(frame);
        }
        if self.cloud.store.is_none() || excess < HOPELESS * PAYLOAD_LIMIT {
            let compressed = compress(frame.clone()).await?;
            if self::excess(&compressed, wish)? == 0 {
                return Ok(compressed);
            }
        }
        let Some(store) = &self.cloud.store else {
            let found =
                run_event_bytes(frame_bytes(&frame).map_err(|error| unsendable(&error.into()))?, wish);
            return Err(Failure {
                reason: format!("its inputs make an event of {found} bytes, Lambda takes {PAYLOAD_LIMIT}"),
                retry: Retry::Never,
                hint: Some(WITHOUT_STORE.to_owned()),
            });
        };
        let chosen = chosen(&frame, wish)?;
        let call = (self.expected.slice.as_str(), frame.header.attempt);
        let put = |(index, tensor): (usize, &CodedTensor)| {
            let (chosen, tensor) = (chosen.contains(&index), tensor.clone());
            async move {
                match chosen {
                    true => request.put(store, call, &tensor, left).await,
                    false => Ok(tensor),
                }
            }
        };
        let placed = try_join_all(frame.tensors.iter().enumerate().map(put)).await;
        let tensors = placed.map_err(|error| classify_aws(&error))?;
        Ok(Frame { tensors, ..frame })
    }
}

/// Bytes that the event would be too large.
fn excess(frame: &Frame, wish: &AnswerWish) -> Result<u64, Failure> {
    let bytes = frame_bytes(frame).map_err(|error: FrameError| unsendable(&error.into()))?;
    Ok(run_event_bytes(bytes, wish).saturating_sub(PAYLOAD_LIMIT))
}

/// Indices of the tensors that go elsewhere, so that the rest fits: the largest first.
fn chosen(frame: &Frame, wish: &AnswerWish) -> Result<Vec<usize>, Failure> {
    let mut inline: Vec<(u64, usize)> = (frame.tensors.iter().enumerate())
        .filter(|(_, tensor)| matches!(tensor.payload, Payload::Inline(_)))
        .map(|(index, tensor)| (tensor.coded_bytes, index))
        .collect();
    inline.sort_unstable();
    let mut rest = frame.clone();
    let mut chosen = Vec::new();
    while excess(&rest, wish)? > 0 {
        let Some((_, index)) = inline.pop() else {
            return Err(final_failure("the names and shapes of its inputs alone are too large".to_owned()));
        };
        if let Some(tensor) = rest.tensors.get_mut(index) {
            // As long as a reference can be in practice.
            let stand_in = ObjectReference { uri: "s".repeat(512), etag: "e".repeat(64) };
            tensor.payload = Payload::Object(stand_in);
        }
        chosen.push(index);
    }
    Ok(chosen)
}

/// Compresses beside the thread that moves bytes.
async fn compress(mut frame: Frame) -> Result<Frame, Failure> {
    let compressing = tokio::task::spawn_blocking(move || {
        for tensor in &mut frame.tensors {
            if let Some(compressed) = tensor.compressed()? {
                *tensor = compressed;
            }
        }
        Ok(frame)
    });
    match compressing.await {
        Ok(compressed) => compressed.map_err(|error: FrameError| unsendable(&error.into())),
        Err(error) => Err(final_failure(format!("compressing its inputs: {error}"))),
    }
}

/// Whether the function answered, or failed.
fn check(invoked: &Invoked) -> Result<(), Failure> {
    let Some(kind) = &invoked.function_error else { return Ok(()) };
    let mut failure = FunctionFailure::read(&invoked.payload);
    if failure.error_type.is_empty() && failure.message.is_empty() {
        failure.error_type.clone_from(kind);
    }
    Err(classify_invocation(&failure))
}

fn unsendable(error: &LambdaError) -> Failure {
    Failure {
        reason: format!("cannot write the request: {error}"),
        retry: Retry::Never,
        hint: Some(error.hint().to_owned()),
    }
}
