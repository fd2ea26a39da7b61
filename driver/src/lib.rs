//! The walk of a request through the slices.
//!
//! [`Walk`] is a state machine without input or output; [`Driver`] runs it over
//! HTTP. A function never waits for another: the driver carries the tensors, or
//! they go on by themselves and end at a [`Callback`].

mod bill;
mod callback;
mod chunks;
mod client;
mod endpoint;
mod error;
mod http;
mod lambda;
mod onward;
mod ping;
mod plan;
mod refusal;
mod request;
mod trace;
mod walk;
mod warmth;
mod watch;

pub use bill::{BillTable, median, table};
pub use callback::Callback;
pub use error::DriverError;
pub use http::METRICS_HEADER;
pub use plan::{FunctionIndex, PlannedFunction, PlannedTensor, RetryPolicy, TensorIndex, WalkPlan};
pub use trace::Trace;
pub use walk::{Action, Event, Failure, GiveUp, Retry, Walk};
pub use warmth::Overlap;
pub use watch::{Attempt, Ended, Watcher};

use client::{FunctionClient, Passing};
use http::HttpClient;
use lambda::{Cloud, LambdaClient};
use plan::describe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tranche_schema::{
    Address, Bill, Channel, Deployment, FunctionMetrics, StoredRequest, Tensor, TensorSpec,
};
use tranche_transport::aws::AwsClient;
use tranche_transport::{CodedTensor, Placement, SharedFolder};
use warmth::Warmth;

/// How a driver waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Longest time of one request, from inputs to outputs.
    pub deadline: Duration,
    /// Longest time of one try of one function; `None` leaves it the whole deadline.
    pub attempt_timeout: Option<Duration>,
    /// Longest time to connect to a function.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept: less than servers keep theirs, so that no
    /// request meets one that is being closed.
    pub idle_timeout: Duration,
    /// When to try again.
    pub retry: RetryPolicy,
    /// Whether a request starts the functions that it needs later when it arrives.
    pub overlap: Overlap,
    /// How long after its last answer a function is taken to be warm: it is not pinged then. Where
    /// the deployment says when functions are stopped, four fifths of that if they are less.
    pub keep_warm: Duration,
    /// Most bytes taken from a function for one string tensor, whose size only
    /// the values tell.
    pub max_string_bytes: u64,
}

impl Default for Options {
    /// A minute for a request, two seconds to connect, four to keep an unused connection; five
    /// minutes that a function is taken to be warm (Lambda keeps idle ones for about as long at least,
    /// without saying so).
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(60),
            attempt_timeout: None,
            connect_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(4),
            retry: RetryPolicy::default(),
            overlap: Overlap::default(),
            keep_warm: Duration::from_secs(300),
            max_string_bytes: 64 << 20,
        }
    }
}

/// What a caller says of one request beside its inputs.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// Time for it, where that is less than [`Options::deadline`].
    pub deadline: Option<Duration>,
    /// The W3C `traceparent` it came with; the functions' spans join that trace.
    pub traceparent: Option<String>,
    /// Told of every try of every function, where the driver itself makes them ([`Driver::invoke_as`]).
    pub watcher: Option<Watcher>,
}

/// What reaches clouds, for deployments that are there.
#[derive(Clone, Debug, Default)]
pub struct Clouds {
    /// AWS, in the deployment's region.
    pub aws: Option<AwsClient>,
}

/// Stands for the type of the walker where there is none.
type NoWalker = fn(StoredRequest) -> std::future::Ready<Result<Vec<FunctionMetrics>, String>>;

/// What a request gives.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The request, as in the functions' metrics: 32 hexadecimal digits.
    pub request_id: String,
    /// The outputs of the model, in its order.
    pub outputs: Vec<(String, Tensor)>,
    /// What it cost.
    pub bill: Bill,
}

/// Calls the functions of a deployment. Cheap to clone; connections are shared.
#[derive(Clone, Debug)]
pub struct Driver {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    deployment: Deployment,
    plan: Arc<WalkPlan>,
    clients: Vec<Arc<FunctionClient>>,
    shared: Option<Arc<SharedFolder>>,
    cloud: Option<Arc<Cloud>>,
    warmth: Warmth,
    options: Options,
}

impl Driver {
    /// Prepares to call a deployment that is in no cloud. Nothing is sent yet.
    ///
    /// # Errors
    /// As [`Driver::connect_with`].
    pub fn connect(deployment: Deployment, options: Options) -> Result<Self, DriverError> {
        Self::connect_with(deployment, options, Clouds::default())
    }

