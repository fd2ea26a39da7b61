use crate::PackageError;
use crate::ensemble;
use crate::replace::{replace_folder, write_file};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use tranche_graph::split::apply;
use tranche_graph::{ExternalPolicy, Extracted, Graph, NodeId};
use tranche_schema::{
    ByteCount, Digest, Document as _, FileEntry, Manifest, ModelIdentity, Plan, SliceManifest, TensorSpec,
};

/// Folder of the slices in a bundle.
pub(crate) const MODEL_FOLDER: &str = "model";

/// Longest slice name.
const LONGEST_NAME: usize = 100;

/// Packages the slices of `plan`, cut out of `graph`, into the directory
/// `output`, and gives the manifest that describes it. `model` is the file that
/// `graph` was made from, constants folded or not.
///
/// The bundle is made in a temporary directory beside `output` and renamed when
/// whole. A bundle or an empty directory at `output` is replaced.
///
/// # Errors
/// When the plan is of another model or does not fit it, when there is
/// something other than a bundle at `output`, or when a file cannot be read or
/// written. Nothing is left behind then.
pub fn package(
    graph: &Graph,
    model: &ModelIdentity,
    plan: &Plan,
    output: &Path,
    tool_version: &str,
) -> Result<Manifest, PackageError> {
    package_expected(graph, model, plan, output, tool_version, None)
}

/// [`package`], but what is at `output` stays as it is unless the bundle's manifest has the
/// digest that is expected, where one is.
///
/// # Errors
/// As [`package`], and [`PackageError::OtherBundle`].
pub fn package_expected(
    graph: &Graph,
    model: &ModelIdentity,
    plan: &Plan,
    output: &Path,
    tool_version: &str,
    expected: Option<&Digest>,
) -> Result<Manifest, PackageError> {
    if model.digest != plan.model.digest {
        let (planned, given) = (plan.model.digest.clone(), model.digest.clone());
        return Err(PackageError::StalePlan { planned, given });
    }
    let patched = plan.patch.as_ref().map(|patch| apply(graph, patch)).transpose();
    let patched =
        patched.map_err(|error| PackageError::InvalidPlan(format!("its patch does not fit: {error}")))?;
    let graph = patched.as_ref().unwrap_or(graph);
    let nodes = slice_nodes(graph, plan)?;
    let is_bundle = |folder: &Path| Manifest::read(&folder.join(Manifest::FILE)).is_ok();
    replace_folder(output, is_bundle, |folder| {
        let manifest = write_bundle(graph, plan, &nodes, folder, tool_version)?;
        let found = Digest::of(manifest.to_json()?.as_bytes());
        match expected {
            Some(expected) if *expected != found => {
                Err(PackageError::OtherBundle { expected: expected.clone(), found })
            }
            _ => Ok(manifest),
        }
    })
}

/// The nodes of each slice, each node of the graph exactly once.
fn slice_nodes(graph: &Graph, plan: &Plan) -> Result<Vec<Vec<NodeId>>, PackageError> {
    let fail = |message: String| Err(PackageError::InvalidPlan(message));
    let mut names = HashSet::new();
    let mut left: BTreeSet<NodeId> = graph.node_ids().collect();
    let mut slices = Vec::with_capacity(plan.slices.len());
    for slice in &plan.slices {
        if !is_file_name(&slice.name) {
            return fail(format!("slice name `{}` is not a plain file name", slice.name.escape_default()));
        }
        // Some file systems ignore case.
        if !names.insert(slice.name.to_ascii_lowercase()) {
            return fail(format!("two slices are named `{}`", slice.name));
        }
        let mut nodes = Vec::with_capacity(slice.nodes.len());
        for name in &slice.nodes {
            let Some(node) = graph.find_node(name) else {
                return fail(format!("slice `{}` has node `{name}`, which the model lacks", slice.name));
            };
            if !left.remove(&node) {
                return fail(format!("node `{name}` is in two slices or twice in one"));
            }
            nodes.push(node);
        }
        slices.push(nodes);
    }
    match left.first() {
        Some(&node) => fail(format!("node `{}` is in no slice", graph.node(node).name)),
        None => Ok(slices),
    }
}

/// Whether a name is safe as part of a path everywhere.
fn is_file_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= LONGEST_NAME && !name.starts_with('.') && name.bytes().all(allowed)
}

