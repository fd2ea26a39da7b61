//! Targets: where a bundle becomes running functions.
//!
//! [`Target`] is what every platform offers; [`local::LocalTarget`] runs each
//! function as a limited process of this machine,
//! [`openfaas::OpenFaasTarget`] as a function behind an OpenFaaS gateway,
//! [`lambda::LambdaTarget`] as a function on AWS Lambda.
//! [`registry`] brings images to where other platforms fetch them.

mod bundle;
mod change;
mod error;
pub mod lambda;
pub mod local;
mod lock;
pub mod openfaas;
pub mod registry;
mod target;

pub use bundle::{Bundle, BundleChecks};
pub use change::{Change, ChangeKind, ChangeSet};
pub use error::DeployError;
pub use target::{
    DeployEvent, DeployOptions, DeployRequest, DeploymentPhase, DeploymentStatus, Destroyed, FunctionLog,
    FunctionState, FunctionStatus, LastExit, LogQuery, Replicas, Target,
};
