//! What a gateway would refuse, or take and not do, found beforehand.

mod rules;

pub use crate::finding::{Finding, Severity};

use super::FunctionDeployment;
use std::fmt;
use std::time::Duration;

/// Functions of a Community Edition (`faasd/pkg/provider/handlers/info.go`,
/// `faas-netes/pkg/handlers/replica_reader.go`).
pub const FUNCTION_LIMIT: usize = 15;
/// Replicas of a function on the Community Edition for Kubernetes.
pub const REPLICA_LIMIT: u32 = 5;
/// Bytes of an asynchronous request on a Community Edition
/// (`nats-queue-worker/handler/nats_queue.go`).
pub const ASYNC_BODY_LIMIT: u64 = 256_000;

/// What runs functions behind a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// containerd on one host.
    Faasd,
    /// Kubernetes (faas-netes).
    Kubernetes,
}

impl fmt::Display for Provider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Faasd => "faasd",
            Self::Kubernetes => "kubernetes",
        })
    }
}

/// Where functions are to run.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings {
    /// The provider; rules of both hold when `None`, and nothing is warned of
    /// that only one ignores.
    pub provider: Option<Provider>,
    /// Functions that run already and will go on running.
    pub running: usize,
    /// The most functions there can be; unbounded when `None`.
    pub function_limit: Option<usize>,
    /// The gateway's upstream timeout, where it is known. Else a minute, its
    /// default, is supposed.
    pub gateway_timeout: Option<Duration>,
    /// Whether requests go through `/async-function/`.
    pub asynchronous: bool,
}

impl Surroundings {
    /// A Community Edition on which `running` other functions run.
    #[must_use]
    pub fn new(provider: Option<Provider>, running: usize) -> Self {
        Self {
            provider,
            running,
            function_limit: Some(FUNCTION_LIMIT),
            gateway_timeout: None,
            asynchronous: false,
        }
    }
}

/// What would go wrong with `functions` on a Community Edition of `provider`
/// where `running` other functions go on running. Errors come first.
#[must_use]
pub fn lint(functions: &[FunctionDeployment], provider: Provider, running: usize) -> Vec<Finding> {
    lint_with(functions, &Surroundings::new(Some(provider), running))
}

/// What would go wrong with `functions` in these surroundings. Errors come first.
#[must_use]
pub fn lint_with(functions: &[FunctionDeployment], surroundings: &Surroundings) -> Vec<Finding> {
    let mut findings = rules::of_all(functions, surroundings);
    findings.extend(functions.iter().flat_map(|function| rules::of_one(function, surroundings)));
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}
