//! Rules of the tensors that pass between functions.

use super::{Findings, Surroundings};
use crate::lambda::FunctionDescription;
use crate::lambda::limits::{PAYLOAD_TENSOR_BYTES, STREAM_BYTES, STREAM_BYTES_PER_S};
use tranche_schema::{ByteCount, Codec, Edge, Manifest, SliceManifest};

/// A streamed answer that takes longer than this is worth a word, in seconds.
const SLOW_STREAM_S: u64 = 5;

pub(super) fn check(
    functions: &[FunctionDescription],
    manifest: &Manifest,
    surroundings: &Surroundings,
    findings: &mut Findings,
) {
    let by_reference = surroundings.state_machine || surroundings.continuation;
    if by_reference && !surroundings.store {
        findings.error(
            "requests that are walked within AWS pass tensors through an object store, and there is none"
                .to_owned(),
            "name a bucket for tensors, or let the driver walk requests",
        );
    }
    if surroundings.store {
        return;
    }
    let name =
        |slice: &str| functions.iter().find(|function| function.slice == slice).map(|f| f.name.clone());
    for edge in &manifest.edges {
        findings.function = edge.from.as_deref().or(edge.to.first().map(String::as_str)).and_then(name);
        if edge.to.is_empty() {
            check_answer(edge, findings);
        } else {
            check_edge(edge, findings);
        }
    }
    for slice in &manifest.slices {
        findings.function = name(&slice.name);
        check_inputs(slice, manifest, findings);
    }
    findings.function = None;
}

/// A tensor that goes into some function's request.
fn check_edge(edge: &Edge, findings: &mut Findings) {
    let bytes = bytes(edge);
    if bytes <= PAYLOAD_TENSOR_BYTES {
        return;
    }
    let from = edge.from.as_deref().unwrap_or("the caller");
    let message = format!(
        "edge `{}` from {from} to {} has {}, a payload takes {} of tensors, and there is no object store",
        edge.tensor.name,
        edge.to.join(", "),
        ByteCount(bytes),
        ByteCount(PAYLOAD_TENSOR_BYTES)
    );
    match edge.codec {
        Codec::Raw => findings.error(message, "name a bucket for tensors, or cut elsewhere"),
        _ => findings.warning(
            format!("{message}: it passes only where it compresses to that"),
            "name a bucket for tensors, or cut elsewhere",
        ),
    }
}

/// A tensor that only the caller reads: functions stream it.
fn check_answer(edge: &Edge, findings: &mut Findings) {
    let bytes = bytes(edge);
    let of = format!("the answer's `{}` has {}", edge.tensor.name, ByteCount(bytes));
    if bytes > STREAM_BYTES {
        findings.error(
            format!(
                "{of}, a streamed answer takes {}, and there is no object store",
                ByteCount(STREAM_BYTES)
            ),
            "name a bucket for tensors",
        );
    } else if bytes > PAYLOAD_TENSOR_BYTES {
        let seconds = (bytes - PAYLOAD_TENSOR_BYTES) / STREAM_BYTES_PER_S;
        if seconds >= SLOW_STREAM_S {
            findings.warning(
                format!(
                    "{of}: beyond {} an answer is streamed at {} a second, {seconds} s which are billed",
                    ByteCount(PAYLOAD_TENSOR_BYTES),
                    ByteCount(STREAM_BYTES_PER_S)
                ),
                "name a bucket for tensors",
            );
        }
    }
}

/// Tensors that pass alone, but not together.
fn check_inputs(slice: &SliceManifest, manifest: &Manifest, findings: &mut Findings) {
    let read = |edge: &&Edge| edge.to.contains(&slice.name);
    let sizes: Vec<u64> = manifest.edges.iter().filter(read).map(bytes).collect();
    let sum = sizes.iter().fold(0, |sum: u64, &bytes| sum.saturating_add(bytes));
    let is_alone = sizes.iter().any(|&bytes| bytes > PAYLOAD_TENSOR_BYTES);
    if sum > PAYLOAD_TENSOR_BYTES && !is_alone {
        let message = format!(
            "the {} inputs of slice `{}` have {} together, a payload takes {} of tensors, and there is no object store",
            sizes.len(),
            slice.name,
            ByteCount(sum),
            ByteCount(PAYLOAD_TENSOR_BYTES)
        );
        let is_raw = manifest.edges.iter().filter(read).all(|edge| edge.codec == Codec::Raw);
        let hint = "name a bucket for tensors, or cut elsewhere";
        if is_raw { findings.error(message, hint) } else { findings.warning(message, hint) }
    }
}

/// Bytes of an edge's tensor as it is; more than any, where that has no number.
fn bytes(edge: &Edge) -> u64 {
    edge.tensor.element_type.byte_size(&edge.tensor.shape).unwrap_or(u64::MAX)
}
