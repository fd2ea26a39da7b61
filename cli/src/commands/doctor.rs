use super::engine;
use crate::arguments::DoctorArguments;
use crate::context::Context;
use crate::failure::Failure;
use crate::lambda;
use crate::programs::block_on;
use crate::targets::{self, Kind};
use serde::Serialize;
use serde_json::Value;
use std::path::PathBuf;
use tranche_deployer::openfaas::{Check, check_gateway};
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
    /// What was looked at for `--target openfaas`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    openfaas: Vec<Check>,
    /// What was looked at for `--target lambda`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lambda: Vec<Check>,
    /// What who deploys to Lambda must be allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<Value>,
}

pub fn run(context: &Context, arguments: &DoctorArguments) -> Result<(), Failure> {
    let settings = context.settings(&[&arguments.library, &arguments.gateway, &arguments.aws])?;
    let (mut openfaas, mut lambda, mut policy) = (Vec::new(), Vec::new(), None);
    match arguments.target.as_deref().map(str::parse).transpose()? {
        Some(Kind::OpenFaas) => {
            let gateway = targets::gateway(&settings, &arguments.gateway, None)?;
            openfaas = block_on(check_gateway(&gateway))?;
        }
        Some(Kind::Lambda) => {
            let target = targets::lambda_target(&settings, None)?;
            let needed =
                lambda::deployer_policy(&target, arguments.name.as_deref(), settings.bucket.as_deref())?;
            lambda = target.doctor(&needed, settings.bucket.as_deref());
            policy = Some(needed);
        }
        Some(Kind::Local) | None => {}
    }
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
        deployments: targets::names(&settings),
        openfaas,
        lambda,
        policy,
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
    for (target, checks) in [("openfaas", &findings.openfaas), ("lambda", &findings.lambda)] {
        for check in checks {
            let verdict = if check.ok { "ok" } else { "NOT OK" };
            text.push_str(&format!("{target:<12} {}: {verdict}, {}\n", check.name, check.message));
        }
        for check in checks.iter().filter(|check| !check.ok) {
            text.push_str(&format!("\nhint: {}: {}\n", check.name, check.hint));
        }
    }
    if let Some(policy) = &findings.policy {
        text.push_str(&format!("\nThe policy that deploying to Lambda needs:\n{policy:#}\n"));
    }
    for status in findings.engines.iter().filter(|status| !status.available) {
        text.push_str(&format!("\nhint: {}: {}\n", status.name, status.hint));
    }
    text
}
