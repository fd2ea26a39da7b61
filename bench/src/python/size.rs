//! The memory of the Python function, found by running it.

use super::{Environment, Place, PythonFunction, Started};
use crate::BenchError;
use crate::search::{Found, confirmed, smallest_limit};
use crate::statistics::median;
use bytes::Bytes;
use std::path::Path;
use std::time::Duration;
use tokio::runtime::Runtime;
use tranche_host::Limits;
use tranche_schema::{ByteCount, MilliCpu};

/// Requests before those that count.
const WARM_UP: u32 = 2;
/// Pairs of requests that count while a limit is looked for.
const PAIRS: u32 = 7;
/// The same when the limit that was found is confirmed.
const CONFIRMING_PAIRS: u32 = 40;
/// A process that takes so many times as long as one without a limit is too small.
const TOO_SLOW: u32 = 10;
/// The least that it is waited for.
const LEAST_WAIT: Duration = Duration::from_secs(10);

/// What is to be sized.
pub struct Sizing<'a> {
    /// Its program.
    pub handler: &'a Path,
    /// The model.
    pub model: &'a Path,
    /// Where the process runs that is limited.
    pub environment: &'a Environment,
    /// Where the one runs that is not: a copy, so that the limited one finds none of its
    /// pages in the page cache.
    pub reference: &'a Environment,
    /// A request.
    pub body: &'a Bytes,
    /// Threads of ONNX Runtime; 0 leaves its default.
    pub threads: u32,
    /// CPU share of both.
    pub cpu: MilliCpu,
    /// How long loading without a limit may take.
    pub deadline: Duration,
}

/// The smallest limit under which the function's median time stays within 5 % of that of
/// the same function without a memory limit; none where there is no such limit.
///
/// Both are called in turn, so that what else the machine does slows both. Model and
/// libraries are dropped from the page cache before each try.
///
/// # Errors
/// When the function does not run without a limit, or a process cannot be made.
pub fn find_size(runtime: &Runtime, sizing: &Sizing<'_>) -> Result<Option<Found>, BenchError> {
    let unlimited = Limits { memory: None, cpu: Some(sizing.cpu) };
    let place = |environment, limits, name, start_deadline| Place {
        environment,
        handler: sizing.handler,
        model: sizing.model,
        threads: sizing.threads,
        limits,
        name,
        start_deadline,
    };
    let started = std::time::Instant::now();
    let up = PythonFunction::start(&place(sizing.reference, unlimited, "reference", sizing.deadline))?;
    let wait = (started.elapsed() * TOO_SLOW).max(LEAST_WAIT);
    let mut reference = match up {
        Started::Up(function) => function,
        Started::Down(reason) => {
            return Err(BenchError::Python { model: sizing.model.display().to_string(), reason });
        }
    };
    runtime.block_on(reference.invoke(sizing.body, sizing.deadline))?;
    let enough = reference.group().memory_peak().unwrap_or(ByteCount::mebibytes(1024));
    let mut trial = |memory: ByteCount, pairs: u32| {
        sizing.environment.evict()?;
        tranche_host::evict(sizing.model)?;
        let limits = Limits { memory: Some(memory), ..unlimited };
        match PythonFunction::start(&place(sizing.environment, limits, "sized", wait))? {
            Started::Down(_) => Ok(None),
            Started::Up(mut limited) => {
                runtime.block_on(ratio(&mut limited, &mut reference, sizing.body, pairs))
            }
        }
    };
    match smallest_limit(enough, |memory| trial(memory, PAIRS))? {
        Some(found) => confirmed(found, |memory| trial(memory, CONFIRMING_PAIRS)),
        None => Ok(None),
    }
}

/// Median time of the limited function over that of the other; none when it does not
/// answer.
async fn ratio(
    limited: &mut PythonFunction,
    reference: &mut PythonFunction,
    body: &Bytes,
    pairs: u32,
) -> Result<Option<f64>, BenchError> {
    let (mut slow, mut free) = (Vec::new(), Vec::new());
    let mut wait = LEAST_WAIT;
    for round in 0..WARM_UP + pairs {
        let answer = reference.invoke(body, Duration::from_secs(600)).await?;
        wait = LEAST_WAIT.max(Duration::from_secs_f64(answer.latency_ms / 1000.0) * TOO_SLOW).max(wait);
        let Ok(limited) = limited.invoke(body, wait).await else { return Ok(None) };
        if round >= WARM_UP {
            free.push(answer.billed_ms);
            slow.push(limited.billed_ms);
        }
    }
    Ok(Some(median(&slow) / median(&free)))
}
