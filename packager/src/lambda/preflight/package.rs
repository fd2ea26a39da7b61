//! Rules of one function's package.

use super::{Findings, Surroundings};
use crate::lambda::FunctionDescription;
use crate::lambda::choice::exact;
use crate::lambda::limits::{IMAGE_BYTES, INLINE_ZIP_BYTES, LAYER_COUNT, UNZIPPED_BYTES};
use tranche_schema::{ByteCount, LambdaIndex, LambdaPackage, LambdaPackageKind};

pub(super) fn check(
    function: &FunctionDescription,
    index: &LambdaIndex,
    surroundings: &Surroundings,
    findings: &mut Findings,
) {
    let mut packages = index.packages.iter().chain(&index.entry);
    let Some(package) = packages.find(|package| package.slice == function.slice) else {
        findings.error(
            format!("slice `{}` has no package", function.slice),
            "package this very bundle for Lambda first",
        );
        return;
    };
    if package.kind != function.package {
        findings.error(
            format!("the function wants {}, its package is {}", function.package, package.kind),
            "describe the functions again; a function's kind of package cannot be changed once it is there",
        );
    }
    layers(function, index, findings);
    match package.kind {
        LambdaPackageKind::Image => image(package, surroundings, findings),
        _ => zip(function, package, index, surroundings, findings),
    }
}

fn layers(function: &FunctionDescription, index: &LambdaIndex, findings: &mut Findings) {
    let count = function.layers.len();
    if count > LAYER_COUNT {
        findings.error(format!("it has {count} layers, the limit is {LAYER_COUNT}"), "use fewer layers");
    }
    if count > 0 && function.package == LambdaPackageKind::Image {
        findings
            .error("images take no layers".to_owned(), "package again: an image holds what a layer would");
    }
    for name in &function.layers {
        if !index.layers.iter().any(|layer| &layer.name == name) {
            findings
                .error(format!("there is no layer `{name}`"), "package this very bundle for Lambda first");
        }
    }
}

fn zip(
    function: &FunctionDescription,
    package: &LambdaPackage,
    index: &LambdaIndex,
    surroundings: &Surroundings,
    findings: &mut Findings,
) {
    if package.kind == LambdaPackageKind::ZipInline && package.bytes.0 > INLINE_ZIP_BYTES {
        findings.error(
            format!(
                "its zip file has {}, a call takes {}",
                exact(package.bytes),
                exact(ByteCount(INLINE_ZIP_BYTES))
            ),
            "send it through a bucket",
        );
    }
    if package.kind == LambdaPackageKind::ZipBucket && !surroundings.code_bucket {
        findings.error(
            format!("its zip file of {} goes through a bucket, and there is none", package.bytes),
            "name a bucket in the functions' region, or package it as an image",
        );
    }
    let of_layer = |name: &String| index.layers.iter().find(|layer| &layer.name == name);
    let layers: ByteCount =
        function.layers.iter().filter_map(of_layer).map(|layer| layer.unzipped_bytes).sum();
    let sum = package.unzipped_bytes + layers;
    if sum.0 > UNZIPPED_BYTES {
        findings.error(
            format!(
                "it unpacks to {} with its layers, zip files may to {}",
                exact(sum),
                exact(ByteCount(UNZIPPED_BYTES))
            ),
            "package it as an image, or plan more slices",
        );
    }
}

fn image(package: &LambdaPackage, surroundings: &Surroundings, findings: &mut Findings) {
    if package.unzipped_bytes.0 > IMAGE_BYTES {
        findings.error(
            format!(
                "its image unpacks to {}, images may to {}",
                exact(package.unzipped_bytes),
                exact(ByteCount(IMAGE_BYTES))
            ),
            "plan more slices",
        );
    }
    if !surroundings.repository {
        findings.error(
            "it goes as an image, and there is no repository".to_owned(),
            "name a private ECR repository in the functions' region",
        );
    }
}
