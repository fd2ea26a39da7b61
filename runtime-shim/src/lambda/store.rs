//! Objects that tensors lie in.

use bytes::Bytes;
use futures_util::future::try_join_all;
use hyper::StatusCode;
use std::sync::OnceLock;
use std::time::Duration;
use tranche_schema::ObjectStore;
use tranche_serving::Refusal;
use tranche_transport::aws::{AwsClient, AwsConfig, AwsError, PutCondition, PutOutcome};
use tranche_transport::lambda::{object_uri, parse_object_uri};
use tranche_transport::{Frame, ObjectReference, Payload};

use crate::answer::bad_input;

/// Makes the client of Lambda and S3, from the environment outside of tests.
pub type AwsOpener = Box<dyn Fn() -> Result<AwsClient, AwsError> + Send + Sync>;

pub(crate) fn from_environment() -> AwsOpener {
    Box::new(|| AwsClient::new(AwsConfig::from_environment()?))
}

/// The client, once it was needed: most requests do not.
pub(super) struct Store {
    opener: AwsOpener,
    client: OnceLock<AwsClient>,
}

impl Store {
    pub(super) fn new(opener: AwsOpener) -> Self {
        Self { opener, client: OnceLock::new() }
    }

    pub(super) fn client(&self) -> Result<&AwsClient, Refusal> {
        match self.client.get() {
            Some(client) => Ok(client),
            None => {
                let client = (self.opener)().map_err(|error| store_failed(&error))?;
                Ok(self.client.get_or_init(|| client))
            }
        }
    }

    /// Puts what object references name into the frame.
    pub(super) async fn fetch(&self, frame: &mut Frame, time: Duration) -> Result<(), Refusal> {
        let fetching = frame.tensors.iter_mut().filter_map(|tensor| {
            let Payload::Object(object) = &tensor.payload else { return None };
            let object = object.clone();
            Some(async move {
                let bytes = self.get(&tensor.spec.name, &object, tensor.coded_bytes, time).await?;
                tensor.payload = Payload::Inline(bytes);
                Ok::<_, Refusal>(())
            })
        });
        try_join_all(fetching).await.map(|_| ())
    }

    async fn get(
        &self,
        tensor: &str,
        object: &ObjectReference,
        bytes: u64,
        time: Duration,
    ) -> Result<Bytes, Refusal> {
        let Some((bucket, key)) = parse_object_uri(&object.uri) else {
            return Err(bad_input(format!("input `{tensor}` lies at {}, which is no object", object.uri)));
        };
        let got = self.client()?.get_object(bucket, key, Some(&object.etag), bytes, time).await;
        let missing = || bad_input(format!("input `{tensor}` lies at {}, which is not there", object.uri));
        got.map_err(|error| store_failed(&error))?.ok_or_else(missing)
    }

    /// Writes an object, whatever is there.
    pub(super) async fn put(
        &self,
        bucket: &str,
        key: &str,
        bytes: Bytes,
        time: Duration,
    ) -> Result<ObjectReference, Refusal> {
        match self.client()?.put_object(bucket, key, bytes, PutCondition::Any, time).await {
            Ok(PutOutcome::Written { etag }) => Ok(ObjectReference { uri: object_uri(bucket, key), etag }),
            Ok(PutOutcome::Exists) => {
                Ok(ObjectReference { uri: object_uri(bucket, key), etag: String::new() })
            }
            Err(error) => Err(store_failed(&error)),
        }
    }

    /// Creates an object; whether it was this call that did.
    pub(super) async fn create(
        &self,
        store: &ObjectStore,
        key: &str,
        bytes: Bytes,
        time: Duration,
    ) -> Result<bool, Refusal> {
        let put = self.client()?.put_object(&store.bucket, key, bytes, PutCondition::IfAbsent, time).await;
        Ok(matches!(put.map_err(|error| store_failed(&error))?, PutOutcome::Written { .. }))
    }

    /// Whether all these objects are there.
    pub(super) async fn has_all(
        &self,
        store: &ObjectStore,
        keys: impl IntoIterator<Item = String>,
        time: Duration,
    ) -> Result<bool, Refusal> {
        let client = self.client()?;
        let looking = keys.into_iter().map(|key| async move {
            client.head_object(&store.bucket, &key, time).await.map(|found| found.is_some())
        });
        let found = try_join_all(looking).await.map_err(|error| store_failed(&error))?;
        Ok(found.into_iter().all(|found| found))
    }
}

pub(super) fn store_failed(error: &AwsError) -> Refusal {
    Refusal::new(StatusCode::BAD_GATEWAY, "store-failed", error.to_string(), error.hint())
}
