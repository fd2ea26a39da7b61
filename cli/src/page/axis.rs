use super::escape;
use std::fmt::Write as _;

/// A scale between two places of a drawing.
pub(crate) struct Axis {
    least: f64,
    most: f64,
    from: f64,
    to: f64,
    logarithmic: bool,
}

impl Axis {
    /// Logarithmic, over all values above 0, with a margin on both sides; `None` without any.
    pub(crate) fn logarithmic(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Option<Self> {
        let (least, most) = values
            .filter(|value| value.is_finite() && *value > 0.0)
            .fold((f64::INFINITY, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
        (most > 0.0).then(|| Self { least: least / 1.15, most: most * 1.15, from, to, logarithmic: true })
    }

    /// Linear, from 0 to a little more than the greatest value; `None` without one above 0.
    pub(crate) fn linear(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Option<Self> {
        let most = values.filter(|value| value.is_finite()).fold(0.0_f64, f64::max);
        (most > 0.0).then(|| Self { least: 0.0, most: most * 1.05, from, to, logarithmic: false })
    }

    /// Where a value is drawn.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let part = if self.logarithmic {
            (value / self.least).ln() / (self.most / self.least).ln()
        } else {
            (value - self.least) / (self.most - self.least)
        };
        self.from + (self.to - self.from) * part
    }

    /// Round values between the ends. On a logarithmic axis 1, 2 and 5 of every power of
    /// ten; there, where that is less than three, and on a linear one equal steps.
    pub(crate) fn ticks(&self) -> Vec<f64> {
        let inside = |tick: &f64| (self.least..=self.most).contains(tick);
        if self.logarithmic {
            let mut ticks = Vec::new();
            let mut power = self.least.log10().floor() as i32;
            while 10_f64.powi(power) <= self.most {
                ticks.extend(
                    [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)).into_iter().filter(inside),
                );
                power += 1;
            }
            if ticks.len() > 2 {
                return ticks;
            }
        }
        let rough = (self.most - self.least) / 4.0;
        let power = 10_f64.powi(rough.log10().floor() as i32);
        let step = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let first = (self.least / step).ceil() as u64;
        (0..10).map(|at| (first + at) as f64 * step).filter(inside).collect()
    }

    /// Lines across the drawing at the ticks of an upright axis, labelled at their left ends.
    pub(crate) fn grid(&self, svg: &mut String, left: f64, right: f64, label: impl Fn(f64) -> String) {
        for tick in self.ticks() {
            let at = self.place(tick);
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{left}\" x2=\"{right:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 8.0,
                at + 4.0,
                escape(&label(tick))
            );
        }
    }

    /// The floor of a drawing with the ticks of a level axis, labelled below; labels that
    /// would touch the one before are left out.
    pub(crate) fn floor(&self, svg: &mut String, floor: f64, label: impl Fn(f64) -> String) {
        let _ = writeln!(
            svg,
            "<line class=\"axis\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{floor:.1}\" y2=\"{floor:.1}\"/>",
            self.from, self.to
        );
        let mut free = f64::NEG_INFINITY;
        for tick in self.ticks() {
            let (at, text) = (self.place(tick), label(tick));
            let half = text.chars().count() as f64 * 3.6;
            let _ = write!(
                svg,
                "<line class=\"axis\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{floor:.1}\" y2=\"{:.1}\"/>",
                floor + 4.0
            );
            if at - half > free {
                let _ = write!(
                    svg,
                    "<text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                    floor + 17.0,
                    escape(&text)
                );
                free = at + half + 8.0;
            }
            svg.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_factors_are_equal_steps() {
        let axis = Axis::logarithmic([100.0, 1600.0].into_iter(), 0.0, 100.0).unwrap();
        let places = [100.0, 400.0, 1600.0].map(|value| axis.place(value));
        assert!((places[2] - places[1] - (places[1] - places[0])).abs() < 1e-9, "{places:?}");
        assert_eq!(axis.ticks(), [100.0, 200.0, 500.0, 1000.0]);
        let narrow = Axis::logarithmic([6.0, 8.0].into_iter(), 0.0, 1.0).unwrap();
        assert_eq!(narrow.ticks(), [6.0, 7.0, 8.0, 9.0]);
        assert!(Axis::logarithmic([0.0, f64::NAN].into_iter(), 0.0, 1.0).is_none());
    }

    #[test]
    fn equal_amounts_are_equal_steps() {
        let axis = Axis::linear([3.0, 8.0].into_iter(), 210.0, 0.0).unwrap();
        assert_eq!([0.0, 4.2, 8.4].map(|value| axis.place(value)), [210.0, 105.0, 0.0]);
        assert_eq!(axis.ticks(), [0.0, 5.0]);
        assert!(Axis::linear([0.0, f64::NAN].into_iter(), 0.0, 1.0).is_none());
    }
}
