//! /_double: faults and counters for tests in other processes. Loopback only.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde::Deserialize;
use std::sync::Arc;

use crate::DoubleError;
use crate::answer::{Answer, json, status, text};
use crate::gateway::Gateway;

const MOST_BODY_BYTES: usize = 64 * 1024;

#[derive(Deserialize)]
struct Named {
    function: String,
}

pub(crate) async fn answer(gateway: &Arc<Gateway>, request: Request<Incoming>) -> Answer {
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MOST_BODY_BYTES).collect().await else {
        return text(StatusCode::PAYLOAD_TOO_LARGE, "");
    };
    let body = body.to_bytes();
    let path = parts.uri.path().strip_prefix("/_double/").unwrap_or_default();
    match (path, &parts.method) {
        ("faults", &Method::GET) => json(&gateway.script.list()),
        ("faults", &Method::POST) => match serde_json::from_slice(&body) {
            Ok(fault) => {
                gateway.script.inject(fault);
                status(200, "")
            }
            Err(error) => status(400, &error.to_string()),
        },
        ("faults", &Method::DELETE) => {
            gateway.script.clear();
            status(200, "")
        }
        ("calls", &Method::GET) => json(&gateway.script.calls()),
        ("calls", &Method::DELETE) => {
            gateway.script.forget_calls();
            status(200, "")
        }
        ("kill", &Method::POST) => on_function(&body, |name| gateway.kill(name)),
        ("drop", &Method::POST) => on_function(&body, |name| gateway.drop_replicas(name)),
        _ => status(404, ""),
    }
}

fn on_function(body: &Bytes, act: impl FnOnce(&str) -> Result<(), DoubleError>) -> Answer {
    let named: Named = match serde_json::from_slice(body) {
        Ok(named) => named,
        Err(error) => return status(400, &error.to_string()),
    };
    match act(&named.function) {
        Ok(()) => status(200, ""),
        Err(error) => status(404, &error.to_string()),
    }
}
