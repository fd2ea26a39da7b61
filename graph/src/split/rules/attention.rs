//! Attention as one node: `y = softmax(q · kᵀ · scale + mask) · v` for each head (ONNX operators, Attention; ONNX
//! Runtime, contrib operators, Attention, MultiHeadAttention and GroupQueryAttention).
//!
//! Heads lie side by side on the hidden axis, or on one of their own; several query heads may share one
//! head of keys and values. No head and no element of the batch reads another, so
//!
//! - places of the batch are made of the same places of what has a batch axis;
//! - heads are made of the same heads of queries, those heads of keys, values and past that they
//!   read, and the columns of packed weights and biases that belong to them; a part has as many heads as
//!   it makes;
//! - queries, where nothing depends on their number (no causal mask, no past), are made of the same
//!   queries and rows of the mask, and of all keys and values.

use super::super::part::{Operation, Part, Rewrite};
use super::super::{Need, Ranges, Refusal};
use tranche_schema::AttributeValue;

/// What an axis of an input or output counts.
#[derive(Clone, Debug)]
enum Axis {
    Batch,
    Queries,
    /// Query heads, each this many places.
    Heads(u64),
    /// Heads of keys and values, each this many places.
    KeyHeads(u64),
    /// Such axes end to end, with their extents.
    Packed(Vec<(Axis, u64)>),
    /// Never split.
    Other,
}

/// What is wanted of all outputs.
#[derive(Clone, Debug, PartialEq)]
enum Share {
    Batch(Ranges),
    Queries(Ranges),
    /// Of the query heads.
    Heads(Ranges),
}

/// How a node lays heads out.
struct Layout {
    heads: u64,
    key_heads: u64,
    /// Axes of each input.
    inputs: Vec<Vec<Axis>>,
    /// Axes of each output.
    outputs: Vec<Vec<Axis>>,
    /// Attributes that count query heads, and heads of keys and values.
    names: (&'static str, Option<&'static str>),
    /// Attribute with the hidden extents of queries, keys and values, and those of a head.
    hidden: Option<(&'static str, [u64; 3])>,
}

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    let layout = match (part.node.domain(), part.node.operator()) {
        ("", _) => standard(part)?,
        (_, "Attention") => packed(part)?,
        (_, "MultiHeadAttention") => separate(part)?,
        _ => grouped(part)?,
    };
    let mut agreed: Option<Share> = None;
    for (wanted, axes) in part.wanted.iter().zip(&layout.outputs) {
        let Some(wanted) = wanted else { continue };
        let share = layout.share(part, wanted, axes)?;
        if agreed.as_ref().is_some_and(|known| *known != share) {
            return Err(part.refuse("different places of its outputs are wanted"));
        }
        agreed = Some(share);
    }
    if part.wanted.len() > layout.outputs.len()
        && part.wanted[layout.outputs.len()..].iter().any(Option::is_some)
    {
        return Err(part.refuse("an output that is not understood is wanted"));
    }
    let share = agreed.ok_or_else(|| part.refuse("nothing of it is wanted"))?;
    let mut needs = Vec::with_capacity(part.node.inputs.len());
    for place in 0..part.node.inputs.len() {
        needs.push(match (part.input(place), layout.inputs.get(place)) {
            (None, _) => None,
            (Some(_), Some(axes)) => Some(layout.need(part, part.shape(place)?, axes, &share)?),
            (Some(_), None) => return Err(part.refuse(format!("input {place} is not understood"))),
        });
    }
    let mut operation = Operation::same(part, &needs);
    let mut work = part.shape(0)?.first().map_or(1.0, |&batch| match &share {
        Share::Batch(ranges) => ranges.count() as f64 / batch.max(1) as f64,
        _ => 1.0,
    });
    match &share {
        Share::Heads(heads) => {
            let key_heads = layout.key_heads_of(part, heads)?;
            work = heads.count() as f64 / layout.heads.max(1) as f64;
            let count = |count: u64| AttributeValue::Integer(count as i64);
            if part.node.attribute(layout.names.0).is_some() {
                operation = operation.with(layout.names.0, count(heads.count()));
            }
            if let Some(name) = layout.names.1.filter(|name| part.node.attribute(name).is_some()) {
                operation = operation.with(name, count(key_heads.count()));
            }
            if let Some((name, each)) = layout.hidden {
                let extents = each.iter().map(|each| (each * heads.count()) as i64).collect();
                operation = operation.with(name, AttributeValue::Integers(extents));
            }
        }
        Share::Queries(ranges) => {
            let all = part.shape(0)?.iter().zip(&layout.inputs[0]);
            let queries =
                all.filter(|(_, axis)| matches!(axis, Axis::Queries)).map(|(&extent, _)| extent).next();
            work = ranges.count() as f64 / queries.unwrap_or(1).max(1) as f64;
        }
        Share::Batch(_) => {}
    }
    Ok(Rewrite { needs, operations: vec![operation], work })
}

