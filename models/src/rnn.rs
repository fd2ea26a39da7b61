//! Recurrent networks.

use crate::builder::{Attribute, Builder, Value};
use crate::layers::{Activation, Convolution};
use tranche_graph::Model;
use tranche_schema::ElementType;

/// Words that the language models know.
pub(crate) const VOCABULARY: i64 = 10_000;

/// A language model of two LSTM layers of 1024 cells; sequence first.
pub(crate) fn lstm_lm() -> Model {
    let builder = Builder::new("lstm_lm");
    let mut x = embedding(&builder, 1024);
    for _ in 0..2 {
        let [w, r, b] = recurrent_weights(&builder, 1, 4, 1024, 1024);
        let attributes =
            [("hidden_size", Attribute::Integer(1024)), ("direction", Attribute::Text("forward"))];
        let [y, _, _] = builder.node_with("LSTM", &[&x, &w, &r, &b], &attributes);
        x = directions_last(&builder, &y, 1024);
    }
    language_head(builder, &x, 1024)
}

/// A language model of three bidirectional GRU layers of 512 cells; sequence first.
pub(crate) fn bigru_lm() -> Model {
    let builder = Builder::new("bigru_lm");
    let mut x = embedding(&builder, 512);
    let mut width = 512;
    for _ in 0..3 {
        let [w, r, b] = recurrent_weights(&builder, 2, 3, 512, width);
        let attributes = [
            ("hidden_size", Attribute::Integer(512)),
            ("direction", Attribute::Text("bidirectional")),
            ("linear_before_reset", Attribute::Integer(1)),
        ];
        let [y, _] = builder.node_with("GRU", &[&x, &w, &r, &b], &attributes);
        width = 1024;
        x = directions_last(&builder, &y, width);
    }
    language_head(builder, &x, width)
}

fn embedding(builder: &Builder, width: i64) -> Value {
    let words = builder.input("input_ids", ElementType::Int64, "S,N");
    builder.gather(&builder.weight_named(&[VOCABULARY, width], 3.0, 1.0, "emb"), &words)
}

/// Input weights, recurrent weights and bias of `gates` gates.
#[expect(clippy::cast_precision_loss, reason = "a fan is small")]
fn recurrent_weights(builder: &Builder, directions: i64, gates: i64, cells: i64, width: i64) -> [Value; 3] {
    let fan = cells as f64;
    [
        builder.weight(&[directions, gates * cells, width], fan, 1.0),
        builder.weight(&[directions, gates * cells, cells], fan, 1.0),
        builder.weight(&[directions, 2 * gates * cells], fan, 1.0),
    ]
}

/// [S, directions, N, cells] to [S, N, directions · cells].
fn directions_last(builder: &Builder, y: &Value, width: i64) -> Value {
    builder.reshape(&builder.transpose(y, &[0, 2, 1, 3]), &[0, 0, width])
}

fn language_head(builder: Builder, x: &Value, width: i64) -> Model {
    let logits = builder.linear(x, width, VOCABULARY, 1.0, Activation::None);
    builder.output(&logits, "logits", &format!("S,N,{VOCABULARY}"));
    builder.finish()
}

/// The next frame of ten of 64×64 by three convolutional LSTM layers
/// (arXiv 1506.04214, without peepholes), unrolled over time.
pub(crate) fn convlstm() -> Model {
    const FRAMES: usize = 10;
    const EXTENT: i64 = 64;
    const HIDDEN: i64 = 64;
    let builder = Builder::new("convlstm");
    let input = builder.input("frames", ElementType::Float32, "N,10,1,64,64");
    let mut frames = builder.split::<FRAMES>(&input, 1).map(|frame| {
        let axis = builder.integers(&[1]);
        builder.node("Squeeze", &[&frame, &axis], &[])
    });
    let mut channels = 1;
    for _ in 0..3 {
        let cell = ConvolutionCell::new(&builder, channels, HIDDEN);
        let batch = builder.unsqueeze(&builder.extent(&frames[0], 0), &[0]);
        let name = format!("zero_{}", builder.node_count());
        let zero = builder.reals(&[1, HIDDEN, EXTENT, EXTENT], &name, || 0.0);
        let extents = builder.concat(&[&batch, &builder.integers(&[HIDDEN, EXTENT, EXTENT])], 0);
        let mut state = builder.node("Expand", &[&zero, &extents], &[]);
        let mut hidden = state.clone();
        frames = frames.map(|frame| {
            [hidden, state] = cell.step(&frame, &hidden, &state);
            hidden.clone()
        });
        channels = HIDDEN;
    }
    let [.., last] = &frames;
    let head = Convolution::square(channels, 1, 1).activation(Activation::Sigmoid);
    let next = builder.convolution(last, &head);
    builder.output(&next, "next_frame", "N,1,64,64");
    builder.finish()
}

struct ConvolutionCell<'a> {
    builder: &'a Builder,
    weight: Value,
    bias: Value,
}

impl<'a> ConvolutionCell<'a> {
    #[expect(clippy::cast_precision_loss, reason = "a fan is small")]
    fn new(builder: &'a Builder, channels: i64, hidden: i64) -> Self {
        let from = channels + hidden;
        let weight = builder.weight(&[4 * hidden, from, 5, 5], (from * 25) as f64, 1.0);
        Self { builder, weight, bias: builder.bias(4 * hidden) }
    }

    /// New output and new cell state.
    fn step(&self, frame: &Value, hidden: &Value, state: &Value) -> [Value; 2] {
        let Self { builder, weight, bias } = self;
        let sigmoid = |x: &Value| builder.activate(x.clone(), Activation::Sigmoid);
        let tanh = |x: &Value| builder.activate(x.clone(), Activation::Tanh);
        let attributes =
            [("kernel_shape", Attribute::Integers(vec![5; 2])), ("pads", Attribute::Integers(vec![2; 4]))];
        let joined = builder.concat(&[frame, hidden], 1);
        let gates = builder.node("Conv", &[&joined, weight, bias], &attributes);
        let [input, forget, output, candidate] = builder.split(&gates, 1);
        let kept = builder.multiply(&sigmoid(&forget), state);
        let added = builder.multiply(&sigmoid(&input), &tanh(&candidate));
        let state = builder.add(&kept, &added);
        let hidden = builder.multiply(&sigmoid(&output), &tanh(&state));
        [hidden, state]
    }
}
