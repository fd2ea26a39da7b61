//! The front door: one URL for a deployed model.
//!
//! Takes a request in JSON or by the Open Inference Protocol, walks it through the deployment's
//! functions with the driver, and answers in the same way. [`serve`] is what both the small binary of its image and `tranche serve` run; it may
//! serve several deployments at once. docs/formats/front-door.md is the contract.

mod account;
mod admission;
mod answer;
mod coding;
mod describe;
mod door;
mod error;
mod inference;
mod lambda;
mod line;
mod metrics;
mod options;
mod reload;
mod request;
mod routes;
mod run;
mod stats;
mod telemetry;
mod token;

pub use error::FrontDoorError;
pub use lambda::serve_events;
pub use line::RequestLine;
pub use options::{FrontDoorOptions, read_deployment};

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::{info, warn};
use tranche_driver::Clouds;
use tranche_schema::{Deployment, exit_code};
use tranche_serving::lambda::RuntimeApi;
use tranche_serving::{Listen, Listener, accept};

use crate::door::Door;
use crate::telemetry::{Exporter, Telemetry};

/// Time for the last spans when told to stop.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// Runs a front door's process until it is told to stop and returns its exit code. On AWS Lambda it
/// takes events instead of listening.
///
/// Logs go to stderr (`TRANCHE_LOG` filters them), one line of JSON a request to stdout.
#[must_use]
pub fn run(options: FrontDoorOptions) -> u8 {
    let served = tranche_serving::run(async |stop| {
        if let Some(api) = RuntimeApi::from_environment()? {
            return tokio::select! {
                served = serve_events(&options, &api) => served,
                () = stop => Ok(()),
            };
        }
        let deployments = options.read_deployments()?;
        serve(deployments, &options, stop, |_| {}).await
    });
    match served.map_err(FrontDoorError::from).flatten() {
        Ok(()) => exit_code::OK,
        Err(failure) => {
            tracing::error!(hint = failure.hint(), "{failure}");
            failure.exit_code()
        }
    }
}

/// Serves deployments until `stop` ends, then drains. `listening` is called once with the address
/// in use. Files at [`FrontDoorOptions::deployments`] that change later are read again: an update
/// of a deployment gives its functions other addresses, and what served before goes.
///
/// # Errors
/// When there is no deployment, two have one name, one cannot be walked, options are wrong, or the
/// address cannot be listened on.
pub async fn serve(
    deployments: Vec<Deployment>,
    options: &FrontDoorOptions,
    stop: impl Future<Output = ()>,
    listening: impl FnOnce(Listen),
) -> Result<(), FrontDoorError> {
    serve_with(deployments, options, Clouds::default(), stop, listening).await
}

/// [`serve`], with clients for clouds; without them, the environment's credentials are used.
///
/// # Errors
/// As [`serve`].
pub async fn serve_with(
    deployments: Vec<Deployment>,
    options: &FrontDoorOptions,
    clouds: Clouds,
    stop: impl Future<Output = ()>,
    listening: impl FnOnce(Listen),
) -> Result<(), FrontDoorError> {
    options.server.check()?;
    let (telemetry, exporting) = export(options)?;
    let door = Arc::new(Door::new(deployments, options, &clouds, telemetry)?);
    let listener = Listener::bind(&options.server.listen).await?;
    let address = listener.address();
    info!(%address, deployments = door.models().len(), "listening");
    if door.token.is_none() && matches!(&address, Listen::Tcp(address) if !address.ip().is_loopback()) {
        warn!(%address, "others reach this address, and no token is asked for: see --token-file");
    }
    listening(address);
    let warming = door.warm_up();
    let following = reload::follow(Arc::clone(&door), &options.deployments);
    let service = {
        let door = Arc::clone(&door);
        move |request| routes::answer(Arc::clone(&door), request)
    };
    accept(listener, &options.server, &door.phase, service, stop).await;
    warming.abort();
    following.abort();
    if let Some((stop, exporting)) = exporting {
        let _ = stop.send(());
        let _ = tokio::time::timeout(LAST_SPANS, exporting).await;
    }
    Ok(())
}

/// What ends the exporter, and the exporter.
type Exporting = (oneshot::Sender<()>, JoinHandle<()>);

fn export(options: &FrontDoorOptions) -> Result<(Telemetry, Option<Exporting>), FrontDoorError> {
    let Some(endpoint) = options.otlp.as_deref().filter(|endpoint| !endpoint.is_empty()) else {
        return Ok((Telemetry::off(), None));
    };
    let service = std::env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| "tranche-front-door".to_owned());
    let exporter = Exporter::new(endpoint, service)?;
    let (telemetry, waiting) = Telemetry::on();
    let (stop, stopped) = oneshot::channel();
    let exporting = tokio::spawn(exporter.run(waiting, Arc::clone(&telemetry.counts), stopped));
    Ok((telemetry, Some((stop, exporting))))
}
