//! Transformers.

use crate::ModelsError;
use crate::builder::{Attribute, Builder, Value};
use crate::layers::{Activation, Convolution};
use crate::weights::{Orientation, TrainedWeights};
use tranche_graph::Model;
use tranche_schema::ElementType;

/// Word pieces that BERT knows.
pub(crate) const BERT_VOCABULARY: i64 = 30_522;
/// Positions that BERT knows.
const BERT_POSITIONS: i64 = 512;
/// Byte pairs that GPT-2 knows.
pub(crate) const GPT2_VOCABULARY: i64 = 50_257;
/// Added to the score of a hidden key: below every score, yet finite, so that a
/// row of hidden keys alone gives no NaN.
const HIDDEN_SCORE: f64 = -3.4e38;

/// Where the weights of an encoder come from.
#[derive(Clone, Copy)]
enum Parameters<'a> {
    Seeded,
    Trained(&'a TrainedWeights),
}

/// Sizes of a transformer block.
#[derive(Clone, Copy)]
struct Block {
    width: i64,
    heads: i64,
    feed_forward: i64,
    epsilon: f32,
    /// Normalises before attention and feed-forward instead of after.
    normalizes_first: bool,
}

/// An encoder in the making.
struct Encoder<'a> {
    builder: &'a Builder,
    parameters: Parameters<'a>,
    block: Block,
}

impl Encoder<'_> {
    fn linear(
        &self,
        x: &Value,
        name: &str,
        [from, to]: [i64; 2],
        activation: Activation,
    ) -> Result<Value, ModelsError> {
        let builder = self.builder;
        match self.parameters {
            Parameters::Seeded => Ok(builder.linear(x, from, to, 1.0, activation)),
            Parameters::Trained(weights) => {
                let weight = weights.constant(builder, &format!("{name}.weight"), Orientation::Transposed)?;
                let product = builder.matrix_multiply(x, &weight);
                let bias = weights.constant(builder, &format!("{name}.bias"), Orientation::AsStored)?;
                Ok(builder.activate(builder.add(&product, &bias), activation))
            }
        }
    }

    fn normalization(&self, x: &Value, name: &str) -> Result<Value, ModelsError> {
        let builder = self.builder;
        let weights = match self.parameters {
            Parameters::Seeded => builder.normalization_weights(self.block.width),
            Parameters::Trained(weights) => [
                weights.constant(builder, &format!("{name}.weight"), Orientation::AsStored)?,
                weights.constant(builder, &format!("{name}.bias"), Orientation::AsStored)?,
            ],
        };
        Ok(builder.layer_normalization(x, &weights, self.block.epsilon))
    }

    fn embedding(&self, name: &str, rows: i64) -> Result<Value, ModelsError> {
        match self.parameters {
            Parameters::Seeded => {
                // A uniform distribution of standard deviation 0.02, as BERT starts from.
                let fan = 3.0 / 0.000_4 / 3.0;
                Ok(self.builder.weight_named(&[rows, self.block.width], fan, 1.0, name))
            }
            Parameters::Trained(weights) => {
                weights.constant(self.builder, &format!("embeddings.{name}.weight"), Orientation::AsStored)
            }
        }
    }

    /// Self-attention and feed-forward. `prefix` names the trained weights.
    fn block(&self, x: &Value, mask: Option<&Value>, prefix: &str) -> Result<Value, ModelsError> {
        let Self { builder, block, .. } = self;
        let Block { width, heads, feed_forward, normalizes_first, .. } = *block;
        let name = |part: &str| format!("{prefix}{part}");
        let square = [width, width];
        let head_width = width / heads;

        let normalized = match normalizes_first {
            true => &self.normalization(x, &name("attention.output.LayerNorm"))?,
            false => x,
        };
        let query = self.linear(normalized, &name("attention.self.query"), square, Activation::None)?;
        let query = split_heads(builder, &query, heads, head_width);
        let key = self.linear(normalized, &name("attention.self.key"), square, Activation::None)?;
        let key = builder.reshape(&key, &[0, 0, heads, head_width]);
        let key = builder.transpose(&key, &[0, 2, 3, 1]);
        let value = self.linear(normalized, &name("attention.self.value"), square, Activation::None)?;
        let value = split_heads(builder, &value, heads, head_width);
        let attended = attention(builder, &query, &key, &value, mask, head_width);
        let merged = merge_heads(builder, &attended, width);
        let y = self.linear(&merged, &name("attention.output.dense"), square, Activation::None)?;
        let mut x = builder.add(x, &y);
        if !normalizes_first {
            x = self.normalization(&x, &name("attention.output.LayerNorm"))?;
        }

        let normalized = match normalizes_first {
            true => &self.normalization(&x, &name("output.LayerNorm"))?,
            false => &x,
        };
        let widths = [width, feed_forward];
        let inner = self.linear(normalized, &name("intermediate.dense"), widths, Activation::Gelu)?;
        let y = self.linear(&inner, &name("output.dense"), [feed_forward, width], Activation::None)?;
        let x = builder.add(&x, &y);
        if normalizes_first { Ok(x) } else { self.normalization(&x, &name("output.LayerNorm")) }
    }
}

