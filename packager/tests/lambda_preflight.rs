//! What Lambda would refuse, and the exact values at which it would.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod toy;

use std::collections::BTreeMap;
use toy::{functions_with, index, manifest, surroundings, tensor};
use tranche_packager::lambda::{FunctionDescription, Severity, Surroundings, preflight};
use tranche_schema::{ByteCount, Codec, LambdaIndex, LambdaPackageKind, Manifest, MilliCpu, Millis};

struct Case {
    functions: Vec<FunctionDescription>,
    index: LambdaIndex,
    manifest: Manifest,
    surroundings: Surroundings,
}

impl Case {
    fn of(change: impl FnOnce(&mut Self)) -> Vec<String> {
        let mut case = Self {
            functions: functions_with(|_| {}),
            index: index(),
            manifest: manifest(),
            surroundings: surroundings(),
        };
        change(&mut case);
        let findings = preflight(&case.functions, &case.index, &case.manifest, &case.surroundings);
        assert!(findings.iter().all(|finding| !finding.hint.is_empty()));
        assert!(findings.iter().map(|finding| std::cmp::Reverse(finding.severity)).is_sorted());
        findings.iter().map(ToString::to_string).collect()
    }

    /// The first function, a zip file; the third is an image.
    fn first(&mut self) -> &mut FunctionDescription {
        &mut self.functions[0]
    }

    fn third(&mut self) -> &mut FunctionDescription {
        &mut self.functions[2]
    }

    fn set(&mut self, name: &str, value: &str) {
        self.first().environment.insert(name.to_owned(), value.to_owned());
    }
}

type Change = fn(&mut Case);

#[test]
fn nothing_is_wrong_with_a_plain_deployment() {
    assert_eq!(Case::of(|_| {}), Vec::<String>::new());
}

