//! The AWS Lambda target: each slice is a function, called through an alias.
//!
//! ```text
//! state/lambda/NAME/deployment.json   what serves now
//! state/lambda/NAME/record.json       what was made for it, what served before, a canary
//! ```
//!
//! A deploy looks at each function's version behind the alias, changes what differs,
//! publishes a version, invokes it with a ping, and leads the aliases to the new versions at
//! the end; what ran before serves until then and is kept for a rollback. What tells a
//! deployment's functions from all others is their tag: a function of the same name without
//! it is never touched. Deploying again after any interruption goes on from what is there.
//!
//! The SDK of AWS is used here alone.

mod alias;
mod bucket;
mod calls;
mod configuration;
mod desired;
mod diff;
mod doctor;
mod ecr;
mod error;
mod function;
mod layers;
mod logs;
mod machine;
mod remove;
mod retire;
mod role;
mod rollout;
mod serve;
mod session;
mod settings;
mod state;
mod status;
mod target;
mod things;
mod undo;

pub use bucket::{own_name as own_bucket, store as store_in};
pub use doctor::Check;
pub use ecr::EcrLogin;
pub use error::AwsError;
pub use session::{AwsConnection, AwsCredentials, AwsSession, AwsTimeouts, Identity};
pub use settings::{
    Bucket, Entry, EntryPackage, LambdaSettings, Role, RoleDocuments, StateMachine, StateMachineDefinition,
};
pub use target::LambdaTarget;
