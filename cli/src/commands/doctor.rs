use super::engine;
use crate::arguments::LibraryArguments;
use crate::context::Context;
use crate::deployments;
use crate::failure::Failure;
use serde::Serialize;
use std::path::PathBuf;
use tranche_deployer::Target as _;
use tranche_engine::EngineStatus;
use tranche_schema::LimitsEnforced;

#[derive(Serialize)]
struct Findings {
    tranche_version: &'static str,
    platform: String,
    cpu_model: String,
    cpus: usize,
    engines: Vec<EngineStatus>,
    limits: LimitsEnforced,
    limits_notice: Option<String>,
    cache: PathBuf,
    state: PathBuf,
    deployments: Vec<String>,
}

pub fn run(context: &Context, library: &LibraryArguments) -> Result<(), Failure> {
    let settings = context.settings(&[library])?;
    let cgroups = tranche_host::Cgroups::detect();
    let findings = Findings {
        tranche_version: env!("CARGO_PKG_VERSION"),
        platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
        cpu_model: tranche_host::cpu_model(),
        cpus: tranche_host::usable_cpus(),
        engines: tranche_engine::survey(settings.library().as_deref()),
        limits: cgroups.available(),
        limits_notice: cgroups.notice(),
        cache: settings.cache(),
        state: settings.state(),
        deployments: deployments::local_target(&settings)?.list()?,
    };
    context.printer.result(&findings, || render(&findings))
}

fn render(findings: &Findings) -> String {
    let yes = |works: bool| if works { "yes" } else { "no" };
    let mut text = format!(
        "tranche {} on {}, {} x {}\n\n{}\n\nlimits       memory: {}, CPU: {}\n",
        findings.tranche_version,
        findings.platform,
        findings.cpus,
        findings.cpu_model,
        engine::render(&findings.engines),
        yes(findings.limits.memory),
        yes(findings.limits.cpu),
    );
    if let Some(notice) = &findings.limits_notice {
        text.push_str(&format!("             {notice}\n"));
    }
    text.push_str(&format!(
        "cache        {}\nstate        {}\ndeployments  {}\n",
        findings.cache.display(),
        findings.state.display(),
        findings.deployments.join(", ")
    ));
    for status in findings.engines.iter().filter(|status| !status.available) {
        text.push_str(&format!("\nhint: {}: {}\n", status.name, status.hint));
    }
    text
}
