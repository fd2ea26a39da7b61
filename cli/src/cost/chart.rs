//! Curves over memory sizes as SVG: both axes logarithmic, so that halves and doubles
//! are equal steps, and a flat line is what it says.

use crate::page::{Axis, escape, svg};
use std::fmt::Write as _;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 46.0;

/// A line of a chart.
pub(super) struct Series {
    /// Class of its colour: `whole`, `slices` or `own`.
    pub class: &'static str,
    /// For people who point at it.
    pub name: String,
    /// By size.
    pub marks: Vec<Mark>,
}

/// A point of a line.
pub(super) struct Mark {
    /// Memory in MiB.
    pub x: f64,
    /// The value, above 0.
    pub y: f64,
    /// Whether it was measured: filled.
    pub measured: bool,
    /// Whether it is the best: ringed.
    pub best: bool,
    /// What it says when pointed at.
    pub title: String,
}

/// A value that holds for every size: a dashed line.
pub(super) struct Level {
    /// Class of its colour.
    pub class: &'static str,
    /// The value, above 0.
    pub y: f64,
    /// What it says when pointed at.
    pub title: String,
}

/// A chart; `unit` makes a tick's label.
pub(super) fn chart(
    label: &str,
    series: &[Series],
    level: Option<&Level>,
    unit: impl Fn(f64) -> String,
) -> String {
    let values =
        || series.iter().flat_map(|line| &line.marks).map(|mark| mark.y).chain(level.map(|level| level.y));
    let sizes = || series.iter().flat_map(|line| &line.marks).map(|mark| mark.x);
    let (Some(y), Some(x)) =
        (Axis::logarithmic(values(), HEIGHT - BOTTOM, TOP), Axis::logarithmic(sizes(), LEFT, WIDTH - RIGHT))
    else {
        return format!("<p class=\"none\">{}: nothing fits.</p>", escape(label));
    };
    let mut body = String::new();
    grid(&mut body, &x, &y, unit);
    if let Some(level) = level {
        let at = y.place(level.y);
        let _ = writeln!(
            body,
            "<line class=\"level {}\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"><title>{}</title></line>",
            level.class,
            WIDTH - RIGHT,
            escape(&level.title)
        );
    }
    for line in series {
        draw(&mut body, line, &x, &y);
    }
    svg(label, WIDTH, HEIGHT, &body)
}

fn grid(svg: &mut String, x: &Axis, y: &Axis, unit: impl Fn(f64) -> String) {
    y.grid(svg, LEFT, WIDTH - RIGHT, unit);
    let floor = HEIGHT - BOTTOM;
    for size in [128, 256, 512, 1024, 1769, 3538, 10_240] {
        let at = x.place(f64::from(size));
        if (LEFT - 0.5..=WIDTH - RIGHT + 0.5).contains(&at) {
            let _ = writeln!(
                svg,
                "<line class=\"axis\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{floor:.1}\" y2=\"{:.1}\"/>\
                 <text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{size}</text>",
                floor + 4.0,
                floor + 17.0
            );
        }
    }
    let _ = writeln!(
        svg,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{floor:.1}\" y2=\"{floor:.1}\"/>\
         <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">memory size in MB (1,769 MB: one CPU)</text>",
        WIDTH - RIGHT,
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 8.0
    );
}

fn draw(svg: &mut String, line: &Series, x: &Axis, y: &Axis) {
    let points: Vec<String> =
        line.marks.iter().map(|mark| format!("{:.1},{:.1}", x.place(mark.x), y.place(mark.y))).collect();
    let _ = writeln!(
        svg,
        "<polyline class=\"line {}\" points=\"{}\"><title>{}</title></polyline>",
        line.class,
        points.join(" "),
        escape(&line.name)
    );
    for mark in &line.marks {
        let (at, up) = (x.place(mark.x), y.place(mark.y));
        if mark.best {
            let _ = writeln!(
                svg,
                "<circle class=\"ring {}\" cx=\"{at:.1}\" cy=\"{up:.1}\" r=\"9\"/>",
                line.class
            );
        }
        let class = if mark.measured { "measured" } else { "fitted" };
        let _ = writeln!(
            svg,
            "<circle class=\"{class} {}\" cx=\"{at:.1}\" cy=\"{up:.1}\" r=\"4\"><title>{}</title></circle>",
            line.class,
            escape(&mark.title)
        );
    }
}
