//! Pushes to Debian's docker-registry, read back with skopeo.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "support/registry/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use support::real::{RealRegistry, skopeo};
use support::{Images, LARGE, layer, names, noise, options, options_as, push, retries};
use tranche_deployer::registry::{Credentials, Options, Registry, RegistryError};
use tranche_schema::{ByteCount, Digest};

const NAMES: [&str; 2] = ["slice-0", "slice-1"];

/// Two images that share their lowest layer.
fn images(shared: &[u8]) -> Images {
    let shared = layer("program", shared);
    let own = |name: &str| layer("model", name.as_bytes());
    NAMES.iter().fold(Images::new(), |images, name| images.image(name, &[&shared, &own(name)]))
}

/// The image's digest and layers as skopeo finds them.
fn inspect(registry: &RealRegistry, name: &str) -> serde_json::Value {
    let image = format!("docker://{}/team/{name}:tag", registry.host);
    serde_json::from_slice(&skopeo(&["inspect", "--tls-verify=false", &image])).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pushed_can_be_pulled() {
    let registry = RealRegistry::start();
    let images = images(&noise(LARGE, 21));
    let pushed = push(&images, &names(&registry.host, &NAMES), &options()).await.0.unwrap();
    assert!(pushed[1].mounted_bytes.0 > LARGE as u64, "{pushed:?}");
    for image in &pushed {
        let found = inspect(&registry, &image.name);
        assert_eq!(found["Digest"], image.digest.0);
        assert_eq!(found["Env"][0], format!("NAME={}", image.name));
        assert_eq!(found["Layers"].as_array().unwrap().len(), 2);
    }
    let copy = images.path().join("copy");
    let from = format!("docker://{}/team/slice-1:tag", registry.host);
    let to = format!("dir:{}", copy.display());
    skopeo(&["copy", "--src-tls-verify=false", &from, &to]);
    for blob in &images.layout().image_named("slice-1").unwrap().blobs {
        assert_eq!(Digest::of_file(&copy.join(blob.digest.hex())).unwrap(), blob.digest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_push_only_asks() {
    let registry = RealRegistry::start();
    let images = images(&noise(LARGE, 22));
    push(&images, &names(&registry.host, &NAMES), &options()).await.0.unwrap();
    let before = registry.requests().len();
    let pushed = push(&images, &names(&registry.host, &NAMES), &options()).await.0.unwrap();
    assert!(pushed.iter().all(|image| image.uploaded_bytes.0 + image.mounted_bytes.0 == 0));
    let requests = registry.requests().split_off(before);
    assert!(!requests.is_empty() && requests.iter().all(|(method, _, _)| method == "HEAD"), "{requests:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_layer_goes_in_parts() {
    let registry = RealRegistry::start();
    let images = images(&noise(LARGE, 23));
    let options = Options { part: Some(ByteCount(1 << 20)), ..options() };
    push(&images, &names(&registry.host, &NAMES), &options).await.0.unwrap();
    assert_eq!(
        registry.requests().iter().filter(|(method, _, status)| method == "PATCH" && *status == 202).count(),
        4
    );
    assert_eq!(inspect(&registry, "slice-0")["Layers"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_does_not_break_the_push() {
    let registry = RealRegistry::start();
    let host = cut_once(&registry.host, 1_500_000).await;
    let images = images(&noise(LARGE, 24));
    let (pushed, events) = push(&images, &names(&host, &NAMES), &options()).await;
    let pushed = pushed.unwrap();
    // This registry forgets what a broken request brought, so that the blob goes anew.
    assert!(!retries(&events).is_empty());
    assert_eq!(inspect(&registry, "slice-0")["Digest"], pushed[0].digest.0);
}

/// A way to `host` that breaks the first connection over which so much went.
async fn cut_once(host: &str, after: u64) -> String {
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
    use tokio::net::{TcpListener, TcpStream};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let way = listener.local_addr().unwrap().to_string();
    let host = host.to_owned();
    let cut = std::sync::Arc::new(AtomicBool::new(false));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (cut, server) = (cut.clone(), TcpStream::connect(&host).await.unwrap());
            tokio::spawn(async move {
                let (client_in, mut client_out) = client.into_split();
                let (mut server_in, mut server_out) = server.into_split();
                let back = tokio::spawn(async move { copy(&mut server_in, &mut client_out).await });
                let mut head = client_in.take(after);
                let sent = copy(&mut head, &mut server_out).await;
                let breaks = sent.is_ok_and(|sent| sent == after) && !cut.swap(true, Ordering::SeqCst);
                if !breaks {
                    let _ = copy(&mut head.into_inner(), &mut server_out).await;
                    let _ = server_out.shutdown().await;
                }
                back.abort();
            });
        }
    });
    way
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_needed_where_the_registry_has_users() {
    // The bcrypt hash of `wordpass`.
    let users = "team:$2b$04$qUbwekldJJ8.JOIX1X69k.COpJro8X6fKGDdJG/p3kWfw1WxRsoYe\n";
    let auth = "auth:\n  htpasswd: {realm: test, path: FOLDER/users}\n";
    let registry = RealRegistry::configured(auth, |folder| {
        fs::write(folder.join("users"), users).unwrap();
        String::new()
    });
    let (images, names) = (images(b"program"), names(&registry.host, &NAMES));
    let right = options_as(Credentials::password("team", "wordpass"));
    push(&images, &names, &right).await.0.unwrap();
    for wrong in [options(), options_as(Credentials::password("team", "wrong"))] {
        let error = push(&images, &names, &wrong).await.0.unwrap_err();
        assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error:?}");
    }
    let registry = Registry::of(&names[0].1, &right).await.unwrap();
    assert!(registry.head_manifest(&names[0].1).await.unwrap().is_some());
}

/// A certificate for 127.0.0.1, signed by itself.
fn certificate(folder: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    fs::write(folder.join("certificate.pem"), made.cert.pem()).unwrap();
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let folder = folder.display();
    format!("  tls: {{certificate: {folder}/certificate.pem, key: {folder}/key.pem}}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_needs_a_certificate_that_is_trusted() {
    let registry = RealRegistry::configured("", certificate);
    let (images, names) = (images(&noise(LARGE, 25)), names(&registry.host, &NAMES));
    let secure = Options { insecure: false, ..options() };
    let error = push(&images, &names, &secure).await.0.unwrap_err();
    insta::assert_snapshot!(
        error.to_string().replace(&registry.host, "HOST"),
        @"no TLS connection to 127.0.0.1: invalid peer certificate: UnknownIssuer"
    );
    let trusted = Some(registry.folder.path().join("certificate.pem"));
    let trusting = Options { certificate_authority: trusted, ..secure };
    let pushed = push(&images, &names, &trusting).await.0.unwrap();
    assert_eq!(inspect(&registry, "slice-1")["Digest"], pushed[1].digest.0);
}
