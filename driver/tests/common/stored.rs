//! A stored request in the double of AWS: what a function does with one, and where it goes on.

use super::aws::{State, add};
use bytes::Bytes;
use tranche_schema::{LambdaItinerary, StoredRequest, TensorSpec};

pub fn run(
    _state: &mut State,
    _slice: &str,
    _outputs: &[TensorSpec],
    _request: StoredRequest,
    _itinerary: Option<LambdaItinerary>,
) -> Result<Bytes, (&'static str, &'static str)> {
    let _ = add;
    Err(("tranche.bad-event", "not yet"))
}
