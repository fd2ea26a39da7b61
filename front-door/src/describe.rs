//! What the front door says of itself.

use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use tranche_schema::TensorSpec;
use tranche_serving::Phase;

use crate::door::{Door, Model};

/// The body of health and readiness.
pub(crate) fn state(door: &Door) -> Value {
    let state = match *door.phase.borrow() {
        Phase::Leaving | Phase::Draining => "draining",
        Phase::Serving if door.is_ready() => "ready",
        Phase::Serving => "warming",
    };
    json!({
        "state": state,
        "version": env!("CARGO_PKG_VERSION"),
        "in_flight": door.count_in_flight(),
        "answered": door.answered.load(Ordering::Relaxed),
    })
}

/// A model's inputs and outputs, and what answers for it.
pub(crate) fn model(model: &Model) -> Value {
    let deployment = model.deployment();
    let tensors = |specs: &[TensorSpec]| -> Value {
        let each = specs.iter().map(|spec| {
            json!({ "name": spec.name, "element_type": spec.element_type.name(), "shape": spec.shape })
        });
        each.collect()
    };
    json!({
        "deployment": deployment.name,
        "engine": deployment.engine,
        "target": deployment.target,
        "slices": deployment.functions.iter().map(|function| &function.slice).collect::<Vec<_>>(),
        "ready": model.ready.load(Ordering::Relaxed),
        "inputs": tensors(&deployment.inputs),
        "outputs": tensors(&deployment.outputs),
    })
}

/// Every model served, by name.
pub(crate) fn models(door: &Door) -> Value {
    json!({ "deployments": door.models().iter().map(|served| model(served)).collect::<Vec<_>>() })
}
