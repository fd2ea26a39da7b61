use crate::arguments::ServeArguments;
use crate::context::Context;
use crate::failure::Failure;
use crate::targets;
use serde::Serialize;
use std::time::Duration;
use tranche_front_door::{FrontDoorOptions, serve};
use tranche_schema::exit_code;

/// Where it serves, once it does.
#[derive(Serialize)]
struct Serving {
    listening: String,
    deployments: Vec<String>,
}

pub fn run(context: &Context, arguments: &ServeArguments) -> Result<(), Failure> {
    let settings = context.settings(&[&arguments.place])?;
    let deployments = arguments
        .names
        .iter()
        .map(|name| targets::read(&settings, &arguments.place, name))
        .collect::<Result<Vec<_>, _>>()?;
    let listen = arguments
        .listen
        .parse()
        .map_err(|reason| Failure::usage(format!("`--listen {}`: {reason}", arguments.listen)))?;
    let mut options = FrontDoorOptions::new(listen);
    options.deployments = arguments
        .names
        .iter()
        .map(|name| targets::deployment_path(&settings, &arguments.place, name))
        .collect::<Result<_, _>>()?;
    options.request_deadline = Duration::from_secs(arguments.deadline);
    options.server.max_in_flight = arguments.max_in_flight;
    options.max_waiting = arguments.max_waiting;
    options.token_file.clone_from(&arguments.token_file);
    options.otlp = arguments.otlp.clone().or_else(|| std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok());
    options.server.max_body_bytes = arguments.max_body << 20;
    let names = arguments.names.clone();
    let served = tranche_serving::run(async |stop| {
        serve(deployments, &options, stop, |address| {
            let serving = Serving { listening: address.to_string(), deployments: names };
            context.printer.step("Serving", &format!("{} at {address}", serving.deployments.join(", ")));
            // The first line on standard output; one line a request follows.
            if let (true, Ok(line)) = (context.printer.json(), serde_json::to_string(&serving)) {
                let _ = context.printer.data(&line);
            }
        })
        .await
    });
    match served {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failure::new("serve", error.exit_code(), error.to_string()).hint(error.hint())),
        Err(error) => Err(Failure::new("serve", exit_code::REMOTE, error.to_string()).hint(error.hint())),
    }
}
