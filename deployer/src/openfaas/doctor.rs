//! Whether a gateway can be deployed to.

use super::{Gateway, GatewayError};
use serde::Serialize;
use tranche_packager::openfaas::FUNCTION_LIMIT;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// Whether it is well.
    pub ok: bool,
    /// How it is.
    pub message: String,
    /// What to do about it; empty when it is well.
    pub hint: String,
}

impl Check {
    fn good(name: &'static str, message: String) -> Self {
        Self { name, ok: true, message, hint: String::new() }
    }

    fn bad(name: &'static str, error: &GatewayError) -> Self {
        Self { name, ok: false, message: error.to_string(), hint: error.hint().to_owned() }
    }
}

/// Looks whether the gateway is reached, takes these credentials, which provider
/// runs the functions, how many run, and whether tranche's are ready. Ends early
/// where the rest cannot be known.
#[must_use]
pub async fn check_gateway(gateway: &Gateway) -> Vec<Check> {
    let mut checks = Vec::new();
    match gateway.healthy().await {
        Ok(()) => checks.push(Check::good("gateway", format!("{} answers", gateway.url()))),
        Err(error) => {
            checks.push(Check::bad("gateway", &error));
            return checks;
        }
    }
    match gateway.info().await {
        Ok(info) => {
            let user =
                if gateway.has_credentials() { "credentials are taken" } else { "no credentials are needed" };
            checks.push(Check::good("credentials", user.to_owned()));
            let version = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
            checks.push(Check::good(
                "provider",
                format!(
                    "{} ({}) version {}, gateway version {}",
                    info.provider,
                    info.provider_name,
                    version(&info.provider_version),
                    version(&info.version)
                ),
            ));
        }
        Err(error) => {
            let name =
                if matches!(error, GatewayError::Unauthorized { .. }) { "credentials" } else { "provider" };
            checks.push(Check::bad(name, &error));
            return checks;
        }
    }
    match gateway.list().await {
        Ok(functions) => {
            let count = functions.len();
            checks.push(Check {
                name: "functions",
                ok: count < FUNCTION_LIMIT,
                message: format!("{count} of {FUNCTION_LIMIT} functions run"),
                hint: match count {
                    0..FUNCTION_LIMIT => String::new(),
                    _ => {
                        "remove functions that are not needed: the Community Edition takes no more".to_owned()
                    }
                },
            });
            let ours = functions.iter().filter(|function| function.deployment().is_some());
            let names: Vec<&str> = ours.map(|function| function.name.as_str()).collect();
            checks.extend(ready(gateway, &names).await);
        }
        Err(error) => checks.push(Check::bad("functions", &error)),
    }
    checks
}

/// Whether the functions that tranche deployed can be called.
async fn ready(gateway: &Gateway, names: &[&str]) -> Option<Check> {
    let mut waiting = Vec::new();
    for name in names {
        match gateway.readiness(name).await {
            Ok(super::Readiness::Ready { .. }) => {}
            Ok(other) => waiting.push(match other {
                super::Readiness::Failed { message } => format!("{name}: {message}"),
                super::Readiness::Waiting { reason } => format!("{name}: {}", reason.trim()),
                super::Readiness::Ready { .. } => String::new(),
            }),
            Err(error) => return Some(Check::bad("ready", &error)),
        }
    }
    match (names.is_empty(), waiting.is_empty()) {
        (true, _) => None,
        (false, true) => Some(Check::good("ready", format!("{} of {} are ready", names.len(), names.len()))),
        (false, false) => Some(Check {
            name: "ready",
            ok: false,
            message: waiting.join("; "),
            hint: "`tranche logs NAME` shows what they wrote".to_owned(),
        }),
    }
}
