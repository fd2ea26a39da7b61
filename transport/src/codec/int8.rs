//! `float32` as eight bits, affine, a scale and a zero point a channel. Lossy.
//!
//! With lo and hi the least and greatest of a channel's values and 0: scale = (hi − lo) / 255,
//! zero point = round(−lo / scale), code = clamp(round(x / scale) + zero point, 0, 255), and back
//! (code − zero point) · scale. That is ONNX's `DynamicQuantizeLinear`, channel by channel.
//!
//! Coded: the scales (`float32`), the zero points (`uint8`), then a byte an element in order.

use super::Layout;
use super::elements::{elements, elements_mut};
use bytes::Bytes;
use tranche_schema::{AlignedBuffer, ElementType};

/// Bytes of a channel's scale and zero point.
const CHANNEL_BYTES: u64 = 5;
/// Lanes of a reduction: enough to fill vector registers.
const LANES: usize = 16;
/// 1.5 · 2²³: adding it rounds a number below 2²² to an integer, ties to even, in the low bits.
const ROUND: f32 = 12_582_912.0;

/// How channels lie: `outer` times each channel, `inner` elements of it at a time.
#[derive(Clone, Copy)]
struct Channels {
    count: usize,
    inner: usize,
}

#[derive(Clone, Copy, Default)]
struct Affine {
    scale: f32,
    inverse: f32,
    zero_point: i32,
}

impl Channels {
    /// `None` for other types than `float32` and for tensors without elements.
    fn of(layout: Layout<'_>) -> Option<Self> {
        if layout.element_type != ElementType::Float32 || layout.shape.contains(&0) {
            return None;
        }
        let product =
            |extents: &[u64]| extents.iter().try_fold(1_u64, |product, &extent| product.checked_mul(extent));
        let (count, inner) = match layout.shape {
            [_, channels, inner @ ..] => (*channels, product(inner)?),
            whole => (1, product(whole)?),
        };
        Some(Self { count: usize::try_from(count).ok()?, inner: usize::try_from(inner).ok()? })
    }
}

/// Coded bytes of such a tensor; `None` where it is never coded so.
pub(super) fn coded_bytes(layout: Layout<'_>, raw_bytes: u64) -> Option<u64> {
    let channels = Channels::of(layout)?;
    (channels.count as u64).checked_mul(CHANNEL_BYTES)?.checked_add(raw_bytes / 4)
}

/// `None` where the codec does not apply, or would not save anything.
pub(super) fn encode(raw: &[u8], layout: Layout<'_>) -> Option<Bytes> {
    let length = coded_bytes(layout, raw.len() as u64).filter(|&length| length < raw.len() as u64)?;
    let channels = Channels::of(layout)?;
    let values = elements::<f32>(raw).ok()?;
    let affine = affine(values, channels)?;
    let mut buffer = AlignedBuffer::zeroed(usize::try_from(length).ok()?);
    let (scales, rest) = buffer.as_mut().split_at_mut_checked(4 * channels.count)?;
    let (zero_points, codes) = rest.split_at_mut_checked(channels.count)?;
    for ((scale, zero_point), affine) in scales.chunks_exact_mut(4).zip(zero_points).zip(&affine) {
        scale.copy_from_slice(&affine.scale.to_le_bytes());
        *zero_point = affine.zero_point as u8;
    }
    if channels.inner == 1 {
        for (values, codes) in values.chunks(channels.count).zip(codes.chunks_mut(channels.count)) {
            for ((code, value), affine) in codes.iter_mut().zip(values).zip(&affine) {
                *code = quantise(*value, *affine);
            }
        }
    } else {
        let runs = values.chunks(channels.inner).zip(codes.chunks_mut(channels.inner));
        for ((values, codes), affine) in runs.zip(affine.iter().cycle()) {
            for (code, value) in codes.iter_mut().zip(values) {
                *code = quantise(*value, *affine);
            }
        }
    }
    Some(buffer.freeze())
}

