//! What a function is, as far as versions keep it, and how two differ.

use aws_sdk_lambda::types::FunctionConfiguration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tranche_packager::lambda::FunctionDescription;
use tranche_schema::LambdaPackageKind;

/// Code and configuration of a version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Configuration {
    /// `CodeSha256` of a zip file (base64), or the image's digest.
    pub code: String,
    pub is_image: bool,
    pub architecture: String,
    pub runtime: String,
    pub handler: String,
    pub role: String,
    pub memory_mib: u32,
    pub timeout_s: u32,
    pub ephemeral_storage_mib: u32,
    pub environment: BTreeMap<String, String>,
    /// ARNs of layer versions.
    pub layers: Vec<String>,
    pub description: String,
    pub snap_start: bool,
}

impl Configuration {
    /// As it is wanted.
    pub fn wanted(function: &FunctionDescription, code: String, role: &str, layers: Vec<String>) -> Self {
        Self {
            code,
            is_image: function.package == LambdaPackageKind::Image,
            architecture: function.architecture.clone(),
            runtime: function.runtime.clone().unwrap_or_default(),
            handler: function.handler.clone().unwrap_or_default(),
            role: role.to_owned(),
            memory_mib: function.memory_mib,
            timeout_s: function.timeout_s,
            ephemeral_storage_mib: function.ephemeral_storage_mib,
            environment: function.environment.clone(),
            layers,
            description: function.description.clone(),
            snap_start: function.snap_start,
        }
    }

    /// As Lambda tells; `image` is the image that it runs, where it runs one.
    pub fn found(version: &FunctionConfiguration, image: Option<&str>) -> Self {
        let is_image = version.package_type().is_some_and(|kind| kind.as_str() == "Image");
        let image = image.map(|image| image.rsplit_once('@').map_or(image, |(_, digest)| digest).to_owned());
        let sha256 = version.code_sha256().unwrap_or_default().to_owned();
        let number =
            |value: Option<i32>| value.and_then(|value| u32::try_from(value).ok()).unwrap_or_default();
        let variables = version.environment().and_then(|environment| environment.variables());
        let apply_on = version.snap_start().and_then(|snap_start| snap_start.apply_on());
        Self {
            code: if is_image { image.unwrap_or(sha256) } else { sha256 },
            is_image,
            architecture: version.architectures().first().map_or("x86_64", |name| name.as_str()).to_owned(),
            runtime: version.runtime().map(|runtime| runtime.as_str().to_owned()).unwrap_or_default(),
            handler: version.handler().unwrap_or_default().to_owned(),
            role: version.role().unwrap_or_default().to_owned(),
            memory_mib: number(version.memory_size()),
            timeout_s: number(version.timeout()),
            ephemeral_storage_mib: number(version.ephemeral_storage().map(|storage| storage.size())),
            environment: variables.into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect(),
            layers: version.layers().iter().filter_map(|layer| layer.arn().map(str::to_owned)).collect(),
            description: version.description().unwrap_or_default().to_owned(),
            snap_start: apply_on.is_some_and(|when| when.as_str() == "PublishedVersions"),
        }
    }

    /// Whether the code is the same; the architecture belongs to it (`UpdateFunctionCode`).
    pub fn same_code(&self, other: &Self) -> bool {
        self.code == other.code && self.architecture == other.architecture
    }

    /// What differs besides the code, in words, as `memory 128 -> 256 MiB`.
    pub fn differences(&self, wanted: &Self) -> Vec<String> {
        let mut list = Vec::new();
        let mut compare = |what: &str, from: &str, to: &str, unit: &str| {
            if from != to {
                let shown = |text: &str| if text.is_empty() { "none".to_owned() } else { text.to_owned() };
                list.push(format!("{what} {} -> {}{unit}", shown(from), shown(to)));
            }
        };
        let text = u32::to_string;
        compare("memory", &text(&self.memory_mib), &text(&wanted.memory_mib), " MiB");
        compare("timeout", &text(&self.timeout_s), &text(&wanted.timeout_s), " s");
        let storage = (text(&self.ephemeral_storage_mib), text(&wanted.ephemeral_storage_mib));
        compare("/tmp", &storage.0, &storage.1, " MiB");
        compare("runtime", &self.runtime, &wanted.runtime, "");
        compare("handler", &self.handler, &wanted.handler, "");
        compare("role", &self.role, &wanted.role, "");
        compare("layers", &self.layers.join(", "), &wanted.layers.join(", "), "");
        compare("snap start", on(self.snap_start), on(wanted.snap_start), "");
        compare("description", &self.description, &wanted.description, "");
        let names = self.environment.keys().chain(wanted.environment.keys());
        let mut changed: Vec<&str> = names
            .filter(|name| self.environment.get(*name) != wanted.environment.get(*name))
            .map(String::as_str)
            .collect();
        changed.sort_unstable();
        changed.dedup();
        // Values may be secrets.
        list.extend(changed.iter().map(|name| format!("variable {name}")));
        list
    }

    /// `1769 MiB, 120 s, code 0123456789ab`
    pub fn summary(&self) -> String {
        let code: String = self.code.trim_start_matches("sha256:").chars().take(12).collect();
        format!("{} MiB, {} s, code {code}", self.memory_mib, self.timeout_s)
    }
}

fn on(flag: bool) -> &'static str {
    if flag { "on" } else { "off" }
}
