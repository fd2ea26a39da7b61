//! `Resize` and `Upsample`: place `o` of an axis of `y` is read at place `(o + ½)/f − ½` of `x` (half_pixel), or at
//! `o/f` (asymmetric), for a scale `f`: the nearest place is taken, or those around are mixed (ONNX
//! operators, Resize; Upsample, and Resize before version 11 of the operator set, are asymmetric).
//!
//! - An axis of scale 1 passes.
//! - With a whole `f`, `y[o + f]` is of `x` at `i + 1` what `y[o]` is at `i`, but for the ends, where places
//!   beyond are the nearest within. Places `a..b` are therefore cut out of what is made of places
//!   `⌊a/f⌋ − h .. ⌈b/f⌉ + h`, where `x` has them: with a halo `h` that no wanted place reads beyond, the ends of
//!   the part are out of sight, or those of `x`. `h` is 1 for the nearest and linear, 2 for cubic mixing, 0
//!   where every `f` places are copies of one.
//! - Where the scale is no whole number, or the ends of both axes are laid on each other
//!   (`align_corners`), a part would be read at other places than the whole.
//! - It is linear: a summand is made of a summand of `x`.

use super::super::part::{Argument, Constant, Operation, Part, Rewrite};
use super::super::{Need, Refusal};

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    let mut needs: Vec<Option<Need>> =
        part.node.inputs.iter().map(|input| input.map(|_| Need::Whole)).collect();
    let (axis, ranges) = match part.only()? {
        Need::Whole => return Ok(Rewrite::whole(part)),
        Need::Summand => {
            needs[0] = Some(Need::Summand);
            return Ok(Rewrite::same(part, needs, 1.0));
        }
        Need::Along { axis, ranges } => (*axis, ranges),
    };
    let work = part.share(axis, ranges)?;
    let extent = part.shape(0)?.get(axis).copied().unwrap_or(0);
    let sizes = Sizes::of(part)?;
    let factor = sizes.factor(part, axis)?;
    if factor == 1 {
        needs[0] = Some(Need::Along { axis, ranges: ranges.clone() });
        let operation = sizes.written(part, &mut needs, axis, ranges.count());
        return Ok(Rewrite { needs, operations: vec![operation], work });
    }
    let halo = halo(part)?;
    let (start, end) =
        ranges.single().ok_or_else(|| part.refuse("places that are not adjacent are wanted"))?;
    let from = (start / factor).saturating_sub(halo);
    let to = (end.div_ceil(factor) + halo).min(extent);
    needs[0] = Need::range(axis, from, to);
    let made = (to - from) * factor;
    let mut operation = sizes.written(part, &mut needs, axis, made);
    if made == end - start {
        return Ok(Rewrite { needs, operations: vec![operation], work });
    }
    operation.outputs = vec![Argument::Local("resized")];
    let cut = (axis, start - from * factor, end - from * factor);
    let crop = Operation::crop(part, Argument::Local("resized"), Argument::Output(0), &[cut]);
    Ok(Rewrite { needs, operations: vec![operation, crop], work })
}

/// How many places more, on either side, keep the ends of a part out of sight.
fn halo(part: &Part<'_>) -> Result<u64, Refusal> {
    let mode = part.text("mode").unwrap_or_else(|| "nearest".to_owned());
    let is_first = part.node.operator() == "Upsample" || part.opset() < 11;
    let mapping =
        if is_first { Some("asymmetric".to_owned()) } else { part.text("coordinate_transformation_mode") };
    let mapping = mapping.unwrap_or_else(|| "half_pixel".to_owned());
    let rounding = if is_first { Some("floor".to_owned()) } else { part.text("nearest_mode") };
    let rounding = rounding.unwrap_or_else(|| "round_prefer_floor".to_owned());
    let is_half = matches!(mapping.as_str(), "half_pixel" | "pytorch_half_pixel" | "half_pixel_symmetric");
    if !is_half && mapping != "asymmetric" {
        return Err(
            part.refuse(format!("with `{mapping}`, a part would be read at other places than the whole"))
        );
    }
    if part.integer("antialias", 0) != 0 {
        return Err(part.refuse("it smooths before it resizes"));
    }
    match mode.as_str() {
        "nearest" if is_half && rounding.starts_with("round") => Ok(0),
        "nearest" if !is_half && rounding == "floor" => Ok(0),
        "nearest" | "linear" | "bilinear" => Ok(1),
        "cubic" => Ok(2),
        other => Err(part.refuse(format!("its mode `{other}` is not known"))),
    }
}

