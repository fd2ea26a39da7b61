use crate::lambda::AwsError;
use crate::openfaas::GatewayError;
use crate::registry::RegistryError;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tranche_host::HostError;
use tranche_packager::openfaas::{Finding, OpenFaasError};
use tranche_schema::{DocumentError, exit_code};

/// A deployment that could not be made, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// A name that no target takes.
    #[error("`{name}` cannot name a deployment")]
    Name {
        /// The name.
        name: String,
    },
    /// The bundle is not what its manifest says.
    #[error("bundle {}: {reason}", bundle.display())]
    Bundle {
        /// The bundle.
        bundle: PathBuf,
        /// What is wrong, with the file.
        reason: String,
    },
    /// Nothing proves that the slices compute what the model does.
    #[error("bundle {} is not verified: {reason}", bundle.display())]
    Unverified {
        /// The bundle.
        bundle: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// There is no deployment of that name.
    #[error("there is no deployment `{name}`")]
    NotFound {
        /// The name.
        name: String,
    },
    /// Another process changes the same deployment.
    #[error("deployment `{name}` is being changed by process {holder}")]
    Locked {
        /// The name.
        name: String,
        /// The other process's id, as it wrote it.
        holder: String,
    },
    /// A function did not start.
    #[error("function `{function}` did not start: {reason}")]
    Function {
        /// The slice.
        function: String,
        /// How it ended.
        reason: String,
        /// The last lines that it wrote.
        log_tail: String,
    },
    /// Functions were not ready in time.
    #[error("not ready after {waited:?}: {functions}")]
    NotReady {
        /// Their names.
        functions: String,
        /// How long they were waited for.
        waited: Duration,
        /// The last lines that the first of them wrote.
        log_tail: String,
    },
    /// The supervisor of a local deployment ended early.
    #[error("the supervisor of `{name}` ended: {reason}")]
    Supervisor {
        /// The deployment.
        name: String,
        /// What it wrote last.
        reason: String,
    },
    /// A supervisor gave no answer, or one that makes no sense.
    #[error("the supervisor at {} does not answer: {reason}", socket.display())]
    Control {
        /// Its socket.
        socket: PathBuf,
        /// Why.
        reason: String,
    },
    /// The deploy was told to give up.
    #[error("the deploy of `{name}` was interrupted and is undone")]
    Interrupted {
        /// The deployment.
        name: String,
    },
    /// Something of a deployment is still there after its removal.
    #[error("deployment `{name}` is not wholly removed: {remains}")]
    Remains {
        /// The deployment.
        name: String,
        /// What is left.
        remains: String,
    },
    /// A folder that others may write to.
    #[error("{} is not private to this user", path.display())]
    NotPrivate {
        /// The folder.
        path: PathBuf,
    },
    /// No place for the state of deployments.
    #[error(
        "there is no folder for the state of deployments: neither TRANCHE_STATE, XDG_STATE_HOME nor HOME is set"
    )]
    NoStateFolder,
    /// A file or folder.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// `read`, `make`, ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The target cannot do that.
    #[error("target {target} cannot {action}")]
    Unsupported {
        /// The target.
        target: &'static str,
        /// What was asked for.
        action: &'static str,
    },
    /// What is to be deployed would not work there.
    #[error("the deployment would not work: {}", list(findings))]
    Unfit {
        /// What is wrong, one or more.
        findings: Vec<Finding>,
    },
    /// The images are not those of the bundle.
    #[error("the images do not fit bundle {}: {reason}", bundle.display())]
    Images {
        /// The bundle.
        bundle: PathBuf,
        /// Why.
        reason: String,
    },
    /// The deployment is somewhere else.
    #[error("deployment `{name}` runs at {there}, not at {here}")]
    OtherGateway {
        /// The deployment.
        name: String,
        /// The gateway it was deployed to.
        there: String,
        /// The gateway asked for.
        here: String,
    },
    /// A gateway did not do what was asked for a slice.
    #[error("slice `{slice}`: {source}")]
    Slice {
        /// The slice.
        slice: String,
        /// What went wrong.
        source: GatewayError,
    },
    /// The packages for Lambda are not those of the bundle.
    #[error("the packages in {} cannot be deployed: {reason}", folder.display())]
    Packages {
        /// The folder of packages.
        folder: PathBuf,
        /// Why.
        reason: String,
    },
    /// The deployment is in another account or region.
    #[error("deployment `{name}` is in {there}, not in {here}")]
    OtherPlace {
        /// The deployment.
        name: String,
        /// Where it was deployed to.
        there: String,
        /// Where it is looked for.
        here: String,
    },
    /// Something has the name that the deployment would give to a thing of its own.
    #[error("{thing} is not of this deployment: {reason}")]
    Foreign {
        /// What, with its name.
        thing: String,
        /// Why it is not.
        reason: String,
    },
    /// A canary is in the way, or is not there, or cannot be.
    #[error("deployment `{name}` and its canary: {reason}")]
    Canary {
        /// The deployment.
        name: String,
        /// What is the matter.
        reason: String,
    },
    /// There is nothing to go back to.
    #[error("deployment `{name}` has served nothing before")]
    NoPrevious {
        /// The deployment.
        name: String,
    },
    /// AWS did not do what was asked for a slice.
    #[error("slice `{slice}`: {source}")]
    LambdaSlice {
        /// The slice.
        slice: String,
        /// What went wrong.
        source: AwsError,
    },
    /// AWS could not be asked or refused.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// After a failed deploy, what ran before could not be put back.
    #[error("{cause}; then what ran before could not be put back: {reason}")]
    NotRestored {
        /// The deployment.
        name: String,
        /// Why the deploy failed.
        cause: Box<DeployError>,
        /// Why the rest failed.
        reason: String,
    },
    /// A gateway could not be asked or refused.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// Functions could not be described.
    #[error(transparent)]
    Describe(#[from] OpenFaasError),
    /// A document that cannot be read or written.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The machine refused something.
    #[error(transparent)]
    Host(#[from] HostError),
    /// An image did not get into its registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl DeployError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Name { .. } => {
                "use at most 63 lower-case letters, digits and `-`, beginning with a letter or digit"
            }
            Self::Bundle { .. } => "package it again with `tranche package`",
            Self::Unverified { .. } => "run `tranche verify` on it, or pass `--allow-unverified`",
            Self::NotFound { .. } => "`tranche status` lists deployments",
            Self::Locked { .. } => "wait for the other command to end; if it is dead, try again",
            Self::Function { .. } => {
                "its last output is below; a function out of memory needs a larger size in the plan"
            }
            Self::NotReady { .. } => {
                "its last output is below; raise `--ready-deadline` if it only loads slowly"
            }
            Self::Supervisor { .. } | Self::Control { .. } => {
                "`tranche destroy` removes what is left; then deploy again"
            }
            Self::Interrupted { .. } => "deploy again",
            Self::Remains { .. } => "run `tranche destroy` again; a process that cannot be killed holds it",
            Self::NotPrivate { .. } => "remove it, or set XDG_RUNTIME_DIR to a folder of your own",
            Self::NoStateFolder => "set TRANCHE_STATE to a folder",
            Self::File { .. } => "check the path, its permissions and the space left",
            Self::Unsupported { .. } => "choose another target with `--target`",
            Self::Unfit { findings } => findings.first().map_or("", |finding| finding.hint),
            Self::Images { .. } => "build and push the images of this bundle again",
            Self::OtherGateway { .. } => "give that gateway, or destroy the deployment there first",
            Self::Packages { .. } => "package this very bundle for Lambda again",
            Self::OtherPlace { .. } => {
                "choose that account and region (AWS_PROFILE, AWS_REGION), or deploy under another name"
            }
            Self::Foreign { .. } => "deploy under another name, or remove it if it is yours",
            Self::Canary { .. } => "promote or abort the canary, or deploy without one",
            Self::NoPrevious { .. } => "deploy the former bundle",
            Self::LambdaSlice { source, .. } | Self::Aws(source) => source.hint(),
            Self::NotRestored { .. } => "deploy the former bundle again",
            Self::Slice { source, .. } | Self::Gateway(source) => source.hint(),
            Self::Describe(error) => error.hint(),
            Self::Document(error) => error.hint(),
            Self::Host(error) => error.hint(),
            Self::Registry(error) => error.hint(),
        }
    }

    /// The exit code of a command that ends with this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Name { .. } | Self::NotFound { .. } | Self::NoStateFolder | Self::NotPrivate { .. } => {
                exit_code::USAGE
            }
            Self::Unsupported { .. } | Self::OtherGateway { .. } | Self::OtherPlace { .. } => {
                exit_code::USAGE
            }
            Self::Canary { .. } | Self::NoPrevious { .. } => exit_code::USAGE,
            Self::Bundle { .. } | Self::Document(_) | Self::Images { .. } | Self::Packages { .. } => {
                exit_code::UNSUPPORTED_MODEL
            }
            Self::Unverified { .. } => exit_code::MISMATCH,
            Self::Registry(error) => error.exit_code(),
            Self::Interrupted { .. } => exit_code::INTERRUPTED,
            _ => exit_code::REMOTE,
        }
    }

    /// The last lines of a function's log, where the error has some.
    #[must_use]
    pub fn log_tail(&self) -> Option<&str> {
        match self {
            Self::Function { log_tail, .. } | Self::NotReady { log_tail, .. } => Some(log_tail),
            Self::NotRestored { cause, .. } => cause.log_tail(),
            _ => None,
        }
    }

    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}

/// The errors among findings, one after the other.
fn list(findings: &[Finding]) -> String {
    let texts: Vec<String> = findings
        .iter()
        .map(|finding| match &finding.function {
            Some(function) => format!("{function}: {}", finding.message),
            None => finding.message.clone(),
        })
        .collect();
    texts.join("; ")
}
