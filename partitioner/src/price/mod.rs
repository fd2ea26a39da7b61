//! Prices of a platform, and what a model costs a month under them; pure.
//!
//! A [`PriceModel`](tranche_schema::PriceModel) comes in as text ([`parse`]).
//! [`tariff`] holds its arithmetic: exact, on whole pico-dollars, milliseconds and
//! mebibytes. [`curve`] tells a function's time at memory sizes that were not
//! measured, [`handoff`] what passing tensors on takes, [`month`] adds up a month,
//! and [`compare`](compare::compare) sets the sliced model against the whole one at
//! every size. docs/costs.md has the formulas with their sources.

mod built_in;
pub mod compare;
pub mod curve;
mod error;
pub mod handoff;
pub mod month;
mod parse;
pub mod tariff;
pub mod verdict;

pub use built_in::BUILT_IN;
pub use compare::{Comparison, Curve, Facts, Point, SlicedPoint, compare};
pub use curve::{Basis, Sample, TimeCurve};
pub use error::PriceError;
pub use handoff::{Hop, NamedBytes, Operations, Orchestration};
pub use month::{FunctionUse, Line, LineKind, Month, Workload};
pub use parse::{check_valid, parse, parse_prices};
pub use tariff::MebibyteMillis;
