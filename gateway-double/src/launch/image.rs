use super::jail::Jail;
use super::reference::Reference;
use super::registry::{Manifest, Registry, architecture, image_error, parse, read};
use super::unpack::{Layer, unpack};
use super::{Launcher, Pending, Prepared, Program, Start, root};
use crate::DoubleError;
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

/// Pulls images from registries on loopback and runs them in root folders of their own.
#[derive(Debug)]
pub struct ImageLauncher {
    registry: Registry,
    /// Unpacked images by digest.
    roots: PathBuf,
    /// Root folders of replicas.
    replicas: PathBuf,
    /// Removed with the launcher when it is not the caller's.
    _temporary: Option<TempDir>,
    /// One image is unpacked at a time, so that none is unpacked twice.
    unpacking: tokio::sync::Mutex<()>,
}

/// The config of an image, as far as it is used.
#[derive(Debug, Deserialize)]
struct ImageConfig {
    architecture: String,
    #[serde(default)]
    config: RunConfig,
    rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RunConfig {
    user: String,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: String,
}

impl ImageLauncher {
    /// Keeps blobs and unpacked images in `cache`, or in a temporary folder.
    ///
    /// # Errors
    /// When folders cannot be made.
    pub fn new(cache: Option<&Path>) -> Result<Self, DoubleError> {
        let (folder, temporary) = match cache {
            Some(folder) => (folder.to_owned(), None),
            None => {
                let made = TempDir::with_prefix("gateway-double-")
                    .map_err(DoubleError::file("make", &std::env::temp_dir()))?;
                (made.path().to_owned(), Some(made))
            }
        };
        let below = |name: &str| {
            let path = folder.join(name);
            fs::create_dir_all(&path).map_err(DoubleError::file("make", &path)).map(|()| path)
        };
        Ok(Self {
            registry: Registry::new(below("blobs")?),
            roots: below("roots")?,
            replicas: below("replicas")?,
            _temporary: temporary,
            unpacking: tokio::sync::Mutex::new(()),
        })
    }

    async fn pull(&self, image: &str) -> Result<Arc<dyn Program>, DoubleError> {
        let reference = Reference::parse(image)?;
        let (digest, manifest) = self.registry.pull(&reference).await?;
        let config: ImageConfig =
            parse(&manifest.config.digest, &read(&self.registry.blob(&manifest.config.digest))?)?;
        if config.architecture != architecture() {
            return Err(image_error(&digest, format!("it is for {}", config.architecture)));
        }
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            return Err(image_error(
                &digest,
                "config and manifest differ in the number of layers".to_owned(),
            ));
        }
        let words: Vec<String> = [config.config.entrypoint.clone(), config.config.cmd.clone()]
            .into_iter()
            .flatten()
            .flatten()
            .collect();
        if words.is_empty() {
            return Err(image_error(&digest, "it has neither Entrypoint nor Cmd".to_owned()));
        }
        let root = self.unpacked(&digest, &manifest, &config).await?;
        let replicas = self.replicas.clone();
        Ok(Arc::new(ImageProgram { digest, root, replicas, words, config: config.config }))
    }

    /// The image's root folder: unpacked beside its place, then renamed.
    async fn unpacked(
        &self,
        digest: &str,
        manifest: &Manifest,
        config: &ImageConfig,
    ) -> Result<PathBuf, DoubleError> {
        let _one_at_a_time = self.unpacking.lock().await;
        let place = self.roots.join(digest.replace(':', "-"));
        if place.exists() {
            return Ok(place);
        }
        let layers: Vec<(PathBuf, [String; 3])> = manifest
            .layers
            .iter()
            .zip(&config.rootfs.diff_ids)
            .map(|(layer, diff_id)| {
                let texts = [layer.digest.clone(), layer.media_type.clone(), diff_id.clone()];
                (self.registry.blob(&layer.digest), texts)
            })
            .collect();
        let (roots, target) = (self.roots.clone(), place.clone());
        let work = move || {
            let folder =
                TempDir::with_prefix_in("unpacking-", &roots).map_err(DoubleError::file("make", &roots))?;
            let inner = folder.path().join("root");
            fs::create_dir(&inner).map_err(DoubleError::file("make", &inner))?;
            for (blob, [digest, media_type, diff_id]) in &layers {
                unpack(blob, &Layer { digest, media_type, diff_id }, &inner)?;
            }
            fs::rename(&inner, &target).map_err(DoubleError::file("make", &target))
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result.map(|()| place),
            Err(error) => Err(image_error(digest, format!("unpacking stopped: {error}"))),
        }
    }
}

impl Launcher for ImageLauncher {
    fn pull<'a>(&'a self, image: &'a str) -> Pending<'a, Result<Arc<dyn Program>, DoubleError>> {
        Box::pin(Self::pull(self, image))
    }
}

/// An unpacked image.
struct ImageProgram {
    digest: String,
    root: PathBuf,
    replicas: PathBuf,
    words: Vec<String>,
    config: RunConfig,
}

impl Program for ImageProgram {
    fn prepare(&self, start: &Start) -> Result<Prepared, DoubleError> {
        let folder = TempDir::with_prefix_in("replica-", &self.replicas)
            .map_err(DoubleError::file("make", &self.replicas))?;
        let root = folder.path().join("root");
        root::copy(&self.root, &root)?;
        root::furnish(&root, &start.secrets)?;
        let (program, arguments) = self.words.split_first().map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
        let mut command = Command::new(program);
        command.args(arguments).env_clear();
        // What container engines set where the image does not.
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs(self.config.env.iter().flatten().filter_map(|one| one.split_once('=')));
        command.envs(&start.environment);
        start.set_address(&mut command);
        let user = match start.user {
            Some(user) => user,
            None => user(&self.config.user, &root)
                .ok_or_else(|| image_error(&self.digest, format!("it has no user `{}`", self.config.user)))?,
        };
        let working = if self.config.working_dir.is_empty() { "/" } else { &self.config.working_dir };
        Jail { root: &root, folder: working, user, read_only: start.read_only }.apply(&mut command)?;
        Ok(Prepared { command, folder: Some(folder) })
    }
}

/// `USER[:GROUP]` as numbers: each a number, or a name of the image's passwd and group.
fn user(text: &str, root: &Path) -> Option<(u32, u32)> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let file = |name: &str| fs::read_to_string(root.join("etc").join(name)).unwrap_or_default();
    let field = |line: &str, index: usize| line.split(':').nth(index).map(str::to_owned);
    let passwd = file("passwd");
    let entry = passwd
        .lines()
        .find(|line| field(line, 0).as_deref() == Some(user) || field(line, 2).as_deref() == Some(user));
    let number = |line: &str, index: usize| field(line, index)?.parse().ok();
    let user_id = match (user, entry) {
        ("", _) => 0,
        (_, Some(line)) => number(line, 2)?,
        (text, None) => text.parse().ok()?,
    };
    let group_id = match group {
        None => entry.and_then(|line| number(line, 3)).unwrap_or(0),
        Some(text) => match text.parse() {
            Ok(id) => id,
            Err(_) => {
                let groups = file("group");
                let line = groups.lines().find(|line| field(line, 0).as_deref() == Some(text))?;
                number(line, 2)?
            }
        },
    };
    Some((user_id, group_id))
}
