//! Whether slicing pays, in words.

use super::compare::{Curve, Point, Question, SlicedPoint};
use super::month::LineKind;
use super::tariff::cpu;
use serde::Serialize;
use tranche_schema::Usd;

/// Differences below this share of the cost are within what measurements repeat.
const NOISE: f64 = 0.02;

/// Whether to slice.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// `slice`, `do-not-slice`, or `unknown` where the whole model was not measured.
    pub advice: Advice,
    /// The best sliced month; none where a slice fits no size.
    pub sliced_usd: Option<Usd>,
    /// The best unsplit month; none where the whole model fits no size.
    pub unsplit_usd: Option<Usd>,
    /// One sentence a line.
    pub sentences: Vec<String>,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Advice {
    /// The slices cost less, or the whole model does not fit.
    Slice,
    /// They do not.
    DoNotSlice,
    /// Neither can be told.
    Unknown,
}

/// Judges the best points.
pub(super) fn verdict(
    question: &Question<'_>,
    unsplit: Option<&Curve>,
    one_size: &Curve,
    own: Option<&SlicedPoint>,
    whole_known: bool,
) -> Verdict {
    let whole = unsplit.and_then(Curve::best);
    // One size may be cheaper where an entry function waits for the slices.
    let one = one_size.best().map(|point| (point.month.total_usd, point.time_ms));
    let sliced =
        own.map(|own| (own.month.total_usd, own.time_ms)).into_iter().chain(one).min_by_key(|cost| cost.0);
    let mut verdict = Verdict {
        advice: Advice::Unknown,
        sliced_usd: sliced.map(|cost| cost.0),
        unsplit_usd: whole.map(|point| point.month.total_usd),
        sentences: Vec::new(),
    };
    let maximum = question.prices.memory.maximum_mib;
    match (whole, sliced) {
        _ if !whole_known => {
            verdict.say("The whole model was not measured: there is nothing to compare with.")
        }
        (None, Some(_)) => {
            verdict.advice = Advice::Slice;
            let needs = unsplit.map_or(0, |curve| curve.needs_mib);
            verdict.say(format!(
                "The whole model needs {needs} MB, and {maximum} MB is the largest function: only slices run."
            ));
        }
        (Some(_), None) => {
            verdict.advice = Advice::DoNotSlice;
            verdict.say("A slice fits no function: the whole model does.");
        }
        (None, None) => verdict.say("Neither the whole model nor every slice fits a function."),
        (Some(_), Some(_)) if own.is_some_and(|own| own.sizes.len() == 1) => {
            verdict.advice = Advice::DoNotSlice;
            verdict.say(
                "The plan is the whole model in one function; `--min-slices 2` forces a cut to compare with.",
            );
        }
        (Some(whole), Some((cost, time))) => {
            let (before, after) = (whole.month.total_usd.dollars(), cost.dollars());
            let saved = if before > 0.0 { 1.0 - after / before } else { 0.0 };
            let slower = if whole.time_ms.0 > 0.0 { time.0 / whole.time_ms.0 - 1.0 } else { 0.0 };
            if saved > NOISE {
                verdict.advice = Advice::Slice;
                verdict.say(format!(
                    "Slicing saves {:.1} % a month; a warm request takes {} against {} whole ({:+.0} %).",
                    saved * 100.0,
                    time,
                    whole.time_ms,
                    slower * 100.0
                ));
            } else {
                verdict.advice = Advice::DoNotSlice;
                let how = if saved >= -NOISE {
                    "costs the same, within what measurements repeat".to_owned()
                } else {
                    format!("costs {:.1} % more", -saved * 100.0)
                };
                verdict.say(format!(
                    "Slicing does not pay here: it {how}; a warm request takes {} against {} whole ({:+.0} %).",
                    time,
                    whole.time_ms,
                    slower * 100.0
                ));
                why_not(&mut verdict, question, unsplit, own);
            }
            cold(&mut verdict, whole, own);
        }
    }
    verdict
}

/// Why slices cost no less.
fn why_not(
    verdict: &mut Verdict,
    question: &Question<'_>,
    unsplit: Option<&Curve>,
    own: Option<&SlicedPoint>,
) {
    let needs = unsplit.map_or(0, |curve| curve.needs_mib);
    let one_cpu = (question.prices.memory.minimum_mib..=question.prices.memory.maximum_mib)
        .find(|mib| cpu(question.prices, *mib).0 >= 1000);
    if let Some(one_cpu) = one_cpu.filter(|one_cpu| needs <= u64::from(*one_cpu)) {
        verdict.say(format!(
            "CPU is sold with memory, {one_cpu} MB for one CPU: the model needs {needs} MB, and below {one_cpu} MB \
             half the memory takes twice the time, so every size costs about the same and smaller slices save nothing warm."
        ));
    }
    let whole = unsplit.and_then(Curve::best);
    if let (Some(own), Some(whole)) = (own.filter(|own| own.sizes.len() > 1), whole) {
        let more = |kinds: &[LineKind]| -> Usd {
            kinds.iter().map(|kind| own.month.of(*kind) - whole.month.of(*kind)).sum()
        };
        verdict.say(format!(
            "{} slices pay {} a month more than the whole for requests, and {} more for hand-off.",
            own.sizes.len(),
            dollars(more(&[LineKind::Requests])),
            dollars(more(&[
                LineKind::ObjectWrites,
                LineKind::ObjectReads,
                LineKind::WorkflowRequests,
                LineKind::WorkflowTime,
                LineKind::Waiting,
            ]))
        ));
    }
}

/// What starting up adds.
fn cold(verdict: &mut Verdict, whole: &Point, own: Option<&SlicedPoint>) {
    let (Some(own), Some(whole_start)) = (own, whole.start_up_ms) else { return };
    let slowest = own.sizes.iter().filter_map(|size| size.start_up_ms).map(|time| time.0).fold(0.0, f64::max);
    let (before, after) = (whole.month.of(LineKind::StartUp), own.month.of(LineKind::StartUp));
    verdict.say(format!(
        "Starting up takes {whole_start} whole and {} for the slowest of the slices, which can start at once; it is {} of the month whole and {} sliced.",
        tranche_schema::Millis(slowest),
        dollars(before),
        dollars(after)
    ));
}

/// An amount for people: cents; of less than a dollar four digits after the point, of
/// less than a cent seven, without zeros that say nothing.
#[must_use]
pub fn dollars(amount: Usd) -> String {
    let value = amount.dollars();
    match value.abs() {
        large if large >= 1.0 => format!("${value:.2}"),
        small if small >= 0.01 => format!("${value:.4}"),
        _ => {
            let digits = format!("{value:.7}");
            format!("${}", digits.trim_end_matches('0').trim_end_matches('.'))
        }
    }
}

impl Verdict {
    fn say(&mut self, sentence: impl Into<String>) {
        self.sentences.push(sentence.into());
    }
}