impl Layout {
    /// Query heads that share one head of keys and values.
    fn sharing(&self) -> u64 {
        (self.heads / self.key_heads.max(1)).max(1)
    }

    /// What places of an output are of all of them.
    fn share(&self, part: &Part<'_>, wanted: &Need, axes: &[Axis]) -> Result<Share, Refusal> {
        let (axis, ranges) = match wanted {
            Need::Along { axis, ranges } => (axes.get(*axis), ranges),
            Need::Whole => {
                return Err(part.refuse("places of one of its outputs and all of another are wanted"));
            }
            Need::Summand => {
                return Err(
                    part.refuse("it is not linear, so it needs the whole sum: let the parts end before it")
                );
            }
        };
        let heads = |each: u64| ranges.grouped(each).ok_or_else(|| part.cuts_through("a head", each));
        match axis {
            Some(Axis::Batch) => Ok(Share::Batch(ranges.clone())),
            Some(Axis::Queries) => Ok(Share::Queries(ranges.clone())),
            Some(Axis::Heads(each)) => Ok(Share::Heads(heads(*each)?)),
            Some(Axis::KeyHeads(each)) => Ok(Share::Heads(heads(*each)?.spread(self.sharing()))),
            _ => Err(part.refuse(
                "it can be split by heads, by batch, and by queries where none depends on their number",
            )),
        }
    }

    /// The heads of keys and values that query heads read.
    fn key_heads_of(&self, part: &Part<'_>, heads: &Ranges) -> Result<Ranges, Refusal> {
        let sharing = self.sharing();
        if let Some(whole) = heads.grouped(sharing) {
            return Ok(whole);
        }
        let (start, end) = heads.hull();
        let one = heads.single().filter(|_| start / sharing == (end - 1) / sharing);
        one.and_then(|_| Ranges::new(start / sharing, start / sharing + 1))
            .ok_or_else(|| part.cuts_through("heads that share keys and values", sharing))
    }

    /// Places of an axis that belong to a share.
    fn places(&self, part: &Part<'_>, axis: &Axis, share: &Share) -> Result<Option<Ranges>, Refusal> {
        Ok(match (axis, share) {
            (Axis::Batch, Share::Batch(ranges)) | (Axis::Queries, Share::Queries(ranges)) => {
                Some(ranges.clone())
            }
            (Axis::Heads(each), Share::Heads(heads)) => Some(heads.spread(*each)),
            (Axis::KeyHeads(each), Share::Heads(heads)) => {
                Some(self.key_heads_of(part, heads)?.spread(*each))
            }
            (Axis::Packed(segments), Share::Heads(_)) => {
                let mut all = Vec::new();
                let mut start = 0;
                for (segment, extent) in segments {
                    if let Some(places) = self.places(part, segment, share)? {
                        all.extend_from_slice(places.shifted(start).as_slice());
                    }
                    start += extent;
                }
                Ranges::of(all)
            }
            _ => None,
        })
    }

    /// What a share needs of an input; an axis of one place stands for all.
    fn need(&self, part: &Part<'_>, shape: &[u64], axes: &[Axis], share: &Share) -> Result<Need, Refusal> {
        if shape.len() != axes.len() {
            return Err(part.refuse(format!(
                "an input has {} axes where {} are understood",
                shape.len(),
                axes.len()
            )));
        }
        for (place, (axis, &extent)) in axes.iter().zip(shape).enumerate() {
            if extent > 1
                && let Some(ranges) = self.places(part, axis, share)?
            {
                return Ok(Need::along(place, &ranges));
            }
        }
        Ok(Need::Whole)
    }
}

fn extent(part: &Part<'_>, place: usize, axis: usize) -> Result<u64, Refusal> {
    part.shape(place)?
        .get(axis)
        .copied()
        .ok_or_else(|| part.refuse(format!("input {place} has too few axes")))
}

