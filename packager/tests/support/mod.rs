//! Images to look into, and ELF files made by hand.

#![allow(dead_code, reason = "each test file uses its part")]

use crate::common::{identity, model, plan};
use object::elf;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tranche_graph::Graph;
use tranche_packager::image::{ImageRequest, build_images};
use tranche_packager::package;
use tranche_schema::{Digest, Document as _, ImageIndex, LayerPurpose, Manifest, SliceImage};

/// A request whose folder lives as long as it.
pub struct Prepared {
    pub folder: TempDir,
    request: ImageRequest,
}

impl Prepared {
    /// The folder alone, whose files stay where they are.
    pub fn into_folder(self) -> TempDir {
        self.folder
    }
}

impl Deref for Prepared {
    type Target = ImageRequest;

    fn deref(&self) -> &ImageRequest {
        &self.request
    }
}

/// Images of the small model, with a shim that is a static program of no use.
pub struct Images {
    pub folder: TempDir,
    pub request: ImageRequest,
    pub manifest: Manifest,
    pub index: ImageIndex,
}

impl Images {
    pub fn of(parts: u32) -> Self {
        Self::of_model(&model(), parts)
    }

    pub fn of_model(graph: &Graph, parts: u32) -> Self {
        let Prepared { folder, request } = Self::prepare(graph, parts, "tract");
        let manifest = Manifest::read(&request.bundle.join(Manifest::FILE)).unwrap();
        let index = build_images(&request).unwrap();
        Self { folder, request, manifest, index }
    }

    pub fn prepare(graph: &Graph, parts: u32, engine: &str) -> Prepared {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("bundle");
        let mut plan = plan(graph, parts);
        plan.engine = engine.to_owned();
        package(graph, &identity(graph), &plan, &bundle, "1.2.3").unwrap();
        let shim = folder.path().join("tranche-shim");
        std::fs::write(&shim, Elf::default().build()).unwrap();
        let request = ImageRequest::new(&bundle, &shim, &folder.path().join("images"));
        Prepared { folder, request }
    }

    pub fn output(&self) -> PathBuf {
        self.request.output.clone()
    }

    pub fn blob(&self, digest: &Digest) -> Vec<u8> {
        std::fs::read(self.output().join("blobs/sha256").join(digest.hex())).unwrap()
    }

    pub fn json(&self, digest: &Digest) -> serde_json::Value {
        serde_json::from_slice(&self.blob(digest)).unwrap()
    }

    /// Every file of an image and its bytes.
    pub fn files(&self, image: &SliceImage) -> BTreeMap<String, Vec<u8>> {
        let entries = image.layers.iter().flat_map(|layer| layer_files(&self.blob(&layer.digest)));
        entries.filter(|entry| !entry.path.ends_with('/')).map(|entry| (entry.path, entry.bytes)).collect()
    }

    /// The files of each blob of this purpose.
    pub fn layers(&self, purpose: LayerPurpose) -> BTreeMap<Digest, BTreeMap<String, Vec<u8>>> {
        let layers = self.index.images.iter().flat_map(|image| &image.layers);
        layers
            .filter(|layer| layer.purpose == purpose)
            .map(|layer| {
                let entries = layer_files(&self.blob(&layer.digest)).into_iter();
                let files = entries.filter(|entry| !entry.path.ends_with('/'));
                (layer.digest.clone(), files.map(|entry| (entry.path, entry.bytes)).collect())
            })
            .collect()
    }
}

/// An entry of a layer.
pub struct LayerEntry {
    pub path: String,
    pub mode: u32,
    pub owner: u64,
    pub bytes: Vec<u8>,
}

pub fn layer_files(blob: &[u8]) -> Vec<LayerEntry> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(blob));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().mtime().unwrap(), 0);
        let mut bytes = vec![];
        entry.read_to_end(&mut bytes).unwrap();
        LayerEntry {
            path: entry.path().unwrap().to_str().unwrap().to_owned(),
            mode: entry.header().mode().unwrap(),
            owner: entry.header().uid().unwrap(),
            bytes,
        }
    });
    entries.collect()
}

pub fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = PathBuf::from(path.file_name().unwrap());
        if path.is_dir() {
            found.extend(contents(&path).into_iter().map(|(below, bytes)| (name.join(below), bytes)));
        } else {
            found.insert(name, std::fs::read(&path).unwrap());
        }
    }
    found
}

