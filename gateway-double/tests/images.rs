//! Real images from a real registry, run by the double. Needs root, docker-registry and skopeo.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use serde_json::json;
use std::fs;
use support::image::{LayerBuilder, function_layout, write_layout};
use support::registry::Registry;
use support::{call, quick, wait_until};
use tempfile::TempDir;
use tranche_gateway_double::{GatewayDouble, Options, Provider};

/// A registry with the tests' function, and a double that pulls from it.
struct Place {
    registry: Registry,
    layout: TempDir,
    image: String,
    double: GatewayDouble,
}

impl Place {
    fn new(provider: Provider) -> Self {
        Self::with(quick(provider))
    }

    fn with(options: Options) -> Self {
        assert!(rustix::process::geteuid().is_root(), "images are run as root: run these tests with sudo");
        let registry = Registry::start();
        let layout = TempDir::new().unwrap();
        function_layout(layout.path(), "function");
        let image = registry.push(layout.path(), "function", "tests/function:1");
        Self { registry, layout, image, double: GatewayDouble::start(options).unwrap() }
    }

    fn get(&self, path: &str) -> support::Reply {
        call("GET", &format!("{}{path}", self.double.url()), &[], "")
    }

    fn post(&self, more: serde_json::Value) -> u16 {
        let mut description = json!({ "service": "a", "image": self.image });
        description.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        call("POST", &format!("{}/system/functions", self.double.url()), &[], description.to_string()).status
    }

    fn deploy(&self, more: serde_json::Value) {
        assert!([200, 202].contains(&self.post(more)));
        wait_until(|| self.get("/function/a/_/health").status == 200);
    }
}

#[test]
fn the_function_sees_its_image_its_user_and_its_environment() {
    let place = Place::new(Provider::Faasd);
    place.deploy(json!({ "envVars": { "MINE": "1" }, "envProcess": "/function" }));
    let environment = place.get("/function/a/env").text();
    for line in
        ["FROM_IMAGE=yes", "MINE=1", "fprocess=/function", "uid=12000 gid=12001", "TRANCHE_LISTEN=127.0.0.1:"]
    {
        assert!(environment.contains(line), "{line} in {environment}");
    }
    assert_eq!(place.get("/function/a/read?/data/below").status, 404);
    assert_eq!(place.get("/function/a/read?/etc/passwd").status, 404);
    assert!(place.get("/function/a/read?/proc/self/status").text().contains("VmHWM"));
    assert_eq!(place.get("/function/a/write?/tmp/file").status, 200);
    assert_eq!(place.get("/function/a/write?/data/file").status, 403);
}

#[test]
fn replicas_do_not_see_each_others_files() {
    let place = Place::new(Provider::Faasd);
    place.deploy(json!({}));
    place.get("/function/a/write?/tmp/file");
    let update = json!({ "service": "a", "image": place.image });
    call("PUT", &format!("{}/system/functions", place.double.url()), &[], update.to_string());
    wait_until(|| place.get("/function/a/_/health").status == 200);
    assert_eq!(place.get("/function/a/read?/tmp/file").status, 404);
}

#[test]
fn secrets_are_files_of_the_functions_that_name_them() {
    let place = Place::new(Provider::Faasd);
    let secret = json!({ "name": "key", "value": "hidden" }).to_string();
    call("POST", &format!("{}/system/secrets", place.double.url()), &[], secret);
    place.deploy(json!({ "secrets": ["key"] }));
    assert_eq!(place.get("/function/a/read?/var/openfaas/secrets/key").text(), "hidden");
}

#[test]
fn a_read_only_root_and_another_user_leave_only_tmp_to_write() {
    let options = Options { function_user: Some((0, 0)), ..quick(Provider::Kubernetes) };
    let place = Place::with(options);
    place.deploy(json!({ "readOnlyRootFilesystem": true }));
    assert!(place.get("/function/a/env").text().contains("uid=0 gid=0"));
    assert_eq!(place.get("/function/a/write?/data/file").status, 403);
    assert_eq!(place.get("/function/a/write?/tmp/file").status, 200);
}

#[test]
fn the_memory_limit_of_the_description_holds() {
    let place = Place::new(Provider::Faasd);
    place.deploy(json!({ "limits": { "memory": "32Mi" } }));
    assert_eq!(place.get("/function/a/oom").status, 500);
    wait_until(|| place.get("/function/a").status == 200);
}

#[test]
fn an_image_by_digest_runs_and_another_digest_is_400() {
    let place = Place::new(Provider::Faasd);
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(place.layout.path().join("index.json")).unwrap()).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    let name = place.registry.name("tests/function");
    assert_eq!(place.post(json!({ "image": format!("{name}@sha256:{}", "0".repeat(64)) })), 400);
    assert_eq!(place.post(json!({ "image": format!("{name}@{digest}") })), 200);
}

#[test]
fn a_damaged_layer_is_400() {
    let place = Place::new(Provider::Faasd);
    let manifest = first_manifest(&place.layout);
    let layer = place.registry.blob(manifest["layers"][1]["digest"].as_str().unwrap());
    let mut bytes = fs::read(&layer).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&layer, bytes).unwrap();
    assert_eq!(place.post(json!({})), 400);
}

fn first_manifest(layout: &TempDir) -> serde_json::Value {
    let read = |path: &str| -> serde_json::Value {
        serde_json::from_slice(&fs::read(layout.path().join(path)).unwrap()).unwrap()
    };
    let digest = read("index.json")["manifests"][0]["digest"].as_str().unwrap().replace(':', "/");
    read(&format!("blobs/{digest}"))
}

#[test]
fn a_layer_that_leaves_its_root_is_400() {
    let place = Place::new(Provider::Faasd);
    let layer = LayerBuilder::new().link("up", "../../..").hard_link("hard", "../../blobs").finish();
    let layout = TempDir::new().unwrap();
    write_layout(layout.path(), "bad", &[layer], &json!({ "Entrypoint": ["/function"] }));
    let image = place.registry.push(layout.path(), "bad", "tests/bad:1");
    assert_eq!(place.post(json!({ "image": image })), 400);
}

#[test]
fn a_registry_that_is_gone_is_400_although_the_image_is_cached() {
    let mut place = Place::new(Provider::Faasd);
    place.deploy(json!({}));
    let away = Registry::start();
    drop(std::mem::replace(&mut place.registry, away));
    assert_eq!(place.post(json!({ "service": "b" })), 400);
}

#[test]
fn nothing_is_left_when_the_double_ends() {
    let cache = TempDir::new().unwrap();
    let options = Options { cache: Some(cache.path().to_owned()), ..quick(Provider::Faasd) };
    let place = Place::with(options);
    place.deploy(json!({}));
    let environment = place.get("/function/a/env").text();
    let process = environment.split("pid=").nth(1).unwrap().trim().to_owned();
    assert!(fs::exists(format!("/proc/{process}")).unwrap());
    drop(place.double);
    assert!(!fs::exists(format!("/proc/{process}")).unwrap());
    assert_eq!(fs::read_dir(cache.path().join("replicas")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(cache.path().join("roots")).unwrap().count(), 1);
}
