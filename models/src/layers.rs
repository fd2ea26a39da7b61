//! The layers that the architectures are made of.

use crate::builder::{Attribute, Builder, Value};

/// An elementwise function behind a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    None,
    Relu,
    /// min(max(x, 0), 6)
    Relu6,
    Sigmoid,
    Tanh,
    /// x · sigmoid(x)
    Silu,
    /// x/2 · (1 + erf(x/√2))
    Gelu,
    /// The approximation of GELU by tanh that GPT-2 was trained with.
    GeluTanh,
}

/// A convolution's parameters; [`Convolution::new`] keeps the extent ("same" padding).
#[derive(Clone, Copy)]
pub(crate) struct Convolution {
    pub(crate) channels_in: i64,
    pub(crate) channels_out: i64,
    pub(crate) kernel: [i64; 2],
    pub(crate) stride: i64,
    pub(crate) padding: [i64; 2],
    pub(crate) groups: i64,
    pub(crate) activation: Activation,
    /// Scale of the weights over that which keeps the variance.
    pub(crate) gain: f64,
    pub(crate) bias: bool,
}

impl Convolution {
    pub(crate) fn new(channels_in: i64, channels_out: i64, kernel: [i64; 2]) -> Self {
        Self {
            channels_in,
            channels_out,
            kernel,
            stride: 1,
            padding: [kernel[0] / 2, kernel[1] / 2],
            groups: 1,
            activation: Activation::Relu,
            gain: 1.41,
            bias: true,
        }
    }

    pub(crate) fn square(channels_in: i64, channels_out: i64, kernel: i64) -> Self {
        Self::new(channels_in, channels_out, [kernel, kernel])
    }

    pub(crate) fn stride(self, stride: i64) -> Self {
        Self { stride, ..self }
    }

    pub(crate) fn padding(self, padding: i64) -> Self {
        Self { padding: [padding, padding], ..self }
    }

    pub(crate) fn groups(self, groups: i64) -> Self {
        Self { groups, ..self }
    }

    pub(crate) fn activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    pub(crate) fn gain(self, gain: f64) -> Self {
        Self { gain, ..self }
    }

    pub(crate) fn without_bias(self) -> Self {
        Self { bias: false, ..self }
    }
}

/// What the bias of every seeded layer is drawn with: small against its activations.
const BIAS_FAN: f64 = 3e3;

impl Builder {
    /// A seeded bias.
    pub(crate) fn bias(&self, extent: i64) -> Value {
        self.weight(&[extent], BIAS_FAN, 1.0)
    }

    /// The elementwise function `activation`.
    pub(crate) fn activate(&self, x: Value, activation: Activation) -> Value {
        match activation {
            Activation::None => x,
            Activation::Relu => self.node("Relu", &[&x], &[]),
            Activation::Sigmoid => self.node("Sigmoid", &[&x], &[]),
            Activation::Tanh => self.node("Tanh", &[&x], &[]),
            Activation::Relu6 => self.node("Clip", &[&x, &self.real(0.0), &self.real(6.0)], &[]),
            Activation::Silu => self.multiply(&x, &self.node("Sigmoid", &[&x], &[])),
            Activation::Gelu => {
                let scaled = self.divide(&x, &self.real(std::f64::consts::SQRT_2));
                let error = self.node("Erf", &[&scaled], &[]);
                let doubled = self.multiply(&x, &self.add(&error, &self.real(1.0)));
                self.multiply(&doubled, &self.real(0.5))
            }
            Activation::GeluTanh => {
                let cube = self.node("Pow", &[&x, &self.real(3.0)], &[]);
                let inner = self.add(&x, &self.multiply(&cube, &self.real(0.044_715)));
                let inner = self.multiply(&inner, &self.real((2.0 / std::f64::consts::PI).sqrt()));
                let half = self.multiply(&x, &self.real(0.5));
                let tanh = self.node("Tanh", &[&inner], &[]);
                self.multiply(&half, &self.add(&tanh, &self.real(1.0)))
            }
        }
    }

