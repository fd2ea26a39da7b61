//! A slice that is several models.

use crate::PackageError;
use crate::bundle::{MODEL_FOLDER, Saved, in_order_of, save_slice};
use crate::replace::write_file;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tranche_graph::{Graph, NodeId};
use tranche_schema::{
    ByteCount, Digest, Document as _, Ensemble, EnsembleMember, FileEntry, MemberPlan, SlicePlan, TensorSpec,
};

/// Writes each member's model and the ensemble that names them.
///
/// # Errors
/// When the members are not the slice's nodes, each in one, or read and write other tensors than
/// the plan says; when a file cannot be written.
pub(crate) fn save(
    graph: &Graph,
    slice: &SlicePlan,
    members: &[MemberPlan],
    nodes: &[NodeId],
    folder: &Path,
    files: &mut BTreeMap<String, FileEntry>,
) -> Result<Saved, PackageError> {
    let specs: BTreeMap<String, TensorSpec> = members
        .iter()
        .flat_map(|member| member.inputs.iter().chain(&member.outputs))
        .map(|spec| (spec.name.clone(), spec.clone()))
        .collect();
    let mut left: BTreeSet<NodeId> = nodes.iter().copied().collect();
    let mut ensemble = Ensemble { header: Ensemble::header(), members: Vec::with_capacity(members.len()) };
    let mut saved = Saved { model: String::new(), weights: Vec::new(), members: Vec::new() };
    for (place, member) in members.iter().enumerate() {
        let name = format!("{}.{place}", slice.name);
        let own = own_nodes(graph, &name, member, &mut left)?;
        let wrap = |source| PackageError::Slice { slice: name.clone(), source };
        let part = graph.extract_with(&own, &name, &specs).map_err(wrap)?;
        let inputs = in_order_of("reads", &name, &member.inputs, &part.inputs)?;
        let outputs = in_order_of("writes", &name, &member.outputs, &part.outputs)?;
        let (model, weights) = save_slice(&part, &name, folder, files).map_err(wrap)?;
        let beside = model.rsplit('/').next().unwrap_or(&model).to_owned();
        ensemble.members.push(EnsembleMember { model: beside, inputs, outputs, threads: member.threads });
        saved.members.push(model);
        saved
            .weights
            .extend(weights.into_iter().filter(|path| !saved.weights.contains(path)).collect::<Vec<_>>());
    }
    if let Some(&node) = left.first() {
        let node = &graph.node(node).name;
        return Err(PackageError::InvalidPlan(format!("node `{node}` is in no member of `{}`", slice.name)));
    }
    saved.model = format!("{MODEL_FOLDER}/{}{}", slice.name, Ensemble::SUFFIX);
    let text = ensemble.to_json()?;
    write_file(&folder.join(&saved.model), text.as_bytes())?;
    let entry = FileEntry {
        path: saved.model.clone(),
        bytes: ByteCount(text.len() as u64),
        digest: Digest::of(text.as_bytes()),
    };
    files.insert(saved.model.clone(), entry);
    Ok(saved)
}

/// A member's nodes, taken from those of the slice that are left.
fn own_nodes(
    graph: &Graph,
    name: &str,
    member: &MemberPlan,
    left: &mut BTreeSet<NodeId>,
) -> Result<Vec<NodeId>, PackageError> {
    let own = member.nodes.iter().map(|node| {
        let found = graph.find_node(node).filter(|node| left.remove(node));
        found.ok_or_else(|| {
            PackageError::InvalidPlan(format!(
                "node `{node}` of member `{name}` is not in its slice, or twice"
            ))
        })
    });
    own.collect()
}
