use crate::arguments::{ModelArguments, ProfileArguments};
use crate::config::Settings;
use crate::context::{Context, open_engine};
use crate::failure::Failure;
use crate::pipeline::Walk;
use crate::prepare::{Prepared, prepare};
use crate::table;
use serde::Serialize;
use std::sync::Arc;
use tranche_engine::Engine;
use tranche_schema::{Document as _, Profile};

/// A model prepared by a verb, with the values of its inputs.
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// The model.
    pub prepared: Prepared,
}

impl Loaded {
    /// Prepares the model and its inputs.
    ///
    /// # Errors
    /// When the engine, the model or an input is not usable.
    pub fn new(context: &Context, model: &ModelArguments, settings: Settings) -> Result<Self, Failure> {
        let engine = open_engine(&settings)?;
        let prepared = prepare(model, &settings, &*engine, &context.printer)?;
        Ok(Self { settings, engine, prepared })
    }

    /// The stages over it.
    #[must_use]
    pub fn walk<'a>(&'a self, context: &'a Context) -> Walk<'a> {
        Walk {
            context,
            settings: &self.settings,
            engine: &*self.engine,
            prepared: &self.prepared,
            inputs: &self.prepared.inputs,
        }
    }
}

/// A CPU share as a settings group.
#[derive(Serialize)]
struct CpuFlag {
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<f64>,
}

pub fn run(context: &Context, arguments: &ProfileArguments) -> Result<(), Failure> {
    let cpu = CpuFlag { cpu: arguments.cpu };
    let settings = context.settings(&[&arguments.engine, &arguments.measure, &cpu])?;
    let loaded = Loaded::new(context, &arguments.model, settings)?;
    let profile = loaded.walk(context).profile(!arguments.measure.no_cache)?;
    profile.write(&arguments.output)?;
    context.printer.step("Profiled", &format!("{} → {}", profile.model.name, arguments.output.display()));
    context.printer.result(&profile, || render(&profile))
}

/// The profile as a table.
#[must_use]
pub fn render(profile: &Profile) -> String {
    let rows: Vec<Vec<String>> = profile
        .layers
        .iter()
        .map(|layer| {
            let cost = layer.cpu.or(layer.gpu).unwrap_or_default();
            let marks = layer.resource_dominant.unwrap_or_default();
            vec![
                layer.name.clone(),
                layer.kind.clone(),
                cost.time.median_ms.to_string(),
                cost.time.spread_ms.to_string(),
                format!("{:.1} %", cost.time_share * 100.0),
                layer.weights_bytes.to_string(),
                layer.output_bytes.to_string(),
                layer.peak_live_bytes.to_string(),
                match (marks.time, marks.memory) {
                    (true, true) => "time, memory".to_owned(),
                    (true, false) => "time".to_owned(),
                    (false, true) => "memory".to_owned(),
                    (false, false) => String::new(),
                },
            ]
        })
        .collect();
    let whole = &profile.whole;
    format!(
        "{}  {} {}, {} thread(s), {}\n{}\nwhole: load {}, first run {}, run {} (spread {}), memory {} base, {} peak; weights {}, activations {}",
        profile.model.name,
        profile.environment.engine,
        profile.environment.engine_version,
        profile.settings.threads,
        profile.environment.cpu_model,
        table::render(
            &["layer", "kind", "time", "spread", "share", "weights", "output", "live", "dominant"],
            &rows,
            &["layer", "kind", "dominant"]
        ),
        whole.load_ms,
        whole.first_run_ms,
        whole.run.median_ms,
        whole.run.spread_ms,
        whole.base_memory_bytes,
        whole.peak_memory_bytes,
        whole.weights_bytes,
        whole.peak_activation_bytes,
    )
}
