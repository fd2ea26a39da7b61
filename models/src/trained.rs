//! Graphs written here around weights that packages ship without one.

use crate::ModelsError;
use crate::builder::{Attribute, Builder, Value};
use crate::layers::Activation;
use crate::transformer::{self, Llama};
use crate::weights::{Orientation, TrainedTensor, TrainedWeights};
use crate::{gguf, pickle};
use tranche_graph::Model;
use tranche_schema::ElementType;

/// MiniLM-L6 from the bytes of its safetensors file.
pub(crate) fn minilm(safetensors: &[u8]) -> Result<Model, ModelsError> {
    transformer::minilm(&TrainedWeights::from_safetensors(safetensors)?)
}

/// SmolLM2-135M from the bytes of its GGUF file, dequantised to single precision.
pub(crate) fn smollm2(gguf: &[u8]) -> Result<Model, ModelsError> {
    let mut weights = gguf::read(gguf)?;
    let llama = Llama { width: 576, heads: 9, key_heads: 3, layers: 30, rope_base: 1e5, epsilon: 1e-5 };
    for layer in 0..llama.layers {
        for (name, heads) in [("attn_q", llama.heads), ("attn_k", llama.key_heads)] {
            let name = format!("blk.{layer}.{name}.weight");
            if let Some(tensor) = weights.tensors.get_mut(&name) {
                separate_rotary_halves(tensor, heads.unsigned_abs() as usize);
            }
        }
    }
    transformer::llama("smollm2_135m", &llama, &weights)
}

/// GGUF interleaves the two halves that a rotation mixes, row by row of each
/// head; the graph wants them one after the other.
fn separate_rotary_halves(tensor: &mut TrainedTensor, heads: usize) {
    let &[rows, columns] = tensor.shape.as_slice() else { return };
    let head = rows / heads.max(1);
    let row = |index: usize| tensor.values.get(index * columns..(index + 1) * columns).unwrap_or_default();
    let order = (0..heads).flat_map(|index| {
        let rows = index * head..(index + 1) * head;
        rows.clone().step_by(2).chain(rows.skip(1).step_by(2))
    });
    tensor.values = order.flat_map(|index| row(index).iter().copied()).collect();
}

/// EfficientNet-Lite0 from the bytes of its pickled PyTorch state; batch
/// normalisation is folded into the weights.
pub(crate) fn efficientnet_lite0(state: &[u8]) -> Result<Model, ModelsError> {
    let builder = Builder::new("efficientnet_lite0");
    let net = EfficientNet { builder: &builder, weights: pickle::read_legacy_state(state)? };
    let x = builder.input("input", ElementType::Float32, "N,3,224,224");
    let mut x = net.convolution(&x, "_conv_stem", "_bn0", Kernel { extent: 3, stride: 2, groups: 1 })?;
    x = builder.activate(x, Activation::Relu6);
    let mut channels = 32;
    let mut index = 0;
    let stages = [
        (16, 1, 1, 3),
        (24, 2, 2, 3),
        (40, 2, 2, 5),
        (80, 3, 2, 3),
        (112, 3, 1, 5),
        (192, 4, 2, 5),
        (320, 1, 1, 3),
    ];
    for (width, blocks, first_stride, extent) in stages {
        for block in 0..blocks {
            let stride = if block == 0 { first_stride } else { 1 };
            let y = net.block(&x, &format!("_blocks.{index}."), extent, stride)?;
            x = if stride == 1 && channels == width { builder.add(&x, &y) } else { y };
            channels = width;
            index += 1;
        }
    }
    let x = net.convolution(&x, "_conv_head", "_bn1", Kernel::POINT)?;
    let x = builder.activate(x, Activation::Relu6);
    let x = builder.flatten(&builder.node("GlobalAveragePool", &[&x], &[]));
    let weight = net.weights.constant_as(&builder, "_fc.weight", "fc.w", Orientation::AsStored)?;
    let bias = net.weights.constant_as(&builder, "_fc.bias", "fc.b", Orientation::AsStored)?;
    let logits = builder.node("Gemm", &[&x, &weight, &bias], &[("transB", Attribute::Integer(1))]);
    builder.output(&logits, "logits", "N,1000");
    Ok(builder.finish())
}

