//! Time and memory of every layer, with the cuts drawn in.

use super::Report;
use crate::failure::Failure;
use crate::page::{Axis, escape, shortened, svg, tick_time};
use std::fmt::Write as _;
use tranche_schema::{ByteCount, LayerProfile, Millis};

const WIDTH: f64 = 1160.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 26.0;
/// Floor of the times.
const TIMES: f64 = 186.0;
/// Ceiling and floor of the memory.
const MEMORY: (f64, f64) = (222.0, 402.0);
const HEIGHT: f64 = 496.0;

/// Layers closer than this are not all named.
const NAMED: f64 = 19.0;
/// Letters of a layer's name that are shown.
const LETTERS: usize = 18;

/// A layer with its place in the drawing.
struct Column<'a> {
    layer: &'a LayerProfile,
    left: f64,
    width: f64,
}

impl Column<'_> {
    fn time(&self) -> Millis {
        self.layer.cpu.or(self.layer.gpu).unwrap_or_default().time.median_ms
    }

    fn middle(&self) -> f64 {
        self.left + self.width / 2.0
    }
}

/// The chart.
///
/// # Errors
/// When the profile lacks a layer of the plan.
pub(super) fn chart(report: &Report) -> Result<String, Failure> {
    let slices = report.layers()?;
    let count = slices.iter().map(Vec::len).sum::<usize>().max(1);
    let width = (WIDTH - LEFT - RIGHT) / count as f64;
    let columns: Vec<Column<'_>> = slices
        .iter()
        .flatten()
        .enumerate()
        .map(|(at, layer)| Column { layer, left: LEFT + at as f64 * width, width })
        .collect();
    let limits = report.plan.slices.iter().map(|slice| mebibytes(slice.size.memory_bytes));
    let unsplit = report.plan.prediction.unsplit_memory_bytes;
    let needs = columns.iter().map(|column| mebibytes(need(column.layer)));
    let times = columns.iter().map(|column| column.time().0);
    let (Some(time), Some(memory)) = (
        Axis::linear(times, TIMES, TOP + 14.0),
        Axis::linear(needs.chain(limits).chain([mebibytes(unsplit)]), MEMORY.1, MEMORY.0),
    ) else {
        return Ok("<p class=\"none\">The profile has no times.</p>".to_owned());
    };
    let mut body = String::new();
    let counts: Vec<usize> = slices.iter().map(Vec::len).collect();
    let spans = spans(&counts, width);
    bands(&mut body, report, &spans);
    time.grid(&mut body, LEFT, WIDTH - RIGHT, tick_time);
    memory.grid(&mut body, LEFT, WIDTH - RIGHT, |value| format!("{value:.0} MiB"));
    caption(&mut body, (TOP + TIMES) / 2.0, "time");
    caption(&mut body, (MEMORY.0 + MEMORY.1) / 2.0, "memory, and limits");
    for column in &columns {
        draw(&mut body, column, &time, &memory);
    }
    limits_and_cuts(&mut body, report, &spans, &memory);
    layer_names(&mut body, &columns);
    Ok(svg("Time and memory of every layer", WIDTH, HEIGHT, &body))
}

fn mebibytes(bytes: ByteCount) -> f64 {
    bytes.0 as f64 / (1024.0 * 1024.0)
}

/// What a layer needs: its weights, and what lives while it runs.
fn need(layer: &LayerProfile) -> ByteCount {
    ByteCount(layer.weights_bytes.0.saturating_add(layer.peak_live_bytes.0))
}

/// The name of an upright axis, beside it.
fn caption(svg: &mut String, middle: f64, text: &str) {
    let _ = writeln!(
        svg,
        "<text class=\"caption\" x=\"12\" y=\"{middle:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 12 {middle:.1})\">{text}</text>"
    );
}

/// Places at which slices with so many layers begin and end.
fn spans(counts: &[usize], width: f64) -> Vec<(f64, f64)> {
    let mut from = LEFT;
    let span = |count: &usize| {
        let span = (from, from + *count as f64 * width);
        from = span.1;
        span
    };
    counts.iter().map(span).collect()
}

/// A band behind every other slice, and the slices' names where there is room: whole, or
/// all of them without what they begin with.
fn bands(svg: &mut String, report: &Report, spans: &[(f64, f64)]) {
    let fits = |name: &str, span: &(f64, f64)| name.chars().count() as f64 * 7.2 < span.1 - span.0 - 6.0;
    let slices = &report.plan.slices;
    let whole = slices.iter().zip(spans).all(|(slice, span)| fits(&slice.name, span));
    for (at, (slice, span)) in slices.iter().zip(spans).enumerate() {
        if at % 2 == 0 {
            let _ = writeln!(
                svg,
                "<rect class=\"band\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                span.0,
                TOP - 20.0,
                span.1 - span.0,
                MEMORY.1 - TOP + 20.0
            );
        }
        let short = slice.name.strip_prefix("slice-").unwrap_or(&slice.name);
        let name = if whole { slice.name.as_str() } else { short };
        if fits(name, span) {
            let _ = writeln!(
                svg,
                "<text class=\"slice\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\"><title>{}</title>{}</text>",
                (span.0 + span.1) / 2.0,
                TOP - 6.0,
                escape(&slice.name),
                escape(name)
            );
        }
    }
}

