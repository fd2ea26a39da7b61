//! What a request asks for, worked out from bundle, images and options.

use super::Gateway;
use super::snapshot::Snapshot;
use super::state::{Current, Record};
use super::target::OpenFaasSettings;
use crate::{Bundle, DeployError, DeployRequest};
use tranche_packager::openfaas::{
    DescribeOptions, Finding, FunctionDeployment, Provider, Severity, Surroundings, describe_front_door,
    describe_functions, lint_with,
};
use tranche_schema::{
    Address, DeployedFunction, Deployment, Document, FunctionSize, LimitsEnforced, OpenFaasDeployment,
    OpenFaasFunction,
};

/// A deployment as asked for.
#[derive(Debug)]
pub(super) struct Desired<'a> {
    pub bundle: &'a Bundle,
    pub name: &'a str,
    pub engine: String,
    pub functions: Vec<FunctionDeployment>,
    pub settings: &'a OpenFaasSettings,
    options: DescribeOptions,
}

impl<'a> Desired<'a> {
    pub fn new(
        settings: &'a OpenFaasSettings,
        bundle: &'a Bundle,
        request: &'a DeployRequest,
        gateway: &Gateway,
    ) -> Result<Self, DeployError> {
        let engine = request.options.engine.as_deref().unwrap_or(&bundle.manifest.engine);
        settings.check_images(bundle, engine)?;
        let options = DescribeOptions {
            deployment: request.name.clone(),
            namespace: gateway.namespace().map(str::to_owned),
            engine: request.options.engine.clone(),
            optimise: request.options.optimise,
            cpu: request.options.cpu,
            limits: request.options.limits,
            ..settings.describe.clone()
        };
        Ok(Self {
            functions: describe_functions(&bundle.manifest, &settings.images, &options)?,
            engine: engine.to_owned(),
            name: &request.name,
            options,
            bundle,
            settings,
        })
    }

    /// The front door that runs `image`, if one is wanted.
    pub fn front_door(&self, image: &str) -> Option<FunctionDeployment> {
        let front_door = self.settings.front_door.as_ref()?;
        let mut options = self.options.clone();
        options.environment.extend(front_door.environment.clone());
        Some(describe_front_door(image, front_door.size, &options))
    }

    /// Findings of the functions beside `others` that go on running; errors end it.
    pub fn lint(&self, provider: Option<Provider>, others: usize) -> Result<Vec<Finding>, DeployError> {
        let surroundings = Surroundings {
            running: others + usize::from(self.settings.front_door.is_some()),
            function_limit: self.settings.function_limit,
            gateway_timeout: self.settings.gateway_timeout,
            asynchronous: self.settings.asynchronous,
            provider,
        };
        let (errors, warnings): (Vec<Finding>, Vec<Finding>) = lint_with(&self.functions, &surroundings)
            .into_iter()
            .partition(|finding| finding.severity == Severity::Error);
        if errors.is_empty() { Ok(warnings) } else { Err(DeployError::Unfit { findings: errors }) }
    }

    pub fn record(&self, front_door: Option<FunctionDeployment>) -> Record {
        Record {
            header: Record::header(),
            plan_digest: self.bundle.manifest.plan_digest.clone(),
            functions: self.functions.clone(),
            front_door,
        }
    }

    /// deployment.json of it.
    pub fn document(
        &self,
        gateway: &Gateway,
        snapshot: &Snapshot,
        front_door: Option<&FunctionDeployment>,
    ) -> Deployment {
        let manifest = &self.bundle.manifest;
        let limits = LimitsEnforced {
            memory: self.options.limits,
            // faasd ignores them.
            cpu: self.options.limits && snapshot.provider() == Provider::Kubernetes,
        };
        let of = |slice: &str, function: &FunctionDeployment| OpenFaasFunction {
            slice: slice.to_owned(),
            function: function.service.clone(),
            image: function.image.clone(),
        };
        let slices = || manifest.slices.iter().zip(&self.functions);
        Deployment {
            header: Deployment::header(),
            name: self.name.to_owned(),
            target: "openfaas".to_owned(),
            bundle_digest: self.bundle.digest.clone(),
            bundle: self.bundle.folder.clone(),
            engine: self.engine.clone(),
            inputs: manifest.inputs.clone(),
            outputs: manifest.outputs.clone(),
            functions: slices()
                .map(|(slice, function)| DeployedFunction {
                    slice: slice.name.clone(),
                    address: Address::Http { url: address(gateway, &function.service) },
                    size: FunctionSize {
                        memory_bytes: slice.size.memory_bytes,
                        cpu_milli: self.options.cpu.unwrap_or(slice.size.cpu_milli),
                    },
                    limits,
                    inputs: slice.inputs.clone(),
                    outputs: slice.outputs.clone(),
                    prediction: slice.prediction,
                })
                .collect(),
            edges: manifest.edges.clone(),
            local: None,
            openfaas: Some(OpenFaasDeployment {
                gateway: gateway.url().to_string(),
                namespace: gateway.namespace().map(str::to_owned),
                provider: snapshot.provider().to_string(),
                functions: slices().map(|(slice, function)| of(&slice.name, function)).collect(),
                front_door: front_door.map(|function| of("", function)),
            }),
            lambda: None,
        }
    }
}

/// Where a function answers.
fn address(gateway: &Gateway, function: &str) -> String {
    match gateway.namespace() {
        Some(namespace) => format!("{}/function/{function}.{namespace}", gateway.url()),
        None => format!("{}/function/{function}", gateway.url()),
    }
}

/// That a deployment is at this gateway and nowhere else.
pub(super) fn check_place(current: Option<&Current>, gateway: &Gateway) -> Result<(), DeployError> {
    let Some(openfaas) = current.and_then(|current| current.deployment.openfaas.as_ref()) else {
        return Ok(());
    };
    let place = |gateway: &str, namespace: Option<&str>| match namespace {
        Some(namespace) => format!("{gateway} (namespace {namespace})"),
        None => gateway.to_owned(),
    };
    let there = place(&openfaas.gateway, openfaas.namespace.as_deref());
    let here = place(&gateway.url().to_string(), gateway.namespace());
    if there == here {
        return Ok(());
    }
    let name = current.map(|current| current.deployment.name.clone()).unwrap_or_default();
    Err(DeployError::OtherGateway { name, there, here })
}
