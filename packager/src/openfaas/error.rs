use std::io;
use std::path::{Path, PathBuf};

/// Functions that cannot be described for OpenFaaS.
#[derive(Debug, thiserror::Error)]
pub enum OpenFaasError {
    /// There is no image of a slice.
    #[error("slice `{slice}` has no image")]
    NoImage {
        /// The slice.
        slice: String,
    },
    /// A quantity that Kubernetes does not read.
    #[error("`{text}` is not a quantity of {of}: {reason}")]
    Quantity {
        /// As given.
        text: String,
        /// `memory` or `cpu`.
        of: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// stack.yaml or template.yml could not be written as YAML.
    #[error("cannot write {file} as YAML: {reason}")]
    Yaml {
        /// The file.
        file: &'static str,
        /// Why.
        reason: String,
    },
    /// Something other than a template is in the way.
    #[error("{} exists and was not written by tranche", .0.display())]
    TemplateExists(PathBuf),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl OpenFaasError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoImage { .. } => "build and push the images of this very bundle first",
            Self::Quantity { of: "memory", .. } => {
                "write `512Mi` (2^20 bytes each) or `512M` (10^6 bytes each)"
            }
            Self::Quantity { .. } => "write `500m` for half a processor, `2` for two",
            Self::Yaml { .. } => "this is a bug in tranche; please report it",
            Self::TemplateExists(_) => "give another folder, or remove what is there",
            Self::Io { .. } => "check the path, its permissions and the space left",
        }
    }

    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