fn count(part: &Part<'_>, name: &str) -> Result<u64, Refusal> {
    u64::try_from(part.integer(name, 0))
        .ok()
        .filter(|&count| count > 0)
        .ok_or_else(|| part.refuse(format!("`{name}` is missing")))
}

/// Axes of a mask of the scores, which is broadcast from the right.
fn scores(part: &Part<'_>, place: usize, queries: &Axis) -> Vec<Axis> {
    let all = [Axis::Batch, Axis::Heads(1), queries.clone(), Axis::Other];
    let rank = part.shape(place).map_or(4, <[u64]>::len).min(4);
    all[4 - rank..].to_vec()
}

/// Queries can be split where nothing depends on their number.
fn queries(part: &Part<'_>, is_causal: bool, past: usize) -> Axis {
    let is_alone = part.wanted.iter().skip(1).all(Option::is_none);
    if is_causal || part.input(past).is_some() || !is_alone { Axis::Other } else { Axis::Queries }
}

/// ONNX Attention: queries, keys, values, mask, past keys, past values.
fn standard(part: &Part<'_>) -> Result<Layout, Refusal> {
    let rows = queries(part, part.integer("is_causal", 0) != 0, 4);
    let is_flat = part.shape(0)?.len() == 3;
    let (heads, key_heads) = match is_flat {
        true => (count(part, "q_num_heads")?, count(part, "kv_num_heads")?),
        false => (extent(part, 0, 1)?, extent(part, 1, 1)?),
    };
    let state = vec![Axis::Batch, Axis::KeyHeads(1), Axis::Other, Axis::Other];
    let of = |place: usize, steps: &Axis, query: bool| -> Result<Vec<Axis>, Refusal> {
        let axis = |each| if query { Axis::Heads(each) } else { Axis::KeyHeads(each) };
        Ok(match is_flat {
            true => {
                let each = extent(part, place, 2)? / if query { heads } else { key_heads };
                vec![Axis::Batch, steps.clone(), axis(each)]
            }
            false => vec![Axis::Batch, axis(1), steps.clone(), Axis::Other],
        })
    };
    let output = match is_flat {
        true => vec![Axis::Batch, rows.clone(), Axis::Heads(extent(part, 2, 2)? / key_heads)],
        false => of(0, &rows, true)?,
    };
    let weights = vec![Axis::Batch, Axis::Heads(1), Axis::Other, Axis::Other];
    Ok(Layout {
        heads,
        key_heads,
        inputs: vec![
            of(0, &rows, true)?,
            of(1, &Axis::Other, false)?,
            of(2, &Axis::Other, false)?,
            scores(part, 3, &rows),
            state.clone(),
            state.clone(),
            vec![Axis::Batch],
        ],
        outputs: vec![output, state.clone(), state, weights],
        names: ("q_num_heads", Some("kv_num_heads")),
        hidden: None,
    })
}

/// MultiHeadAttention: queries, keys, values, biases end to end, padding of keys, bias of scores, past keys,
/// past values.
fn separate(part: &Part<'_>) -> Result<Layout, Refusal> {
    let heads = count(part, "num_heads")?;
    if part.input(1).is_none() || part.input(2).is_none() || part.shape(0)?.len() != 3 {
        return Err(part.refuse("its queries, keys and values are packed into one input"));
    }
    let rows = queries(part, part.integer("unidirectional", 0) != 0, 6);
    let hidden = extent(part, 0, 2)?;
    let each = hidden / heads;
    let state = vec![Axis::Batch, Axis::Heads(1), Axis::Other, Axis::Other];
    // Keys and values of another sequence may have an axis of heads.
    let steps = |place: usize| -> Result<Vec<Axis>, Refusal> {
        match *part.shape(place)? {
            [_, _, hidden] => Ok(vec![Axis::Batch, Axis::Other, Axis::Heads(hidden / heads)]),
            [_, _, _, _] => Ok(state.clone()),
            _ => Err(part.refuse("keys or values are packed")),
        }
    };
    let value = match part.shape(2)? {
        &[_, _, _, each] => each,
        shape => shape.last().copied().unwrap_or(0) / heads,
    };
    let padding = match part.shape(4).map_or(2, <[u64]>::len) {
        1 if part.input(4).is_some() && extent(part, 4, 0)? != extent(part, 0, 0)? => {
            return Err(part.refuse("its padding of keys is given by positions of all sequences"));
        }
        1 => vec![Axis::Batch],
        2 => vec![Axis::Batch, Axis::Other],
        _ => vec![Axis::Batch, rows.clone(), Axis::Other],
    };
    let biases =
        vec![(Axis::Heads(each), hidden), (Axis::Heads(each), hidden), (Axis::Heads(value), value * heads)];
    Ok(Layout {
        heads,
        key_heads: heads,
        inputs: vec![
            vec![Axis::Batch, rows.clone(), Axis::Heads(each)],
            steps(1)?,
            steps(2)?,
            vec![Axis::Packed(biases)],
            padding,
            scores(part, 5, &rows),
            state.clone(),
            state.clone(),
        ],
        outputs: vec![vec![Axis::Batch, rows, Axis::Heads(value)], state.clone(), state.clone(), state],
        names: ("num_heads", None),
        hidden: None,
    })
}

