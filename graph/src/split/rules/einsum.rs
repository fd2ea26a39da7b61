//! `Einsum`: `y[o…] = Σ x₁[l₁…] · x₂[l₂…] · …`, an index for each letter, summed over those that `o…` lacks (ONNX
//! operators, Einsum).
//!
//! Places of an axis of `y` are made of the same places of each input that has its letter. A summand is
//! made of some places of a letter that is summed over, of each input that has it.

use super::super::part::{Part, Rewrite};
use super::super::{Need, Ranges, Refusal};

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    let equation: String = part.text("equation").unwrap_or_default().split_whitespace().collect();
    let Some((terms, output)) = equation.split_once("->") else {
        return Err(part.refuse("its equation does not name its output"));
    };
    let terms: Vec<&str> = terms.split(',').collect();
    let is_plain = |term: &&str| {
        let letters = term.bytes().filter(u8::is_ascii_alphabetic).count();
        letters == term.len()
            && term.chars().enumerate().all(|(place, letter)| term.find(letter) == Some(place))
    };
    if !terms.iter().all(is_plain) || !is_plain(&output) || terms.len() != part.node.inputs.len() {
        return Err(part.refuse("its equation has an ellipsis or a letter twice in one term"));
    }
    let needs = |letter: char, extent: u64, ranges: &Ranges| -> Result<Vec<Option<Need>>, Refusal> {
        let need = |(place, term): (usize, &&str)| match term.find(letter) {
            Some(axis) if part.shape(place)?.get(axis) == Some(&extent) => {
                Ok(Some(Need::along(axis, ranges)))
            }
            Some(_) => Err(part.refuse("an axis of a term is broadcast")),
            None => Ok(Some(Need::Whole)),
        };
        terms.iter().enumerate().map(need).collect()
    };
    match part.only()? {
        Need::Whole => Ok(Rewrite::whole(part)),
        Need::Along { axis, ranges } => {
            let letter =
                output.chars().nth(*axis).ok_or_else(|| part.refuse("its equation lacks an axis"))?;
            let extent = part.output_shape(0)?.get(*axis).copied().unwrap_or(1);
            Ok(Rewrite::same(part, needs(letter, extent, ranges)?, part.share(*axis, ranges)?))
        }
        Need::Summand => {
            let mut refusal = part.refuse("it sums over nothing");
            for letter in terms[0].chars().filter(|&letter| !output.contains(letter)) {
                let axis = terms[0].find(letter).unwrap_or(0);
                let extent = part.shape(0)?.get(axis).copied().unwrap_or(1);
                match part.contraction(extent) {
                    Ok(ranges) => {
                        let work = ranges.count() as f64 / extent.max(1) as f64;
                        return Ok(Rewrite::same(part, needs(letter, extent, &ranges)?, work));
                    }
                    Err(reason) => refusal = reason,
                }
            }
            Err(refusal)
        }
    }
}
