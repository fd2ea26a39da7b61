//! `float32` as half as many bytes: IEEE 754 half precision, or the upper half. Lossy.

use super::elements::{elements, elements_mut};
use bytes::Bytes;
use half::f16;
use half::slice::{HalfBitsSliceExt as _, HalfFloatSliceExt as _};
use tranche_schema::{AlignedBuffer, ElementType};

/// Which half.
#[derive(Clone, Copy)]
pub(super) enum Half {
    F16,
    Bf16,
}

/// Elements converted at a time, within the first-level cache.
const BLOCK: usize = 2048;
const MAGNITUDE: u32 = 0x7FFF_FFFF;
const INFINITY: u32 = 0x7F80_0000;

/// `None` for other types than `float32`, and where a finite value would become infinite.
pub(super) fn encode(raw: &[u8], element_type: ElementType, half: Half) -> Option<Bytes> {
    if element_type != ElementType::Float32 {
        return None;
    }
    let values = elements::<f32>(raw).ok()?;
    let mut buffer = AlignedBuffer::zeroed(raw.len() / 2);
    let halves = elements_mut::<u16>(buffer.as_mut()).ok()?;
    for (values, halves) in values.chunks(BLOCK).zip(halves.chunks_mut(BLOCK)) {
        let largest = match half {
            Half::F16 => {
                halves.reinterpret_cast_mut::<f16>().convert_from_f32_slice(values);
                0x7C00
            }
            Half::Bf16 => {
                for (half, value) in halves.iter_mut().zip(values) {
                    *half = to_bf16(value.to_bits());
                }
                0x7F80
            }
        };
        let overflows = values.iter().zip(&*halves).fold(false, |any, (value, half)| {
            let was_finite = value.to_bits() & MAGNITUDE < INFINITY;
            any | (was_finite & (half & 0x7FFF >= largest))
        });
        if overflows {
            return None;
        }
    }
    Some(buffer.freeze())
}

pub(super) fn decode(coded: &[u8], half: Half, raw: &mut [u8]) -> Result<(), String> {
    let values = elements_mut::<f32>(raw)?;
    let mut halves = [0_u16; BLOCK];
    for (values, coded) in values.chunks_mut(BLOCK).zip(coded.chunks(2 * BLOCK)) {
        // Copied first: the coded bytes lie where they lie.
        let halves = &mut halves[..values.len()];
        bytemuck::cast_slice_mut::<u16, u8>(halves).copy_from_slice(coded);
        match half {
            Half::F16 => halves.reinterpret_cast::<f16>().convert_to_f32_slice(values),
            Half::Bf16 => {
                for (value, half) in values.iter_mut().zip(halves) {
                    *value = f32::from_bits(u32::from(*half) << 16);
                }
            }
        }
    }
    Ok(())
}

/// Rounded to nearest, ties to even; NaN stays NaN.
fn to_bf16(bits: u32) -> u16 {
    let rounded = bits.wrapping_add(0x7FFF + ((bits >> 16) & 1)) >> 16;
    let quiet = (bits >> 16) | 0x40;
    (if bits & MAGNITUDE > INFINITY { quiet } else { rounded }) as u16
}
