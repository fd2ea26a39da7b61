//! The alias that callers use, and what hangs on a function as a whole.

use super::function::{Function, FunctionError, signed};
use super::{AwsError, AwsSession};
use aws_sdk_lambda::types::{
    AliasRoutingConfiguration, FunctionUrlAuthType, ProvisionedConcurrencyStatusEnum,
};
use std::collections::{BTreeMap, HashMap};

/// Where an alias leads.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Route {
    pub version: String,
    /// Another version and its share of the requests.
    pub canary: Option<(String, f64)>,
}

impl Route {
    pub fn to(version: &str) -> Self {
        Self { version: version.to_owned(), canary: None }
    }

    fn weights(&self) -> AliasRoutingConfiguration {
        let weights: HashMap<String, f64> = self.canary.clone().into_iter().collect();
        AliasRoutingConfiguration::builder().set_additional_version_weights(Some(weights)).build()
    }
}

impl Function<'_> {
    /// Points the alias at `route`; makes it where there is none, which `is_new` says is likely.
    pub async fn route(&self, alias: &str, route: &Route, is_new: bool) -> Result<(), FunctionError> {
        let first =
            if is_new { self.make_route(alias, route).await } else { self.move_route(alias, route).await };
        match first {
            Err(FunctionError::Aws(error)) if is_new && error.is_conflict() => {
                self.move_route(alias, route).await
            }
            Err(FunctionError::Aws(error)) if !is_new && error.is_not_found() => {
                self.make_route(alias, route).await
            }
            other => other,
        }
    }

    async fn move_route(&self, alias: &str, route: &Route) -> Result<(), FunctionError> {
        let update = self
            .session
            .lambda
            .update_alias()
            .function_name(self.name)
            .name(alias)
            .function_version(&route.version)
            // Without weights this ends a canary.
            .routing_config(route.weights());
        let action = format!("point alias {alias} of {} at version {}", self.name, route.version);
        self.patiently(&action, || update.clone().send()).await.map(|_| ())
    }

    async fn make_route(&self, alias: &str, route: &Route) -> Result<(), FunctionError> {
        let create = self
            .session
            .lambda
            .create_alias()
            .function_name(self.name)
            .name(alias)
            .function_version(&route.version)
            .set_routing_config(route.canary.is_some().then(|| route.weights()));
        let action = format!("make alias {alias} of {}", self.name);
        self.patiently(&action, || create.clone().send()).await.map(|_| ())
    }

    /// Removes the alias.
    pub async fn unroute(&self, alias: &str) -> Result<(), FunctionError> {
        let call = self.session.lambda.delete_alias().function_name(self.name).name(alias);
        let action = format!("remove alias {alias} of {}", self.name);
        gone(self.patiently(&action, || call.clone().send()).await)
    }

    /// Removes a version, or with `None` the function with all that hangs on it.
    pub async fn remove(&self, version: Option<&str>) -> Result<(), FunctionError> {
        let call = self.session.lambda.delete_function().function_name(self.name);
        let call = call.set_qualifier(version.map(str::to_owned));
        let what = version.map(|version| format!("version {version} of ")).unwrap_or_default();
        let action = format!("remove {what}function {}", self.name);
        gone(self.patiently(&action, || call.clone().send()).await)
    }

    /// Sets concurrency aside for it, or gives it back.
    pub async fn reserve(&self, executions: Option<u32>) -> Result<(), FunctionError> {
        let action = format!("set the concurrency of {}", self.name);
        match executions {
            Some(executions) => {
                let call = self
                    .session
                    .lambda
                    .put_function_concurrency()
                    .function_name(self.name)
                    .reserved_concurrent_executions(signed(executions));
                self.patiently(&action, || call.clone().send()).await.map(|_| ())
            }
            None => {
                let call = self.session.lambda.delete_function_concurrency().function_name(self.name);
                gone(self.patiently(&action, || call.clone().send()).await)
            }
        }
    }

    /// Keeps environments of the alias's version ready, or none, and waits until they are.
    pub async fn provision(&self, alias: &str, environments: Option<u32>) -> Result<(), FunctionError> {
        let action = format!("set the provisioned concurrency of {}", self.name);
        let client = &self.session.lambda;
        let Some(environments) = environments else {
            let call =
                client.delete_provisioned_concurrency_config().function_name(self.name).qualifier(alias);
            return gone(self.patiently(&action, || call.clone().send()).await);
        };
        let call = client
            .put_provisioned_concurrency_config()
            .function_name(self.name)
            .qualifier(alias)
            .provisioned_concurrent_executions(signed(environments));
        self.patiently(&action, || call.clone().send()).await?;
        let mut pause = self.patience.pause;
        loop {
            let call = client.get_provisioned_concurrency_config().function_name(self.name).qualifier(alias);
            let found = call.send().await.map_err(AwsError::of(&action))?;
            match found.status() {
                Some(ProvisionedConcurrencyStatusEnum::Failed) => {
                    let reason = found.status_reason().unwrap_or("no reason is given").to_owned();
                    return Err(FunctionError::Failed { reason, log_tail: String::new() });
                }
                Some(ProvisionedConcurrencyStatusEnum::InProgress) => {
                    self.patience.pause(&mut pause, || "environments are being prepared".to_owned()).await?;
                }
                _ => return Ok(()),
            }
        }
    }

    /// Gives it tags.
    pub async fn tag(&self, account: &str, tags: &BTreeMap<String, String>) -> Result<(), FunctionError> {
        if tags.is_empty() {
            return Ok(());
        }
        let arn = function_arn(self.session, account, self.name);
        let call = self
            .session
            .lambda
            .tag_resource()
            .resource(arn)
            .set_tags(Some(tags.clone().into_iter().collect()));
        self.patiently(&format!("tag function {}", self.name), || call.clone().send()).await.map(|_| ())
    }

    /// Its URL, made where there is none. Only callers of this account that IAM lets call it
    /// get through: a function of its own needs both permissions for them.
    pub async fn url(&self, alias: &str, account: &str) -> Result<String, FunctionError> {
        let action = format!("give function {} a URL", self.name);
        let client = &self.session.lambda;
        let existing = client.get_function_url_config().function_name(self.name).qualifier(alias);
        match self.patiently(&action, || existing.clone().send()).await {
            Ok(found) if *found.auth_type() == FunctionUrlAuthType::AwsIam => {
                return Ok(found.function_url().to_owned());
            }
            Ok(_) => {
                let reason = "the function has a URL that anybody may call".to_owned();
                return Err(AwsError::Answer { action, reason }.into());
            }
            Err(FunctionError::Aws(error)) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        for (id, permission) in
            [("tranche-url", "lambda:InvokeFunctionUrl"), ("tranche-invoke", "lambda:InvokeFunction")]
        {
            let is_url = permission == "lambda:InvokeFunctionUrl";
            let call = client
                .add_permission()
                .function_name(self.name)
                .qualifier(alias)
                .statement_id(id)
                .action(permission)
                .principal(account)
                .set_function_url_auth_type(is_url.then_some(FunctionUrlAuthType::AwsIam))
                // Other ways to the function stay what IAM says of them.
                .set_invoked_via_function_url((!is_url).then_some(true));
            match self.patiently(&action, || call.clone().send()).await {
                Ok(_) => {}
                // A deploy was cut off here.
                Err(FunctionError::Aws(error)) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        let call = client
            .create_function_url_config()
            .function_name(self.name)
            .qualifier(alias)
            .auth_type(FunctionUrlAuthType::AwsIam);
        let made = self.patiently(&action, || call.clone().send()).await?;
        Ok(made.function_url().to_owned())
    }

    /// Takes its URL and the permissions for it away.
    pub async fn remove_url(&self, alias: &str) -> Result<(), FunctionError> {
        let action = format!("take the URL of function {} away", self.name);
        let client = &self.session.lambda;
        let call = client.delete_function_url_config().function_name(self.name).qualifier(alias);
        gone(self.patiently(&action, || call.clone().send()).await)?;
        for id in ["tranche-url", "tranche-invoke"] {
            let call = client.remove_permission().function_name(self.name).qualifier(alias).statement_id(id);
            gone(self.patiently(&action, || call.clone().send()).await)?;
        }
        Ok(())
    }
}

/// What is not there is removed.
fn gone<T>(result: Result<T, FunctionError>) -> Result<(), FunctionError> {
    match result {
        Err(FunctionError::Aws(error)) if error.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}

/// `aws`, `aws-cn` or `aws-us-gov`, as the region says.
pub(super) fn partition(region: &str) -> &'static str {
    match region {
        _ if region.starts_with("cn-") => "aws-cn",
        _ if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

pub(super) fn function_arn(session: &AwsSession, account: &str, name: &str) -> String {
    let region = session.region();
    format!("arn:{}:lambda:{region}:{account}:function:{name}", partition(region))
}
