//! Functions as OpenFaaS wants them described: the gateway's JSON, a stack.yaml
//! for faas-cli and a template to build with it, and what would go wrong with
//! them, found before anything is sent.
//!
//! Sources: `faas-provider/types/function_deployment.go` for the JSON,
//! `go-sdk/stack/schema.go` for stack.yaml, `faas-netes/pkg/handlers/validate.go`
//! for names and the Community Edition's rules.

mod describe;
mod error;
mod function;
mod lint;
mod name;
mod quantity;
mod stack;
mod template;

pub use describe::{DescribeOptions, Timeouts, describe_front_door, describe_functions};
pub use error::OpenFaasError;
pub use function::{FunctionDeployment, Resources};
pub use lint::{
    ASYNC_BODY_LIMIT, FUNCTION_LIMIT, Finding, Provider, REPLICA_LIMIT, Severity, Surroundings, lint,
    lint_with,
};
pub use name::{LONGEST_NAME, function_name, is_dns_label, label_value};
pub use quantity::{cpu_quantity, memory_quantity, parse_cpu, parse_memory};
pub use stack::{StackOptions, stack_yaml};
pub use template::{TEMPLATE_NAME, write_template};

/// Labels and annotations by which tranche finds its functions again.
pub mod keys {
    /// Label: the deployment's name.
    pub const DEPLOYMENT: &str = "tranche.deployment";
    /// Label and annotation: the slice. The label's value is made to fit.
    pub const SLICE: &str = "tranche.slice";
    /// Label: what tells functions of one slice apart, also in their names.
    pub const GENERATION: &str = "tranche.generation";
    /// Label: `true` for the function that answers whole requests.
    pub const FRONT_DOOR: &str = "tranche.front-door";
    /// Annotation: digest of the plan that the function was first deployed for.
    pub const PLAN_DIGEST: &str = "tranche.plan-digest";
    /// Annotation: the slices that read what this one writes, with commas between.
    pub const NEXT: &str = "tranche.next";
    /// Annotation: bytes of the tensors in a request.
    pub const REQUEST_BYTES: &str = "tranche.request-bytes";
    /// Annotation: bytes of the tensors in an answer.
    pub const RESPONSE_BYTES: &str = "tranche.response-bytes";
    /// Label: least replicas.
    pub const SCALE_MIN: &str = "com.openfaas.scale.min";
    /// Label: most replicas.
    pub const SCALE_MAX: &str = "com.openfaas.scale.max";
}
