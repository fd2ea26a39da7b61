use tranche_schema::{CostUnit, Plan, SlicePlan};

/// What one request costs by a plan, in the unit that the plan counts in.
///
/// Plans without prices (all costs 0) cost their memory-time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlanCosts {
    /// The unit.
    pub unit: CostUnit,
    /// The plan.
    pub total: f64,
    /// The whole model in one function at its best size.
    pub unsplit: f64,
    /// What no vertical plan can go below.
    pub lower_bound: f64,
    priced: bool,
}

impl PlanCosts {
    /// Of this plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let prediction = &plan.prediction;
        let priced = prediction.cost > 0.0 || plan.pricing.unit == CostUnit::Usd;
        let (total, unsplit, lower_bound) = if priced {
            (prediction.cost, prediction.unsplit_cost, prediction.cost_lower_bound)
        } else {
            (prediction.memory_time.0, prediction.unsplit_memory_time.0, prediction.lower_bound.0)
        };
        Self { unit: plan.pricing.unit, total, unsplit, lower_bound, priced }
    }

    /// What one request costs in a slice of the plan.
    #[must_use]
    pub fn slice(&self, slice: &SlicePlan) -> f64 {
        if self.priced { slice.prediction.cost } else { slice.prediction.memory_time.0 }
    }

    /// The plan's cost over that of the whole model; none over nothing.
    #[must_use]
    pub fn over_unsplit(&self) -> Option<f64> {
        ratio(self.total, self.unsplit)
    }

    /// The plan's cost over the lower bound; none over nothing.
    #[must_use]
    pub fn over_lower_bound(&self) -> Option<f64> {
        ratio(self.total, self.lower_bound)
    }

    /// A cost in a column of costs: GiB·s of a request, or dollars of a million
    /// requests, with decimals that show four digits of the plan's.
    #[must_use]
    pub fn text(&self, cost: f64) -> String {
        let decimals = |total: f64, least: i32, most: i32| {
            if total > 0.0 && total.is_finite() {
                (3 - total.log10().floor() as i32).clamp(least, most) as usize
            } else {
                4
            }
        };
        match self.unit {
            CostUnit::GibSeconds => format!("{cost:.*} GiB·s", decimals(self.total, 1, 9)),
            CostUnit::Usd => format!("${:.*}", decimals(self.total * MILLION, 2, 7), cost * MILLION),
        }
    }

    /// A cost in a sentence: with the number of requests that it is of.
    #[must_use]
    pub fn in_words(&self, cost: f64) -> String {
        match self.unit {
            CostUnit::GibSeconds => self.text(cost),
            CostUnit::Usd => format!("{} a million", self.text(cost)),
        }
    }

    /// The heading of a column of costs.
    #[must_use]
    pub fn heading(&self) -> &'static str {
        match self.unit {
            CostUnit::GibSeconds => "memory-time",
            CostUnit::Usd => "a million",
        }
    }
}

const MILLION: f64 = 1e6;

fn ratio(over: f64, under: f64) -> Option<f64> {
    (under > 0.0).then(|| over / under)
}

/// A ratio as the share that it adds, as `+4.1 %`.
#[must_use]
pub fn share(ratio: f64) -> String {
    // No sign before what rounds to nothing.
    let percent = ((ratio - 1.0) * 1000.0).round() / 10.0;
    if percent == 0.0 { "±0 %".to_owned() } else { format!("{percent:+.1} %") }
}
