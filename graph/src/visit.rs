//! Walks over every part of a model, subgraphs included.
//!
//! Decoding bounds how deep subgraphs nest (prost stops at 100 nested messages),
//! so the recursion here is bounded too.

use crate::onnx::{GraphProto, NodeProto, SparseTensorProto, TensorProto};

/// The subgraphs of a node, in attribute order.
pub(crate) fn subgraphs(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
}

/// The subgraphs of a node, to change.
pub(crate) fn subgraphs_mut(node: &mut NodeProto) -> impl Iterator<Item = &mut GraphProto> {
    node.attribute.iter_mut().flat_map(|attribute| attribute.g.iter_mut().chain(&mut attribute.graphs))
}

/// Names of a graph's initialisers, sparse ones included.
pub(crate) fn initializer_names(graph: &GraphProto) -> impl Iterator<Item = &str> {
    graph
        .initializer
        .iter()
        .map(TensorProto::name)
        .chain(graph.sparse_initializer.iter().filter_map(|sparse| Some(sparse.values.as_ref()?.name())))
}

/// Calls `visit` with every stored tensor of a graph: initialisers, the parts of
/// sparse ones, tensor attributes, and those of subgraphs. Stops at the first error.
pub(crate) fn try_tensors<'a, E>(
    graph: &'a GraphProto,
    visit: &mut dyn FnMut(&'a TensorProto) -> Result<(), E>,
) -> Result<(), E> {
    for tensor in &graph.initializer {
        visit(tensor)?;
    }
    for sparse in &graph.sparse_initializer {
        try_sparse(sparse, visit)?;
    }
    for node in &graph.node {
        for attribute in &node.attribute {
            for tensor in attribute.t.iter().chain(&attribute.tensors) {
                visit(tensor)?;
            }
            for sparse in attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors) {
                try_sparse(sparse, visit)?;
            }
        }
        for subgraph in subgraphs(node) {
            try_tensors(subgraph, visit)?;
        }
    }
    Ok(())
}

fn try_sparse<'a, E>(
    sparse: &'a SparseTensorProto,
    visit: &mut dyn FnMut(&'a TensorProto) -> Result<(), E>,
) -> Result<(), E> {
    sparse.values.iter().chain(&sparse.indices).try_for_each(visit)
}

/// As [`try_tensors`], to change, over the initialisers of the graph and its
/// subgraphs (`initializer` true) and all other stored tensors (false).
pub(crate) fn try_tensors_mut<E>(
    graph: &mut GraphProto,
    visit: &mut dyn FnMut(&mut TensorProto, bool) -> Result<(), E>,
) -> Result<(), E> {
    for tensor in &mut graph.initializer {
        visit(tensor, true)?;
    }
    for sparse in &mut graph.sparse_initializer {
        try_sparse_mut(sparse, visit)?;
    }
    for node in &mut graph.node {
        for attribute in &mut node.attribute {
            for tensor in attribute.t.iter_mut().chain(&mut attribute.tensors) {
                visit(tensor, false)?;
            }
            for sparse in attribute.sparse_tensor.iter_mut().chain(&mut attribute.sparse_tensors) {
                try_sparse_mut(sparse, visit)?;
            }
        }
        for subgraph in subgraphs_mut(node) {
            try_tensors_mut(subgraph, visit)?;
        }
    }
    Ok(())
}

fn try_sparse_mut<E>(
    sparse: &mut SparseTensorProto,
    visit: &mut dyn FnMut(&mut TensorProto, bool) -> Result<(), E>,
) -> Result<(), E> {
    sparse.values.iter_mut().chain(&mut sparse.indices).try_for_each(|tensor| visit(tensor, false))
}