/// One rule a row, each broken alone.
const BROKEN: &[Change] = &[
    |case| case.first().memory_mib = 20_000,
    |case| case.first().ephemeral_storage_mib = 40_000,
    |case| case.first().timeout_s = 901,
    |case| case.first().name = "toy.first".to_owned(),
    |case| case.first().description = "d".repeat(257),
    |case| case.first().handler = Some("boot strap".to_owned()),
    |case| case.set("LARGE", &"x".repeat(5000)),
    |case| case.set("AWS_REGION", "eu-central-1"),
    |case| case.set("1ST", "x"),
    |case| case.first().tags.extend(many_tags()),
    |case| _ = case.first().tags.insert("k".repeat(129), String::new()),
    |case| _ = case.first().tags.insert("odd".to_owned(), "a*b".to_owned()),
    |case| _ = case.first().tags.insert("AWS:mine".to_owned(), String::new()),
    |case| case.first().runtime = Some("provided.al2".to_owned()),
    |case| case.first().runtime = Some("python3.13".to_owned()),
    |case| case.first().runtime = None,
    |case| case.third().runtime = Some("provided.al2023".to_owned()),
    |case| case.first().architecture = "arm64".to_owned(),
    |case| case.first().architecture = "x86_64,arm64".to_owned(),
    |case| {
        case.index.architecture = "arm64".to_owned();
        for function in &mut case.functions {
            function.architecture = "arm64".to_owned();
        }
        case.set("TRANCHE_ENGINE", "onnxruntime");
    },
    |case| case.first().snap_start = true,
    |case| (case.third().snap_start, case.third().ephemeral_storage_mib) = (true, 513),
    |case| (case.third().snap_start, case.third().provisioned_concurrency) = (true, Some(1)),
    |case| {
        (case.first().reserved_concurrency, case.first().provisioned_concurrency) = (Some(1), Some(2));
    },
    |case| case.set("TRANCHE_THREADS", "2"),
    |case| case.set("TRANCHE_THREADS", "0"),
    |case| case.set("TRANCHE_THREADS", "many"),
    |case| case.manifest.slices[0].size.memory_bytes = ByteCount::mebibytes(10_241),
    |case| case.first().memory_mib = 511,
    |case| case.manifest.files[0].bytes = ByteCount::mebibytes(600),
    |case| case.manifest.slices[0].size.cpu_milli = MilliCpu(6000),
    |case| case.manifest.slices[0].prediction.billed_ms = Millis(121_000.0),
    |case| case.index.packages[0].bytes = ByteCount(50_000_001),
    |case| case.index.packages[0].unzipped_bytes = ByteCount::mebibytes(221),
    |case| case.index.packages[2].unzipped_bytes = ByteCount::mebibytes(10_241),
    |case| case.first().layers = vec!["tranche-shared".to_owned(); 6],
    |case| case.first().layers.push("other".to_owned()),
    |case| case.third().layers.push("tranche-shared".to_owned()),
    |case| _ = case.index.packages.remove(0),
    |case| case.first().package = LambdaPackageKind::ZipBucket,
    |case| case.surroundings.code_bucket = false,
    |case| case.surroundings.repository = false,
    |case| case.functions[1].name = "toy-first".to_owned(),
    |case| _ = case.functions.remove(1),
    |case| case.manifest.edges[1].tensor = tensor("y", 2_000_000),
    |case| {
        case.manifest.edges[1].tensor = tensor("y", 2_000_000);
        case.manifest.edges[1].codec = Codec::Zstd;
    },
    |case| case.manifest.edges[0].tensor = tensor("x", 2_000_000),
    |case| case.manifest.edges[2].tensor = tensor("z", 10_000_000),
    |case| case.manifest.edges[2].tensor = tensor("z", 60_000_000),
    |case| {
        case.manifest.edges[1].tensor = tensor("y", 1_000_000);
        case.manifest.edges[0].tensor = tensor("x", 1_000_000);
        case.manifest.edges[0].to.push("second".to_owned());
    },
    |case| case.surroundings.state_machine = true,
    |case| case.surroundings.continuation = true,
    |case| {
        (case.surroundings.state_machine, case.surroundings.store) = (true, true);
        case.first().timeout_s = 301;
    },
    |case| case.surroundings.account.code_bytes_left = Some(1),
    |case| case.surroundings.account.concurrency = Some(2),
    |case| {
        case.surroundings.account.unreserved_concurrency = Some(109);
        case.first().reserved_concurrency = Some(10);
    },
];