/// How the node says what it makes.
struct Sizes {
    /// Axes that are said, in this order; the others keep their extent.
    axes: Vec<usize>,
    /// Scale of each axis, where scales are given.
    scales: Option<Vec<f32>>,
    /// Extent of each axis, where extents are given.
    extents: Option<Vec<i64>>,
}

impl Sizes {
    fn of(part: &Part<'_>) -> Result<Self, Refusal> {
        let rank = part.shape(0)?.len();
        if part.text("coordinate_transformation_mode").as_deref() == Some("tf_crop_and_resize") {
            return Err(part.refuse("it cuts out a region, which an input says"));
        }
        if part.text("keep_aspect_ratio_policy").is_some_and(|policy| policy != "stretch") {
            return Err(part.refuse("it keeps the aspect of all its axes"));
        }
        let axes = match part.integer_list("axes") {
            None | Some([]) => (0..rank).collect(),
            Some(axes) => axes.iter().map(|&axis| part.axis(axis, rank)).collect::<Result<Vec<_>, _>>()?,
        };
        let is_upsample = part.node.operator() == "Upsample";
        let (scales, sizes) = if is_upsample || part.opset() < 11 { (1, None) } else { (2, Some(3)) };
        let extents = sizes.filter(|&place| part.input(place).is_some());
        let extents = extents.map(|place| part.integers(place)).transpose()?;
        let scales = match (&extents, part.node.attribute("scales")) {
            (Some(_), _) => None,
            (None, Some(scales)) => Some(scales.floats.clone()),
            (None, None) => Some(part.reals(scales)?),
        };
        let said = scales.as_ref().map(Vec::len).or(extents.as_ref().map(Vec::len));
        if said != Some(axes.len()) {
            return Err(part.refuse("its sizes and its axes differ in number"));
        }
        Ok(Self { axes, scales, extents })
    }

    /// The scale of an axis, which is a whole number.
    fn factor(&self, part: &Part<'_>, axis: usize) -> Result<u64, Refusal> {
        let extent = |shape: &[u64]| shape.get(axis).copied().unwrap_or(1).max(1);
        let (read, made) = (extent(part.shape(0)?), extent(part.output_shape(0)?));
        let factor = made / read;
        let place = self.axes.iter().position(|&said| said == axis);
        let scale = place.and_then(|place| self.scales.as_ref()?.get(place).copied());
        if factor * read != made || scale.is_some_and(|scale| scale != factor as f32) {
            return Err(part.refuse(format!("axis {axis} is not scaled by a whole number")));
        }
        Ok(factor)
    }

    /// The node where what it makes has another extent along an axis.
    fn written(&self, part: &Part<'_>, needs: &mut [Option<Need>], axis: usize, made: u64) -> Operation {
        let Some(extents) = &self.extents else { return Operation::same(part, needs) };
        let of = |(&said, &extent): (&usize, &i64)| if said == axis { made as i64 } else { extent };
        let extents: Vec<i64> = self.axes.iter().zip(extents).map(of).collect();
        needs[3] = None;
        let mut operation = Operation::same(part, needs);
        operation.inputs.resize(3, Argument::Absent);
        operation.inputs.push(Constant::integers(&extents));
        operation
    }
}