/// [N, S, C] to [N, heads, S, C / heads].
fn split_heads(builder: &Builder, x: &Value, heads: i64, head_width: i64) -> Value {
    builder.transpose(&builder.reshape(x, &[0, 0, heads, head_width]), &[0, 2, 1, 3])
}

/// [N, heads, S, C / heads] to [N, S, C].
fn merge_heads(builder: &Builder, x: &Value, width: i64) -> Value {
    builder.reshape(&builder.transpose(x, &[0, 2, 1, 3]), &[0, 0, width])
}

/// softmax(Q · Kᵀ / √d + mask) · V, for K already transposed.
#[expect(clippy::cast_precision_loss, reason = "a head is narrow")]
fn attention(
    builder: &Builder,
    query: &Value,
    key: &Value,
    value: &Value,
    mask: Option<&Value>,
    head_width: i64,
) -> Value {
    let product = builder.matrix_multiply(query, key);
    let mut scores = builder.divide(&product, &builder.real((head_width as f64).sqrt()));
    if let Some(mask) = mask {
        scores = builder.add(&scores, mask);
    }
    builder.matrix_multiply(&builder.softmax(&scores), value)
}

/// BERT base, uncased (arXiv 1810.04805), with its pooler.
pub(crate) fn bert_base() -> Result<Model, ModelsError> {
    let block = Block { width: 768, heads: 12, feed_forward: 3072, epsilon: 1e-12, normalizes_first: false };
    bert("bert_base", block, 12, Parameters::Seeded, true)
}

/// MiniLM-L6 of sentence-transformers: BERT with six narrow layers, without a pooler.
pub(crate) fn minilm(weights: &TrainedWeights) -> Result<Model, ModelsError> {
    let block = Block { width: 384, heads: 12, feed_forward: 1536, epsilon: 1e-12, normalizes_first: false };
    bert("minilm_l6_v2", block, 6, Parameters::Trained(weights), false)
}

