//! What runs behind a gateway, as it is now.

use super::{Gateway, GatewayError, GatewayInfo, RunningFunction};
use std::collections::BTreeMap;
use tranche_packager::openfaas::{FunctionDeployment, Provider, parse_cpu, parse_memory};

/// The functions of one deployment, and how many others there are.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub info: GatewayInfo,
    /// By name.
    pub ours: BTreeMap<String, RunningFunction>,
    pub others: usize,
}

impl Snapshot {
    /// Functions labelled as `deployment`'s, and those `named`, whose labels may
    /// have been changed by hand.
    pub async fn take(gateway: &Gateway, deployment: &str, named: &[&str]) -> Result<Self, GatewayError> {
        let info = gateway.info().await?;
        let listed = gateway.list().await?;
        let all = listed.len();
        let is_ours = |function: &RunningFunction| {
            function.deployment() == Some(deployment) || named.contains(&function.name.as_str())
        };
        let mut ours = BTreeMap::new();
        let mut gone = 0;
        for function in listed.into_iter().filter(is_ours) {
            // faasd counts available replicas only here.
            match gateway.get(&function.name).await? {
                Some(function) => drop(ours.insert(function.name.clone(), function)),
                None => gone += 1,
            }
        }
        Ok(Self { info, others: all - ours.len() - gone, ours })
    }

    pub fn provider(&self) -> Provider {
        self.info.provider
    }

    /// Why a function does not run as described; `None` when it does.
    pub fn drift(&self, wanted: &FunctionDeployment) -> Option<String> {
        let Some(running) = self.ours.get(&wanted.service) else {
            return Some("missing at the gateway".to_owned());
        };
        let differences = differences(wanted, running, self.provider());
        if !differences.is_empty() {
            return Some(format!("changed by hand: {}", differences.join(", ")));
        }
        (running.available_replicas == 0).then(|| "no replica runs".to_owned())
    }
}

/// What of `wanted` the provider reports otherwise. What it does not report, or
/// ignores, cannot differ; environment beyond what is wanted may be the image's.
pub(super) fn differences(
    wanted: &FunctionDeployment,
    running: &RunningFunction,
    provider: Provider,
) -> Vec<String> {
    let mut list = Vec::new();
    if full_name(&wanted.image) != full_name(&running.image) {
        list.push(format!("image {}", running.image));
    }
    let limits = wanted.limits.clone().unwrap_or_default();
    let shown = |text: &str| if text.is_empty() { "none".to_owned() } else { text.to_owned() };
    let memory =
        |text: &str| if text.is_empty() { Some(0) } else { parse_memory(text).ok().map(|memory| memory.0) };
    if memory(&limits.memory) != memory(&running.limits.memory) {
        list.push(format!("memory limit {}", shown(&running.limits.memory)));
    }
    let cpu = |text: &str| if text.is_empty() { Some(0) } else { parse_cpu(text).ok().map(|cpu| cpu.0) };
    if provider == Provider::Kubernetes && cpu(&limits.cpu) != cpu(&running.limits.cpu) {
        list.push(format!("cpu limit {}", shown(&running.limits.cpu)));
    }
    for (name, value) in wanted.env_vars.iter().filter(|_| !running.env_vars.is_empty()) {
        // faasd reports values up to their first `=` (`readEnvFromProcessEnv`).
        let start = value.split('=').next();
        let reported = running.env_vars.get(name).map(String::as_str);
        if reported != Some(value) && (provider != Provider::Faasd || reported != start) {
            list.push(format!("variable {name}"));
        }
    }
    list
}

/// As containerd writes it: with Docker Hub's name where there is none.
fn full_name(image: &str) -> String {
    let (first, rest) = image.split_once('/').unwrap_or(("", image));
    let is_host = first.contains(['.', ':']) || first == "localhost";
    match (is_host, first) {
        (true, "docker.io") if !rest.contains('/') => format!("docker.io/library/{rest}"),
        (true, _) => image.to_owned(),
        (false, "") => format!("docker.io/library/{rest}"),
        (false, _) => format!("docker.io/{image}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tranche_packager::openfaas::Resources;

    fn resources(memory: &str, cpu: &str) -> Resources {
        Resources { memory: memory.to_owned(), cpu: cpu.to_owned() }
    }

    #[test]
    fn images_are_compared_by_their_full_names() {
        assert_eq!(full_name("alpine:3"), full_name("docker.io/library/alpine:3"));
        assert_eq!(full_name("docker.io/alpine:3"), "docker.io/library/alpine:3");
        assert_eq!(full_name("someone/a"), "docker.io/someone/a");
        assert_eq!(full_name("localhost/a"), "localhost/a");
        assert_eq!(full_name("127.0.0.1:5000/a@sha256:0"), "127.0.0.1:5000/a@sha256:0");
    }

    #[test]
    fn only_what_a_provider_keeps_can_differ() {
        let wanted = FunctionDeployment {
            image: "r.io/a".to_owned(),
            limits: Some(resources("64Mi", "500m")),
            env_vars: [("A".to_owned(), "1=2".to_owned())].into(),
            ..FunctionDeployment::default()
        };
        let running = |memory: &str, cpu: &str| RunningFunction {
            image: "r.io/a".to_owned(),
            limits: resources(memory, cpu),
            ..RunningFunction::default()
        };
        let differ = |running: &RunningFunction, provider| differences(&wanted, running, provider).join(", ");
        assert_eq!(differ(&running("67108864", ""), Provider::Faasd), "");
        assert_eq!(differ(&running("64Mi", "0.5"), Provider::Kubernetes), "");
        assert_eq!(differ(&running("128Mi", ""), Provider::Kubernetes), "memory limit 128Mi, cpu limit none");
        let mut changed = running("0", "");
        changed.image = "r.io/b".to_owned();
        changed.env_vars = [("A".to_owned(), "1".to_owned())].into();
        assert_eq!(differ(&changed, Provider::Faasd), "image r.io/b, memory limit 0");
        assert!(differ(&changed, Provider::Kubernetes).ends_with("variable A"));
        changed.env_vars = [("A".to_owned(), "2".to_owned()), ("PATH".to_owned(), "/".to_owned())].into();
        assert_eq!(differ(&changed, Provider::Faasd), "image r.io/b, memory limit 0, variable A");
    }
}
