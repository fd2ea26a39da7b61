//! Deployments and the Python function, called in turn.

use crate::BenchError;
use crate::line::{FunctionMeasured, Measured};
use crate::program::Deployed;
use crate::python::{PythonFunction, RawTensor};
use crate::statistics::Spread;
use crate::usage::{Sampler, Usage};
use bytes::Bytes;
use std::time::{Duration, Instant};
use tranche_driver::Driver;
use tranche_host::ControlGroup;
use tranche_schema::{ByteCount, ElementType, GibSeconds, MilliCpu, Millis, Tensor};

/// Rounds before those that count.
const WARM_UP: u32 = 2;
/// Rounds that are made in any case.
const LEAST_ROUNDS: u32 = 5;
/// Requests to each while its memory is looked at: at least, at most, and for how long.
const LOOKS: (u32, u32, Duration) = (3, 50, Duration::from_secs(1));

/// How much is asked.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Rounds of one request to each.
    pub rounds: u32,
    /// No round is begun after this long, but for the least number of rounds.
    pub budget: Duration,
    /// Longest time of one request.
    pub deadline: Duration,
}

/// What is sent.
pub struct Request<'a> {
    /// For deployments.
    pub inputs: &'a [(String, Tensor)],
    /// The same for the Python function.
    pub body: &'a Bytes,
}

/// What turns gave.
pub struct Turns {
    /// Rounds that count.
    pub rounds: u32,
    /// One entry a deployment, or why it failed.
    pub deployed: Vec<Result<Measured, BenchError>>,
    /// Largest difference of each deployment's outputs from Python's.
    pub differences: Vec<Option<f64>>,
    /// The same from the first deployment's.
    pub differences_from_first: Vec<Option<f64>>,
    /// The Python function.
    pub python: Option<Measured>,
}

/// Times of one subject, request by request.
#[derive(Default)]
struct Times {
    latency: Vec<f64>,
    billed: Vec<Vec<f64>>,
    retries: u32,
    outputs: Vec<(String, Tensor)>,
    failure: Option<BenchError>,
}

impl Times {
    fn push(&mut self, latency: f64, billed: Vec<f64>) {
        self.latency.push(latency);
        self.billed.push(billed);
    }

    /// Sends a request, unless one failed before.
    async fn call(&mut self, one: &Deployed<'_>, request: &Request<'_>, counts: bool) {
        if self.failure.is_some() {
            return;
        }
        match call(&one.driver, request).await {
            Ok(called) => {
                self.outputs = called.outputs;
                if counts {
                    self.retries += called.retries;
                    self.push(called.latency_ms, called.billed_ms);
                }
            }
            Err(error) => self.failure = Some(error),
        }
    }
}

/// A Python function at its size.
pub struct SizedPython<'a> {
    /// It.
    pub function: &'a mut PythonFunction,
    /// Its memory limit.
    pub memory: ByteCount,
    /// Its CPU share.
    pub cpu: MilliCpu,
}