fn bert(
    name: &str,
    block: Block,
    layers: usize,
    parameters: Parameters,
    pools: bool,
) -> Result<Model, ModelsError> {
    let builder = Builder::new(name);
    let encoder = Encoder { builder: &builder, parameters, block };
    let words = builder.input("input_ids", ElementType::Int64, "N,S");
    let attention_mask = builder.input("attention_mask", ElementType::Int64, "N,S");
    let types = builder.input("token_type_ids", ElementType::Int64, "N,S");

    let positions = encoder.embedding("position_embeddings", BERT_POSITIONS)?;
    let start = builder.integers(&[0]);
    let end = builder.unsqueeze(&builder.extent(&words, 1), &[0]);
    let positions = builder.node("Slice", &[&positions, &start, &end, &start], &[]);
    let words = builder.gather(&encoder.embedding("word_embeddings", BERT_VOCABULARY)?, &words);
    let types = builder.gather(&encoder.embedding("token_type_embeddings", 2)?, &types);
    let x = builder.add(&builder.add(&words, &types), &positions);
    let mut x = encoder.normalization(&x, "embeddings.LayerNorm")?;

    let one = builder.real(1.0);
    let mask = builder.unsqueeze(&attention_mask, &[1, 2]);
    let float = Attribute::Integer(i64::from(ElementType::Float32.to_onnx()));
    let mask = builder.node("Cast", &[&mask], &[("to", float)]);
    let mask = builder.multiply(&builder.subtract(&one, &mask), &builder.real(HIDDEN_SCORE));
    for layer in 0..layers {
        x = encoder.block(&x, Some(&mask), &format!("encoder.layer.{layer}."))?;
    }
    builder.output(&x, "last_hidden_state", &format!("N,S,{}", block.width));
    if pools {
        let first = builder.select(&x, 0, 1);
        let pooled = builder.dense(&first, block.width, block.width, 1.0, Activation::Tanh);
        builder.output(&pooled, "pooler_output", &format!("N,{}", block.width));
    }
    Ok(builder.finish())
}

/// The vision transformer ViT-B/16 (arXiv 2010.11929).
pub(crate) fn vit_b16() -> Result<Model, ModelsError> {
    const WIDTH: i64 = 768;
    const PATCHES: i64 = 196;
    /// Gives embeddings of standard deviation 0.02·√(1/3).
    const EMBEDDING_FAN: f64 = 7500.0;
    let builder = Builder::new("vit_b16");
    let block = Block { width: WIDTH, heads: 12, feed_forward: 3072, epsilon: 1e-6, normalizes_first: true };
    let encoder = Encoder { builder: &builder, parameters: Parameters::Seeded, block };

    let patches = Convolution::square(3, WIDTH, 16).stride(16).padding(0);
    let patches = patches.activation(Activation::None).gain(1.0);
    let x = builder.convolution(&builder.input("input", ElementType::Float32, "N,3,224,224"), &patches);
    let x = builder.transpose(&builder.reshape(&x, &[0, WIDTH, PATCHES]), &[0, 2, 1]);
    let batch = builder.unsqueeze(&builder.extent(&x, 0), &[0]);
    let class = builder.weight(&[1, 1, WIDTH], EMBEDDING_FAN, 1.0);
    let class_shape = builder.concat(&[&batch, &builder.integers(&[1, WIDTH])], 0);
    let class = builder.node("Expand", &[&class, &class_shape], &[]);
    let x = builder.concat(&[&class, &x], 1);
    let mut x = builder.add(&x, &builder.weight(&[1, PATCHES + 1, WIDTH], EMBEDDING_FAN, 1.0));
    for _ in 0..12 {
        x = encoder.block(&x, None, "")?;
    }
    let x = encoder.normalization(&x, "")?;
    let x = builder.dense(&builder.select(&x, 0, 1), WIDTH, 1000, 1.0, Activation::None);
    builder.output(&x, "logits", "N,1000");
    Ok(builder.finish())
}

/// Keys and values of the tokens before the input, of each layer.
fn past_inputs(builder: &Builder, layers: usize, heads: i64, head_width: i64) -> Vec<[Value; 2]> {
    let shape = format!("N,{heads},P,{head_width}");
    let input = |name: String| builder.input(&name, ElementType::Float32, &shape);
    (0..layers)
        .map(|layer| [input(format!("past_key.{layer}")), input(format!("past_value.{layer}"))])
        .collect()
}

/// Positions P … P+S−1 of an input of S tokens after a past of P.
fn positions(builder: &Builder, length: &Value, past: &Value) -> Value {
    let end = builder.add(past, length);
    builder.node("Range", &[past, &end, &builder.integer(1)], &[])
}

