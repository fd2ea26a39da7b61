//! Packages for AWS Lambda: zip files, layers and images of a bundle's slices, how their
//! functions are described, what Lambda would refuse, and documents for those who deploy
//! themselves.
//!
//! ```text
//! packages/
//!   lambda.json                 what is here and why (`LambdaIndex`)
//!   slice-0.zip                 one zip file a slice that goes as one
//!   layers/<name>.zip           what zip files share, where a layer was asked for
//!   images/                     an OCI image layout of the slices that go as images
//!   entry/bootstrap.zip         the function that walks whole requests, where there is one
//!   sbom.cdx.json               what is packed in the zip files
//! ```
//!
//! docs/formats/lambda-packages.md is the contract. Equal inputs give byte-identical folders.

mod archive;
mod asl;
mod choice;
mod describe;
mod entry;
mod error;
pub mod limits;
mod name;
mod packages;
pub mod policies;
mod preflight;
mod runtime;
mod sam;

pub use asl::{AslOptions, asl};
pub use describe::{FunctionDescription, LambdaOptions, Memory, describe_entry, describe_functions};
pub use entry::{EntryRequest, add_entry};
pub use error::LambdaError;
pub use name::{function_name, tag_value};
pub use packages::{IMAGES_FOLDER, LambdaRequest, build_packages};
pub use preflight::{Account, Finding, Severity, Surroundings, preflight};
pub use sam::{SamOptions, sam};

use crate::elf::Architecture;

/// The alias that callers use.
pub const ALIAS: &str = "live";

/// Tags by which tranche finds its functions again.
pub mod tags {
    /// The deployment's name.
    pub const DEPLOYMENT: &str = "tranche:deployment";
    /// The slice.
    pub const SLICE: &str = "tranche:slice";
    /// Digest of the plan.
    pub const PLAN: &str = "tranche:plan";
    /// Digest of the package.
    pub const DIGEST: &str = "tranche:digest";
    /// Version of tranche that packaged the bundle.
    pub const VERSION: &str = "tranche:version";
}

/// An architecture as Lambda spells it.
#[must_use]
pub fn architecture_name(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Amd64 => "x86_64",
        Architecture::Arm64 => "arm64",
    }
}