/// Sends a request to each deployment and to the Python function, one after the other,
/// round by round; then looks at what memory each holds while it runs, which takes time
/// and therefore comes last.
///
/// # Errors
/// When the Python function fails. A deployment that fails is called no more.
pub async fn in_turn(
    deployed: &[&Deployed<'_>],
    mut python: Option<SizedPython<'_>>,
    request: &Request<'_>,
    extent: Extent,
) -> Result<Turns, BenchError> {
    let mut times: Vec<Times> = deployed.iter().map(|_| Times::default()).collect();
    let mut python_times = Times::default();
    let mut expected: Vec<RawTensor> = Vec::new();
    let start = Instant::now();
    let mut rounds = 0;
    for round in 0..WARM_UP + extent.rounds {
        let counts = round >= WARM_UP;
        if counts && rounds >= LEAST_ROUNDS && start.elapsed() >= extent.budget {
            break;
        }
        // Another one first each time: who comes after whom makes no difference in the end.
        let callers = deployed.len() + usize::from(python.is_some());
        for place in 0..callers {
            let index = (place + round as usize) % callers;
            if let (Some(one), Some(times)) = (deployed.get(index), times.get_mut(index)) {
                times.call(one, request, counts).await;
            } else if let Some(python) = &mut python {
                let answer = python.function.invoke(request.body, extent.deadline).await?;
                expected = answer.outputs;
                if counts {
                    python_times.push(answer.latency_ms, vec![answer.billed_ms]);
                }
            }
        }
        rounds += u32::from(counts);
    }
    let differences = times.iter().map(|times| difference(&times.outputs, &expected)).collect();
    let first: Vec<RawTensor> =
        times.first().map(|first| first.outputs.iter().map(raw).collect()).unwrap_or_default();
    let differences_from_first = times.iter().map(|times| difference(&times.outputs, &first)).collect();
    let mut measured = Vec::new();
    for (one, mut times) in deployed.iter().zip(times) {
        measured.push(match times.failure.take() {
            Some(failure) => Err(failure),
            None => watch_deployed(one, request)
                .await
                .map(|usage| assemble(functions_of(&one.driver), &times, &usage)),
        });
    }
    let python = match python {
        None => None,
        Some(python) => {
            let groups = [python.function.group().clone()];
            let sampler = Sampler::start(&groups);
            let mut looks = Looks::default();
            while looks.more() {
                python.function.invoke(request.body, extent.deadline).await?;
            }
            Some(assemble(vec![function_of(&python)], &python_times, &sampler.end()))
        }
    };
    Ok(Turns { rounds, deployed: measured, differences, differences_from_first, python })
}

struct Called {
    latency_ms: f64,
    /// Of each function.
    billed_ms: Vec<f64>,
    /// Tries beyond the first, of all functions.
    retries: u32,
    outputs: Vec<(String, Tensor)>,
}

async fn call(driver: &Driver, request: &Request<'_>) -> Result<Called, BenchError> {
    let answer = driver.invoke(request.inputs.to_vec()).await?;
    let slices = &answer.bill.slices;
    Ok(Called {
        latency_ms: answer.bill.latency_ms.0,
        billed_ms: slices.iter().map(|slice| slice.measured.billed_ms.0).collect(),
        retries: slices.iter().map(|slice| slice.attempts.saturating_sub(1)).sum(),
        outputs: answer.outputs,
    })
}

async fn watch_deployed(one: &Deployed<'_>, request: &Request<'_>) -> Result<Vec<Usage>, BenchError> {
    let groups: Vec<ControlGroup> = one.groups()?.unwrap_or_default();
    let sampler = Sampler::start(&groups);
    let mut looks = Looks::default();
    while looks.more() {
        call(&one.driver, request).await?;
    }
    Ok(sampler.end())
}

/// Counts requests made while memory is looked at.
struct Looks {
    start: Instant,
    done: u32,
}

impl Default for Looks {
    fn default() -> Self {
        Self { start: Instant::now(), done: 0 }
    }
}

impl Looks {
    fn more(&mut self) -> bool {
        let (least, most, long) = LOOKS;
        let more = self.done < least || (self.done < most && self.start.elapsed() < long);
        self.done += u32::from(more);
        more
    }
}

fn functions_of(driver: &Driver) -> Vec<FunctionMeasured> {
    let of = |function: &tranche_schema::DeployedFunction| FunctionMeasured {
        name: function.slice.clone(),
        memory_bytes: function.size.memory_bytes,
        cpu_milli: function.size.cpu_milli,
        limited: function.limits.memory && function.limits.cpu,
        ..FunctionMeasured::default()
    };
    driver.deployment().functions.iter().map(of).collect()
}

fn function_of(python: &SizedPython<'_>) -> FunctionMeasured {
    let limits = python.function.limits();
    FunctionMeasured {
        name: "python".to_owned(),
        memory_bytes: python.memory,
        cpu_milli: python.cpu,
        limited: limits.memory && limits.cpu,
        ..FunctionMeasured::default()
    }
}

fn assemble(functions: Vec<FunctionMeasured>, times: &Times, usage: &[Usage]) -> Measured {
    let sums: Vec<f64> = times.billed.iter().map(|billed| billed.iter().sum()).collect();
    let memory_time = |billed: &Vec<f64>| {
        let each = functions.iter().zip(billed);
        each.map(|(function, &time)| GibSeconds::of(function.memory_bytes, Millis(time)).0).sum()
    };
    let memory_times: Vec<f64> = times.billed.iter().map(memory_time).collect();
    let functions = functions.into_iter().enumerate().map(|(index, function)| {
        let billed: Vec<f64> = times.billed.iter().filter_map(|billed| billed.get(index).copied()).collect();
        let used_bytes = usage.get(index).and_then(Usage::mean_bytes);
        FunctionMeasured { billed: Spread::of(&billed), used_bytes, ..function }
    });
    Measured {
        functions: functions.collect(),
        latency: Spread::of(&times.latency),
        billed: Spread::of(&sums),
        memory_time: Spread::of(&memory_times),
        retries: times.retries,
    }
}

fn raw((name, tensor): &(String, Tensor)) -> RawTensor {
    RawTensor {
        name: name.clone(),
        element_type: tensor.element_type().name().to_owned(),
        shape: tensor.shape().to_vec(),
        data: tensor.data().clone(),
    }
}

/// Largest difference over all outputs, each over its largest expected value.
fn difference(given: &[(String, Tensor)], expected: &[RawTensor]) -> Option<f64> {
    let one = |expected: &RawTensor| {
        let (_, tensor) = given.iter().find(|(name, _)| *name == expected.name)?;
        let float = tensor.element_type() == ElementType::Float32 && expected.element_type == "float32";
        if !float || tensor.shape() != expected.shape {
            return None;
        }
        let pairs = || floats(tensor.data()).zip(floats(&expected.data));
        let scale = pairs().map(|(_, wanted)| wanted.abs()).fold(f64::MIN_POSITIVE, f64::max);
        // Not `f64::max`, which takes a number over NaN.
        let apart = pairs().map(|(found, wanted)| (found - wanted).abs());
        Some(
            apart.fold(0.0, |largest, one| if one > largest || one.is_nan() { one } else { largest }) / scale,
        )
    };
    let each: Option<Vec<f64>> = expected.iter().map(one).collect();
    each.filter(|each| !each.is_empty()).map(|each| each.into_iter().fold(0.0, f64::max))
}

fn floats(data: &[u8]) -> impl Iterator<Item = f64> {
    data.chunks_exact(4)
        .map(|bytes| bytes.try_into().map_or(f64::NAN, |bytes| f64::from(f32::from_le_bytes(bytes))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::encode;

    fn output(values: &[f32]) -> (String, Tensor) {
        ("y".to_owned(), Tensor::from_f32(vec![values.len() as u64], values).unwrap())
    }

    fn expected(values: &[f32]) -> RawTensor {
        let body = encode(&[output(values)]);
        let data = body.slice(body.len() - 4 * values.len()..);
        let (name, element_type) = ("y".to_owned(), "float32".to_owned());
        RawTensor { name, element_type, shape: vec![values.len() as u64], data }
    }

    #[test]
    fn outputs_differ_by_the_scale_of_what_is_expected() {
        assert_eq!(difference(&[output(&[1.0, 2.5])], &[expected(&[1.0, 2.0])]), Some(0.25));
        assert_eq!(difference(&[output(&[1.0])], &[expected(&[1.0, 2.0])]), None);
        assert_eq!(difference(&[output(&[1.0])], &[]), None);
    }

    #[test]
    fn memory_time_is_summed_request_by_request() {
        let function =
            |mib| FunctionMeasured { memory_bytes: ByteCount::mebibytes(mib), ..Default::default() };
        let mut times = Times::default();
        times.push(31.0, vec![10.0, 20.0]);
        times.push(33.0, vec![12.0, 20.0]);
        let measured = assemble(vec![function(1024), function(512)], &times, &[]);
        assert!((measured.memory_time.median - 0.021).abs() < 1e-12);
        assert_eq!((measured.billed.median, measured.latency.median), (31.0, 32.0));
        assert_eq!(measured.efficiency(), None);
    }
}
