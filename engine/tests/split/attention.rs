//! Attention as one node, on ONNX Runtime: tract as built here, without its transformers, runs none of these.
//! Rotated embeddings run on both.

use crate::harness::{Case, Whole, bounds, indices, integers};
use crate::support::integer;
use tranche_schema::{ElementType, Join, Tensor};

const MICROSOFT: &str = "com.microsoft";
const HEADS: u64 = 4;
const EACH: u64 = 8;
const HIDDEN: u64 = HEADS * EACH;

fn narrow_integers(shape: &[u64], values: &[i32]) -> Tensor {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor::new(ElementType::Int32, shape.to_vec(), bytes.into()).unwrap()
}

/// MultiHeadAttention of projections, with biases and a bias of the scores.
fn separate(with_past: bool, causal: bool) -> Whole {
    let mut inputs = vec!["q", "k", "v", "b", "", "scores"];
    let steps = if with_past { 7 } else { 5 };
    let mut case = Case::new()
        .input("x", &[2, 5, 6])
        .weight("wq", &[6, HIDDEN])
        .weight("wk", &[6, HIDDEN])
        .weight("wv", &[6, HIDDEN])
        .weight("b", &[3 * HIDDEN])
        .input("scores", &[1, HEADS, 5, steps])
        .node("MatMul", &["x", "wq"], &["q"])
        .node("MatMul", &["x", "wk"], &["k"])
        .node("MatMul", &["x", "wv"], &["v"]);
    let mut outputs = vec!["a"];
    if with_past {
        inputs.extend(["pk", "pv"]);
        outputs.extend(["nk", "nv"]);
        case = case.input("pk", &[2, HEADS, 2, EACH]).input("pv", &[2, HEADS, 2, EACH]);
    }
    let attributes = vec![integer("num_heads", HEADS as i64), integer("unidirectional", causal.into())];
    case.node_with("MultiHeadAttention", &inputs, &outputs, attributes)
        .in_domain(MICROSOFT)
        .weight("wo", &[HIDDEN, 6])
        .weight("bo", &[6])
        .node("MatMul", &["a", "wo"], &["p"])
        .node("Add", &["p", "bo"], &["y"])
        .done()
}

#[test]
fn heads_of_separate_projections() {
    for with_past in [false, true] {
        let whole = separate(with_past, false);
        for parts in 2..5 {
            whole.agrees_on_onnxruntime(Join::Sum, parts, EACH);
        }
        whole.agrees_on_onnxruntime(whole.even(0, 2), 2, 1);
        let refusal = whole.divide(Join::Sum, 3, 1).unwrap_err();
        assert_eq!(refusal.grain, Some(EACH), "{refusal}");
    }
}

#[test]
fn queries_where_nothing_depends_on_their_number() {
    let whole = separate(false, false);
    whole.agrees_on_onnxruntime(whole.even(1, 3), 3, 1);
    for whole in [separate(false, true), separate(true, false)] {
        let refusal = whole.refusal(whole.even(1, 3), 3);
        assert!(refusal.reason.contains("by heads, by batch"), "{refusal}");
    }
}

#[test]
fn present_keys_go_with_their_heads() {
    // The present keys, which the parts make by heads.
    let whole = Case::new()
        .input("q", &[2, 5, HIDDEN])
        .input("k", &[2, 5, HIDDEN])
        .input("v", &[2, 5, HIDDEN])
        .input("pk", &[2, HEADS, 2, EACH])
        .input("pv", &[2, HEADS, 2, EACH])
        .node_with(
            "MultiHeadAttention",
            &["q", "k", "v", "", "", "", "pk", "pv"],
            &["a", "y", "nv"],
            vec![integer("num_heads", HEADS as i64)],
        )
        .in_domain(MICROSOFT)
        .done();
    whole.agrees_on_onnxruntime(bounds(1, &[0, 1, 4]), 2, 1);
}

