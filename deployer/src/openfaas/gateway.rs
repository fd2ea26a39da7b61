//! What can be asked of a gateway (`faas/api-docs/spec.openapi.yml`).

use super::GatewayError;
use super::client::{Answer, Call, Gateway};
use super::wire::{GatewayInfo, Load, LogLine, Readiness, ReadyBody, RunningFunction, WireInfo, WireSecret};
use reqwest::Method;
use serde_json::json;
use tranche_packager::openfaas::FunctionDeployment;

/// Statuses of success: faasd answers 200, Kubernetes 202.
const DONE: [u16; 3] = [200, 201, 202];

/// What a change of a function did, as the gateway says. Kubernetes says
/// `Updated` also of updates that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was made.
    Created,
    /// It was there and changed.
    Updated,
}

/// Which lines of a log.
#[derive(Clone, Debug, Default)]
pub struct LogRange {
    /// Only the last lines.
    pub tail: Option<usize>,
    /// Only lines from then on, in RFC 3339.
    pub since: Option<String>,
}

impl Gateway {
    /// What the gateway and its provider are.
    ///
    /// # Errors
    /// When it cannot be asked, or its provider is neither faasd nor Kubernetes.
    pub async fn info(&self) -> Result<GatewayInfo, GatewayError> {
        let action = "ask what the gateway is";
        let answer = self.ask(&["system", "info"], action.to_owned()).await?;
        let info: WireInfo = answer.json(action)?;
        info.info().ok_or_else(|| GatewayError::Answer {
            action: action.to_owned(),
            reason: "its provider is neither faasd nor Kubernetes".to_owned(),
            excerpt: answer.excerpt(),
        })
    }

    /// Every function of the namespace.
    ///
    /// # Errors
    /// When the gateway cannot be asked.
    pub async fn list(&self) -> Result<Vec<RunningFunction>, GatewayError> {
        let action = "list functions";
        let answer = self.ask(&["system", "functions"], action.to_owned()).await?;
        // Go's nil slice.
        Ok(answer.json::<Option<Vec<RunningFunction>>>(action)?.unwrap_or_default())
    }

