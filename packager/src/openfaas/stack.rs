//! stack.yaml for faas-cli.

use super::{FunctionDeployment, OpenFaasError, Resources, TEMPLATE_NAME};
use serde::Serialize;
use std::collections::BTreeMap;

/// How stack.yaml is written.
#[derive(Clone, Debug)]
pub struct StackOptions {
    /// The gateway's URL.
    pub gateway: String,
    /// Bundle to build images from with `faas-cli build` and the template that
    /// [`super::write_template`] writes, as a path relative to stack.yaml. `None`
    /// deploys the images as they are.
    pub build_from: Option<String>,
}

#[derive(Serialize)]
struct Stack<'a> {
    version: &'static str,
    provider: StackProvider<'a>,
    functions: BTreeMap<&'a str, StackFunction<'a>>,
}

#[derive(Serialize)]
struct StackProvider<'a> {
    name: &'static str,
    gateway: &'a str,
}

/// `go-sdk/stack/schema.go`, `Function`.
#[derive(Serialize)]
struct StackFunction<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    lang: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    handler: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    skip_build: bool,
    image: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fprocess: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    environment: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    secrets: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    constraints: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<&'a Resources>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<&'a Resources>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    readonly_root_filesystem: bool,
}

/// stack.yaml of these functions, for `faas-cli deploy -f stack.yaml`.
///
/// faas-cli replaces `${NAME}` in the text by environment variables and reads
/// `$$` as `$` and `\\` as `\`, unless told `--envsubst=false`; both are doubled
/// here so that values arrive as they are.
///
/// # Errors
/// When a value has no YAML form.
pub fn stack_yaml(functions: &[FunctionDeployment], options: &StackOptions) -> Result<String, OpenFaasError> {
    let stack = Stack {
        version: "1.0",
        provider: StackProvider { name: "openfaas", gateway: &options.gateway },
        functions: functions
            .iter()
            .map(|function| (function.service.as_str(), entry(function, options)))
            .collect(),
    };
    // Long image names stay on their lines.
    let style = serde_saphyr::ser_options! { prefer_block_scalars: false };
    let text = serde_saphyr::to_string_with_options(&stack, style)
        .map_err(|error| OpenFaasError::Yaml { file: "stack.yaml", reason: error.to_string() })?;
    Ok(text.replace('\\', r"\\").replace('$', "$$"))
}

fn entry<'a>(function: &'a FunctionDeployment, options: &'a StackOptions) -> StackFunction<'a> {
    let handler = options.build_from.as_deref();
    let mut environment: BTreeMap<&str, &str> =
        function.env_vars.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    if handler.is_some() {
        // Images that the template builds hold every slice.
        environment.insert("TRANCHE_SLICE", function.slice());
    }
    StackFunction {
        lang: handler.map(|_| TEMPLATE_NAME),
        handler,
        skip_build: handler.is_none(),
        image: &function.image,
        namespace: function.namespace.as_deref(),
        fprocess: function.env_process.as_deref(),
        environment,
        secrets: &function.secrets,
        constraints: &function.constraints,
        labels: &function.labels,
        annotations: &function.annotations,
        limits: function.limits.as_ref(),
        requests: function.requests.as_ref(),
        readonly_root_filesystem: function.read_only_root_filesystem,
    }
}