    pub(crate) fn add(&self, a: &Value, b: &Value) -> Value {
        self.node("Add", &[a, b], &[])
    }

    pub(crate) fn subtract(&self, a: &Value, b: &Value) -> Value {
        self.node("Sub", &[a, b], &[])
    }

    pub(crate) fn multiply(&self, a: &Value, b: &Value) -> Value {
        self.node("Mul", &[a, b], &[])
    }

    pub(crate) fn divide(&self, a: &Value, b: &Value) -> Value {
        self.node("Div", &[a, b], &[])
    }

    pub(crate) fn matrix_multiply(&self, a: &Value, b: &Value) -> Value {
        self.node("MatMul", &[a, b], &[])
    }

    pub(crate) fn concat(&self, parts: &[&Value], axis: i64) -> Value {
        self.node("Concat", parts, &[("axis", Attribute::Integer(axis))])
    }

    pub(crate) fn transpose(&self, x: &Value, permutation: &[i64]) -> Value {
        self.node("Transpose", &[x], &[("perm", Attribute::Integers(permutation.to_vec()))])
    }

    pub(crate) fn reshape(&self, x: &Value, shape: &[i64]) -> Value {
        self.node("Reshape", &[x, &self.integers(shape)], &[])
    }

    pub(crate) fn unsqueeze(&self, x: &Value, axes: &[i64]) -> Value {
        self.node("Unsqueeze", &[x, &self.integers(axes)], &[])
    }

    /// Rows of `table` (axis 0).
    pub(crate) fn gather(&self, table: &Value, indices: &Value) -> Value {
        self.node("Gather", &[table, indices], &[])
    }

    /// The slice of `x` at `index` of `axis`, without that axis.
    pub(crate) fn select(&self, x: &Value, index: i64, axis: i64) -> Value {
        self.node("Gather", &[x, &self.integer(index)], &[("axis", Attribute::Integer(axis))])
    }

    /// The extent of `axis` of `x`, without dimensions.
    pub(crate) fn extent(&self, x: &Value, axis: i64) -> Value {
        let shape = self.node("Shape", &[x], &[]);
        self.select(&shape, axis, 0)
    }

    /// `N` equal parts along `axis`.
    pub(crate) fn split<const N: usize>(&self, x: &Value, axis: i64) -> [Value; N] {
        let count = i64::try_from(N).unwrap_or(i64::MAX);
        let attributes = [("axis", Attribute::Integer(axis)), ("num_outputs", Attribute::Integer(count))];
        self.node_with("Split", &[x], &attributes)
    }

    pub(crate) fn softmax(&self, x: &Value) -> Value {
        self.node("Softmax", &[x], &[("axis", Attribute::Integer(-1))])
    }

    /// A convolution with seeded weights and its activation.
    #[expect(clippy::cast_precision_loss, reason = "a fan is small")]
    pub(crate) fn convolution(&self, x: &Value, layer: &Convolution) -> Value {
        let [height, width] = layer.kernel;
        let group_channels = layer.channels_in / layer.groups;
        let fan = (group_channels * height * width) as f64;
        let weight = self.weight(&[layer.channels_out, group_channels, height, width], fan, layer.gain);
        let bias = layer.bias.then(|| self.bias(layer.channels_out));
        let inputs: Vec<&Value> = [Some(x), Some(&weight), bias.as_ref()].into_iter().flatten().collect();
        let [top, left] = layer.padding;
        let attributes = [
            ("kernel_shape", Attribute::Integers(layer.kernel.to_vec())),
            ("strides", Attribute::Integers(vec![layer.stride; 2])),
            ("pads", Attribute::Integers(vec![top, left, top, left])),
            ("group", Attribute::Integer(layer.groups)),
        ];
        self.activate(self.node("Conv", &inputs, &attributes), layer.activation)
    }

    /// x · W with seeded W of shape [`from`, `to`].
    #[expect(clippy::cast_precision_loss, reason = "a fan is small")]
    pub(crate) fn projection(&self, x: &Value, from: i64, to: i64, gain: f64) -> Value {
        self.matrix_multiply(x, &self.weight(&[from, to], from as f64, gain))
    }

