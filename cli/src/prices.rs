//! The price files there are: those of this repository, and the user's.

use crate::config::Settings;
use crate::failure::Failure;
use serde::Serialize;
use std::path::Path;
use tranche_partitioner::price::{BUILT_IN, PriceError, check_valid, parse_prices};
use tranche_schema::{PriceModel, Prices};

/// What `cost` works with where no prices are named.
const OF_COST: &str = "aws-lambda-x86";

/// What plans are made with where no prices are named.
const OF_PLANS: &str = "local";

/// The prices that the settings name, with which a month's cost can be worked out.
///
/// # Errors
/// When there are none, or they sell memory and CPU apart.
pub fn chosen(settings: &Settings) -> Result<PriceModel, Failure> {
    match named(settings.prices.as_deref().unwrap_or(OF_COST))? {
        Prices::WithMemory(prices) => Ok(*prices),
        Prices::Separate(prices) => Err(PriceError::Separate { origin: prices.name }.into()),
    }
}

/// The prices that the settings name, for a plan.
///
/// # Errors
/// When there are none, or they hold no more by what they say themselves.
pub fn planned_with(settings: &Settings) -> Result<Prices, Failure> {
    let prices = named(settings.prices.as_deref().unwrap_or(OF_PLANS))?;
    let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    check_valid(&prices, now.split('T').next().unwrap_or_default())?;
    Ok(prices)
}

/// A built-in file by its name, else a file.
fn named(name: &str) -> Result<Prices, Failure> {
    if let Some((name, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
        return Ok(parse_prices(text, name)?);
    }
    let path = Path::new(name);
    let text = std::fs::read_to_string(path).map_err(|error| {
        let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        Failure::usage(format!("cannot read the prices {name}: {error}"))
            .hint(format!("pass a price file, or one of: {}", names.join(", ")))
    })?;
    Ok(parse_prices(&text, name)?)
}

/// A price file in a list.
#[derive(Clone, Debug, Serialize)]
pub struct PriceSummary {
    /// Name for `--prices`.
    pub name: String,
    /// Name for people.
    pub title: String,
    /// Day on which the list was read.
    pub date: String,
    /// Where the numbers are from.
    pub sources: Vec<String>,
}

impl From<&Prices> for PriceSummary {
    fn from(prices: &Prices) -> Self {
        match prices {
            Prices::WithMemory(prices) => Self::from(&**prices),
            Prices::Separate(prices) => Self {
                name: prices.name.clone(),
                title: prices.title.clone(),
                date: prices.date.clone(),
                sources: prices.sources.clone(),
            },
        }
    }
}

impl From<&PriceModel> for PriceSummary {
    fn from(prices: &PriceModel) -> Self {
        Self {
            name: prices.name.clone(),
            title: prices.title.clone(),
            date: prices.date.clone(),
            sources: prices.sources.clone(),
        }
    }
}

/// All built-in files, and the one that the settings name.
///
/// # Errors
/// As [`chosen`].
pub fn all(settings: &Settings) -> Result<Vec<PriceSummary>, Failure> {
    let mut found = BUILT_IN
        .iter()
        .map(|(name, text)| Ok(PriceSummary::from(&parse_prices(text, name)?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    if let Some(name) = &settings.prices {
        let own = PriceSummary::from(&named(name)?);
        if found.iter().all(|known| known.name != own.name) {
            found.push(own);
        }
    }
    Ok(found)
}
