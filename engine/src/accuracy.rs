//! How well outputs agree where lossy codecs move them.

use crate::{CompareError, compare};
use half::{bf16, f16};
use tranche_schema::{Accuracy, ElementType, Tensor};

/// What `metric` says of `other` beside `reference`, in its own unit.
///
/// - `max-relative`: max |other − reference| / max |reference| ([`compare`]);
/// - `cosine`: ⟨reference, other⟩ / (‖reference‖ · ‖other‖) over all elements, 1 where both are zero;
/// - `top-1`: the share of rows along the last axis whose largest element is at the same place.
///
/// Tensors other than floats agree wholly or, but for `max-relative`, not at all.
///
/// # Errors
/// When types or shapes differ.
pub fn accuracy(metric: Accuracy, reference: &Tensor, other: &Tensor) -> Result<f64, CompareError> {
    let difference = compare(reference, other)?;
    if matches!(metric, Accuracy::MaxRelative(_)) {
        return Ok(difference.max_relative);
    }
    if difference.bit_identical {
        return Ok(1.0);
    }
    let (Some(left), Some(right)) = (values(reference), values(other)) else { return Ok(0.0) };
    Ok(match metric {
        Accuracy::Top1(_) => {
            let row = reference.shape().last().copied().unwrap_or(1).max(1) as usize;
            top_1(&left, &right, row)
        }
        _ => cosine(&left, &right),
    })
}

fn values(tensor: &Tensor) -> Option<Vec<f64>> {
    let data = tensor.data();
    Some(match tensor.element_type() {
        ElementType::Float32 => widened(data, |bytes| f64::from(f32::from_le_bytes(bytes))),
        ElementType::Float64 => widened(data, f64::from_le_bytes),
        ElementType::Float16 => widened(data, |bytes| f16::from_le_bytes(bytes).to_f64()),
        ElementType::BFloat16 => widened(data, |bytes| bf16::from_le_bytes(bytes).to_f64()),
        _ => return None,
    })
}

fn widened<const WIDTH: usize>(data: &[u8], value: impl Fn([u8; WIDTH]) -> f64) -> Vec<f64> {
    data.as_chunks().0.iter().map(|bytes| value(*bytes)).collect()
}

fn cosine(left: &[f64], right: &[f64]) -> f64 {
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let norms = (product(left, left) * product(right, right)).sqrt();
    match norms > 0.0 {
        true => product(left, right) / norms,
        // One of them is zero, or nothing is told apart.
        false if left.iter().chain(right).all(|value| *value == 0.0) => 1.0,
        false => 0.0,
    }
}

fn top_1(left: &[f64], right: &[f64], row: usize) -> f64 {
    let largest = |values: &[f64]| {
        values
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)))
            .map(|(place, _)| place)
    };
    let rows = left.chunks(row).zip(right.chunks(row));
    let same = rows.clone().filter(|(left, right)| largest(left) == largest(right)).count();
    same as f64 / rows.count().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(metric: Accuracy, left: &[f32], right: &[f32]) -> f64 {
        let tensor = |values: &[f32]| Tensor::from_f32(vec![values.len() as u64 / 2, 2], values).unwrap();
        accuracy(metric, &tensor(left), &tensor(right)).unwrap()
    }

    #[test]
    fn each_metric_tells_what_it_says() {
        let (left, right) = ([1.0, 2.0, 4.0, 3.0], [1.0, 2.0, 2.0, 3.0]);
        assert!((told(Accuracy::MaxRelative(0.0), &left, &right) - 0.5).abs() < 1e-12);
        assert!((told(Accuracy::Top1(0.0), &left, &right) - 0.5).abs() < 1e-12);
        let expected = 22.0 / (30.0_f64 * 18.0).sqrt();
        assert!((told(Accuracy::Cosine(0.0), &left, &right) - expected).abs() < 1e-12);
    }

    #[test]
    fn equal_tensors_agree_wholly() {
        let zero = [0.0; 4];
        assert!(told(Accuracy::Cosine(0.0), &zero, &zero) >= 1.0);
        assert!(told(Accuracy::Top1(0.0), &zero, &zero) >= 1.0);
        assert!(told(Accuracy::Cosine(0.0), &zero, &[1.0; 4]) <= 0.0);
    }
}
