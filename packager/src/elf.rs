//! What an ELF file says of itself: which machine it is for, and what it needs there.
//!
//! Read from the file's headers and its dynamic section (System V ABI, chapters 4 and 5)
//! and from GNU's symbol versions (Linux Standard Base, Core, 10.7); nothing is run.

mod error;
mod libraries;

pub use error::ElfError;
pub use libraries::{Libraries, Loader, find_libraries, find_libraries_beside};

use object::elf;
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _, SectionTable};
use object::{Endianness, StringTable};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

type Header = elf::FileHeader64<Endianness>;

/// The section in which the shim names its engines, with spaces between.
const ENGINES_SECTION: &[u8] = b".tranche.engines";

/// Prefix of the C library's symbol versions.
const GLIBC: &str = "GLIBC_";

/// A processor architecture, spelt as OCI does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// x86-64.
    Amd64,
    /// AArch64.
    Arm64,
}

impl Architecture {
    /// Folders in which a host of this architecture keeps its libraries: Debian's, then
    /// Fedora's, then everybody's.
    #[must_use]
    pub fn library_folders(self) -> [&'static str; 6] {
        match self {
            Self::Amd64 => [
                "/lib/x86_64-linux-gnu",
                "/usr/lib/x86_64-linux-gnu",
                "/lib64",
                "/usr/lib64",
                "/lib",
                "/usr/lib",
            ],
            Self::Arm64 => [
                "/lib/aarch64-linux-gnu",
                "/usr/lib/aarch64-linux-gnu",
                "/lib64",
                "/usr/lib64",
                "/lib",
                "/usr/lib",
            ],
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        })
    }
}

/// A version of the GNU C library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GlibcVersion(pub u32, pub u32);

impl fmt::Display for GlibcVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.0, self.1)
    }
}

/// A program or a shared library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// The file.
    pub path: PathBuf,
    /// The machine it is for.
    pub architecture: Architecture,
    /// The loader that it asks for (`PT_INTERP`); libraries and static programs have none.
    pub interpreter: Option<String>,
    /// Libraries that it needs (`DT_NEEDED`), in order.
    pub needed: Vec<String>,
    /// Its own name as a library (`DT_SONAME`).
    pub name: Option<String>,
    /// Folders in which it looks for libraries (`DT_RUNPATH`, or `DT_RPATH` where there is
    /// no other), `$ORIGIN` as written.
    pub search: Vec<String>,
    /// Symbol versions that it cannot do without, by the library that must define them.
    pub required: BTreeMap<String, BTreeSet<String>>,
    /// Symbol versions that it defines.
    pub defined: BTreeSet<String>,
    /// Engines built in, where it is a shim that says so.
    pub engines: Option<Vec<String>>,
}

impl Binary {
    /// Reads a file's headers.
    ///
    /// # Errors
    /// When the file cannot be read, is not ELF, is cut short or contradicts itself, or is
    /// for a machine that no image is made for.
    pub fn read(path: &Path) -> Result<Self, ElfError> {
        let data = std::fs::read(path).map_err(|source| ElfError::Read { path: path.to_owned(), source })?;
        if !data.starts_with(&elf::ELFMAG) {
            return Err(ElfError::NotElf { path: path.to_owned() });
        }
        let damaged = |reason: String| ElfError::Damaged { path: path.to_owned(), reason };
        let architecture = architecture(path, &data)?;
        parse(path, architecture, &data).map_err(|error| damaged(error.to_string()))?.map_err(damaged)
    }

    /// Whether it is a program that needs neither loader nor library.
    #[must_use]
    pub fn is_static(&self) -> bool {
        self.interpreter.is_none() && self.needed.is_empty()
    }

    /// Whether it is a program that a kernel can start, not a library.
    #[must_use]
    pub fn is_program(&self) -> bool {
        self.interpreter.is_some() || (self.needed.is_empty() && self.name.is_none())
    }

    /// The oldest GNU C library that it loads with; `None` where it needs none.
    #[must_use]
    pub fn glibc(&self) -> Option<GlibcVersion> {
        newest_glibc(self.required.values().flatten())
    }

    /// # Errors
    /// When it is for another machine.
    pub fn check_architecture(&self, expected: Architecture) -> Result<(), ElfError> {
        if self.architecture == expected {
            return Ok(());
        }
        Err(ElfError::Architecture { path: self.path.clone(), found: self.architecture, expected })
    }
}

/// The newest of the versions that are the C library's.
fn newest_glibc<'a>(versions: impl IntoIterator<Item = &'a String>) -> Option<GlibcVersion> {
    let number = |version: &String| {
        // Relative relocations in their short form: loaders read them from 2.36 on.
        if version == "GLIBC_ABI_DT_RELR" {
            return Some(GlibcVersion(2, 36));
        }
        let mut parts = version.strip_prefix(GLIBC)?.split('.').map(|part| part.parse().ok());
        Some(GlibcVersion(parts.next()??, parts.next()??))
    };
    versions.into_iter().filter_map(number).max()
}

