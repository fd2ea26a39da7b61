//! Sentences for MiniLM: the tokens of BERT's uncased WordPiece, and what the
//! vectors of two sentences say of their meanings.

use super::{reals, shape};
use crate::ModelsError;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use tranche_schema::{Tensor, TensorView};
use unicode_normalization::UnicodeNormalization as _;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory as _};

/// Tokens that the model was trained on, with the two special ones around them.
const LONGEST: usize = 128;
/// Characters of a word; a longer one is unknown.
const LONGEST_WORD: usize = 100;
/// Before a piece that continues a word.
const CONTINUATION: &str = "##";

/// The tokenizer of BERT, uncased: normalises, splits at spaces and
/// punctuation, then takes the longest known pieces of each word.
///
/// As in the Hugging Face library, save that special tokens written out in the
/// text are text.
#[derive(Clone, Debug)]
pub struct WordPiece {
    vocabulary: HashMap<String, i64>,
    unknown: i64,
    begin: i64,
    end: i64,
}

/// A sentence as its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// Index of each token in the vocabulary.
    pub ids: Vec<i64>,
    /// 1 for each token: nothing is padded.
    pub mask: Vec<i64>,
    /// 0 for each token: there is one sentence.
    pub types: Vec<i64>,
}

/// The inputs of the model for these sentences, each of shape [sentences, tokens],
/// shorter sentences padded to the longest with tokens that the mask leaves out.
///
/// # Errors
/// None in practice.
pub fn inputs(sentences: &[Encoding]) -> Result<BTreeMap<String, Tensor>, ModelsError> {
    let longest = sentences.iter().map(|sentence| sentence.ids.len()).max().unwrap_or_default();
    let padded = |values: fn(&Encoding) -> &Vec<i64>| -> Result<Tensor, ModelsError> {
        let padding = std::iter::repeat(&0);
        let rows = sentences.iter().flat_map(|row| values(row).iter().chain(padding.clone()).take(longest));
        let elements: Vec<i64> = rows.copied().collect();
        Ok(Tensor::from_i64(shape([sentences.len(), longest]), &elements)?)
    };
    Ok(BTreeMap::from([
        ("input_ids".to_owned(), padded(|sentence| &sentence.ids)?),
        ("attention_mask".to_owned(), padded(|sentence| &sentence.mask)?),
        ("token_type_ids".to_owned(), padded(|sentence| &sentence.types)?),
    ]))
}

#[derive(Deserialize)]
struct TokenizerFile {
    model: TokenizerModel,
}

#[derive(Deserialize)]
struct TokenizerModel {
    vocab: HashMap<String, i64>,
}

impl WordPiece {
    /// From the text of a `tokenizer.json`.
    ///
    /// # Errors
    /// When the text is not one of BERT's kind.
    pub fn from_json(text: &str) -> Result<Self, ModelsError> {
        let file: TokenizerFile =
            serde_json::from_str(text).map_err(|error| ModelsError::Answer(format!("tokenizer: {error}")))?;
        let vocabulary = file.model.vocab;
        let special = |token: &str| {
            let id = vocabulary.get(token).copied();
            id.ok_or_else(|| ModelsError::Answer(format!("tokenizer: the vocabulary lacks {token}")))
        };
        let [unknown, begin, end] = [special("[UNK]")?, special("[CLS]")?, special("[SEP]")?];
        Ok(Self { vocabulary, unknown, begin, end })
    }

    /// The tokens of `text` between the two special ones; at most 128 altogether.
    #[must_use]
    pub fn encode(&self, text: &str) -> Encoding {
        let normalized = normalize(text);
        let mut ids = vec![self.begin];
        for word in words(&normalized) {
            self.push_pieces(word, &mut ids);
        }
        ids.truncate(LONGEST - 1);
        ids.push(self.end);
        Encoding { mask: vec![1; ids.len()], types: vec![0; ids.len()], ids }
    }

