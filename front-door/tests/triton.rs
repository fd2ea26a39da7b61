//! Triton's client, which nobody here wrote, against the front door. Needs Python 3.10 or newer with
//! `venv`, and pip's index on the first run, as every test named `registry_…`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use support::clients::python;
use support::echo::{Echo, echo};
use support::{Door, functions};
use tranche_schema::ElementType as T;

const TYPES: [T; 14] = [
    T::Bool,
    T::UInt8,
    T::UInt16,
    T::UInt32,
    T::UInt64,
    T::Int8,
    T::Int16,
    T::Int32,
    T::Int64,
    T::Float16,
    T::Float32,
    T::Float64,
    T::BFloat16,
    T::String,
];

async fn door() -> (Door, Echo, Vec<support::common::server::Function>) {
    let (types, running) = echo("types", &TYPES, &[2, 3]).await;
    let (toy, functions) = functions("toy", vec![]).await;
    let door = Door::start(vec![types, toy], |_| {}).await;
    while door.client.get(format!("{}/_/ready", door.url)).send().await.unwrap().status() != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    (door, running, functions)
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_its_tensors_come_back_in_every_type_and_form() {
    let (door, _echo, _functions) = door().await;
    let address = door.url.trim_start_matches("http://").to_owned();
    python("triton.py", &[&address, "Types"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_it_is_told_what_it_did_wrong() {
    let (door, _echo, _functions) = door().await;
    let address = door.url.trim_start_matches("http://").to_owned();
    python("triton.py", &[&address, "Mistakes"]).await;
}
