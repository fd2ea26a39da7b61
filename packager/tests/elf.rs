//! What is read of programs and libraries, and how libraries are found.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;
mod support;

use object::elf as format;
use std::path::{Path, PathBuf};
use support::Elf;
use tempfile::TempDir;
use tranche_packager::elf::{Architecture, Binary, ElfError, GlibcVersion, Libraries, find_libraries};

const LOADER: &str = "/nonexistent/ld-test.so.1";

/// A folder with these files.
fn folder(files: &[(&str, Elf<'_>)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, file) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, file.build()).unwrap();
    }
    folder
}

fn program<'a>(needed: &'a [&'a str]) -> Elf<'a> {
    Elf { interpreter: Some(LOADER), needed, ..Elf::default() }
}

fn library<'a>(name: &'a str, needed: &'a [&'a str]) -> Elf<'a> {
    Elf { name: Some(name), needed, ..Elf::default() }
}

fn find(root: &Path, folders: &[PathBuf]) -> Result<Libraries, ElfError> {
    find_libraries(&[&Binary::read(root).unwrap()], folders)
}

#[test]
fn everything_that_is_needed_is_found_once() {
    let folder = folder(&[
        ("program", program(&["liba.so", "libb.so"])),
        ("ld-test.so.1", library("ld-test.so.1", &[])),
        ("liba.so", library("liba.so", &["libc.so", "ld-test.so.1"])),
        ("libb.so", library("libb.so", &["libc.so"])),
        ("libc.so", library("libc.so", &["liba.so"])),
        ("unneeded.so", library("unneeded.so", &[])),
    ]);
    let found = find(&folder.path().join("program"), &[folder.path().to_owned()]).unwrap();
    assert_eq!(found.files.keys().collect::<Vec<_>>(), ["liba.so", "libb.so", "libc.so"]);
    assert_eq!(found.loader.unwrap().path, LOADER);
}

#[test]
fn folders_are_searched_in_order_and_origin_is_the_files_own() {
    let runpath = Elf { runpath: Some("$ORIGIN/../lib:/nonexistent"), ..library("program", &["liba.so"]) };
    let folder = folder(&[
        ("bin/program", runpath.clone()),
        ("lib/liba.so", library("liba.so", &[])),
        ("first/liba.so", Elf { defines: Some("V_1"), ..library("liba.so", &[]) }),
    ]);
    let root = folder.path().join("bin/program");
    let path = |folders: &[PathBuf]| find(&root, folders).unwrap().files["liba.so"].path.clone();
    assert_eq!(path(&[]), folder.path().join("bin/../lib/liba.so"));
    assert_eq!(path(&[folder.path().join("first")]), folder.path().join("first/liba.so"));
}

#[test]
fn libraries_for_another_machine_are_passed_over() {
    let foreign = Elf { machine: Some(format::EM_AARCH64), ..library("liba.so", &[]) };
    let folder = folder(&[("program.so", library("program.so", &["liba.so"])), ("liba.so", foreign)]);
    let error = find(&folder.path().join("program.so"), &[]).unwrap_err();
    assert!(matches!(&error, ElfError::Missing { library, .. } if library == "liba.so"), "{error}");
    assert!(error.to_string().contains("program.so needs liba.so"), "{error}");
}

#[test]
fn a_missing_loader_is_named() {
    let folder = folder(&[("program", program(&[]))]);
    let error = find(&folder.path().join("program"), &[]).unwrap_err();
    assert!(matches!(&error, ElfError::Missing { library, .. } if library == "ld-test.so.1"), "{error}");
}

#[test]
fn a_library_without_the_version_needed_is_too_old() {
    let needs = |version| Elf { requires: Some(("libc.so.6", version)), ..library("a.so", &["libc.so.6"]) };
    let has = |version| Elf { defines: Some(version), ..library("libc.so.6", &[]) };
    let folder = folder(&[("a.so", needs("GLIBC_2.38")), ("libc.so.6", has("GLIBC_2.36"))]);
    let root = folder.path().join("a.so");
    assert_eq!(Binary::read(&root).unwrap().glibc(), Some(GlibcVersion(2, 38)));
    let error = find(&root, &[folder.path().to_owned()]).unwrap_err();
    assert!(matches!(&error, ElfError::TooOld { version, .. } if version == "GLIBC_2.38"), "{error}");
    assert!(error.hint().contains("cargo-zigbuild"));
    std::fs::write(folder.path().join("libc.so.6"), has("GLIBC_2.38").build()).unwrap();
    assert!(find(&root, &[folder.path().to_owned()]).is_ok());
}

#[test]
fn static_and_dynamic_programs_and_libraries_are_told_apart() {
    let folder = folder(&[
        ("static", Elf { engines: Some("tract"), ..Elf::default() }),
        ("dynamic", program(&["libc.so.6"])),
        ("library", library("library", &["libc.so.6"])),
    ]);
    let read = |name: &str| Binary::read(&folder.path().join(name)).unwrap();
    let kind = |name| (read(name).is_static(), read(name).is_program());
    assert_eq!(
        [kind("static"), kind("dynamic"), kind("library")],
        [(true, true), (false, true), (false, false)]
    );
    assert_eq!(read("static").engines, Some(vec!["tract".to_owned()]));
    assert_eq!(read("dynamic").engines, None);
}

#[test]
fn the_running_program_is_read_and_its_libraries_found() {
    let binary = Binary::read(&std::env::current_exe().unwrap()).unwrap();
    let architecture = if cfg!(target_arch = "x86_64") { Architecture::Amd64 } else { Architecture::Arm64 };
    assert_eq!(binary.architecture, architecture);
    let found = find_libraries(&[&binary], &[]).unwrap();
    assert_eq!(binary.interpreter, found.loader.map(|loader| loader.path));
    assert!(binary.needed.iter().all(|name| found.files.contains_key(name) || name.starts_with("ld-")));
}

#[test]
fn a_file_cut_short_anywhere_is_refused_or_read_without_panic() {
    let whole = Elf {
        runpath: Some("$ORIGIN"),
        requires: Some(("libc.so.6", "GLIBC_2.28")),
        defines: Some("V_1"),
        ..program(&["libc.so.6"])
    };
    let bytes = whole.build();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut");
    for length in 0..bytes.len() {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let error = Binary::read(&path).unwrap_err();
        assert!(error.to_string().contains("cut"), "{length}: {error}");
        let expected = matches!(error, ElfError::Damaged { .. } | ElfError::NotElf { .. });
        assert!(expected, "{length}: {error}");
    }
}

#[test]
fn other_machines_and_other_files_are_named() {
    let folder = folder(&[("riscv", Elf { machine: Some(format::EM_RISCV), ..Elf::default() })]);
    let error = Binary::read(&folder.path().join("riscv")).unwrap_err();
    assert!(matches!(error, ElfError::Machine { machine: 243, .. }), "{error}");
    let script = folder.path().join("script");
    std::fs::write(&script, "#!/bin/sh\n").unwrap();
    let error = Binary::read(&script).unwrap_err();
    assert!(matches!(error, ElfError::NotElf { .. }), "{error}");
    assert!(matches!(Binary::read(&folder.path().join("none")), Err(ElfError::Read { .. })));
}
