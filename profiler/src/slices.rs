//! Slices of a bundle, measured as their functions will run.

use crate::ProfilerError;
use crate::codings::codings;
use crate::run::{ModelFile, ProfileRequest, Progress, groups, measure_model, temporary_folder, whole_cpus};
use crate::subject::Copies;
use std::collections::BTreeMap;
use std::path::Path;
use tranche_schema::{Channel, Manifest, MilliCpu, Plan, SliceMeasurement, Tensor, TensorCoding, TensorSpec};

/// Activations by name, kept between calls of [`measure_slices`]: whatever the
/// cuts, a tensor of one name has one value.
#[derive(Clone, Debug, Default)]
pub struct KnownTensors {
    values: BTreeMap<String, Tensor>,
    /// What codecs do to those whose codecs were measured.
    codings: BTreeMap<String, Vec<TensorCoding>>,
}

impl KnownTensors {
    /// What codecs do to tensors that slices passed on.
    #[must_use]
    pub fn codings(&self) -> Vec<TensorCoding> {
        self.codings.values().flatten().cloned().collect()
    }

    fn measure_codecs(&mut self) -> Result<(), ProfilerError> {
        for (name, tensor) in &self.values {
            if !self.codings.contains_key(name) {
                self.codings.insert(name.clone(), codings(name, tensor)?);
            }
        }
        Ok(())
    }
}

/// Measures each slice of a bundle as it will run: in a process of its own, on
/// the activations that the slices before it make, at the CPU share that it is given, or
/// as much as there is. Slices of which `measured` tells already are left out.
///
/// # Errors
/// As [`crate::profile`].
pub fn measure_slices(
    request: &ProfileRequest<'_>,
    bundle: &Path,
    manifest: &Manifest,
    plan: &Plan,
    measured: &[SliceMeasurement],
    tensors: &mut KnownTensors,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<SliceMeasurement>, ProfilerError> {
    let folder = temporary_folder()?;
    let groups = groups(progress);
    let copies = Copies::default();
    let most = whole_cpus(tranche_host::usable_cpus() as u32);
    let values = &mut tensors.values;
    values.extend(request.inputs.iter().map(|(spec, tensor)| (spec.name.clone(), tensor.clone())));
    let mut found = Vec::new();
    let total = plan.slices.len() as u32;
    for (index, (slice, packaged)) in plan.slices.iter().zip(&manifest.slices).enumerate() {
        progress(Progress::Slices { done: index as u32, total });
        let cpu = slice.size.cpu_milli.min(most);
        let mut known = measured.iter().filter(|known| known.layers == slice.layers);
        let is_measured = known.clone().any(|known| knows(known, cpu) || !groups.available().cpu);
        if is_measured && packaged.outputs.iter().all(|spec| values.contains_key(&spec.name)) {
            continue;
        }
        let inputs = packaged
            .inputs
            .iter()
            .map(|spec| {
                let tensor = values
                    .get(&spec.name)
                    .ok_or_else(|| ProfilerError::UnknownShape { tensor: spec.name.clone() })?;
                Ok((spec.clone(), tensor.clone()))
            })
            .collect::<Result<Vec<_>, ProfilerError>>()?;
        let outputs: Vec<String> = packaged.outputs.iter().map(|spec| spec.name.clone()).collect();
        let place = folder.path().join(index.to_string());
        let model = bundle.join(&packaged.model);
        let files = std::iter::once(&packaged.model).chain(&packaged.members).chain(&packaged.weights);
        let files = files.map(|file| bundle.join(file)).collect();
        // What another share told already is not measured again.
        let before = known.next_back();
        let request = match before {
            Some(_) => &ProfileRequest { shares: &[], memory_search: false, ..*request },
            None => request,
        };
        let mapped = plan.edges.iter().filter(|edge| edge.channel == Channel::MappedFile);
        let mapped: Vec<TensorSpec> = mapped
            .filter(|edge| outputs.contains(&edge.tensor.name))
            .map(|edge| edge.tensor.clone())
            .collect();
        let model = ModelFile {
            path: model,
            files,
            inputs: &inputs,
            outputs: &outputs,
            mapped_outputs: &mapped,
            folder: &place,
        };
        let now = measure_model(request, &groups, &copies, model, cpu)?;
        for file in &now.measurement.outputs {
            values.insert(file.spec.name.clone(), file.read()?);
        }
        std::fs::remove_dir_all(&place)
            .map_err(|source| ProfilerError::File { path: place.clone(), source })?;
        let (weights, peak) = (slice.prediction.weights_bytes, slice.prediction.peak_activation_bytes);
        let mut whole = now.whole(weights, peak);
        if let Some(before) = before {
            whole.memory_limit_bytes = before.whole.memory_limit_bytes;
            whole.shares.extend(before.whole.shares.iter().filter(|sample| sample.cpu != now.cpu));
            whole.shares.sort_by_key(|sample| sample.cpu);
        }
        found.push(SliceMeasurement { layers: slice.layers.clone(), cpu: now.cpu, whole, billed: None });
    }
    tensors.measure_codecs()?;
    Ok(found)
}

/// Whether a measurement tells of a share, by a hundredth.
fn knows(known: &SliceMeasurement, share: MilliCpu) -> bool {
    let shares = known.whole.shares.iter().map(|sample| sample.cpu).chain([known.cpu]);
    shares.into_iter().any(|known| known.0.abs_diff(share.0) * 100 <= share.0)
}
