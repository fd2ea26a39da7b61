//! Whole attention blocks as exporters write them, each part with some heads: a column split of the
//! projections in, a row split of the projection out, and nothing passed between.

use crate::harness::{Case, Whole, indices, integers};
use crate::support::{floats, integer};
use tranche_graph::split::DividedPart;
use tranche_schema::Join;

const BATCH: u64 = 2;
const STEPS: u64 = 5;
const WIDTH: u64 = 10;
const EACH: u64 = 4;

/// A model in the making, of blocks with this many heads of queries.
struct Block {
    case: Case,
    heads: i64,
}

impl Block {
    fn new(heads: i64) -> Self {
        let scale = floats(&[], &[(EACH as f32).sqrt()]);
        let case = Case::new().input("x", &[BATCH, STEPS, WIDTH]).stored("scale", &scale);
        Self { case, heads }
    }

    fn hidden(&self) -> u64 {
        self.heads as u64 * EACH
    }

    fn list(mut self, name: &str, values: &[i64]) -> Self {
        self.case = self.case.stored(name, &indices(&[values.len() as u64], values));
        self
    }

    fn node(self, operator: &str, inputs: &[&str], output: &str) -> Self {
        self.with(operator, inputs, output, vec![])
    }

    fn with(
        mut self,
        operator: &str,
        inputs: &[&str],
        output: &str,
        attributes: Vec<tranche_graph::onnx::AttributeProto>,
    ) -> Self {
        self.case = self.case.node_with(operator, inputs, &[output], attributes);
        self
    }

    /// `name` = `from` · weight + bias.
    fn linear(mut self, from: &str, name: &str, extents: [u64; 2]) -> Self {
        let [weight, bias, product] = ["weight", "bias", "product"].map(|what| format!("{name}.{what}"));
        self.case = self.case.weight(&weight, &extents).weight(&bias, &extents[1..]);
        self.node("MatMul", &[from, &weight], &product).node("Add", &[&product, &bias], name)
    }

    /// [B, S, H·D] to [B, H, S, D].
    fn spread(self, from: &str, to: &str, heads: i64) -> Self {
        let (shape, apart) = (format!("{to}.shape"), format!("{to}.apart"));
        self.list(&shape, &[0, 0, heads, EACH as i64]).node("Reshape", &[from, &shape], &apart).with(
            "Transpose",
            &[&apart],
            to,
            vec![integers("perm", &[0, 2, 1, 3])],
        )
    }

    /// `y` of `q`, `k` and `v`, each [B, H, S, D], with a mask added.
    fn attend(mut self) -> Whole {
        let hidden = self.hidden();
        self.case = self.case.input("mask", &[BATCH, 1, 1, STEPS]);
        self.with("Transpose", &["k"], "turned", vec![integers("perm", &[0, 1, 3, 2])])
            .node("MatMul", &["q", "turned"], "products")
            .node("Div", &["products", "scale"], "scaled")
            .node("Add", &["scaled", "mask"], "scores")
            .with("Softmax", &["scores"], "weights", vec![integer("axis", -1)])
            .node("MatMul", &["weights", "v"], "attended")
            .with("Transpose", &["attended"], "back", vec![integers("perm", &[0, 2, 1, 3])])
            .list("side_by_side", &[0, 0, hidden as i64])
            .node("Reshape", &["back", "side_by_side"], "merged")
            .linear("merged", "out", [hidden, WIDTH])
            .node("Add", &["out", "x"], "y")
            .case
            .done()
    }
}

/// Splits by heads and looks that parts share the weights.
fn splits_by_heads(whole: &Whole, grain: u64) {
    for parts in 2..5 {
        let division = whole.agrees(Join::Sum, parts, grain);
        let (all, held) = whole.weights(&division);
        assert!(held.iter().sum::<u64>() <= all + 64 * parts as u64, "{held:?} of {all}");
        // Three projections in and one out, two products between, and what is elementwise.
        assert!(division.parts.iter().all(|part| in_part(part) > 10));
    }
}

/// How many nodes a part does a share of.
fn in_part(part: &DividedPart) -> usize {
    part.shares.values().filter(|share| **share < 1.0).count()
}

fn separate() -> Block {
    let block = Block::new(6);
    let extents = [WIDTH, block.hidden()];
    ["q", "k", "v"].iter().fold(block, |block, name| {
        let flat = format!("{name}.flat");
        block.linear("x", &flat, extents).spread(&flat, name, 6)
    })
}

#[test]
fn projections_apart() {
    splits_by_heads(&separate().attend(), EACH);
}

#[test]
fn heads_are_not_cut_through() {
    let refusal = separate().attend().divide(Join::Sum, 5, 1).unwrap_err();
    assert_eq!((refusal.operator.as_str(), refusal.grain), ("Reshape", Some(EACH)), "{refusal}");
}

#[test]
fn rows_of_queries_and_batch() {
    let whole = separate().attend();
    whole.agrees(whole.even(0, 2), 2, 1);
    whole.agrees(whole.even(1, 3), 3, 1);
}

