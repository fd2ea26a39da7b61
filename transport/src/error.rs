use tranche_schema::TensorError;

use crate::SharedError;

/// A frame that cannot be written, read or decoded.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The bytes do not begin as a frame does.
    #[error("this is not a tranche frame")]
    NotAFrame,
    /// The frame is of another version.
    #[error("frame version {found}, this tranche reads version 1")]
    Version {
        /// The version found.
        found: u16,
    },
    /// The bytes end before the frame does.
    #[error("the frame ends in the middle of {within}")]
    Truncated {
        /// The field or part that is cut.
        within: &'static str,
    },
    /// A number is beyond what the receiver accepts.
    #[error("{what} is {found}, the limit is {limit}")]
    Limit {
        /// What the number counts, with the tensor where it belongs to one.
        what: String,
        /// The number.
        found: u64,
        /// The bound.
        limit: u64,
    },
    /// A field holds what it must not.
    #[error("{what}: {reason}")]
    Malformed {
        /// The field, with the tensor where it belongs to one.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// The header's bytes are not those that were sent.
    #[error("the frame's header does not match its checksum")]
    HeaderChecksum,
    /// A tensor's bytes are not those that were sent.
    #[error("tensor `{tensor}` does not match its checksum")]
    Checksum {
        /// The tensor.
        tensor: String,
    },
    /// A tensor's bytes cannot be coded or decoded.
    #[error("tensor `{tensor}` as {codec}: {reason}")]
    Codec {
        /// The tensor.
        tensor: String,
        /// Its codec.
        codec: tranche_schema::Codec,
        /// What is wrong.
        reason: String,
    },
    /// A tensor's bytes do not make its type and shape.
    #[error("tensor `{tensor}`: {source}")]
    Tensor {
        /// The tensor.
        tensor: String,
        /// What is wrong.
        source: TensorError,
    },
    /// A tensor lies in a shared folder and the reader has none.
    #[error("tensor `{tensor}` lies in a shared file, and there is no shared folder here")]
    NoSharedFolder {
        /// The tensor.
        tensor: String,
    },
    /// A tensor's shared file cannot be written or read.
    #[error("tensor `{tensor}`: {source}")]
    Shared {
        /// The tensor.
        tensor: String,
        /// Why.
        source: SharedError,
    },
    /// A tensor lies behind an object reference, which this reader does not fetch.
    #[error("tensor `{tensor}` lies at {uri}, which is not fetched here")]
    Object {
        /// The tensor.
        tensor: String,
        /// Where it lies.
        uri: String,
    },
}

impl FrameError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotAFrame => "send a frame as docs/formats/frame.md describes it",
            Self::Version { .. } => "run driver and functions of the same version of tranche",
            Self::Truncated { .. } | Self::HeaderChecksum | Self::Checksum { .. } => {
                "the bytes were damaged or cut on their way; send them again"
            }
            Self::Limit { .. } => "send less in one frame, or raise the receiver's limit",
            Self::Malformed { .. } | Self::Codec { .. } | Self::Tensor { .. } => {
                "the sender made a wrong frame; see docs/formats/frame.md"
            }
            Self::NoSharedFolder { .. } => {
                "give both functions the same `--shared-folder`, or plan the edge with the inline channel"
            }
            Self::Shared { source, .. } => source.hint(),
            Self::Object { .. } => "plan the edge with a channel that this target has",
        }
    }

    pub(crate) fn malformed(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Malformed { what: what.into(), reason: reason.into() }
    }
}
