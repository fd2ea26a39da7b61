//! The evaluation: each model sliced, whole in one function, and as a Python
//! function on ONNX Runtime, every one at the smallest memory that does not slow it
//! down, called in turn.
//!
//! What the numbers mean is in `docs/evaluation.md`. Results are JSON lines; a line
//! that is there is not measured again.

mod catalogue;
mod error;
mod evaluate;
mod line;
mod money;
mod program;
mod python;
mod search;
mod statistics;
mod table;
mod turns;
mod usage;

pub use catalogue::{MODELS, TRAINED, inputs};
pub use error::BenchError;
pub use evaluate::{Evaluation, Settings};
pub use line::{
    Comparison, FunctionMeasured, Lines, Machine, Measured, Outcome, Predicted, Record, SizeFound,
};
pub use money::PriceList;
pub use program::{Deployed, Program, Wanted, default_cache, existing, made};
pub use python::{Environment, PythonFunction, Started, encode};
pub use search::{Attempt, Found, STEP, TOLERANCE, smallest_limit};
pub use statistics::{Spread, geometric_mean, median, quantile};
pub use table::render;
pub use turns::{Extent, Request, Turns, in_turn};