#[test]
fn projections_together_then_split() {
    let block = Block::new(6);
    let hidden = block.hidden();
    let mut block = block.linear("x", "qkv", [WIDTH, 3 * hidden]).list("thirds", &[hidden as i64; 3]);
    block.case = block.case.node_with(
        "Split",
        &["qkv", "thirds"],
        &["q.flat", "k.flat", "v.flat"],
        vec![integer("axis", 2)],
    );
    let block =
        ["q", "k", "v"].iter().fold(block, |block, name| block.spread(&format!("{name}.flat"), name, 6));
    splits_by_heads(&block.attend(), EACH);
}

#[test]
fn projections_together_then_slices() {
    let block = Block::new(6);
    let hidden = block.hidden();
    let block = block.linear("x", "qkv", [WIDTH, 3 * hidden]).list("axis", &[2]);
    let block = (0..).zip(["q", "k", "v"]).fold(block, |block, (place, name)| {
        let [start, end, flat] = ["start", "end", "flat"].map(|what| format!("{name}.{what}"));
        block
            .list(&start, &[place * hidden as i64])
            .list(&end, &[(place + 1) * hidden as i64])
            .node("Slice", &["qkv", &start, &end, "axis"], &flat)
            .spread(&flat, name, 6)
    });
    splits_by_heads(&block.attend(), EACH);
}

#[test]
fn projections_together_on_an_axis_of_their_own() {
    let block = Block::new(6);
    let hidden = block.hidden();
    let block = block
        .linear("x", "qkv", [WIDTH, 3 * hidden])
        .list("five", &[0, 0, 3, 6, EACH as i64])
        .node("Reshape", &["qkv", "five"], "apart")
        .with("Transpose", &["apart"], "first", vec![integers("perm", &[2, 0, 3, 1, 4])]);
    let block = (0..).zip(["q", "k", "v"]).fold(block, |mut block, (place, name)| {
        let index = format!("{name}.index");
        block.case = block.case.stored(&index, &indices(&[], &[place]));
        block.with("Gather", &["first", &index], name, vec![integer("axis", 0)])
    });
    splits_by_heads(&block.attend(), EACH);
}

/// Four heads of keys and values for twelve of queries, repeated by `operator`.
fn shared(operator: &str) -> Whole {
    let block = Block::new(12);
    let (hidden, few) = (block.hidden(), 4 * EACH);
    let block = block.linear("x", "q.flat", [WIDTH, hidden]).spread("q.flat", "q", 12).list("axis", &[2]);
    let block = match operator {
        "Expand" => block.list("times", &[BATCH as i64, 4, 3, STEPS as i64, EACH as i64]),
        _ => block.list("times", &[1, 1, 3, 1, 1]),
    };
    let block = block.list("all", &[0, 12, STEPS as i64, EACH as i64]);
    let block = ["k", "v"].iter().fold(block, |block, name| {
        let [flat, few_heads, apart, repeated] =
            ["flat", "few", "apart", "repeated"].map(|what| format!("{name}.{what}"));
        block
            .linear("x", &flat, [WIDTH, few])
            .spread(&flat, &few_heads, 4)
            .node("Unsqueeze", &[&few_heads, "axis"], &apart)
            .node(operator, &[&apart, "times"], &repeated)
            .node("Reshape", &[&repeated, "all"], name)
    });
    block.attend()
}

#[test]
fn keys_and_values_shared_by_query_heads() {
    for operator in ["Expand", "Tile"] {
        splits_by_heads(&shared(operator), 3 * EACH);
    }
    // A part with heads that share keys with those of another.
    let refusal = shared("Expand").divide(Join::Sum, 3, 2 * EACH).unwrap_err();
    assert_eq!((refusal.operator.as_str(), refusal.grain), ("Reshape", Some(3)), "{refusal}");
}

#[test]
fn rotated_queries_and_keys() {
    let mut block = Block::new(6);
    block.case = block.case.input("cosine", &[1, 1, STEPS, EACH]).input("sine", &[1, 1, STEPS, EACH]);
    let extents = [WIDTH, block.hidden()];
    let block = block.list("zero", &[0]).list("half", &[2]).list("end", &[4]).list("last", &[3]);
    let block = block.linear("x", "v.flat", extents).spread("v.flat", "v", 6);
    let block = ["q", "k"].iter().fold(block, |block, name| {
        let [flat, plain, low, high, turned, rotated, left, right] =
            ["flat", "plain", "low", "high", "turned", "rotated", "left", "right"]
                .map(|what| format!("{name}.{what}"));
        block
            .linear("x", &flat, extents)
            .spread(&flat, &plain, 6)
            .node("Slice", &[&plain, "zero", "half", "last"], &low)
            .node("Slice", &[&plain, "half", "end", "last"], &high)
            .node("Neg", &[&high], &turned)
            .with("Concat", &[&turned, &low], &rotated, vec![integer("axis", -1)])
            .node("Mul", &[&plain, "cosine"], &left)
            .node("Mul", &[&rotated, "sine"], &right)
            .node("Add", &[&left, &right], name)
    });
    splits_by_heads(&block.attend(), EACH);
}
