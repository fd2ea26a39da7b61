//! Updates added where indices say, and messages along edges.

use crate::harness::{Case, Whole, indices, text};
use crate::support::{floats, integer};
use proptest::prelude::*;
use tranche_schema::{ElementType, Join, Tensor};

const VERTICES: u64 = 6;

fn targets(edges: u64) -> Vec<i64> {
    (0..edges).map(|edge| ((edge * 7 + 2) % VERTICES) as i64).collect()
}

/// `ScatterND` of one update for each edge.
fn rows(reduction: &str, edges: u64) -> Whole {
    let attributes = if reduction == "none" { vec![] } else { vec![text("reduction", reduction)] };
    Case::new()
        .version(18)
        .input("x", &[VERTICES, 4])
        .input("u", &[edges, 4])
        .given("t", indices(&[edges, 1], &targets(edges)))
        .node("Tanh", &["u"], &["m"])
        .node_with("ScatterND", &["x", "t", "m"], &["y"], attributes)
        .done()
}

/// `ScatterElements` along `axis`.
fn elements(axis: i64, edges: u64) -> Whole {
    let shape = if axis == 0 { [edges, 4] } else { [4, edges] };
    let data = if axis == 0 { [VERTICES, 4] } else { [4, VERTICES] };
    let attributes = vec![integer("axis", axis), text("reduction", "add")];
    Case::new()
        .version(18)
        .input("x", &data)
        .input("u", &shape)
        .given("t", indices(&shape, &targets(4 * edges)))
        .node("Neg", &["x"], &["d"])
        .node_with("ScatterElements", &["d", "t", "u"], &["y"], attributes)
        .done()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    #[test]
    fn edges_are_summands(edges in 5_u64..12, parts in 2_usize..5) {
        rows("add", edges).agrees(Join::Sum, parts, 1);
        elements(0, edges).agrees(Join::Sum, parts, 1);
        elements(1, edges).agrees(Join::Sum, parts, 1);
    }

    #[test]
    fn features_pass(edges in 5_u64..12, parts in 2_usize..5) {
        for reduction in ["add", "max", "none"] {
            // Without a reduction the same place may not be named twice.
            let whole = rows(reduction, if reduction == "none" { 5 } else { edges });
            whole.agrees(whole.even(1, parts), parts, 1);
        }
        for axis in 0..2 {
            let whole = elements(axis, edges);
            whole.agrees(whole.even(1 - axis as u32, parts), parts, 1);
        }
    }
}

#[test]
fn places_that_indices_name_are_not_split() {
    for whole in [rows("add", 7), elements(0, 7)] {
        let refusal = whole.refusal(whole.even(0, 2), 2);
        assert!(refusal.reason.contains("indices name"), "{refusal}");
    }
}

#[test]
fn a_maximum_is_no_sum() {
    let refusal = rows("max", 7).refusal(Join::Sum, 2);
    assert!(refusal.reason.contains("do not add up"), "{refusal}");
}

#[test]
fn parts_of_another_type_start_from_its_zeros() {
    let reals = |shape: &[u64], values: &[f64]| {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Tensor::new(ElementType::Float64, shape.to_vec(), bytes.into()).unwrap()
    };
    let wide = |kind, x, u| {
        Case::new()
            .version(18)
            .given("x", x)
            .given("t", indices(&[6, 1], &[0, 1, 1, 3, 0, 2]))
            .given("u", u)
            .node_with("ScatterND", &["x", "t", "u"], &["y"], vec![text("reduction", "add")])
            .output("y", kind)
    };
    let (x, u) = ([10.0, 20.0, 30.0, 40.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let whole = wide(ElementType::Float64, reals(&[4], &x), reals(&[6], &u));
    whole.agrees_on_onnxruntime(Join::Sum, 3, 1);
    let whole = wide(ElementType::Int64, indices(&[4], &[1, 2, 3, 4]), indices(&[6], &[1; 6]));
    let refusal = whole.refusal(Join::Sum, 3);
    assert!(refusal.reason.contains("sums of integers"), "{refusal}");
}

#[test]
fn messages_pass_along_a_share_of_the_edges() {
    let edges = 14;
    let mut both: Vec<i64> = (0..edges).map(|edge| ((edge * 5 + 1) % VERTICES) as i64).collect();
    both.extend(targets(edges));
    let norm: Vec<f32> = (0..edges).map(|edge| 1.0 / (edge + 1) as f32).collect();
    let whole = Case::new()
        .version(18)
        .input("x", &[VERTICES, 3])
        .given("e", indices(&[2, edges], &both))
        .given("norm", floats(&[edges], &norm))
        .stored("zero", &indices(&[], &[0]))
        .stored("one", &indices(&[], &[1]))
        .stored("axis", &indices(&[1], &[1]))
        .stored("shape", &indices(&[2], &[VERTICES as i64, 3]))
        .node("Gather", &["e", "zero"], &["source"])
        .node("Gather", &["e", "one"], &["target"])
        .node("Unsqueeze", &["norm", "axis"], &["column"])
        .node("Gather", &["x", "source"], &["values"])
        .node("Mul", &["values", "column"], &["messages"])
        .node("ConstantOfShape", &["shape"], &["zeros"])
        .node("Unsqueeze", &["target", "axis"], &["index"])
        .node_with("ScatterND", &["zeros", "index", "messages"], &["y"], vec![text("reduction", "add")])
        .done();
    let division = whole.agrees(Join::Sum, 4, 1);
    for part in &division.parts {
        // All vertices, and its own edges and norms.
        let shapes: Vec<u64> = part
            .pieces
            .values()
            .map(|need| need.shape(&[edges, edges]).iter().min().copied().unwrap())
            .collect();
        assert_eq!(shapes.iter().filter(|&&extent| extent < edges).count(), 2, "{:?}", part.pieces);
    }
}
