//! Every model of the zoo and of the catalogue through the graph crate: read, written
//! back, checked, cut. The trained ones come out of public packages through pip:
//! `registry_` tests need it, and fail where it brings nothing.
//!
//! Large files are written one after the other and removed as soon as they are compared.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use support::cut::{cut_in_the_middle, draw, layers_partition_the_nodes};
use support::files::{
    rewriting_external_data_changes_nothing, rewriting_takes_no_memory_and_changes_nothing, same_weights,
};
use tranche_graph::Graph;
use tranche_models::{build, catalogue, fetch, zoo};

/// Where fetched models are kept between runs, by the tests of every crate.
fn fetched(name: &str) -> PathBuf {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fetched");
    fetch(name, &cache, None).unwrap_or_else(|error| panic!("{name} cannot be fetched: {error}"))
}

/// A folder of its own, on the disk that the build is on.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn check(path: &Path) {
    let folder = folder();
    rewriting_takes_no_memory_and_changes_nothing(path, folder.path());
    let graph = Graph::load(path).unwrap();
    graph.verify().unwrap();
    let layers = layers_partition_the_nodes(&graph);
    draw(&graph, &layers);
    let external = rewriting_external_data_changes_nothing(path, folder.path());
    same_weights(&graph, &external);
    cut_in_the_middle(&external, &layers_partition_the_nodes(&external));
}

fn check_seeded(name: &str) {
    let folder = folder();
    let path = folder.path().join("model.onnx");
    build(name).unwrap().save(&path).unwrap();
    check(&path);
}

macro_rules! every_model {
    (trained { $($test:ident: $trained:literal,)* } seeded { $($seeded:ident),* $(,)? }) => {
        $(#[test]
        fn $test() {
            check(&fetched($trained));
        })*

        $(#[test]
        fn $seeded() {
            check_seeded(stringify!($seeded));
        })*

        #[test]
        fn every_model_is_here() {
            let here = BTreeSet::from([$($trained,)* $(stringify!($seeded)),*]);
            let all = catalogue().iter().map(|model| model.name).chain(zoo().iter().map(|model| model.name));
            assert_eq!(here, all.collect());
        }
    };
}

every_model! {
    trained {
        registry_ppocr_det: "PP-OCRv6_det_small",
        registry_ppocr_rec: "PP-OCRv6_rec_small",
        registry_ppocr_cls: "ch_ppocr_mobile_v2.0_cls_mobile",
        registry_ddddocr_common: "ddddocr_common",
        registry_ddddocr_det: "ddddocr_det",
        registry_efficientnet_lite0: "efficientnet_lite0",
        registry_minilm: "minilm_l6_v2_fp32",
        registry_minilm_int8: "minilm_l6_int8",
        registry_smollm2: "smollm2_135m_fp32",
        registry_silero_vad: "silero_vad",
        registry_silero_vad_op15: "silero_vad_16k_op15",
        registry_silero_vad_sequence: "silero_vad_16k_sequence",
        registry_magika: "magika_v3_3",
        registry_dnsmos: "dnsmos_sig_bak_ovr",
        registry_aecmos: "aecmos_48k_gru",
        registry_caustic: "caustic_nmr_painn",
    }
    seeded {
        vgg16, resnet50, inception_v3, densenet121, mobilenet_v2, lstm_lm, bigru_lm, convlstm, bert_base,
        vit_b16, gpt2_small, gcn_wide, gcn_cora, gat_cora,
    }
}
