//! Requests whose tensors lie in an object store, each a frame of its own.

use futures_util::future::try_join_all;
use hyper::StatusCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tracing::warn;
use tranche_schema::{FunctionMetrics, LambdaItinerary, StoredRequest, TensorSpec};
use tranche_serving::Refusal;
use tranche_serving::lambda::TraceHeader;
use tranche_transport::lambda::{metrics_key, tensor_key};
use tranche_transport::{CodedTensor, Frame, FrameLimits, RequestHeader};

use super::answer::Said;
use super::event::{Call, Ran, without_frame};
use super::store::store_failed;
use super::{Runtime, onward};
use crate::answer::{bad_frame, bad_input};

/// A stored tensor's frame has no more than this beside the tensor.
const FRAME_OVERHEAD_BYTES: u64 = 16 * 1024;

impl Runtime {
    /// Runs a stored request, and goes on where there is an itinerary.
    pub(super) async fn run_stored(
        &self,
        mut call: Call<'_>,
        mut request: StoredRequest,
        itinerary: Option<LambdaItinerary>,
    ) -> Result<Said, Refusal> {
        let request_id = read_id(&request.request)?;
        if request.traceparent.is_none() {
            let trace = call.invocation.trace_id.as_deref().and_then(TraceHeader::from_xray);
            request.traceparent = trace.and_then(|trace| trace.to_traceparent());
        }
        let header = RequestHeader {
            request_id,
            slice: self.slice.manifest.name.clone(),
            attempt: request.attempt,
            traceparent: request.traceparent.clone(),
            deadline: None,
        };
        let Some(itinerary) = itinerary else {
            let metrics = self.run_tensors(&call, &request, header).await?;
            return without_frame(Some(metrics));
        };
        let Some(left) = time_left(itinerary.deadline_ms) else {
            // Nobody waits any more, so there is nobody to be told, and no use in another delivery.
            warn!(request = request.request, "its time is over: it is not run");
            return without_frame(None);
        };
        call.deadline = call.deadline.min(call.received.checked_add(left).unwrap_or(call.deadline));
        let failure = match self.run_and_go_on(&call, &request, header, &itinerary).await {
            Ok(metrics) => return without_frame(metrics),
            Err(failure) => failure,
        };
        if failure.passes {
            // Lambda delivers an event whose function failed again.
            return Err(failure.refusal);
        }
        warn!(request = request.request, code = failure.refusal.code, "{}", failure.refusal.message);
        self.record_failure(&call, &request, &failure.refusal).await?;
        without_frame(None)
    }

    async fn run_and_go_on(
        &self,
        call: &Call<'_>,
        request: &StoredRequest,
        header: RequestHeader,
        itinerary: &LambdaItinerary,
    ) -> Result<Option<FunctionMetrics>, onward::Failure> {
        let outputs = self.slice.manifest.outputs.iter();
        let keys = outputs.map(|output| tensor_key(&request.store, &request.request, &output.name));
        // A second delivery: what was written is there, whoever wrote it.
        let metrics = match self.store.has_all(&request.store, keys, call.time_left()).await? {
            true => None,
            false => {
                let metrics = self.run_tensors(call, request, header).await?;
                let key = metrics_key(&request.store, &request.request, &self.slice.manifest.name);
                let text = serde_json::to_vec(&metrics).unwrap_or_default();
                self.store.put(&request.store.bucket, &key, text.into(), call.time_left()).await?;
                Some(metrics)
            }
        };
        self.go_on(call, request, itinerary).await?;
        Ok(metrics)
    }

    /// Reads the inputs, runs, writes the outputs.
    async fn run_tensors(
        &self,
        call: &Call<'_>,
        request: &StoredRequest,
        header: RequestHeader,
    ) -> Result<FunctionMetrics, Refusal> {
        let started = Instant::now();
        let inputs = self.slice.manifest.inputs.iter();
        let reading = inputs.map(|input| self.read_tensor(call, request, input));
        let tensors = try_join_all(reading).await?;
        let frame = Frame { header: header.clone(), tensors };
        self.slice.check(&frame)?;
        let Ran { frame, mut metrics } = self.execute(call, frame, started.elapsed()).await?;
        let started = Instant::now();
        let writing =
            frame.tensors.into_iter().map(|tensor| self.write_tensor(call, request, &header, tensor));
        let written = try_join_all(writing).await;
        metrics.encode_ms.0 += started.elapsed().as_secs_f64() * 1000.0;
        metrics.billed_ms = call.received.elapsed().into();
        let code = written.as_ref().err().map(|refusal| refusal.code);
        self.print(call, &header, &metrics, code);
        written.map(|_| metrics)
    }

    async fn read_tensor(
        &self,
        call: &Call<'_>,
        request: &StoredRequest,
        spec: &TensorSpec,
    ) -> Result<CodedTensor, Refusal> {
        let key = tensor_key(&request.store, &request.request, &spec.name);
        let most = self.slice.tensor_limits.max_tensor_bytes + FRAME_OVERHEAD_BYTES;
        let client = self.store.client()?;
        let got = client.get_object(&request.store.bucket, &key, None, most, call.time_left()).await;
        let bytes = got.map_err(|error| store_failed(&error))?.ok_or_else(|| {
            bad_input(format!("input `{}` is not at {key} in bucket {}", spec.name, request.store.bucket))
        })?;
        let limits = FrameLimits { max_frame_bytes: most, max_tensors: 1, ..self.slice.frame_limits };
        let frame = Frame::parse(bytes, &limits).map_err(|error| bad_frame(&error))?;
        let mut tensors = frame.tensors.into_iter().filter(|tensor| tensor.spec.name == spec.name);
        tensors
            .next()
            .ok_or_else(|| bad_input(format!("the object at {key} does not hold input `{}`", spec.name)))
    }

    async fn write_tensor(
        &self,
        call: &Call<'_>,
        request: &StoredRequest,
        header: &RequestHeader,
        tensor: CodedTensor,
    ) -> Result<(), Refusal> {
        let key = tensor_key(&request.store, &request.request, &tensor.spec.name);
        let frame = Frame { header: header.clone(), tensors: vec![tensor] };
        let bytes = frame.to_bytes().map_err(|error| bad_frame(&error))?;
        self.store.put(&request.store.bucket, &key, bytes, call.time_left()).await.map(|_| ())
    }
}

/// Time until a moment in milliseconds since 1970; `None` when it is over.
fn time_left(deadline_ms: u64) -> Option<Duration> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_millis(deadline_ms).checked_sub(now).filter(|left| !left.is_zero())
}

fn read_id(text: &str) -> Result<[u8; 16], Refusal> {
    let plain = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = if plain { u128::from_str_radix(text, 16).ok() } else { None };
    number.map(u128::to_be_bytes).ok_or_else(|| {
        let message = format!("request id `{text}` is not 32 hexadecimal digits");
        Refusal::new(StatusCode::BAD_REQUEST, "bad-event", message, "see docs/formats/lambda.md")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_bytes_in_order() {
        assert_eq!(
            read_id("000102030405060708090a0b0c0d0e0f").unwrap(),
            std::array::from_fn(|index| index as u8)
        );
        for wrong in ["", "07", "+00102030405060708090a0b0c0d0e0f", &"0g".repeat(16)] {
            assert_eq!(read_id(wrong).unwrap_err().code, "bad-event", "{wrong}");
        }
    }

    #[test]
    fn a_deadline_that_has_passed_leaves_nothing() {
        assert_eq!(time_left(0), None);
        assert!(time_left(u64::MAX).is_some());
    }
}
