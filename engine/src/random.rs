use std::collections::BTreeMap;
use tranche_schema::{AlignedBuffer, ElementType, Tensor, TensorError, TensorSpec};

/// What is known of a model's inputs beyond their types, for [`random_tensor`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RandomHints {
    /// Exclusive upper bound of an integer input's values, by input name: a
    /// vocabulary's or a node count, where values are indices.
    pub integer_limits: BTreeMap<String, u64>,
}

/// A tensor of random values for an input, the same on every machine for the same
/// spec, seed and hints; inputs of different names get different values.
///
/// Floats are uniform in [−1, 1). Integers are uniform in 0..limit, where the limit is
/// the hint for this name, else 2; without a hint, inputs whose name says attention
/// mask are ones, and those that say token types or segments zeros. Booleans are fair.
/// Strings are `text-N`.
///
/// # Errors
/// When the shape is too large to exist.
pub fn random_tensor(spec: &TensorSpec, seed: u64, hints: &RandomHints) -> Result<Tensor, TensorError> {
    let too_large = || TensorError::TooLarge { element_type: spec.element_type, shape: spec.shape.clone() };
    let elements = spec.shape.iter().try_fold(1_u64, |product, &extent| product.checked_mul(extent));
    let elements = elements.and_then(|count| usize::try_from(count).ok()).ok_or_else(too_large)?;
    let mut random = SplitMix::new(seed, &spec.name);
    if spec.element_type == ElementType::String {
        let strings: Vec<String> = (0..elements).map(|_| format!("text-{}", random.below(1_000))).collect();
        return Tensor::from_strings(spec.shape.clone(), &strings);
    }
    let length = spec.element_type.byte_size(&spec.shape).ok_or_else(too_large)?;
    let length = usize::try_from(length).ok().filter(|&length| length < isize::MAX as usize / 2);
    let mut buffer = AlignedBuffer::zeroed(length.ok_or_else(too_large)?);
    fill(buffer.as_mut(), spec, &mut random, hints);
    Tensor::new(spec.element_type, spec.shape.clone(), buffer.freeze())
}

fn fill(data: &mut [u8], spec: &TensorSpec, random: &mut SplitMix, hints: &RandomHints) {
    match spec.element_type {
        ElementType::Float32 | ElementType::Complex64 => each(data, || random.signed().to_le_bytes()),
        ElementType::Float64 | ElementType::Complex128 => {
            each(data, || f64::from(random.signed()).to_le_bytes());
        }
        ElementType::Float16 => each(data, || half::f16::from_f32(random.signed()).to_le_bytes()),
        ElementType::BFloat16 => each(data, || half::bf16::from_f32(random.signed()).to_le_bytes()),
        // Sign and highest exponent bit cleared: small, finite and never NaN in all of them.
        ElementType::Float8E4M3FN
        | ElementType::Float8E4M3FNUZ
        | ElementType::Float8E5M2
        | ElementType::Float8E5M2FNUZ => each(data, || [random.byte() & 0x3F]),
        ElementType::Float8E8M0 => each(data, || [random.byte() & 0x7F]),
        ElementType::Bool => each(data, || [random.byte() & 1]),
        ElementType::Int64 | ElementType::UInt64 => {
            let mut value = integer(spec, hints, random, i64::MAX as u64);
            each(data, || value().to_le_bytes());
        }
        ElementType::Int32 | ElementType::UInt32 => {
            let mut value = integer(spec, hints, random, i32::MAX as u64);
            each(data, || (value() as u32).to_le_bytes());
        }
        ElementType::Int16 | ElementType::UInt16 => {
            let mut value = integer(spec, hints, random, i16::MAX as u64);
            each(data, || (value() as u16).to_le_bytes());
        }
        ElementType::Int8 | ElementType::UInt8 => {
            let mut value = integer(spec, hints, random, i8::MAX as u64);
            each(data, || [value() as u8]);
        }
        // Packed types of a few bits, of which every pattern is a number.
        _ => each(data, || [random.byte()]),
    }
}

