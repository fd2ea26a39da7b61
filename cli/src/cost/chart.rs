//! Curves over memory sizes as SVG: both axes logarithmic, so that halves and doubles
//! are equal steps, and a flat line is what it says.

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
        (Axis::over(values(), HEIGHT - BOTTOM, TOP), Axis::over(sizes(), LEFT, WIDTH - RIGHT))
    else {
        return format!("<p class=\"none\">{}: nothing fits.</p>", escape(label));
    };
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n<title>{}</title>\n",
        escape(label),
        escape(label)
    );
    grid(&mut svg, &x, &y, unit);
    if let Some(level) = level {
        let at = y.place(level.y);
        let _ = writeln!(
            svg,
            "<line class=\"level {}\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"><title>{}</title></line>",
            level.class,
            WIDTH - RIGHT,
            escape(&level.title)
        );
    }
    for line in series {
        draw(&mut svg, line, &x, &y);
    }
    svg.push_str("</svg>\n");
    svg
}

fn grid(svg: &mut String, x: &Axis, y: &Axis, unit: impl Fn(f64) -> String) {
    for tick in y.ticks() {
        let at = y.place(tick);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0,
            escape(&unit(tick))
        );
    }
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

/// A logarithmic axis between two places of the drawing.
struct Axis {
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// Over all values above 0, with a margin on both sides; `None` without any.
    fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Option<Self> {
        let (least, most) = values
            .filter(|value| value.is_finite() && *value > 0.0)
            .fold((f64::INFINITY, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
        (most > 0.0).then(|| Self { least: least / 1.15, most: most * 1.15, from, to })
    }

    fn place(&self, value: f64) -> f64 {
        let part = (value / self.least).ln() / (self.most / self.least).ln();
        self.from + (self.to - self.from) * part
    }

    /// 1, 2 and 5 of every power of ten between the ends; where that is less than
    /// three, equal steps.
    fn ticks(&self) -> Vec<f64> {
        let inside = |tick: &f64| (self.least..=self.most).contains(tick);
        let mut ticks = Vec::new();
        let mut power = self.least.log10().floor() as i32;
        while 10_f64.powi(power) <= self.most {
            ticks.extend([1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)).into_iter().filter(inside));
            power += 1;
        }
        if ticks.len() > 2 {
            return ticks;
        }
        let rough = (self.most - self.least) / 4.0;
        let power = 10_f64.powi(rough.log10().floor() as i32);
        let step = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let first = (self.least / step).ceil() as u64;
        (0..10).map(|at| (first + at) as f64 * step).filter(inside).collect()
    }
}

/// Text as HTML and SVG take it.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_factors_are_equal_steps() {
        let axis = Axis::over([100.0, 1600.0].into_iter(), 0.0, 100.0).unwrap();
        let places = [100.0, 400.0, 1600.0].map(|value| axis.place(value));
        assert!((places[2] - places[1] - (places[1] - places[0])).abs() < 1e-9, "{places:?}");
        assert_eq!(axis.ticks(), [100.0, 200.0, 500.0, 1000.0]);
        assert_eq!(Axis::over([6.0, 8.0].into_iter(), 0.0, 1.0).unwrap().ticks(), [6.0, 7.0, 8.0, 9.0]);
        assert!(Axis::over([0.0, f64::NAN].into_iter(), 0.0, 1.0).is_none());
    }

    #[test]
    fn names_of_models_are_text() {
        assert_eq!(escape("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }
}
