//! What the door says of itself and of its models.

use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tranche_schema::{Deployment, TensorSpec};
use tranche_serving::Refusal;

use super::types::datatype_of;
use crate::door::{Door, Model};

/// The version of every model: a deployment has one at a time.
pub(super) const VERSION: &str = "1";
/// Names of extensions are Triton's.
const EXTENSIONS: [&str; 4] = ["binary_tensor_data", "model_configuration", "model_repository", "statistics"];

pub(super) fn server() -> Value {
    json!({ "name": "tranche", "version": env!("CARGO_PKG_VERSION"), "extensions": EXTENSIONS })
}

pub(super) fn is_ready(model: &Model) -> bool {
    model.ready.load(Ordering::Relaxed)
}

/// # Errors
/// As [`datatype_of`].
pub(super) fn model(deployment: &Deployment) -> Result<Value, Refusal> {
    let tensors = |specs: &[TensorSpec]| {
        let tensor = |spec: &TensorSpec| {
            Ok(json!({ "name": spec.name, "datatype": datatype_of(spec)?, "shape": spec.shape }))
        };
        specs.iter().map(tensor).collect::<Result<Vec<_>, Refusal>>()
    };
    Ok(json!({
        "name": deployment.name,
        "versions": [VERSION],
        "platform": platform(deployment),
        "inputs": tensors(&deployment.inputs)?,
        "outputs": tensors(&deployment.outputs)?,
    }))
}

/// `PROJECT_FORMAT`, as the protocol has platforms.
fn platform(deployment: &Deployment) -> String {
    format!("{}_onnx", deployment.engine)
}

/// What of Triton's model configuration there is: shapes are whole, nothing is batched.
///
/// # Errors
/// As [`datatype_of`].
pub(super) fn config(deployment: &Deployment) -> Result<Value, Refusal> {
    let tensors = |specs: &[TensorSpec]| {
        let tensor = |spec: &TensorSpec| {
            let name = match datatype_of(spec)? {
                "BYTES" => "STRING",
                name => name,
            };
            Ok(json!({ "name": spec.name, "data_type": format!("TYPE_{name}"), "dims": spec.shape }))
        };
        specs.iter().map(tensor).collect::<Result<Vec<_>, Refusal>>()
    };
    Ok(json!({
        "name": deployment.name,
        "platform": platform(deployment),
        "backend": deployment.engine,
        "max_batch_size": 0,
        "input": tensors(&deployment.inputs)?,
        "output": tensors(&deployment.outputs)?,
    }))
}

pub(super) fn stats(models: &[Arc<Model>]) -> Value {
    let each = models.iter().map(|model| {
        let mut told = json!({ "name": model.deployment().name, "version": VERSION });
        if let (Value::Object(told), Value::Object(counts)) = (&mut told, model.stats.tell()) {
            told.extend(counts);
        }
        told
    });
    json!({ "model_stats": each.collect::<Vec<_>>() })
}

pub(super) fn index(door: &Door, ready_only: bool) -> Value {
    let models = door.models();
    let shown = models.iter().filter(|model| !ready_only || is_ready(model));
    shown
        .map(|model| {
            let (state, reason) =
                if is_ready(model) { ("READY", "") } else { ("UNAVAILABLE", "its functions are starting") };
            json!({ "name": model.deployment().name, "version": VERSION, "state": state, "reason": reason })
        })
        .collect()
}
