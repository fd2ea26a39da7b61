//! Rules of what the account has.

use super::{Account, Findings};
use crate::lambda::FunctionDescription;
use crate::lambda::limits::UNRESERVED_CONCURRENCY;
use tranche_schema::{ByteCount, LambdaIndex, LambdaPackageKind};

pub(super) fn check(
    functions: &[FunctionDescription],
    index: &LambdaIndex,
    account: &Account,
    findings: &mut Findings,
) {
    concurrency(functions, account, findings);
    let zips = index.packages.iter().chain(&index.entry);
    let zips = zips.filter(|package| package.kind != LambdaPackageKind::Image).map(|package| package.bytes);
    let code: ByteCount = zips.chain(index.layers.iter().map(|layer| layer.bytes)).sum();
    if let Some(left) = account.code_bytes_left
        && code.0 > left
    {
        findings.error(
            format!(
                "the zip files have {code}, the account's code storage has {} left in this region",
                ByteCount(left)
            ),
            "delete versions that nobody uses, ask AWS for a higher quota, or package as images",
        );
    }
}

fn concurrency(functions: &[FunctionDescription], account: &Account, findings: &mut Findings) {
    let reserved: u64 =
        functions.iter().filter_map(|function| function.reserved_concurrency).map(u64::from).sum();
    let unreserved = account.unreserved_concurrency.or(account.concurrency);
    if let Some(unreserved) = unreserved
        && reserved > 0
        && reserved + u64::from(UNRESERVED_CONCURRENCY) > u64::from(unreserved)
    {
        findings.error(
            format!(
                "the functions set {reserved} of concurrency aside; the account has {unreserved}, of which {UNRESERVED_CONCURRENCY} must stay free"
            ),
            "reserve less, or ask AWS for a higher quota",
        );
    }
    let least = functions.len() as u64;
    if let Some(concurrency) = account.concurrency
        && u64::from(concurrency) < least
    {
        findings.warning(
            format!("{least} functions may run at one time, the account's concurrency is {concurrency}"),
            "ask AWS for a higher quota, or expect requests to be throttled and sent again",
        );
    }
}
