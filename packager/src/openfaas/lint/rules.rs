use super::{ASYNC_BODY_LIMIT, Finding, Provider, REPLICA_LIMIT, Severity, Surroundings};
use crate::openfaas::name::is_label_value;
use crate::openfaas::{FunctionDeployment, Resources, is_dns_label, keys, parse_cpu, parse_memory};
use std::collections::HashSet;
use std::time::Duration;
use tranche_schema::ByteCount;

/// `upstream_timeout` of a gateway that was not told otherwise.
const DEFAULT_GATEWAY_TIMEOUT: Duration = Duration::from_secs(60);
/// No process runs in less; a smaller limit is a wrong suffix.
const LEAST_MEMORY: ByteCount = ByteCount::mebibytes(1);
/// Labels that only the paid edition takes.
const PAID_LABELS: [&str; 3] =
    ["com.openfaas.scale.zero-duration", "com.openfaas.scale.target", "com.openfaas.scale.type"];
const SCALE_ZERO: &str = "com.openfaas.scale.zero";

/// Findings of one function.
struct Findings<'a> {
    function: &'a FunctionDeployment,
    list: Vec<Finding>,
}

impl Findings<'_> {
    fn add(&mut self, severity: Severity, message: String, hint: &'static str) {
        self.list.push(Finding { severity, function: Some(self.function.service.clone()), message, hint });
    }

    fn error(&mut self, message: String, hint: &'static str) {
        self.add(Severity::Error, message, hint);
    }

    fn warning(&mut self, message: String, hint: &'static str) {
        self.add(Severity::Warning, message, hint);
    }
}

/// Findings that concern the functions together.
pub(super) fn of_all(functions: &[FunctionDeployment], surroundings: &Surroundings) -> Vec<Finding> {
    let mut list = Vec::new();
    let wanted = functions.len() + surroundings.running;
    if let Some(limit) = surroundings.function_limit
        && wanted > limit
    {
        let running = match surroundings.running {
            0 => String::new(),
            running => format!(" beside {running} that run already"),
        };
        list.push(Finding {
            severity: Severity::Error,
            function: None,
            message: format!(
                "{} functions{running} are more than the {limit} of the Community Edition",
                functions.len()
            ),
            hint: "plan fewer slices (`tranche partition --max-slices N`), or remove functions that are not needed",
        });
    }
    let mut names = HashSet::new();
    for function in functions.iter().filter(|function| !names.insert(&function.service)) {
        list.push(Finding {
            severity: Severity::Error,
            function: Some(function.service.clone()),
            message: "two functions have this name".to_owned(),
            hint: "give slices different names",
        });
    }
    list.extend(ignored(functions, surroundings));
    list
}

/// What the provider takes and does not do, once for all functions.
fn ignored(functions: &[FunctionDeployment], surroundings: &Surroundings) -> Vec<Finding> {
    let any = |what: fn(&FunctionDeployment) -> bool| functions.iter().any(what);
    let mut list = Vec::new();
    let mut warn = |ignored: bool, message: &str, hint: &'static str| {
        if ignored {
            list.push(Finding {
                severity: Severity::Warning,
                function: None,
                message: message.to_owned(),
                hint,
            });
        }
    };
    let provider = surroundings.provider;
    if provider == Some(Provider::Faasd) {
        let cpu = |function: &FunctionDeployment| {
            function.limits.as_ref().is_some_and(|limits| !limits.cpu.is_empty())
        };
        warn(
            any(cpu),
            "faasd ignores cpu limits: functions share all processors",
            "memory limits hold; predicted latencies suppose the cpu limits",
        );
        warn(
            any(|function| function.requests.is_some()),
            "faasd ignores requests: nothing is set aside for functions",
            "leave memory free on its host for the sum of the limits",
        );
        warn(
            any(|function| function.read_only_root_filesystem),
            "faasd ignores read-only root file systems",
            "nothing needs to be done",
        );
        warn(
            any(|function| function.labels.get(keys::SCALE_MAX).is_some_and(|most| most != "1")),
            "faasd runs one replica of a function",
            "nothing needs to be done",
        );
    }
    warn(
        provider.is_some() && any(|function| !function.constraints.is_empty()),
        "the Community Edition ignores constraints",
        "remove them",
    );
    list
}