/// Attention over packed weights; values of another extent where `uneven`.
fn packed(uneven: bool, with_past: bool) -> Whole {
    let values = if uneven { HEADS * 4 } else { HIDDEN };
    let columns = 2 * HIDDEN + values;
    let mut attributes = vec![integer("num_heads", HEADS as i64)];
    if uneven {
        attributes.push(integers("qkv_hidden_sizes", &[HIDDEN as i64, HIDDEN as i64, values as i64]));
    }
    let mut inputs = vec!["x", "w", "b"];
    let mut outputs = vec!["a"];
    let mut case = Case::new().input("x", &[2, 5, 6]).weight("w", &[6, columns]).weight("b", &[columns]);
    if with_past {
        inputs.extend(["", "past"]);
        outputs.push("present");
        case = case.input("past", &[2, 2, HEADS, 3, EACH]);
    } else {
        inputs.push("mask");
        case = case.given("mask", narrow_integers(&[2, 5], &[1, 1, 1, 1, 0, 1, 1, 1, 0, 0]));
    }
    case.node_with("Attention", &inputs, &outputs, attributes)
        .in_domain(MICROSOFT)
        .weight("wo", &[values, 6])
        .node("MatMul", &["a", "wo"], &["y"])
        .done()
}

#[test]
fn heads_of_packed_projections() {
    for (uneven, with_past) in [(false, false), (true, false), (false, true)] {
        let whole = packed(uneven, with_past);
        let each = if uneven { 4 } else { EACH };
        for parts in 2..5 {
            let division = whole.agrees_on_onnxruntime(Join::Sum, parts, each);
            let (all, held) = whole.weights(&division);
            assert_eq!(held.iter().sum::<u64>(), all, "{held:?}");
        }
        whole.agrees_on_onnxruntime(whole.even(0, 2), 2, 1);
    }
}

/// GroupQueryAttention of 8 heads that share 4, of packed projections or separate ones.
fn grouped(is_packed: bool) -> Whole {
    const QUERIES: u64 = 8;
    let (hidden, few) = (QUERIES * EACH, HEADS * EACH);
    let case = Case::new()
        // With a past, a batch takes one step at a time.
        .input("x", &[2, 1, 6])
        .input("pk", &[2, HEADS, 2, EACH])
        .input("pv", &[2, HEADS, 2, EACH])
        .given("lengths", narrow_integers(&[2], &[2, 2]))
        .given("total", narrow_integers(&[], &[3]));
    let (case, inputs) = if is_packed {
        let case = case.weight("w", &[6, hidden + 2 * few]).node("MatMul", &["x", "w"], &["q"]);
        (case, ["q", "", "", "pk", "pv", "lengths", "total"])
    } else {
        let case = case
            .weight("wq", &[6, hidden])
            .weight("wk", &[6, few])
            .weight("wv", &[6, few])
            .node("MatMul", &["x", "wq"], &["q"])
            .node("MatMul", &["x", "wk"], &["k"])
            .node("MatMul", &["x", "wv"], &["v"]);
        (case, ["q", "k", "v", "pk", "pv", "lengths", "total"])
    };
    let attributes = vec![integer("num_heads", QUERIES as i64), integer("kv_num_heads", HEADS as i64)];
    case.node_with("GroupQueryAttention", &inputs, &["a", "nk", "nv"], attributes)
        .in_domain(MICROSOFT)
        .weight("wo", &[hidden, 6])
        .node("MatMul", &["a", "wo"], &["y"])
        .done()
}

#[test]
fn query_heads_with_the_keys_that_they_share() {
    for is_packed in [false, true] {
        let whole = grouped(is_packed);
        for parts in 2..5 {
            whole.agrees_on_onnxruntime(Join::Sum, parts, 2 * EACH);
        }
        // Parts within a group each hold its keys.
        whole.agrees_on_onnxruntime(Join::Sum, 8, EACH);
        whole.agrees_on_onnxruntime(whole.even(0, 2), 2, 1);
        let refusal = whole.divide(Join::Sum, 3, EACH).unwrap_err();
        assert_eq!(refusal.grain, Some(2), "{refusal}");
    }
}

