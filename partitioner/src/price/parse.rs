use super::PriceError;
use serde::Deserialize;
use tranche_schema::{PriceModel, Tier};

/// The two fields that are looked at before the rest.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    format: String,
    #[serde(default)]
    version: u32,
}

/// Reads a price file and checks that it can be priced with; `origin` names it in
/// errors.
///
/// # Errors
/// When it is not TOML, is another format or version, has an unknown key, lacks
/// one, or a value makes no sense: tiers out of order, a step of nothing, a CPU
/// curve that falls.
pub fn parse(text: &str, origin: &str) -> Result<PriceModel, PriceError> {
    let wrong = |error: toml::de::Error| PriceError::Parse {
        origin: origin.to_owned(),
        message: located(text, &error),
    };
    let head: Head = toml::from_str(text).map_err(wrong)?;
    if head.format != PriceModel::FORMAT || head.version != PriceModel::VERSION {
        let (format, version) = (head.format, head.version);
        return Err(PriceError::Format { origin: origin.to_owned(), format, version });
    }
    let model: PriceModel = toml::from_str(text).map_err(wrong)?;
    check(&model).map_err(|(key, problem)| PriceError::Value { origin: origin.to_owned(), key, problem })?;
    Ok(model)
}

/// An error in one line, with the line of the file.
fn located(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().replace('\n', " ");
    match error.span() {
        Some(span) => {
            let before = text.get(..span.start).unwrap_or_default();
            format!("line {}: {message}", before.matches('\n').count() + 1)
        }
        None => message,
    }
}

type Problem = (&'static str, String);

fn check(model: &PriceModel) -> Result<(), Problem> {
    check_date(&model.date)?;
    for (key, text) in [("name", &model.name), ("title", &model.title), ("region", &model.region)] {
        if text.trim().is_empty() {
            return Err((key, "is empty".to_owned()));
        }
    }
    if model.sources.is_empty() {
        return Err(("sources", "is empty: prices are from somewhere".to_owned()));
    }
    let steps = [
        ("compute.step_ms", model.compute.step_ms),
        ("memory.step_mib", model.memory.step_mib.into()),
        ("events.step_bytes", model.events.step_bytes),
        ("provisioned.step_seconds", model.provisioned.step_seconds),
        ("workflow.step_ms", model.workflow.step_ms),
        ("workflow.step_mib", model.workflow.step_mib.into()),
        ("memory.minimum_mib", model.memory.minimum_mib.into()),
        ("payload.call_bytes", model.payload.call_bytes),
    ];
    if let Some((key, _)) = steps.into_iter().find(|(_, step)| *step == 0) {
        return Err((key, "is 0".to_owned()));
    }
    if model.memory.maximum_mib < model.memory.minimum_mib {
        return Err(("memory.maximum_mib", "is below memory.minimum_mib".to_owned()));
    }
    check_tiers("compute.tiers", &model.compute.tiers)?;
    check_tiers("workflow.tiers", &model.workflow.tiers)?;
    check_cpu(model)
}

fn check_date(date: &str) -> Result<(), Problem> {
    let parts: Vec<&str> = date.split('-').collect();
    let number = |text: &str, width: usize, range: std::ops::RangeInclusive<u32>| {
        text.len() == width && text.parse().is_ok_and(|number: u32| range.contains(&number))
    };
    let good = matches!(parts.as_slice(), [year, month, day]
        if number(year, 4, 1..=9999) && number(month, 2, 1..=12) && number(day, 2, 1..=31));
    if good { Ok(()) } else { Err(("date", format!("is `{date}`, not a day as 2026-11-25"))) }
}

fn check_tiers(key: &'static str, tiers: &[Tier]) -> Result<(), Problem> {
    let Some((last, others)) = tiers.split_last() else {
        return Err((key, "is empty".to_owned()));
    };
    if last.up_to_gib_seconds.is_some() {
        return Err((key, "ends with a bound: the last tier has none".to_owned()));
    }
    let mut before = 0;
    for tier in others {
        match tier.up_to_gib_seconds {
            Some(bound) if bound > before => before = bound,
            Some(bound) => return Err((key, format!("has the bound {bound} after {before}"))),
            None => return Err((key, "has a tier without a bound before the last".to_owned())),
        }
    }
    Ok(())
}

fn check_cpu(model: &PriceModel) -> Result<(), Problem> {
    let points = &model.cpu;
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return Err(("cpu", "is empty".to_owned()));
    };
    if first.mib > model.memory.minimum_mib || last.mib < model.memory.maximum_mib {
        return Err(("cpu", "does not reach from memory.minimum_mib to memory.maximum_mib".to_owned()));
    }
    if first.milli_cpu.0 == 0 {
        return Err(("cpu", "begins with no CPU at all".to_owned()));
    }
    for pair in points.windows(2) {
        if pair[0].mib >= pair[1].mib || pair[0].milli_cpu > pair[1].milli_cpu {
            return Err(("cpu", format!("falls at {} MiB", pair[1].mib)));
        }
    }
    Ok(())
}