pub(super) fn of_one(function: &FunctionDeployment, surroundings: &Surroundings) -> Vec<Finding> {
    let mut findings = Findings { function, list: Vec::new() };
    name(&mut findings, surroundings);
    image(&mut findings, surroundings);
    resources(&mut findings);
    labels(&mut findings);
    environment(&mut findings, surroundings);
    if surroundings.asynchronous {
        body(&mut findings);
    }
    findings.list
}

fn name(findings: &mut Findings<'_>, surroundings: &Surroundings) {
    let name = &findings.function.service;
    if !is_dns_label(name) {
        findings.error(
            "the name is no DNS label".to_owned(),
            "use at most 63 lower-case letters, digits and `-`, not `-` first or last",
        );
    } else if surroundings.provider != Some(Provider::Faasd) && name.starts_with(|c: char| c.is_ascii_digit())
    {
        findings.error(
            "the name of a Kubernetes service cannot begin with a digit".to_owned(),
            "give the deployment a name that begins with a letter",
        );
    }
}

fn image(findings: &mut Findings<'_>, surroundings: &Surroundings) {
    let image = findings.function.image.clone();
    if image.is_empty() || image.contains(|c: char| c.is_whitespace() || c.is_control()) {
        findings.error(format!("`{}` is no image", image.escape_default()), "push the images first");
        return;
    }
    if !image.contains("@sha256:") {
        findings.warning(
            format!("image {image} is not pinned by digest: another push changes what runs"),
            "use the reference by digest that the push gave",
        );
    }
    let loopback = ["127.", "localhost", "[::1]"].iter().any(|host| image.starts_with(host));
    if loopback && surroundings.provider == Some(Provider::Kubernetes) {
        findings.warning(
            format!("image {image} is on each node's own loopback"),
            "push to a registry that the cluster's nodes reach without credentials",
        );
    }
}

fn resources(findings: &mut Findings<'_>) {
    let function = findings.function;
    let limits = Quantities::read("limits", function.limits.as_ref(), findings);
    let requests = Quantities::read("requests", function.requests.as_ref(), findings);
    if limits.memory.is_none() && function.limits.as_ref().is_none_or(|limits| limits.memory.is_empty()) {
        findings
            .warning("there is no memory limit".to_owned(), "one function can take the host's whole memory");
    }
    if limits.memory.is_some_and(|memory| ByteCount(memory) < LEAST_MEMORY) {
        findings.error(
            "the memory limit is below one mebibyte".to_owned(),
            "check the suffix: `m` is a thousandth, `M` a million",
        );
    }
    for (what, request, limit) in
        [("memory", requests.memory, limits.memory), ("cpu", requests.cpu, limits.cpu)]
    {
        if let (Some(request), Some(limit)) = (request, limit)
            && request > limit
        {
            findings.error(
                format!("its {what} request is larger than its {what} limit"),
                "lower the request or raise the limit",
            );
        }
    }
}

/// Bytes and thousandths of a processor, where they are given and can be read.
#[derive(Default)]
struct Quantities {
    memory: Option<u64>,
    cpu: Option<u64>,
}

impl Quantities {
    fn read(what: &str, resources: Option<&Resources>, findings: &mut Findings<'_>) -> Self {
        let Some(resources) = resources else { return Self::default() };
        let mut keep = |text: &str, value: Result<u64, crate::openfaas::OpenFaasError>| match value {
            _ if text.is_empty() => None,
            Ok(value) => Some(value),
            Err(error) => {
                findings.error(format!("{what}: {error}"), error.hint());
                None
            }
        };
        Self {
            memory: keep(&resources.memory, parse_memory(&resources.memory).map(|memory| memory.0)),
            cpu: keep(&resources.cpu, parse_cpu(&resources.cpu).map(|cpu| u64::from(cpu.0))),
        }
    }
}

