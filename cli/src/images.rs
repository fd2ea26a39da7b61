//! Images on their way to registries.

use std::path::Path;
use tranche_deployer::DeployError;
use tranche_deployer::registry::{Layout, Options, PushEvent, Pushed, Reference, push_layout};
use tranche_schema::Digest;

/// Pushes from a thread of its own, as the caller may be inside of a runtime.
///
/// # Errors
/// When a registry refuses them.
pub fn push(
    folder: &Path,
    names: &[(String, Reference)],
    options: &Options,
    progress: &mut (dyn FnMut(PushEvent) + Send),
) -> Result<Vec<Pushed>, DeployError> {
    let layout = Layout::open(folder)?;
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    std::thread::scope(|scope| {
        let pushing = scope.spawn(|| {
            let runtime = runtime().map_err(|error| DeployError::Images {
                bundle: folder.to_owned(),
                reason: format!("cannot start the push: {error}"),
            })?;
            Ok(runtime.block_on(push_layout(&layout, names, options, progress))?)
        });
        pushing.join().unwrap_or_else(|_| {
            Err(DeployError::Images { bundle: folder.to_owned(), reason: "the push panicked".to_owned() })
        })
    })
}

/// A tag that names the image for people; its digest is what counts.
#[must_use]
pub fn tag(digest: &Digest) -> String {
    format!("sha-{}", digest.short())
}

/// `HOST/PATH@sha256:…`: what a container runtime takes everywhere.
#[must_use]
pub fn pin(reference: &Reference, digest: &Digest) -> String {
    format!("{}/{}@{digest}", reference.host(), reference.repository())
}
