//! What a deployment needs besides functions: roles, bucket, packages in it, layers, state
//! machine.

use super::bucket::BucketOf;
use super::desired::is_large;
use super::diff::Step;
use super::function::Code;
use super::rollout::{Pair, Rollout};
use super::state::{MadeBucket, Record};
use super::{AwsError, RoleDocuments, layers, machine, role};
use crate::{DeployError, DeployEvent};
use std::collections::BTreeSet;
use tranche_schema::Digest;

/// What one deploy made of it, for undoing it.
#[derive(Debug, Default)]
pub(super) struct Things {
    roles: Vec<String>,
    bucket: Option<String>,
    /// Bucket and key.
    objects: Vec<(String, String)>,
    /// Name and ARN.
    layers: Vec<(String, String)>,
    /// ARN, and whether it was made; else it was changed.
    machine: Option<(String, bool)>,
}

/// Whether everything is there already, as far as the record tells.
pub(super) fn are_made(rollout: &Rollout<'_>, record: &Record) -> bool {
    let roles = rollout.desired.roles(rollout.session, rollout.account);
    let roles = roles.iter().all(|(name, documents)| record.made.roles.get(name) == Some(&digest(documents)));
    let bucket = rollout.desired.bucket(rollout.session, rollout.account);
    let bucket = bucket.is_none_or(|(name, _)| {
        let made = record.made.bucket.as_ref().filter(|made| made.name == name);
        made.is_some_and(|made| made.expires || !rollout.desired.settings.store)
    });
    roles && bucket
}

impl Things {
    /// Makes what is missing and notes it in the record. What was made before it failed is
    /// in `self`.
    pub async fn make(
        &mut self,
        rollout: &Rollout<'_>,
        pairs: &[Pair],
        record: &mut Record,
        progress: &mut dyn FnMut(DeployEvent),
    ) -> Result<(), DeployError> {
        let desired = rollout.desired;
        for (name, documents) in desired.roles(rollout.session, rollout.account) {
            let wanted = digest(documents);
            if record.made.roles.get(&name) == Some(&wanted) {
                continue;
            }
            if role::ensure(rollout.session, &name, desired.name, documents).await? {
                self.roles.push(name.clone());
            }
            record.made.roles.insert(name, wanted);
        }
        let changing = |pair: &&Pair| pair.step != Step::Keep;
        let keys: BTreeSet<&str> = pairs
            .iter()
            .filter(changing)
            .filter_map(|pair| match &pair.wanted.code {
                Code::Object { key, .. } => Some(key.as_str()),
                Code::File(_) | Code::Image(_) => None,
            })
            .collect();
        let missing: Vec<_> = desired
            .index
            .layers
            .iter()
            .filter(|layer| !record.made.layers.contains_key(&layers::name(desired.name, layer)))
            .collect();
        let large_layer = missing.iter().any(|layer| is_large(layer.bytes));
        let bucket = self.bucket(rollout, record, !keys.is_empty() || large_layer).await?;
        let uploads = desired.uploads();
        for (file, digest) in uploads {
            let key = super::bucket::code_key(desired.name, &digest);
            let is_layer = missing.iter().any(|layer| layer.digest == digest);
            if let Some(name) = bucket.as_deref().filter(|_| is_layer || keys.contains(key.as_str())) {
                let bucket = BucketOf { session: rollout.session, name, account: rollout.account };
                let (key, sent) = bucket.upload(desired.name, &file, &digest).await?;
                if sent {
                    progress(DeployEvent::Notice {
                        text: format!("sent {} to s3://{name}/{key}", file.display()),
                    });
                    self.objects.push((name.to_owned(), key));
                }
            }
        }
        for layer in missing {
            let name = layers::name(desired.name, layer);
            let key = super::bucket::code_key(desired.name, &layer.digest);
            let object =
                bucket.as_deref().filter(|_| is_large(layer.bytes)).map(|bucket| (bucket, key.as_str()));
            let (folder, architecture) = (&desired.settings.packages, &desired.index.architecture);
            let arn = layers::ensure(rollout.session, &name, layer, folder, object, architecture).await?;
            self.layers.push((name.clone(), arn.clone()));
            record.made.layers.insert(name, arn);
        }
        Ok(())
    }

    async fn bucket(
        &mut self,
        rollout: &Rollout<'_>,
        record: &mut Record,
        used: bool,
    ) -> Result<Option<String>, DeployError> {
        let Some((name, own)) = rollout.desired.bucket(rollout.session, rollout.account) else {
            return Ok(None);
        };
        let store = rollout.desired.settings.store;
        let bucket = BucketOf { session: rollout.session, name: &name, account: rollout.account };
        let known = record.made.bucket.clone().filter(|made| made.name == name);
        if known.is_none() || used {
            if own && bucket.ensure().await? {
                self.bucket = Some(name.clone());
            } else if !own {
                bucket.check().await?;
            }
        }
        let expires = known.is_some_and(|made| made.expires);
        if store && !expires {
            bucket.expire(rollout.desired.name).await?;
        }
        record.made.bucket = Some(MadeBucket { name: name.clone(), own, expires: expires || store });
        Ok(Some(name))
    }

    /// The state machine with `definition`: its ARN.
    pub async fn machine(
        &mut self,
        rollout: &Rollout<'_>,
        record: &mut Record,
        definition: &str,
    ) -> Result<String, DeployError> {
        let (session, account, desired) = (rollout.session, rollout.account, rollout.desired);
        let name = desired.scope(session, account).state_machine_name();
        let arn = machine::arn(session, account, &name);
        let same =
            record.current.as_ref().is_some_and(|current| current.definition.as_deref() == Some(definition));
        if same && record.made.state_machine.as_ref() == Some(&arn) {
            return Ok(arn);
        }
        let given = desired.settings.state_machine.as_ref().map(|machine| &machine.role);
        let given = given.unwrap_or(&desired.settings.role);
        let role = role::arn(given, &desired.machine_role_name(), account, session.region());
        let made = machine::ensure(session, (&name, &arn), desired.name, definition, &role).await?;
        self.machine = Some((arn.clone(), made));
        record.made.state_machine = Some(arn.clone());
        Ok(arn)
    }

    /// Removes what was made; what it was before is in `former`.
    pub async fn undo(self, rollout: &Rollout<'_>, former: &Record) -> Result<(), AwsError> {
        let session = rollout.session;
        match (self.machine, former.current.as_ref().and_then(|current| current.definition.as_ref())) {
            (Some((arn, true)), _) => machine::remove(session, &arn).await?,
            (Some((arn, false)), Some(definition)) => machine::redefine(session, &arn, definition).await?,
            _ => {}
        }
        for (name, arn) in &self.layers {
            layers::remove(session, name, arn).await?;
        }
        for (bucket, key) in &self.objects {
            BucketOf { session, name: bucket, account: rollout.account }.remove(key).await?;
        }
        if let Some(name) = &self.bucket {
            BucketOf { session, name, account: rollout.account }.clear(rollout.desired.name, true).await?;
        }
        for name in &self.roles {
            role::remove(session, name).await?;
        }
        Ok(())
    }
}

/// Of what a role says.
fn digest(documents: &RoleDocuments) -> Digest {
    Digest::of(format!("{}\n{}", documents.trust, documents.policy).as_bytes())
}