#[test]
fn rotated_heads_with_biased_scores() {
    // Rotation, biased scores and a sink for each head; no past.
    const WIDE: u64 = 16;
    let hidden = 8 * WIDE;
    let attributes =
        vec![integer("num_heads", 8), integer("kv_num_heads", HEADS as i64), integer("do_rotary", 1)];
    let whole = Case::new()
        .input("x", &[2, 3, 6])
        .weight("w", &[6, hidden + 2 * HEADS * WIDE])
        .given("lengths", narrow_integers(&[2], &[2, 2]))
        .given("total", narrow_integers(&[], &[3]))
        .weight("cosines", &[4, WIDE / 2])
        .weight("sines", &[4, WIDE / 2])
        .input("scores", &[1, 8, 3, 3])
        .weight("sinks", &[8])
        .node("MatMul", &["x", "w"], &["q"])
        .node_with(
            "GroupQueryAttention",
            &["q", "", "", "", "", "lengths", "total", "cosines", "sines", "", "scores", "sinks"],
            &["a", "nk", "nv"],
            attributes,
        )
        .in_domain(MICROSOFT)
        .weight("wo", &[hidden, 6])
        .node("MatMul", &["a", "wo"], &["y"])
        .done();
    for parts in [2, 4] {
        whole.agrees_on_onnxruntime(Join::Sum, parts, 2 * WIDE);
    }
    whole.agrees_on_onnxruntime(whole.even(0, 2), 2, 1);
}

#[test]
fn padded_keys_and_those_of_another_sequence() {
    // Values narrower than keys, and keys that are padding.
    let whole = Case::new()
        .input("q", &[2, 5, HIDDEN])
        .input("k", &[2, 7, HIDDEN])
        .input("v", &[2, 7, HEADS * 4])
        .given("padding", narrow_integers(&[2, 7], &[1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 0]))
        .node_with(
            "MultiHeadAttention",
            &["q", "k", "v", "", "padding"],
            &["y"],
            vec![integer("num_heads", HEADS as i64)],
        )
        .in_domain(MICROSOFT)
        .done();
    whole.agrees_on_onnxruntime(bounds(2, &[0, 4, 12, 16]), 3, 1);
    whole.agrees_on_onnxruntime(whole.even(0, 2), 2, 1);
    whole.agrees_on_onnxruntime(whole.even(1, 2), 2, 1);
    // Keys and values that have an axis of heads.
    let whole = Case::new()
        .input("q", &[2, 5, HIDDEN])
        .input("k", &[2, HEADS, 7, EACH])
        .input("v", &[2, HEADS, 7, EACH])
        .node_with("MultiHeadAttention", &["q", "k", "v"], &["y"], vec![integer("num_heads", HEADS as i64)])
        .in_domain(MICROSOFT)
        .done();
    whole.agrees_on_onnxruntime(bounds(2, &[0, EACH, HIDDEN]), 2, 1);
    whole.agrees_on_onnxruntime(whole.even(0, 2), 2, 1);
}

/// ONNX Attention of 4 heads, which share 2 of keys and values, flat or with an axis of heads.
fn standard(is_flat: bool, causal: bool) -> Whole {
    let (few, queries, keys) = match is_flat {
        true => (2, vec![2, 5, HIDDEN], vec![2, 7, 2 * EACH]),
        false => (2, vec![2, HEADS, 5, EACH], vec![2, 2, 7, EACH]),
    };
    let mut attributes = vec![integer("is_causal", causal.into())];
    if is_flat {
        attributes.extend([integer("q_num_heads", HEADS as i64), integer("kv_num_heads", few)]);
    }
    Case::new()
        .version(23)
        .input("q", &queries)
        .input("k", &keys)
        .input("v", &keys)
        .input("mask", &[2, 1, 5, 7])
        .node_with("Attention", &["q", "k", "v", "mask"], &["y"], attributes)
        .done()
}

