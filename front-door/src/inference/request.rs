//! A request: inputs in JSON or behind it, and what is asked for.

use bytes::Bytes;
use hyper::StatusCode;
use serde::Deserialize;
use std::time::Duration;
use tranche_schema::{Deployment, Tensor, TensorSpec};
use tranche_serving::Refusal;

use super::binary::{self, Tail};
use super::json::{self, Head, Input, Output, Parameters};
use super::types::{datatype_of, describe};
use crate::request::{Tensors, bad_input};

/// What a request asks for beside its inputs.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) id: Option<String>,
    pub(super) timeout: Option<Duration>,
    /// Outputs in the order in which they are answered, and whether behind the JSON.
    pub(super) outputs: Vec<(String, bool)>,
}

/// Reads a request whose first `length` bytes, or all, are JSON.
///
/// # Errors
/// 400 that names the tensor; 501 for a tensor of a type that the protocol lacks.
pub(super) fn read(
    body: &Bytes,
    length: Option<usize>,
    deployment: &Deployment,
) -> Result<(Tensors, Asked), Refusal> {
    let length = length.unwrap_or(body.len());
    let Some(text) = body.get(..length) else {
        let message = format!("the body has {} bytes, its JSON {length} by its header", body.len());
        return Err(bad_input(message));
    };
    let head = json::read_head(text).map_err(|error| refuse(&error))?;
    let specs = check_inputs(&head.inputs, deployment)?;
    let elements = read_elements(text, &head.inputs, &specs)?;
    let mut tail = Tail::new(body.slice(length..));
    let mut tensors = Tensors::with_capacity(specs.len());
    for ((input, spec), element) in head.inputs.iter().zip(&specs).zip(elements) {
        let tensor = match (element, input.parameters.binary_data_size) {
            (Some(tensor), _) => tensor,
            (None, Some(size)) => cut(&mut tail, spec, size)?,
            (None, None) => return Err(bad_input(format!("input `{}` has no data", spec.name))),
        };
        tensors.push((spec.name.clone(), tensor));
    }
    if tail.len() > 0 {
        let message = format!("{} bytes of the body belong to no input", tail.len());
        return Err(bad_input(message));
    }
    Ok((tensors, asked(head, deployment)?))
}

/// Reads a body that is the only input's bytes; all outputs are answered behind the JSON (Triton's
/// "raw binary request").
///
/// # Errors
/// As [`read`], and when the model takes several inputs.
pub(super) fn read_raw(body: &Bytes, deployment: &Deployment) -> Result<(Tensors, Asked), Refusal> {
    let [spec] = deployment.inputs.as_slice() else {
        let count = deployment.inputs.len();
        return Err(bad_input(format!("the body has no JSON, and the model takes {count} inputs")));
    };
    let tensor = cut(&mut Tail::new(body.clone()), spec, body.len() as u64)?;
    let outputs = deployment.outputs.iter().map(|spec| (spec.name.clone(), true)).collect();
    Ok((vec![(spec.name.clone(), tensor)], Asked { id: None, timeout: None, outputs }))
}

/// What each input is for the model, which takes exactly these.
fn check_inputs<'a>(inputs: &[Input], deployment: &'a Deployment) -> Result<Vec<&'a TensorSpec>, Refusal> {
    let expected = &deployment.inputs;
    let mut specs: Vec<&TensorSpec> = Vec::with_capacity(expected.len());
    for input in inputs {
        let Input { name, shape, datatype, parameters, data } = input;
        let Some(spec) = expected.iter().find(|spec| spec.name == *name) else {
            let valid: Vec<String> = expected.iter().map(describe).collect();
            let valid = valid.join(", ");
            return Err(bad_input(format!("the model has no input `{name}`; its inputs are {valid}")));
        };
        if specs.iter().any(|given| given.name == *name) {
            return Err(bad_input(format!("input `{name}` is given twice")));
        }
        if datatype != datatype_of(spec)? || *shape != spec.shape {
            let expected = describe(spec);
            let message = format!("input `{name}` is {datatype} {shape:?}, the model takes {expected}");
            return Err(bad_input(message));
        }
        refuse_unknown(name, parameters)?;
        if data.is_some() && parameters.binary_data_size.is_some() {
            return Err(bad_input(format!("input `{name}` has `data` and `binary_data_size`")));
        }
        specs.push(spec);
    }
    match expected.iter().find(|spec| !specs.iter().any(|given| given.name == spec.name)) {
        Some(missing) => Err(bad_input(format!("input {} is missing", describe(missing)))),
        None => Ok(specs),
    }
}

