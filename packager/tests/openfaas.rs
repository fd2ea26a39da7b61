//! Functions described for OpenFaaS, and what is wrong with them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;
use tranche_packager::openfaas::{
    DescribeOptions, FunctionDeployment, OpenFaasError, Provider, Resources, Severity, StackOptions,
    Surroundings, describe_functions, keys, lint, lint_with, stack_yaml, write_template,
};
use tranche_schema::{
    ByteCount, Channel, Codec, Digest, Document as _, Edge, ElementType, FunctionSize, Manifest, MilliCpu,
    ModelIdentity, SliceManifest, SlicePrediction, TensorSpec,
};

fn tensor(name: &str, extent: u64) -> TensorSpec {
    TensorSpec { name: name.to_owned(), element_type: ElementType::Float32, shape: vec![1, extent] }
}

/// x → first → y → second and third → z.
fn manifest() -> Manifest {
    let slice = |name: &str, inputs: Vec<TensorSpec>, outputs: Vec<TensorSpec>| SliceManifest {
        name: name.to_owned(),
        model: format!("model/{name}.onnx"),
        weights: Vec::new(),
        members: Vec::new(),
        inputs,
        outputs,
        size: FunctionSize { memory_bytes: ByteCount::mebibytes(512), cpu_milli: MilliCpu(500) },
        threads: 1,
        prediction: SlicePrediction::default(),
    };
    let (x, y, z) = (tensor("x", 8), tensor("y", 100_000), tensor("z", 8));
    Manifest {
        header: Manifest::header(),
        model: ModelIdentity { name: "toy".to_owned(), digest: Digest::of(b"model") },
        plan_digest: Digest::of(b"plan"),
        tranche_version: "0".to_owned(),
        engine: "tract".to_owned(),
        inputs: vec![x.clone()],
        outputs: vec![z.clone()],
        slices: vec![
            slice("first", vec![x], vec![y.clone()]),
            slice("second", vec![y.clone()], vec![]),
            slice("third", vec![y.clone()], vec![z]),
        ],
        edges: vec![Edge {
            tensor: y,
            from: Some("first".to_owned()),
            to: vec!["second".to_owned(), "third".to_owned()],
            to_caller: false,
            codec: Codec::Raw,
            channel: Channel::Inline,
        }],
        files: Vec::new(),
    }
}

fn images() -> BTreeMap<String, String> {
    let image = |name: &str| (name.to_owned(), format!("127.0.0.1:5000/toy@{}", Digest::of(name.as_bytes())));
    ["first", "second", "third"].map(image).into()
}

fn functions_with(change: impl FnOnce(&mut DescribeOptions)) -> Vec<FunctionDeployment> {
    let mut options = DescribeOptions::new("toy");
    change(&mut options);
    describe_functions(&manifest(), &images(), &options).unwrap()
}

fn functions() -> Vec<FunctionDeployment> {
    functions_with(|_| {})
}

