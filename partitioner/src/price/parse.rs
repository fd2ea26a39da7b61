use super::PriceError;
use serde::Deserialize;
use tranche_schema::{CostUnit, PriceModel, Prices, SeparatePrices, Tier};

/// The two fields that are looked at before the rest.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    format: String,
    #[serde(default)]
    version: u32,
    #[serde(default)]
    kind: Option<String>,
}

/// Reads a price file of either kind; `origin` names it in errors.
///
/// # Errors
/// As [`parse`], and when the kind is unknown.
pub fn parse_prices(text: &str, origin: &str) -> Result<Prices, PriceError> {
    let wrong = |error: toml::de::Error| PriceError::Parse {
        origin: origin.to_owned(),
        message: located(text, &error),
    };
    let head: Head = toml::from_str(text).map_err(wrong)?;
    match head.kind.as_deref() {
        None => Ok(Prices::WithMemory(Box::new(parse(text, origin)?))),
        Some(SeparatePrices::KIND) => {
            check_head(&head, origin)?;
            let prices: SeparatePrices = toml::from_str(text).map_err(wrong)?;
            check_separate(&prices).map_err(|(key, problem)| PriceError::Value {
                origin: origin.to_owned(),
                key,
                problem,
            })?;
            Ok(Prices::Separate(Box::new(prices)))
        }
        Some(other) => Err(PriceError::Value {
            origin: origin.to_owned(),
            key: "kind",
            problem: format!("is `{other}`, not `{}`", SeparatePrices::KIND),
        }),
    }
}

/// Whether a price file may be planned with on a day, written as `2026-11-25`.
///
/// # Errors
/// After the last day that the file names.
pub fn check_valid(prices: &Prices, today: &str) -> Result<(), PriceError> {
    let valid_until = match prices {
        Prices::WithMemory(prices) => prices.valid_until.as_ref(),
        Prices::Separate(prices) => prices.valid_until.as_ref(),
    };
    // Days are written so that they sort as text.
    match valid_until {
        Some(last) if last.as_str() < today => {
            Err(PriceError::Stale { origin: prices.name().to_owned(), valid_until: last.clone() })
        }
        _ => Ok(()),
    }
}

fn check_head(head: &Head, origin: &str) -> Result<(), PriceError> {
    if head.format == PriceModel::FORMAT && head.version == PriceModel::VERSION {
        return Ok(());
    }
    Err(PriceError::Format { origin: origin.to_owned(), format: head.format.clone(), version: head.version })
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
    if head.kind.is_some() {
        return Err(PriceError::Separate { origin: origin.to_owned() });
    }
    check_head(&head, origin)?;
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
    if let Some(last) = &model.valid_until {
        check_day("valid_until", last)?;
    }
    check_tiers("compute.tiers", &model.compute.tiers)?;
    check_tiers("workflow.tiers", &model.workflow.tiers)?;
    check_cpu(model)
}

fn check_date(date: &str) -> Result<(), Problem> {
    check_day("date", date)
}

fn check_day(key: &'static str, date: &str) -> Result<(), Problem> {
    let parts: Vec<&str> = date.split('-').collect();
    let number = |text: &str, width: usize, range: std::ops::RangeInclusive<u32>| {
        text.len() == width && text.parse().is_ok_and(|number: u32| range.contains(&number))
    };
    let good = matches!(parts.as_slice(), [year, month, day]
        if number(year, 4, 1..=9999) && number(month, 2, 1..=12) && number(day, 2, 1..=31));
    if good { Ok(()) } else { Err((key, format!("is `{date}`, not a day as 2026-11-25"))) }
}

fn check_separate(prices: &SeparatePrices) -> Result<(), Problem> {
    check_date(&prices.date)?;
    if let Some(last) = &prices.valid_until {
        check_day("valid_until", last)?;
    }
    for (key, text) in [("name", &prices.name), ("title", &prices.title), ("region", &prices.region)] {
        if text.trim().is_empty() {
            return Err((key, "is empty".to_owned()));
        }
    }
    if prices.sources.is_empty() {
        return Err(("sources", "is empty: prices are from somewhere".to_owned()));
    }
    if prices.billing.is_empty() {
        return Err(("billing", "is empty: something is paid for".to_owned()));
    }
    if prices.memory.step_mib == 0 || prices.memory.minimum_mib == 0 {
        return Err(("memory", "has a size or a step of 0".to_owned()));
    }
    if prices.memory.maximum_mib < prices.memory.minimum_mib {
        return Err(("memory.maximum_mib", "is below memory.minimum_mib".to_owned()));
    }
    let shares = &prices.cpu.milli_cpu;
    if shares.iter().any(|share| share.0 == 0) || !shares.is_sorted_by(|a, b| a < b) {
        return Err(("cpu.milli_cpu", "is not ascending from above 0".to_owned()));
    }
    let utilisation = prices.scale.utilisation;
    if !(utilisation > 0.0 && utilisation <= 1.0) {
        return Err(("scale.utilisation", format!("is {utilisation}, not above 0 and at most 1")));
    }
    if prices.scale.functions == Some(0) || prices.scale.replicas == Some(0) {
        return Err(("scale", "allows no function at all".to_owned()));
    }
    let free = prices.compute.usd_per_gib_second == tranche_schema::Usd::ZERO
        && prices.compute.usd_per_cpu_second == tranche_schema::Usd::ZERO;
    match prices.unit {
        CostUnit::Usd if free => {
            Err(("compute", "has no price: `unit = \"gib-seconds\"` counts memory-time".to_owned()))
        }
        CostUnit::GibSeconds if !free => {
            Err(("compute", "has a price, though memory-time is counted: `unit = \"usd\"`".to_owned()))
        }
        _ => Ok(()),
    }
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
