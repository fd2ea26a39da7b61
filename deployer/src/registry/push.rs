//! A push of images: every blob once, then the manifests.

use super::auth::Scopes;
use super::client::Registry;
use super::layout::{Blob, Layout, LayoutImage};
use super::retry::Operation;
use super::upload::{Mount, Upload};
use super::{Options, PushEvent, Reference, RegistryError};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::mpsc::unbounded_channel;
use tranche_schema::{ByteCount, Digest};

/// An image that is in its registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Its name in the layout.
    pub name: String,
    /// Where it is.
    pub reference: Reference,
    /// Digest of its manifest, as the registry has confirmed.
    pub digest: Digest,
    /// Bytes of blobs and manifest that were sent, retries not counted. A blob
    /// that several images share counts for the first of them.
    pub uploaded_bytes: ByteCount,
    /// Bytes that the repository had already, or got for another image of this push.
    pub skipped_bytes: ByteCount,
    /// Bytes of blobs that the registry took from another repository.
    pub mounted_bytes: ByteCount,
}

/// How a blob came into a repository.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Arrival {
    Present,
    Mounted,
    Uploaded,
}

/// A blob and the repositories of one registry that need it.
struct Delivery<'a> {
    registry: &'a Registry,
    blob: &'a Blob,
    repositories: Vec<&'a str>,
}

/// One blob in one repository of one registry.
type Place<'a> = (&'a str, &'a str, &'a Digest);

/// Puts images of a layout into registries: `names` says under which reference
/// each (by its name in index.json) goes. Looks first what is there; what is
/// missing is taken from another repository of this push if the registry does
/// that, and sent otherwise. Nothing is sent before every blob that has to be
/// was compared with its digest. Manifests go last, so that an image that can be
/// named is whole; nothing is removed when a push fails, and pushing again sends
/// what is missing.
///
/// # Errors
/// When the layout is damaged or has no such image, a reference has another
/// digest than the image, or a registry refuses, answers against the
/// specification, fails for longer than [`Options`] allow, or keeps something else.
pub async fn push_layout(
    layout: &Layout,
    names: &[(String, Reference)],
    options: &Options,
    mut progress: impl FnMut(PushEvent),
) -> Result<Vec<Pushed>, RegistryError> {
    let (sender, mut events) = unbounded_channel();
    let operation = Operation::new(options, Some(sender));
    let limit = operation.clone();
    let mut work = std::pin::pin!(push(layout, names, options, operation));
    let result = loop {
        tokio::select! {
            biased;
            Some(event) = events.recv() => progress(event),
            result = &mut work => break result,
        }
    };
    while let Ok(event) = events.try_recv() {
        progress(event);
    }
    result.map_err(|error| limit.finish(error))
}

async fn push(
    layout: &Layout,
    names: &[(String, Reference)],
    options: &Options,
    operation: Operation,
) -> Result<Vec<Pushed>, RegistryError> {
    let images = chosen(layout, names)?;
    let mut registries: BTreeMap<&str, Registry> = BTreeMap::new();
    for (_, reference) in &images {
        if !registries.contains_key(reference.host()) {
            registries.insert(reference.host(), Registry::of(reference, options).await?);
        }
    }
    let deliveries = deliveries(&images, &registries);
    let parallel = options.parallel.max(1);
    let present: Vec<BTreeSet<&str>> =
        stream::iter(deliveries.iter().map(|delivery| delivery.look(&operation)))
            .buffered(parallel)
            .try_collect()
            .await?;
    let wanting = deliveries.iter().zip(&present);
    let missing = wanting.filter(|(delivery, present)| present.len() < delivery.repositories.len());
    check_blobs(layout, missing.map(|(delivery, _)| &delivery.blob.digest).collect()).await?;
    let work =
        deliveries.iter().zip(present).map(|(delivery, present)| delivery.run(layout, present, &operation));
    let arrivals: Vec<Vec<(Place<'_>, Arrival)>> =
        stream::iter(work).buffer_unordered(parallel).try_collect().await?;
    let mut arrivals: BTreeMap<Place<'_>, Arrival> = arrivals.into_iter().flatten().collect();
    let manifests = images.iter().filter_map(|(image, reference)| {
        Some(put_image(registries.get(reference.host())?, image, reference, &operation))
    });
    let put: Vec<bool> = stream::iter(manifests).buffered(parallel).try_collect().await?;
    let images = names.iter().zip(images).zip(put);
    Ok(images
        .map(|(((name, _), (image, reference)), put)| account(name, image, reference, put, &mut arrivals))
        .collect())
}

fn chosen<'a>(
    layout: &'a Layout,
    names: &'a [(String, Reference)],
) -> Result<Vec<(&'a LayoutImage, &'a Reference)>, RegistryError> {
    let choose = |(name, reference): &'a (String, Reference)| {
        let image = layout.image_named(name)?;
        match reference.digest() {
            Some(digest) if *digest != image.digest => Err(RegistryError::WrongDigest {
                reference: format!("image `{name}`"),
                expected: image.digest.clone(),
                found: format!("{digest} in the name `{reference}`"),
            }),
            _ => Ok((image, reference)),
        }
    };
    names.iter().map(choose).collect()
}

