//! What convolutions and poolings have in common: a window that moves over spatial axes.
//!
//! Output place `p` of an axis reads input places `s·p − before + d·q` for `q` in `0..k`. Places
//! `a..b` of the output therefore read `s·a − before .. s·(b − 1) − before + d·(k − 1) + 1`; those below 0 or
//! beyond the input are padding. With `ceil_mode` the last window may hang over what is padded: a part
//! that makes it reads to the end and stays in `ceil_mode`, so that it hangs over there too.

use super::super::part::{Operation, Part};
use super::super::{Need, Ranges, Refusal};
use tranche_schema::AttributeValue;

/// A window over the spatial axes of a node, paddings explicit.
pub(super) struct Window {
    kernel: Vec<u64>,
    strides: Vec<u64>,
    dilations: Vec<u64>,
    before: Vec<u64>,
    after: Vec<u64>,
}

impl Window {
    /// The window of a node whose kernel has these extents.
    ///
    /// # Errors
    /// When an attribute has the wrong length or sign, or a shape is not known.
    pub(super) fn of(part: &Part<'_>, kernel: &[u64]) -> Result<Self, Refusal> {
        let axes = kernel.len();
        let input = part.shape(0)?.get(2..).unwrap_or_default();
        let output = part.output_shape(0)?.get(2..).unwrap_or_default();
        if input.len() != axes || output.len() != axes {
            return Err(part.refuse("its window and its input have different axes"));
        }
        let list = |name: &str, default: u64, count: usize| -> Result<Vec<u64>, Refusal> {
            match part.integer_list(name) {
                None | Some([]) => Ok(vec![default; count]),
                Some(values) if values.len() == count => values
                    .iter()
                    .map(|&value| {
                        u64::try_from(value).map_err(|_| part.refuse(format!("`{name}` is negative")))
                    })
                    .collect(),
                Some(_) => Err(part.refuse(format!("`{name}` has the wrong length"))),
            }
        };
        let strides = list("strides", 1, axes)?;
        let dilations = list("dilations", 1, axes)?;
        if strides.contains(&0) || dilations.contains(&0) || kernel.contains(&0) {
            return Err(part.refuse("a stride, a dilation or the kernel is 0"));
        }
        let automatic = part.text("auto_pad").unwrap_or_else(|| "NOTSET".to_owned());
        if part.integer("ceil_mode", 0) != 0 && !matches!(automatic.as_str(), "NOTSET" | "") {
            return Err(
                part.refuse("it has both `ceil_mode` and `auto_pad`, of which engines make different things")
            );
        }
        let (before, after) = match automatic.as_str() {
            "NOTSET" | "" => {
                let mut pads = list("pads", 0, 2 * axes)?;
                let after = pads.split_off(axes);
                (pads, after)
            }
            "VALID" => (vec![0; axes], vec![0; axes]),
            // ONNX operators, Conv, auto_pad: as many as the output's extent asks for, the odd one
            // after for SAME_UPPER, before for SAME_LOWER.
            same => {
                let total = |axis: usize| {
                    let covered =
                        (output[axis].max(1) - 1) * strides[axis] + dilations[axis] * (kernel[axis] - 1) + 1;
                    covered.saturating_sub(input[axis])
                };
                let lower = same == "SAME_LOWER";
                let before = |axis: usize| if lower { total(axis).div_ceil(2) } else { total(axis) / 2 };
                ((0..axes).map(before).collect(), (0..axes).map(|axis| total(axis) - before(axis)).collect())
            }
        };
        Ok(Self { kernel: kernel.to_vec(), strides, dilations, before, after })
    }

    /// What these places of an axis of the output need of the input, and the node that makes them.
    ///
    /// # Errors
    /// When the places are not adjacent, or they are made of padding alone.
    pub(super) fn tile(
        &self,
        part: &Part<'_>,
        axis: usize,
        ranges: &Ranges,
    ) -> Result<(Need, Operation), Refusal> {
        let (start, end) =
            ranges.single().ok_or_else(|| part.refuse("places that are not adjacent are wanted"))?;
        let spatial = axis - 2;
        let extent = part.shape(0)?.get(axis).copied().unwrap_or(0) as i64;
        let stride = self.strides[spatial] as i64;
        let first = start as i64 * stride - self.before[spatial] as i64;
        let span = (self.dilations[spatial] * (self.kernel[spatial] - 1) + 1) as i64;
        let last = (end as i64 - 1) * stride - self.before[spatial] as i64 + span;
        let (from, to) = (first.max(0), last.min(extent));
        let need = Need::range(axis, from as u64, to.max(0) as u64)
            .ok_or_else(|| part.refuse("a part would be made of padding alone"))?;
        let mut before: Vec<i64> = self.before.iter().map(|&pad| pad as i64).collect();
        let mut after: Vec<i64> = self.after.iter().map(|&pad| pad as i64).collect();
        before[spatial] = from - first;
        // What lies further beyond is no padding: the last window of `ceil_mode` hangs over.
        after[spatial] = (last - to).clamp(0, after[spatial]);
        before.extend(after);
        let operation = Operation::same(part, &[Some(need.clone())])
            .with("pads", AttributeValue::Integers(before))
            .without("auto_pad");
        Ok((need, operation))
    }
}
