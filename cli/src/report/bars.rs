//! Strategies as bars: what one request costs, slice by slice.

use super::pareto::{tick_cost, unit_name};
use super::{Candidate, Report, Role};
use crate::page::{Axis, escape, shortened, svg};
use std::fmt::Write as _;
use tranche_partitioner::explain::PlanCosts;

const WIDTH: f64 = 580.0;
const LEFT: f64 = 116.0;
const RIGHT: f64 = 96.0;
const TOP: f64 = 12.0;
const ROW: f64 = 36.0;
const BAR: f64 = 22.0;
const BOTTOM: f64 = 48.0;

/// Parts narrower than this are drawn without a gap between them.
const NARROW: f64 = 4.0;

/// The chart, a bar a strategy.
pub(super) fn chart(report: &Report) -> String {
    let costs = PlanCosts::of(&report.plan);
    let floor = TOP + ROW * report.candidates.len() as f64;
    let height = floor + BOTTOM;
    let all = report.candidates.iter().map(|plan| plan.figures.cost);
    let Some(x) = Axis::linear(all, LEFT, WIDTH - RIGHT) else {
        return "<p class=\"none\">The plan predicts no cost.</p>".to_owned();
    };
    let mut body = String::new();
    x.floor(&mut body, floor, |value| tick_cost(costs.unit, value));
    for (at, plan) in report.candidates.iter().enumerate() {
        bar(&mut body, plan, TOP + ROW * at as f64, &x, &costs);
    }
    if costs.lower_bound > 0.0 {
        let at = x.place(costs.lower_bound);
        let _ = writeln!(
            body,
            "<line class=\"level bound\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.1}\" y2=\"{floor:.1}\">\
             <title>lower bound: {}</title></line>",
            TOP - 6.0,
            escape(&costs.in_words(costs.lower_bound))
        );
    }
    let _ = writeln!(
        body,
        "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        height - 8.0,
        unit_name(costs.unit)
    );
    svg("Cost of one request by strategy", WIDTH, height, &body)
}

fn bar(svg: &mut String, plan: &Candidate, top: f64, x: &Axis, costs: &PlanCosts) {
    let class = match plan.role {
        Role::Own => "slices",
        Role::Other => "own",
        Role::Unsplit => "whole",
    };
    let middle = top + ROW / 2.0;
    let _ = writeln!(
        svg,
        "<g class=\"bar {class}\"><text class=\"name\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">\
         <title>{}</title>{}</text>",
        LEFT - 8.0,
        middle + 4.0,
        escape(&plan.name),
        escape(&shortened(&plan.name, 15))
    );
    let mut sum = 0.0;
    for (name, cost) in &plan.parts {
        let (from, to) = (x.place(sum), x.place(sum + cost));
        sum += cost;
        let gap = if to - from > NARROW { 1.0 } else { 0.0 };
        let _ = writeln!(
            svg,
            "<rect class=\"part\" x=\"{from:.2}\" y=\"{:.1}\" width=\"{:.2}\" height=\"{BAR}\"><title>{}</title></rect>",
            middle - BAR / 2.0,
            to - from - gap,
            escape(&format!("{name}: {}", costs.in_words(*cost)))
        );
    }
    let times = plan.figures.cost_over_unsplit.map(|ratio| format!("{ratio:.2}x")).unwrap_or_default();
    let _ = writeln!(
        svg,
        "<text class=\"value\" x=\"{:.1}\" y=\"{:.1}\">{} <tspan class=\"tick\">{times}</tspan></text></g>",
        x.place(plan.figures.cost) + 6.0,
        middle + 4.0,
        escape(&tick_cost_short(costs, plan.figures.cost)),
    );
}

/// A cost in four digits, without its unit, which the axis names.
fn tick_cost_short(costs: &PlanCosts, cost: f64) -> String {
    costs.text(cost).trim_end_matches(" GiB·s").to_owned()
}
