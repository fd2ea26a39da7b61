use std::io;
use std::path::{Path, PathBuf};
use tranche_packager::PackageError;
use tranche_packager::elf::{ElfError, GlibcVersion};

/// A release that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum DistError {
    /// A program needs a newer C library than a release may.
    #[error("{} needs the GNU C library {needed}, a release may need {newest}", path.display())]
    NewerGlibc {
        /// The program.
        path: PathBuf,
        /// What it needs.
        needed: GlibcVersion,
        /// What it may need.
        newest: GlibcVersion,
    },
    /// The program that must run anywhere needs libraries.
    #[error("{} is not static", path.display())]
    NotStatic {
        /// The program.
        path: PathBuf,
    },
    /// There is no program.
    #[error("there is no program to pack")]
    NoProgram,
    /// `tranche` does not print what a release holds.
    #[error("{} {arguments}: {reason}", path.display())]
    Silent {
        /// The program.
        path: PathBuf,
        /// What it was asked.
        arguments: String,
        /// What came of it.
        reason: String,
    },
    /// `tranche --version` is none.
    #[error("`{said}` is no version of tranche")]
    NoVersion {
        /// What it says.
        said: String,
    },
    /// A line of `cargo tree` is none.
    #[error("{}: `{line}` names no crate", path.display())]
    Crates {
        /// The file.
        path: PathBuf,
        /// The line.
        line: String,
    },
    /// A program cannot be read.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// An archive or an image cannot be made.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DistError {
    /// An error of this file.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<'_> {
        |source| Self::Io { path: path.to_owned(), source }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NewerGlibc { .. } => "build it with cargo-zigbuild (pip install cargo-zigbuild)",
            Self::NotStatic { .. } => "build it with `cargo xtask shim static`",
            Self::NoProgram | Self::Crates { .. } => "this is a bug in `cargo xtask dist`; please report it",
            Self::Silent { .. } | Self::NoVersion { .. } => {
                "build for this machine, and see that it runs here"
            }
            Self::Elf(error) => error.hint(),
            Self::Package(error) => error.hint(),
            Self::Io { .. } => "check that the file exists, that the folder is writable and has space",
        }
    }
}
