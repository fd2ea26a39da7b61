//! What hand-off takes on this machine: functions that do nothing, deployed and called.
//!
//! Six functions stand in a row. Each makes a tensor of another size out of the one it gets,
//! or passes it on, so that one thing is asked of each beyond what is asked of the last:
//!
//! | function | gets | gives | billed beyond its run |
//! |---|---|---|---|
//! | 0 | small, inline | large, inline | request + send inline |
//! | 1 | large, inline | small, inline | request + receive inline |
//! | 2 | small, inline | large, mapped | request + file + send mapped |
//! | 3 | large, mapped | small, mapped | request + 2 files + receive mapped |
//! | 4 | small, mapped | small, inline | request + file |
//! | 5 | small, inline | small, inline | request |
//!
//! The differences are the parts, none below 0. An inline tensor also takes its time between
//! function and driver, which is not billed here; it is counted with sending and receiving,
//! so that a mapped file, which takes none, is preferred where a request is faster with it.
//! The driver's own time for a slice is what a request took beyond all that.

use crate::calls;
use crate::deployments::{self, Deployed};
use crate::failure::Failure;
use crate::pipeline::Walk;
use std::collections::BTreeMap;
use tranche_graph::onnx::tensor_shape_proto::{Dimension, dimension};
use tranche_graph::onnx::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};
use tranche_graph::{Graph, Model};
use tranche_schema::{
    Bill, ByteCount, Channel, Codec, Constraints, Digest, Document as _, Edge, ElementType, Frontier,
    FunctionSize, LinkProfile, MilliCpu, Millis, ModelIdentity, Plan, PlanPrediction, PlanPricing,
    PlanWorkload, SlicePlan, SlicePrediction, Tensor, TensorSpec,
};

/// Elements of a small tensor: a kibibyte.
const SMALL: u64 = 256;
/// So many small ones are a large one: 4 MiB.
const TIMES: u64 = 4096;
/// Mebibytes of a large tensor.
const LARGE_MEBIBYTES: f64 = 4.0;
/// Calls whose median is taken.
const CALLS: u32 = 9;

/// Operator of each function, the tensor it gives, and how that travels.
const CHAIN: [(&str, &str, Channel); 6] = [
    ("Tile", "a", Channel::Inline),
    ("Slice", "b", Channel::Inline),
    ("Tile", "c", Channel::MappedFile),
    ("Slice", "d", Channel::MappedFile),
    ("Identity", "e", Channel::Inline),
    ("Identity", "f", Channel::Inline),
];

impl Walk<'_> {
    /// Measures hand-off; says why where it cannot.
    pub(crate) fn link(&self) -> Option<LinkProfile> {
        match self.measure_link() {
            Ok(link) => Some(link),
            Err(failure) => {
                let printer = &self.context.printer;
                printer.warning(&format!("hand-off is estimated, not measured: {}", failure.message));
                None
            }
        }
    }

    fn measure_link(&self) -> Result<LinkProfile, Failure> {
        let graph = Graph::from_model(model())?;
        let identity = ModelIdentity { name: "hand-off".to_owned(), digest: graph.model().digest()? };
        let folder = tempfile::tempdir()
            .map_err(|error| Failure::usage(format!("cannot make a temporary folder: {error}")))?;
        let bundle = folder.path().join("bundle");
        let plan = plan(&identity, &self.settings.engine);
        tranche_packager::package(&graph, &identity, &plan, &bundle, env!("CARGO_PKG_VERSION"))?;
        let name = deployments::name_for(&format!("hand-off-{}", std::process::id()));
        let deployed = Deployed::start_unverified(self.context, self.settings, &bundle, &name)?;
        let input = Tensor::from_f32(vec![1, SMALL], &[0.5; SMALL as usize])
            .map_err(|error| Failure::bug(format!("a tensor for measuring: {error}")))?;
        let inputs = [(spec("x"), input)];
        let bills = calls::bills(deployed.deployment().clone(), &inputs, CALLS, self.settings.deadline());
        deployed.end(false)?;
        let bill = tranche_driver::median(&bills?);
        bill.as_ref().and_then(parts).ok_or_else(|| Failure::bug("a bill lacks slices"))
    }
}

/// The parts of hand-off by the bill of the chain.
fn parts(bill: &Bill) -> Option<LinkProfile> {
    let beyond: Vec<f64> = bill
        .slices
        .iter()
        .map(|slice| (slice.measured.billed_ms.0 - slice.measured.run_ms.0).max(0.0))
        .collect();
    let &[send, receive, send_mapped, receive_mapped, file, request] = beyond.as_slice() else {
        return None;
    };
    let more = |value: f64| value.max(0.0);
    let file = more(file - request);
    let each = |value: f64| Millis(more(value) / LARGE_MEBIBYTES);
    let on_the_way = |index: usize| bill.slices[index].transport_ms.0;
    let least = f64::midpoint(on_the_way(4), on_the_way(5));
    let walked: f64 = bill.slices.iter().map(|slice| slice.measured.billed_ms.0 + slice.transport_ms.0).sum();
    let own = more(bill.latency_ms.0 - walked) / beyond.len() as f64;
    Some(LinkProfile {
        per_request_ms: Millis(request),
        driver_ms: Millis(own + least),
        inline_send_ms_per_mib: each(send - request + more(on_the_way(0) - least)),
        inline_receive_ms_per_mib: each(receive - request + more(on_the_way(1) - least)),
        mapped_fixed_ms: Millis(file),
        mapped_send_ms_per_mib: each(send_mapped - request - file),
        mapped_receive_ms_per_mib: each(receive_mapped - request - 2.0 * file),
    })
}

