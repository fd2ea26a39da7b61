//! Cost over latency: the plans that no other beats, and where other plans lie.

use super::labels::{Area, place};
use super::{Candidate, Report, Role};
use crate::page::{Axis, escape, svg, tick_time, trimmed};
use std::fmt::Write as _;
use tranche_partitioner::explain::{PlanCosts, counted};
use tranche_schema::{CostUnit, Millis};

const WIDTH: f64 = 580.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 48.0;

/// Points closer than this are one in the drawing.
const SAME: f64 = 4.0;

/// The chart; both axes are logarithmic, so that equal distances are equal ratios.
pub(super) fn chart(report: &Report) -> String {
    let costs = PlanCosts::of(&report.plan);
    let points = &report.plan.frontier.points;
    let of_all = |of_point: fn(f64, Millis) -> f64| {
        let frontier = points.iter().map(move |point| of_point(point.cost, point.latency_ms));
        let plans =
            report.candidates.iter().map(move |plan| of_point(plan.figures.cost, plan.figures.latency_ms));
        frontier.chain(plans).collect::<Vec<f64>>()
    };
    let bound = (costs.lower_bound > 0.0).then_some(costs.lower_bound);
    let (Some(x), Some(y)) = (
        Axis::logarithmic(of_all(|_, latency| latency.0).into_iter(), LEFT, WIDTH - RIGHT),
        Axis::logarithmic(of_all(|cost, _| cost).into_iter().chain(bound), HEIGHT - BOTTOM, TOP),
    ) else {
        return "<p class=\"none\">The plan predicts no cost and no latency.</p>".to_owned();
    };
    let mut body = String::new();
    axes(&mut body, &x, &y, costs.unit);
    if let Some(bound) = bound {
        level(&mut body, &y, bound, &costs);
    }
    frontier(&mut body, report, &costs, &x, &y);
    candidates(&mut body, report, &costs, &x, &y);
    svg("Cost over latency of plans", WIDTH, HEIGHT, &body)
}

/// What a cost is called beside a tick.
pub(super) fn tick_cost(unit: CostUnit, value: f64) -> String {
    match unit {
        CostUnit::GibSeconds => trimmed(&format!("{value:.7}")),
        CostUnit::Usd => format!("${}", trimmed(&format!("{:.5}", value * 1e6))),
    }
}

/// What costs are counted in, for the title of an axis.
pub(super) fn unit_name(unit: CostUnit) -> &'static str {
    match unit {
        CostUnit::GibSeconds => "GiB·s a request",
        CostUnit::Usd => "dollars a million requests",
    }
}

fn axes(svg: &mut String, x: &Axis, y: &Axis, unit: CostUnit) {
    let floor = HEIGHT - BOTTOM;
    y.grid(svg, LEFT, WIDTH - RIGHT, |value| tick_cost(unit, value));
    x.floor(svg, floor, tick_time);
    let _ = writeln!(
        svg,
        "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">latency of a warm request</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 8.0
    );
}

fn level(svg: &mut String, y: &Axis, bound: f64, costs: &PlanCosts) {
    let at = y.place(bound);
    let _ = writeln!(
        svg,
        "<line class=\"level bound\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\">\
         <title>lower bound: {}</title></line>",
        WIDTH - RIGHT,
        escape(&costs.in_words(bound))
    );
}

/// A stair: between two plans nothing is cheaper than the slower one but what takes as long.
fn frontier(svg: &mut String, report: &Report, costs: &PlanCosts, x: &Axis, y: &Axis) {
    let points = &report.plan.frontier.points;
    let mut stair = String::new();
    let mut before: Option<f64> = None;
    for point in points {
        let (across, up) = (x.place(point.latency_ms.0), y.place(point.cost));
        if let Some(before) = before {
            let _ = write!(stair, "{across:.1},{before:.1} ");
        }
        let _ = write!(stair, "{across:.1},{up:.1} ");
        before = Some(up);
    }
    if points.len() > 1 {
        let _ = writeln!(svg, "<polyline class=\"line slices\" points=\"{}\"/>", stair.trim_end());
    }
    for point in points {
        let _ = writeln!(
            svg,
            "<circle class=\"point slices\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"><title>{}</title></circle>",
            x.place(point.latency_ms.0),
            y.place(point.cost),
            escape(&format!(
                "{}: {}, {}, largest memory {}{}",
                counted(point.slices as usize, "slice"),
                costs.in_words(point.cost),
                point.latency_ms,
                point.largest_memory_bytes,
                if point.chosen { " (chosen)" } else { "" }
            ))
        );
    }
}

