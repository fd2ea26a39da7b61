//! What one request leaves in the object store and on Lambda's account.

use super::report::Report;
use crate::{DriverError, FunctionIndex};
use bytes::Bytes;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tranche_schema::{
    ByteCount, Deployment, GibSeconds, LambdaBill, LambdaDeployment, LambdaUse, ObjectStore, StoreUse,
};
use tranche_transport::aws::{AwsClient, AwsError, Invoked, PutCondition, PutOutcome};
use tranche_transport::lambda::{object_uri, parse_object_uri, passing_key, request_prefix};
use tranche_transport::{CodedTensor, ObjectReference, Payload};

/// Longest time for deleting what a request left.
const CLEAN_TIME: Duration = Duration::from_secs(10);

/// The deployment's part of AWS.
#[derive(Debug)]
pub(crate) struct Cloud {
    pub(crate) client: AwsClient,
    pub(crate) store: Option<ObjectStore>,
    /// `MemorySize` of the functions, by index.
    pub(crate) memory_mib: Vec<u32>,
}

impl Cloud {
    /// # Errors
    /// When there is no client, or it asks another region.
    pub(crate) fn of(
        deployment: &Deployment,
        lambda: &LambdaDeployment,
        client: Option<AwsClient>,
    ) -> Result<Self, DriverError> {
        let wrong = |reason: String| DriverError::Aws { deployment: deployment.name.clone(), reason };
        let client = client.ok_or_else(|| wrong("there are no credentials to reach it with".to_owned()))?;
        let (own, its) = (&client.config().region, &lambda.region);
        if own != its {
            return Err(wrong(format!("it is in region `{its}`, not in `{own}`")));
        }
        let memory = |slice: &str| {
            let found = lambda.functions.iter().find(|function| function.slice == slice);
            found.map(|function| function.memory_mib)
        };
        let planned = |bytes: ByteCount| u32::try_from(bytes.as_mebibytes_ceil()).unwrap_or(u32::MAX);
        let functions = deployment.functions.iter();
        let memory_mib = functions
            .map(|function| memory(&function.slice).unwrap_or_else(|| planned(function.size.memory_bytes)))
            .collect();
        Ok(Self { client, store: lambda.store.clone(), memory_mib })
    }
}

/// One request's objects and counts. What it wrote is deleted by [`LambdaRequest::clean`], or in the
/// background when the request is dropped without it.
#[derive(Debug)]
pub(crate) struct LambdaRequest {
    pub(crate) cloud: Arc<Cloud>,
    /// 32 hexadecimal digits.
    pub(crate) id: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    uses: Vec<LambdaUse>,
    store: StoreUse,
    /// What is known to lie in the store.
    keys: BTreeSet<String>,
    /// Calls that may have written there without having said so.
    in_doubt: u32,
    /// Tensors written already, by name, checksum and length.
    written: HashMap<(String, u64, u64), ObjectReference>,
}

