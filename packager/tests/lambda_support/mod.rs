//! Packages to look into.

#![allow(dead_code, reason = "each test file uses its part")]

use crate::support::{Elf, Images};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tranche_graph::Graph;
use tranche_packager::PackageError;
use tranche_packager::lambda::{LambdaRequest, build_packages};
use tranche_schema::{Document as _, LambdaIndex, LambdaPackage, Manifest};

/// Packages of the small model.
pub struct Packages {
    pub folder: TempDir,
    pub request: LambdaRequest,
    pub manifest: Manifest,
    pub index: LambdaIndex,
}

impl Packages {
    pub fn of(parts: u32, engine: &str, change: impl FnOnce(&mut LambdaRequest)) -> Self {
        Self::of_model(&crate::common::model(), parts, engine, change)
    }

    pub fn of_model(
        graph: &Graph,
        parts: u32,
        engine: &str,
        change: impl FnOnce(&mut LambdaRequest),
    ) -> Self {
        let (folder, mut request) = prepare(graph, parts, engine);
        change(&mut request);
        let manifest = Manifest::read(&request.bundle.join(Manifest::FILE)).unwrap();
        let index = build_packages(&request).unwrap();
        Self { folder, request, manifest, index }
    }

    /// Why there are none; nothing is left behind.
    pub fn refused(engine: &str, change: impl FnOnce(&mut LambdaRequest)) -> PackageError {
        let (folder, mut request) = prepare(&crate::common::model(), 2, engine);
        change(&mut request);
        let error = build_packages(&request).unwrap_err();
        let left = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(!left.into_iter().any(|name| name.to_string_lossy().starts_with(".tranche")));
        assert!(!request.output.exists());
        error
    }

    pub fn output(&self) -> PathBuf {
        self.request.output.clone()
    }

    pub fn path(&self, package: &LambdaPackage) -> PathBuf {
        self.output().join(package.file.as_ref().unwrap())
    }

    /// The configuration of an image, by its package's position.
    pub fn image_config(&self, position: usize) -> serde_json::Value {
        let blob = |digest: &str| -> serde_json::Value {
            let path = self.output().join("images/blobs/sha256").join(digest.trim_start_matches("sha256:"));
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
        };
        blob(blob(&self.index.packages[position].digest.0)["config"]["digest"].as_str().unwrap())
    }
}

/// A bundle with a shim of no use that can be loaded, and an engine library that needs
/// libstdc++ where the engine is one.
fn prepare(graph: &Graph, parts: u32, engine: &str) -> (TempDir, LambdaRequest) {
    let prepared = Images::prepare(graph, parts, engine);
    let folder = prepared.folder.path();
    let mut request = LambdaRequest::new(&prepared.bundle, &prepared.shim, &folder.join("packages"));
    if engine == "onnxruntime" {
        let needed = ["libgcc_s.so.1", "libc.so.6"];
        let shim =
            Elf { interpreter: Some("/lib64/ld-linux-x86-64.so.2"), needed: &needed, ..Elf::default() };
        std::fs::write(&request.shim, shim.build()).unwrap();
        let engine = folder.join("engine");
        std::fs::create_dir(&engine).unwrap();
        let needed = ["libstdc++.so.6", "libc.so.6"];
        let library = Elf { name: Some("libonnxruntime.so.1"), needed: &needed, ..Elf::default() };
        std::fs::write(engine.join("libonnxruntime.so"), library.build()).unwrap();
        std::fs::write(engine.join("LICENSE"), "a licence").unwrap();
        // An older one than Debian's, which needs GLIBC 2.36.
        let library = Elf { name: Some("libstdc++.so.6"), ..Elf::default() };
        std::fs::write(engine.join("libstdc++.so.6"), library.build()).unwrap();
        request.engine_library = Some(engine.join("libonnxruntime.so"));
        request.library_folders = vec![engine];
    }
    (prepared.into_folder(), request)
}

/// Appends bytes to a program: zeros, or such as no compression makes fewer.
pub fn pad(path: &Path, bytes: u64, random: bool) {
    let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    if !random {
        let end = file.stream_position().unwrap().max(path.metadata().unwrap().len());
        return file.set_len(end + bytes).unwrap();
    }
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let noise: Vec<u8> = (0..bytes.div_ceil(8))
        .flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .take(bytes as usize)
        .collect();
    file.write_all(&noise).unwrap();
}

/// Every file of a zip and its bytes.
pub fn unzip(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut archive = zip::ZipArchive::new(File::open(path).unwrap()).unwrap();
    (0..archive.len())
        .map(|index| {
            let mut entry = archive.by_index(index).unwrap();
            let mut bytes = vec![];
            entry.read_to_end(&mut bytes).unwrap();
            (entry.name().unwrap().into_owned(), bytes)
        })
        .collect()
}

pub struct ZipEntry {
    pub name: String,
    pub mode: u32,
    pub date: String,
}

/// The entries of a zip in its order.
pub fn zip_entries(path: &Path) -> Vec<ZipEntry> {
    let mut archive = zip::ZipArchive::new(File::open(path).unwrap()).unwrap();
    (0..archive.len())
        .map(|index| {
            let entry = archive.by_index(index).unwrap();
            let date = entry.last_modified().unwrap().to_string();
            ZipEntry { name: entry.name().unwrap().into_owned(), mode: entry.unix_mode().unwrap(), date }
        })
        .collect()
}
