//! What the double holds, and the changes of functions that both providers know.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::asynchronous::Queue;
use crate::faults::Script;
use crate::function::{Function, Slot};
use crate::launch::Launcher;
use crate::logs::Logs;
use crate::provider::Denied;
use crate::proxy::Times;
use crate::replica::{Plan, Replica, Starter};
use crate::{DoubleError, FunctionDescription, Options, Provider, faasd, kubernetes};

pub(crate) struct Gateway {
    pub options: Options,
    pub launcher: Arc<dyn Launcher>,
    pub starter: Arc<Starter>,
    pub logs: Arc<Logs>,
    pub script: Script,
    pub queue: Option<Queue>,
    pub client: reqwest::Client,
    functions: Mutex<BTreeMap<String, Arc<Function>>>,
    secrets: Mutex<BTreeMap<String, Vec<u8>>>,
}

/// Where a call goes.
pub(crate) enum Choice {
    /// To this replica.
    Replica(Arc<Replica>),
    /// Nowhere: the replica is only being started.
    Refused,
    /// Nowhere: there is no replica.
    NoEndpoints,
}

impl Gateway {
    pub fn new(options: Options, launcher: Arc<dyn Launcher>, queue: Option<Queue>) -> Self {
        Self {
            options,
            launcher,
            starter: Arc::new(Starter::new()),
            logs: Arc::default(),
            script: Script::default(),
            queue,
            client: reqwest::Client::builder().no_proxy().build().unwrap_or_default(),
            functions: Mutex::default(),
            secrets: Mutex::default(),
        }
    }

    pub fn provider(&self) -> Provider {
        self.options.provider
    }

    pub fn times(&self) -> Times {
        Times { upstream: self.options.upstream_timeout, expect: self.options.expect_timeout }
    }

    pub fn functions(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Function>>> {
        self.functions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn secrets(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A function by its name; OpenFaaS takes `name.namespace` too.
    pub fn find(&self, name: &str) -> Option<Arc<Function>> {
        let namespace = format!(".{}", self.provider().namespace());
        let name = name.strip_suffix(&namespace).unwrap_or(name);
        self.functions().get(name).cloned()
    }

    /// POST /system/functions.
    pub async fn create(self: &Arc<Self>, description: FunctionDescription) -> Result<(), Denied> {
        let (running, exists) = {
            let functions = self.functions();
            (functions.len(), functions.contains_key(&description.service))
        };
        let secrets = self.secrets().clone();
        self.provider().check_create(running, exists, &description, &secrets)?;
        match self.provider() {
            Provider::Faasd => faasd::create(self, description).await,
            Provider::Kubernetes => kubernetes::create(self, description).await,
        }
    }

    /// PUT /system/functions; the status of an update that went well.
    pub async fn update(self: &Arc<Self>, description: FunctionDescription) -> Result<u16, Denied> {
        self.provider().check_update(&description)?;
        let Some(function) = self.find(&description.service) else {
            return Err((404, format!("service {} not found", description.service)));
        };
        let applies = self.provider().check_update_applies(&description, &self.secrets());
        match self.provider() {
            Provider::Faasd => faasd::update(self, &function, description, applies).await.map(|()| 200),
            Provider::Kubernetes => Ok(match applies {
                Ok(()) => kubernetes::update(self, &function, description).await,
                Err((_, reason)) => {
                    // faas-netes logs it and returns without a status: Go makes it 200.
                    tracing::warn!("error updating deployment: {reason}");
                    200
                }
            }),
        }
    }

    /// DELETE /system/functions.
    pub async fn delete(self: &Arc<Self>, name: &str) -> Result<(), Denied> {
        let Some(function) = self.find(name) else {
            return Err((404, format!("service {name} not found")));
        };
        match self.provider() {
            Provider::Faasd => faasd::delete(self, &function).await,
            Provider::Kubernetes => {
                kubernetes::delete(self, &function);
                Ok(())
            }
        }
    }

    /// POST /system/scale-function/NAME.
    pub async fn scale(self: &Arc<Self>, name: &str, replicas: u64) -> Result<(), Denied> {
        let Some(function) = self.find(name) else {
            return Err(match self.provider() {
                Provider::Faasd => (404, format!("service {name} not found")),
                Provider::Kubernetes => (500, format!("Unable to lookup function deployment {name}")),
            });
        };
        {
            let mut state = function.state();
            state.wanted = self.provider().replicas(replicas);
            state.dropped = false;
        }
        match self.provider() {
            Provider::Faasd => {
                faasd::revive(self, &function).await.map_err(|error| (400, error.to_string()))?;
            }
            Provider::Kubernetes => function.wake.notify_one(),
        }
        Ok(())
    }

    /// The replica that takes the next call.
    pub async fn choose(self: &Arc<Self>, function: &Arc<Function>) -> Choice {
        function.invocations.fetch_add(1, Ordering::Relaxed);
        match self.provider() {
            Provider::Faasd => faasd::choose(self, function).await,
            Provider::Kubernetes => kubernetes::choose(function),
        }
    }

    /// Starts a replica without holding up the runtime.
    pub async fn start(&self, plan: Plan) -> Result<Arc<Replica>, DoubleError> {
        let (starter, logs) = (Arc::clone(&self.starter), Arc::clone(&self.logs));
        let function = plan.function.clone();
        let work = move || Replica::start(&starter, &logs, &plan);
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => Err(DoubleError::Limit { function, reason: error.to_string() }),
        }
    }

    /// Kills all replicas of a function.
    pub fn kill(&self, name: &str) -> Result<(), DoubleError> {
        for replica in self.known(name)?.replicas() {
            replica.kill();
        }
        Ok(())
    }

    /// Takes all replicas of a function away until it is scaled or deployed.
    pub fn drop_replicas(&self, name: &str) -> Result<(), DoubleError> {
        let function = self.known(name)?;
        let slots: Vec<Slot> = {
            let mut state = function.state();
            state.dropped = true;
            state.slots.drain(..).collect()
        };
        for slot in slots {
            slot.replica.kill();
        }
        function.wake.notify_one();
        Ok(())
    }

    fn known(&self, name: &str) -> Result<Arc<Function>, DoubleError> {
        self.find(name).ok_or_else(|| DoubleError::NoFunction { function: name.to_owned() })
    }

    /// Ends every process at once; nothing may be started any more. Blocking.
    pub fn end(&self) {
        let functions = std::mem::take(&mut *self.functions());
        for function in functions.into_values() {
            function.state().gone = true;
            for replica in function.replicas() {
                replica.kill();
            }
        }
        self.starter.wait_for_all();
    }
}
