//! Horizontal splits against the whole: what a region's parts make, joined, is what the region makes.
//! Each rule over random shapes and attributes, on both engines.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

mod concat;
mod conv;
mod conv_transpose;
mod depth_space;
mod dropout;
mod elementwise;
mod global_pool;
mod harness;
mod matmul;
mod normalise_channels;
mod pad;
mod pool;
mod resize;
mod slice;
mod split;
mod zoo;