/// [S, P+S]: 0 where key j ≤ P+i is visible to query i, else [`HIDDEN_SCORE`].
fn causal_mask(builder: &Builder, length: &Value, past: &Value) -> Value {
    let count = |end: &Value| {
        let start = builder.integer(0);
        builder.node("Range", &[&start, end, &builder.integer(1)], &[])
    };
    let total = builder.add(past, length);
    let keys = builder.unsqueeze(&count(&total), &[0]);
    let queries = builder.unsqueeze(&builder.add(&count(length), past), &[1]);
    let visible = builder.node("LessOrEqual", &[&keys, &queries], &[]);
    builder.node("Where", &[&visible, &builder.real(0.0), &builder.real(HIDDEN_SCORE)], &[])
}

/// GPT-2 small with past keys and values in and present ones out.
pub(crate) fn gpt2_small() -> Model {
    const WIDTH: i64 = 768;
    const HEADS: i64 = 12;
    const HEAD_WIDTH: i64 = WIDTH / HEADS;
    const EPSILON: f32 = 1e-5;
    /// Keeps the variance of the residual stream over 24 additions.
    const RESIDUAL_GAIN: f64 = 0.3;
    let builder = Builder::new("gpt2_small");
    let ids = builder.input("input_ids", ElementType::Int64, "N,S");
    let past = past_inputs(&builder, 12, HEADS, HEAD_WIDTH);
    let words = builder.weight_named(&[GPT2_VOCABULARY, WIDTH], 2500.0, 1.0, "wte");
    let places = builder.weight_named(&[1024, WIDTH], 1e4, 1.0, "wpe");
    let normalized = |x: &Value| {
        let weights = builder.normalization_weights(WIDTH);
        builder.layer_normalization(x, &weights, EPSILON)
    };

    let length = builder.extent(&ids, 1);
    let past_length = past_length(&builder, &past);
    let positions = positions(&builder, &length, &past_length);
    let mask = causal_mask(&builder, &length, &past_length);
    let x = builder.gather(&words, &ids);
    let mut x = builder.add(&x, &builder.gather(&places, &positions));
    for (layer, past) in past.iter().enumerate() {
        let joint = builder.linear(&normalized(&x), WIDTH, 3 * WIDTH, 1.0, Activation::None);
        let parts = builder.split::<3>(&joint, 2);
        let [query, key, value] = parts.map(|part| split_heads(&builder, &part, HEADS, HEAD_WIDTH));
        let [key, value] = extend_past(&builder, past, [&key, &value]);
        present_outputs(&builder, layer, [&key, &value], HEADS, HEAD_WIDTH);
        let key = builder.transpose(&key, &[0, 1, 3, 2]);
        let attended = attention(&builder, &query, &key, &value, Some(&mask), HEAD_WIDTH);
        let merged = merge_heads(&builder, &attended, WIDTH);
        let y = builder.linear(&merged, WIDTH, WIDTH, RESIDUAL_GAIN, Activation::None);
        x = builder.add(&x, &y);
        let inner = builder.linear(&normalized(&x), WIDTH, 4 * WIDTH, 1.0, Activation::GeluTanh);
        let y = builder.linear(&inner, 4 * WIDTH, WIDTH, RESIDUAL_GAIN, Activation::None);
        x = builder.add(&x, &y);
    }
    let x = normalized(&x);
    let logits = builder.matrix_multiply(&x, &builder.transpose(&words, &[1, 0]));
    builder.output(&logits, "logits", &format!("N,S,{GPT2_VOCABULARY}"));
    builder.last_output_first();
    builder.finish()
}

/// The number of past tokens.
fn past_length(builder: &Builder, past: &[[Value; 2]]) -> Value {
    match past.first() {
        Some([key, _]) => builder.extent(key, 2),
        None => builder.integer(0),
    }
}

/// Past keys and values followed by the new ones.
fn extend_past(builder: &Builder, past: &[Value; 2], new: [&Value; 2]) -> [Value; 2] {
    let ([past_key, past_value], [key, value]) = (past, new);
    [builder.concat(&[past_key, key], 2), builder.concat(&[past_value, value], 2)]
}

/// Keys and values to pass in as past with the next tokens.
fn present_outputs(builder: &Builder, layer: usize, present: [&Value; 2], heads: i64, head_width: i64) {
    let shape = format!("N,{heads},T,{head_width}");
    let [key, value] = present;
    builder.output(key, &format!("present_key.{layer}"), &shape);
    builder.output(value, &format!("present_value.{layer}"), &shape);
}

