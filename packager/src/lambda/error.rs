use crate::elf::GlibcVersion;
use std::path::PathBuf;
use tranche_schema::LambdaPackageKind;

/// Packages that cannot be made, or functions that cannot be described, for AWS Lambda.
#[derive(Debug, thiserror::Error)]
pub enum LambdaError {
    /// A program or a library needs a newer C library than Amazon Linux 2023 has.
    #[error("{} needs GLIBC {needs}; {} has {has}", path.display(), super::limits::RUNTIME)]
    Glibc {
        /// The file.
        path: PathBuf,
        /// What it needs.
        needs: GlibcVersion,
        /// What there is.
        has: GlibcVersion,
    },
    /// The package that was asked for is beyond a limit.
    #[error("slice `{slice}` cannot go as {kind}: {reason}")]
    Impossible {
        /// The slice.
        slice: String,
        /// What was asked for.
        kind: LambdaPackageKind,
        /// Which limit, and by how much.
        reason: String,
    },
    /// Not even an image holds it.
    #[error("slice `{slice}` fits no package: {reason}")]
    TooLarge {
        /// The slice.
        slice: String,
        /// Which limit, and by how much.
        reason: String,
    },
    /// The packages are of another bundle.
    #[error("there is no package of slice `{slice}`")]
    NoPackage {
        /// The slice.
        slice: String,
    },
    /// The zip file could not be written.
    #[error("{}: {reason}", path.display())]
    Zip {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A slice has no function that a state machine could call.
    #[error("the state machine knows no function of slice `{slice}`")]
    NoFunction {
        /// The slice.
        slice: String,
    },
    /// The entry's program is for another machine than the packages.
    #[error("{} is for {found}, but the packages are for {expected}", program.display())]
    OtherArchitecture {
        /// The program.
        program: PathBuf,
        /// Its architecture, as Lambda spells it.
        found: String,
        /// The packages'.
        expected: String,
    },
    /// A document has no JSON or YAML form.
    #[error("cannot write {document}: {reason}")]
    Encode {
        /// Which.
        document: &'static str,
        /// Why.
        reason: String,
    },
}

impl LambdaError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Glibc { .. } => {
                "build the shim against an older C library (`cargo xtask shim` with cargo-zigbuild does), name a folder with older libraries, or send an image, which carries its own C library"
            }
            Self::Impossible { .. } => "leave the choice to tranche, or plan more slices",
            Self::TooLarge { .. } => "plan more slices (`tranche partition --min-slices N`)",
            Self::NoPackage { .. } => "package this very bundle for Lambda first",
            Self::Zip { .. } => "check the path, its permissions and the space left",
            Self::NoFunction { .. } => "deploy every slice of the plan, or give the function of each",
            Self::OtherArchitecture { .. } => {
                "give an entry program that was built for the same architecture as the shim"
            }
            Self::Encode { .. } => "this is a bug in tranche; please report it",
        }
    }
}
