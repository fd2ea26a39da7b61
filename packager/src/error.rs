use crate::elf::ElfError;
use crate::image::ImageError;
use crate::lambda::LambdaError;
use std::io;
use std::path::{Path, PathBuf};
use tranche_graph::GraphError;
use tranche_schema::{Digest, DocumentError};

/// A bundle that cannot be made or is not whole.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The plan was made for another model.
    #[error("the plan is of model {}, but the model given is {}", planned.short(), given.short())]
    StalePlan {
        /// Digest in the plan.
        planned: Digest,
        /// Digest of the model given.
        given: Digest,
    },
    /// The bundle would not be the one that was asked for.
    #[error("the bundle would be {}, but {} is expected", found.short(), expected.short())]
    OtherBundle {
        /// Digest of the manifest that was asked for.
        expected: Digest,
        /// Digest of the manifest that the plan gives.
        found: Digest,
    },
    /// The plan breaks a rule: a node unknown, missing or twice; a slice name
    /// that is no file name.
    #[error("the plan does not fit the model: {0}")]
    InvalidPlan(String),
    /// A slice cut out of the model reads or writes other tensors than the plan says.
    #[error(
        "slice `{slice}`: the plan says that it {verb} {planned}, cut out of the model it {verb} {found}"
    )]
    Border {
        /// The slice.
        slice: String,
        /// `reads` or `writes`.
        verb: &'static str,
        /// Names in the plan.
        planned: String,
        /// Names found.
        found: String,
    },
    /// A slice could not be cut out or written.
    #[error("slice `{slice}`: {source}")]
    Slice {
        /// The slice.
        slice: String,
        /// Why.
        source: GraphError,
    },
    /// The model could not be read.
    #[error(transparent)]
    Model(#[from] GraphError),
    /// The output is there and is of another kind.
    #[error("{} exists and was not made by this command", .0.display())]
    OutputExists(PathBuf),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A document of the bundle could not be read or written.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A file is not the one that was packaged.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: String,
    },
    /// A program or a library cannot be packed.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// Images cannot be made of the bundle.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Packages for AWS Lambda cannot be made of the bundle.
    #[error(transparent)]
    Lambda(#[from] LambdaError),
    /// The manifest contradicts itself or names files outside of the bundle.
    #[error("{}: {what}", path.display())]
    InvalidManifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

impl PackageError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::StalePlan { .. } => {
                "give the model that was planned, or profile and partition this one again"
            }
            Self::OtherBundle { .. } => "give the plan and the version of tranche that it was made with",
            Self::InvalidPlan(_) | Self::Border { .. } => "make the plan again with `tranche partition`",
            Self::Slice { source, .. } | Self::Model(source) => source.hint(),
            Self::OutputExists(_) => "give another --output, or remove what is there",
            Self::Io { .. } => "check the path, its permissions and the space left",
            Self::Document(error) => error.hint(),
            Self::Elf(error) => error.hint(),
            Self::Image(error) => error.hint(),
            Self::Lambda(error) => error.hint(),
            Self::Damaged { .. } | Self::InvalidManifest { .. } => {
                "package the model again with `tranche package`"
            }
        }
    }
}
