//! A request that goes on by itself from function to function through the object store: the driver
//! writes the inputs, starts the slices that read nothing else, and waits for the answer there.

use super::store::LambdaRequest;
use crate::bill::{self, Record};
use crate::client::{FunctionClient, Passing, answer_limits};
use crate::plan::{TensorIndex, describe};
use crate::refusal::classify_aws;
use crate::request::{Identity, decode, explain};
use crate::walk::{Failure, GiveUp, Retry};
use crate::{Answer, Call, DriverError, FunctionIndex, Inner};
use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tranche_schema::{
    FunctionMetrics, LAMBDA_EVENT_VERSION, LambdaAsk, LambdaEvent, LambdaItinerary, LambdaStop, ObjectStore,
    StoreUse, StoredRequest, TensorSpec,
};
use tranche_transport::aws::PutCondition;
use tranche_transport::lambda::{answer_key, claim_key, encode_event, metrics_key, tensor_key};
use tranche_transport::{CodedTensor, Frame, RequestHeader};

const FIRST_WAIT: Duration = Duration::from_millis(25);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// More than any metrics or failure takes.
const MAX_DOCUMENT_BYTES: u64 = 256 * 1024;

/// PREFIX/REQUEST/answer.
#[derive(Deserialize)]
struct StoredAnswer {
    tranche: u32,
    #[serde(default)]
    failure: Option<StoredFailure>,
}

#[derive(Deserialize)]
struct StoredFailure {
    slice: String,
    code: String,
    message: String,
    #[serde(default)]
    hint: Option<String>,
}

/// What the parts of one stored request share.
struct Stored<'a> {
    inner: &'a Inner,
    request: &'a LambdaRequest,
    store: &'a ObjectStore,
    started: Instant,
    deadline: Duration,
}

pub(crate) async fn run(
    inner: &Arc<Inner>,
    inputs: Vec<Passing>,
    call: &Call,
    started: Instant,
    walk: Option<impl AsyncFnOnce(StoredRequest) -> Result<Vec<FunctionMetrics>, String>>,
) -> Result<Answer, DriverError> {
    let name = || inner.deployment.name.clone();
    let missing = || DriverError::NoStore { deployment: name() };
    let cloud = inner.cloud.as_ref().ok_or_else(missing)?;
    let store = cloud.store.as_ref().ok_or_else(missing)?;
    if inner.plan.functions.is_empty() {
        return crate::request::run(inner, inputs, call, started).await;
    }
    let identity = Identity::of(call, inner.options.deadline);
    let id = RequestHeader::new(identity.request_id, "").request_id_hex();
    let request = LambdaRequest::new(Arc::clone(cloud), id);
    let deadline = identity.deadline;
    let stored = Stored { inner, request: &request, store, started, deadline };
    let answered = match walk {
        Some(walk) => stored.answer_of(inputs, &identity, walk).await,
        None => stored.answer(inputs, &identity).await,
    };
    request.clean().await;
    let (outputs, records, latency) = answered?;
    let bill = bill::assemble(inner, records, latency, Some(&request));
    Ok(Answer { request_id: request.id.clone(), outputs, bill })
}

type Answered = (Vec<(String, tranche_schema::Tensor)>, Vec<Option<Record>>, Duration);