struct EfficientNet<'a> {
    builder: &'a Builder,
    weights: TrainedWeights,
}

#[derive(Clone, Copy)]
struct Kernel {
    extent: i64,
    stride: i64,
    groups: i64,
}

impl Kernel {
    const POINT: Self = Self { extent: 1, stride: 1, groups: 1 };
}

impl EfficientNet<'_> {
    /// An inverted residual block without its shortcut.
    fn block(&self, x: &Value, prefix: &str, extent: i64, stride: i64) -> Result<Value, ModelsError> {
        let name = |part: &str| format!("{prefix}{part}");
        let relu6 = |x: Value| self.builder.activate(x, Activation::Relu6);
        let expansion = name("_expand_conv");
        let mut y = x.clone();
        if self.weights.tensors.contains_key(&format!("{expansion}.weight")) {
            y = relu6(self.convolution(&y, &expansion, &name("_bn0"), Kernel::POINT)?);
        }
        let depthwise = name("_depthwise_conv");
        let channels = self.weights.get(&format!("{depthwise}.weight"))?.shape.first().copied();
        let groups = channels.and_then(|channels| i64::try_from(channels).ok()).unwrap_or(1);
        y = relu6(self.convolution(&y, &depthwise, &name("_bn1"), Kernel { extent, stride, groups })?);
        self.convolution(&y, &name("_project_conv"), &name("_bn2"), Kernel::POINT)
    }

    /// A convolution with the batch normalisation after it folded in.
    fn convolution(
        &self,
        x: &Value,
        name: &str,
        normalization: &str,
        kernel: Kernel,
    ) -> Result<Value, ModelsError> {
        const EPSILON: f32 = 1e-3;
        let weight = self.weights.get(&format!("{name}.weight"))?;
        let part = |part: &str| {
            let tensor = self.weights.get(&format!("{normalization}.{part}"))?;
            Ok::<_, ModelsError>(tensor.values.iter().copied())
        };
        let scales: Vec<f32> = part("weight")?
            .zip(part("running_var")?)
            .map(|(weight, variance)| weight / (variance + EPSILON).sqrt())
            .collect();
        let shifts: Vec<f32> = part("bias")?
            .zip(part("running_mean")?)
            .zip(&scales)
            .map(|((bias, mean), scale)| bias - mean * scale)
            .collect();
        let filter = (weight.values.len() / scales.len().max(1)).max(1);
        let filters = weight.values.chunks(filter).zip(&scales);
        let values =
            filters.flat_map(|(filter, scale)| filter.iter().map(move |weight| weight * scale)).collect();
        let folded = TrainedTensor { shape: weight.shape.clone(), values };
        let shift = TrainedTensor { shape: vec![shifts.len()], values: shifts };
        let attributes = [
            ("kernel_shape", Attribute::Integers(vec![kernel.extent; 2])),
            ("strides", Attribute::Integers(vec![kernel.stride; 2])),
            ("group", Attribute::Integer(kernel.groups)),
            ("auto_pad", Attribute::Text("SAME_UPPER")),
        ];
        let weight = folded.constant(self.builder, &format!("{name}.w"), Orientation::AsStored);
        let bias = shift.constant(self.builder, &format!("{name}.b"), Orientation::AsStored);
        Ok(self.builder.node("Conv", &[x, &weight, &bias], &attributes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleaved_rows_of_each_head_are_separated() {
        let mut tensor = TrainedTensor { shape: vec![8, 1], values: (0_u8..8).map(f32::from).collect() };
        separate_rotary_halves(&mut tensor, 2);
        assert_eq!(tensor.values, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
    }

    #[test]
    fn weights_of_another_model_are_told() {
        let error = minilm(&safetensors::serialize(NOTHING, None).unwrap()).unwrap_err().to_string();
        insta::assert_snapshot!(error, @"trained weights: no tensor is called `embeddings.position_embeddings.weight`");
    }

    const NOTHING: [(&str, safetensors::tensor::TensorView<'static>); 0] = [];
}