/// Of the part of the header that is the same in every ELF file.
fn architecture(path: &Path, data: &[u8]) -> Result<Architecture, ElfError> {
    const CLASS: usize = 4;
    const ENCODING: usize = 5;
    const MACHINE: usize = 18;
    let (Some(&class), Some(&encoding), Some(&[low, high])) =
        (data.get(CLASS), data.get(ENCODING), data.get(MACHINE..MACHINE + 2).and_then(<[u8]>::as_array))
    else {
        return Err(ElfError::Damaged { path: path.to_owned(), reason: "its header is cut off".to_owned() });
    };
    let little = encoding == elf::ELFDATA2LSB.0;
    let machine = if little { u16::from_le_bytes([low, high]) } else { u16::from_be_bytes([low, high]) };
    match elf::Machine(machine) {
        elf::EM_X86_64 if class == elf::ELFCLASS64.0 && little => Ok(Architecture::Amd64),
        elf::EM_AARCH64 if class == elf::ELFCLASS64.0 && little => Ok(Architecture::Arm64),
        _ => Err(ElfError::Machine { path: path.to_owned(), machine }),
    }
}

/// The outer error is the parser's, the inner one ours.
fn parse(
    path: &Path,
    architecture: Architecture,
    data: &[u8],
) -> object::read::Result<Result<Binary, String>> {
    let header = Header::parse(data)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, data)?;
    let mut binary = Binary {
        path: path.to_owned(),
        architecture,
        interpreter: None,
        needed: vec![],
        name: None,
        search: vec![],
        required: BTreeMap::new(),
        defined: BTreeSet::new(),
        engines: None,
    };
    let mut has_dynamic_segment = false;
    for segment in header.program_headers(endian, data)? {
        has_dynamic_segment |= segment.p_type(endian) == elf::PT_DYNAMIC;
        let (start, length) = segment.file_range(endian);
        if start.checked_add(length).is_none_or(|end| end > data.len() as u64) {
            return Ok(Err("a segment is cut off".to_owned()));
        }
        if let Some(interpreter) = segment.interpreter(endian, data)? {
            binary.interpreter = Some(text(interpreter));
        }
    }
    let dynamic = sections.dynamic_table(endian, data)?;
    if has_dynamic_segment && dynamic.is_empty() {
        return Ok(Err("it is linked dynamically, but its section headers are missing".to_owned()));
    }
    let (mut runpath, mut rpath) = (None, None);
    for entry in dynamic.iter() {
        let value = || dynamic.string(entry).map(text);
        match entry.tag {
            elf::DT_NEEDED => binary.needed.push(value()?),
            elf::DT_SONAME => binary.name = Some(value()?),
            elf::DT_RUNPATH => runpath = Some(value()?),
            elf::DT_RPATH => rpath = Some(value()?),
            _ => {}
        }
    }
    let search = runpath.or(rpath).unwrap_or_default();
    binary.search = search.split(':').filter(|folder| !folder.is_empty()).map(str::to_owned).collect();
    read_versions(&mut binary, &sections, endian, data)?;
    if let Some((_, section)) = sections.section_by_name(endian, ENGINES_SECTION) {
        let names = text(section.data(endian, data)?);
        binary.engines = Some(names.split_whitespace().map(str::to_owned).collect());
    }
    Ok(Ok(binary))
}

fn read_versions<'data>(
    binary: &mut Binary,
    sections: &SectionTable<'data, Header>,
    endian: Endianness,
    data: &'data [u8],
) -> object::read::Result<()> {
    if let Some((files, link)) = sections.gnu_verneed(endian, data)? {
        let strings: StringTable<'_> = sections.strings(endian, data, link)?;
        for file in files {
            let (file, versions) = file?;
            let library = binary.required.entry(text(file.file(endian, strings)?)).or_default();
            for version in versions {
                let version = version?;
                if !version.vna_flags.get(endian).contains(elf::VER_FLG_WEAK) {
                    library.insert(text(version.name(endian, strings)?));
                }
            }
        }
    }
    if let Some((definitions, link)) = sections.gnu_verdef(endian, data)? {
        let strings: StringTable<'_> = sections.strings(endian, data, link)?;
        for definition in definitions {
            let (definition, mut names) = definition?;
            // The base definition is the file's own name.
            if definition.vd_flags.get(endian).contains(elf::VER_FLG_BASE) {
                continue;
            }
            if let Some(name) = names.next()? {
                binary.defined.insert(text(name.name(endian, strings)?));
            }
        }
    }
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}
