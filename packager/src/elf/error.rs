use super::Architecture;
use std::io;
use std::path::PathBuf;

/// A program or a library that cannot be packed, or would not load where it is sent.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// The file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no ELF file.
    #[error("{} is not a Linux program or library", .path.display())]
    NotElf {
        /// The file.
        path: PathBuf,
    },
    /// The file is ELF, but not whole.
    #[error("{} is cut short or damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not hold.
        reason: String,
    },
    /// A machine that no image is made for.
    #[error("{} is for machine {machine}; images are made for amd64 and arm64", path.display())]
    Machine {
        /// The file.
        path: PathBuf,
        /// Its `e_machine`.
        machine: u16,
    },
    /// A file for another machine than the rest.
    #[error("{} is for {found}, but the image is for {expected}", path.display())]
    Architecture {
        /// The file.
        path: PathBuf,
        /// Its architecture.
        found: Architecture,
        /// The image's.
        expected: Architecture,
    },
    /// A library that something needs is nowhere.
    #[error("{} needs {library}, which is in none of {}", path.display(), searched.join(", "))]
    Missing {
        /// What needs it.
        path: PathBuf,
        /// The library.
        library: String,
        /// Folders looked in.
        searched: Vec<String>,
    },
    /// A library that is there is too old.
    #[error("{} needs {version} of {library}, which {} does not have", path.display(), found.display())]
    TooOld {
        /// What needs it.
        path: PathBuf,
        /// The library's name.
        library: String,
        /// The symbol version.
        version: String,
        /// The library found.
        found: PathBuf,
    },
}

impl ElfError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Read { .. } => "check the path and its permissions",
            Self::NotElf { .. } => {
                "give the shim that `cargo xtask shim` builds, and the library that `tranche engine add` fetches"
            }
            Self::Damaged { .. } => "build or fetch the file again; a copy may have been interrupted",
            Self::Machine { .. } | Self::Architecture { .. } => {
                "give a shim and libraries built for the same architecture, the one that the functions run on"
            }
            Self::Missing { .. } => {
                "install the library, name the folder it lies in, or use the static shim, which needs none"
            }
            Self::TooOld { .. } => {
                "build the shim against an older C library (`cargo xtask shim` with cargo-zigbuild does), or name a folder with newer libraries"
            }
        }
    }
}