impl Stored<'_> {
    fn left(&self) -> Duration {
        self.deadline.saturating_sub(self.started.elapsed())
    }

    async fn answer(&self, inputs: Vec<Passing>, identity: &Identity) -> Result<Answered, DriverError> {
        self.request.own(self.keys());
        try_join_all(inputs.iter().map(|input| self.write(input.tensor(), identity.request_id))).await?;
        let first = self.first();
        try_join_all(first.iter().map(|&index| self.start(index, &first, identity))).await?;
        self.wait().await?;
        let outputs = try_join_all(self.inner.deployment.outputs.iter().map(|spec| self.read(spec))).await?;
        let latency = self.started.elapsed();
        let outputs = decode(self.inner, outputs)?;
        let records = join_all((0..self.inner.clients.len()).map(|index| self.record(index))).await;
        self.count(&records, &first);
        Ok((outputs, records, latency))
    }

    /// The same of somebody who walks the slices in the driver's place, and gives what they
    /// measured.
    async fn answer_of(
        &self,
        inputs: Vec<Passing>,
        identity: &Identity,
        walk: impl AsyncFnOnce(StoredRequest) -> Result<Vec<FunctionMetrics>, String>,
    ) -> Result<Answered, DriverError> {
        self.request.own(self.keys());
        try_join_all(inputs.iter().map(|input| self.write(input.tensor(), identity.request_id))).await?;
        let request = StoredRequest {
            request: self.request.id.clone(),
            attempt: 1,
            store: self.store.clone(),
            traceparent: Some(identity.traceparent(0, 1)),
        };
        let failed =
            |reason: String| DriverError::Walker { deployment: self.inner.deployment.name.clone(), reason };
        let walked = tokio::time::timeout(self.left(), walk(request)).await;
        let late = |_| failed(format!("it did not end within {:.1} s", self.deadline.as_secs_f64()));
        let metrics = walked.map_err(late)?.map_err(failed)?;
        let outputs = try_join_all(self.inner.deployment.outputs.iter().map(|spec| self.read(spec))).await?;
        let latency = self.started.elapsed();
        let outputs = decode(self.inner, outputs)?;
        let of = |client: &Arc<FunctionClient>| {
            metrics.iter().find(|metrics| metrics.slice == client.slice()).and_then(|one| self.record_of(one))
        };
        let records: Vec<Option<Record>> = self.inner.clients.iter().map(of).collect();
        self.count_tensors(&records);
        for (index, record) in records.iter().enumerate() {
            self.request.count_unseen(index, record.as_ref().map_or(1, |record| record.attempts));
        }
        Ok((outputs, records, latency))
    }

    /// Every key that the contract has anybody write.
    fn keys(&self) -> Vec<String> {
        let (store, id) = (self.store, self.request.id.as_str());
        let tensors = self.inner.plan.tensors.iter().map(|tensor| tensor_key(store, id, &tensor.spec.name));
        let slices = self.inner.plan.functions.iter().flat_map(|function| {
            [claim_key(store, id, &function.slice), metrics_key(store, id, &function.slice)]
        });
        tensors.chain(slices).chain([answer_key(store, id)]).collect()
    }

    /// Writes an input, as a frame of its own.
    async fn write(&self, tensor: &CodedTensor, request_id: [u8; 16]) -> Result<(), DriverError> {
        let name = &tensor.spec.name;
        let frame = Frame { header: RequestHeader::new(request_id, ""), tensors: vec![tensor.clone()] };
        let bytes = frame.to_bytes().map_err(|source| DriverError::Send { name: name.clone(), source })?;
        let key = tensor_key(self.store, &self.request.id, name);
        let written = self.request.write(&self.store.bucket, &key, bytes, PutCondition::Any, self.left());
        written.await.map(|_| ()).map_err(|source| DriverError::Store { name: name.clone(), source })
    }

    /// The functions that read inputs of the model only.
    fn first(&self) -> Vec<FunctionIndex> {
        let plan = &self.inner.plan;
        let reads_inputs = |inputs: &[TensorIndex]| inputs.iter().all(|&at| at < plan.input_count);
        let functions = plan.functions.iter().enumerate();
        functions.filter(|(_, function)| reads_inputs(&function.inputs)).map(|(index, _)| index).collect()
    }

    /// Claims a slice and invokes it, to go on by itself.
    async fn start(
        &self,
        index: FunctionIndex,
        first: &[FunctionIndex],
        identity: &Identity,
    ) -> Result<(), DriverError> {
        let failed = |failure: Failure| {
            explain(self.inner, GiveUp::Failed { function: index, attempts: 1, failure }, self.deadline)
        };
        let Some(FunctionClient::Lambda(client)) = self.inner.clients.get(index).map(Arc::as_ref) else {
            return Err(DriverError::NoStore { deployment: self.inner.deployment.name.clone() });
        };
        let key = claim_key(self.store, &self.request.id, &client.expected.slice);
        let claim = Bytes::from(format!("{{\"by\":\"driver\",\"request\":\"{}\"}}", self.request.id));
        let claimed =
            self.request.write(&self.store.bucket, &key, claim, PutCondition::IfAbsent, self.left());
        claimed.await.map_err(|error| failed(classify_aws(&error)))?;
        let event = LambdaEvent {
            tranche: LAMBDA_EVENT_VERSION,
            ask: LambdaAsk::RunStored {
                request: StoredRequest {
                    request: self.request.id.clone(),
                    attempt: 1,
                    store: self.store.clone(),
                    traceparent: Some(identity.traceparent(index, 1)),
                },
                itinerary: Some(self.itinerary(first)),
            },
        };
        let event = encode_event(&event).map_err(|error| {
            let (reason, hint) = (error.to_string(), Some(error.hint().to_owned()));
            failed(Failure { reason, retry: Retry::Never, hint })
        })?;
        client.start(event, self.left(), self.request).await.map_err(failed)
    }

    /// Every stop but those that are started from here.
    fn itinerary(&self, first: &[FunctionIndex]) -> LambdaItinerary {
        let plan = &self.inner.plan;
        let names = |tensors: &[TensorIndex]| -> Vec<String> {
            tensors
                .iter()
                .filter_map(|&at| plan.tensors.get(at))
                .map(|tensor| tensor.spec.name.clone())
                .collect()
        };
        let stop = |(index, client): (usize, &Arc<FunctionClient>)| {
            let FunctionClient::Lambda(client) = client.as_ref() else { return None };
            let planned = plan.functions.get(index).filter(|_| !first.contains(&index))?;
            Some(LambdaStop {
                slice: planned.slice.clone(),
                function: client.qualified(),
                reads: names(&planned.inputs),
                writes: names(&planned.outputs),
            })
        };
        let end = SystemTime::now() + self.left();
        let since = end.duration_since(UNIX_EPOCH).unwrap_or_default();
        LambdaItinerary {
            stops: self.inner.clients.iter().enumerate().filter_map(stop).collect(),
            outputs: names(&plan.outputs),
            deadline_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Asks for the answer, ever less often, until it is there or time is over.
    async fn wait(&self) -> Result<(), DriverError> {
        let key = answer_key(self.store, &self.request.id);
        let place = (self.store.bucket.as_str(), key.as_str());
        let unread = |source| DriverError::Store { name: "answer".to_owned(), source };
        let mut wait = FIRST_WAIT;
        loop {
            if self.left().is_zero() {
                return Err(self.late().await);
            }
            let read = self.request.read(place, None, MAX_DOCUMENT_BYTES, self.left()).await;
            match read {
                Ok(Some(bytes)) => return self.judge(&bytes),
                Ok(None) => {}
                Err(error) if error.is_transient() => tracing::debug!(%error, "cannot ask for the answer"),
                Err(error) => return Err(unread(error)),
            }
            tokio::time::sleep(wait.min(self.left())).await;
            wait = wait.mul_f64(1.5).min(LONGEST_WAIT);
        }
    }

    fn judge(&self, bytes: &[u8]) -> Result<(), DriverError> {
        let wrong = |slice: String, reason: String, hint: Option<String>| {
            Err(DriverError::Function { slice, attempts: 1, reason, hint })
        };
        match serde_json::from_slice::<StoredAnswer>(bytes) {
            Ok(StoredAnswer { tranche: LAMBDA_EVENT_VERSION, failure: None }) => Ok(()),
            Ok(StoredAnswer { failure: Some(failure), .. }) => {
                let StoredFailure { slice, code, message, hint } = failure;
                wrong(slice, format!("{code}: {message}"), hint)
            }
            Ok(StoredAnswer { tranche, .. }) => {
                wrong("?".to_owned(), format!("it wrote an answer of version {tranche}"), None)
            }
            Err(error) => wrong("?".to_owned(), format!("it wrote an answer that is none: {error}"), None),
        }
    }

    /// Which functions had not said that they were done.
    async fn late(&self) -> DriverError {
        let grace = Duration::from_secs(2);
        let done = join_all(self.inner.clients.iter().map(|client| async move {
            let key = metrics_key(self.store, &self.request.id, client.slice());
            let client = &self.request.cloud.client;
            matches!(client.head_object(&self.store.bucket, &key, grace).await, Ok(Some(_)))
        }))
        .await;
        let waiting = done.iter().enumerate().filter(|(_, done)| !**done).map(|(index, _)| (index, None));
        explain(self.inner, GiveUp::Deadline { waiting: waiting.collect() }, self.deadline)
    }

    /// Reads an output of the model.
    async fn read(&self, spec: &TensorSpec) -> Result<Passing, DriverError> {
        let limits = answer_limits(std::slice::from_ref(spec), self.inner.options.max_string_bytes);
        let key = tensor_key(self.store, &self.request.id, &spec.name);
        let place = (self.store.bucket.as_str(), key.as_str());
        // The answer may have come at the last moment.
        let left = self.left().max(Duration::from_secs(1));
        let read = self.request.read(place, None, limits.max_frame_bytes, left).await;
        let bytes = read.map_err(|source| DriverError::Store { name: spec.name.clone(), source })?;
        let wrong = |reason: &str| DriverError::Function {
            slice: self.maker(spec),
            attempts: 1,
            reason: format!("it should have written {}, {reason}", describe(spec)),
            hint: None,
        };
        let bytes = bytes.ok_or_else(|| wrong("but there is no such object"))?;
        let frame = Frame::parse(bytes, &limits)
            .map_err(|source| DriverError::Receive { name: spec.name.clone(), source })?;
        match <[CodedTensor; 1]>::try_from(frame.tensors) {
            Ok([tensor]) if tensor.spec == *spec => Ok(Passing::new(tensor, None)),
            _ => Err(wrong("but wrote something else")),
        }
    }

    fn maker(&self, spec: &TensorSpec) -> String {
        let functions = &self.inner.deployment.functions;
        let maker = functions.iter().find(|function| function.outputs.contains(spec));
        maker.map_or_else(|| "?".to_owned(), |function| function.slice.clone())
    }

    /// What a slice measured; nothing when it did not say or says nonsense.
    async fn record(&self, index: FunctionIndex) -> Option<Record> {
        let slice = self.inner.clients.get(index)?.slice();
        let key = metrics_key(self.store, &self.request.id, slice);
        let place = (self.store.bucket.as_str(), key.as_str());
        let left = self.left().max(Duration::from_secs(1));
        let bytes = self.request.read(place, None, MAX_DOCUMENT_BYTES, left).await.ok()??;
        let metrics: FunctionMetrics = serde_json::from_slice(&bytes).ok()?;
        self.record_of(&metrics).filter(|_| metrics.slice == slice)
    }

    fn record_of(&self, metrics: &FunctionMetrics) -> Option<Record> {
        let billed = metrics.billed_ms.0;
        if !billed.is_finite() || billed < 0.0 {
            return None;
        }
        // How long tensors were on their way nobody saw.
        let elapsed = Duration::try_from_secs_f64(billed / 1000.0).unwrap_or_default();
        Some(Record { attempts: metrics.attempt.max(1), metrics: metrics.clone(), elapsed })
    }

    /// Counts the tensors that functions read and wrote.
    fn count_tensors(&self, records: &[Option<Record>]) {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        self.request.count_store(|store: &mut StoreUse| {
            for function in &self.inner.plan.functions {
                store.gets += number(function.inputs.len());
                store.puts += number(function.outputs.len());
            }
            for metrics in records.iter().flatten().map(|record| &record.metrics) {
                store.read_bytes += metrics.input_coded_bytes;
                store.written_bytes += metrics.output_coded_bytes;
            }
        });
    }

    /// Counts what functions did without the driver: what the contract has each do at least.
    fn count(&self, records: &[Option<Record>], first: &[FunctionIndex]) {
        self.count_tensors(records);
        let functions = u32::try_from(self.inner.plan.functions.len()).unwrap_or(u32::MAX);
        let claimed = functions.saturating_sub(u32::try_from(first.len()).unwrap_or(u32::MAX));
        // Metrics of each, the claim of each by whoever invoked it, and the answer.
        self.request.count_store(|store: &mut StoreUse| store.puts += functions + claimed + 1);
        for (index, record) in records.iter().enumerate().filter(|(index, _)| !first.contains(index)) {
            self.request.count_unseen(index, record.as_ref().map_or(1, |record| record.attempts));
        }
    }
}
