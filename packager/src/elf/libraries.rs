use super::{Binary, ElfError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The program that loads a program's libraries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loader {
    /// The path at which the kernel looks for it (`PT_INTERP`).
    pub path: String,
    /// The file found.
    pub binary: Binary,
}

/// Everything that binaries need to be loaded, themselves left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Libraries {
    /// The loader, where one of them is a dynamic program.
    pub loader: Option<Loader>,
    /// Libraries by the name that they are asked for with.
    pub files: BTreeMap<String, Binary>,
}

/// Finds the libraries that `roots` need, those that these need, and so on, and checks
/// that they fit together.
///
/// Each library is looked for, in this order, in `folders`, in the folders that what needs
/// it names itself (`DT_RUNPATH`; `$ORIGIN` is the file's folder), in the folder of what
/// needs it, and in the host's standard folders
/// ([`Architecture::library_folders`](super::Architecture::library_folders)). Files for
/// another machine are passed over, as loaders do. The loader is looked for by name in
/// `folders`, then where the program says. `ld.so.cache` and `LD_LIBRARY_PATH` are not
/// looked at: the result depends on what is installed, not on how a shell is set up.
///
/// # Errors
/// When a library is nowhere, is damaged, or lacks a symbol version that is needed of it;
/// the error names what needs it.
pub fn find_libraries(roots: &[&Binary], folders: &[PathBuf]) -> Result<Libraries, ElfError> {
    let mut found = Libraries::default();
    for root in roots {
        if let (None, Some(path)) = (&found.loader, &root.interpreter) {
            found.loader = Some(Loader { path: path.clone(), binary: find_loader(root, path, folders)? });
        }
    }
    close(found, roots, folders, &[])
}

/// As [`find_libraries`] for a system that has a loader and the libraries named in `given`:
/// neither is looked for.
///
/// # Errors
/// As [`find_libraries`].
pub fn find_libraries_beside(
    roots: &[&Binary],
    folders: &[PathBuf],
    given: &[&str],
) -> Result<Libraries, ElfError> {
    close(Libraries::default(), roots, folders, given)
}

/// Adds what is needed until nothing is missing.
fn close(
    mut found: Libraries,
    roots: &[&Binary],
    folders: &[PathBuf],
    given: &[&str],
) -> Result<Libraries, ElfError> {
    let mut pending: Vec<Binary> = roots.iter().map(|&root| root.clone()).collect();
    while let Some(binary) = pending.pop() {
        for name in &binary.needed {
            if !given.contains(&name.as_str()) && provider(&found, roots, name).is_none() {
                let library = find(name, &binary, folders)?;
                pending.push(library.clone());
                found.files.insert(name.clone(), library);
            }
        }
    }
    let loader = found.loader.iter().map(|loader| &loader.binary);
    for binary in roots.iter().copied().chain(found.files.values()).chain(loader) {
        check_versions(binary, &found, roots)?;
    }
    Ok(found)
}

/// What is loaded under this name already.
fn provider<'a>(found: &'a Libraries, roots: &'a [&Binary], name: &str) -> Option<&'a Binary> {
    let loader = found.loader.iter().map(|loader| &loader.binary);
    let mut named = roots.iter().copied().chain(loader);
    found.files.get(name).or_else(|| named.find(|binary| binary.name.as_deref() == Some(name)))
}

fn find_loader(program: &Binary, path: &str, folders: &[PathBuf]) -> Result<Binary, ElfError> {
    let name = Path::new(path).file_name().unwrap_or_default();
    let places = folders.iter().map(|folder| folder.join(name)).chain([PathBuf::from(path)]);
    first(program, places)?.ok_or_else(|| {
        let mut searched: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        searched.push(path.to_owned());
        let library = name.to_string_lossy().into_owned();
        ElfError::Missing { path: program.path.clone(), library, searched }
    })
}

fn find(name: &str, by: &Binary, folders: &[PathBuf]) -> Result<Binary, ElfError> {
    let origin = by.path.parent().unwrap_or(Path::new(""));
    let named = by.search.iter().map(|folder| {
        let origin = origin.to_string_lossy();
        PathBuf::from(folder.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin))
    });
    let standard = by.architecture.library_folders().map(PathBuf::from);
    let searched: Vec<PathBuf> =
        folders.iter().cloned().chain(named).chain([origin.to_owned()]).chain(standard).collect();
    first(by, searched.iter().map(|folder| folder.join(name)))?.ok_or_else(|| ElfError::Missing {
        path: by.path.clone(),
        library: name.to_owned(),
        searched: searched.iter().map(|folder| folder.display().to_string()).collect(),
    })
}

/// The first of these files that is there and for the right machine.
fn first(by: &Binary, places: impl Iterator<Item = PathBuf>) -> Result<Option<Binary>, ElfError> {
    for place in places.filter(|place| place.is_file()) {
        match Binary::read(&place) {
            Ok(binary) if binary.architecture == by.architecture => return Ok(Some(binary)),
            Ok(_) | Err(ElfError::Machine { .. } | ElfError::NotElf { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The check that the loader makes before it starts a program.
fn check_versions(binary: &Binary, found: &Libraries, roots: &[&Binary]) -> Result<(), ElfError> {
    for (library, versions) in &binary.required {
        // A library without versions serves any that is asked for.
        let Some(provider) = provider(found, roots, library).filter(|found| !found.defined.is_empty()) else {
            continue;
        };
        if let Some(version) = versions.iter().find(|&version| !provider.defined.contains(version)) {
            return Err(ElfError::TooOld {
                path: binary.path.clone(),
                library: library.clone(),
                version: version.clone(),
                found: provider.path.clone(),
            });
        }
    }
    Ok(())
}
