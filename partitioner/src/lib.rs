//! Profiles and prices in, plan out; pure: no clock, no disk, no network, no engine.
//!
//! [`Problem`] says what can be cut and what was measured, [`CostModel`] what
//! things cost, [`Strategy`] how cuts are chosen, and [`partition`] makes a
//! [`Plan`](tranche_schema::Plan) that [`verify`] accepts and [`render`] explains.
//! Equal inputs give byte-identical plans. [`price`] tells what a platform charges a month.

mod borders;
mod colocate;
pub mod cost;
pub mod difference;
mod error;
pub mod explain;
mod horizontal;
mod live;
mod manual;
mod measured;
mod order;
mod plan;
pub mod price;
mod pricing;
mod problem;
mod reason;
mod search;
mod segment;
pub mod similarity;
mod simulate;
mod start;
mod strategy;
mod timing;
mod uniform;
mod verify;

pub use cost::{ChannelRate, CodecRate, CostModel, Transport};
pub use error::{Infeasible, PlanError};
pub use explain::{render, render_in_full};
pub use horizontal::{Horizontal, Source};
pub use plan::{partition, reprice, with_frontier};
pub use pricing::{DEFAULT_RATE, Pricing, TIE_OF_PRICES};
pub use problem::{BorderTensor, Problem, ProblemLayer, ProblemNode};
pub use search::{OrderSteps, StepRecord, every_step};
pub use segment::{Costs, Row, Segment, Stretch};
pub use simulate::cold_fraction;
pub use start::StartLine;
pub use strategy::Strategy;
pub use verify::verify;
