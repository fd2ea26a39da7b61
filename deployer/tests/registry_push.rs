//! What a push sends, and what it does not.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "support/registry/mod.rs"]
mod support;

use std::fs;
use support::double::Double;
use support::{Images, LARGE, names, noise, options, push};
use tranche_deployer::registry::{Layout, PushEvent, Reference, Registry};
use tranche_schema::{ByteCount, Digest};

const NAMES: [&str; 3] = ["slice-0", "slice-1", "slice-2"];

/// Three images that share a layer.
fn images(shared: &[u8]) -> Images {
    NAMES.iter().fold(Images::new(), |images, name| images.image(name, &[shared, name.as_bytes()]))
}

#[tokio::test]
async fn a_shared_blob_is_sent_once_and_mounted() {
    let (double, shared) = (Double::start().await, noise(LARGE, 1));
    let (pushed, events) = push(&images(&shared), &names(&double.host, &NAMES), &options()).await;
    let pushed = pushed.unwrap();
    assert_eq!(double.count("PATCH", ""), 1, "only the shared layer is large");
    // Every image's configuration and own layer, and the shared layer's end.
    assert_eq!(double.count("PUT", "blobs"), 2 * 3 + 1);
    assert_eq!(pushed[0].mounted_bytes, ByteCount(0));
    assert_eq!(pushed[1].mounted_bytes, ByteCount(LARGE as u64));
    assert!(pushed[0].uploaded_bytes.0 > LARGE as u64 && pushed[1].uploaded_bytes.0 < 2000);
    assert_eq!(pushed.iter().map(|image| image.skipped_bytes.0).sum::<u64>(), 0);
    for name in NAMES {
        assert_eq!(double.blob(&format!("team/{name}"), &shared).unwrap(), shared);
    }
    let mounts = events.iter().filter(|event| matches!(event, PushEvent::Mounted { .. })).count();
    let images =
        events.iter().filter(|event| matches!(event, PushEvent::Image { present: false, .. })).count();
    assert_eq!((mounts, images), (2, 3));
    let sent = |event: &PushEvent| match event {
        PushEvent::Uploading { sent, bytes, .. } if bytes.0 == LARGE as u64 => Some(sent.0),
        _ => None,
    };
    let sent: Vec<u64> = events.iter().filter_map(sent).collect();
    assert!(sent.is_sorted() && sent.len() > 2, "{sent:?}");
    assert_eq!(sent.last(), Some(&(LARGE as u64)));
}

#[tokio::test]
async fn a_second_push_changes_nothing() {
    let (double, shared) = (Double::start().await, noise(LARGE, 2));
    let images = images(&shared);
    let first = push(&images, &names(&double.host, &NAMES), &options()).await.0.unwrap();
    double.forget();
    let second = push(&images, &names(&double.host, &NAMES), &options()).await.0.unwrap();
    assert!(double.seen().iter().all(|seen| seen.method == "HEAD"), "{:?}", double.seen());
    for (first, second) in first.iter().zip(&second) {
        assert_eq!(first.digest, second.digest);
        assert_eq!((second.uploaded_bytes.0, second.mounted_bytes.0), (0, 0));
        let all = first.uploaded_bytes.0 + first.mounted_bytes.0;
        assert_eq!(second.skipped_bytes.0, all);
    }
}

#[tokio::test]
async fn tags_of_one_repository_share_its_blobs() {
    let (double, shared) = (Double::start().await, noise(LARGE, 3));
    let name = |tag: &str| format!("{}/team/model:{tag}", double.host).parse::<Reference>().unwrap();
    let names: Vec<(String, Reference)> =
        NAMES.iter().map(|slice| ((*slice).to_owned(), name(slice))).collect();
    let pushed = push(&images(&shared), &names, &options()).await.0.unwrap();
    assert_eq!(double.count("PATCH", ""), 1);
    assert_eq!(pushed[1].skipped_bytes, ByteCount(LARGE as u64));
    assert_eq!(pushed[2].mounted_bytes, ByteCount(0));
}

#[tokio::test]
async fn a_refused_mount_becomes_an_upload_where_the_registry_says() {
    let (double, shared) = (Double::start().await, noise(LARGE, 4));
    double.refuse_mounts();
    let pushed = push(&images(&shared), &names(&double.host, &NAMES), &options()).await.0.unwrap();
    assert_eq!(double.count("PATCH", ""), 3);
    // 3 configurations, 3 own layers, the shared layer, two attempts to mount it.
    assert_eq!(double.count("POST", "uploads"), 3 + 3 + 1 + 2);
    assert!(pushed.iter().all(|image| image.mounted_bytes.0 == 0 && image.uploaded_bytes.0 > LARGE as u64));
}

#[tokio::test]
async fn a_large_blob_goes_in_parts_if_asked() {
    let (double, shared) = (Double::start().await, noise(LARGE, 5));
    let images = Images::new().image("slice-0", &[&shared]);
    let options = support::Options { part: Some(ByteCount(1 << 20)), ..options() };
    push(&images, &names(&double.host, &["slice-0"]), &options).await.0.unwrap();
    assert_eq!(double.ranges(), ["0-1048575", "1048576-2097151", "2097152-3145727"]);
    assert_eq!(double.blob("team/slice-0", &shared).unwrap(), shared);
}