fn write_bundle(
    graph: &Graph,
    plan: &Plan,
    nodes: &[Vec<NodeId>],
    folder: &Path,
    tool_version: &str,
) -> Result<Manifest, PackageError> {
    let specs: BTreeMap<String, TensorSpec> = plan
        .edges
        .iter()
        .map(|edge| &edge.tensor)
        .chain(&plan.inputs)
        .chain(&plan.outputs)
        .map(|spec| (spec.name.clone(), spec.clone()))
        .collect();
    let mut files = BTreeMap::new();
    let mut slices = Vec::with_capacity(plan.slices.len());
    for (slice, nodes) in plan.slices.iter().zip(nodes) {
        let wrap = |source| PackageError::Slice { slice: slice.name.clone(), source };
        let part = graph.extract_with(nodes, &slice.name, &specs).map_err(wrap)?;
        let inputs = in_order_of("reads", &slice.name, &slice.inputs, &part.inputs)?;
        let outputs = in_order_of("writes", &slice.name, &slice.outputs, &part.outputs)?;
        let saved = match slice.members.as_slice() {
            [] => {
                let (model, weights) = save_slice(&part, &slice.name, folder, &mut files).map_err(wrap)?;
                Saved { model, weights, members: Vec::new() }
            }
            members => ensemble::save(graph, slice, members, nodes, folder, &mut files)?,
        };
        slices.push(SliceManifest {
            name: slice.name.clone(),
            model: saved.model,
            members: saved.members,
            weights: saved.weights,
            inputs,
            outputs,
            size: slice.size,
            threads: slice.threads,
            prediction: slice.prediction,
        });
    }
    let plan_json = plan.to_json()?;
    let plan_digest = Digest::of(plan_json.as_bytes());
    write_file(&folder.join(Manifest::PLAN_FILE), plan_json.as_bytes())?;
    files.insert(
        Manifest::PLAN_FILE.to_owned(),
        FileEntry {
            path: Manifest::PLAN_FILE.to_owned(),
            bytes: ByteCount(plan_json.len() as u64),
            digest: plan_digest.clone(),
        },
    );
    let manifest = Manifest {
        header: Manifest::header(),
        model: plan.model.clone(),
        plan_digest,
        tranche_version: tool_version.to_owned(),
        engine: plan.engine.clone(),
        inputs: plan.inputs.clone(),
        outputs: plan.outputs.clone(),
        slices,
        edges: plan.edges.clone(),
        files: files.into_values().collect(),
    };
    write_file(&folder.join(Manifest::FILE), manifest.to_json()?.as_bytes())?;
    Ok(manifest)
}

/// What a slice is on disk: paths below the bundle.
pub(crate) struct Saved {
    pub(crate) model: String,
    pub(crate) weights: Vec<String>,
    pub(crate) members: Vec<String>,
}

/// Writes one slice and its weights; gives their paths below the bundle.
pub(crate) fn save_slice(
    part: &Extracted,
    name: &str,
    folder: &Path,
    files: &mut BTreeMap<String, FileEntry>,
) -> Result<(String, Vec<String>), tranche_graph::GraphError> {
    let path = folder.join(MODEL_FOLDER).join(format!("{name}.onnx"));
    let saved = part.model.save_external(&path, &ExternalPolicy::default())?;
    let mut add = |entry: FileEntry| {
        let path = format!("{MODEL_FOLDER}/{}", entry.path);
        files.insert(path.clone(), FileEntry { path: path.clone(), ..entry });
        path
    };
    Ok((add(saved.model), saved.weights.into_iter().map(add).collect()))
}

/// The plan's tensors in the order in which the slice's model lists them.
pub(crate) fn in_order_of(
    verb: &'static str,
    slice: &str,
    planned: &[TensorSpec],
    found: &[String],
) -> Result<Vec<TensorSpec>, PackageError> {
    let by_name: BTreeMap<&str, &TensorSpec> =
        planned.iter().map(|spec| (spec.name.as_str(), spec)).collect();
    let names: BTreeSet<&str> = found.iter().map(String::as_str).collect();
    if planned.len() != found.len() || !by_name.keys().eq(names.iter()) {
        let list = |names: Vec<&str>| {
            if names.is_empty() { "nothing".to_owned() } else { format!("`{}`", names.join("`, `")) }
        };
        return Err(PackageError::Border {
            slice: slice.to_owned(),
            verb,
            planned: list(by_name.into_keys().collect()),
            found: list(names.into_iter().collect()),
        });
    }
    Ok(found.iter().filter_map(|name| by_name.get(name.as_str()).map(|&spec| spec.clone())).collect())
}
