use super::*;
use crate::launch::registry::sha256;
use std::os::unix::fs::PermissionsExt as _;
use tar::{Builder, Header};
use tempfile::TempDir;

/// Entries written as they are: kind, path, content or target.
fn tar_of(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, path, text) in entries {
        let mut header = Header::new_ustar();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o751);
        header.set_uid(u64::from(rustix::process::getuid().as_raw()));
        header.set_gid(u64::from(rustix::process::getgid().as_raw()));
        let content = if *kind == EntryType::Regular { text.as_bytes() } else { b"" };
        if content.is_empty() {
            header.as_ustar_mut().unwrap().linkname[..text.len()].copy_from_slice(text.as_bytes());
        }
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap()
}

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("root")).unwrap();
        std::fs::write(folder.path().join("outside"), "safe").unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("root").join(name)
    }

    fn layer(&self, entries: &[(EntryType, &str, &str)]) -> Result<(), DoubleError> {
        let bytes = tar_of(entries);
        let blob = self.folder.path().join("blob");
        std::fs::write(&blob, &bytes).unwrap();
        let layer = Layer { digest: "sha256:0", media_type: "x.tar", diff_id: &sha256(&bytes) };
        unpack(&blob, &layer, &self.path(""))
    }

    /// What lies beside the root is as it was.
    fn is_safe(&self) -> bool {
        std::fs::read_to_string(self.folder.path().join("outside")).unwrap() == "safe"
            && std::fs::read_dir(self.folder.path()).unwrap().count() <= 3
    }
}

use EntryType::{Directory, Link, Regular, Symlink};

#[test]
fn files_folders_links_and_modes_come_out() {
    let place = Place::new();
    place
        .layer(&[(Directory, "a/", ""), (Regular, "a/f", "text"), (Symlink, "s", "/a/f"), (Link, "h", "a/f")])
        .unwrap();
    assert_eq!(std::fs::read_to_string(place.path("h")).unwrap(), "text");
    assert_eq!(std::fs::read_link(place.path("s")).unwrap(), Path::new("/a/f"));
    for name in ["a", "a/f"] {
        let mode = std::fs::metadata(place.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o751, "{name}");
    }
}

#[test]
fn whiteouts_take_away_what_lower_layers_put_there() {
    let place = Place::new();
    place
        .layer(&[
            (Regular, "a/one", "1"),
            (Regular, "a/two", "2"),
            (Regular, "b/one", "1"),
            (Regular, "c/d/e", "1"),
        ])
        .unwrap();
    place
        .layer(&[(Regular, "a/.wh.one", ""), (Regular, "b/.wh..wh..opq", ""), (Regular, ".wh.c", "")])
        .unwrap();
    let there = ["a/one", "a/two", "b", "b/one", "c"].map(|name| place.path(name).exists());
    assert_eq!(there, [false, true, true, false, false]);
}

#[test]
fn files_and_folders_replace_each_other() {
    let place = Place::new();
    place.layer(&[(Regular, "a", "1"), (Regular, "b/c", "1"), (Regular, "d", "1")]).unwrap();
    place.layer(&[(Directory, "a/", ""), (Regular, "b", "2"), (Regular, "d", "3")]).unwrap();
    assert!(place.path("a").is_dir());
    assert_eq!(std::fs::read_to_string(place.path("b")).unwrap(), "2");
    assert_eq!(std::fs::read_to_string(place.path("d")).unwrap(), "3");
}

#[test]
fn entries_outside_the_root_are_refused() {
    for name in ["../outside", "a/../../outside", "/outside"] {
        let place = Place::new();
        let error = place.layer(&[(Regular, name, "broken")]).unwrap_err();
        assert!(error.to_string().contains("leaves the root folder"), "{error}");
        assert!(place.is_safe(), "{name}");
    }
}

#[test]
fn hard_links_to_files_outside_are_refused() {
    let place = Place::new();
    assert!(place.layer(&[(Link, "h", "../outside")]).is_err());
    assert!(place.layer(&[(Symlink, "up", ".."), (Link, "h", "up/outside")]).is_err());
    assert!(place.is_safe());
}

#[test]
fn links_lead_to_places_inside_the_root_only() {
    let place = Place::new();
    let outside = place.folder.path().to_str().unwrap().to_owned();
    place
        .layer(&[(Symlink, "up", "../.."), (Regular, "up/outside", "1"), (Symlink, "away", &outside)])
        .unwrap();
    assert_eq!(std::fs::read_to_string(place.path("outside")).unwrap(), "1");
    // Inside the root there is no such folder, and none is made through a link.
    assert!(place.layer(&[(Regular, "away/outside", "2")]).is_err());
    assert!(place.is_safe());
}

#[test]
fn a_file_over_a_link_replaces_the_link() {
    let place = Place::new();
    let outside = place.folder.path().join("outside").to_str().unwrap().to_owned();
    place.layer(&[(Symlink, "l", &outside)]).unwrap();
    place.layer(&[(Regular, "l", "mine")]).unwrap();
    assert_eq!(std::fs::read_to_string(place.path("l")).unwrap(), "mine");
    assert!(place.is_safe());
}

#[test]
fn another_digest_or_media_type_is_refused() {
    let place = Place::new();
    let blob = place.folder.path().join("blob");
    std::fs::write(&blob, tar_of(&[(Regular, "a", "1")])).unwrap();
    let refused = |media_type: &str| {
        let layer = Layer { digest: "sha256:0", media_type, diff_id: "sha256:1" };
        unpack(&blob, &layer, &place.path("")).unwrap_err()
    };
    assert!(matches!(refused("x.tar"), DoubleError::Digest { .. }));
    assert!(matches!(refused("x.tar+zstd"), DoubleError::Layer { .. }));
    assert!(matches!(refused("x.tar+gzip"), DoubleError::Layer { .. }));
}