/// An ELF file with just the parts that are read.
#[derive(Clone, Default)]
pub struct Elf<'a> {
    pub machine: Option<elf::Machine>,
    pub interpreter: Option<&'a str>,
    pub needed: &'a [&'a str],
    pub name: Option<&'a str>,
    pub runpath: Option<&'a str>,
    /// A library and the symbol version needed of it.
    pub requires: Option<(&'a str, &'a str)>,
    /// A symbol version defined.
    pub defines: Option<&'a str>,
    pub engines: Option<&'a str>,
}

/// A section: name, type, link, count of entries (`sh_info`), bytes.
type Section = (&'static str, u32, u32, u32, Vec<u8>);

impl Elf<'_> {
    /// The file's bytes: header, program headers, sections, section headers.
    pub fn build(&self) -> Vec<u8> {
        let mut strings = vec![0_u8];
        let mut add = |text: &str| {
            let start = strings.len() as u32;
            strings.extend(text.bytes().chain([0]));
            start
        };
        let mut dynamic: Vec<(elf::DynamicTag, u32)> =
            self.needed.iter().map(|library| (elf::DT_NEEDED, add(library))).collect();
        dynamic.extend(self.name.map(|name| (elf::DT_SONAME, add(name))));
        dynamic.extend(self.runpath.map(|folders| (elf::DT_RUNPATH, add(folders))));
        let requires = self.requires.map(|(library, version)| (add(library), add(version)));
        let defines = self.defines.map(&mut add);
        // Section 1 holds the strings.
        let mut sections: Vec<Section> = vec![(".dynstr", 3, 0, 0, strings)];
        if !dynamic.is_empty() {
            let entries = dynamic.iter().map(|&(tag, value)| (tag.0 as u64, u64::from(value)));
            let words = entries.chain([(0, 0)]).flat_map(|(tag, value)| [tag, value]);
            sections.push((".dynamic", 6, 1, 0, words.flat_map(u64::to_le_bytes).collect()));
        }
        if let Some((library, version)) = requires {
            let mut bytes = words16(&[1, 1]);
            bytes.extend(words32(&[library, 16, 0, 0]));
            bytes.extend(words16(&[0, 2]));
            bytes.extend(words32(&[version, 0]));
            sections.push((".gnu.version_r", 0x6fff_fffe, 1, 1, bytes));
        }
        if let Some(version) = defines {
            let mut bytes = words16(&[1, 0, 2, 1]);
            bytes.extend(words32(&[0, 20, 0, version, 0]));
            sections.push((".gnu.version_d", 0x6fff_fffd, 1, 1, bytes));
        }
        if let Some(engines) = self.engines {
            sections.push((".tranche.engines", 1, 0, 0, engines.as_bytes().to_vec()));
        }
        self.assemble(sections)
    }

    fn assemble(&self, mut sections: Vec<Section>) -> Vec<u8> {
        let interpreter = self.interpreter.map(|path| [path.as_bytes(), b"\0"].concat());
        let mut names = vec![0_u8];
        let mut offsets = vec![];
        for name in sections.iter().map(|section| section.0).chain([".shstrtab"]) {
            offsets.push(names.len() as u32);
            names.extend(name.bytes().chain([0]));
        }
        sections.push((".shstrtab", 3, 0, 0, names));
        let mut body = vec![];
        let start = 64 + 56;
        let interpreter_at = start;
        body.extend(interpreter.iter().flatten());
        let places: Vec<(usize, usize)> = sections
            .iter()
            .map(|section| {
                body.resize(body.len().next_multiple_of(8), 0);
                let place = (start + body.len(), section.4.len());
                body.extend(&section.4);
                place
            })
            .collect();
        body.resize(body.len().next_multiple_of(8), 0);
        let table = start + body.len();
        let machine = self.machine.unwrap_or(elf::EM_X86_64).0;
        let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        file.extend(words16(&[3, machine]));
        file.extend(words32(&[1]));
        file.extend(words64(&[0, 64, table as u64]));
        file.extend(words32(&[0]));
        file.extend(words16(&[64, 56, 1, 64, sections.len() as u16 + 1, sections.len() as u16]));
        // One program header: the interpreter, or nothing.
        let length = interpreter.map_or(0, |path| path.len());
        file.extend(words32(&[if length > 0 { 3 } else { 0 }, 4]));
        file.extend(words64(&[interpreter_at as u64, 0, 0, length as u64, length as u64, 1]));
        file.extend(body);
        file.extend([0; 64]);
        for ((section, name), (place, length)) in sections.iter().zip(offsets).zip(places) {
            file.extend(words32(&[name, section.1]));
            file.extend(words64(&[0, 0, place as u64, length as u64]));
            file.extend(words32(&[section.2, section.3]));
            file.extend(words64(&[8, if section.1 == 6 { 16 } else { 0 }]));
        }
        file
    }
}

fn words16(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn words32(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn words64(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
