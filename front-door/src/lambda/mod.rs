//! The front door as a function on AWS Lambda: one ARN or URL for a model (docs/formats/lambda.md).
//!
//! It waits while slices run and is billed meanwhile; what that costs is in its answers' bills.

mod event;

use bytes::Bytes;
use hyper::StatusCode;
use std::time::{Duration, Instant};
use tracing::{info, warn};
use tranche_driver::{Answer, Call};
use tranche_schema::{ByteCount, GibSeconds, LAMBDA_EVENT_VERSION, LambdaAnswer, LambdaUse, Millis};
use tranche_serving::Refusal;
use tranche_serving::lambda::{Invocation, PAYLOAD_LIMIT, RuntimeApi, RuntimeFailure, in_task};
use tranche_transport::parse_go_duration;

use crate::door::{Door, Model};
use crate::line::RequestLine;
use crate::routes::Route;
use crate::telemetry::Telemetry;
use crate::{FrontDoorError, FrontDoorOptions, answer as answers, describe, request as requests};
use event::{Event, UrlRequest};

/// Kept back of a function's time for saying that it is over.
const MARGIN: Duration = Duration::from_millis(250);

/// Answers events until the process ends.
///
/// # Errors
/// When there is no deployment, one cannot be walked, or the Runtime API is not there. What keeps it
/// from serving is told to Lambda first.
pub async fn serve_events(options: &FrontDoorOptions, api: &RuntimeApi) -> Result<(), FrontDoorError> {
    let deployments = options.deployments.iter().map(|path| in_task(path)).collect();
    let options = &FrontDoorOptions { deployments, ..options.clone() };
    let opened = options.read_deployments().and_then(|deployments| {
        Door::new(deployments, options, &tranche_driver::Clouds::default(), Telemetry::off())
    });
    let door = match opened {
        Ok(door) => door,
        Err(error) => {
            let failure = RuntimeFailure::new("load-failed", &error.to_string(), error.hint());
            if let Err(unsaid) = api.init_error(&failure).await {
                warn!("{unsaid}");
            }
            return Err(error);
        }
    };
    info!(deployments = door.models().len(), "waiting for events");
    api.restore_next().await?;
    loop {
        let invocation = api.next().await?;
        let id = invocation.request_id.clone();
        match answer(&door, invocation).await {
            Ok(payload) => api.respond(&id, payload).await?,
            Err(refusal) => api.fail(&id, &RuntimeFailure::from(&refusal)).await?,
        }
    }
}

/// The payload that answers an event. Refusals of requests by URL are payloads too.
async fn answer(door: &Door, invocation: Invocation) -> Result<Bytes, Refusal> {
    let arrived = Instant::now();
    let most = door.options.server.bounded(door.options.request_deadline);
    let time = invocation.time_left().saturating_sub(MARGIN).min(most);
    match Event::read(&invocation.payload) {
        Event::Ping => pong(door, time).await,
        Event::Direct => {
            let model = only(door)?;
            let body = infer(&model, &invocation.payload, (arrived, time), None).await?;
            fits(body)
        }
        Event::Url(request) => {
            let (status, body) = match by_url(door, request, (arrived, time)).await {
                Ok(body) => (StatusCode::OK, body),
                Err(refusal) => (refusal.status, refusal_body(&refusal)),
            };
            let answered = fits(event::url_answer(status, &body));
            Ok(answered.unwrap_or_else(|refusal| event::url_answer(refusal.status, &refusal_body(&refusal))))
        }
    }
}

/// Warms the functions as well, where they can be called already: a deploy asks before they can.
async fn pong(door: &Door, time: Duration) -> Result<Bytes, Refusal> {
    for model in door.models() {
        match tokio::time::timeout(time, model.driver.warm_up()).await {
            Ok(Ok(_)) => {}
            Ok(Err(failure)) => warn!("not warmed: {failure}"),
            Err(_) => warn!("the functions were not ready in time"),
        }
    }
    let pong = LambdaAnswer { tranche: LAMBDA_EVENT_VERSION, frame: None, metrics: None };
    tranche_transport::lambda::encode_answer(&pong).map_err(|error| failed(&error.to_string()))
}

