//! A front door before functions that the driver's tests use.
#![allow(dead_code, reason = "each test file uses its part")]

#[path = "../../../driver/tests/common/mod.rs"]
pub mod common;

pub mod clients;
pub mod collector;
pub mod echo;

use common::deployment;
use common::server::{Fault, Function};
use serde_json::Value;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tranche_front_door::{FrontDoorError, FrontDoorOptions, serve};
use tranche_schema::{Address, Deployment};
use tranche_serving::Listen;

fn own(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// `first` makes `h` = `x` + 1, `second` makes `y` = `h` + `x` + 1, both behind gateways.
pub async fn functions(name: &str, faults: Vec<Fault>) -> (Deployment, Vec<Function>) {
    let described = [
        ("first".to_owned(), own(&["x"]), own(&["h"])),
        ("second".to_owned(), own(&["h", "x"]), own(&["y"])),
    ];
    let mut deployment = deployment(&own(&["x"]), &own(&["y"]), &described);
    deployment.name = name.to_owned();
    let mut faults = Some(faults);
    let mut running = Vec::new();
    for function in &mut deployment.functions {
        let described = (function.slice.as_str(), function.outputs.as_slice());
        let (started, url) = Function::behind_gateway(described, faults.take().unwrap_or_default()).await;
        function.address = Address::Http { url };
        running.push(started);
    }
    (deployment, running)
}

/// A running front door.
pub struct Door {
    pub url: String,
    pub client: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), FrontDoorError>>,
}

impl Door {
    pub async fn start(deployments: Vec<Deployment>, change: impl FnOnce(&mut FrontDoorOptions)) -> Self {
        let mut options = FrontDoorOptions::new("127.0.0.1:0".parse().unwrap());
        change(&mut options);
        let (stop, stopped) = oneshot::channel::<()>();
        let (bound, listening) = oneshot::channel();
        let task = tokio::spawn(async move {
            let stop = async {
                let _ = stopped.await;
            };
            serve(deployments, &options, stop, |address| bound.send(address).unwrap()).await
        });
        let Listen::Tcp(address) = listening.await.expect("it listens") else { unreachable!() };
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
        Self { url: format!("http://{address}"), client, stop: Some(stop), task }
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        read(self.client.get(format!("{}{path}", self.url)).send().await.unwrap()).await
    }

    pub fn request(&self, path: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        self.client.post(format!("{}{path}", self.url)).body(body)
    }

    pub async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
        read(self.request(path, body).send().await.unwrap()).await
    }

    pub fn tell_to_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub async fn finish(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        tokio::time::timeout(Duration::from_secs(20), self.task).await.unwrap().unwrap().unwrap();
    }
}

pub async fn read(response: reqwest::Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

/// What `x` = 0, 1, 2, 3 is sent as, and what comes of it.
pub const X: &str = r#"{"inputs": {"x": {"shape": [4], "data": [0, 1, 2, 3]}}}"#;
pub const Y: [f64; 4] = [2.0, 4.0, 6.0, 8.0];

pub fn values(answer: &Value) -> Vec<f64> {
    answer["outputs"]["y"]["data"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}
