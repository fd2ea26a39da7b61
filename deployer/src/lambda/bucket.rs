//! The bucket: packages on their way to Lambda, and tensors on their way between functions.
//!
//! ```text
//! tranche/NAME/code/SHA256.zip     packages that no call takes
//! tranche/NAME/requests/…          tensors; deleted after a day by a lifecycle rule
//! ```

use super::{AwsError, AwsSession};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, BucketLocationConstraint, CreateBucketConfiguration, Delete,
    ExpirationStatus, LifecycleExpiration, LifecycleRule, LifecycleRuleFilter, ObjectIdentifier,
    PublicAccessBlockConfiguration,
};
use std::path::Path;
use tranche_schema::{Digest, ObjectStore};

/// Keys of a deployment begin with it.
fn prefix(deployment: &str) -> String {
    format!("tranche/{deployment}")
}

/// Where tensors of a deployment go in a bucket.
#[must_use]
pub fn store(bucket: &str, deployment: &str) -> ObjectStore {
    ObjectStore { bucket: bucket.to_owned(), prefix: format!("{}/requests", prefix(deployment)) }
}

/// Where a package goes: by its content.
pub(super) fn code_key(deployment: &str, digest: &Digest) -> String {
    format!("{}/code/{}.zip", prefix(deployment), digest.hex())
}

/// `tranche-ACCOUNT-REGION`
#[must_use]
pub fn own_name(account: &str, region: &str) -> String {
    format!("tranche-{account}-{region}")
}

/// A bucket and the account that it must belong to.
#[derive(Clone, Copy, Debug)]
pub(super) struct BucketOf<'a> {
    pub session: &'a AwsSession,
    pub name: &'a str,
    pub account: &'a str,
}

