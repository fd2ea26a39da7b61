//! Rules of one function's configuration.

use super::Findings;
use crate::lambda::FunctionDescription;
use crate::lambda::describe::can_snap_start;
use crate::lambda::limits::{
    DESCRIPTION_LENGTH, ENVIRONMENT_BYTES, EPHEMERAL_STORAGE_MIB, HANDLER_LENGTH, MEMORY_MIB,
    MEMORY_MIB_PER_CPU, NAME_LENGTH, RESERVED_VARIABLES, RUNTIME, SNAP_START_EPHEMERAL_STORAGE_MIB,
    TAG_COUNT, TAG_KEY_LENGTH, TAG_VALUE_LENGTH, TIMEOUT_S,
};
use crate::lambda::name::{is_function_name, is_tag_character};
use std::ops::RangeInclusive;
use tranche_schema::{ByteCount, LambdaIndex, LambdaPackageKind, Manifest, SliceManifest};

/// Bytes that an engine holds per byte of weights: one that maps its file holds it once, one
/// that copies holds copy and file while it loads (docs/cost-model.md).
const ENGINE_FACTORS: [(&str, u64); 2] = [("onnxruntime", 1), ("tract", 2)];

pub(super) fn check(function: &FunctionDescription, index: &LambdaIndex, findings: &mut Findings) {
    numbers(function, findings);
    texts(function, findings);
    environment(function, findings);
    tags(function, findings);
    platform(function, index, findings);
    starts(function, findings);
    threads(function, findings);
}

fn numbers(function: &FunctionDescription, findings: &mut Findings) {
    let mut within = |what: &str, value: u32, range: &RangeInclusive<u32>, unit: &str, hint| {
        if !range.contains(&value) {
            findings.error(
                format!("{what} of {value} {unit} is outside {} to {} {unit}", range.start(), range.end()),
                hint,
            );
        }
    };
    within(
        "memory",
        function.memory_mib,
        &MEMORY_MIB,
        "MiB",
        "give a memory that Lambda has; a plan with more, smaller slices needs less",
    );
    within(
        "ephemeral storage",
        function.ephemeral_storage_mib,
        &EPHEMERAL_STORAGE_MIB,
        "MiB",
        "give a size of /tmp that Lambda has",
    );
    within(
        "timeout",
        function.timeout_s,
        &TIMEOUT_S,
        "s",
        "give a timeout that Lambda has; what takes longer must be sliced smaller",
    );
}

fn texts(function: &FunctionDescription, findings: &mut Findings) {
    if !is_function_name(&function.name) {
        findings.error(
            format!(
                "the name has {} characters or other than letters, digits, - and _; the limit is {NAME_LENGTH}",
                function.name.chars().count()
            ),
            "give the deployment a shorter, plainer name",
        );
    }
    let length = function.description.chars().count();
    if length > DESCRIPTION_LENGTH {
        findings.error(
            format!("the description has {length} characters, the limit is {DESCRIPTION_LENGTH}"),
            "shorten it",
        );
    }
    if let Some(handler) = &function.handler
        && (handler.is_empty() || handler.len() > HANDLER_LENGTH || handler.contains(char::is_whitespace))
    {
        findings.error(
            format!("the handler is empty, has spaces or more than {HANDLER_LENGTH} characters"),
            "call it `bootstrap`: the runtime starts that whatever it is called",
        );
    }
}

fn environment(function: &FunctionDescription, findings: &mut Findings) {
    // What is made of strings has a JSON form.
    let bytes = serde_json::to_string(&function.environment).unwrap_or_default().len();
    if bytes > ENVIRONMENT_BYTES {
        findings.error(
            format!(
                "its environment has {bytes} bytes with names and punctuation, the limit is {ENVIRONMENT_BYTES}"
            ),
            "set fewer or shorter variables; longer values belong in a file of the package or in Parameter Store",
        );
    }
    for name in function.environment.keys() {
        if RESERVED_VARIABLES.contains(&name.as_str()) {
            findings.error(format!("{name} is Lambda's own variable"), "leave it out: Lambda sets it itself");
        } else if !is_variable(name) {
            findings.error(
                format!("`{name}` is no name of a variable for Lambda"),
                "begin with a letter and go on with letters, digits and _, at least two in all",
            );
        }
    }
}

