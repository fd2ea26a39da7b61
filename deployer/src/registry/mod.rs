//! Images into registries: the OCI distribution specification 1.1, pushing side.
//!
//! [`Layout`] is an OCI image layout on disk, [`Reference`] a name in a registry,
//! [`push_layout`] brings the one under the other. Blobs stream from their files;
//! what a registry has is not sent, what another repository of the push has is
//! mounted, what broke off is resumed.
//!
//! HTTP is hyper with rustls (ring) and not reqwest: reqwest's TLS features would
//! be on for every crate of a build, and its clients then panic in any process
//! that has not chosen a cryptography provider, those that only talk to sockets
//! of this machine too. Redirects, logins and retries are this module's in any
//! case, for each has rules of its own here.

mod auth;
mod body;
mod client;
mod credentials;
mod error;
mod http;
mod layout;
mod options;
mod push;
mod reference;
mod retry;
mod upload;

pub use client::{Registry, RemoteManifest};
pub use credentials::{CredentialSource, Credentials, PASSWORD_VARIABLE, USERNAME_VARIABLE};
pub use error::RegistryError;
pub use layout::{Blob, Layout, LayoutImage};
pub use options::{Options, PushEvent};
pub use push::{Pushed, push_layout};
pub use reference::Reference;
