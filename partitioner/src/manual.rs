use crate::{Costs, PlanError};
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

/// How many close names an error lists.
const NEAREST: usize = 3;

/// A cut after each named layer, or after the layer that writes the named
/// tensor. Order and repetition of the names do not matter.
///
/// # Errors
/// When a name is neither a layer nor a tensor between layers, or is the last layer.
pub(crate) fn manual(costs: &Costs<'_>, names: &[String]) -> Result<Vec<Range<usize>>, PlanError> {
    let problem = costs.problem();
    let mut ends: HashMap<&str, usize> = HashMap::new();
    for tensor in &problem.tensors {
        if let Some(producer) = tensor.producer {
            ends.insert(&tensor.spec.name, producer + 1);
        }
    }
    ends.extend(problem.layers.iter().enumerate().map(|(index, layer)| (layer.name.as_str(), index + 1)));
    let mut cuts = BTreeSet::new();
    for name in names {
        let end = *ends.get(name.as_str()).ok_or_else(|| PlanError::UnknownCut {
            name: name.clone(),
            nearest: nearest(name, ends.keys().copied()),
        })?;
        if end == problem.layers.len() {
            return Err(PlanError::CutAtEnd { name: name.clone() });
        }
        cuts.insert(end);
    }
    cuts.insert(problem.layers.len());
    let mut start = 0;
    Ok(cuts
        .into_iter()
        .map(|end| {
            let part = start..end;
            start = end;
            part
        })
        .collect())
}

/// The names with the smallest edit distance to `name`, closest first.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut ranked: Vec<(usize, &str)> =
        candidates.map(|candidate| (edit_distance(name, candidate), candidate)).collect();
    ranked.sort_unstable();
    ranked.into_iter().take(NEAREST).map(|(_, candidate)| candidate.to_owned()).collect()
}

/// Levenshtein distance in characters.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (above, left_char) in left.chars().enumerate() {
        let mut diagonal = above;
        let mut beside = above + 1;
        row[0] = beside;
        for (right_char, cell) in right.iter().zip(row.iter_mut().skip(1)) {
            let replaced = diagonal + usize::from(left_char != *right_char);
            diagonal = *cell;
            beside = replaced.min(diagonal + 1).min(beside + 1);
            *cell = beside;
        }
    }
    row.last().copied().unwrap_or(0)
}
