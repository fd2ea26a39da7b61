use crate::{Costs, PlanError};
use std::ops::Range;

/// `parts` parts of nearly equal time: the i-th cut is where the time before it
/// is closest to i/`parts` of the total, with at least one layer in each part.
///
/// # Errors
/// When there are fewer layers than parts, or no parts.
pub(crate) fn uniform(costs: &Costs<'_>, parts: u32) -> Result<Vec<Range<usize>>, PlanError> {
    let layers = costs.problem().layers.len();
    let wanted = parts as usize;
    if wanted == 0 || wanted > layers {
        return Err(PlanError::WrongPartCount { asked: parts, layers });
    }
    let mut before = vec![0.0];
    for layer in 0..layers {
        before.push(before[layer] + costs.layer_run(layer).0);
    }
    let mut path = Vec::with_capacity(wanted);
    let mut start = 0;
    for part in 1..wanted {
        let target = before[layers] * part as f64 / wanted as f64;
        let last = layers - (wanted - part);
        let distance = |&end: &usize| (before[end] - target).abs();
        let end = (start + 1..=last)
            .min_by(|left, right| distance(left).total_cmp(&distance(right)))
            .unwrap_or(last);
        path.push(start..end);
        start = end;
    }
    path.push(start..layers);
    Ok(path)
}
