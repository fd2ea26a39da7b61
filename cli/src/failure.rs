//! What ends a command: a message, a hint, an exit code.

use serde::Serialize;
use tranche_schema::exit_code;

/// The end of a command that did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    /// Where it arose, as `graph` or `engine`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// What the process exits with.
    pub exit_code: u8,
    /// What the verb found nevertheless, for its JSON twin.
    pub details: Option<Box<serde_json::Value>>,
}

/// The JSON twin of a failure.
#[derive(Serialize)]
struct Twin<'a> {
    code: &'a str,
    message: &'a str,
    hint: Option<&'a str>,
    exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a serde_json::Value>,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(code: &'static str, exit_code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, exit_code, details: None }
    }

    /// A wrong command line or configuration.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new("usage", exit_code::USAGE, message)
    }

    /// Something that must not happen.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new("bug", exit_code::BUG, message).hint("please report it")
    }

    /// The same failure with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure with what the verb found nevertheless.
    #[must_use]
    pub fn details(mut self, details: &impl Serialize) -> Self {
        self.details = serde_json::to_value(details).ok().map(Box::new);
        self
    }

    /// The JSON twin, under `error`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let twin = Twin {
            code: self.code,
            message: &self.message,
            hint: self.hint.as_deref(),
            exit_code: self.exit_code,
            details: self.details.as_deref(),
        };
        serde_json::json!({ "error": twin }).to_string()
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl miette::Diagnostic for Failure {
    fn code<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.hint.as_ref().map(|hint| Box::new(hint) as Box<dyn std::fmt::Display>)
    }
}

macro_rules! from_library {
    ($($error:ty => $code:literal, $exit_code:expr;)*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::new($code, $exit_code, error.to_string()).hint(error.hint())
            }
        }
    )*};
}

from_library! {
    tranche_engine::EngineError => "engine", exit_code::UNSUPPORTED_MODEL;
    tranche_profiler::ProfilerError => "profiler", exit_code::REMOTE;
    tranche_schema::DocumentError => "document", exit_code::UNSUPPORTED_MODEL;
    tranche_packager::PackageError => "package", exit_code::UNSUPPORTED_MODEL;
    tranche_partitioner::price::PriceError => "prices", exit_code::USAGE;
    tranche_models::ModelsError => "models", exit_code::USAGE;
    tranche_engine::AddError => "engine", exit_code::REMOTE;
    crate::tensor_files::TensorFileError => "tensor-file", exit_code::USAGE;
}

impl From<tranche_deployer::openfaas::GatewayError> for Failure {
    fn from(error: tranche_deployer::openfaas::GatewayError) -> Self {
        tranche_deployer::DeployError::from(error).into()
    }
}

impl From<tranche_transport::aws::AwsError> for Failure {
    fn from(error: tranche_transport::aws::AwsError) -> Self {
        Self::new("aws", exit_code::REMOTE, error.to_string()).hint(error.hint())
    }
}

impl From<tranche_deployer::registry::RegistryError> for Failure {
    fn from(error: tranche_deployer::registry::RegistryError) -> Self {
        tranche_deployer::DeployError::from(error).into()
    }
}

impl From<tranche_graph::GraphError> for Failure {
    fn from(error: tranche_graph::GraphError) -> Self {
        use tranche_graph::ErrorKind;
        // The model may be fine: it was asked for shapes or names that it has not.
        let exit_code = match error.kind {
            ErrorKind::Binding(_) | ErrorKind::UnknownName(_) => exit_code::USAGE,
            _ => exit_code::UNSUPPORTED_MODEL,
        };
        Self::new("graph", exit_code, error.to_string()).hint(error.hint())
    }
}

impl From<tranche_partitioner::PlanError> for Failure {
    fn from(error: tranche_partitioner::PlanError) -> Self {
        use tranche_partitioner::PlanError;
        let exit_code = match error {
            PlanError::Infeasible(_) | PlanError::BreaksConstraint { .. } => exit_code::INFEASIBLE,
            PlanError::UnknownStrategy(_)
            | PlanError::WrongPartCount { .. }
            | PlanError::UnknownCut { .. }
            | PlanError::CutAtEnd { .. } => exit_code::USAGE,
            PlanError::InvalidProblem(_) | PlanError::BrokenPlan { .. } => exit_code::BUG,
            _ => exit_code::UNSUPPORTED_MODEL,
        };
        Self::new("plan", exit_code, error.to_string()).hint(error.hint())
    }
}

impl From<tranche_deployer::DeployError> for Failure {
    fn from(error: tranche_deployer::DeployError) -> Self {
        let log = error.log_tail().filter(|log| !log.is_empty());
        let hint = log.map_or_else(|| error.hint().to_owned(), |log| format!("{}\n\n{log}", error.hint()));
        Self::new("deploy", error.exit_code(), error.to_string()).hint(hint)
    }
}

impl From<tranche_driver::DriverError> for Failure {
    fn from(error: tranche_driver::DriverError) -> Self {
        Self::new("driver", error.exit_code(), error.to_string()).hint(error.hint())
    }
}
