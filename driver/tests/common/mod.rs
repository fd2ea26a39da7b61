//! Deployments of functions over tensors of four float32.
#![allow(dead_code, reason = "each test file uses its part")]

use tranche_schema::{
    Address, ByteCount, Channel, Codec, DeployedFunction, Deployment, Digest, Document as _, Edge,
    ElementType, FunctionSize, GibSeconds, LimitsEnforced, MilliCpu, Millis, SlicePrediction, TensorSpec,
};

pub mod server;

pub fn spec(name: &str, shape: &[u64]) -> TensorSpec {
    TensorSpec { name: name.to_owned(), element_type: ElementType::Float32, shape: shape.to_vec() }
}

/// Functions as name, names of inputs, names of outputs. Addresses lead nowhere.
pub fn deployment(
    inputs: &[String],
    outputs: &[String],
    functions: &[(String, Vec<String>, Vec<String>)],
) -> Deployment {
    let specs = |names: &[String]| names.iter().map(|name| spec(name, &[4])).collect::<Vec<_>>();
    Deployment {
        header: Deployment::header(),
        name: "test".into(),
        target: "local".into(),
        bundle_digest: Digest::of(b"bundle"),
        bundle: "bundle".into(),
        engine: "tract".into(),
        inputs: specs(inputs),
        outputs: specs(outputs),
        functions: functions
            .iter()
            .map(|(slice, inputs, outputs)| DeployedFunction {
                slice: slice.clone(),
                address: Address::Unix { path: "/nowhere".into() },
                size: FunctionSize { memory_bytes: ByteCount::mebibytes(512), cpu_milli: MilliCpu(500) },
                limits: LimitsEnforced { memory: true, cpu: true },
                inputs: specs(inputs),
                outputs: specs(outputs),
                prediction: SlicePrediction {
                    run_ms: Millis(8.0),
                    handoff_ms: Millis(2.0),
                    billed_ms: Millis(10.0),
                    memory_time: GibSeconds(0.005),
                    ..SlicePrediction::default()
                },
            })
            .collect(),
        edges: inputs
            .iter()
            .map(|name| Edge {
                tensor: spec(name, &[4]),
                from: None,
                to: Vec::new(),
                to_caller: false,
                codec: Codec::Raw,
                channel: Channel::Inline,
            })
            .collect(),
        local: None,
        openfaas: None,
        lambda: None,
    }
}