    /// x · W + b as MatMul and Add, for any number of leading axes.
    pub(crate) fn linear(&self, x: &Value, from: i64, to: i64, gain: f64, activation: Activation) -> Value {
        let product = self.projection(x, from, to, gain);
        self.activate(self.add(&product, &self.bias(to)), activation)
    }

    /// x · Wᵀ + b as one Gemm, for a matrix x.
    #[expect(clippy::cast_precision_loss, reason = "a fan is small")]
    pub(crate) fn dense(&self, x: &Value, from: i64, to: i64, gain: f64, activation: Activation) -> Value {
        let weight = self.weight(&[to, from], from as f64, gain);
        let bias = self.bias(to);
        let y = self.node("Gemm", &[x, &weight, &bias], &[("transB", Attribute::Integer(1))]);
        self.activate(y, activation)
    }

    /// Batch normalisation with seeded statistics.
    #[expect(clippy::cast_possible_truncation, reason = "weights are single precision")]
    pub(crate) fn batch_normalization(&self, x: &Value, channels: i64) -> Value {
        let name = self.next_name("bnv");
        let variance = self.drawn(&[channels], name, |random| (0.5 + random.uniform()) as f32);
        let scale = self.normal_weight(channels, 1.0, 0.05, "bn");
        let bias = self.normal_weight(channels, 0.0, 0.05, "bn");
        let mean = self.normal_weight(channels, 0.0, 0.05, "bn");
        let inputs = [x, &scale, &bias, &mean, &variance];
        self.node("BatchNormalization", &inputs, &[("epsilon", Attribute::Real(1e-5))])
    }

    /// Seeded reals, normal around `centre`, named `prefix` and a number.
    #[expect(clippy::cast_possible_truncation, reason = "weights are single precision")]
    fn normal_weight(&self, extent: i64, centre: f64, deviation: f64, prefix: &str) -> Value {
        let name = self.next_name(prefix);
        self.drawn(&[extent], name, |random| (centre + deviation * random.normal()) as f32)
    }

    /// Seeded scale and shift of a layer normalisation.
    pub(crate) fn normalization_weights(&self, channels: i64) -> [Value; 2] {
        [self.normal_weight(channels, 1.0, 0.02, "g"), self.normal_weight(channels, 0.0, 0.02, "b")]
    }

    /// Layer normalisation over the last axis.
    pub(crate) fn layer_normalization(&self, x: &Value, weights: &[Value; 2], epsilon: f32) -> Value {
        let [scale, shift] = weights;
        let attributes = [("axis", Attribute::Integer(-1)), ("epsilon", Attribute::Real(epsilon))];
        self.node("LayerNormalization", &[x, scale, shift], &attributes)
    }

    pub(crate) fn max_pool(&self, x: &Value, kernel: i64, stride: i64, padding: i64) -> Value {
        self.node("MaxPool", &[x], &pooling(kernel, stride, padding))
    }

    /// Average pooling that counts the padding.
    pub(crate) fn average_pool(&self, x: &Value, kernel: i64, stride: i64, padding: i64) -> Value {
        let mut attributes = pooling(kernel, stride, padding).to_vec();
        attributes.push(("count_include_pad", Attribute::Integer(1)));
        self.node("AveragePool", &[x], &attributes)
    }

    pub(crate) fn flatten(&self, x: &Value) -> Value {
        self.node("Flatten", &[x], &[("axis", Attribute::Integer(1))])
    }

    /// Global average and 1000 classes.
    pub(crate) fn classifier(&self, x: &Value, channels: i64) -> Value {
        let pooled = self.node("GlobalAveragePool", &[x], &[]);
        self.dense(&self.flatten(&pooled), channels, 1000, 1.0, Activation::None)
    }
}

fn pooling(kernel: i64, stride: i64, padding: i64) -> [(&'static str, Attribute); 3] {
    [
        ("kernel_shape", Attribute::Integers(vec![kernel; 2])),
        ("strides", Attribute::Integers(vec![stride; 2])),
        ("pads", Attribute::Integers(vec![padding; 4])),
    ]
}