fn labels(findings: &mut Findings<'_>) {
    let function = findings.function;
    for (label, value) in &function.labels {
        if !is_label_value(value) {
            findings.error(
                format!("label {label} has the value `{}`", value.escape_default()),
                "use at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit first and last",
            );
        }
        if PAID_LABELS.contains(&label.as_str()) || label == SCALE_ZERO && value == "true" {
            findings.error(
                format!("the Community Edition refuses label {label}"),
                "remove it: scaling to zero and by other than requests is paid for",
            );
        }
    }
    let bound = |label: &str| function.labels.get(label).map(|value| value.parse::<u32>().ok());
    let (least, most) = (bound(keys::SCALE_MIN), bound(keys::SCALE_MAX));
    for (label, value) in [(keys::SCALE_MIN, least), (keys::SCALE_MAX, most)] {
        if value.is_some_and(|value| !value.is_some_and(|count| (1..=REPLICA_LIMIT).contains(&count))) {
            findings.error(
                format!("label {label} is not between 1 and {REPLICA_LIMIT}"),
                "the Community Edition runs one to five replicas of a function",
            );
        }
    }
    if let (Some(Some(least)), Some(Some(most))) = (least, most)
        && least > most
    {
        findings
            .error(format!("its least number of replicas, {least}, is above its most, {most}"), "swap them");
    }
}

fn environment(findings: &mut Findings<'_>, surroundings: &Surroundings) {
    let function = findings.function;
    for name in function.env_vars.keys() {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || !name.chars().all(allowed) || name.starts_with(|c: char| c.is_ascii_digit()) {
            findings.error(
                format!("`{}` cannot name an environment variable", name.escape_default()),
                "use letters, digits and `_`",
            );
        }
    }
    if function.env_vars.get("max_inflight").is_some_and(|value| value.parse::<u32>().is_err()) {
        findings.error("max_inflight is no number".to_owned(), "give a count; 0 is no bound");
    }
    let mut timeout = |name: &str| {
        let text = function.env_vars.get(name)?;
        let parsed = parse_go_duration(text);
        if parsed.is_none() {
            findings.error(
                format!("{name} is `{}`", text.escape_default()),
                "write a duration as `50s` or `1m30s`",
            );
        }
        parsed
    };
    let (exec, read, write) = (timeout("exec_timeout"), timeout("read_timeout"), timeout("write_timeout"));
    let Some(exec) = exec else { return };
    for (name, other) in [("read_timeout", read), ("write_timeout", write)] {
        if other.is_some_and(|other| other < exec) {
            findings.error(
                format!("exec_timeout is longer than {name}"),
                "the connection would be closed before the answer is ready",
            );
        }
    }
    let gateway = surroundings.gateway_timeout.unwrap_or(DEFAULT_GATEWAY_TIMEOUT);
    if exec > gateway {
        let known = surroundings.gateway_timeout.is_some();
        let severity = if known { Severity::Error } else { Severity::Warning };
        findings.add(
            severity,
            format!("exec_timeout is longer than the gateway's {} s", gateway.as_secs()),
            "raise upstream_timeout and write_timeout of the gateway, or lower exec_timeout",
        );
    }
}

fn body(findings: &mut Findings<'_>) {
    let bytes = findings.function.annotations.get(keys::REQUEST_BYTES).and_then(|text| text.parse().ok());
    if let Some(bytes) = bytes.filter(|bytes: &u64| *bytes > ASYNC_BODY_LIMIT) {
        findings.error(
            format!("a request has {bytes} bytes, asynchronous ones at most {ASYNC_BODY_LIMIT}"),
            "call it synchronously",
        );
    }
}

/// Go's `time.ParseDuration`, without fractions and signs; a bare number is
/// seconds, as of-watchdog reads it.
fn parse_go_duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let part = match unit {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "h" => Duration::from_secs(number.checked_mul(3600)?),
            _ => return None,
        };
        total = total.checked_add(part)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_in_go() {
        let seconds = |text: &str| parse_go_duration(text).map(|duration| duration.as_secs_f64());
        assert_eq!(
            (seconds("30s"), seconds("1m30s"), seconds("1500ms"), seconds("7")),
            (Some(30.0), Some(90.0), Some(1.5), Some(7.0))
        );
        assert_eq!(
            (seconds(""), seconds("s"), seconds("30"), seconds("5 s"), seconds("1d")),
            (None, None, Some(30.0), None, None)
        );
    }
}