    /// One function; `None` when there is none of that name.
    ///
    /// # Errors
    /// When the gateway cannot be asked.
    pub async fn get(&self, name: &str) -> Result<Option<RunningFunction>, GatewayError> {
        let action = format!("look at function {name}");
        match self.ask(&["system", "function", name], action.clone()).await {
            Ok(answer) => Ok(Some(answer.json(&action)?)),
            Err(GatewayError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a function what `function` says: updates it, or makes it where
    /// there is none. Only [`Gateway::get`] shows whether it has become so.
    ///
    /// # Errors
    /// When the gateway refuses it or cannot be asked.
    pub async fn apply(&self, function: &FunctionDeployment) -> Result<Applied, GatewayError> {
        let action = format!("update function {}", function.service);
        match self.change(Method::PUT, &["system", "functions"], action, body(function)?).await {
            Ok(_) => Ok(Applied::Updated),
            Err(GatewayError::NotFound { .. }) => self.create(function).await,
            Err(error) => Err(error),
        }
    }

    /// Makes a function that is not there.
    ///
    /// # Errors
    /// When the gateway refuses it or cannot be asked.
    pub async fn create(&self, function: &FunctionDeployment) -> Result<Applied, GatewayError> {
        let action = format!("create function {}", function.service);
        match self.change(Method::POST, &["system", "functions"], action, body(function)?).await {
            Ok(_) => Ok(Applied::Created),
            // The answer to an earlier attempt was lost, not the attempt.
            Err(GatewayError::Refused { message, .. } | GatewayError::Failed { message, .. })
                if message.contains("exist") && !message.contains("not exist") =>
            {
                Ok(Applied::Updated)
            }
            Err(error) => Err(error),
        }
    }

    /// Removes a function; whether there was one. faasd answers 500 when the
    /// function is slow to end, and removes it when asked again.
    ///
    /// # Errors
    /// When the gateway refuses or cannot be asked.
    pub async fn delete(&self, name: &str) -> Result<bool, GatewayError> {
        let body = self.named(json!({ "functionName": name }));
        let action = format!("delete function {name}");
        match self.change(Method::DELETE, &["system", "functions"], action, body).await {
            Ok(_) => Ok(true),
            Err(GatewayError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sets how many replicas a function has.
    ///
    /// # Errors
    /// When there is none of that name, or the gateway cannot be asked.
    pub async fn scale(&self, name: &str, replicas: u32) -> Result<(), GatewayError> {
        let body = self.named(json!({ "serviceName": name, "replicas": replicas }));
        let action = format!("scale function {name}");
        self.change(Method::POST, &["system", "scale-function", name], action, body).await.map(drop)
    }

    /// Names of secrets.
    ///
    /// # Errors
    /// When the gateway cannot be asked.
    pub async fn secrets(&self) -> Result<Vec<String>, GatewayError> {
        let action = "list secrets";
        let answer = self.ask(&["system", "secrets"], action.to_owned()).await?;
        let secrets = answer.json::<Option<Vec<WireSecret>>>(action)?.unwrap_or_default();
        Ok(secrets.into_iter().map(|secret| secret.name).collect())
    }

    /// Makes or changes a secret.
    ///
    /// # Errors
    /// When the gateway refuses it or cannot be asked; no message holds the value.
    pub async fn set_secret(&self, name: &str, value: &str) -> Result<Applied, GatewayError> {
        let known = self.secrets().await?.iter().any(|known| known == name);
        let method = if known { Method::PUT } else { Method::POST };
        let body = self.named(json!({ "name": name, "value": value }));
        // What the gateway says of it may repeat it.
        let quiet = |error| match error {
            GatewayError::Refused { action, status, .. } => {
                GatewayError::Refused { action, status, message: String::new() }
            }
            GatewayError::Failed { action, status, .. } => {
                GatewayError::Failed { action, status, message: String::new() }
            }
            other => other,
        };
        self.change(method, &["system", "secrets"], format!("set secret {name}"), body)
            .await
            .map_err(quiet)?;
        Ok(if known { Applied::Updated } else { Applied::Created })
    }

    /// Removes a secret; whether there was one.
    ///
    /// # Errors
    /// When the gateway cannot be asked.
    pub async fn delete_secret(&self, name: &str) -> Result<bool, GatewayError> {
        let body = self.named(json!({ "name": name }));
        match self.change(Method::DELETE, &["system", "secrets"], format!("delete secret {name}"), body).await
        {
            Ok(_) => Ok(true),
            Err(GatewayError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What a function wrote, oldest first. faasd keeps nothing without journald.
    ///
    /// # Errors
    /// When the gateway cannot be asked or answers something else than lines.
    pub async fn logs(&self, name: &str, range: &LogRange) -> Result<Vec<LogLine>, GatewayError> {
        let action = format!("read the log of {name}");
        let mut call = self.call(Method::GET, &["system", "logs"], action.clone());
        call.query.push(("name", name.to_owned()));
        call.query.push(("follow", "false".to_owned()));
        call.query.extend(range.tail.map(|count| ("tail", count.to_string())));
        call.query.extend(range.since.clone().map(|since| ("since", since)));
        let answer = self.send(call, &DONE).await?;
        let lines = answer.body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        lines.map(|line| Answer { status: answer.status, body: line.to_vec() }.json(&action)).collect()
    }

    /// Namespaces that functions can be in; empty on providers with one only.
    ///
    /// # Errors
    /// When the gateway cannot be asked.
    pub async fn namespaces(&self) -> Result<Vec<String>, GatewayError> {
        let action = "list namespaces";
        let mut call = self.call(Method::GET, &["system", "namespaces"], action.to_owned());
        call.query.clear();
        let answer = self.send(call, &DONE).await?;
        Ok(answer.json::<Option<Vec<String>>>(action)?.unwrap_or_default())
    }

    /// Whether the gateway itself is up (`/healthz`).
    ///
    /// # Errors
    /// When it cannot be asked or is not well.
    pub async fn healthy(&self) -> Result<(), GatewayError> {
        let mut call = self.call(Method::GET, &["healthz"], "ask whether the gateway is well".to_owned());
        call.query.clear();
        self.send(call, &DONE).await.map(drop)
    }

    /// Whether a function can be called: its `/_/ready` through the gateway.
    /// Asked once; an answer that is not its own means waiting.
    ///
    /// # Errors
    /// When the gateway itself does not answer.
    pub async fn readiness(&self, name: &str) -> Result<Readiness, GatewayError> {
        let name = match &self.namespace {
            Some(namespace) => format!("{name}.{namespace}"),
            None => name.to_owned(),
        };
        let path = ["function", &name, "_", "ready"];
        let mut call = self.call(Method::GET, &path, format!("ask whether {name} is ready"));
        call.query.clear();
        call.attempts = 1;
        let every_status: Vec<u16> = (100..600).collect();
        let answer = match self.send(call, &every_status).await {
            Ok(answer) => answer,
            // faasd loses requests to a function that just starts (fact 4 and 5 of its traps).
            Err(error @ (GatewayError::TimedOut { .. } | GatewayError::Broken { .. })) => {
                return Ok(Readiness::Waiting { reason: error.to_string() });
            }
            Err(error) => return Err(error),
        };
        let body: ReadyBody = serde_json::from_slice(&answer.body).unwrap_or_default();
        Ok(match answer.status {
            200 => Readiness::Ready {
                load: body
                    .in_flight
                    .zip(body.answered)
                    .map(|(in_flight, answered)| Load { in_flight, answered }),
            },
            500 if body.state == "failed" => Readiness::Failed { message: body.message },
            503 if !body.state.is_empty() => Readiness::Waiting { reason: body.state },
            status => Readiness::Waiting { reason: format!("status {status} {}", answer.excerpt()) },
        })
    }

    async fn ask(&self, path: &[&str], action: String) -> Result<Answer, GatewayError> {
        let call: Call<'_> = self.call(Method::GET, path, action);
        self.send(call, &DONE).await
    }

    async fn change(
        &self,
        method: Method,
        path: &[&str],
        action: String,
        body: Vec<u8>,
    ) -> Result<Answer, GatewayError> {
        let call = Call { body: Some(body), ..self.call(method, path, action) };
        self.send(call, &DONE).await
    }

    /// `value` with the namespace, where there is one.
    fn named(&self, mut value: serde_json::Value) -> Vec<u8> {
        if let (Some(object), Some(namespace)) = (value.as_object_mut(), &self.namespace) {
            object.insert("namespace".to_owned(), json!(namespace));
        }
        value.to_string().into_bytes()
    }
}

fn body(function: &FunctionDeployment) -> Result<Vec<u8>, GatewayError> {
    serde_json::to_vec(function).map_err(|error| GatewayError::Client { reason: error.to_string() })
}