#[tokio::test]
async fn a_layout_may_hold_an_empty_blob_and_one_blob_twice() {
    let double = Double::start().await;
    let images = Images::new().image("slice-0", &[b"", b"twice", b"twice"]);
    push(&images, &names(&double.host, &["slice-0"]), &options()).await.0.unwrap();
    assert_eq!(double.blob("team/slice-0", b"").unwrap(), "");
    assert_eq!(double.count("PUT", "blobs"), 3);
}

#[tokio::test]
async fn an_image_can_be_looked_for() {
    let double = Double::start().await;
    let images = Images::new().image("slice-0", &[b"layer"]);
    let names = names(&double.host, &["slice-0"]);
    let registry = Registry::of(&names[0].1, &options()).await.unwrap();
    assert_eq!(registry.head_manifest(&names[0].1).await.unwrap(), None);
    let pushed = push(&images, &names, &options()).await.0.unwrap();
    let found = registry.head_manifest(&names[0].1).await.unwrap().unwrap();
    assert_eq!(found.digest, pushed[0].digest);
    assert!(found.bytes.unwrap().0 > 100);
    let by_digest = names[0].1.with_digest(found.digest.clone());
    assert_eq!(registry.head_manifest(&by_digest).await.unwrap().unwrap().digest, found.digest);
}

#[tokio::test]
async fn a_blob_that_differs_from_its_digest_stops_everything_before_it_is_sent() {
    let double = Double::start().await;
    let images = Images::new().image("slice-0", &[b"layer-0", b"layer-1"]);
    let digest = Digest::of(b"layer-1");
    fs::write(images.layout().blob_path(&digest), b"damaged").unwrap();
    let error = push(&images, &names(&double.host, &["slice-0"]), &options()).await.0.unwrap_err();
    assert!(error.to_string().contains(&format!("the contents of blob {digest} are sha256:")), "{error}");
    assert!(double.seen().iter().all(|seen| seen.method == "HEAD"));
}

#[tokio::test]
async fn another_digest_in_the_name_is_refused_before_anything_is_asked() {
    let double = Double::start().await;
    let images = Images::new().image("slice-0", &[b"layer"]);
    let mut names = names(&double.host, &["slice-0"]);
    names[0].1 = names[0].1.with_digest(Digest::of(b"other"));
    let error = push(&images, &names, &options()).await.0.unwrap_err().to_string();
    assert!(error.starts_with("image `slice-0` is sha256:"), "{error}");
    assert!(double.seen().is_empty());
}

#[tokio::test]
async fn a_name_with_the_images_digest_is_pushed_by_it() {
    let double = Double::start().await;
    let images = Images::new().image("slice-0", &[b"layer"]);
    let digest = images.layout().images()[0].digest.clone();
    let reference: Reference = format!("{}/team/model@{digest}", double.host).parse().unwrap();
    push(&images, &[("slice-0".to_owned(), reference)], &options()).await.0.unwrap();
    assert_eq!(double.count("PUT", &format!("manifests/{digest}")), 1);
}

#[test]
fn damaged_layouts_are_refused() {
    let reason = |damage: &dyn Fn(&Images)| {
        let images = Images::new().image("slice-0", &[b"layer"]);
        damage(&images);
        let error = Layout::open(images.path()).unwrap_err().to_string();
        error.replace(&images.path().display().to_string(), "FOLDER")
    };
    let rewrite = |file: &str, from: &str, to: &str, images: &Images| {
        let path = images.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from));
        fs::write(path, text.replace(from, to)).unwrap();
    };
    let blob = |images: &Images, contents: &[u8]| {
        images.path().join("blobs/sha256").join(Digest::of(contents).hex())
    };
    insta::assert_snapshot!(
        reason(&|images| fs::write(blob(images, b"layer"), b"longer layer").unwrap()),
        @"image layout FOLDER: blob sha256:dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85 has 12 bytes and should have 5"
    );
    insta::assert_snapshot!(
        reason(&|images| rewrite("oci-layout", "1.0.0", "2.0.0", images)),
        @"image layout FOLDER: version 2.0.0 is not known"
    );
    insta::assert_snapshot!(
        reason(&|images| rewrite("index.json", "image.manifest", "image.index", images)).split(" in ").last().unwrap(),
        @"index.json is of type `application/vnd.oci.image.index.v1+json`, and no image's manifest"
    );
    insta::assert_snapshot!(
        reason(&|images| rewrite("index.json", "\"sha256:", "\"sha256:../", images)).split_once("../").unwrap().0,
        @"image layout FOLDER: `sha256:"
    );
    insta::assert_snapshot!(
        reason(&|images| fs::remove_file(images.path().join("index.json")).unwrap()),
        @"cannot read FOLDER/index.json: No such file or directory (os error 2)"
    );
    let manifest = |images: &Images| {
        let digest = images.layout().images()[0].digest.clone();
        rewrite(&format!("blobs/sha256/{}", digest.hex()), "layer", "lAyer", images);
    };
    assert!(reason(&manifest).contains("the contents of blob sha256:"));
}

#[tokio::test]
async fn an_unknown_image_is_named() {
    let images = Images::new().image("slice-0", &[b"layer"]).image("slice-1", &[b"layer"]);
    let error =
        push(&images, &names("127.0.0.1:1", &["slice-7"]), &options()).await.0.unwrap_err().to_string();
    assert!(error.ends_with("there is no image `slice-7`, but slice-0, slice-1"), "{error}");
}
