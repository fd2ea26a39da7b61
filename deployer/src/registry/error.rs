use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tranche_schema::{Digest, exit_code};

/// An image that could not be read, pushed or found.
///
/// URLs in messages have no query: registries put tokens there.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Text that is no image's name.
    #[error("`{text}` is no image's name: {reason}")]
    Reference {
        /// The text.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// An image layout that is damaged or not understood.
    #[error("image layout {}: {reason}", folder.display())]
    Layout {
        /// Its folder.
        folder: PathBuf,
        /// What is wrong, with the blob.
        reason: String,
    },
    /// A file.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// `read`, ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Docker's configuration, or a credential program.
    #[error("credentials for {host}: {reason}")]
    Credentials {
        /// The registry.
        host: String,
        /// What is wrong; never the credentials.
        reason: String,
    },
    /// Plain HTTP to another machine.
    #[error("{host} is not this machine: images and passwords are not sent to it over plain HTTP")]
    PlainHttp {
        /// The host.
        host: String,
    },
    /// No encrypted connection.
    #[error("no TLS connection to {host}: {reason}")]
    Tls {
        /// The registry.
        host: String,
        /// Why.
        reason: String,
    },
    /// No connection, or one that broke more often than is tried.
    #[error("{method} {url}: {reason}")]
    Connection {
        /// The request's method.
        method: String,
        /// The request's URL.
        url: String,
        /// Why, and how often it was tried.
        reason: String,
    },
    /// The registry takes no one, or not this one.
    #[error("{method} {url}: {reason}")]
    Unauthorized {
        /// The request's method.
        method: String,
        /// The request's URL.
        url: String,
        /// Whether credentials were sent, and what the registry says.
        reason: String,
    },
    /// An answer that refuses the request.
    #[error("{method} {url} answered {status}: {reason}")]
    Refused {
        /// The request's method.
        method: String,
        /// The request's URL.
        url: String,
        /// HTTP status.
        status: u16,
        /// What the registry says.
        reason: String,
    },
    /// An answer that breaks the specification.
    #[error("{method} {url}: {reason}")]
    Answer {
        /// The request's method.
        method: String,
        /// The request's URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The registry says that it holds something else.
    #[error("{reference} is {found} in the registry, and {expected} here")]
    WrongDigest {
        /// The image or blob.
        reference: String,
        /// As computed here.
        expected: Digest,
        /// As answered.
        found: String,
    },
    /// Time is over.
    #[error("{what} did not end within {limit:?}")]
    Deadline {
        /// The request.
        what: String,
        /// The limit that was passed.
        limit: Duration,
    },
}

impl RegistryError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Reference { .. } => {
                "write it as `registry.example.org/team/model:tag`; paths have no upper-case letters"
            }
            Self::Layout { .. } => "make the images again",
            Self::File { .. } => "check the path, its permissions and the space left",
            Self::Credentials { .. } => {
                "log in again with `docker login`, or set TRANCHE_REGISTRY_USERNAME and \
                 TRANCHE_REGISTRY_PASSWORD"
            }
            Self::PlainHttp { .. } => {
                "give the registry a certificate; plain HTTP is only for a registry at localhost or 127.0.0.1"
            }
            Self::Tls { .. } => {
                "name the certificate authority that signed its certificate; a registry on this machine that \
                 speaks plain HTTP has to be declared insecure"
            }
            Self::Connection { .. } => "check that the registry runs and that this machine reaches it",
            Self::Unauthorized { .. } => {
                "log in with `docker login`, or set TRANCHE_REGISTRY_USERNAME and TRANCHE_REGISTRY_PASSWORD to \
                 an account that may push there"
            }
            Self::Refused { status: 404, .. } => {
                "check the name; some registries want a repository made first"
            }
            Self::Refused { status: 413, .. } => {
                "the registry, or a proxy before it, limits the size of uploads"
            }
            Self::Refused { status: 429 | 500.., .. } => {
                "the registry is overloaded or broken: try again later"
            }
            Self::Refused { .. } => "the registry's own message says why; its log may say more",
            Self::Answer { .. } => "check that this is an OCI registry and not a page of something else",
            Self::WrongDigest { .. } => {
                "something changes images on their way: a proxy, or a broken registry"
            }
            Self::Deadline { .. } => {
                "try again: what is already uploaded is not sent twice; or allow more time"
            }
        }
    }

    /// The exit code of a command that ends with this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Reference { .. } | Self::PlainHttp { .. } | Self::Credentials { .. } => exit_code::USAGE,
            Self::Layout { .. } => exit_code::UNSUPPORTED_MODEL,
            _ => exit_code::REMOTE,
        }
    }

    pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}
