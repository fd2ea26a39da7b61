//! What functions are sent and what of their answers is taken, whichever way they are reached.

use crate::Options;
use crate::http::HttpClient;
use crate::lambda::{LambdaClient, LambdaRequest};
use crate::plan::describe;
use crate::walk::{Failure, Retry};
use std::sync::Arc;
use std::time::Duration;
use tranche_schema::{DeployedFunction, ElementType, FunctionMetrics, Itinerary, TensorSpec};
use tranche_transport::{CodedTensor, Frame, FrameLimits, Payload, RequestHeader, SharedFolder};

/// Room for the header of an answer beside its tensors.
const HEADER_ROOM: u64 = 64 * 1024;
/// Room for the entry and the padding of a tensor in an answer.
const ENTRY_ROOM: u64 = 4096;

/// A tensor between functions. The file that holds its bytes, if it is in one,
/// is removed with the last clone, however the request ends.
#[derive(Clone, Debug)]
pub(crate) struct Passing(Arc<Held>);

#[derive(Debug)]
struct Held {
    tensor: CodedTensor,
    shared: Option<Arc<SharedFolder>>,
}

impl Passing {
    pub(crate) fn new(tensor: CodedTensor, shared: Option<Arc<SharedFolder>>) -> Self {
        Self(Arc::new(Held { tensor, shared }))
    }

    pub(crate) fn tensor(&self) -> &CodedTensor {
        &self.0.tensor
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let (Payload::Lease(lease), Some(shared)) = (&self.tensor.payload, &self.shared)
            && let Err(error) = shared.release(&lease.name)
        {
            tracing::warn!(tensor = %self.tensor.spec.name, %error, "cannot release a shared tensor");
        }
    }
}

/// What a function answered.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Its outputs, in the deployment's order.
    pub(crate) outputs: Vec<Passing>,
    /// What it measured.
    pub(crate) metrics: FunctionMetrics,
    /// From sending to the last byte of the answer.
    pub(crate) elapsed: Duration,
}

/// A client for one function.
#[derive(Debug)]
pub(crate) enum FunctionClient {
    Http(HttpClient),
    Lambda(LambdaClient),
}

impl FunctionClient {
    pub(crate) fn slice(&self) -> &str {
        match self {
            Self::Http(client) => &client.expected.slice,
            Self::Lambda(client) => &client.expected.slice,
        }
    }

    /// Sends the inputs, waits for the outputs at most `left`. `request` is set on Lambda.
    pub(crate) async fn call(
        &self,
        header: RequestHeader,
        inputs: &[Passing],
        left: Duration,
        request: Option<&LambdaRequest>,
    ) -> Result<Reply, Failure> {
        match (self, request) {
            (Self::Http(client), _) => client.call(header, inputs, left).await,
            (Self::Lambda(client), Some(request)) => client.call(header, inputs, left, request).await,
            (Self::Lambda(_), None) => Err(final_failure("this request has no client for AWS".to_owned())),
        }
    }

    /// Sends the inputs to go on by themselves, over HTTP.
    pub(crate) async fn hand_over(
        &self,
        header: RequestHeader,
        inputs: &[Passing],
        itinerary: &Itinerary,
        left: Duration,
    ) -> Result<(), Failure> {
        match self {
            Self::Http(client) => client.hand_over(header, inputs, itinerary, left).await,
            Self::Lambda(_) => Err(final_failure("functions on Lambda hand on through a store".to_owned())),
        }
    }

    /// Base URL of the function, if it has one that others reach.
    pub(crate) fn url(&self) -> Option<&str> {
        match self {
            Self::Http(client) => client.url(),
            Self::Lambda(_) => None,
        }
    }

    /// Starts the function where its platform does so for a request, and says whether it is loaded
    /// then. Asks once, and waits no longer than `left`.
    pub(crate) async fn ping(&self, left: Duration, request: Option<&LambdaRequest>) -> Result<(), Failure> {
        match self {
            Self::Http(client) => client.ready(left).await,
            Self::Lambda(client) => client.ping(left, request).await,
        }
    }