/// `CreateFunction`, `EnvironmentVariableName`.
fn is_variable(name: &str) -> bool {
    name.len() >= 2
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn tags(function: &FunctionDescription, findings: &mut Findings) {
    let count = function.tags.len();
    if count > TAG_COUNT {
        findings.error(format!("it has {count} tags, the limit is {TAG_COUNT}"), "give fewer tags");
    }
    for (key, value) in &function.tags {
        let (key_length, value_length) = (key.chars().count(), value.chars().count());
        if !(1..=TAG_KEY_LENGTH).contains(&key_length) || value_length > TAG_VALUE_LENGTH {
            findings.error(
                format!(
                    "tag `{key}` has a key of {key_length} and a value of {value_length} characters; the limits are {TAG_KEY_LENGTH} and {TAG_VALUE_LENGTH}"
                ),
                "shorten it",
            );
        }
        if !key.chars().chain(value.chars()).all(is_tag_character) {
            findings.error(
                format!("tag `{key}` has characters other than letters, digits, spaces and _.:/=+-@"),
                "leave them out",
            );
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            findings
                .error(format!("tag `{key}` begins with `aws:`, which AWS keeps for itself"), "rename it");
        }
    }
}

fn platform(function: &FunctionDescription, index: &LambdaIndex, findings: &mut Findings) {
    let is_image = function.package == LambdaPackageKind::Image;
    match function.runtime.as_deref() {
        Some(_) if is_image => findings.error(
            "an image has no runtime".to_owned(),
            "leave the runtime out: the image's entrypoint is started",
        ),
        None if !is_image => findings.error("a zip file needs a runtime".to_owned(), "use provided.al2023"),
        Some("provided.al2") => findings.error(
            "runtime provided.al2 is deprecated since 31 July 2026 and has a C library that is too old"
                .to_owned(),
            "use provided.al2023",
        ),
        Some(runtime) if runtime != RUNTIME => {
            findings.error(format!("runtime {runtime} does not start a program"), "use provided.al2023")
        }
        _ => {}
    }
    match function.architecture.as_str() {
        "x86_64" | "arm64" if function.architecture != index.architecture => findings.error(
            format!(
                "the function is for {}, its program is for {}",
                function.architecture, index.architecture
            ),
            "package with a shim built for the function's architecture",
        ),
        "x86_64" | "arm64" => {}
        other => findings.error(
            format!("`{other}` is no one architecture that Lambda has"),
            "give x86_64 or arm64; an image for several is refused as well",
        ),
    }
    let engine = function.environment.get("TRANCHE_ENGINE").unwrap_or(&index.engine);
    if function.architecture == "arm64" && engine == crate::image::runtime::ONNXRUNTIME {
        findings.warning(
            "ONNX Runtime may end at start on arm64: it reads /sys/devices/system/cpu/possible, which Lambda lacks"
                .to_owned(),
            "use tract, or x86_64",
        );
    }
}

fn starts(function: &FunctionDescription, findings: &mut Findings) {
    if function.snap_start && !can_snap_start(function) {
        let (message, hint) = if function.package == LambdaPackageKind::Image {
            (
                format!(
                    "SnapStart takes at most {SNAP_START_EPHEMERAL_STORAGE_MIB} MiB of ephemeral storage, not {}",
                    function.ephemeral_storage_mib
                ),
                "give it the smallest /tmp, or no SnapStart",
            )
        } else {
            (
                format!("SnapStart does not take zip files on {RUNTIME}"),
                "package it as an image (`prefer` an image), or leave SnapStart out",
            )
        };
        findings.error(message, hint);
    }
    if function.snap_start && function.provisioned_concurrency.is_some() {
        findings
            .error("SnapStart and provisioned concurrency exclude each other".to_owned(), "keep one of them");
    }
    if let (Some(provisioned), Some(reserved)) =
        (function.provisioned_concurrency, function.reserved_concurrency)
        && provisioned > reserved
    {
        findings.error(
            format!("{provisioned} environments are to be kept ready, but concurrency is {reserved} at most"),
            "reserve at least as much as is provisioned",
        );
    }
}

fn threads(function: &FunctionDescription, findings: &mut Findings) {
    let share = function.cpu_share();
    let Some(text) = function.environment.get("TRANCHE_THREADS") else { return };
    let Ok(threads) = text.parse::<u32>() else {
        findings.error(format!("TRANCHE_THREADS is `{text}`, no number"), "give a whole number of threads");
        return;
    };
    if threads == 0 {
        findings.error("it has no engine threads".to_owned(), "give at least one thread");
    } else if threads > 1 && f64::from(threads) > share {
        findings.warning(
            format!(
                "{threads} threads share {share:.2} processors: {} MiB give {threads}",
                u64::from(threads) * u64::from(MEMORY_MIB_PER_CPU)
            ),
            "give a multiple of 1769 MiB, or fewer threads: threads that wait for each other are billed",
        );
    }
}

/// Rules that need the slice's plan.
pub(super) fn check_against_plan(
    function: &FunctionDescription,
    slice: &SliceManifest,
    manifest: &Manifest,
    findings: &mut Findings,
) {
    let most = u64::from(*MEMORY_MIB.end());
    let given = ByteCount::mebibytes(u64::from(function.memory_mib));
    let planned = slice.size.memory_bytes;
    if planned > ByteCount::mebibytes(most) {
        findings.error(
            format!("the plan gives it {} MiB of memory, Lambda has {most} MiB", planned.as_mebibytes_ceil()),
            "plan again with `tranche partition --max-memory 10240MiB`",
        );
    } else if given < planned {
        findings.warning(
            format!("the plan gives it {planned} of memory, the function has {given}"),
            "give at least the plan's memory, or expect it to be killed",
        );
    }
    let weights: u64 = manifest
        .files
        .iter()
        .filter(|file| slice.weights.contains(&file.path))
        .map(|file| file.bytes.0)
        .sum();
    let engine = function.environment.get("TRANCHE_ENGINE").unwrap_or(&manifest.engine);
    let factor = ENGINE_FACTORS.iter().find(|(name, _)| name == engine).map_or(1, |(_, factor)| *factor);
    if given.0 < weights * factor {
        findings.warning(
            format!(
                "its weights of {} need {} with {engine}, the function has {given}",
                ByteCount(weights),
                ByteCount(weights * factor)
            ),
            "give more memory, or plan more slices",
        );
    }
    let share = f64::from(slice.size.cpu_milli.0) / 1000.0;
    let largest = f64::from(*MEMORY_MIB.end()) / f64::from(MEMORY_MIB_PER_CPU);
    if share > largest {
        findings.warning(
            format!("the plan gives it {share:.2} processors, Lambda has {largest:.2} at most"),
            "plan with smaller shares: its times were measured with more than it will have",
        );
    }
    let expected = slice.prediction.billed_ms.as_seconds();
    if function.timeout_s > 0 && expected > f64::from(function.timeout_s) {
        findings.error(
            format!("the plan expects it to take {expected:.0} s, its timeout is {} s", function.timeout_s),
            "raise the timeout (900 s at most), or plan more slices",
        );
    }
}
