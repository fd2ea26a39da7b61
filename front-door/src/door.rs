//! What requests share: the deployments, their drivers, and the bounds.

use secrecy::SecretString;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tracing::{debug, info};
use tranche_driver::{Clouds, Driver, Options};
use tranche_schema::{Deployment, LambdaDeployment, TensorSpec, has_json_form};
use tranche_serving::Phase;
use tranche_transport::aws::{AwsClient, AwsConfig, endpoint_url};

use crate::admission::Admission;
use crate::metrics::{Metrics, Now};
use crate::routes::METRICS_PATH;
use crate::stats::Stats;
use crate::telemetry::Telemetry;
use crate::{FrontDoorError, FrontDoorOptions, inference, token};

/// Time of one round of asking functions whether they are ready.
const WARM_UP_ROUND: Duration = Duration::from_secs(10);

/// A deployment and who walks it.
pub(crate) struct Model {
    pub(crate) driver: Driver,
    /// Its functions were all ready once.
    pub(crate) ready: AtomicBool,
    pub(crate) stats: Arc<Stats>,
}

impl Model {
    pub(crate) fn deployment(&self) -> &Deployment {
        self.driver.deployment()
    }
}

/// A front door's state.
pub(crate) struct Door {
    models: RwLock<Vec<Arc<Model>>>,
    pub(crate) options: FrontDoorOptions,
    clouds: Clouds,
    pub(crate) phase: watch::Sender<Phase>,
    /// One place a request from its head to its answer: what bounds memory.
    pub(crate) admission: Admission,
    /// What callers must have.
    pub(crate) token: Option<SecretString>,
    pub(crate) metrics: Metrics,
    pub(crate) telemetry: Telemetry,
    pub(crate) answered: AtomicU64,
}

impl Door {
    pub(crate) fn new(
        deployments: Vec<Deployment>,
        options: &FrontDoorOptions,
        clouds: &Clouds,
        telemetry: Telemetry,
    ) -> Result<Self, FrontDoorError> {
        if deployments.is_empty() {
            return Err(FrontDoorError::Nothing);
        }
        let mut models: Vec<Arc<Model>> = Vec::with_capacity(deployments.len());
        for deployment in deployments {
            if models.iter().any(|model| model.deployment().name == deployment.name) {
                return Err(FrontDoorError::SameName { name: deployment.name });
            }
            if [inference::PREFIX, METRICS_PATH].contains(&format!("/{}", deployment.name).as_str()) {
                return Err(FrontDoorError::ReservedName { name: deployment.name });
            }
            models.push(Arc::new(connect(deployment, options, clouds, Arc::default())?));
        }
        Ok(Self {
            models: RwLock::new(models),
            admission: Admission::new(options.server.max_in_flight, options.max_waiting),
            token: token::read(options)?,
            metrics: Metrics::new(),
            telemetry,
            options: options.clone(),
            clouds: clouds.clone(),
            phase: watch::channel(Phase::Serving).0,
            answered: AtomicU64::new(0),
        })
    }

    /// What is served now. A request keeps the one it began with.
    pub(crate) fn models(&self) -> Vec<Arc<Model>> {
        // A list of shared models is whole whoever panicked.
        self.models.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves a deployment from now on in the place of the one of its name.
    pub(crate) fn replace(&self, deployment: Deployment) -> Result<(), FrontDoorError> {
        let of_name = |model: &&Arc<Model>| model.deployment().name == deployment.name;
        let stats = self.models().iter().find(of_name).map(|model| Arc::clone(&model.stats));
        let model = connect(deployment, &self.options, &self.clouds, stats.unwrap_or_default())?;
        // Whoever wrote the deployment has waited for its functions.
        model.ready.store(true, Ordering::Relaxed);
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        let known = models.iter_mut().find(|known| known.deployment().name == model.deployment().name);
        if let Some(known) = known {
            *known = Arc::new(model);
        }
        Ok(())
    }

    /// Asks the functions of every deployment in the background until they are ready, which also
    /// starts those that the platform had stopped.
    pub(crate) fn warm_up(&self) -> AbortHandle {
        let mut asking = JoinSet::new();
        for model in self.models() {
            asking.spawn(async move {
                while let Err(failure) = warm_up_once(&model).await {
                    debug!("not ready yet: {failure}");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                model.ready.store(true, Ordering::Relaxed);
                info!(deployment = %model.deployment().name, "ready");
            });
        }
        tokio::spawn(async move { while asking.join_next().await.is_some() {} }).abort_handle()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.models().iter().all(|model| model.ready.load(Ordering::Relaxed))
    }

    pub(crate) fn count_in_flight(&self) -> usize {
        self.admission.count_in_flight()
    }

    /// What metrics do not count themselves.
    pub(crate) fn now(&self) -> Now {
        let ready =
            |model: &Arc<Model>| (model.deployment().name.clone(), model.ready.load(Ordering::Relaxed));
        Now {
            in_flight: self.admission.count_in_flight(),
            waiting: self.admission.count_waiting(),
            spans_sent: self.telemetry.counts.sent.load(Ordering::Relaxed),
            spans_dropped: self.telemetry.counts.dropped.load(Ordering::Relaxed),
            ready: self.models().iter().map(ready).collect(),
        }
    }
}

fn connect(
    deployment: Deployment,
    options: &FrontDoorOptions,
    clouds: &Clouds,
    stats: Arc<Stats>,
) -> Result<Model, FrontDoorError> {
    check_types(&deployment)?;
    let clouds = match (&deployment.lambda, &clouds.aws) {
        (Some(lambda), None) => Clouds { aws: Some(aws(lambda)?) },
        _ => clouds.clone(),
    };
    let deadline = options.server.bounded(options.request_deadline);
    let driver = Driver::connect_with(deployment, Options { deadline, ..Options::default() }, clouds)?;
    Ok(Model { driver, ready: AtomicBool::new(false), stats })
}

/// A client of the environment's credentials, at the endpoint that was deployed to.
fn aws(lambda: &LambdaDeployment) -> Result<AwsClient, FrontDoorError> {
    let mut config = AwsConfig::from_environment()?;
    if let Some(endpoint) = &lambda.endpoint {
        let endpoint = endpoint_url(endpoint)?;
        config.lambda_endpoint.get_or_insert_with(|| endpoint.clone());
        config.s3_endpoint.get_or_insert(endpoint);
    }
    Ok(AwsClient::new(config)?)
}

async fn warm_up_once(model: &Model) -> Result<(), String> {
    match tokio::time::timeout(WARM_UP_ROUND, model.driver.warm_up()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(failure)) => Err(failure.to_string()),
        Err(_) => Err(format!("no answer within {} s", WARM_UP_ROUND.as_secs())),
    }
}

/// A model whose tensors JSON cannot hold is refused before anybody calls it.
fn check_types(deployment: &Deployment) -> Result<(), FrontDoorError> {
    let told = |kind: &str, spec: &TensorSpec| FrontDoorError::NoJsonForm {
        deployment: deployment.name.clone(),
        what: format!("{kind} `{}` {}", spec.name, spec.element_type),
    };
    let inputs = deployment.inputs.iter().map(|spec| ("input", spec));
    let outputs = deployment.outputs.iter().map(|spec| ("output", spec));
    match inputs.chain(outputs).find(|(_, spec)| !has_json_form(spec.element_type)) {
        Some((kind, spec)) => Err(told(kind, spec)),
        None => Ok(()),
    }
}