    /// Whether a call during a ping would start a second instance instead of waiting for the first.
    pub(crate) fn runs_one_at_a_time(&self) -> bool {
        matches!(self, Self::Lambda(_))
    }

    /// Whether the function says that it is loaded; starts it where the platform does.
    pub(crate) async fn ready(&self, left: Duration) -> Result<(), Failure> {
        match self {
            Self::Http(client) => client.ready(left).await,
            Self::Lambda(client) => client.ping(left, None).await,
        }
    }
}

/// What a function's answer must be.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) slice: String,
    pub(crate) outputs: Vec<TensorSpec>,
    pub(crate) limits: FrameLimits,
}

impl Expected {
    pub(crate) fn of(function: &DeployedFunction, options: &Options) -> Self {
        let limits = answer_limits(&function.outputs, options.max_string_bytes);
        Self { slice: function.slice.clone(), outputs: function.outputs.clone(), limits }
    }

    /// The outputs in the deployment's order, and what the function measured, if the answer is that
    /// of this request and this slice.
    pub(crate) fn accept(
        &self,
        frame: Frame,
        metrics: Result<FunctionMetrics, Failure>,
        request_id: [u8; 16],
        shared: Option<&Arc<SharedFolder>>,
    ) -> Result<(Vec<Passing>, FunctionMetrics), Failure> {
        // From here on the files that the answer names are released whatever is wrong with it.
        let Frame { header, tensors } = frame;
        let tensors: Vec<Passing> =
            tensors.into_iter().map(|tensor| Passing::new(tensor, shared.cloned())).collect();
        let metrics = metrics?;
        if header.request_id != request_id || metrics.request_id != header.request_id_hex() {
            return Err(final_failure("it answered another request".to_owned()));
        }
        if header.slice != self.slice {
            return Err(final_failure(format!("`{}` answered in its place", header.slice)));
        }
        if !metrics.billed_ms.0.is_finite() || metrics.billed_ms.0 < 0.0 {
            return Err(final_failure(format!("it bills {} ms", metrics.billed_ms.0)));
        }
        Ok((self.in_order(tensors)?, metrics))
    }

    fn in_order(&self, tensors: Vec<Passing>) -> Result<Vec<Passing>, Failure> {
        if let Some(extra) = tensors
            .iter()
            .find(|found| !self.outputs.iter().any(|spec| spec.name == found.tensor().spec.name))
        {
            let name = &extra.tensor().spec.name;
            return Err(final_failure(format!("it answered a tensor `{name}` that it should not write")));
        }
        let find = |spec: &TensorSpec| {
            let found = tensors.iter().find(|found| found.tensor().spec.name == spec.name);
            let found =
                found.ok_or_else(|| final_failure(format!("its answer lacks tensor {}", describe(spec))))?;
            if found.tensor().spec != *spec {
                return Err(final_failure(format!(
                    "it answered {} instead of {}",
                    describe(&found.tensor().spec),
                    describe(spec)
                )));
            }
            Ok(found.clone())
        };
        self.outputs.iter().map(find).collect()
    }
}

/// Most that an answer with these tensors can take: coding never makes bytes more.
pub(crate) fn answer_limits(outputs: &[TensorSpec], max_string_bytes: u64) -> FrameLimits {
    let bytes = |spec: &TensorSpec| match spec.element_type {
        ElementType::String => max_string_bytes,
        _ => spec.bytes().0,
    };
    let total: u64 = outputs.iter().map(bytes).fold(0, u64::saturating_add);
    let room = HEADER_ROOM.saturating_add(ENTRY_ROOM.saturating_mul(outputs.len() as u64));
    FrameLimits {
        max_frame_bytes: total.saturating_add(room),
        max_tensor_bytes: total,
        max_total_tensor_bytes: total,
        ..FrameLimits::default()
    }
}

pub(crate) fn final_failure(reason: String) -> Failure {
    Failure { reason, retry: Retry::Never, hint: None }
}