async fn by_url(
    door: &Door,
    request: UrlRequest,
    (arrived, time): (Instant, Duration),
) -> Result<Bytes, Refusal> {
    let Some(route) = Route::of(door, &request.path) else {
        let hint = "POST to /, or to /NAME of a deployment";
        return Err(Refusal::not_found(&request.path, hint));
    };
    let json = |value: serde_json::Value| Ok(Bytes::from(format!("{value}\n")));
    match (route, request.method.as_str()) {
        (Route::Health | Route::Ready, "GET") => json(describe::state(door)),
        (Route::Index, "GET") => json(describe::models(door)),
        (Route::Model(model), "GET") => json(describe::model(&model)),
        (Route::Model(model) | Route::Invoke(model), "POST") => {
            let asked = request.timeout.as_deref().map(|text| {
                parse_go_duration(text).filter(|time| !time.is_zero()).ok_or_else(|| {
                    let message = format!("`X-Timeout: {text}` is no time");
                    let hint = "write it as Go does: 30s, 1m30s, 500ms";
                    Refusal::new(StatusCode::BAD_REQUEST, "bad-timeout", message, hint)
                })
            });
            let time = asked.transpose()?.map_or(time, |asked| asked.min(time));
            infer(&model, &request.body, (arrived, time), request.traceparent).await
        }
        (route, method) => {
            let method = hyper::Method::from_bytes(method.as_bytes()).unwrap_or_default();
            Err(Refusal::method_not_allowed(&method, &request.path, route.allowed()))
        }
    }
}

fn only(door: &Door) -> Result<std::sync::Arc<Model>, Refusal> {
    let models = door.models();
    match models.as_slice() {
        [model] => Ok(std::sync::Arc::clone(model)),
        _ => Err(Refusal::not_found("an event without a path", "several deployments are served by URL only")),
    }
}

/// From a body to the JSON of its answer, the entry's own cost in the bill; prints a line.
async fn infer(
    model: &Model,
    body: &[u8],
    (arrived, time): (Instant, Duration),
    traceparent: Option<String>,
) -> Result<Bytes, Refusal> {
    let deployment = model.deployment();
    let mut line = RequestLine {
        deployment: deployment.name.clone(),
        body_bytes: ByteCount(body.len() as u64),
        ..RequestLine::default()
    };
    let walked = async {
        let inputs = requests::read(body, &deployment.inputs)?;
        let call =
            Call { deadline: Some(time.saturating_sub(arrived.elapsed())), traceparent, ..Call::default() };
        let answered = model.driver.invoke_as(inputs, &call).await;
        let mut answer = answered.map_err(|failure| answers::refusal(&failure))?;
        line.add(&answer);
        add_entry(&mut answer, body.len(), arrived.elapsed());
        answers::write_with_bill(&answer).map_err(|error| failed(&error.to_string()))
    };
    let written = walked.await;
    match &written {
        Ok(text) => (line.status, line.answer_bytes) = (200, ByteCount(text.len() as u64)),
        Err(refusal) => (line.status, line.code) = (refusal.status.as_u16(), Some(refusal.code)),
    }
    line.elapsed_ms = arrived.elapsed().into();
    line.print();
    written
}

/// What waiting for the slices costs: this function's memory for the time until now. Lambda rounds
/// it up, and bills starting as well.
fn add_entry(answer: &mut Answer, body_bytes: usize, elapsed: Duration) {
    let memory_mib = std::env::var("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
    let billed_ms = Millis(Millis::from(elapsed).0.ceil());
    let memory = ByteCount::mebibytes(u64::from(memory_mib));
    answer.bill.lambda.get_or_insert_default().entry = Some(LambdaUse {
        invocations: 1,
        billed_ms,
        memory_mib,
        memory_time: GibSeconds::of(memory, billed_ms),
        payload_bytes: ByteCount(body_bytes as u64),
        ..LambdaUse::default()
    });
}

fn fits(payload: Bytes) -> Result<Bytes, Refusal> {
    if payload.len() <= PAYLOAD_LIMIT {
        return Ok(payload);
    }
    Err(Refusal::new(
        StatusCode::BAD_GATEWAY,
        "too-large",
        format!("the answer has {} bytes of JSON, Lambda takes {PAYLOAD_LIMIT}", payload.len()),
        "call the slices with `tranche invoke`, whose answers are not JSON",
    ))
}

fn refusal_body(refusal: &Refusal) -> Bytes {
    let body = serde_json::json!({
        "code": refusal.code, "message": refusal.message, "hint": refusal.hint,
    });
    Bytes::from(format!("{body}\n"))
}

fn failed(reason: &str) -> Refusal {
    Refusal::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "front-door-failed",
        format!("the answer cannot be made: {reason}"),
        "this is a bug in tranche; please report it",
    )
}