/// Sizes of a Llama-like decoder.
pub(crate) struct Llama {
    pub(crate) width: i64,
    pub(crate) heads: i64,
    /// Heads of keys and values, each shared by `heads / key_heads` query heads.
    pub(crate) key_heads: i64,
    pub(crate) layers: usize,
    /// Base of the wavelengths of the rotary embedding.
    pub(crate) rope_base: f64,
    pub(crate) epsilon: f64,
}

/// Positions that the rotary tables hold.
const ROPE_POSITIONS: u32 = 2048;

/// A decoder in the making. Weights are called as in GGUF files.
struct Decoder<'a> {
    builder: &'a Builder,
    weights: &'a TrainedWeights,
    sizes: &'a Llama,
    head_width: i64,
    cosine: Value,
    sine: Value,
    mask: Value,
}

/// A decoder with rotary positions (arXiv 2104.09864), grouped queries, RMS
/// normalisation and SwiGLU; past keys and values in and present ones out.
pub(crate) fn llama(name: &str, sizes: &Llama, weights: &TrainedWeights) -> Result<Model, ModelsError> {
    let builder = Builder::new(name);
    let head_width = sizes.width / sizes.heads;
    let ids = builder.input("input_ids", ElementType::Int64, "N,S");
    let past = past_inputs(&builder, sizes.layers, sizes.key_heads, head_width);
    let words = gguf_constant(&builder, weights, "token_embd", Orientation::AsStored)?;
    let length = builder.extent(&ids, 1);
    let past_length = past_length(&builder, &past);
    let mask = causal_mask(&builder, &length, &past_length);
    let mut x = builder.gather(&words, &ids);
    let positions = positions(&builder, &length, &past_length);
    let [cosine, sine] =
        [("rope_cos", f64::cos as fn(f64) -> f64), ("rope_sin", f64::sin)].map(|(name, wave)| {
            builder.gather(&rope_table(&builder, name, head_width, sizes.rope_base, wave), &positions)
        });
    let decoder = Decoder { builder: &builder, weights, sizes, head_width, cosine, sine, mask };
    for (layer, past) in past.iter().enumerate() {
        x = decoder.block(&x, layer, past)?;
    }
    let x = decoder.normalization(&x, "output_norm")?;
    let logits = builder.matrix_multiply(&x, &builder.transpose(&words, &[1, 0]));
    let vocabulary = weights.get("token_embd.weight")?.shape.first().copied().unwrap_or(0);
    builder.output(&logits, "logits", &format!("N,S,{vocabulary}"));
    builder.last_output_first();
    Ok(builder.finish())
}

/// The weight `name`.weight of the file, called `name` in the graph.
fn gguf_constant(
    builder: &Builder,
    weights: &TrainedWeights,
    name: &str,
    orientation: Orientation,
) -> Result<Value, ModelsError> {
    weights.constant_as(builder, &format!("{name}.weight"), name, orientation)
}

/// `wave` of the angle of every position and element of a head, rounded from double
/// precision: NumPy's single-precision functions differ in the last bit of a tenth of them.
#[expect(clippy::cast_possible_truncation, reason = "tables are single precision")]
#[expect(clippy::cast_precision_loss, reason = "a head is narrow")]
fn rope_table(builder: &Builder, name: &str, head_width: i64, base: f64, wave: fn(f64) -> f64) -> Value {
    let frequency = |index: i64| (1.0 / base.powf((2 * index) as f64 / head_width as f64)) as f32;
    let mut angles = (0..ROPE_POSITIONS).flat_map(|position| {
        let half = (0..head_width / 2).map(frequency);
        half.clone().chain(half).map(move |frequency| (f64::from(position) * f64::from(frequency)) as f32)
    });
    let shape = [i64::from(ROPE_POSITIONS), head_width];
    builder.reals(&shape, name, || wave(f64::from(angles.next().unwrap_or_default())) as f32)
}

