//! Answers within the platform's limit, or the caller's.

use bytes::Bytes;
use futures_util::future::try_join_all;
use hyper::StatusCode;
use std::time::Instant;
use tranche_schema::{AnswerWish, FunctionMetrics, LAMBDA_EVENT_VERSION, LambdaAnswer, ObjectStore};
use tranche_serving::Refusal;
use tranche_transport::lambda::{
    LambdaError, PAYLOAD_LIMIT, STREAM_LIMIT, STREAM_SEPARATOR, encode_run_answer, encode_streamed,
    frame_bytes, object_uri, passing_key, run_answer_bytes,
};
use tranche_transport::{Frame, ObjectReference, Payload};

use super::Runtime;
use super::event::{Call, Ran, unwritable};

/// A tensor with fewer bytes is no smaller as a reference.
const MIN_STORED_BYTES: u64 = 512;
/// An entity tag of the usual length: an MD5 sum in quotes.
const USUAL_ETAG: &str = "\"00000000000000000000000000000000\"";

/// An answer's bytes.
pub(super) enum Said {
    /// At once.
    Whole(Bytes),
    /// One after the other.
    Streamed(Vec<Bytes>),
}

impl Runtime {
    /// Makes the answer to a run; what is too much for it goes to the store.
    pub(super) async fn deliver(&self, call: &Call<'_>, ran: Ran, wish: AnswerWish) -> Result<Said, Refusal> {
        let Ran { mut frame, mut metrics } = ran;
        let said = match self.fit(call, &mut frame, &mut metrics, &wish).await {
            Ok(()) if wish.stream => encode_streamed(&frame, &metrics).map(Said::Streamed),
            Ok(()) => encode_run_answer(&frame, &metrics).map(Said::Whole),
            Err(refusal) => {
                self.print(call, &frame.header, &metrics, Some(refusal.code));
                return Err(refusal);
            }
        };
        let said = said.map_err(|error| unwritable(&error));
        self.print(call, &frame.header, &metrics, said.as_ref().err().map(|refusal| refusal.code));
        said
    }

    async fn fit(
        &self,
        call: &Call<'_>,
        frame: &mut Frame,
        metrics: &mut FunctionMetrics,
        wish: &AnswerWish,
    ) -> Result<(), Refusal> {
        let limit = limit(wish);
        // What is measured is part of the answer: it may grow by a digit while tensors are stored.
        loop {
            metrics.billed_ms = call.received.elapsed().into();
            let bytes = answer_bytes(frame, metrics, wish.stream).map_err(|error| unwritable(&error))?;
            if bytes <= limit {
                return Ok(());
            }
            let Some(store) = &wish.store else {
                return Err(too_large(bytes, limit, "give the answer a store"));
            };
            let started = Instant::now();
            let moved = move_out(frame, store, |frame| {
                answer_bytes(frame, metrics, wish.stream).is_ok_and(|bytes| bytes <= limit)
            });
            if moved.is_empty() {
                let hint = "its names and shapes alone are more; allow more bytes";
                return Err(too_large(bytes, limit, hint));
            }
            let putting = moved.into_iter().map(|moved| async move {
                let put = self.store.put(&store.bucket, &moved.key, moved.bytes, call.time_left());
                Ok::<_, Refusal>((moved.index, put.await?))
            });
            for (index, reference) in try_join_all(putting).await? {
                if let Some(tensor) = frame.tensors.get_mut(index) {
                    tensor.payload = Payload::Object(reference);
                }
            }
            metrics.encode_ms.0 += started.elapsed().as_secs_f64() * 1000.0;
        }
    }
}

fn limit(wish: &AnswerWish) -> u64 {
    let platform = if wish.stream { STREAM_LIMIT } else { PAYLOAD_LIMIT };
    wish.max_bytes.map_or(platform, |most| most.min(platform))
}

/// Bytes of the answer as it is sent.
fn answer_bytes(frame: &Frame, metrics: &FunctionMetrics, stream: bool) -> Result<u64, LambdaError> {
    let frame = frame_bytes(frame)?;
    if !stream {
        return Ok(run_answer_bytes(frame, metrics));
    }
    let answer = LambdaAnswer { tranche: LAMBDA_EVENT_VERSION, frame: None, metrics: Some(metrics.clone()) };
    let json = serde_json::to_vec(&answer).map_err(|source| LambdaError::Json { what: "answer", source })?;
    Ok((json.len() + STREAM_SEPARATOR.len()) as u64 + frame)
}

/// A tensor's bytes that go to the store.
struct Moved {
    index: usize,
    key: String,
    bytes: Bytes,
}

/// Takes tensors out of the frame, the largest first, until the rest `fits` or nothing is left to
/// take. References of the usual length stand for them.
fn move_out(frame: &mut Frame, store: &ObjectStore, fits: impl Fn(&Frame) -> bool) -> Vec<Moved> {
    let request = frame.header.request_id_hex();
    let by = (frame.header.slice.clone(), frame.header.attempt);
    let mut moved = Vec::new();
    while !fits(frame) {
        let inline = |payload: &Payload| matches!(payload, Payload::Inline(_));
        let tensors = frame.tensors.iter_mut().enumerate();
        let largest = tensors
            .filter(|(_, tensor)| inline(&tensor.payload) && tensor.coded_bytes >= MIN_STORED_BYTES)
            .max_by_key(|(_, tensor)| tensor.coded_bytes);
        let Some((index, tensor)) = largest else { break };
        let key = passing_key(store, &request, (&by.0, by.1), tensor.checksum, &tensor.spec.name);
        let uri = object_uri(&store.bucket, &key);
        let reference = Payload::Object(ObjectReference { uri, etag: USUAL_ETAG.to_owned() });
        if let Payload::Inline(bytes) = std::mem::replace(&mut tensor.payload, reference) {
            moved.push(Moved { index, key, bytes });
        }
    }
    moved
}

fn too_large(bytes: u64, limit: u64, hint: &str) -> Refusal {
    let message = format!("the answer has {bytes} bytes, the limit is {limit}");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", message, hint)
}
