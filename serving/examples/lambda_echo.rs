//! A custom runtime that answers each event with itself, or as the event asks:
//! `{"bytes": N}` with so many bytes, `{"stream": N}` with as many in chunks, `{"break": N}`
//! with as many and then a failure, `{"fail": TEXT}` with a failure, `{"sleep_ms": N}` late.
//! With the environment variable `INIT_ERROR` it cannot begin, and says why.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use std::process::ExitCode;
use std::time::Duration;
use tranche_serving::lambda::{Invocation, RuntimeApi, RuntimeApiError, RuntimeFailure};

fn main() -> ExitCode {
    let ran = tranche_serving::run(async |_| work().await);
    if matches!(ran, Ok(Ok(()))) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn work() -> Result<(), RuntimeApiError> {
    let Some(api) = RuntimeApi::from_environment()? else { return Ok(()) };
    if let Ok(reason) = std::env::var("INIT_ERROR") {
        return api.init_error(&RuntimeFailure::new("load-failed", &reason, "")).await;
    }
    loop {
        let invocation = api.next().await?;
        answer(&api, &invocation).await?;
    }
}

async fn answer(api: &RuntimeApi, invocation: &Invocation) -> Result<(), RuntimeApiError> {
    let id = invocation.request_id.as_str();
    let event: serde_json::Value = serde_json::from_slice(&invocation.payload).unwrap_or_default();
    let number = |name: &str| event.get(name).and_then(serde_json::Value::as_u64);
    if let Some(bytes) = number("bytes") {
        let answered = api.respond(id, text(bytes)).await;
        return match &answered {
            Err(error @ RuntimeApiError::TooLarge { .. }) => {
                api.fail(id, &RuntimeFailure::new("too-large", &error.to_string(), error.hint())).await
            }
            _ => answered,
        };
    }
    if let Some(bytes) = number("stream") {
        return api.respond_streamed(id, "application/octet-stream", chunks(bytes)).await;
    }
    if let Some(bytes) = number("break") {
        let failure = RuntimeFailure::new("engine-failed", "broken in the middle", "");
        let chunks = chunks(bytes).chain(stream::iter([Err(failure)]));
        return api.respond_streamed(id, "application/octet-stream", chunks).await;
    }
    if let Some(reason) = event.get("fail").and_then(serde_json::Value::as_str) {
        return api.fail(id, &RuntimeFailure::new("engine-failed", reason, "try again")).await;
    }
    if let Some(milliseconds) = number("sleep_ms") {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
    api.respond(id, invocation.payload.clone()).await
}

/// A JSON string of so many bytes.
fn text(bytes: u64) -> Bytes {
    let inner = usize::try_from(bytes).unwrap_or(usize::MAX).saturating_sub(2);
    Bytes::from(format!("\"{}\"", "x".repeat(inner)))
}

fn chunks(bytes: u64) -> impl stream::Stream<Item = Result<Bytes, RuntimeFailure>> + Send + 'static {
    let whole = text(bytes);
    let size = 64 * 1024;
    let pieces: Vec<_> = (0..whole.len())
        .step_by(size)
        .map(|start| Ok(whole.slice(start..whole.len().min(start + size))))
        .collect();
    stream::iter(pieces)
}