impl Decoder<'_> {
    fn block(&self, x: &Value, layer: usize, past: &[Value; 2]) -> Result<Value, ModelsError> {
        let Self { builder, sizes, head_width, .. } = self;
        let name = |part: &str| format!("blk.{layer}.{part}");
        let heads = |y: &Value, part: &str, heads: i64| {
            let projected = self.projection(y, &name(part))?;
            Ok::<_, ModelsError>(split_heads(builder, &projected, heads, *head_width))
        };

        let y = self.normalization(x, &name("attn_norm"))?;
        let query = self.rotate(&heads(&y, "attn_q", sizes.heads)?);
        let key = self.rotate(&heads(&y, "attn_k", sizes.key_heads)?);
        let value = heads(&y, "attn_v", sizes.key_heads)?;
        let [key, value] = extend_past(builder, past, [&key, &value]);
        present_outputs(builder, layer, [&key, &value], sizes.key_heads, *head_width);
        let [key, value] = [key, value].map(|heads| self.repeat_heads(&heads));
        let key = builder.transpose(&key, &[0, 1, 3, 2]);
        let attended = attention(builder, &query, &key, &value, Some(&self.mask), *head_width);
        let merged = merge_heads(builder, &attended, sizes.width);
        let x = builder.add(x, &self.projection(&merged, &name("attn_output"))?);

        let y = self.normalization(&x, &name("ffn_norm"))?;
        let gate = builder.activate(self.projection(&y, &name("ffn_gate"))?, Activation::Silu);
        let gated = builder.multiply(&gate, &self.projection(&y, &name("ffn_up"))?);
        Ok(builder.add(&x, &self.projection(&gated, &name("ffn_down"))?))
    }

    fn projection(&self, x: &Value, name: &str) -> Result<Value, ModelsError> {
        let weight = gguf_constant(self.builder, self.weights, name, Orientation::Transposed)?;
        Ok(self.builder.matrix_multiply(x, &weight))
    }

    /// x / √(mean(x²) + ε) · weight
    fn normalization(&self, x: &Value, name: &str) -> Result<Value, ModelsError> {
        let builder = self.builder;
        let square = builder.multiply(x, x);
        let axis = builder.integers(&[-1]);
        let mean = builder.node("ReduceMean", &[&square, &axis], &[("keepdims", Attribute::Integer(1))]);
        let mean = builder.add(&mean, &builder.real(self.sizes.epsilon));
        let normalized = builder.divide(x, &builder.node("Sqrt", &[&mean], &[]));
        let weight = gguf_constant(builder, self.weights, name, Orientation::AsStored)?;
        Ok(builder.multiply(&normalized, &weight))
    }

    /// Rotates each pair of elements of the two halves of a head by its position's angle.
    fn rotate(&self, x: &Value) -> Value {
        let builder = self.builder;
        let [first, second] = builder.split(x, 3);
        let kept = builder.multiply(x, &self.cosine);
        let turned = builder.concat(&[&builder.node("Neg", &[&second], &[]), &first], 3);
        builder.add(&kept, &builder.multiply(&turned, &self.sine))
    }

    /// One head of keys or values for every head of queries.
    fn repeat_heads(&self, x: &Value) -> Value {
        let Self { builder, sizes, .. } = self;
        let slice = |shape: &Value, start: i64, end: i64| {
            let (start, end) = (builder.integers(&[start]), builder.integers(&[end]));
            builder.node("Slice", &[shape, &start, &end], &[])
        };
        let unsqueezed = builder.unsqueeze(x, &[2]);
        let repeats = builder.integers(&[1, 1, sizes.heads / sizes.key_heads, 1, 1]);
        let expanded = builder.node("Expand", &[&unsqueezed, &repeats], &[]);
        let shape = builder.node("Shape", &[x], &[]);
        let (batch, rest) = (slice(&shape, 0, 1), slice(&shape, 2, 4));
        let shape = builder.concat(&[&batch, &builder.integers(&[sizes.heads]), &rest], 0);
        builder.node("Reshape", &[&expanded, &shape], &[])
    }
}
