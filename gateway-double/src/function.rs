//! A function as a provider keeps it.

use crate::launch::{Program, Start};
use crate::replica::{Plan, Replica};
use crate::{FunctionDescription, FunctionStatus, Provider};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};
use tokio::sync::Notify;

pub(crate) struct Function {
    pub name: String,
    pub created: SystemTime,
    pub invocations: AtomicU64,
    /// Held while replicas are exchanged, so that it happens once at a time.
    pub changing: tokio::sync::Mutex<()>,
    /// Tells the Kubernetes controller that something changed.
    pub wake: Notify,
    state: Mutex<State>,
}

pub(crate) struct State {
    pub description: FunctionDescription,
    /// Raised by each change of the description.
    pub generation: u64,
    /// What runs.
    pub program: Arc<dyn Program>,
    /// Replicas asked for.
    pub wanted: u64,
    /// Whether a fault took all replicas away.
    pub dropped: bool,
    /// Whether it was deleted.
    pub gone: bool,
    pub slots: Vec<Slot>,
    /// The slot that the last call went to.
    pub turn: usize,
}

/// A replica's place.
#[derive(Clone)]
pub(crate) struct Slot {
    pub generation: u64,
    pub replica: Arc<Replica>,
    pub restarts: u32,
    /// When a replica that ended may be started again.
    pub restart_at: Option<Instant>,
}

impl Slot {
    pub fn new(generation: u64, replica: Arc<Replica>) -> Self {
        Self { generation, replica, restarts: 0, restart_at: None }
    }

    pub fn is_ready(&self) -> bool {
        self.replica.ready.load(Ordering::Relaxed)
    }
}

impl Function {
    pub fn new(description: FunctionDescription, program: Arc<dyn Program>, wanted: u64) -> Self {
        Self {
            name: description.service.clone(),
            created: SystemTime::now(),
            invocations: AtomicU64::new(0),
            changing: tokio::sync::Mutex::new(()),
            wake: Notify::new(),
            state: Mutex::new(State {
                description,
                generation: 0,
                program,
                wanted,
                dropped: false,
                gone: false,
                slots: Vec::new(),
                turn: 0,
            }),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn replicas(&self) -> Vec<Arc<Replica>> {
        self.state().slots.iter().map(|slot| Arc::clone(&slot.replica)).collect()
    }

    /// What GET answers.
    pub fn status(&self, provider: Provider) -> FunctionStatus {
        let state = self.state();
        let description = state.description.clone();
        let mut labels = description.labels;
        let mut annotations = description.annotations;
        let available = match provider {
            Provider::Faasd => state.slots.iter().filter(|slot| slot.replica.is_running()).count(),
            Provider::Kubernetes => state.slots.iter().filter(|slot| slot.is_ready()).count(),
        };
        let replicas = match provider {
            // One task, or none: it does not keep a number.
            Provider::Faasd => available as u64,
            Provider::Kubernetes => state.wanted,
        };
        let kept = provider == Provider::Kubernetes;
        if kept {
            labels.insert("faas_function".to_owned(), self.name.clone());
            annotations.entry("prometheus.io.scrape".to_owned()).or_insert("false".to_owned());
        }
        let memory_only = |limits: crate::Resources| crate::Resources { cpu: None, ..limits };
        FunctionStatus {
            name: self.name.clone(),
            image: description.image,
            namespace: provider.namespace().to_owned(),
            env_process: description.env_process,
            env_vars: description.env_vars,
            secrets: description.secrets,
            labels,
            annotations,
            limits: description.limits.map(|limits| if kept { limits } else { memory_only(limits) }),
            requests: description.requests.filter(|_| kept),
            read_only_root_filesystem: kept && description.read_only_root_filesystem,
            invocation_count: self.invocations.load(Ordering::Relaxed) as f64,
            replicas,
            available_replicas: available as u64,
            created_at: humantime::format_rfc3339_seconds(self.created).to_string(),
        }
    }

    /// How a replica of the description in force is started, and its generation.
    pub fn plan(
        &self,
        provider: Provider,
        secrets: &BTreeMap<String, Vec<u8>>,
        user: Option<(u32, u32)>,
    ) -> (u64, Plan) {
        let state = self.state();
        let plan = plan(provider, &state.description, &state.program, secrets, user);
        (state.generation, plan)
    }
}

pub(crate) fn plan(
    provider: Provider,
    description: &FunctionDescription,
    program: &Arc<dyn Program>,
    secrets: &BTreeMap<String, Vec<u8>>,
    user: Option<(u32, u32)>,
) -> Plan {
    let mut environment = description.env_vars.clone();
    if !description.env_process.is_empty() {
        environment.entry("fprocess".to_owned()).or_insert(description.env_process.clone());
    }
    let kubernetes = provider == Provider::Kubernetes;
    Plan {
        function: description.service.clone(),
        namespace: provider.namespace(),
        program: Arc::clone(program),
        start: Start {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            environment,
            secrets: secrets
                .iter()
                .filter(|(name, _)| description.secrets.contains(name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            read_only: kubernetes && description.read_only_root_filesystem,
            user: user.filter(|_| kubernetes),
        },
        memory: provider.memory_limit(description),
        milli_cpu: provider.cpu_limit(description),
    }
}
