//! A stored request in the double of AWS: what a function does with one, and where it goes on
//! (docs/formats/lambda.md).

use super::{State, add};
use bytes::Bytes;
use tranche_schema::{
    FunctionMetrics, LambdaAsk, LambdaItinerary, Millis, ObjectStore, StoredRequest, Tensor, TensorSpec,
};
use tranche_transport::lambda::{answer_key, claim_key, decode_event, metrics_key, tensor_key};
use tranche_transport::{Frame, FrameLimits, RequestHeader};

pub fn run(
    state: &mut State,
    slice: &str,
    outputs: &[TensorSpec],
    request: &StoredRequest,
    itinerary: Option<&LambdaItinerary>,
) {
    let (store, id) = (&request.store, request.request.as_str());
    let reads: Vec<String> = state.reads[slice].clone();
    let inputs: Vec<Tensor> = reads.iter().map(|name| read(state, store, id, name)).collect();
    for tensor in add(&inputs, outputs) {
        let key = tensor_key(store, id, &tensor.spec.name);
        let frame = Frame { header: RequestHeader::new([0; 16], slice), tensors: vec![tensor] };
        state.objects.insert(key, frame.to_bytes().unwrap());
    }
    let metrics = FunctionMetrics {
        request_id: id.to_owned(),
        slice: slice.to_owned(),
        attempt: request.attempt,
        billed_ms: Millis(0.25),
        ..FunctionMetrics::default()
    };
    state.objects.insert(metrics_key(store, id, slice), serde_json::to_vec(&metrics).unwrap().into());
    let Some(itinerary) = itinerary else { return };
    let there = |state: &State, names: &[String]| {
        names.iter().all(|name| state.objects.contains_key(&tensor_key(store, id, name)))
    };
    let own = |name: &String| outputs.iter().any(|spec| spec.name == *name);
    for stop in &itinerary.stops {
        if !stop.reads.iter().any(own) || !there(state, &stop.reads) {
            continue;
        }
        if state.objects.insert(claim_key(store, id, &stop.slice), Bytes::from_static(b"{}")).is_some() {
            continue;
        }
        let name = stop.function.strip_suffix(":live").unwrap();
        let (next, outputs) = state.functions[name].clone();
        run(state, &next, &outputs, request, Some(itinerary));
    }
    if there(state, &itinerary.outputs) {
        state.objects.insert(answer_key(store, id), Bytes::from_static(b"{\"tranche\": 1}"));
    }
}

/// Writes the failure of a slice as the answer.
pub fn fail(state: &mut State, payload: &Bytes, code: &str, message: &str) {
    let LambdaAsk::RunStored { request, .. } = decode_event(payload).unwrap().ask else { panic!("no event") };
    let failure = serde_json::json!({ "slice": "left", "code": code, "message": message, "hint": "h" });
    let answer = serde_json::json!({ "tranche": 1, "failure": failure }).to_string();
    state.objects.insert(answer_key(&request.store, &request.request), answer.into());
}

fn read(state: &State, store: &ObjectStore, id: &str, name: &str) -> Tensor {
    let bytes = state.objects[&tensor_key(store, id, name)].clone();
    let frame = Frame::parse(bytes, &FrameLimits::default()).unwrap();
    frame.tensors[0].decode(&FrameLimits::default(), None).unwrap()
}
