//! Real images in real containers: Debian's docker-registry, skopeo, containerd and runc.
//!
//! Needs root and the static shim that `cargo xtask shim` makes. A program that is missing is a
//! failure that names its package. Each test wants a process of its own, as nextest gives it:
//! ports and control groups go by the process's id.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::path::Path;
use support::image::function_layout;
use support::shim::shim;
use support::subject::{self, OutOfMemory, Subject};
use tempfile::TempDir;

/// One test for each thing that the image `$subject` describes must do.
macro_rules! checks {
    ($module:ident, $subject:expr) => {
        mod $module {
            use super::*;

            #[test]
            fn is_healthy_and_answers() {
                let folder = TempDir::new().unwrap();
                subject::is_healthy_and_answers($subject(folder.path()));
            }

            #[test]
            fn takes_chunked_bodies_without_their_length() {
                let folder = TempDir::new().unwrap();
                subject::takes_chunked_bodies_without_their_length($subject(folder.path()));
            }

            #[test]
            fn answers_expect_continue() {
                let folder = TempDir::new().unwrap();
                subject::answers_expect_continue($subject(folder.path()));
            }

            #[test]
            fn ends_what_is_in_flight_at_sigterm_and_exits_0() {
                let folder = TempDir::new().unwrap();
                subject::ends_what_is_in_flight_at_sigterm_and_exits_0($subject(folder.path()));
            }

            #[test]
            fn answers_429_beyond_its_bound() {
                let folder = TempDir::new().unwrap();
                subject::answers_429_beyond_its_bound($subject(folder.path()));
            }

            #[test]
            fn is_killed_at_its_memory_limit() {
                let folder = TempDir::new().unwrap();
                subject::is_killed_at_its_memory_limit($subject(folder.path()));
            }
        }
    };
}

checks!(small_program, small_program);
checks!(static_shim, shim);

/// The tests' own function, as an image made by hand.
fn small_program(folder: &Path) -> Subject {
    function_layout(folder, "function");
    Subject {
        layout: folder.to_owned(),
        name: "function".to_owned(),
        health: "/_/health",
        ready: "/_/health",
        path: "/echo",
        body: vec![b'x'; 2 << 20],
        is_answer: |body| body.len() == 2 << 20 && body.iter().all(|&byte| byte == b'x'),
        memory: 64 << 20,
        one_in_flight: "MAX_IN_FLIGHT=1",
        out_of_memory: OutOfMemory::Request("/oom", 32 << 20),
    }
}
