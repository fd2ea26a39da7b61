//! The price files there are: those of this repository, and the user's.

use crate::config::Settings;
use crate::failure::Failure;
use serde::Serialize;
use std::path::Path;
use tranche_partitioner::price::parse;
use tranche_schema::PriceModel;

/// The repository's, by the name in them.
const BUILT_IN: [(&str, &str); 2] = [
    ("aws-lambda-x86", include_str!("../../prices/aws-lambda-x86.toml")),
    ("aws-lambda-arm", include_str!("../../prices/aws-lambda-arm.toml")),
];

/// The prices that the settings name: a built-in file by its name, else a file.
///
/// # Errors
/// When there is none, or it cannot be priced with.
pub fn chosen(settings: &Settings) -> Result<PriceModel, Failure> {
    let name = settings.prices.as_deref().unwrap_or(BUILT_IN[0].0);
    if let Some((name, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
        return Ok(parse(text, name)?);
    }
    let path = Path::new(name);
    let text = std::fs::read_to_string(path).map_err(|error| {
        let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        Failure::usage(format!("cannot read the prices {name}: {error}"))
            .hint(format!("pass a price file, or one of: {}", names.join(", ")))
    })?;
    Ok(parse(&text, name)?)
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
        .map(|(name, text)| Ok(PriceSummary::from(&parse(text, name)?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    let own = PriceSummary::from(&chosen(settings)?);
    if found.iter().all(|known| known.name != own.name) {
        found.push(own);
    }
    Ok(found)
}