#[test]
fn a_function_is_what_the_gateway_takes() {
    let json = serde_json::to_string_pretty(&functions()[0]).unwrap();
    insta::assert_snapshot!(json, @r#"
    {
      "service": "toy-first-e2502e8d",
      "image": "127.0.0.1:5000/toy@sha256:a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e",
      "envVars": {
        "exec_timeout": "50s",
        "max_inflight": "16",
        "read_timeout": "55s",
        "write_timeout": "55s"
      },
      "labels": {
        "com.openfaas.scale.max": "1",
        "com.openfaas.scale.min": "1",
        "tranche.deployment": "toy",
        "tranche.generation": "e2502e8d",
        "tranche.slice": "first"
      },
      "annotations": {
        "tranche.next": "second,third",
        "tranche.plan-digest": "sha256:64879f7d6b960a01909762d911a32d4582c20010c5641ee90278b644a9e3b525",
        "tranche.request-bytes": "32",
        "tranche.response-bytes": "400000",
        "tranche.slice": "first"
      },
      "limits": {
        "memory": "512Mi",
        "cpu": "500m"
      },
      "requests": {
        "memory": "512Mi",
        "cpu": "500m"
      },
      "readOnlyRootFilesystem": true
    }
    "#);
    let back: FunctionDeployment = serde_json::from_str(&json).unwrap();
    assert_eq!(back, functions()[0]);
}

#[test]
fn names_follow_what_functions_are() {
    let name = |functions: Vec<FunctionDeployment>, index: usize| functions[index].service.clone();
    let first = name(functions(), 0);
    let mut other_plan = manifest();
    other_plan.plan_digest = Digest::of(b"another plan");
    other_plan.slices[1].size.memory_bytes = ByteCount::mebibytes(256);
    let changed = describe_functions(&other_plan, &images(), &DescribeOptions::new("toy")).unwrap();
    assert_eq!(changed[0].service, first, "an unchanged slice keeps its function");
    assert_ne!(changed[1].service, functions()[1].service);
    assert_ne!(name(functions_with(|options| options.optimise = false), 0), first);
    assert_ne!(name(functions_with(|options| options.max_inflight = 1), 0), first);
    let mut images = images();
    images.insert("first".to_owned(), "127.0.0.1:5000/other".to_owned());
    let other = describe_functions(&manifest(), &images, &DescribeOptions::new("toy")).unwrap();
    assert_ne!(other[0].service, first);
}

#[test]
fn options_reach_the_function() {
    let functions = functions_with(|options| {
        options.engine = Some("onnxruntime".to_owned());
        options.cpu = Some(MilliCpu(2500));
        options.memory_request = Some(ByteCount::mebibytes(256));
        options.cpu_request = Some(MilliCpu(250));
        options.namespace = Some("fn".to_owned());
        options.timeouts.exec = Duration::from_millis(1500);
        options.environment.insert("TRANCHE_LOG".to_owned(), "debug".to_owned());
    });
    let function = &functions[0];
    insta::assert_debug_snapshot!(function.env_vars, @r#"
    {
        "TRANCHE_ENGINE": "onnxruntime",
        "TRANCHE_LOG": "debug",
        "TRANCHE_THREADS": "2",
        "exec_timeout": "1500ms",
        "max_inflight": "16",
        "read_timeout": "55s",
        "write_timeout": "55s",
    }
    "#);
    let quantities =
        |memory: &str, cpu: &str| Some(Resources { memory: memory.to_owned(), cpu: cpu.to_owned() });
    assert_eq!(function.limits, quantities("512Mi", "2500m"));
    assert_eq!(function.requests, quantities("256Mi", "250m"));
    assert_eq!(function.namespace.as_deref(), Some("fn"));
    let unlimited = functions_with(|options| options.limits = false);
    assert_eq!((&unlimited[0].limits, &unlimited[0].requests), (&None, &None));
}

#[test]
fn a_slice_without_an_image_is_named() {
    let error = describe_functions(&manifest(), &BTreeMap::new(), &DescribeOptions::new("toy")).unwrap_err();
    assert_eq!(error.to_string(), "slice `first` has no image");
}

#[test]
fn stacks_are_what_faas_cli_reads() {
    let deploy = StackOptions { gateway: "http://127.0.0.1:8080".to_owned(), build_from: None };
    insta::assert_snapshot!(stack_yaml(&functions()[..1], &deploy).unwrap(), @r#"
    version: "1.0"
    provider:
      name: openfaas
      gateway: http://127.0.0.1:8080
    functions:
      toy-first-e2502e8d:
        skip_build: true
        image: 127.0.0.1:5000/toy@sha256:a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e
        environment:
          exec_timeout: 50s
          max_inflight: "16"
          read_timeout: 55s
          write_timeout: 55s
        labels:
          com.openfaas.scale.max: "1"
          com.openfaas.scale.min: "1"
          tranche.deployment: toy
          tranche.generation: e2502e8d
          tranche.slice: first
        annotations:
          tranche.next: second,third
          tranche.plan-digest: sha256:64879f7d6b960a01909762d911a32d4582c20010c5641ee90278b644a9e3b525
          tranche.request-bytes: "32"
          tranche.response-bytes: "400000"
          tranche.slice: first
        limits:
          memory: 512Mi
          cpu: 500m
        requests:
          memory: 512Mi
          cpu: 500m
        readonly_root_filesystem: true
    "#);
    let build = StackOptions { build_from: Some("./bundle".to_owned()), ..deploy };
    let text = stack_yaml(&functions()[..1], &build).unwrap();
    assert!(text.contains("lang: tranche\n    handler: ./bundle\n"), "{text}");
    assert!(text.contains("TRANCHE_SLICE: first\n"), "{text}");
}

/// The fields that faas-cli checks or passes on.
#[derive(Debug, Deserialize)]
struct Stack {
    version: String,
    provider: BTreeMap<String, String>,
    functions: BTreeMap<String, StackFunction>,
}

#[derive(Debug, Deserialize)]
struct StackFunction {
    image: String,
    environment: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    limits: BTreeMap<String, String>,
}

#[test]
fn values_survive_yaml_and_substitution() {
    let hostile = [
        ("A", "${HOME:-x} $HOME $$ $"),
        ("B", r"a\b \\ \/ \"),
        ("C", "yes"),
        ("D", "1.0"),
        ("E", ": - # {}[]&*!|>'\"%@`"),
        ("F", " led and trailed "),
        ("G", "two\nlines\n"),
        ("H", ""),
        ("I", "~"),
        ("J", "0x1F"),
        ("K", "tab\tand é ☃"),
    ];
    let functions = functions_with(|options| {
        let pairs = hostile.map(|(name, value)| (name.to_owned(), value.to_owned()));
        options.environment.extend(pairs);
    });
    let options = StackOptions { gateway: "http://h:8080".to_owned(), build_from: None };
    let text = substitute(&stack_yaml(&functions, &options).unwrap());
    let stack: Stack = serde_saphyr::from_str(&text).unwrap();
    assert_eq!((stack.version.as_str(), stack.provider["name"].as_str()), ("1.0", "openfaas"));
    for function in &functions {
        let read = &stack.functions[&function.service];
        assert_eq!(read.image, function.image);
        assert_eq!(read.environment, function.env_vars);
        assert_eq!(read.labels, function.labels);
        assert_eq!(read.limits["memory"], function.limits.as_ref().unwrap().memory);
    }
}

/// `drone/envsubst`: a doubled `$`, and a `\` before `\` or `/`, lose their
/// first; `${NAME}` is a variable, of which there are none.
fn substitute(text: &str) -> String {
    let mut result = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, characters.peek()) {
            ('$', Some('$')) | ('\\', Some('\\' | '/')) => result.extend(characters.next()),
            ('$', Some('{')) => {
                let _ = characters.by_ref().find(|c| *c == '}');
            }
            _ => result.push(character),
        }
    }
    result
}

#[test]
fn templates_are_written_whole_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let shim = folder.path().join("shim");
    std::fs::write(&shim, b"program").unwrap();
    let path = write_template(folder.path(), &shim).unwrap();
    assert_eq!(path, folder.path().join("template/tranche"));
    std::fs::write(&shim, b"newer").unwrap();
    write_template(folder.path(), &shim).unwrap();
    assert_eq!(std::fs::read(path.join("tranche-shim")).unwrap(), b"newer");
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    let yaml: BTreeMap<String, String> =
        serde_saphyr::from_str(&std::fs::read_to_string(path.join("template.yml")).unwrap()).unwrap();
    assert_eq!((yaml["language"].as_str(), yaml["fprocess"].as_str()), ("tranche", "/tranche/tranche-shim"));
    assert!(path.join("function").is_dir() && path.join("Dockerfile").is_file());

    std::fs::write(path.join("template.yml"), "language: python\n").unwrap();
    assert!(matches!(write_template(folder.path(), &shim), Err(OpenFaasError::TemplateExists(_))));
    assert!(matches!(
        write_template(&folder.path().join("b"), &folder.path().join("none")),
        Err(OpenFaasError::Io { .. })
    ));
    assert_eq!(std::fs::read_dir(folder.path().join("b/template")).unwrap().count(), 0);
}

/// Findings of the first function alone after `change`.
fn findings(change: impl FnOnce(&mut FunctionDeployment)) -> Vec<String> {
    findings_in(Surroundings::new(Some(Provider::Kubernetes), 0), change)
}

fn findings_in(surroundings: Surroundings, change: impl FnOnce(&mut FunctionDeployment)) -> Vec<String> {
    let mut function = functions().swap_remove(0);
    function.service = "toy".to_owned();
    function.image = format!("registry.example/toy@{}", Digest::of(b"image"));
    change(&mut function);
    lint_with(&[function], &surroundings).iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_right_has_no_findings() {
    assert_eq!(findings(|_| {}), Vec::<String>::new());
}

#[test]
fn what_is_wrong_is_found() {
    let label = |name: &'static str, value: &'static str| {
        findings(|function| {
            function.labels.insert(name.to_owned(), value.to_owned());
        })
    };
    let environment = |name: &'static str, value: &'static str| {
        findings(|function| {
            function.env_vars.insert(name.to_owned(), value.to_owned());
        })
    };
    let limits = |memory: &str, cpu: &str| {
        let resources = Some(Resources { memory: memory.to_owned(), cpu: cpu.to_owned() });
        findings(|function| function.limits = resources)
    };
    let all = [
        findings(|function| function.service = "Slice_A".to_owned()),
        findings(|function| function.service = "a".repeat(64)),
        findings(|function| function.service = "0a".to_owned()),
        findings(|function| function.image = String::new()),
        findings(|function| function.image = "127.0.0.1:5000/toy:latest".to_owned()),
        limits("64MB", "500m"),
        limits("512m", "500m"),
        limits("256Mi", "250m"),
        findings(|function| (function.limits, function.requests) = (None, None)),
        label(keys::SLICE, "-a"),
        label("com.openfaas.scale.zero", "true"),
        label("com.openfaas.scale.zero", "false"),
        label("com.openfaas.scale.target", "50"),
        label(keys::SCALE_MAX, "6"),
        label(keys::SCALE_MIN, "3"),
        environment("exec_timeout", "56s"),
        environment("exec_timeout", "fast"),
        environment("max_inflight", "-1"),
        environment("A B", ""),
        findings(|function| function.constraints = vec!["gpu".to_owned()]),
    ];
    insta::assert_snapshot!(all.concat().join("\n"), @r"
    error: Slice_A: the name is no DNS label
    error: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: the name is no DNS label
    error: 0a: the name of a Kubernetes service cannot begin with a digit
    error: toy: `` is no image
    warning: toy: image 127.0.0.1:5000/toy:latest is not pinned by digest: another push changes what runs
    warning: toy: image 127.0.0.1:5000/toy:latest is on each node's own loopback
    error: toy: limits: `64MB` is not a quantity of memory: its suffix is none of Ki Mi Gi Ti k M G T m
    error: toy: the memory limit is below one mebibyte
    error: toy: its memory request is larger than its memory limit
    error: toy: its memory request is larger than its memory limit
    error: toy: its cpu request is larger than its cpu limit
    warning: toy: there is no memory limit
    error: toy: label tranche.slice has the value `-a`
    error: toy: the Community Edition refuses label com.openfaas.scale.zero
    error: toy: the Community Edition refuses label com.openfaas.scale.target
    error: toy: label com.openfaas.scale.max is not between 1 and 5
    error: toy: its least number of replicas, 3, is above its most, 1
    error: toy: exec_timeout is longer than read_timeout
    error: toy: exec_timeout is longer than write_timeout
    error: toy: exec_timeout is `fast`
    error: toy: max_inflight is no number
    error: toy: `A B` cannot name an environment variable
    warning: the Community Edition ignores constraints
    ");
}

#[test]
fn a_gateway_that_gives_up_first_is_found() {
    let mut surroundings = Surroundings::new(Some(Provider::Kubernetes), 0);
    let slow = |function: &mut FunctionDeployment| {
        for name in ["exec_timeout", "read_timeout", "write_timeout"] {
            function.env_vars.insert(name.to_owned(), "2m".to_owned());
        }
    };
    assert_eq!(
        findings_in(surroundings, slow),
        ["warning: toy: exec_timeout is longer than the gateway's 60 s"]
    );
    surroundings.gateway_timeout = Some(Duration::from_secs(90));
    assert_eq!(
        findings_in(surroundings, slow),
        ["error: toy: exec_timeout is longer than the gateway's 90 s"]
    );
    surroundings.gateway_timeout = Some(Duration::from_secs(120));
    assert_eq!(findings_in(surroundings, slow), Vec::<String>::new());
}

#[test]
fn only_fifteen_functions_fit() {
    let three = functions();
    let errors = |running: usize| {
        let findings = lint(&three, Provider::Faasd, running);
        findings.into_iter().filter(|finding| finding.severity == Severity::Error).collect::<Vec<_>>()
    };
    assert_eq!(errors(12), []);
    insta::assert_snapshot!(errors(13)[0], @"error: 3 functions beside 13 that run already are more than the 15 of the Community Edition");
    let twice = [three[0].clone(), three[0].clone()];
    assert!(lint(&twice, Provider::Faasd, 0)[0].message.contains("two functions"));
    let unbounded = Surroundings { function_limit: None, ..Surroundings::new(None, 99) };
    assert!(lint_with(&three, &unbounded).iter().all(|finding| finding.function.is_some()));
}

#[test]
fn what_faasd_ignores_is_said_once() {
    let functions = functions_with(|options| options.replicas = (1, 2));
    let findings = lint(&functions, Provider::Faasd, 0);
    let text: Vec<String> = findings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(text.join("\n"), @r"
    warning: faasd ignores cpu limits: functions share all processors
    warning: faasd ignores requests: nothing is set aside for functions
    warning: faasd ignores read-only root file systems
    warning: faasd runs one replica of a function
    ");
    assert!(findings.iter().all(|finding| finding.severity == Severity::Warning));
}

#[test]
fn asynchronous_bodies_are_small() {
    let surroundings = Surroundings { asynchronous: true, ..Surroundings::new(Some(Provider::Faasd), 0) };
    let errors: Vec<String> = lint_with(&functions(), &surroundings)
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(ToString::to_string)
        .collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors[0].ends_with("a request has 400000 bytes, asynchronous ones at most 256000"),
        "{errors:?}"
    );
}