    /// Prepares to call a deployment. Nothing is sent yet.
    ///
    /// # Errors
    /// When the deployment contradicts itself, an address is no address, the folder that local
    /// functions share cannot be opened, or the deployment's cloud has no client in its region.
    pub fn connect_with(
        deployment: Deployment,
        options: Options,
        clouds: Clouds,
    ) -> Result<Self, DriverError> {
        let plan = Arc::new(WalkPlan::new(&deployment)?);
        let shared = match &deployment.local {
            None => None,
            Some(local) => Some(Arc::new(SharedFolder::open(&local.shared_folder).map_err(|source| {
                DriverError::SharedFolder { path: local.shared_folder.clone(), source }
            })?)),
        };
        let cloud = match &deployment.lambda {
            None => None,
            Some(lambda) => Some(Arc::new(Cloud::of(&deployment, lambda, clouds.aws)?)),
        };
        let connect = |(index, function)| -> Result<_, DriverError> {
            let function: &tranche_schema::DeployedFunction = function;
            let client = match (&function.address, &cloud) {
                (Address::Lambda { function: name, qualifier }, Some(cloud)) => {
                    let target = (name.as_str(), qualifier.as_str());
                    let cloud = Arc::clone(cloud);
                    FunctionClient::Lambda(LambdaClient::new(
                        (index, function),
                        target,
                        &plan,
                        cloud,
                        &options,
                    ))
                }
                _ => {
                    let supervisor = deployment.local.clone();
                    FunctionClient::Http(HttpClient::new(function, shared.clone(), supervisor, &options)?)
                }
            };
            Ok(Arc::new(client))
        };
        let clients = deployment.functions.iter().enumerate().map(connect).collect::<Result<_, _>>()?;
        let window = options.overlap.window(&deployment, options.keep_warm);
        let warmth = Warmth::new(deployment.functions.len(), window);
        let inner = Inner { deployment, plan, clients, shared, cloud, warmth, options };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The deployment it calls.
    #[must_use]
    pub fn deployment(&self) -> &Deployment {
        &self.inner.deployment
    }

    /// Sends one request through the functions. Dropping the future ends the
    /// request: calls in flight are cut off and shared tensors released.
    ///
    /// # Errors
    /// When the inputs are not those of the model, a function fails for good or
    /// too often, or the deadline passes.
    pub async fn invoke(&self, inputs: Vec<(String, Tensor)>) -> Result<Answer, DriverError> {
        self.invoke_as(inputs, &Call::default()).await
    }

    /// [`Driver::invoke`] with a deadline and a trace of the caller's.
    ///
    /// # Errors
    /// As [`Driver::invoke`].
    pub async fn invoke_as(&self, inputs: Vec<(String, Tensor)>, call: &Call) -> Result<Answer, DriverError> {
        let started = Instant::now();
        let inputs = self.encode_inputs(inputs)?;
        request::run(&self.inner, inputs, call, started).await
    }

    /// Sends one request that goes from function to function by itself and ends at `callback`, so
    /// that no function waits for another and tensors between them do not pass here. Functions run
    /// one after the other, in the deployment's order, and must be allowed to call each other and
    /// the callback. A function that dies after it took the request loses it: with
    /// [`Options::attempt_timeout`], the request is then sent again from the start.
    ///
    /// # Errors
    /// As [`Driver::invoke`], and when a function has no URL.
    pub async fn invoke_onward(
        &self,
        inputs: Vec<(String, Tensor)>,
        call: &Call,
        callback: &Callback,
    ) -> Result<Answer, DriverError> {
        let started = Instant::now();
        let inputs = self.encode_inputs(inputs)?;
        onward::run(&self.inner, inputs, call, callback, started).await
    }

    /// Sends one request that goes from function to function on AWS Lambda by itself, through the
    /// deployment's object store, so that neither the driver nor a function holds tensors or waits
    /// for others. Costs more requests to the store than [`Driver::invoke`], and saves whoever
    /// waits outside their time. Lambda's own durations are not in its bill.
    ///
    /// # Errors
    /// As [`Driver::invoke`], and when the deployment is not on Lambda or has no store.
    pub async fn invoke_stored(
        &self,
        inputs: Vec<(String, Tensor)>,
        call: &Call,
    ) -> Result<Answer, DriverError> {
        let started = Instant::now();
        let inputs = self.encode_inputs(inputs)?;
        lambda::stored::run(&self.inner, inputs, call, started, None::<NoWalker>).await
    }

    /// The same with somebody else, a state machine say, who has the slices run on what lies in
    /// the object store, in an order in which they can, and gives what each measured, or why it
    /// could not.
    ///
    /// # Errors
    /// As [`Driver::invoke_stored`], and when `walk` fails.
    pub async fn invoke_stored_by(
        &self,
        inputs: Vec<(String, Tensor)>,
        call: &Call,
        walk: impl AsyncFnOnce(StoredRequest) -> Result<Vec<FunctionMetrics>, String>,
    ) -> Result<Answer, DriverError> {
        let started = Instant::now();
        let inputs = self.encode_inputs(inputs)?;
        lambda::stored::run(&self.inner, inputs, call, started, Some(walk)).await
    }

    /// Asks every function at once whether it is ready, until all are; gives the
    /// time each took.
    ///
    /// # Errors
    /// When one is not ready at the deadline.
    pub async fn warm_up(&self) -> Result<Vec<(String, Duration)>, DriverError> {
        let started = Instant::now();
        let deadline = self.inner.options.deadline;
        let mut asking = JoinSet::new();
        for (index, client) in self.inner.clients.iter().enumerate() {
            let client = Arc::clone(client);
            asking.spawn(async move { (index, wait_until_ready(&client, started, deadline).await) });
        }
        let mut times: Vec<(String, Duration)> =
            self.inner.clients.iter().map(|client| (client.slice().to_owned(), Duration::ZERO)).collect();
        while let Some(asked) = asking.join_next().await {
            let (index, result) = asked.map_err(|error| DriverError::Task { reason: error.to_string() })?;
            let took = result?;
            self.inner.warmth.answered(index);
            if let Some((_, time)) = times.get_mut(index) {
                *time = took;
            }
        }
        Ok(times)
    }

    /// Checks the inputs against the deployment's and codes them as the plan says.
    fn encode_inputs(&self, inputs: Vec<(String, Tensor)>) -> Result<Vec<Passing>, DriverError> {
        let planned = self.inner.plan.tensors.iter().take(self.inner.plan.input_count);
        let known = |name: &str| self.inner.deployment.inputs.iter().any(|spec| spec.name == name);
        for (index, (name, _)) in inputs.iter().enumerate() {
            if !known(name) {
                let valid: Vec<String> = self.inner.deployment.inputs.iter().map(describe).collect();
                return Err(DriverError::UnknownInput { name: name.clone(), valid: valid.join(", ") });
            }
            if inputs.iter().take(index).any(|(other, _)| other == name) {
                return Err(DriverError::RepeatedInput { name: name.clone() });
            }
        }
        // All are checked before the first is coded.
        let mut fitting = Vec::with_capacity(inputs.len());
        for tensor in planned {
            let spec = &tensor.spec;
            let Some((_, given)) = inputs.iter().find(|(name, _)| *name == spec.name) else {
                return Err(DriverError::MissingInput { expected: describe(spec) });
            };
            let found = TensorSpec {
                name: spec.name.clone(),
                element_type: given.element_type(),
                shape: given.shape().to_vec(),
            };
            if found != *spec {
                return Err(DriverError::WrongInput { found: describe(&found), expected: describe(spec) });
            }
            fitting.push((tensor, given));
        }
        let encode = |(tensor, given): (&PlannedTensor, &Tensor)| {
            let name = &tensor.spec.name;
            // Without a shared folder the bytes go inside the request: functions take both.
            let placement = match (tensor.channel, &self.inner.shared) {
                (Channel::MappedFile, Some(folder)) if !tensor.readers.is_empty() => {
                    Placement::Shared(folder)
                }
                _ => Placement::Inline,
            };
            CodedTensor::encode(name, given, tensor.codec, placement)
                .map(|coded| Passing::new(coded, self.inner.shared.clone()))
                .map_err(|source| DriverError::Send { name: name.clone(), source })
        };
        fitting.into_iter().map(encode).collect()
    }
}

async fn wait_until_ready(
    client: &FunctionClient,
    started: Instant,
    deadline: Duration,
) -> Result<Duration, DriverError> {
    const PAUSE: Duration = Duration::from_millis(25);
    let mut last = Failure { reason: "it was not asked".to_owned(), retry: Retry::Later, hint: None };
    loop {
        let left = deadline.saturating_sub(started.elapsed());
        if left.is_zero() || last.retry == Retry::Never {
            let (slice, after) = (client.slice().to_owned(), started.elapsed());
            return Err(DriverError::NotReady { slice, after, reason: last.reason, hint: last.hint });
        }
        match client.ready(left).await {
            Ok(()) => return Ok(started.elapsed()),
            Err(failure) => last = failure,
        }
        if last.retry != Retry::Never {
            tokio::time::sleep(PAUSE.min(left)).await;
        }
    }
}
