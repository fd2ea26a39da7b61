//! What the image of one slice holds and how it is run.

use super::layer::Content;
use super::oci::{Empty, Execution, Words};
use super::runtime::{Runtime, SHIM};
use super::{SBOM_FILE, Starter, USER};
use crate::PackageError;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tranche_schema::{
    Digest, Document as _, FileEntry, Manifest, ModelIdentity, SliceManifest, SlicePrediction,
};

/// The bundle in an image.
const BUNDLE: &str = "tranche/bundle";
/// The port that OpenFaaS and Knative call.
pub(super) const PORT: u16 = 8080;

/// Path in the image of a file of the bundle.
pub(super) fn path_in_image(path: &str) -> String {
    format!("{BUNDLE}/{path}")
}

/// The weight files of a bundle, grouped by the slices that use them: groups that most
/// slices use first, then in the plan's order.
pub(super) fn weight_groups(manifest: &Manifest) -> Vec<(Vec<&String>, Vec<&String>)> {
    let mut users: BTreeMap<&String, Vec<usize>> = BTreeMap::new();
    for (index, slice) in manifest.slices.iter().enumerate() {
        for path in slice.weights.iter().collect::<BTreeSet<_>>() {
            users.entry(path).or_default().push(index);
        }
    }
    let mut groups: BTreeMap<(Reverse<usize>, Vec<usize>), Vec<&String>> = BTreeMap::new();
    for (path, slices) in users {
        groups.entry((Reverse(slices.len()), slices)).or_default().push(path);
    }
    let named = |slices: Vec<usize>| slices.iter().map(|&index| &manifest.slices[index].name).collect();
    groups.into_iter().map(|((_, slices), paths)| (named(slices), paths)).collect()
}

/// The bundle's manifest as far as one slice goes: its border, its edges, its files.
///
/// What depends on other slices is left out, so that an image changes only with what is in
/// it: the model's digest becomes that of the slice's graph, the plan's digest that of the
/// slice and its edges, and what was predicted is dropped.
pub(crate) fn reduce(manifest: &Manifest, slice: &SliceManifest) -> Result<Manifest, PackageError> {
    let used: BTreeSet<&String> = slice.weights.iter().chain(&slice.members).chain([&slice.model]).collect();
    let files: Vec<FileEntry> =
        manifest.files.iter().filter(|entry| used.contains(&entry.path)).cloned().collect();
    let graph = files.iter().find(|entry| entry.path == slice.model);
    let digest = graph.map_or_else(|| manifest.model.digest.clone(), |entry| entry.digest.clone());
    let touches =
        |from: &Option<String>, to: &[String]| from.as_ref() == Some(&slice.name) || to.contains(&slice.name);
    let mut reduced = Manifest {
        header: manifest.header.clone(),
        model: ModelIdentity { name: manifest.model.name.clone(), digest },
        plan_digest: Digest::of(&[]),
        tranche_version: manifest.tranche_version.clone(),
        engine: manifest.engine.clone(),
        inputs: manifest.inputs.iter().filter(|spec| slice.inputs.contains(spec)).cloned().collect(),
        outputs: manifest.outputs.iter().filter(|spec| slice.outputs.contains(spec)).cloned().collect(),
        slices: vec![SliceManifest { prediction: SlicePrediction::default(), ..slice.clone() }],
        edges: manifest.edges.iter().filter(|edge| touches(&edge.from, &edge.to)).cloned().collect(),
        files,
    };
    reduced.plan_digest = Digest::of(reduced.to_json()?.as_bytes());
    Ok(reduced)
}

/// The top layer: the reduced manifest, the graph, and the image's inventory.
pub(super) fn content(
    bundle: &Path,
    reduced: &Manifest,
    inventory: Vec<u8>,
) -> Result<Content, PackageError> {
    let mut content = Content::default()
        .bytes(&path_in_image(Manifest::FILE), reduced.to_json()?)
        .bytes(&format!("tranche/{SBOM_FILE}"), inventory);
    for path in reduced.slices.iter().flat_map(|slice| slice.members.iter().chain([&slice.model])) {
        content = content.file(&path_in_image(path), &bundle.join(path));
    }
    Ok(content)
}

/// The label by which an image without a managed runtime says that it can be restored from
/// a snapshot (Lambda developer guide, "SnapStart runtime hooks for custom runtimes").
const SNAP_START: &str = "com.amazonaws.lambda.feature.snapstart";

/// How the slice's image is run.
pub(super) fn execution(
    manifest: &Manifest,
    slice: &SliceManifest,
    runtime: &Runtime,
    starter: Starter,
) -> Execution {
    let mut environment = BTreeMap::from([
        ("PATH", "/tranche:/usr/bin:/bin".to_owned()),
        ("TRANCHE_MANIFEST", format!("/{}", path_in_image(Manifest::FILE))),
        ("TRANCHE_SLICE", slice.name.clone()),
    ]);
    environment.extend(runtime.environment());
    let mut labels = labels(manifest, slice);
    let mut exposed_ports = BTreeMap::new();
    let mut user = format!("{USER}:{USER}");
    match starter {
        Starter::Http => {
            environment.insert("TRANCHE_LISTEN", format!("0.0.0.0:{PORT}"));
            // What of-watchdog and the classic watchdog start.
            environment.insert("fprocess", format!("/{SHIM}"));
            exposed_ports.insert(format!("{PORT}/tcp"), Empty {});
        }
        Starter::Lambda { snap_start } => {
            if snap_start {
                labels.insert(SNAP_START.to_owned(), "Allow".to_owned());
            }
            // Lambda has a user of its own.
            user.clear();
        }
    }
    Execution {
        user,
        exposed_ports,
        env: environment.into_iter().map(|(name, value)| format!("{name}={value}")).collect(),
        entrypoint: vec![format!("/{SHIM}")],
        working_dir: "/".to_owned(),
        labels,
        stop_signal: "SIGTERM".to_owned(),
    }
}

/// Nothing here depends on other slices.
fn labels(manifest: &Manifest, slice: &SliceManifest) -> Words {
    let model = &manifest.model.name;
    let words = [
        ("org.opencontainers.image.description", format!("Slice {} of the model {model}", slice.name)),
        ("org.opencontainers.image.title", format!("{model} {}", slice.name)),
        ("org.opencontainers.image.vendor", "tranche".to_owned()),
        ("org.opencontainers.image.version", manifest.tranche_version.clone()),
        ("tranche.engine", manifest.engine.clone()),
        ("tranche.model", model.clone()),
        ("tranche.slice", slice.name.clone()),
    ];
    words.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
