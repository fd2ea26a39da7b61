use super::CredentialSource;
use std::path::PathBuf;
use std::time::Duration;
use tranche_schema::{ByteCount, Digest};

/// How to talk to registries.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who one is to them.
    pub credentials: CredentialSource,
    /// Plain HTTP instead of HTTPS. Refused for every host but this machine.
    pub insecure: bool,
    /// Certificates (PEM) trusted beside the machine's own.
    pub certificate_authority: Option<PathBuf>,
    /// How long the whole call may take.
    pub deadline: Duration,
    /// How long a registry may be silent: neither answering nor taking bytes.
    pub answer_timeout: Duration,
    /// How often a request is made before its failure counts, at least once. An
    /// upload that got further begins to count anew.
    pub attempts: u32,
    /// Pause before the second try; each further one is twice as long.
    pub pause: Duration,
    /// Longest pause, also where a registry asks for a longer one.
    pub longest_pause: Duration,
    /// How many blobs are looked for or sent at a time.
    pub parallel: usize,
    /// Blobs larger than this go up in parts of this size; in one part if `None`,
    /// which every registry takes.
    pub part: Option<ByteCount>,
}

impl Options {
    /// HTTPS, half an hour for everything, a minute of silence, five tries, four
    /// blobs at a time, each in one part.
    #[must_use]
    pub fn new(credentials: CredentialSource) -> Self {
        Self {
            credentials,
            insecure: false,
            certificate_authority: None,
            deadline: Duration::from_secs(30 * 60),
            answer_timeout: Duration::from_secs(60),
            attempts: 5,
            pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(30),
            parallel: 4,
            part: None,
        }
    }
}

/// How far a push is. Repositories are written with their registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushEvent {
    /// A blob is there already.
    Present {
        /// Where.
        repository: String,
        /// Which.
        digest: Digest,
        /// Its size.
        bytes: ByteCount,
    },
    /// A blob was taken from another repository of the same registry.
    Mounted {
        /// Where.
        repository: String,
        /// From where.
        from: String,
        /// Which.
        digest: Digest,
        /// Its size.
        bytes: ByteCount,
    },
    /// A blob is on its way. After a broken connection `sent` may fall.
    Uploading {
        /// Where.
        repository: String,
        /// Which.
        digest: Digest,
        /// How much of it was sent.
        sent: ByteCount,
        /// Its size.
        bytes: ByteCount,
    },
    /// A blob arrived.
    Uploaded {
        /// Where.
        repository: String,
        /// Which.
        digest: Digest,
        /// Its size.
        bytes: ByteCount,
    },
    /// An image is whole in its registry.
    Image {
        /// The image.
        reference: String,
        /// Digest of its manifest.
        digest: Digest,
        /// Whether it was there before.
        present: bool,
    },
    /// Something failed and is tried again.
    Retrying {
        /// The request.
        request: String,
        /// What went wrong.
        reason: String,
        /// How long is waited first.
        pause: Duration,
    },
}