/// Type and shape of a tensor of the chain.
fn spec(name: &str) -> TensorSpec {
    let rows = if matches!(name, "a" | "c") { TIMES } else { 1 };
    TensorSpec { name: name.to_owned(), element_type: ElementType::Float32, shape: vec![rows, SMALL] }
}

/// The tensor that a function of the chain gets.
fn input_of(index: usize) -> &'static str {
    index.checked_sub(1).map_or("x", |before| CHAIN[before].1)
}

fn model() -> Model {
    let integers = |name: &str, values: &[i64]| TensorProto {
        name: Some(name.to_owned()),
        dims: vec![values.len() as i64],
        data_type: Some(ElementType::Int64.to_onnx()),
        int64_data: values.to_vec(),
        ..TensorProto::default()
    };
    let node = |(index, (operator, output, _)): (usize, &(&str, &str, Channel))| {
        let further: &[&str] = match *operator {
            "Tile" => &["repeats"],
            "Slice" => &["zero", "one", "zero"],
            _ => &[],
        };
        NodeProto {
            name: Some(format!("node-{index}")),
            op_type: Some((*operator).to_owned()),
            input: std::iter::once(&input_of(index)).chain(further).map(|&name| name.to_owned()).collect(),
            output: vec![(*output).to_owned()],
            ..NodeProto::default()
        }
    };
    let graph = GraphProto {
        name: Some("hand-off".to_owned()),
        node: CHAIN.iter().enumerate().map(node).collect(),
        initializer: vec![
            integers("repeats", &[TIMES as i64, 1]),
            integers("zero", &[0]),
            integers("one", &[1]),
        ],
        input: vec![value_info("x")],
        output: vec![value_info("f")],
        ..GraphProto::default()
    };
    Model::from_proto(ModelProto {
        ir_version: Some(8),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(18) }],
        ..ModelProto::default()
    })
}

fn value_info(name: &str) -> ValueInfoProto {
    let extent = |&extent: &u64| Dimension {
        value: Some(dimension::Value::DimValue(extent as i64)),
        ..Dimension::default()
    };
    let spec = spec(name);
    let tensor = type_proto::Tensor {
        elem_type: Some(spec.element_type.to_onnx()),
        shape: Some(TensorShapeProto { dim: spec.shape.iter().map(extent).collect() }),
    };
    ValueInfoProto {
        name: Some(spec.name),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

fn plan(identity: &ModelIdentity, engine: &str) -> Plan {
    let name = |index: usize| format!("slice-{index}");
    let slice = |index: usize| SlicePlan {
        name: name(index),
        layers: vec![format!("node-{index}")],
        nodes: vec![format!("node-{index}")],
        inputs: vec![spec(input_of(index))],
        outputs: vec![spec(CHAIN[index].1)],
        size: FunctionSize { memory_bytes: ByteCount::mebibytes(256), cpu_milli: MilliCpu(1000) },
        threads: 1,
        members: Vec::new(),
        prediction: SlicePrediction::default(),
        reason: "hand-off is measured".to_owned(),
        without_cut: None,
    };
    let edge = |(index, (_, tensor, channel)): (usize, &(&str, &str, Channel))| {
        let last = index + 1 == CHAIN.len();
        Edge {
            tensor: spec(tensor),
            from: Some(name(index)),
            to: if last { Vec::new() } else { vec![name(index + 1)] },
            to_caller: last,
            codec: Codec::Raw,
            channel: *channel,
        }
    };
    let first = Edge {
        tensor: spec("x"),
        from: None,
        to: vec![name(0)],
        to_caller: false,
        codec: Codec::Raw,
        channel: Channel::Inline,
    };
    Plan {
        header: Plan::header(),
        model: identity.clone(),
        profile_digest: Digest::of(b""),
        dimensions: BTreeMap::new(),
        strategy: "manual".to_owned(),
        engine: engine.to_owned(),
        constraints: Constraints::default(),
        inputs: vec![spec("x")],
        outputs: vec![spec("f")],
        slices: (0..CHAIN.len()).map(slice).collect(),
        edges: std::iter::once(first).chain(CHAIN.iter().enumerate().map(edge)).collect(),
        splits: Vec::new(),
        patch: None,
        prediction: PlanPrediction::default(),
        pricing: PlanPricing::default(),
        workload: PlanWorkload::default(),
        order: "graph".to_owned(),
        frontier: Frontier::default(),
        residual: None,
        notes: Vec::new(),
    }
}