impl BucketOf<'_> {
    fn action(&self, what: &str) -> String {
        format!("{what} bucket {}", self.name)
    }

    /// That it is there, and the account's own.
    pub async fn check(&self) -> Result<(), AwsError> {
        let head = self.session.s3.head_bucket().bucket(self.name).expected_bucket_owner(self.account);
        head.send().await.map(|_| ()).map_err(AwsError::of(self.action("look at")))
    }

    /// Makes it where it is not there, closed to the public; whether it did.
    pub async fn ensure(&self) -> Result<bool, AwsError> {
        let client = &self.session.s3;
        let head = client.head_bucket().bucket(self.name).expected_bucket_owner(self.account);
        match head.send().await.map_err(AwsError::of(self.action("look at"))) {
            Ok(_) => return Ok(false),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        let region = self.session.region();
        // The oldest region has no name here.
        let place = (region != "us-east-1").then(|| {
            let place = BucketLocationConstraint::from(region);
            CreateBucketConfiguration::builder().location_constraint(place).build()
        });
        let create = client.create_bucket().bucket(self.name).set_create_bucket_configuration(place);
        create.send().await.map_err(AwsError::of(self.action("make")))?;
        let closed = PublicAccessBlockConfiguration::builder()
            .block_public_acls(true)
            .ignore_public_acls(true)
            .block_public_policy(true)
            .restrict_public_buckets(true)
            .build();
        let close =
            client.put_public_access_block().bucket(self.name).public_access_block_configuration(closed);
        close.send().await.map_err(AwsError::of(self.action("close")))?;
        Ok(true)
    }

    /// Sends a package, unless it is there; its key, and whether it was sent.
    pub async fn upload(
        &self,
        deployment: &str,
        file: &Path,
        digest: &Digest,
    ) -> Result<(String, bool), AwsError> {
        let key = code_key(deployment, digest);
        let client = &self.session.s3;
        let action = format!("send {} to bucket {}", file.display(), self.name);
        let head = client.head_object().bucket(self.name).key(&key).expected_bucket_owner(self.account);
        match head.send().await.map_err(AwsError::of(&action)) {
            Ok(_) => return Ok((key, false)),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        let body = ByteStream::from_path(file).await;
        let reason = |error: aws_sdk_s3::primitives::ByteStreamError| error.to_string();
        let body =
            body.map_err(|error| AwsError::Answer { action: action.clone(), reason: reason(error) })?;
        let time = self.session.timeouts.upload;
        let timeouts = aws_config::timeout::TimeoutConfig::builder()
            .read_timeout(time)
            .operation_attempt_timeout(time)
            .operation_timeout(time.saturating_mul(3))
            .build();
        let put =
            client.put_object().bucket(self.name).key(&key).body(body).expected_bucket_owner(self.account);
        let patient = aws_sdk_s3::config::Builder::new().timeout_config(timeouts);
        put.customize().config_override(patient).send().await.map_err(AwsError::of(action))?;
        Ok((key, true))
    }

    /// Lets what lies in a deployment's store for a day be deleted. Rules of others stay.
    pub async fn expire(&self, deployment: &str) -> Result<(), AwsError> {
        let action = self.action("set the lifecycle of");
        let wrong = |error: aws_sdk_s3::error::BuildError| AwsError::Answer {
            action: action.clone(),
            reason: error.to_string(),
        };
        let mut rules = self.rules().await?;
        let id = rule_id(deployment);
        if rules.iter().any(|rule| rule.id() == Some(&id)) {
            return Ok(());
        }
        let below = format!("{}/", store(self.name, deployment).prefix);
        let rule = LifecycleRule::builder()
            .id(id)
            .status(ExpirationStatus::Enabled)
            .filter(LifecycleRuleFilter::builder().prefix(below).build())
            .expiration(LifecycleExpiration::builder().days(1).build());
        rules.push(rule.build().map_err(wrong)?);
        self.put_rules(rules).await
    }

    async fn rules(&self) -> Result<Vec<LifecycleRule>, AwsError> {
        let call = self.session.s3.get_bucket_lifecycle_configuration().bucket(self.name);
        match call.send().await.map_err(AwsError::of(self.action("read the lifecycle of"))) {
            Ok(found) => Ok(found.rules().to_vec()),
            // `NoSuchLifecycleConfiguration`
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn put_rules(&self, rules: Vec<LifecycleRule>) -> Result<(), AwsError> {
        let action = self.action("set the lifecycle of");
        let client = &self.session.s3;
        if rules.is_empty() {
            let call = client.delete_bucket_lifecycle().bucket(self.name);
            return call.send().await.map(|_| ()).map_err(AwsError::of(action));
        }
        let whole = BucketLifecycleConfiguration::builder().set_rules(Some(rules)).build();
        let reason = |error: aws_sdk_s3::error::BuildError| error.to_string();
        let whole =
            whole.map_err(|error| AwsError::Answer { action: action.clone(), reason: reason(error) })?;
        let call =
            client.put_bucket_lifecycle_configuration().bucket(self.name).lifecycle_configuration(whole);
        call.send().await.map(|_| ()).map_err(AwsError::of(action))
    }

    /// Deletes one object.
    pub async fn remove(&self, key: &str) -> Result<(), AwsError> {
        let call = self.session.s3.delete_object().bucket(self.name).key(key);
        call.send().await.map(|_| ()).map_err(AwsError::of(self.action("clear")))
    }

    /// Deletes everything of a deployment, its lifecycle rule, and the bucket itself where it
    /// is `ours` and nothing is left in it.
    pub async fn clear(&self, deployment: &str, ours: bool) -> Result<(), AwsError> {
        match self.clear_objects(deployment).await {
            Err(error) if error.is_not_found() => return Ok(()),
            other => other?,
        }
        let rules = self.rules().await?;
        let id = rule_id(deployment);
        if rules.iter().any(|rule| rule.id() == Some(&id)) {
            self.put_rules(rules.into_iter().filter(|rule| rule.id() != Some(&id)).collect()).await?;
        }
        if !ours {
            return Ok(());
        }
        let list = self.session.s3.list_objects_v2().bucket(self.name).max_keys(1);
        let found = list.send().await.map_err(AwsError::of(self.action("list")))?;
        if !found.contents().is_empty() {
            return Ok(());
        }
        let call = self.session.s3.delete_bucket().bucket(self.name);
        match call.send().await.map_err(AwsError::of(self.action("remove"))) {
            // Something came into it since.
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(()),
            other => other.map(|_| ()),
        }
    }

    async fn clear_objects(&self, deployment: &str) -> Result<(), AwsError> {
        let below = format!("{}/", prefix(deployment));
        loop {
            let list = self.session.s3.list_objects_v2().bucket(self.name).prefix(&below);
            let found = list.send().await.map_err(AwsError::of(self.action("list")))?;
            let keys = found.contents().iter().filter_map(|object| object.key());
            let keys: Vec<ObjectIdentifier> =
                keys.filter_map(|key| ObjectIdentifier::builder().key(key).build().ok()).collect();
            if keys.is_empty() {
                return Ok(());
            }
            let action = self.action("clear");
            let reason = |error: aws_sdk_s3::error::BuildError| error.to_string();
            let keys = Delete::builder().set_objects(Some(keys)).quiet(true).build();
            let keys =
                keys.map_err(|error| AwsError::Answer { action: action.clone(), reason: reason(error) })?;
            let call = self.session.s3.delete_objects().bucket(self.name).delete(keys);
            let done = call.send().await.map_err(AwsError::of(action.clone()))?;
            if let Some(error) = done.errors().first() {
                let message = error.message().unwrap_or_default();
                return Err(AwsError::of_answer(action, 400, error.code().unwrap_or("unknown"), message));
            }
        }
    }
}

fn rule_id(deployment: &str) -> String {
    format!("tranche-{deployment}")
}
