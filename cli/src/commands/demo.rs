use crate::arguments::{
    DemoArguments, LockedArguments, MeasureArguments, ModelArguments, PlanArguments, PricingArguments,
    RunArguments,
};
use crate::context::Context;
use crate::failure::Failure;

/// `run` on a built-in model, in a folder that is removed afterwards.
pub fn run(context: &Context, arguments: &DemoArguments) -> Result<(), Failure> {
    let folder = tempfile::tempdir()
        .map_err(|error| Failure::usage(format!("cannot make a temporary folder: {error}")))?;
    let arguments = RunArguments {
        model: ModelArguments {
            model: arguments.model.clone(),
            shapes: Vec::new(),
            dimensions: Vec::new(),
            ranges: Vec::new(),
            inputs: Vec::new(),
        },
        engine: arguments.engine.clone(),
        measure: MeasureArguments::default(),
        plan: PlanArguments::default(),
        pricing: PricingArguments::default(),
        locked: LockedArguments::default(),
        requests: 5,
        work: Some(folder.path().to_owned()),
        output: None,
        name: Some(format!("demo-{}", std::process::id())),
        keep: false,
        no_unsplit: false,
    };
    super::run::run(context, &arguments)
}
