use crate::arguments::PriceArguments;
use crate::context::Context;
use crate::failure::Failure;
use crate::prices::{self, PriceSummary};
use crate::table;
use serde::Serialize;

/// Targets of `deploy --target`.
const TARGETS: [(&str, &str); 3] = [
    ("local", "processes on this machine, each in a control group with its slice's memory and CPU"),
    ("openfaas", "functions behind an OpenFaaS gateway: faasd or Kubernetes"),
    ("lambda", "functions on AWS Lambda, called through an alias"),
];

#[derive(Serialize)]
struct Found {
    targets: Vec<TargetSummary>,
    prices: Vec<PriceSummary>,
}

#[derive(Serialize)]
struct TargetSummary {
    name: &'static str,
    about: &'static str,
}

pub fn run(context: &Context, arguments: &PriceArguments) -> Result<(), Failure> {
    let settings = context.settings(&[arguments])?;
    let found = Found {
        targets: TARGETS.map(|(name, about)| TargetSummary { name, about }).into(),
        prices: prices::all(&settings)?,
    };
    context.printer.result(&found, || render(&found))
}

fn render(found: &Found) -> String {
    let targets: Vec<Vec<String>> =
        found.targets.iter().map(|target| vec![target.name.to_owned(), target.about.to_owned()]).collect();
    let prices: Vec<Vec<String>> = found
        .prices
        .iter()
        .map(|prices| {
            let source = prices.sources.first().cloned().unwrap_or_default();
            vec![prices.name.clone(), prices.title.clone(), prices.date.clone(), source]
        })
        .collect();
    format!(
        "{}\n\n{}",
        table::render(&["target", "runs functions as"], &targets, &["target", "runs functions as"]),
        table::render(
            &["prices", "of", "read on", "source"],
            &prices,
            &["prices", "of", "read on", "source"]
        )
    )
}