/// Attention of ONNX Runtime: sequence, weights of queries, keys and values side by side, their biases, mask, past of
/// both, bias of scores.
fn packed(part: &Part<'_>) -> Result<Layout, Refusal> {
    let heads = count(part, "num_heads")?;
    let columns = extent(part, 1, 1)?;
    let sizes = part.integer_list("qkv_hidden_sizes");
    let each: [u64; 3] = match sizes {
        Some(&[queries, keys, values]) => [queries, keys, values].map(|size| size.max(0) as u64 / heads),
        _ => [columns / 3 / heads; 3],
    };
    let segments: Vec<_> = each.iter().map(|&each| (Axis::Heads(each), each * heads)).collect();
    let mask = match part.shape(3).map_or(2, <[u64]>::len) {
        1 if part.input(3).is_some() && extent(part, 3, 0)? != extent(part, 0, 0)? => {
            return Err(part.refuse("its mask is given by positions of all sequences"));
        }
        rank => [vec![Axis::Batch], vec![Axis::Other; rank.clamp(1, 4) - 1]].concat(),
    };
    let past = vec![Axis::Other, Axis::Batch, Axis::Heads(1), Axis::Other, Axis::Other];
    Ok(Layout {
        heads,
        key_heads: heads,
        inputs: vec![
            vec![Axis::Batch, Axis::Other, Axis::Other],
            vec![Axis::Other, Axis::Packed(segments.clone())],
            vec![Axis::Packed(segments)],
            mask,
            past.clone(),
            scores(part, 5, &Axis::Other),
        ],
        outputs: vec![vec![Axis::Batch, Axis::Other, Axis::Heads(each[2])], past],
        names: ("num_heads", None),
        hidden: sizes.map(|_| ("qkv_hidden_sizes", each)),
    })
}

/// GroupQueryAttention, always causal: queries, keys, values, past keys, past values, lengths, total length, cosines, sines,
/// positions, bias of scores, sinks.
fn grouped(part: &Part<'_>) -> Result<Layout, Refusal> {
    let (heads, key_heads) = (count(part, "num_heads")?, count(part, "kv_num_heads")?);
    let hidden = extent(part, 0, 2)?;
    let is_packed = part.input(1).is_none();
    let each = if is_packed { hidden / (heads + 2 * key_heads) } else { hidden / heads };
    let first = match is_packed {
        true => Axis::Packed(vec![
            (Axis::Heads(each), each * heads),
            (Axis::KeyHeads(each), each * key_heads),
            (Axis::KeyHeads(each), each * key_heads),
        ]),
        false => Axis::Heads(each),
    };
    let keys = vec![Axis::Batch, Axis::Other, Axis::KeyHeads(each)];
    let state = vec![Axis::Batch, Axis::KeyHeads(1), Axis::Other, Axis::Other];
    let lengths = part.shape(5).map_or(1, <[u64]>::len);
    let total = part.shape(6).map_or(0, <[u64]>::len);
    Ok(Layout {
        heads,
        key_heads,
        inputs: vec![
            vec![Axis::Batch, Axis::Other, first],
            keys.clone(),
            keys,
            state.clone(),
            state.clone(),
            [vec![Axis::Batch], vec![Axis::Other; lengths.max(1) - 1]].concat(),
            vec![Axis::Other; total],
            vec![Axis::Other; 2],
            vec![Axis::Other; 2],
            vec![Axis::Batch, Axis::Other],
            scores(part, 10, &Axis::Other),
            vec![Axis::Heads(1)],
        ],
        outputs: vec![vec![Axis::Batch, Axis::Other, Axis::Heads(each)], state.clone(), state],
        names: ("num_heads", Some("kv_num_heads")),
        hidden: None,
    })
}
