use crate::arguments::InspectArguments;
use crate::context::{Context, open_engine};
use crate::failure::Failure;
use crate::prepare::{Prepared, prepare};
use crate::table;
use serde::Serialize;
use tranche_graph::order::cut_tensors;
use tranche_schema::{ByteCount, Digest, ElementType, TensorSpec};

#[derive(Serialize)]
struct Inspection {
    name: String,
    digest: Digest,
    nodes: usize,
    folded_nodes: usize,
    weights_bytes: ByteCount,
    inputs: Vec<TensorSpec>,
    outputs: Vec<String>,
    layers: Vec<LayerLine>,
    single_tensor_cuts: usize,
}

#[derive(Serialize)]
struct LayerLine {
    name: String,
    kind: String,
    nodes: usize,
    weights_bytes: ByteCount,
    /// Tensors that cross the border after this layer.
    cut: Vec<String>,
}

pub fn run(context: &Context, arguments: &InspectArguments) -> Result<(), Failure> {
    let settings = context.settings(&[])?;
    let engine = open_engine(&settings)?;
    let prepared = prepare(&arguments.model, &settings, &*engine, &context.printer)?;
    if arguments.graph {
        return context.printer.text("graph", &prepared.graph.to_string());
    }
    if arguments.dot {
        let clusters: Vec<_> =
            prepared.layers.iter().map(|layer| (layer.name.clone(), layer.nodes.clone())).collect();
        return context.printer.text("dot", &prepared.graph.to_dot(Some(&clusters)));
    }
    let inspection = inspect(&prepared);
    context.printer.result(&inspection, || render(&inspection))
}

fn inspect(prepared: &Prepared) -> Inspection {
    let graph = &prepared.graph;
    let weight = |id: &tranche_graph::TensorId| {
        graph.initializer(*id).map_or(0, |tensor| {
            let shape: Vec<u64> = tensor.dims.iter().map(|&extent| extent.max(0) as u64).collect();
            ElementType::from_onnx(tensor.data_type()).and_then(|kind| kind.byte_size(&shape)).unwrap_or(0)
        })
    };
    let layers: Vec<LayerLine> = prepared
        .layers
        .iter()
        .enumerate()
        .map(|(position, layer)| LayerLine {
            name: layer.name.clone(),
            kind: layer.kind.clone(),
            nodes: layer.nodes.len(),
            weights_bytes: ByteCount(layer.weights.iter().map(weight).sum()),
            cut: cut_tensors(graph, &prepared.layers, position)
                .into_iter()
                .map(|id| graph.tensor(id).name.clone())
                .collect(),
        })
        .collect();
    let all: std::collections::BTreeSet<_> =
        prepared.layers.iter().flat_map(|layer| layer.weights.iter().copied()).collect();
    Inspection {
        name: prepared.identity.name.clone(),
        digest: prepared.identity.digest.clone(),
        nodes: graph.nodes().len(),
        folded_nodes: prepared.folded.removed_nodes.len(),
        weights_bytes: ByteCount(all.iter().map(weight).sum()),
        inputs: prepared.inputs.iter().map(|(spec, _)| spec.clone()).collect(),
        outputs: graph.outputs().iter().map(|&id| graph.tensor(id).name.clone()).collect(),
        single_tensor_cuts: layers.iter().filter(|layer| layer.cut.len() == 1).count(),
        layers,
    }
}

fn render(inspection: &Inspection) -> String {
    let rows: Vec<Vec<String>> = inspection
        .layers
        .iter()
        .enumerate()
        .map(|(index, layer)| {
            vec![
                index.to_string(),
                layer.name.clone(),
                layer.kind.clone(),
                layer.nodes.to_string(),
                layer.weights_bytes.to_string(),
                match layer.cut.as_slice() {
                    [] => String::new(),
                    [one] => one.clone(),
                    [first, rest @ ..] => format!("{first} and {} more", rest.len()),
                },
            ]
        })
        .collect();
    let inputs: Vec<String> = inspection
        .inputs
        .iter()
        .map(|input| format!("{}: {}{:?}", input.name, input.element_type, input.shape))
        .collect();
    format!(
        "{}  {}\ninputs   {}\noutputs  {}\nweights  {}\nnodes    {} ({} folded away)\nlayers   {} ({} borders cut a single tensor)\n\n{}",
        inspection.name,
        inspection.digest.short(),
        inputs.join("\n         "),
        inspection.outputs.join("\n         "),
        inspection.weights_bytes,
        inspection.nodes,
        inspection.folded_nodes,
        inspection.layers.len(),
        inspection.single_tensor_cuts,
        table::render(
            &["#", "layer", "kind", "nodes", "weights", "cut after it"],
            &rows,
            &["layer", "kind", "cut after it"]
        )
    )
}
