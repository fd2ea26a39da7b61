use std::io;
use std::path::{Path, PathBuf};
use tranche_host::HostError;

/// Something the double could not do.
#[derive(Debug, thiserror::Error)]
pub enum DoubleError {
    /// The gateway's address could not be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// An image's name cannot be read, or names a registry that is not on loopback.
    #[error("image `{image}`: {reason}")]
    Reference {
        /// The image.
        image: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A registry did not give what was asked for.
    #[error("GET {url}: {reason}")]
    Registry {
        /// The address.
        url: String,
        /// What happened.
        reason: String,
    },
    /// A manifest, config or layer is not what its digest says.
    #[error("{what} has digest {found}, not {expected}")]
    Digest {
        /// What was checked.
        what: String,
        /// The digest asked for.
        expected: String,
        /// The digest of what came.
        found: String,
    },
    /// An image cannot be unpacked or run.
    #[error("image {digest}: {reason}")]
    Image {
        /// Its manifest's digest.
        digest: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An entry of a layer cannot be unpacked.
    #[error("layer {digest}: `{path}`: {reason}")]
    Layer {
        /// The layer.
        digest: String,
        /// The entry.
        path: String,
        /// Why.
        reason: String,
    },
    /// A memory limit was asked for and this machine does not set one.
    #[error("the memory of `{function}` is not limited: {reason}")]
    Limit {
        /// The function.
        function: String,
        /// Why.
        reason: String,
    },
    /// There is no function of that name.
    #[error("there is no function `{function}`")]
    NoFunction {
        /// The name.
        function: String,
    },
    /// A process could not be started, placed or stopped.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// `read`, `write`, ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DoubleError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Listen { .. } => "choose another address, port 0 for any that is free",
            Self::Reference { .. } => {
                "write HOST:PORT/NAME:TAG or HOST:PORT/NAME@sha256:..., with a host on loopback"
            }
            Self::Registry { .. } => "check that the registry runs and that the image was pushed to it",
            Self::Digest { .. } => "the registry or the cache is damaged: push the image again",
            Self::Image { .. } => "build the image again, for this machine's architecture",
            Self::Layer { .. } => "layers may hold files, folders and links inside their root folder only",
            Self::Limit { .. } => "run as root, where control groups limit memory",
            Self::NoFunction { .. } => "deploy it first; GET /system/functions lists what is there",
            Self::Host(error) => error.hint(),
            Self::File { .. } => "images are unpacked and run as root, in a folder that allows programs",
        }
    }

    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}
