//! The random stream of NumPy's legacy `RandomState`, frozen across its versions:
//! the seeded weights are the same bytes whichever program draws them.

use rand_mt::Mt;

/// NumPy's `RandomState(crc32(name))`: MT19937, 53-bit doubles, polar Gaussians.
pub(crate) struct RandomStream {
    generator: Mt,
    /// The polar method draws Gaussians in pairs; this is the one not yet given out.
    spare: Option<f64>,
}

impl RandomStream {
    /// The stream of the model called `name`.
    pub(crate) fn of_model(name: &str) -> Self {
        Self { generator: Mt::new(crc32fast::hash(name.as_bytes())), spare: None }
    }

    /// The next double in [0, 1), a multiple of 2⁻⁵³.
    pub(crate) fn uniform(&mut self) -> f64 {
        let high = f64::from(self.generator.next_u32() >> 5);
        let low = f64::from(self.generator.next_u32() >> 6);
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }

    /// The next standard normal, by Marsaglia's polar method.
    pub(crate) fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let x = 2.0 * self.uniform() - 1.0;
            let y = 2.0 * self.uniform() - 1.0;
            let square = x * x + y * y;
            if square < 1.0 && square != 0.0 {
                let factor = (-2.0 * square.ln() / square).sqrt();
                self.spare = Some(factor * x);
                return factor * y;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `RandomState(zlib.crc32(b'vgg16'))` of NumPy 2.4: `random_sample(3)`, then `randn(3)`.
    #[test]
    fn draws_what_numpy_draws() {
        let mut stream = RandomStream::of_model("vgg16");
        let drawn = [
            stream.uniform(),
            stream.uniform(),
            stream.uniform(),
            stream.normal(),
            stream.normal(),
            stream.normal(),
        ];
        assert_eq!(drawn, NUMPY);
    }

    const NUMPY: [f64; 6] = [
        0.5613771719681975,
        0.7142486492749598,
        0.06004259934822498,
        1.67489201896022,
        0.5933241590194606,
        0.7890134755778399,
    ];
}