#[test]
fn each_rule_says_what_is_wrong_and_where() {
    let found: Vec<String> = BROKEN
        .iter()
        .map(|change| {
            let findings = Case::of(change);
            assert!(!findings.is_empty());
            findings.join("\n  ")
        })
        .collect();
    insta::assert_snapshot!(found.join("\n"), @r"
    error: toy-first: memory of 20000 MiB is outside 128 to 10240 MiB
    error: toy-first: ephemeral storage of 40000 MiB is outside 512 to 10240 MiB
    error: toy-first: timeout of 901 s is outside 1 to 900 s
    error: toy.first: the name has 9 characters or other than letters, digits, - and _; the limit is 64
    error: toy-first: the description has 257 characters, the limit is 256
    error: toy-first: the handler is empty, has spaces or more than 128 characters
    error: toy-first: its environment has 5100 bytes with names and punctuation, the limit is 4096
    error: toy-first: AWS_REGION is Lambda's own variable
    error: toy-first: `1ST` is no name of a variable for Lambda
    error: toy-first: it has 51 tags, the limit is 50
    error: toy-first: tag `kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk` has a key of 129 and a value of 0 characters; the limits are 128 and 256
    error: toy-first: tag `odd` has characters other than letters, digits, spaces and _.:/=+-@
    error: toy-first: tag `AWS:mine` begins with `aws:`, which AWS keeps for itself
    error: toy-first: runtime provided.al2 is deprecated since 31 July 2026 and has a C library that is too old
    error: toy-first: runtime python3.13 does not start a program
    error: toy-first: a zip file needs a runtime
    error: toy-third: an image has no runtime
    error: toy-first: the function is for arm64, its program is for x86_64
    error: toy-first: `x86_64,arm64` is no one architecture that Lambda has
    warning: toy-first: ONNX Runtime may end at start on arm64: it reads /sys/devices/system/cpu/possible, which Lambda lacks
    error: toy-first: SnapStart does not take zip files on provided.al2023
    error: toy-third: SnapStart takes at most 512 MiB of ephemeral storage, not 513
    error: toy-third: SnapStart and provisioned concurrency exclude each other
    error: toy-first: 2 environments are to be kept ready, but concurrency is 1 at most
    warning: toy-first: 2 threads share 0.50 processors: 3538 MiB give 2
    error: toy-first: it has no engine threads
    error: toy-first: TRANCHE_THREADS is `many`, no number
    error: toy-first: the plan gives it 10241 MiB of memory, Lambda has 10240 MiB
    warning: toy-first: the plan gives it 512 MiB of memory, the function has 511 MiB
    warning: toy-first: its weights of 600 MiB need 1.2 GiB with tract, the function has 885 MiB
    warning: toy-first: the plan gives it 6.00 processors, Lambda has 5.79 at most
    error: toy-first: the plan expects it to take 121 s, its timeout is 120 s
    error: toy-first: its zip file has 47.7 MiB (50,000,001 bytes), a call takes 47.7 MiB (50,000,000 bytes)
    error: toy-first: it unpacks to 251 MiB (263,192,576 bytes) with its layers, zip files may to 250 MiB (262,144,000 bytes)
    error: toy-third: its image unpacks to 10.0 GiB (10,738,466,816 bytes), images may to 10.0 GiB (10,737,418,240 bytes)
    error: toy-first: it has 6 layers, the limit is 5
      error: toy-first: it unpacks to 290 MiB (304,087,040 bytes) with its layers, zip files may to 250 MiB (262,144,000 bytes)
    error: toy-first: there is no layer `other`
    error: toy-third: images take no layers
    error: toy-first: slice `first` has no package
    error: toy-first: the function wants zip through S3, its package is zip
    error: toy-second: its zip file of 20.0 MiB goes through a bucket, and there is none
    error: toy-third: it goes as an image, and there is no repository
    error: toy-first: two functions have this name
    error: no function runs slice `second`
    error: toy-first: edge `y` from first to second, third has 7.6 MiB, a payload takes 4.5 MiB of tensors, and there is no object store
    warning: toy-first: edge `y` from first to second, third has 7.6 MiB, a payload takes 4.5 MiB of tensors, and there is no object store: it passes only where it compresses to that
    error: toy-first: edge `x` from the caller to first has 7.6 MiB, a payload takes 4.5 MiB of tensors, and there is no object store
    warning: toy-second: the answer's `z` has 38.1 MiB: beyond 4.5 MiB an answer is streamed at 2.0 MiB a second, 16 s which are billed
    error: toy-second: the answer's `z` has 229 MiB, a streamed answer takes 200 MiB, and there is no object store
    error: toy-second: the 2 inputs of slice `second` have 7.6 MiB together, a payload takes 4.5 MiB of tensors, and there is no object store
    error: requests that are walked within AWS pass tensors through an object store, and there is none
    error: requests that are walked within AWS pass tensors through an object store, and there is none
    warning: Express state machines end after 300 s, before functions of 301 s do
    error: the zip files have 50.0 MiB, the account's code storage has 1 B left in this region
    warning: 3 functions may run at one time, the account's concurrency is 2
    error: the functions set 10 of concurrency aside; the account has 109, of which 100 must stay free
    ");
}

fn many_tags() -> BTreeMap<String, String> {
    (0..46).map(|number| (format!("tag-{number}"), String::new())).collect()
}

/// The last value that is taken, and the first that is not.
const BOUNDARIES: &[(Change, Change)] = &[
    (
        // The plan's memory is left alone.
        |case| (case.first().memory_mib, case.manifest.slices[0].size.memory_bytes) = (128, SMALL),
        |case| (case.first().memory_mib, case.manifest.slices[0].size.memory_bytes) = (127, SMALL),
    ),
    (|case| case.first().memory_mib = 10_240, |case| case.first().memory_mib = 10_241),
    (|case| case.first().ephemeral_storage_mib = 512, |case| case.first().ephemeral_storage_mib = 511),
    (|case| case.first().ephemeral_storage_mib = 10_240, |case| case.first().ephemeral_storage_mib = 10_241),
    (|case| case.first().timeout_s = 1, |case| case.first().timeout_s = 0),
    (|case| case.first().timeout_s = 900, |case| case.first().timeout_s = 901),
    (|case| case.first().name = "n".repeat(64), |case| case.first().name = "n".repeat(65)),
    (|case| case.first().name = "n".to_owned(), |case| case.first().name = String::new()),
    (|case| case.first().description = "é".repeat(256), |case| case.first().description = "é".repeat(257)),
    (
        |case| case.first().handler = Some("h".repeat(128)),
        |case| case.first().handler = Some("h".repeat(129)),
    ),
    (|case| environment_of(case, 4096), |case| environment_of(case, 4097)),
    (|case| case.set("ab", ""), |case| case.set("a", "")),
    (|case| tags_of(case, 50), |case| tags_of(case, 51)),
    (|case| tag(case, 128, 256), |case| tag(case, 129, 256)),
    (|case| tag(case, 128, 256), |case| tag(case, 128, 257)),
    (|case| tag(case, 1, 0), |case| tag(case, 0, 0)),
    (
        |case| case.third().snap_start = true,
        |case| {
            (case.third().snap_start, case.third().ephemeral_storage_mib) = (true, 513);
        },
    ),
    (
        |case| (case.first().memory_mib, _) = (3538, case.set("TRANCHE_THREADS", "2")),
        |case| (case.first().memory_mib, _) = (3537, case.set("TRANCHE_THREADS", "2")),
    ),
    (|case| case.first().memory_mib = 512, |case| case.first().memory_mib = 511),
    (
        |case| case.manifest.files[0].bytes = ByteCount::mebibytes(442),
        |case| case.manifest.files[0].bytes = ByteCount::mebibytes(443),
    ),
    (
        |case| case.manifest.slices[0].prediction.billed_ms = Millis(120_000.0),
        |case| case.manifest.slices[0].prediction.billed_ms = Millis(120_000.1),
    ),
    (
        |case| case.index.packages[0].bytes = ByteCount(50_000_000),
        |case| case.index.packages[0].bytes = ByteCount(50_000_001),
    ),
    (
        |case| case.index.packages[0].unzipped_bytes = ByteCount(262_144_000 - (30 << 20)),
        |case| case.index.packages[0].unzipped_bytes = ByteCount(262_144_001 - (30 << 20)),
    ),
    (
        |case| case.index.packages[1].unzipped_bytes = ByteCount(262_144_000),
        |case| case.index.packages[1].unzipped_bytes = ByteCount(262_144_001),
    ),
    (
        |case| case.index.packages[2].unzipped_bytes = ByteCount(10_737_418_240),
        |case| case.index.packages[2].unzipped_bytes = ByteCount(10_737_418_241),
    ),
    (|case| layers_of(case, 5), |case| layers_of(case, 6)),
    // (6,291,556 − 8192) / 4 × 3 bytes.
    (|case| bytes_of(case, 1, 4_712_523), |case| bytes_of(case, 1, 4_712_524)),
    (|case| bytes_of(case, 0, 4_712_523), |case| bytes_of(case, 0, 4_712_524)),
    (
        |case| (case.surroundings.store, _) = (true, bytes_of(case, 2, 1 << 40)),
        |case| bytes_of(case, 2, (200 << 20) + 1),
    ),
    (|case| bytes_of(case, 2, 4_712_523 + (10 << 20) - 1), |case| bytes_of(case, 2, 4_712_523 + (10 << 20))),
    (
        |case| case.surroundings.account.code_bytes_left = Some(50 << 20),
        |case| case.surroundings.account.code_bytes_left = Some((50 << 20) - 1),
    ),
    (
        |case| case.surroundings.account.concurrency = Some(3),
        |case| case.surroundings.account.concurrency = Some(2),
    ),
    (|case| reserve(case, 110), |case| reserve(case, 109)),
    (|case| slices_of(case, 256), |case| slices_of(case, 257)),
    (
        |case| (case.first().timeout_s, _) = (300, walk(case)),
        |case| {
            (case.first().timeout_s, _) = (301, walk(case));
        },
    ),
];

const SMALL: ByteCount = ByteCount::mebibytes(100);

#[test]
fn limits_are_exact() {
    for (number, (taken, refused)) in BOUNDARIES.iter().enumerate() {
        let weights = |case: &mut Case| {
            if case.functions[0].memory_mib < 512 {
                case.manifest.files[0].bytes = ByteCount(1);
            }
        };
        let findings = Case::of(|case| {
            taken(case);
            weights(case);
        });
        assert_eq!(findings, Vec::<String>::new(), "taken {number}");
        let findings = Case::of(|case| {
            refused(case);
            weights(case);
        });
        assert_eq!(findings.len(), 1, "refused {number}: {findings:?}");
    }
}

#[test]
fn a_streamed_answer_of_the_limit_is_slow_and_passes() {
    let findings = Case::of(|case| bytes_of(case, 2, 200 << 20));
    assert!(matches!(findings.as_slice(), [finding] if finding.starts_with("warning")), "{findings:?}");
}

#[test]
fn what_does_not_work_is_an_error() {
    let severity = |change: Change| {
        let mut case = Case {
            functions: functions_with(|_| {}),
            index: index(),
            manifest: manifest(),
            surroundings: surroundings(),
        };
        change(&mut case);
        preflight(&case.functions, &case.index, &case.manifest, &case.surroundings)[0].severity
    };
    assert_eq!(severity(|case| case.first().memory_mib = 10_241), Severity::Error);
    assert_eq!(severity(|case| case.first().memory_mib = 511), Severity::Warning);
}

#[test]
fn every_reserved_variable_is_refused() {
    for name in tranche_packager::lambda::limits::RESERVED_VARIABLES {
        let findings = Case::of(|case| case.set(name, "x"));
        assert_eq!(findings, [format!("error: toy-first: {name} is Lambda's own variable")]);
    }
}

/// An environment that is this long as JSON.
fn environment_of(case: &mut Case, bytes: usize) {
    case.first().environment = BTreeMap::from([("NAME".to_owned(), String::new())]);
    let around = serde_json::to_string(&case.functions[0].environment).unwrap().len();
    case.set("NAME", &"x".repeat(bytes - around));
}

fn tags_of(case: &mut Case, count: usize) {
    case.first().tags = (0..count).map(|number| (format!("tag-{number}"), String::new())).collect();
}

fn tag(case: &mut Case, key: usize, value: usize) {
    case.first().tags.insert("k".repeat(key), "v".repeat(value));
}

fn layers_of(case: &mut Case, count: usize) {
    case.index.layers[0].unzipped_bytes = ByteCount(1);
    case.first().layers = vec!["tranche-shared".to_owned(); count];
}

/// Gives the tensor of an edge this many bytes.
fn bytes_of(case: &mut Case, edge: usize, bytes: u64) {
    let spec = &mut case.manifest.edges[edge].tensor;
    spec.element_type = tranche_schema::ElementType::UInt8;
    spec.shape = vec![bytes];
}

fn reserve(case: &mut Case, unreserved: u32) {
    case.surroundings.account.unreserved_concurrency = Some(unreserved);
    case.first().reserved_concurrency = Some(10);
}

fn walk(case: &mut Case) {
    (case.surroundings.state_machine, case.surroundings.store) = (true, true);
}

/// So many functions of the first slice's kind.
fn slices_of(case: &mut Case, count: usize) {
    walk(case);
    for number in case.functions.len()..count {
        let mut function = case.functions[0].clone();
        function.name = format!("toy-{number}");
        case.functions.push(function);
    }
}
