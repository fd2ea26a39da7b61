//! Layers, published once for each content.

use super::{AwsError, AwsSession};
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{Architecture, LayerVersionContentInput, Runtime};
use std::path::Path;
use tranche_packager::lambda::{function_name, limits};
use tranche_schema::LambdaLayer;

/// Its name at Lambda: that of the package, which is by content, in the deployment's own
/// words, so that a destroy takes it from nobody else.
pub(super) fn name(deployment: &str, layer: &LambdaLayer) -> String {
    function_name("tranche", &format!("{deployment}-{}", layer.name))
}

/// ARN of the layer's version, published where there is none.
pub(super) async fn ensure(
    session: &AwsSession,
    name: &str,
    layer: &LambdaLayer,
    packages: &Path,
    object: Option<(&str, &str)>,
    architecture: &str,
) -> Result<String, AwsError> {
    let action = format!("publish layer {name}");
    let list = session.lambda.list_layer_versions().layer_name(name);
    match list.send().await.map_err(AwsError::of(&action)) {
        Ok(found) => {
            let mut versions = found.layer_versions().iter();
            if let Some(arn) = versions.find_map(|version| version.layer_version_arn()) {
                return Ok(arn.to_owned());
            }
        }
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    let content = LayerVersionContentInput::builder();
    let content = match object {
        Some((bucket, key)) => content.s3_bucket(bucket).s3_key(key),
        None => {
            let path = packages.join(&layer.file);
            let bytes = tokio::fs::read(&path).await.map_err(|error| AwsError::Answer {
                action: format!("read {}", path.display()),
                reason: error.to_string(),
            })?;
            content.zip_file(Blob::new(bytes))
        }
    };
    let time = session.timeouts.upload;
    let timeouts = aws_config::timeout::TimeoutConfig::builder()
        .read_timeout(time)
        .operation_attempt_timeout(time)
        .operation_timeout(time.saturating_mul(3));
    let published = session
        .lambda
        .publish_layer_version()
        .layer_name(name)
        .content(content.build())
        .compatible_runtimes(Runtime::from(limits::RUNTIME))
        .compatible_architectures(Architecture::from(architecture))
        .customize()
        .config_override(aws_sdk_lambda::config::Builder::new().timeout_config(timeouts.build()))
        .send()
        .await
        .map_err(AwsError::of(&action))?;
    let missing = || AwsError::Answer { action, reason: "it has no ARN".to_owned() };
    published.layer_version_arn().map(str::to_owned).ok_or_else(missing)
}

/// Removes a version of a layer; functions that have it keep it.
pub(super) async fn remove(session: &AwsSession, name: &str, arn: &str) -> Result<(), AwsError> {
    let number = arn.rsplit(':').next().and_then(|number| number.parse().ok()).unwrap_or_default();
    let call = session.lambda.delete_layer_version().layer_name(name).version_number(number);
    match call.send().await.map_err(AwsError::of(format!("remove layer {name}"))) {
        Err(error) if error.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}
