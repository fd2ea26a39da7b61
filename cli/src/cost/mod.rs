//! What a model costs a month, sliced and whole: measured here or read from bills,
//! priced by a price file.

mod bills;
mod chart;
mod html;
mod measure;
mod text;

use crate::arguments::{CostArguments, Walker, WorkloadArguments};
use crate::config::Settings;
use crate::context::Context;
use crate::failure::Failure;
use crate::prices::{self, PriceSummary};
use serde::Serialize;
use tranche_partitioner::price::compare::Question;
use tranche_partitioner::price::month::SECONDS_A_MONTH;
use tranche_partitioner::price::{Comparison, Facts, Orchestration, Workload, compare};

pub(crate) use bills::bills_in;
pub use html::render as html;
pub use text::render as text;

/// Sizes shown beside those that are measured: AWS's steps of a whole CPU, and what people use.
const SHOWN: [u32; 13] = [128, 256, 512, 1024, 1536, 1769, 2048, 3008, 3538, 5307, 7077, 8845, 10_240];

/// What was measured of a model.
pub struct Measured {
    /// The model's name.
    pub model: String,
    /// Engine and version, as far as known.
    pub engine: String,
    /// The processor that times are from; none when only bills are known.
    pub machine: Option<String>,
    /// The whole model.
    pub whole: Option<Facts>,
    /// The slices, in the plan's order.
    pub slices: Vec<Facts>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// What `cost` prints.
#[derive(Serialize)]
pub struct CostReport {
    /// The model's name.
    pub model: String,
    /// Engine and version, as far as known.
    pub engine: String,
    /// The processor that times are from.
    pub machine: Option<String>,
    /// The prices.
    pub prices: PriceSummary,
    /// The month.
    pub workload: Workload,
    /// Who walks the slices.
    pub orchestration: Orchestration,
    /// What it costs.
    #[serde(flatten)]
    pub comparison: Comparison,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// Measures or reads, and prices.
///
/// # Errors
/// When the command line, the prices or a file is wrong, or the model cannot be measured.
pub fn report(context: &Context, arguments: &CostArguments) -> Result<CostReport, Failure> {
    let settings =
        context.settings(&[&arguments.engine, &arguments.measure, &arguments.plan, &arguments.prices])?;
    let prices = prices::chosen(&settings)?;
    let workload = workload(&arguments.workload)?;
    let measured = facts(context, arguments, settings, &prices)?;
    let orchestration = match arguments.workload.orchestration {
        Walker::Driver => Orchestration::Driver,
        Walker::Workflow => Orchestration::Workflow,
        Walker::Continuation => Orchestration::Continuation,
        Walker::Entry => Orchestration::Entry { memory_mib: arguments.workload.entry_memory },
    };
    let mut sizes = SHOWN.to_vec();
    sizes.extend(&arguments.sizes);
    let question = Question {
        prices: &prices,
        workload,
        orchestration,
        entry_mib: arguments.workload.entry_memory,
        sizes,
    };
    let comparison = compare(&question, measured.whole.as_ref(), &measured.slices);
    Ok(CostReport {
        model: measured.model,
        engine: measured.engine,
        machine: measured.machine,
        prices: PriceSummary::from(&prices),
        workload,
        orchestration,
        comparison,
        notes: measured.notes,
    })
}

fn facts(
    context: &Context,
    arguments: &CostArguments,
    settings: Settings,
    prices: &tranche_schema::PriceModel,
) -> Result<Measured, Failure> {
    match &arguments.model {
        Some(model) => measure::measure(context, arguments, model, settings, prices),
        None => bills::read(&arguments.bills),
    }
}

fn workload(arguments: &WorkloadArguments) -> Result<Workload, Failure> {
    let cold = arguments.cold;
    if !(0.0..=1.0).contains(&cold) {
        return Err(Failure::usage(format!("`--cold {cold}` is no share between 0 and 1")));
    }
    let requests = match arguments.rate {
        Some(rate) if rate.is_finite() && rate > 0.0 && rate < 1e9 => (rate * SECONDS_A_MONTH).round() as u64,
        Some(rate) => return Err(Failure::usage(format!("`--rate {rate}` is no rate of requests"))),
        None => arguments.requests_per_month.unwrap_or(1_000_000),
    };
    if !(1..=1_000_000_000_000_000).contains(&requests) {
        return Err(Failure::usage(format!("{requests} requests a month are none that can be priced")));
    }
    Ok(Workload { requests_per_month: requests, cold_fraction: cold, free_tier: arguments.free_tier })
}
