//! What Lambda would refuse, or take and not do, found before anything is sent. No emulator
//! checks most of it.

mod account;
mod function;
mod handoff;
mod package;

pub use crate::finding::{Finding, Severity};

use super::FunctionDescription;
use super::limits::STATE_BYTES;
use std::collections::HashSet;
use tranche_schema::{LambdaIndex, Manifest};

/// What the account has left, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// `AccountLimit.ConcurrentExecutions` (`GetAccountSettings`).
    pub concurrency: Option<u32>,
    /// `AccountLimit.UnreservedConcurrentExecutions`: what no other function has set aside.
    pub unreserved_concurrency: Option<u32>,
    /// `AccountLimit.TotalCodeSize` less `AccountUsage.TotalCodeSize`, in bytes.
    pub code_bytes_left: Option<u64>,
}

/// Where functions are to run, and how requests reach them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Whether there is an object store for tensors that no payload takes.
    pub store: bool,
    /// Whether there is a bucket for zip files that no call takes.
    pub code_bucket: bool,
    /// Whether there is a repository for images.
    pub repository: bool,
    /// Whether a state machine walks requests.
    pub state_machine: bool,
    /// Whether requests go on by themselves.
    pub continuation: bool,
    /// The account.
    pub account: Account,
}

/// What a state machine keeps of each slice: its metrics, with room to spare.
const STATE_BYTES_OF_SLICE: u64 = 1024;

/// What would go wrong with these functions of a bundle. Errors come first.
#[must_use]
pub fn preflight(
    functions: &[FunctionDescription],
    index: &LambdaIndex,
    manifest: &Manifest,
    surroundings: &Surroundings,
) -> Vec<Finding> {
    let mut findings = Findings::default();
    together(functions, manifest, &mut findings);
    for function in functions {
        let slice = manifest.slices.iter().find(|slice| slice.name == function.slice);
        let mut findings = findings.of(&function.name);
        function::check(function, index, &mut findings);
        package::check(function, index, surroundings, &mut findings);
        if let Some(slice) = slice {
            function::check_against_plan(function, slice, manifest, &mut findings);
        }
    }
    handoff::check(functions, manifest, surroundings, &mut findings);
    account::check(functions, index, &surroundings.account, &mut findings);
    if surroundings.state_machine {
        check_state(functions, &mut findings);
    }
    findings.list.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings.list
}

fn together(functions: &[FunctionDescription], manifest: &Manifest, findings: &mut Findings) {
    let mut names = HashSet::new();
    for function in functions.iter().filter(|function| !names.insert(&function.name)) {
        findings
            .of(&function.name)
            .error("two functions have this name".to_owned(), "give slices different names");
    }
    for slice in &manifest.slices {
        if !functions.iter().any(|function| function.slice == slice.name) {
            findings.error(
                format!("no function runs slice `{}`", slice.name),
                "describe the functions of this very bundle",
            );
        }
    }
}

fn check_state(functions: &[FunctionDescription], findings: &mut Findings) {
    let state = functions.len() as u64 * STATE_BYTES_OF_SLICE;
    if state > STATE_BYTES {
        findings.error(
            format!(
                "the metrics of {} slices are more than the {STATE_BYTES} bytes that a state machine keeps",
                functions.len()
            ),
            "plan fewer slices, or let the driver walk requests",
        );
    }
    let longest: u64 = functions.iter().map(|function| u64::from(function.timeout_s)).max().unwrap_or(0);
    if longest > u64::from(super::limits::EXPRESS_S) {
        findings.warning(
            format!(
                "Express state machines end after {} s, before functions of {longest} s do",
                super::limits::EXPRESS_S
            ),
            "shorten the timeout, or let the driver walk requests",
        );
    }
}

/// Findings on their way.
#[derive(Default)]
struct Findings {
    list: Vec<Finding>,
    function: Option<String>,
}

impl Findings {
    fn add(&mut self, severity: Severity, message: String, hint: &'static str) {
        self.list.push(Finding { severity, function: self.function.clone(), message, hint });
    }

    fn error(&mut self, message: String, hint: &'static str) {
        self.add(Severity::Error, message, hint);
    }

    fn warning(&mut self, message: String, hint: &'static str) {
        self.add(Severity::Warning, message, hint);
    }

    /// Those of one function, as long as what is given lives.
    fn of<'a>(&'a mut self, function: &str) -> OfFunction<'a> {
        self.function = Some(function.to_owned());
        OfFunction(self)
    }
}

/// Findings that name a function.
struct OfFunction<'a>(&'a mut Findings);

impl std::ops::Deref for OfFunction<'_> {
    type Target = Findings;

    fn deref(&self) -> &Findings {
        self.0
    }
}

impl std::ops::DerefMut for OfFunction<'_> {
    fn deref_mut(&mut self) -> &mut Findings {
        self.0
    }
}

impl Drop for OfFunction<'_> {
    fn drop(&mut self) {
        self.0.function = None;
    }
}