pub(super) fn decode(coded: &[u8], layout: Layout<'_>, raw: &mut [u8]) -> Result<(), String> {
    let cut = || "its channels do not fit its bytes".to_owned();
    let channels = Channels::of(layout).ok_or_else(cut)?;
    let scales_bytes = channels.count.checked_mul(4).ok_or_else(cut)?;
    let (scales, rest) = coded.split_at_checked(scales_bytes).ok_or_else(cut)?;
    let (zero_points, codes) = rest.split_at_checked(channels.count).ok_or_else(cut)?;
    let parameter =
        |(scale, zero_point): (&[u8; 4], &u8)| (f32::from_le_bytes(*scale), i32::from(*zero_point));
    let (scales, _) = scales.as_chunks::<4>();
    let parameters: Vec<(f32, i32)> = scales.iter().zip(zero_points).map(parameter).collect();
    if parameters.iter().any(|(scale, _)| !(scale.is_normal() || *scale == 0.0)) {
        return Err("a scale is no normal number".to_owned());
    }
    let values = elements_mut::<f32>(raw)?;
    if codes.len() != values.len() {
        return Err(cut());
    }
    if channels.inner == 1 {
        for (values, codes) in values.chunks_mut(channels.count).zip(codes.chunks(channels.count)) {
            for ((value, code), (scale, zero_point)) in values.iter_mut().zip(codes).zip(&parameters) {
                *value = (i32::from(*code) - zero_point) as f32 * scale;
            }
        }
    } else {
        let runs = values.chunks_mut(channels.inner).zip(codes.chunks(channels.inner));
        for ((values, codes), (scale, zero_point)) in runs.zip(parameters.iter().cycle()) {
            for (value, code) in values.iter_mut().zip(codes) {
                *value = (i32::from(*code) - zero_point) as f32 * scale;
            }
        }
    }
    Ok(())
}

#[inline(always)]
fn quantise(value: f32, affine: Affine) -> u8 {
    // |value · inverse| is at most 255 and a little, far below 2²².
    let rounded = (value * affine.inverse + ROUND).to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    (rounded + affine.zero_point).clamp(0, 255) as u8
}

/// Scale and zero point of each channel; `None` where a value is not finite or a scale not normal.
fn affine(values: &[f32], channels: Channels) -> Option<Vec<Affine>> {
    let mut ranges = vec![(0.0_f32, 0.0_f32); channels.count];
    let mut is_finite = true;
    if channels.inner == 1 {
        for row in values.chunks(channels.count) {
            for ((low, high), &value) in ranges.iter_mut().zip(row) {
                is_finite &= value.is_finite();
                *low = if value < *low { value } else { *low };
                *high = if value > *high { value } else { *high };
            }
        }
    } else {
        let mut rest = values;
        while !rest.is_empty() {
            for range in &mut ranges {
                let (run, after) = rest.split_at_checked(channels.inner)?;
                is_finite &= widen(range, run);
                rest = after;
            }
        }
    }
    is_finite.then(|| ranges.into_iter().map(affine_of).collect()).flatten()
}

/// Widens the range by the values; answers whether all are finite.
fn widen(range: &mut (f32, f32), values: &[f32]) -> bool {
    let (mut low, mut high) = ([range.0; LANES], [range.1; LANES]);
    let mut finite = [true; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut step = |lane: usize, value: f32| {
        low[lane] = if value < low[lane] { value } else { low[lane] };
        high[lane] = if value > high[lane] { value } else { high[lane] };
        finite[lane] &= value.is_finite();
    };
    for chunk in chunks {
        chunk.iter().enumerate().for_each(|(lane, &value)| step(lane, value));
    }
    rest.iter().enumerate().for_each(|(lane, &value)| step(lane, value));
    *range = low.iter().zip(&high).fold(*range, |range, (&low, &high)| (range.0.min(low), range.1.max(high)));
    finite.iter().all(|&finite| finite)
}

fn affine_of((low, high): (f32, f32)) -> Option<Affine> {
    if low == high {
        return Some(Affine::default());
    }
    // Divided first: the difference may be beyond what a float32 holds.
    let scale = high / 255.0 - low / 255.0;
    let inverse = 1.0 / scale;
    let zero_point = (-low / scale).round_ties_even().clamp(0.0, 255.0) as i32;
    (scale.is_normal() && inverse.is_normal()).then_some(Affine { scale, inverse, zero_point })
}
