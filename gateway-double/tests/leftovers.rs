//! Nothing outlives the double. One test: it looks at all control groups of its process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use support::{Bench, describe};
use tranche_gateway_double::Provider;

#[test]
fn no_group_is_left_when_it_ends_while_it_starts_functions() {
    let prefix = format!("tranche-double-{}-", std::process::id());
    for provider in [Provider::Kubernetes, Provider::Faasd] {
        let bench = Bench::new(provider);
        for number in 0..4 {
            bench.post(&describe(&format!("f{number}")));
        }
        drop(bench);
        assert_eq!(tranche_host::Cgroups::detect().find(&prefix), []);
    }
}