fn draw(svg: &mut String, column: &Column<'_>, time: &Axis, memory: &Axis) {
    let (layer, marks) = (column.layer, column.layer.resource_dominant.unwrap_or_default());
    let gap = if column.width > 5.0 { column.width * 0.16 } else { 0.0 };
    let bar = |svg: &mut String, class: &str, top: f64, floor: f64| {
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{:.2}\" y=\"{top:.1}\" width=\"{:.2}\" height=\"{:.1}\"/>",
            column.left + gap / 2.0,
            column.width - gap,
            (floor - top).max(0.0)
        );
    };
    let said = format!(
        "{} ({}): {}, weights {}, live activations {}{}",
        layer.name,
        layer.kind,
        column.time(),
        layer.weights_bytes,
        layer.peak_live_bytes,
        match (marks.time, marks.memory) {
            (true, true) => "; stands out in time and memory",
            (true, false) => "; stands out in time",
            (false, true) => "; stands out in memory",
            (false, false) => "",
        }
    );
    let _ = write!(svg, "<g class=\"layer\"><title>{}</title>", escape(&said));
    let _ = write!(
        svg,
        "<rect class=\"reach\" x=\"{:.2}\" y=\"{TOP}\" width=\"{:.2}\" height=\"{:.1}\"/>",
        column.left,
        column.width,
        MEMORY.1 - TOP
    );
    let time_top = time.place(column.time().0);
    bar(svg, "time", time_top, TIMES);
    let weights_top = memory.place(mebibytes(layer.weights_bytes));
    let need_top = memory.place(mebibytes(need(layer)));
    bar(svg, "weights", weights_top, MEMORY.1);
    bar(svg, "activations", need_top, weights_top);
    for (marked, top) in [(marks.time, time_top), (marks.memory, need_top)] {
        if marked {
            let _ = write!(
                svg,
                "<path class=\"dominant\" d=\"M{:.1} {:.1}l4 -7h-8z\"/>",
                column.middle(),
                top - 2.0
            );
        }
    }
    svg.push_str("</g>\n");
}

/// Memory limits of slices as a stair, that of the whole model, and a line at each cut.
fn limits_and_cuts(svg: &mut String, report: &Report, spans: &[(f64, f64)], memory: &Axis) {
    let unsplit = report.plan.prediction.unsplit_memory_bytes;
    if unsplit > ByteCount(0) && spans.len() > 1 {
        let at = memory.place(mebibytes(unsplit));
        let _ = writeln!(
            svg,
            "<line class=\"level whole\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"><title>limit of the whole model: {unsplit}</title></line>",
            WIDTH - RIGHT
        );
    }
    for (slice, (from, to)) in report.plan.slices.iter().zip(spans) {
        let at = memory.place(mebibytes(slice.size.memory_bytes));
        let _ = writeln!(
            svg,
            "<line class=\"limit slices\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"><title>limit of {}: {}</title></line>",
            escape(&slice.name),
            slice.size.memory_bytes
        );
    }
    let before_last = spans.len().saturating_sub(1);
    for (slice, (_, to)) in report.plan.slices.iter().zip(spans).take(before_last) {
        let _ = writeln!(
            svg,
            "<line class=\"cut\" x1=\"{to:.1}\" x2=\"{to:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"><title>{}</title></line>",
            TOP - 20.0,
            MEMORY.1 + 6.0,
            escape(&format!("{}: {}", slice.name, slice.reason))
        );
    }
}

/// Names below, aslant; every so many where there is no room for all.
fn layer_names(svg: &mut String, columns: &[Column<'_>]) {
    let Some(first) = columns.first() else { return };
    let every = (NAMED / first.width).ceil().max(1.0) as usize;
    for column in columns.iter().step_by(every) {
        let (x, y) = (column.middle() + 4.0, MEMORY.1 + 14.0);
        let _ = writeln!(
            svg,
            "<text class=\"tick\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\" transform=\"rotate(-42 {x:.1} {y:.1})\"><title>{}</title>{}</text>",
            escape(&column.layer.name),
            escape(&shortened(&column.layer.name, LETTERS))
        );
    }
}
