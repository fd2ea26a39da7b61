use crate::arguments::{ModelArguments, ProfileArguments};
use crate::config::Settings;
use crate::context::{Context, open_engine};
use crate::failure::Failure;
use crate::interruption;
use crate::pipeline::Walk;
use crate::prepare::{Prepared, prepare};
use crate::table;
use serde::Serialize;
use std::sync::Arc;
use tranche_engine::Engine;
use tranche_schema::{Document as _, LayerProfile, LayerScaling, Profile, WholeProfile};

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
    interruption::watch(context.printer.json());
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
    let scales = profile.layers.iter().any(|layer| layer.scaling.is_some());
    let mut header = vec!["layer", "kind", "time", "spread", "share"];
    header.extend(scales.then_some("parallel"));
    header.extend(["weights", "output", "live", "dominant"]);
    let rows: Vec<Vec<String>> = profile.layers.iter().map(|layer| row(layer, scales)).collect();
    let mut text = format!(
        "{}  {} {}, {} thread(s), {}\n{}\n",
        profile.model.name,
        profile.environment.engine,
        profile.environment.engine_version,
        profile.settings.threads,
        profile.environment.cpu_model,
        table::render(&header, &rows, &["layer", "kind", "dominant"]),
    );
    text.push_str(&render_whole(&profile.whole));
    if let Some(link) = &profile.link {
        text.push_str(&format!(
            "\nhand-off: {} a request, a MiB inline sent in {} and received in {}, mapped in {} and {}",
            link.per_request_ms,
            link.inline_send_ms_per_mib,
            link.inline_receive_ms_per_mib,
            link.mapped_send_ms_per_mib,
            link.mapped_receive_ms_per_mib,
        ));
    }
    text
}

fn row(layer: &LayerProfile, scales: bool) -> Vec<String> {
    let cost = layer.cpu.or(layer.gpu).unwrap_or_default();
    let marks = layer.resource_dominant.unwrap_or_default();
    let mut row = vec![
        layer.name.clone(),
        layer.kind.clone(),
        cost.time.median_ms.to_string(),
        cost.time.spread_ms.to_string(),
        format!("{:.1} %", cost.time_share * 100.0),
    ];
    row.extend(scales.then(|| layer.scaling.as_ref().map(parallel).unwrap_or_default()));
    row.extend([
        layer.weights_bytes.to_string(),
        layer.output_bytes.to_string(),
        layer.peak_live_bytes.to_string(),
        match (marks.time, marks.memory) {
            (true, true) => "time, memory".to_owned(),
            (true, false) => "time".to_owned(),
            (false, true) => "memory".to_owned(),
            (false, false) => String::new(),
        },
    ]);
    row
}

/// The part of a layer's time that threads divide, and the error of the fit where it has one.
fn parallel(scaling: &LayerScaling) -> String {
    let all = scaling.serial_ms.0 + scaling.parallel_ms.0;
    let part = if all > 0.0 { scaling.parallel_ms.0 / all * 100.0 } else { 0.0 };
    if scaling.error > 0.0 {
        format!("{part:.0} % ± {:.0} %", scaling.error * 100.0)
    } else {
        format!("{part:.0} %")
    }
}

fn render_whole(whole: &WholeProfile) -> String {
    let mut text = format!(
        "whole: load {}, first run {}, run {} (spread {}), memory {} base, {} peak; weights {}, activations {}",
        whole.load_ms,
        whole.first_run_ms,
        whole.run.median_ms,
        whole.run.spread_ms,
        whole.base_memory_bytes,
        whole.peak_memory_bytes,
        whole.weights_bytes,
        whole.peak_activation_bytes,
    );
    if let Some(start_up) = whole.start_up_ms {
        text.push_str(&format!("\nstarts in {start_up}"));
    }
    if let Some(limit) = whole.memory_limit_bytes {
        text.push_str(&format!("\nneeds {limit} to run as fast as without a limit"));
    }
    if whole.shares.len() > 1 {
        let shares: Vec<String> =
            whole.shares.iter().map(|sample| format!("{} at {}", sample.run.median_ms, sample.cpu)).collect();
        text.push_str(&format!("\nruns: {}", shares.join(", ")));
    }
    text
}
