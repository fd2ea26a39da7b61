//! The life of shared files.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;
use tempfile::TempDir;
use tranche_transport::{SharedFolder, Swept};

fn folder() -> (TempDir, SharedFolder) {
    let temporary = tempfile::tempdir().unwrap();
    let folder = SharedFolder::create(&temporary.path().join("shared")).unwrap();
    (temporary, folder)
}

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn only_the_owner_reads_folder_and_files() {
    let (_temporary, folder) = folder();
    let lease = folder.write(b"bytes").unwrap();
    assert_eq!(mode(folder.path()), 0o700);
    assert_eq!(mode(&folder.path().join(&lease.name)), 0o600);
    assert_eq!(lease.name.len(), 32);
}

#[test]
fn names_differ() {
    let (_temporary, folder) = folder();
    let mut names: Vec<_> = (0..100).map(|_| folder.write(b"").unwrap().name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 100);
}

#[test]
fn a_folder_open_to_others_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("shared");
    SharedFolder::create(&path).unwrap();
    SharedFolder::create(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o750)).unwrap();
    let error = SharedFolder::open(&path).unwrap_err();
    assert!(error.to_string().contains("0700"), "{error}");
    let link = temporary.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    SharedFolder::open(&path).unwrap();
    assert!(SharedFolder::open(&link).is_err());
}

#[test]
fn a_map_outlives_its_file() {
    let (_temporary, folder) = folder();
    let content = vec![7; 100_000];
    let lease = folder.write(&content).unwrap();
    let map = folder.map(&lease).unwrap();
    folder.release(&lease.name).unwrap();
    folder.release(&lease.name).unwrap();
    assert!(folder.map(&lease).is_err());
    assert_eq!(&map[..], &content[..]);
}

#[test]
fn sweeping_takes_old_files_and_leaves_foreign_ones() {
    let (_temporary, folder) = folder();
    folder.write(b"12345").unwrap();
    std::fs::write(folder.path().join("NOTES.txt"), b"kept").unwrap();
    assert_eq!(folder.sweep(Duration::from_secs(3600)).unwrap(), Swept::default());
    assert_eq!(folder.sweep(Duration::ZERO).unwrap(), Swept { files: 1, bytes: 5 });
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