#[test]
fn heads_batch_and_queries_of_the_standard_operator() {
    for is_flat in [false, true] {
        let whole = standard(is_flat, false);
        let (heads, each, queries) = if is_flat { (2, EACH, 1) } else { (1, 1, 2) };
        whole.agrees_on_onnxruntime(bounds(heads, &[0, 2 * each, 4 * each]), 2, 1);
        whole.agrees_on_onnxruntime(bounds(heads, &[0, each, 2 * each, 4 * each]), 3, 1);
        whole.agrees_on_onnxruntime(whole.even(0, 2), 2, 1);
        whole.agrees_on_onnxruntime(whole.even(queries, 2), 2, 1);
        assert_eq!(whole.refusal(bounds(heads, &[0, 3 * each, 4 * each]), 2).grain, Some(2));
        let causal = standard(is_flat, true);
        causal.refusal(causal.even(queries, 2), 2);
    }
}

/// `RotaryEmbedding` over [B, S, H·D] or [B, H, S, D], of either set, with positions or without.
fn rotated(domain: &str, is_flat: bool, with_positions: bool) -> Whole {
    let shape = if is_flat { vec![2, 5, HIDDEN] } else { vec![2, HEADS, 5, EACH] };
    let caches = if with_positions { vec![9, EACH / 2] } else { vec![2, 5, EACH / 2] };
    let case = Case::new().version(23).input("x", &shape).weight("c", &caches).weight("s", &caches);
    let case = case.given("p", indices(&[2, 5], &[0, 1, 2, 3, 4, 4, 5, 6, 7, 8]));
    let inputs: &[&str] = match (domain, with_positions) {
        ("", true) => &["x", "c", "s", "p"],
        ("", false) => &["x", "c", "s"],
        _ => &["x", "p", "c", "s"],
    };
    let attributes = if is_flat { vec![integer("num_heads", HEADS as i64)] } else { vec![] };
    let case = case.node_with("RotaryEmbedding", inputs, &["y"], attributes);
    if domain.is_empty() { case.done() } else { case.in_domain(domain).done() }
}

#[test]
fn rotated_embeddings() {
    for (domain, is_flat, with_positions) in [
        ("", true, true),
        ("", true, false),
        ("", false, true),
        ("", false, false),
        (MICROSOFT, true, true),
        (MICROSOFT, false, true),
    ] {
        let whole = rotated(domain, is_flat, with_positions);
        let (heads, each, steps) = if is_flat { (2, EACH, 1) } else { (1, 1, 2) };
        whole.agrees(bounds(heads, &[0, each, 4 * each]), 2, 1);
        whole.agrees(whole.even(0, 2), 2, 1);
        whole.agrees(whole.even(steps, 2), 2, 1);
        if is_flat {
            assert_eq!(whole.refusal(bounds(2, &[0, 3, HIDDEN]), 2).grain, Some(EACH));
        } else {
            assert!(whole.refusal(whole.even(3, 2), 2).reason.contains("halves"));
        }
    }
}

#[test]
fn a_sum_is_turned_as_its_summands_are() {
    let whole = Case::new()
        .version(23)
        .input("x", &[2, 5, 6])
        .weight("w", &[6, HIDDEN])
        .weight("c", &[2, 5, EACH / 2])
        .weight("s", &[2, 5, EACH / 2])
        .node("MatMul", &["x", "w"], &["p"])
        .node_with("RotaryEmbedding", &["p", "c", "s"], &["y"], vec![integer("num_heads", HEADS as i64)])
        .done();
    whole.agrees(Join::Sum, 3, 1);
}
