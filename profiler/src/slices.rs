//! Slices of a bundle, measured as their functions will run.

use crate::run::{ProfileRequest, Progress, groups, measure_model, temporary_folder};
use crate::ProfilerError;
use std::collections::BTreeMap;
use std::path::Path;
use tranche_schema::{Manifest, Plan, SliceMeasurement, Tensor};

/// Activations by name, kept between calls of [`measure_slices`]: whatever the
/// cuts, a tensor of one name has one value.
#[derive(Clone, Debug, Default)]
pub struct KnownTensors(BTreeMap<String, Tensor>);

/// Measures each slice of a bundle as it will run: in a process of its own, on
/// the activations that the slices before it make. Slices of which `measured`
/// tells already are left out.
///
/// # Errors
/// As [`profile`].
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
    let tensors = &mut tensors.0;
    tensors.extend(request.inputs.iter().map(|(spec, tensor)| (spec.name.clone(), tensor.clone())));
    let mut found = Vec::new();
    let total = plan.slices.len() as u32;
    for (index, (slice, packaged)) in plan.slices.iter().zip(&manifest.slices).enumerate() {
        progress(Progress::Slices { done: index as u32, total });
        // Where CPU cannot be limited, nothing is ever measured at that very share.
        let limited = groups.available().cpu;
        let is_measured =
            measured.iter().any(|known| known.layers == slice.layers && (known.cpu == slice.size.cpu_milli || !limited));
        if is_measured && packaged.outputs.iter().all(|spec| tensors.contains_key(&spec.name)) {
            continue;
        }
        let inputs = packaged
            .inputs
            .iter()
            .map(|spec| {
                let tensor = tensors
                    .get(&spec.name)
                    .ok_or_else(|| ProfilerError::UnknownShape { tensor: spec.name.clone() })?;
                Ok((spec.clone(), tensor.clone()))
            })
            .collect::<Result<Vec<_>, ProfilerError>>()?;
        let outputs: Vec<String> = packaged.outputs.iter().map(|spec| spec.name.clone()).collect();
        let place = folder.path().join(index.to_string());
        let model = bundle.join(&packaged.model);
        let files = std::iter::once(&packaged.model).chain(&packaged.weights);
        let files = files.map(|file| bundle.join(file)).collect();
        let now =
            measure_model(request, &groups, &place, &model, files, &inputs, &outputs, slice.size.cpu_milli)?;
        for file in &now.measurement.outputs {
            tensors.insert(file.spec.name.clone(), file.read()?);
        }
        std::fs::remove_dir_all(&place)
            .map_err(|source| ProfilerError::File { path: place.clone(), source })?;
        found.push(SliceMeasurement {
            layers: slice.layers.clone(),
            cpu: now.cpu,
            whole: now.whole(slice.prediction.weights_bytes, slice.prediction.peak_activation_bytes),
            billed: None,
        });
    }
    Ok(found)
}
