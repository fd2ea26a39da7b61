//! Paths of the protocol.

use hyper::{Method, StatusCode};
use std::sync::Arc;
use tranche_serving::Refusal;

use super::metadata::VERSION;
use crate::door::{Door, Model};

/// What all paths of the protocol begin with.
pub(crate) const PREFIX: &str = "/v2";

/// What a path leads to.
pub(crate) enum Inference {
    Server,
    Live,
    Ready,
    Index,
    Model(Arc<Model>),
    ModelReady(Arc<Model>),
    Config(Arc<Model>),
    /// One model, or all.
    Stats(Vec<Arc<Model>>),
    Infer(Arc<Model>),
}

/// What of a path is below [`PREFIX`].
pub(crate) fn below(path: &str) -> Option<&str> {
    path.strip_prefix(PREFIX).filter(|below| below.is_empty() || below.starts_with('/'))
}

/// Whether a path asks for the state of the server, which everybody may.
pub(crate) fn is_health(path: &str) -> bool {
    below(path).is_some_and(|below| matches!(below, "/health/live" | "/health/ready"))
}

impl Inference {
    /// # Errors
    /// 404 that names the model or the version that is not there.
    pub(crate) fn of(door: &Door, below: &str) -> Result<Self, Refusal> {
        let parts: Vec<&str> = below.split('/').filter(|part| !part.is_empty()).collect();
        let nothing = || {
            let hint = "the paths are /v2/models/NAME and /v2/models/NAME/infer; see docs/serving.md";
            Refusal::not_found(&format!("{PREFIX}{below}"), hint)
        };
        let (name, rest) = match parts.as_slice() {
            [] => return Ok(Self::Server),
            ["health", "live"] => return Ok(Self::Live),
            ["health", "ready"] => return Ok(Self::Ready),
            ["repository", "index"] => return Ok(Self::Index),
            ["models", "stats"] => return Ok(Self::Stats(door.models())),
            ["models", name, "versions", version, rest @ ..] => {
                if *version != VERSION {
                    return Err(unknown(
                        format!("model `{name}` has no version `{version}`"),
                        format!("its version is {VERSION}; leave it out"),
                    ));
                }
                (*name, rest)
            }
            ["models", name, rest @ ..] => (*name, rest),
            _ => return Err(nothing()),
        };
        let model = named(door, name)?;
        match rest {
            [] => Ok(Self::Model(model)),
            ["ready"] => Ok(Self::ModelReady(model)),
            ["config"] => Ok(Self::Config(model)),
            ["stats"] => Ok(Self::Stats(vec![model])),
            ["infer"] => Ok(Self::Infer(model)),
            _ => Err(nothing()),
        }
    }

    pub(crate) fn method(&self) -> Method {
        match self {
            Self::Infer(_) | Self::Index => Method::POST,
            _ => Method::GET,
        }
    }

    pub(crate) fn allowed(&self) -> &'static str {
        if self.method() == Method::POST { "POST" } else { "GET" }
    }
}

fn named(door: &Door, name: &str) -> Result<Arc<Model>, Refusal> {
    let models = door.models();
    models.iter().find(|model| model.deployment().name == name).cloned().ok_or_else(|| {
        let names: Vec<&str> = models.iter().map(|model| model.deployment().name.as_str()).collect();
        unknown(format!("there is no model `{name}`"), format!("the models are {}", names.join(", ")))
    })
}

fn unknown(message: String, hint: String) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "unknown-model", message, hint)
}
