use super::profile::Loaded;
use crate::arguments::CompareArguments;
use crate::compare;
use crate::config::Settings;
use crate::context::Context;
use crate::failure::Failure;
use crate::pipeline::Walk;
use crate::prepare::require;
use tranche_schema::{Document as _, Profile};

pub fn run(context: &Context, arguments: &CompareArguments) -> Result<(), Failure> {
    let settings = context.settings(&[&arguments.engine, &arguments.plan, &arguments.charge])?;
    require(&arguments.profile, "profile")?;
    let profile = Profile::read(&arguments.profile)?;
    let loaded = Loaded::new(context, &arguments.model, settings)?;
    let at = |prices: &String| Settings { prices: Some(prices.clone()), ..loaded.settings.clone() };
    let mut priced: Vec<Settings> = arguments.prices.iter().map(at).collect();
    if priced.is_empty() {
        priced.push(loaded.settings.clone());
    }
    let walks: Vec<Walk<'_>> =
        priced.iter().map(|settings| Walk { settings, ..loaded.walk(context) }).collect();
    let comparison = compare::compare(&walks, &profile)?;
    context.printer.result(&comparison, || compare::text(&comparison))
}