/// Values of an integer input, at most `largest`.
fn integer(
    spec: &TensorSpec,
    hints: &RandomHints,
    random: &mut SplitMix,
    largest: u64,
) -> impl FnMut() -> u64 {
    let name = spec.name.to_ascii_lowercase();
    let (base, limit) = match hints.integer_limits.get(&spec.name) {
        Some(&limit) => (0, limit),
        None if name.contains("mask") => (1, 1),
        None if name.contains("token_type") || name.contains("segment") => (0, 1),
        None => (0, 2),
    };
    let limit = limit.clamp(1, largest);
    move || base + random.below(limit)
}

fn each<const WIDTH: usize>(data: &mut [u8], mut next: impl FnMut() -> [u8; WIDTH]) {
    for element in data.as_chunks_mut().0 {
        *element = next();
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014), seeded by seed and name.
struct SplitMix(u64);

impl SplitMix {
    fn new(seed: u64, name: &str) -> Self {
        // FNV-1a of the name.
        let hash = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        });
        Self(seed ^ hash)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn byte(&mut self) -> u8 {
        (self.next() >> 56) as u8
    }

    /// Uniform in [−1, 1), a multiple of 2⁻²³.
    fn signed(&mut self) -> f32 {
        (self.next() >> 40) as f32 / 8_388_608.0 - 1.0
    }

    /// Uniform in 0..limit (to within limit/2⁶⁴), by the high half of a product.
    fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spec(name: &str, element_type: ElementType, shape: &[u64]) -> TensorSpec {
        TensorSpec { name: name.to_owned(), element_type, shape: shape.to_vec() }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_type_and_shape_is_made(
            index in 0..ElementType::ALL.len(),
            shape in prop::collection::vec(0_u64..4, 0..4),
            seed: u64,
        ) {
            let spec = spec("x", ElementType::ALL[index], &shape);
            let tensor = random_tensor(&spec, seed, &RandomHints::default()).unwrap();
            prop_assert_eq!(tensor.view().check(), Ok(()));
            prop_assert_eq!(tensor.shape(), &shape);
            prop_assert_eq!(random_tensor(&spec, seed, &RandomHints::default()).unwrap(), tensor);
        }

        #[test]
        fn integers_stay_below_their_limit(limit in 1_u64..1_000_000, seed: u64) {
            let hints = RandomHints { integer_limits: [("ids".to_owned(), limit)].into() };
            let tensor = random_tensor(&spec("ids", ElementType::Int64, &[64]), seed, &hints).unwrap();
            let values = tensor.as_slice::<i64>().unwrap();
            prop_assert!(values.iter().all(|&value| value >= 0 && (value as u64) < limit));
        }
    }

    #[test]
    fn values_are_the_same_everywhere() {
        let tensor = random_tensor(&spec("x", ElementType::Float32, &[3]), 7, &RandomHints::default());
        let other = random_tensor(&spec("y", ElementType::Float32, &[3]), 7, &RandomHints::default());
        let tensor = tensor.unwrap();
        assert_ne!(tensor, other.unwrap());
        assert_eq!(tensor.as_slice::<f32>().unwrap(), [0.48258233, 0.6632396, 0.24661684]);
    }

    #[test]
    fn names_tell_masks_and_types() {
        let values = |name| {
            let tensor = random_tensor(&spec(name, ElementType::Int64, &[4]), 1, &RandomHints::default());
            tensor.unwrap().as_slice::<i64>().unwrap().to_vec()
        };
        assert_eq!(values("attention_mask"), [1; 4]);
        assert_eq!(values("token_type_ids"), [0; 4]);
    }

    #[test]
    fn absurd_shapes_are_refused() {
        let absurd = spec("x", ElementType::UInt8, &[u64::MAX, 3]);
        assert!(matches!(
            random_tensor(&absurd, 0, &RandomHints::default()),
            Err(TensorError::TooLarge { .. })
        ));
    }
}
