//! The classic architectures, with seeded weights and the inputs they make sense with.

use crate::inputs::{InputFill, InputHint, decoder, sentence};
use crate::{ModelsError, cnn, gnn, rnn, transformer};
use std::sync::LazyLock;
use tranche_graph::Model;

/// Family of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Category {
    /// Convolutional network.
    Cnn,
    /// Recurrent network.
    Rnn,
    /// Transformer.
    Transformer,
    /// Graph network.
    Gnn,
}

impl Category {
    /// The name as printed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cnn => "cnn",
            Self::Rnn => "rnn",
            Self::Transformer => "transformer",
            Self::Gnn => "gnn",
        }
    }
}

/// A classic architecture that [`build`] writes with seeded weights.
#[derive(Clone, Debug)]
pub struct ZooModel {
    /// Its name.
    pub name: &'static str,
    /// Its family.
    pub category: Category,
    /// Its inputs, in graph order, at the size of the reference measurements.
    pub inputs: Vec<InputHint>,
    build: fn() -> Result<Model, ModelsError>,
}

impl ZooModel {
    /// Writes the model. The same call gives the same bytes on every machine.
    ///
    /// # Errors
    /// None in practice: only trained weights can be missing.
    pub fn build(&self) -> Result<Model, ModelsError> {
        (self.build)()
    }
}

static ZOO: LazyLock<Vec<ZooModel>> = LazyLock::new(|| {
    use Category::{Cnn, Gnn, Rnn, Transformer};
    let model = |name, category, inputs, build| ZooModel { name, category, inputs, build };
    vec![
        model("vgg16", Cnn, image(224), || Ok(cnn::vgg16())),
        model("resnet50", Cnn, image(224), || Ok(cnn::resnet50())),
        model("inception_v3", Cnn, image(299), || Ok(cnn::inception_v3())),
        model("densenet121", Cnn, image(224), || Ok(cnn::densenet121())),
        model("mobilenet_v2", Cnn, image(224), || Ok(cnn::mobilenet_v2())),
        model("lstm_lm", Rnn, words(), || Ok(rnn::lstm_lm())),
        model("bigru_lm", Rnn, words(), || Ok(rnn::bigru_lm())),
        model("convlstm", Rnn, frames(), || Ok(rnn::convlstm())),
        model("bert_base", Transformer, sentence(), transformer::bert_base),
        model("vit_b16", Transformer, image(224), transformer::vit_b16),
        model("gpt2_small", Transformer, prompt(), || Ok(transformer::gpt2_small())),
        model("gcn_wide", Gnn, normalized_graph(5000, 100_000, 602), || Ok(gnn::gcn_wide())),
        model("gcn_cora", Gnn, normalized_graph(gnn::CORA_NODES, cora_edges(), 1433), || Ok(gnn::gcn_cora())),
        model("gat_cora", Gnn, graph(gnn::CORA_NODES, cora_edges(), 1433), || Ok(gnn::gat_cora())),
    ]
});

fn image(extent: u64) -> Vec<InputHint> {
    vec![InputHint::new("input", &[1, 3, extent, extent], InputFill::Uniform)]
}

fn words() -> Vec<InputHint> {
    vec![InputHint::new("input_ids", &[64, 1], InputFill::Below(rnn::VOCABULARY.unsigned_abs()))]
}

fn frames() -> Vec<InputHint> {
    vec![InputHint::new("frames", &[1, 10, 1, 64, 64], InputFill::Uniform)]
}

fn prompt() -> Vec<InputHint> {
    decoder(transformer::GPT2_VOCABULARY.unsigned_abs(), 12, 12, 64)
}

/// Cora's edges and a loop at each node, as the layers expect.
fn cora_edges() -> u64 {
    gnn::CORA_EDGES + gnn::CORA_NODES
}

fn graph(nodes: u64, edges: u64, features: u64) -> Vec<InputHint> {
    vec![
        InputHint::new("x", &[nodes, features], InputFill::Uniform),
        InputHint::new("edge_index", &[2, edges], InputFill::Below(nodes)),
    ]
}

fn normalized_graph(nodes: u64, edges: u64, features: u64) -> Vec<InputHint> {
    let mut inputs = graph(nodes, edges, features);
    inputs.push(InputHint::new("edge_norm", &[edges], InputFill::Uniform));
    inputs
}

/// Every model that [`build`] writes.
#[must_use]
pub fn zoo() -> &'static [ZooModel] {
    &ZOO
}

/// The zoo model of this name.
///
/// # Errors
/// When there is none; the error lists those there are.
pub fn find(name: &str) -> Result<&'static ZooModel, ModelsError> {
    zoo().iter().find(|model| model.name == name).ok_or_else(|| ModelsError::UnknownModel {
        name: name.to_owned(),
        known: zoo().iter().map(|model| model.name).collect(),
    })
}

/// Writes the zoo model of this name.
///
/// # Errors
/// When there is none; the error lists those there are.
pub fn build(name: &str) -> Result<Model, ModelsError> {
    find(name)?.build()
}
