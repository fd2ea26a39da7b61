//! Horizontal splits against the whole: what a region's parts make, joined, is what the region makes.
//! Each rule over random shapes and attributes, on both engines.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

mod along;
mod attention;
mod attention_blocks;
mod concat;
mod conv;
mod conv_transpose;
mod depth_space;
mod dropout;
mod einsum;
mod elementwise;
mod expand;
mod gather;
mod gemm;
mod global_pool;
mod harness;
mod layer_norm;
mod matmul;
mod normalise_channels;
mod pad;
mod pool;
mod recurrent;
mod reshape;
mod resize;
mod scatter;
mod slice;
mod softmax;
mod split;
mod transpose;
mod zoo;
mod zoo_transformers;