    /// Adds the longest known pieces of a word, or the unknown token when they do not cover it.
    fn push_pieces(&self, word: &str, ids: &mut Vec<i64>) {
        let start = ids.len();
        let mut rest = word;
        let mut prefix = "";
        if word.chars().count() > LONGEST_WORD {
            ids.push(self.unknown);
            return;
        }
        while !rest.is_empty() {
            let mut ends = rest.char_indices().map(|(place, character)| place + character.len_utf8()).rev();
            let longest = ends.find_map(|end| {
                let (piece, rest) = rest.split_at(end);
                Some((*self.vocabulary.get(&format!("{prefix}{piece}"))?, rest))
            });
            let Some((id, remaining)) = longest else {
                ids.truncate(start);
                ids.push(self.unknown);
                return;
            };
            ids.push(id);
            rest = remaining;
            prefix = CONTINUATION;
        }
    }
}

/// Without control characters and accents, in lower case, with spaces around ideographs.
fn normalize(text: &str) -> String {
    let mut spaced = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\t' | '\n' | '\r' => spaced.push(' '),
            '\u{fffd}' => {}
            other if is_control(other) => {}
            other if other.is_whitespace() => spaced.push(' '),
            other if is_ideograph(other) => spaced.extend([' ', other, ' ']),
            other => spaced.push(other),
        }
    }
    let decomposed =
        spaced.nfd().filter(|character| character.general_category() != GeneralCategory::NonspacingMark);
    decomposed.flat_map(char::to_lowercase).collect()
}

/// Control, format or private use: left out. Unassigned characters stay.
fn is_control(character: char) -> bool {
    use GeneralCategory::{Control, Format, PrivateUse};
    matches!(character.general_category(), Control | Format | PrivateUse)
}

/// In one of the blocks that BERT takes for Chinese.
fn is_ideograph(character: char) -> bool {
    matches!(u32::from(character),
        0x4E00..=0x9FFF | 0x3400..=0x4DBF | 0x2_0000..=0x2_A6DF | 0x2_A700..=0x2_B73F
        | 0x2_B740..=0x2_B81F | 0x2_B920..=0x2_CEAF | 0xF900..=0xFAFF | 0x2_F800..=0x2_FA1F)
}

/// Words and single punctuation marks.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_punctuation = |character: char| {
        character.is_ascii_punctuation()
            || character.general_category_group() == GeneralCategoryGroup::Punctuation
    };
    let parts = text.split(char::is_whitespace);
    parts.flat_map(move |part| part.split_inclusive(is_punctuation)).flat_map(move |part| {
        let last = part.char_indices().next_back().filter(|(_, character)| is_punctuation(*character));
        let (word, mark) = part.split_at(last.map_or(part.len(), |(place, _)| place));
        [word, mark].into_iter().filter(|part| !part.is_empty())
    })
}

/// The mean of the vectors of the tokens of each sentence, without its padding,
/// `hidden` being the model's answer of shape [sentences, tokens, width].
///
/// # Errors
/// When the answer is not of that shape or not to these sentences.
pub fn mean_pool(hidden: &TensorView, sentences: &[Encoding]) -> Result<Vec<Vec<f32>>, ModelsError> {
    let ([count, tokens, width], values) = reals(hidden)?;
    let longest = sentences.iter().map(|sentence| sentence.ids.len()).max().unwrap_or_default();
    if count != sentences.len() || tokens != longest {
        return Err(ModelsError::Answer(format!(
            "an answer to {count} sentences of {tokens} tokens for {} of {longest}",
            sentences.len()
        )));
    }
    let rows = values.chunks((tokens * width).max(1));
    Ok(rows.zip(sentences).map(|(row, sentence)| mean(row, width, sentence.ids.len())).collect())
}

/// The mean of the first `count` vectors.
fn mean(vectors: &[f32], width: usize, count: usize) -> Vec<f32> {
    let mut sums = vec![0.0; width];
    for vector in vectors.chunks(width.max(1)).take(count) {
        for (sum, value) in sums.iter_mut().zip(vector) {
            *sum += value;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a sentence is short")]
    let count = count.max(1) as f32;
    sums.into_iter().map(|sum: f32| sum / count).collect()
}

/// Cosine of the angle between two vectors: 1 for sentences that mean the same,
/// about 0 for unrelated ones.
#[must_use]
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