fn deliveries<'a>(
    images: &[(&'a LayoutImage, &'a Reference)],
    registries: &'a BTreeMap<&str, Registry>,
) -> Vec<Delivery<'a>> {
    let mut deliveries: Vec<Delivery<'a>> = Vec::new();
    let mut known: BTreeMap<(&str, &Digest), usize> = BTreeMap::new();
    for (image, reference) in images {
        let Some(registry) = registries.get(reference.host()) else { continue };
        for blob in &image.blobs {
            let index = *known.entry((reference.host(), &blob.digest)).or_insert_with(|| {
                deliveries.push(Delivery { registry, blob, repositories: Vec::new() });
                deliveries.len() - 1
            });
            let repositories = &mut deliveries[index].repositories;
            if !repositories.contains(&reference.repository()) {
                repositories.push(reference.repository());
            }
        }
    }
    deliveries
}

/// Reads through what may be sent.
async fn check_blobs(layout: &Layout, digests: BTreeSet<&Digest>) -> Result<(), RegistryError> {
    let layout = layout.clone();
    let digests: Vec<Digest> = digests.into_iter().cloned().collect();
    let check = move || digests.iter().try_for_each(|digest| layout.check_blob(digest));
    match tokio::task::spawn_blocking(check).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

impl<'a> Delivery<'a> {
    /// Which repositories have it.
    async fn look(&self, operation: &Operation) -> Result<BTreeSet<&'a str>, RegistryError> {
        let mut present = BTreeSet::new();
        for repository in &self.repositories {
            if self.registry.has_blob(repository, self.blob, operation).await? {
                present.insert(*repository);
            }
        }
        Ok(present)
    }

    /// Brings it into all of them: sent once, mounted from there.
    async fn run(
        &self,
        layout: &Layout,
        present: BTreeSet<&'a str>,
        operation: &Operation,
    ) -> Result<Vec<(Place<'a>, Arrival)>, RegistryError> {
        let mut source = self.repositories.iter().copied().find(|repository| present.contains(repository));
        let mut arrivals = Vec::new();
        for repository in self.repositories.iter().copied() {
            let arrival = match present.contains(repository) {
                true => Arrival::Present,
                false => self.bring(layout, repository, source, operation).await?,
            };
            self.tell(repository, source, arrival, operation);
            source = source.or(Some(repository));
            arrivals.push(((self.registry.host.as_str(), repository, &self.blob.digest), arrival));
        }
        Ok(arrivals)
    }

    async fn bring(
        &self,
        layout: &Layout,
        repository: &str,
        source: Option<&str>,
        operation: &Operation,
    ) -> Result<Arrival, RegistryError> {
        let start = match source {
            Some(from) => match self.registry.mount_blob(repository, from, self.blob, operation).await? {
                Mount::Mounted => return Ok(Arrival::Mounted),
                Mount::Upload(start) => start,
            },
            None => None,
        };
        let path = &layout.blob_path(&self.blob.digest);
        let upload = Upload { registry: self.registry, repository, blob: self.blob, path, operation };
        upload.run(start).await?;
        Ok(Arrival::Uploaded)
    }

    fn tell(&self, repository: &str, source: Option<&str>, arrival: Arrival, operation: &Operation) {
        let printed = |repository: &str| format!("{}/{repository}", self.registry.host);
        let (digest, bytes, repository) = (self.blob.digest.clone(), self.blob.bytes, printed(repository));
        operation.tell(match arrival {
            Arrival::Present => PushEvent::Present { repository, digest, bytes },
            Arrival::Uploaded => PushEvent::Uploaded { repository, digest, bytes },
            Arrival::Mounted => {
                PushEvent::Mounted { repository, from: printed(source.unwrap_or_default()), digest, bytes }
            }
        });
    }
}

/// Whether the manifest had to be sent.
async fn put_image(
    registry: &Registry,
    image: &LayoutImage,
    reference: &Reference,
    operation: &Operation,
) -> Result<bool, RegistryError> {
    // A tag is what others pull by; the digest was compared already.
    let named = match reference.tag() {
        Some(tag) => reference.with_tag(tag)?,
        None => reference.clone(),
    };
    let scopes = Scopes::push(reference.repository());
    let found = registry.manifest(&named, &scopes, operation).await?;
    let present = found.is_some_and(|found| found.digest == image.digest);
    if !present {
        registry.put_manifest(&named, image, operation).await?;
    }
    let (reference, digest) = (reference.to_string(), image.digest.clone());
    operation.tell(PushEvent::Image { reference, digest, present });
    Ok(!present)
}

/// Each arrival counts once: afterwards the blob was there already.
fn account<'a>(
    name: &str,
    image: &'a LayoutImage,
    reference: &'a Reference,
    put: bool,
    arrivals: &mut BTreeMap<Place<'a>, Arrival>,
) -> Pushed {
    let (mut uploaded, mut skipped, mut mounted) = (0, 0, 0);
    let manifest = image.manifest.len() as u64;
    *(if put { &mut uploaded } else { &mut skipped }) += manifest;
    for blob in &image.blobs {
        let place = (reference.host(), reference.repository(), &blob.digest);
        let total = match arrivals.insert(place, Arrival::Present) {
            Some(Arrival::Uploaded) => &mut uploaded,
            Some(Arrival::Mounted) => &mut mounted,
            _ => &mut skipped,
        };
        *total += blob.bytes.0;
    }
    Pushed {
        name: name.to_owned(),
        reference: reference.clone(),
        digest: image.digest.clone(),
        uploaded_bytes: ByteCount(uploaded),
        skipped_bytes: ByteCount(skipped),
        mounted_bytes: ByteCount(mounted),
    }
}
