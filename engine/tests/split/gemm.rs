//! Rows, columns and summands of `Gemm`.

use crate::harness::{Case, Whole, real};
use crate::support::integer;
use proptest::prelude::*;
use tranche_schema::Join;

#[derive(Clone, Debug)]
struct Shape {
    extents: [u64; 3],
    transposed: (bool, bool),
    scales: (f32, f32),
    term: usize,
    version: i64,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let transposed = (any::<bool>(), any::<bool>());
    let scales = (0.5_f32..2.0, 0.5_f32..2.0);
    let version = prop_oneof![Just(9_i64), Just(13), Just(17)];
    (prop::array::uniform3(4_u64..9), transposed, scales, 0_usize..5, version).prop_map(
        |(extents, transposed, scales, term, version)| Shape { extents, transposed, scales, term, version },
    )
}

fn product(shape: &Shape) -> Whole {
    let [rows, inner, columns] = shape.extents;
    let pair = |transposed: bool, a, b| if transposed { [b, a] } else { [a, b] };
    let attributes = vec![
        integer("transA", shape.transposed.0.into()),
        integer("transB", shape.transposed.1.into()),
        real("alpha", shape.scales.0),
        real("beta", shape.scales.1),
    ];
    let terms: [&[u64]; 5] = [&[columns], &[1], &[rows, columns], &[1, columns], &[rows, 1]];
    Case::new()
        .version(shape.version)
        .input("x", &pair(shape.transposed.0, rows, inner))
        .weight("w", &pair(shape.transposed.1, inner, columns))
        .weight("c", terms[shape.term])
        .node_with("Gemm", &["x", "w", "c"], &["y"], attributes)
        .done()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn rows_and_columns_make_the_whole(shape in shapes(), axis in 0_u32..2, parts in 2_usize..5) {
        let whole = product(&shape);
        whole.agrees(whole.even(axis, parts), parts, 1);
    }

    #[test]
    fn summands_make_the_whole(shape in shapes(), parts in 2_usize..5) {
        product(&shape).agrees(Join::Sum, parts, 1);
    }
}

#[test]
fn columns_then_rows_pass_nothing_between_parts() {
    let transposed = || vec![integer("transB", 1)];
    let whole = Case::new()
        .input("x", &[3, 5])
        .weight("v", &[8, 5])
        .weight("c", &[8])
        .weight("w", &[6, 8])
        .weight("b", &[6])
        .node_with("Gemm", &["x", "v", "c"], &["h"], transposed())
        .node("Relu", &["h"], &["r"])
        .node_with("Gemm", &["r", "w", "b"], &["y"], transposed())
        .done();
    let division = whole.agrees(Join::Sum, 4, 2);
    for part in &division.parts {
        let held = |shape: &[u64]| part.weights.iter().any(|(_, need)| need.shape(&[8, 5]) == shape);
        assert!(held(&[2, 5]), "{:?}", part.weights);
    }
}

#[test]
fn an_axis_too_short_for_the_parts_is_refused() {
    let shape =
        Shape { extents: [4, 4, 4], transposed: (false, false), scales: (1.0, 1.0), term: 0, version: 17 };
    let refusal = product(&shape).divide(Join::Sum, 3, 2).unwrap_err();
    assert!(refusal.reason.contains("too few groups of 2"), "{refusal}");
}
