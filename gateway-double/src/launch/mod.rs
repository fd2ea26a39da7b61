//! What runs functions: images, or plain commands.

mod command;
mod image;
mod jail;
mod reference;
mod registry;
mod root;
mod unpack;

pub use command::CommandLauncher;
pub use image::ImageLauncher;

use crate::DoubleError;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

/// A future of a trait object.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Gets what an image name stands for.
pub trait Launcher: Send + Sync {
    /// Pulls the image; called at each deploy, as both providers always pull.
    ///
    /// # Errors
    /// When the image is not there or is damaged.
    fn pull<'a>(&'a self, image: &'a str) -> Pending<'a, Result<Arc<dyn Program>, DoubleError>>;
}

/// Something that can be started any number of times.
pub trait Program: Send + Sync {
    /// Makes ready to start one replica. Blocking.
    ///
    /// # Errors
    /// When files cannot be made.
    fn prepare(&self, start: &Start) -> Result<Prepared, DoubleError>;
}

/// How a replica is started.
#[derive(Clone, Debug)]
pub struct Start {
    /// Where it is to listen, in place of port 8080 of its own network.
    pub address: SocketAddr,
    /// Environment of the function's description, over the image's.
    pub environment: BTreeMap<String, String>,
    /// Files below /var/openfaas/secrets.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// Whether its root file system cannot be written, but for /tmp.
    pub read_only: bool,
    /// User and group in place of the image's.
    pub user: Option<(u32, u32)>,
}

impl Start {
    /// Sets `TRANCHE_LISTEN` and `port` (of-watchdog's): the stand-in for a network namespace.
    fn set_address(&self, command: &mut Command) {
        command.env("TRANCHE_LISTEN", self.address.to_string());
        command.env("port", self.address.port().to_string());
    }
}

/// A command ready to start, and the folder it needs while it runs.
#[derive(Debug)]
pub struct Prepared {
    /// The command.
    pub command: Command,
    /// Removed when the replica has ended.
    pub folder: Option<TempDir>,
}
