use tranche_schema::{LayerProfile, ResourceDominance};

/// Layers on either side that a layer is compared with.
const WINDOW: usize = 4;
/// How many times its neighbours' median a share must be.
const FACTOR: f64 = 3.0;
/// The least share of the whole model that can stand out.
const FLOOR: f64 = 0.05;

/// The rule of [`mark_dominant`], as it is written into profiles.
pub const RULE: &str = "a layer's share of the model's time, or of its weight and activation bytes, is at least \
0.05 and at least 3 times the median share of the up to 4 layers on either side";

/// Marks the layers whose share of time or memory stands out from their
/// neighbours by [`RULE`].
pub fn mark_dominant(layers: &mut [LayerProfile]) {
    let times: Vec<f64> = layers
        .iter()
        .map(|layer| layer.cpu.or(layer.gpu).map_or(0.0, |cost| cost.time.median_ms.0))
        .collect();
    let memory: Vec<f64> =
        layers.iter().map(|layer| (layer.weights_bytes + layer.activation_bytes).0 as f64).collect();
    let time = standing_out(&times);
    let memory = standing_out(&memory);
    for (index, layer) in layers.iter_mut().enumerate() {
        let found = ResourceDominance { time: time[index], memory: memory[index] };
        layer.resource_dominant = (found.time || found.memory).then_some(found);
    }
}

fn standing_out(values: &[f64]) -> Vec<bool> {
    let total: f64 = values.iter().sum();
    (0..values.len())
        .map(|index| {
            let from = index.saturating_sub(WINDOW);
            let to = (index + WINDOW + 1).min(values.len());
            let mut neighbours: Vec<f64> =
                (from..to).filter(|&other| other != index).map(|other| values[other]).collect();
            neighbours.sort_by(f64::total_cmp);
            let Some(&median) = neighbours.get(neighbours.len() / 2) else { return false };
            total > 0.0 && values[index] >= FLOOR * total && values[index] >= FACTOR * median
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::standing_out;

    #[test]
    fn a_peak_stands_out_from_its_neighbours() {
        assert_eq!(standing_out(&[1.0, 1.0, 9.0, 1.0, 1.0]), [false, false, true, false, false]);
    }

    #[test]
    fn equal_layers_do_not_stand_out() {
        assert!(standing_out(&[2.0; 6]).iter().all(|&marked| !marked));
    }

    #[test]
    fn a_small_share_never_stands_out() {
        let mut values = vec![100.0; 10];
        values.extend([0.0, 0.0, 1.0, 0.0, 0.0]);
        assert!(!standing_out(&values)[12]);
    }

    #[test]
    fn a_single_layer_has_no_neighbours() {
        assert_eq!(standing_out(&[5.0]), [false]);
    }
}
