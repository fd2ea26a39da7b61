use crate::arguments::{InvokeArguments, Via};
use crate::calls::{self, Walker};
use crate::config::Settings;
use crate::context::Context;
use crate::failure::Failure;
use crate::prepare::numbers;
use crate::{inputs, table, targets, tensor_files};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;
use tranche_driver::Options;
use tranche_schema::{Bill, Deployment, Document as _, ElementType, Manifest, Tensor, TensorSpec};

#[derive(Serialize)]
struct Invocation {
    outputs: Vec<OutputSummary>,
    saved: Option<PathBuf>,
    bill: Bill,
}

#[derive(Serialize)]
struct OutputSummary {
    name: String,
    element_type: ElementType,
    shape: Vec<u64>,
    /// The first values, as text.
    first: Vec<String>,
    /// Place of the largest value, for float outputs.
    largest_at: Option<usize>,
}

pub fn run(context: &Context, arguments: &InvokeArguments) -> Result<(), Failure> {
    let settings = context.settings(&[&arguments.place])?;
    let deployment = targets::read(&settings, &arguments.place, &arguments.name)?;
    let ranges = numbers(&arguments.ranges, "--range", "input_ids=30522")?;
    let model_name =
        Manifest::read(&deployment.bundle.join(Manifest::FILE)).ok().map(|found| found.model.name);
    let source = inputs::Source {
        files: &arguments.inputs,
        ranges: &ranges,
        seed: arguments.seed,
        known: model_name.and_then(|name| tranche_models::input_hints(&name).ok()),
        graph: None,
        random: arguments.random,
    };
    let values: Vec<(TensorSpec, Tensor)> = inputs::values(&deployment.inputs, &source)?;
    let options = Options {
        deadline: Duration::from_secs(arguments.deadline),
        overlap: arguments.overlap.into(),
        ..Options::default()
    };
    let clouds = targets::clouds(&settings, &deployment)?;
    let walker = walker(&settings, &deployment, arguments)?;
    let (bill, outputs) = calls::call(deployment, clouds, &walker, &values, arguments.repeat, options)?;
    if let Some(path) = &arguments.output {
        tensor_files::write_tensors(path, &outputs)?;
        context.printer.step("Saved", &path.display().to_string());
    }
    let invocation = Invocation {
        outputs: outputs.iter().map(|(name, tensor)| summary(name, tensor)).collect(),
        saved: arguments.output.clone(),
        bill,
    };
    context.printer.result(&invocation, || render(&invocation))
}

fn walker(
    settings: &Settings,
    deployment: &Deployment,
    arguments: &InvokeArguments,
) -> Result<Walker, Failure> {
    let on_lambda = deployment.lambda.is_some();
    match arguments.via {
        Via::Driver => Ok(Walker::Driver),
        Via::HandOn if on_lambda => Ok(Walker::Store),
        Via::HandOn => Ok(Walker::Callback(arguments.callback, arguments.callback_url.clone())),
        Via::StepFunctions if on_lambda => {
            let session = targets::lambda_target(settings, Some(&deployment.name))?.session().clone();
            Ok(Walker::StateMachine(Box::new(session)))
        }
        Via::Entry if on_lambda => Ok(Walker::Entry),
        Via::StepFunctions | Via::Entry => Err(Failure::usage(format!(
            "`{}` is on {}: nothing there walks requests but `--via driver` and `--via hand-on`",
            deployment.name, deployment.target
        ))),
    }
}

fn summary(name: &str, tensor: &Tensor) -> OutputSummary {
    let floats = match tensor.element_type() {
        ElementType::Float32 => tensor.as_slice::<f32>(),
        _ => None,
    };
    let first = match (floats, tensor.element_type()) {
        (Some(values), _) => values.iter().take(6).map(|value| format!("{value:.4}")).collect(),
        (None, ElementType::Int64) => {
            tensor.as_slice::<i64>().unwrap_or_default().iter().take(6).map(i64::to_string).collect()
        }
        (None, ElementType::String) => {
            tensor.strings().unwrap_or_default().into_iter().take(6).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    };
    let largest_at = floats.and_then(|values| {
        values.iter().enumerate().max_by(|left, right| left.1.total_cmp(right.1)).map(|(index, _)| index)
    });
    OutputSummary {
        name: name.to_owned(),
        element_type: tensor.element_type(),
        shape: tensor.shape().to_vec(),
        first,
        largest_at,
    }
}

fn render(invocation: &Invocation) -> String {
    let mut text = String::new();
    for output in &invocation.outputs {
        text.push_str(&format!(
            "{}: {}{:?} [{}, …]{}\n",
            output.name,
            output.element_type,
            output.shape,
            output.first.join(", "),
            output.largest_at.map_or_else(String::new, |index| format!(", largest at {index}"))
        ));
    }
    text.push('\n');
    text.push_str(&render_bill(&invocation.bill, None));
    text
}

/// A bill as a table; with an unsplit bill also that and the ratios.
#[must_use]
pub fn render_bill(bill: &Bill, unsplit: Option<&Bill>) -> String {
    let found = tranche_driver::table(bill, unsplit);
    let header: Vec<&str> = found.header.iter().map(String::as_str).collect();
    let rows: Vec<Vec<String>> = found.rows.iter().chain(&found.totals).cloned().collect();
    let mut text = table::render(&header, &rows, &["slice"]);
    for note in &found.notes {
        text.push('\n');
        text.push_str(note);
    }
    text
}
