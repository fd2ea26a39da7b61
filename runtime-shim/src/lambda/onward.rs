//! A stored request's way on: which slices can run now, and that each is invoked by one only.

use futures_util::future::try_join_all;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::HashSet;
use tracing::{debug, info};
use tranche_schema::{
    LAMBDA_EVENT_VERSION, LambdaAsk, LambdaEvent, LambdaItinerary, LambdaStop, StoredRequest,
};
use tranche_serving::Refusal;
use tranche_transport::aws::{AwsError, InvocationKind};
use tranche_transport::lambda::{answer_key, claim_key, encode_event, tensor_key};

use super::Runtime;
use super::event::{Call, unwritable};
use super::store::store_failed;

/// Longest claim that is read.
const MAX_CLAIM_BYTES: u64 = 16 * 1024;

/// Why a stored request does not go on.
pub(super) struct Failure {
    pub(super) refusal: Refusal,
    /// Whether another delivery of the event may help.
    pub(super) passes: bool,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let passes = matches!(refusal.code, "store-failed" | "deadline" | "busy" | "draining");
        Self { refusal, passes }
    }
}

/// Who invokes a stop: Lambda keeps the id of an invocation when it delivers its event again.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    slice: String,
    invocation: String,
}

impl Runtime {
    /// Invokes every stop whose inputs this slice completes, and answers the request if it
    /// completes the model's outputs.
    pub(super) async fn go_on(
        &self,
        call: &Call<'_>,
        request: &StoredRequest,
        itinerary: &LambdaItinerary,
    ) -> Result<(), Failure> {
        let written: HashSet<&str> =
            self.slice.manifest.outputs.iter().map(|output| output.name.as_str()).collect();
        let next = itinerary.stops.iter().filter(|stop| reads_any(&stop.reads, &written));
        let going = next.map(|stop| async {
            if self.are_there(call, request, &stop.reads, &written).await? {
                self.hand_on(call, request, itinerary, stop).await?;
            }
            Ok::<_, Failure>(())
        });
        try_join_all(going).await?;
        let outputs = &itinerary.outputs;
        if reads_any(outputs, &written) && self.are_there(call, request, outputs, &written).await? {
            let answer = json!({ "tranche": LAMBDA_EVENT_VERSION });
            self.finish(call, request, answer).await?;
        }
        Ok(())
    }

    /// Whether these tensors are in the store: those that this slice has `written` are.
    async fn are_there(
        &self,
        call: &Call<'_>,
        request: &StoredRequest,
        names: &[String],
        written: &HashSet<&str>,
    ) -> Result<bool, Failure> {
        let others = names.iter().filter(|name| !written.contains(name.as_str()));
        let keys = others.map(|name| tensor_key(&request.store, &request.request, name));
        Ok(self.store.has_all(&request.store, keys, call.time_left()).await?)
    }

    /// Invokes a stop, unless another slice does.
    async fn hand_on(
        &self,
        call: &Call<'_>,
        request: &StoredRequest,
        itinerary: &LambdaItinerary,
        stop: &LambdaStop,
    ) -> Result<(), Failure> {
        if !self.claims(call, request, stop).await? {
            debug!(stop = stop.slice, "another slice goes on to it");
            return Ok(());
        }
        let event = LambdaEvent {
            tranche: LAMBDA_EVENT_VERSION,
            ask: LambdaAsk::RunStored {
                request: StoredRequest { attempt: 1, ..request.clone() },
                itinerary: Some(without(itinerary, &stop.slice)),
            },
        };
        let payload = encode_event(&event).map_err(|error| unwritable(&error))?;
        let client = self.store.client()?;
        let invoking = client.invoke(&stop.function, None, payload, InvocationKind::Event, call.time_left());
        invoking.await.map_err(|error| hand_off_failed(stop, &error))?;
        info!(stop = stop.slice, "handed on");
        Ok(())
    }

    /// Whether this invocation is the one that invokes a stop: it made the claim, now or in an
    /// earlier delivery that did not see the stop's outputs.
    async fn claims(
        &self,
        call: &Call<'_>,
        request: &StoredRequest,
        stop: &LambdaStop,
    ) -> Result<bool, Failure> {
        let store = &request.store;
        let key = claim_key(store, &request.request, &stop.slice);
        let own =
            Claim { slice: self.slice.manifest.name.clone(), invocation: call.invocation.request_id.clone() };
        let text = serde_json::to_vec(&own).unwrap_or_default();
        if self.store.create(store, &key, text.into(), call.time_left()).await? {
            return Ok(true);
        }
        let client = self.store.client()?;
        let got = client.get_object(&store.bucket, &key, None, MAX_CLAIM_BYTES, call.time_left()).await;
        let found = got.map_err(|error| store_failed(&error))?;
        let found: Option<Claim> = found.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if found.as_ref() != Some(&own) {
            return Ok(false);
        }
        let outputs = stop.writes.iter().map(|name| tensor_key(store, &request.request, name));
        Ok(!self.store.has_all(store, outputs, call.time_left()).await?)
    }

    /// Says how the request ended, if nobody has yet.
    async fn finish(
        &self,
        call: &Call<'_>,
        request: &StoredRequest,
        answer: serde_json::Value,
    ) -> Result<(), Refusal> {
        let key = answer_key(&request.store, &request.request);
        let first =
            self.store.create(&request.store, &key, answer.to_string().into(), call.time_left()).await?;
        debug!(request = request.request, first, "answered");
        Ok(())
    }

    /// Says that the request has failed and that no delivery will change that.
    pub(super) async fn record_failure(
        &self,
        call: &Call<'_>,
        request: &StoredRequest,
        refusal: &Refusal,
    ) -> Result<(), Refusal> {
        let failure = json!({
            "slice": self.slice.manifest.name,
            "code": refusal.code,
            "message": refusal.message,
            "hint": refusal.hint,
        });
        let answer = json!({ "tranche": LAMBDA_EVENT_VERSION, "failure": failure });
        self.finish(call, request, answer).await
    }
}

fn reads_any(names: &[String], written: &HashSet<&str>) -> bool {
    names.iter().any(|name| written.contains(name.as_str()))
}

/// The itinerary without a stop.
fn without(itinerary: &LambdaItinerary, slice: &str) -> LambdaItinerary {
    let mut rest = itinerary.clone();
    rest.stops.retain(|stop| stop.slice != slice);
    rest
}

fn hand_off_failed(stop: &LambdaStop, error: &AwsError) -> Failure {
    let message = format!("cannot hand on to slice `{}`: {error}", stop.slice);
    let refusal = Refusal::new(StatusCode::BAD_GATEWAY, "hand-off-failed", message, error.hint());
    Failure { refusal, passes: error.is_transient() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(slice: &str) -> LambdaStop {
        let function = slice.to_owned();
        LambdaStop { slice: slice.to_owned(), function, reads: vec![], writes: vec![] }
    }

    #[test]
    fn a_stop_is_sent_the_others() {
        let stops = vec![stop("b"), stop("c")];
        let itinerary = LambdaItinerary { stops, outputs: vec!["y".to_owned()], deadline_ms: 0 };
        let rest = without(&itinerary, "c");
        assert_eq!(rest.stops.iter().map(|stop| stop.slice.as_str()).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn what_may_pass_is_delivered_again() {
        let of = |code| Failure::from(Refusal::new(StatusCode::BAD_GATEWAY, code, "", "")).passes;
        assert!(of("store-failed") && of("deadline"));
        assert!(!of("engine-failed") && !of("bad-input") && !of("load-failed"));
    }
}