/// Elements of the inputs that are in the JSON, by position.
fn read_elements(
    text: &[u8],
    inputs: &[Input],
    specs: &[&TensorSpec],
) -> Result<Vec<Option<Tensor>>, Refusal> {
    if inputs.iter().all(|input| input.data.is_none()) {
        return Ok(inputs.iter().map(|_| None).collect());
    }
    let expected: Vec<Option<&TensorSpec>> =
        inputs.iter().zip(specs).map(|(input, spec)| input.data.is_some().then_some(*spec)).collect();
    json::read_elements(text, &expected).map_err(|error| refuse(&error))
}

fn cut(tail: &mut Tail, spec: &TensorSpec, size: u64) -> Result<Tensor, Refusal> {
    let found = tail.len();
    let bytes = tail.take(size).ok_or_else(|| {
        let name = &spec.name;
        bad_input(format!("input `{name}` has {size} bytes by its size, {found} are left in the body"))
    })?;
    binary::tensor(spec, bytes).map_err(|reason| bad_input(format!("input `{}`: {reason}", spec.name)))
}

fn asked(head: Head, deployment: &Deployment) -> Result<Asked, Refusal> {
    let parameters = head.parameters.unwrap_or_default();
    let binary = parameters.binary_data_output.unwrap_or(false);
    for spec in &deployment.outputs {
        datatype_of(spec)?;
    }
    let every = || deployment.outputs.iter().map(|spec| (spec.name.clone(), binary)).collect();
    let mut outputs: Vec<(String, bool)> = Vec::with_capacity(head.outputs.len());
    for Output { name, parameters } in head.outputs {
        if !deployment.outputs.iter().any(|spec| spec.name == name) {
            let valid: Vec<String> = deployment.outputs.iter().map(describe).collect();
            let valid = valid.join(", ");
            return Err(bad_input(format!("the model has no output `{name}`; its outputs are {valid}")));
        }
        if outputs.iter().any(|(asked, _)| *asked == name) {
            return Err(bad_input(format!("output `{name}` is asked for twice")));
        }
        refuse_unknown(&name, &parameters)?;
        outputs.push((name, parameters.binary_data.unwrap_or(binary)));
    }
    let outputs = if outputs.is_empty() { every() } else { outputs };
    let timeout = parameters.timeout.filter(|&time| time > 0).map(Duration::from_micros);
    Ok(Asked { id: head.id, timeout, outputs })
}

/// Extensions that would change the answer are not passed over.
fn refuse_unknown(name: &str, parameters: &Parameters) -> Result<(), Refusal> {
    let unknown = if parameters.shared_memory_region.is_some() {
        "shared_memory_region"
    } else if parameters.classification.is_some_and(|count| count > 0) {
        "classification"
    } else {
        return Ok(());
    };
    Err(Refusal::new(
        StatusCode::NOT_IMPLEMENTED,
        "unknown-parameter",
        format!("`{name}` has the parameter `{unknown}`, which is not served here"),
        "send and receive the tensor itself",
    ))
}

fn refuse(error: &serde_json::Error) -> Refusal {
    if error.is_data() {
        return bad_input(error.to_string());
    }
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "bad-json",
        format!("the request is no JSON: {error}"),
        "send an inference request of the Open Inference Protocol",
    )
}

/// Whether the body of a request for the repository's index asks for ready models only.
///
/// # Errors
/// 400 for what is no JSON object.
pub(super) fn wants_ready_only(body: &[u8]) -> Result<bool, Refusal> {
    #[derive(Deserialize)]
    struct Index {
        #[serde(default)]
        ready: bool,
    }
    if body.trim_ascii().is_empty() {
        return Ok(false);
    }
    serde_json::from_slice::<Index>(body).map(|index| index.ready).map_err(|error| refuse(&error))
}
