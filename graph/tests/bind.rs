//! Concrete shapes for symbolic inputs.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failure in a test says itself what it is")]

mod common;

use common::*;
use std::collections::BTreeMap;
use tranche_graph::{Binding, ErrorKind, Graph, GraphError, Model};

/// ids and mask share `batch`; image has an extent without a name.
fn graph() -> Graph {
    let mut whole = model(vec![node("Relu", &["image"], &["y"])], &[], &["y"], vec![]);
    whole.graph.as_mut().unwrap().input = vec![
        info("ids", INT64, &["batch", "sequence"]),
        info("mask", INT64, &["batch", "4"]),
        info("image", FLOAT, &["?", "3"]),
    ];
    Graph::new(Model::from_proto(whole)).unwrap()
}

fn bind(shapes: &[(&str, &[u64])], dimensions: &[(&str, u64)]) -> Result<Binding, GraphError> {
    let shapes = shapes.iter().map(|&(name, shape)| (name.to_owned(), shape.to_vec())).collect();
    let dimensions: BTreeMap<String, u64> =
        dimensions.iter().map(|&(name, extent)| (name.to_owned(), extent)).collect();
    graph().bind(&shapes, &dimensions)
}

fn refusal(shapes: &[(&str, &[u64])], dimensions: &[(&str, u64)]) -> String {
    bind(shapes, dimensions).unwrap_err().to_string()
}

#[test]
fn shapes_and_dimensions_together() {
    let bound = bind(&[("image", &[2, 3])], &[("batch", 5), ("sequence", 7)]).unwrap();
    let shapes: Vec<_> = bound.inputs.iter().map(|spec| spec.shape.clone()).collect();
    assert_eq!(shapes, [vec![5, 7], vec![5, 4], vec![2, 3]]);
    assert_eq!(bound.dimensions, BTreeMap::from([("batch".to_owned(), 5), ("sequence".to_owned(), 7)]));
}

#[test]
fn a_shape_binds_symbols_of_other_inputs() {
    let bound = bind(&[("image", &[2, 3]), ("ids", &[6, 1])], &[]).unwrap();
    assert_eq!(bound.inputs[1].shape, [6, 4]);
}

#[test]
fn conflicts() {
    assert_eq!(
        refusal(&[("mask", &[1, 5])], &[]),
        "input `mask`: extent 1 of [batch, 4] is fixed to 4, asked for 5"
    );
    assert_eq!(refusal(&[("mask", &[1])], &[]), "input `mask`: has 2 dimensions [batch, 4], asked for 1");
    assert_eq!(
        refusal(&[("ids", &[2, 7]), ("mask", &[1, 4])], &[]),
        "input `mask`: extent 0 of [batch, 4] is `batch`, asked for 1, but --shape ids=… makes it 2"
    );
    assert_eq!(
        refusal(&[("ids", &[2, 7])], &[("batch", 3)]),
        "input `ids`: extent 0 of [batch, sequence] is `batch`, asked for 2, but --dim batch=3 makes it 3"
    );
    assert_eq!(
        refusal(&[("image", &[u64::MAX, 3])], &[("batch", 1), ("sequence", 1)]),
        "input `image`: shape [18446744073709551615, 3] is too large to exist"
    );
}

#[test]
fn unknown_names() {
    let error = bind(&[("pixels", &[1])], &[]).unwrap_err();
    assert!(matches!(error.kind, ErrorKind::UnknownName(_)));
    assert_eq!(error.to_string(), "no input is named `pixels`; there are: ids, mask, image");
    assert_eq!(
        refusal(&[], &[("btach", 1)]),
        "no symbolic dimension is named `btach`; there are: batch, sequence"
    );
}

#[test]
fn open_extents_say_which_flags_close_them() {
    assert_eq!(
        refusal(&[], &[("batch", 1)]),
        "input `ids`: has the open shape [batch, sequence]; give --dim sequence=… or --shape ids=…"
    );
    assert_eq!(
        refusal(&[("ids", &[1, 1])], &[]),
        "input `image`: has the open shape [?, 3]; give --shape image=…"
    );
}