fn candidates(svg: &mut String, report: &Report, costs: &PlanCosts, x: &Axis, y: &Axis) {
    let at = |plan: &Candidate| (x.place(plan.figures.latency_ms.0), y.place(plan.figures.cost));
    for plan in &report.candidates {
        let (across, up) = at(plan);
        let (class, shape) = match plan.role {
            Role::Own => (
                "slices",
                format!(
                    "<circle class=\"ring slices\" cx=\"{across:.1}\" cy=\"{up:.1}\" r=\"9\"/>\
                     <circle class=\"mark\" cx=\"{across:.1}\" cy=\"{up:.1}\" r=\"5\"/>"
                ),
            ),
            Role::Other => (
                "own",
                format!(
                    "<rect class=\"mark\" x=\"{:.1}\" y=\"{:.1}\" width=\"9\" height=\"9\"/>",
                    across - 4.5,
                    up - 4.5
                ),
            ),
            Role::Unsplit => (
                "whole",
                format!("<path class=\"mark\" d=\"M{across:.1} {:.1}l6.5 6.5-6.5 6.5-6.5-6.5z\"/>", up - 6.5),
            ),
        };
        let _ = writeln!(
            svg,
            "<g class=\"plan {class}\">{shape}<title>{}</title></g>",
            escape(&format!(
                "{}: {}, {}, {}",
                plan.name,
                counted(plan.figures.slices as usize, "slice"),
                costs.in_words(plan.figures.cost),
                plan.figures.latency_ms
            ))
        );
    }
    let dots = &report.plan.frontier.points;
    let dots: Vec<(f64, f64)> =
        dots.iter().map(|point| (x.place(point.latency_ms.0), y.place(point.cost))).collect();
    names(svg, report, &at, &dots);
}

/// One name for plans at one place, beside it and over no other point.
fn names(svg: &mut String, report: &Report, at: &dyn Fn(&Candidate) -> (f64, f64), dots: &[(f64, f64)]) {
    let mut groups: Vec<(f64, f64, Vec<&Candidate>)> = Vec::new();
    for plan in &report.candidates {
        let (x, y) = at(plan);
        match groups.iter_mut().find(|group| (group.0 - x).abs() < SAME && (group.1 - y).abs() < SAME) {
            Some(group) => group.2.push(plan),
            None => groups.push((x, y, vec![plan])),
        }
    }
    let texts: Vec<String> = groups
        .iter()
        .map(|(_, _, plans)| {
            let names: Vec<&str> = plans.iter().map(|plan| plan.name.as_str()).collect();
            crate::page::shortened(&names.join(", "), 34)
        })
        .collect();
    let points: Vec<(f64, f64, &str)> =
        groups.iter().zip(&texts).map(|((x, y, _), text)| (*x, *y, text.as_str())).collect();
    let marks = points.iter().map(|(x, y, _)| Area::around(*x, *y, 9.0));
    let taken = marks.chain(dots.iter().map(|(x, y)| Area::around(*x, *y, 5.0))).collect();
    let within = Area { left: LEFT, top: TOP - 8.0, right: WIDTH - 2.0, bottom: HEIGHT - BOTTOM };
    for (place, text) in place(&points, &within, taken).into_iter().zip(&texts) {
        if let Some((x, y)) = place {
            let _ = writeln!(svg, "<text class=\"name\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escape(text));
        }
    }
}