impl LambdaRequest {
    pub(crate) fn new(cloud: Arc<Cloud>, id: String) -> Self {
        let uses =
            cloud.memory_mib.iter().map(|&memory_mib| LambdaUse { memory_mib, ..LambdaUse::default() });
        let state = Mutex::new(State { uses: uses.collect(), ..State::default() });
        Self { cloud, id, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counts are whole whoever panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tensor as a reference to an object; written unless this request has written it before.
    pub(super) async fn put(
        &self,
        store: &ObjectStore,
        call: (&str, u32),
        tensor: &CodedTensor,
        left: Duration,
    ) -> Result<CodedTensor, AwsError> {
        let Payload::Inline(bytes) = &tensor.payload else { return Ok(tensor.clone()) };
        let name = &tensor.spec.name;
        let content = (name.clone(), tensor.checksum, tensor.coded_bytes);
        if let Some(reference) = self.state().written.get(&content).cloned() {
            return Ok(CodedTensor { payload: Payload::Object(reference), ..tensor.clone() });
        }
        let key = passing_key(store, &self.id, call, tensor.checksum, name);
        let etag = self.write(&store.bucket, &key, bytes.clone(), PutCondition::Any, left).await?;
        let reference =
            ObjectReference { uri: object_uri(&store.bucket, &key), etag: etag.unwrap_or_default() };
        self.state().written.insert(content, reference.clone());
        Ok(CodedTensor { payload: Payload::Object(reference), ..tensor.clone() })
    }

    /// Writes an object that is deleted with the request; its entity tag, or nothing where one was
    /// there that the condition left as it is.
    pub(super) async fn write(
        &self,
        bucket: &str,
        key: &str,
        bytes: Bytes,
        condition: PutCondition,
        left: Duration,
    ) -> Result<Option<String>, AwsError> {
        {
            // Before it is sent: it may arrive without this future living to see it.
            let mut state = self.state();
            state.keys.insert(key.to_owned());
            state.store.puts += 1;
            state.store.written_bytes += ByteCount(bytes.len() as u64);
        }
        match self.cloud.client.put_object(bucket, key, bytes, condition, left).await? {
            PutOutcome::Written { etag } => Ok(Some(etag)),
            PutOutcome::Exists => Ok(None),
        }
    }

    /// Reads an object of at most `limit` bytes.
    pub(super) async fn read(
        &self,
        (bucket, key): (&str, &str),
        etag: Option<&str>,
        limit: u64,
        left: Duration,
    ) -> Result<Option<Bytes>, AwsError> {
        self.state().store.gets += 1;
        let bytes = self.cloud.client.get_object(bucket, key, etag, limit, left).await?;
        self.state().store.read_bytes += ByteCount(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64));
        Ok(bytes)
    }

    /// The tensor with its bytes here.
    ///
    /// # Errors
    /// When they cannot be read, or are not there any more.
    pub(crate) async fn fetch(&self, tensor: &CodedTensor, left: Duration) -> Result<CodedTensor, AwsError> {
        let Payload::Object(object) = &tensor.payload else { return Ok(tensor.clone()) };
        let gone = |reason: &str| AwsError::Answer {
            operation: format!("GetObject `{}`", object.uri),
            reason: reason.to_owned(),
        };
        let place = parse_object_uri(&object.uri).ok_or_else(|| gone("has no such address"))?;
        // Coding never makes bytes more.
        let limit = tensor.coded_bytes.min(tensor.raw_bytes);
        let bytes = self.read(place, Some(&object.etag), limit, left).await?;
        Ok(tensor.with_bytes(bytes.ok_or_else(|| gone("is that there is no such object"))?))
    }

    /// Whether an object that a function names is one of this request's, which this then owns.
    pub(super) fn adopt(&self, object: &ObjectReference) -> bool {
        let Some(store) = &self.cloud.store else { return false };
        let prefix = request_prefix(store, &self.id);
        match parse_object_uri(&object.uri) {
            Some((bucket, key)) if bucket == store.bucket && key.starts_with(&prefix) => {
                self.state().keys.insert(key.to_owned());
                true
            }
            _ => false,
        }
    }

    /// Keys that others may write in this request's name, to be deleted with it.
    pub(super) fn own(&self, keys: Vec<String>) {
        self.state().keys.extend(keys);
    }

    /// Counts invocations that functions made of each other.
    pub(super) fn count_unseen(&self, function: FunctionIndex, invocations: u32) {
        if let Some(counted) = self.state().uses.get_mut(function) {
            counted.invocations += invocations;
        }
    }

    /// A function is about to be called that may write below the request's prefix.
    pub(super) fn doubt(&self) {
        self.state().in_doubt += 1;
    }

    /// That function has said what it wrote.
    pub(super) fn settle(&self) {
        let mut state = self.state();
        state.in_doubt = state.in_doubt.saturating_sub(1);
    }

    /// Counts an invocation that Lambda took.
    pub(super) fn count(&self, function: FunctionIndex, sent: u64, invoked: &Invoked, streamed: bool) {
        let report = invoked.log_tail.as_deref().and_then(Report::read);
        let received = ByteCount(invoked.payload.len() as u64);
        let mut state = self.state();
        let Some(counted) = state.uses.get_mut(function) else { return };
        counted.invocations += 1;
        counted.payload_bytes += ByteCount(sent) + received;
        if streamed {
            counted.streamed_bytes += received;
        }
        if let Some(report) = report {
            counted.reported += 1;
            counted.billed_ms += report.billed_ms;
            counted.init_ms += report.init_ms;
            let memory = ByteCount::mebibytes(u64::from(counted.memory_mib));
            counted.memory_time += GibSeconds::of(memory, report.billed_ms);
        }
    }

    /// Counts what a function did in the store, as its frames tell.
    pub(super) fn count_objects<'a>(
        &self,
        read: impl Iterator<Item = &'a CodedTensor>,
        written: impl Iterator<Item = &'a CodedTensor>,
    ) {
        let is_object = |tensor: &&CodedTensor| matches!(tensor.payload, Payload::Object(_));
        let mut state = self.state();
        for tensor in read.filter(is_object) {
            state.store.gets += 1;
            state.store.read_bytes += ByteCount(tensor.coded_bytes);
        }
        for tensor in written.filter(is_object) {
            state.store.puts += 1;
            state.store.written_bytes += ByteCount(tensor.coded_bytes);
        }
    }

    /// What functions did in the store that no frame tells.
    pub(super) fn count_store(&self, count: impl FnOnce(&mut StoreUse)) {
        count(&mut self.state().store);
    }

    /// What Lambda and the store have counted of this request.
    pub(crate) fn counts(&self) -> (Vec<LambdaUse>, LambdaBill) {
        let state = self.state();
        (state.uses.clone(), LambdaBill { store: state.store, entry: None })
    }

    /// Deletes what the request left below its prefix. What cannot be deleted is for the store's
    /// lifecycle rule.
    pub(crate) async fn clean(&self) {
        let (keys, listing) = self.take();
        if let (true, Some(store)) = (!keys.is_empty() || listing, &self.cloud.store) {
            if listing {
                self.state().store.lists += 1;
            }
            clean(&self.cloud.client, store, &self.id, keys, listing).await;
        }
    }

    /// What is to be deleted, and whether there may be more.
    fn take(&self) -> (Vec<String>, bool) {
        let mut state = self.state();
        let listing = std::mem::take(&mut state.in_doubt) > 0;
        state.written.clear();
        (std::mem::take(&mut state.keys).into_iter().collect(), listing)
    }
}

impl Drop for LambdaRequest {
    fn drop(&mut self) {
        let (keys, listing) = self.take();
        let (false, Ok(runtime)) = (keys.is_empty() && !listing, tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let (cloud, id) = (Arc::clone(&self.cloud), std::mem::take(&mut self.id));
        runtime.spawn(async move {
            if let Some(store) = &cloud.store {
                clean(&cloud.client, store, &id, keys, listing).await;
            }
        });
    }
}

async fn clean(client: &AwsClient, store: &ObjectStore, id: &str, mut keys: Vec<String>, listing: bool) {
    if listing {
        match client.list_objects(&store.bucket, &request_prefix(store, id), CLEAN_TIME).await {
            Ok(listed) => keys = listed.into_iter().map(|object| object.key).collect(),
            Err(error) => tracing::warn!(request = id, %error, "cannot list what the request left"),
        }
    }
    if let Err(error) = client.delete_objects(&store.bucket, &keys, CLEAN_TIME).await {
        tracing::warn!(request = id, %error, "cannot delete what the request left");
    }
}
