//! The zoo against files that the Python reference wrote: the same bytes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use prost::Message as _;
use std::collections::BTreeSet;
use tranche_graph::Model;
use tranche_graph::onnx::GraphProto;
use tranche_models::{InputFill, build, default_binding, default_fills, find, integer_bounds, zoo};
use tranche_schema::Digest;

struct Facts {
    inputs: Vec<String>,
    nodes: usize,
    parameters: i64,
    digest: String,
}

fn facts(name: &str) -> Facts {
    let model = build(name).unwrap();
    let graph = graph(&model);
    let parameters = graph.initializer.iter().map(|tensor| tensor.dims.iter().product::<i64>()).sum();
    Facts {
        inputs: graph.input.iter().map(|input| input.name().to_owned()).collect(),
        nodes: graph.node.len(),
        parameters,
        digest: Digest::of(&model.proto.encode_to_vec()).hex().to_owned(),
    }
}

fn graph(model: &Model) -> &GraphProto {
    model.proto.graph.as_ref().unwrap()
}

/// `parameters` counts every stored element, shapes and other constants included.
macro_rules! same_bytes_as_the_reference {
    ($($name:ident: $nodes:literal nodes, $parameters:literal parameters, $digest:literal;)*) => {
        $(#[test]
        fn $name() {
            let facts = facts(stringify!($name));
            assert_eq!((facts.nodes, facts.parameters), ($nodes, $parameters));
            assert_eq!(facts.digest, $digest);
            let hints = &find(stringify!($name)).unwrap().inputs;
            assert!(hints.iter().map(|hint| &hint.name).eq(&facts.inputs), "{:?}", facts.inputs);
        })*

        #[test]
        fn every_model_is_pinned() {
            let pinned = BTreeSet::from([$(stringify!($name)),*]);
            assert_eq!(pinned, zoo().iter().map(|model| model.name).collect());
        }
    };
}

same_bytes_as_the_reference! {
    vgg16: 38 nodes, 138_357_544 parameters, "851c11b21bc4514388c963ce34c2c712300fbd17adabc6bd085edb05883d7496";
    resnet50: 123 nodes, 25_530_472 parameters, "de6356be474e8769d5400caefd9aac04f6d10845face2928ed0ba433c70c2dd0";
    inception_v3: 216 nodes, 23_817_352 parameters, "e17570d1406a60110946c96f23c10af0a67d84d7a8a254a760645e0f732b5dad";
    densenet121: 428 nodes, 8_062_504 parameters, "54b11d86dcf5345bb695f653c7330a5dc1ebacaf0198879f69f2ddc50dce1409";
    mobilenet_v2: 101 nodes, 3_487_818 parameters, "f7eff25d6437fa0f50eaa090d332aee115910c637558587c501373054070589c";
    lstm_lm: 10 nodes, 37_283_603 parameters, "9ad1ee4f9123b62ae22a66edfd949b6098edffa77a8978bd8d43b8889b1e668e";
    bigru_lm: 13 nodes, 27_971_347 parameters, "29cce216a6feb44e6c07106dbe2b9f35f545b29a7c3c039ea2e7956597b8e6e6";
    convlstm: 389 nodes, 2_841_671 parameters, "96182d9b64d6113ea54a3dda17eb7db86103cd246be5bd45451247cdd1b34aac";
    bert_base: 426 nodes, 109_482_257 parameters, "6bbc890d4208c380263a0d089ad10f5e6b9ef9db14749107f1f6e553743f9a56";
    vit_b16: 410 nodes, 86_567_674 parameters, "0ad94c613687aaec8bdaa2c5547c3f2d7176c4786940e2d97415e3038361f86d";
    gpt2_small: 489 nodes, 124_439_828 parameters, "93b4a6859b335d11989b3e950679952bac071b5770226e4cf159362158a86ad6";
    gcn_wide: 42 nodes, 1_284_145 parameters, "2d90af7b90b1ee2423b130d91135fabeb5e088b222256101ecde2cc0a0216c6e";
    gcn_cora: 24 nodes, 23_069 parameters, "8a52455c21e885a7441beae3ec3c13e308e115ff257c30ad216ed0465ef22385";
    gat_cora: 73 nodes, 92_325 parameters, "d5bc5e6bb070c75f44699868139edbea02b9b41966f41378ac112798b44d629e";
}

#[test]
fn an_unknown_name_lists_the_known_ones() {
    let error = find("vgg17").unwrap_err().to_string();
    insta::assert_snapshot!(error, @"no model is called `vgg17`; there are vgg16, resnet50, inception_v3, densenet121, mobilenet_v2, lstm_lm, bigru_lm, convlstm, bert_base, vit_b16, gpt2_small, gcn_wide, gcn_cora, gat_cora");
}

#[test]
fn masks_are_ones_and_words_are_in_the_vocabulary() {
    assert_eq!(default_fills("bert_base").unwrap()["attention_mask"], InputFill::Ones);
    assert_eq!(integer_bounds("bert_base").unwrap()["input_ids"], 30_522);
    assert_eq!(
        integer_bounds("gat_cora").unwrap()["edge_index"],
        default_binding("gat_cora").unwrap()["x"][0]
    );
}
