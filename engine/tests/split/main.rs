//! Horizontal splits against the whole: what a region's parts make, joined, is what the region makes.
//! Each rule over random shapes and attributes, on both engines.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

mod along;
mod attention;
mod attention_blocks;
mod conv;
mod einsum;
mod elementwise;
mod expand;
mod gather;
mod gemm;
mod harness;
mod layer_norm;
mod matmul;
mod recurrent;
mod reshape;
mod scatter;
mod softmax;
mod transpose;
mod zoo_transformers;
