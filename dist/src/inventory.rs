//! What a program is built of: CycloneDX 1.6, from `cargo tree` and Cargo.lock.

use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use tranche_schema::Digest;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    bom_format: &'static str,
    spec_version: &'static str,
    version: u32,
    metadata: Metadata,
    components: Vec<Component>,
}

#[derive(Serialize)]
struct Metadata {
    component: Component,
}

#[derive(Serialize)]
struct Component {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "bom-ref")]
    reference: String,
    name: String,
    version: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<License>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
}

#[derive(Serialize)]
struct Hash {
    #[serde(rename = "alg")]
    algorithm: &'static str,
    content: String,
}

#[derive(Serialize)]
struct License {
    expression: String,
}

/// A crate as `cargo tree --format '{p}|{l}'` names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Crate {
    name: String,
    version: String,
    licence: String,
}

/// The inventory of a program: its own digest, and every crate that is linked in, with
/// licence and the checksum of its source. `crates` is the output of `cargo tree --prefix
/// none --format '{p}|{l}'`, whose first line is the program's own crate; `lock` is
/// Cargo.lock.
///
/// # Errors
/// With the line of `crates` that names none.
pub fn inventory(program: &str, digest: &Digest, crates: &str, lock: &str) -> Result<Vec<u8>, String> {
    let lines = crates.lines().map(str::trim).filter(|line| !line.is_empty());
    let listed: Vec<Crate> = lines.map(parse).collect::<Result<_, _>>()?;
    let own = listed.first().cloned().ok_or_else(String::new)?;
    let others: BTreeSet<Crate> = listed.into_iter().filter(|found| *found != own).collect();
    let checksums = checksums(lock);
    let hash = |content: &str| vec![Hash { algorithm: "SHA-256", content: content.to_owned() }];
    let component = Component {
        kind: "application",
        reference: program.to_owned(),
        name: program.to_owned(),
        version: own.version.clone(),
        hashes: hash(digest.hex()),
        licenses: licences(&own),
        purl: None,
    };
    let components = others.iter().map(|found| {
        let checksum = checksums.get(&(found.name.as_str(), found.version.as_str()));
        // Crates of this repository come from no registry.
        let purl = checksum.map(|_| format!("pkg:cargo/{}@{}", found.name, found.version));
        Component {
            kind: "library",
            reference: purl.clone().unwrap_or_else(|| format!("{}@{}", found.name, found.version)),
            name: found.name.clone(),
            version: found.version.clone(),
            hashes: checksum.map(|checksum| hash(checksum)).unwrap_or_default(),
            licenses: licences(found),
            purl,
        }
    });
    let document = Document {
        bom_format: "CycloneDX",
        spec_version: "1.6",
        version: 1,
        metadata: Metadata { component },
        components: components.collect(),
    };
    let mut text = serde_json::to_vec_pretty(&document).map_err(|error| error.to_string())?;
    text.push(b'\n');
    Ok(text)
}

/// `name v1.2.3 (/where)|MIT OR Apache-2.0 (*)`
fn parse(line: &str) -> Result<Crate, String> {
    let wrong = || line.to_owned();
    let (package, licence) = line.split_once('|').ok_or_else(wrong)?;
    let mut words = package.split_whitespace();
    let name = words.next().ok_or_else(wrong)?;
    let version = words.next().and_then(|word| word.strip_prefix('v')).ok_or_else(wrong)?;
    // A star marks what was listed before.
    let licence = licence.trim().trim_end_matches("(*)").trim();
    Ok(Crate { name: name.to_owned(), version: version.to_owned(), licence: licence.to_owned() })
}

/// Old manifests have `/` for `OR`.
fn licences(found: &Crate) -> Vec<License> {
    let expression = found.licence.split('/').map(str::trim).collect::<Vec<_>>().join(" OR ");
    if expression.is_empty() { vec![] } else { vec![License { expression }] }
}

/// Checksums in Cargo.lock, by name and version.
fn checksums(lock: &str) -> BTreeMap<(&str, &str), &str> {
    let value = |block: &'_ str, key: &str| -> Option<(usize, usize)> {
        let start = block.find(&format!("\n{key} = \""))? + key.len() + 5;
        Some((start, start + block[start..].find('"')?))
    };
    lock.split("[[package]]")
        .filter_map(|block| {
            let text = |key| value(block, key).map(|(start, end)| &block[start..end]);
            Some(((text("name")?, text("version")?), text("checksum")?))
        })
        .collect()
}
