//! Whether an account can be deployed to.

use super::{AwsError, AwsSession};
pub use crate::openfaas::Check;
use aws_sdk_iam::types::{ContextEntry, ContextKeyTypeEnum};
use serde_json::Value;
use std::collections::BTreeSet;

fn good(name: &'static str, message: String) -> Check {
    Check { name, ok: true, message, hint: String::new() }
}

fn bad(name: &'static str, error: &AwsError) -> Check {
    Check { name, ok: false, message: error.to_string(), hint: error.hint().to_owned() }
}

/// Looks who asks, in which region, what the account has left, and whether `policy`, which a
/// deploy needs, is given. Changes nothing. Ends early where the rest cannot be known.
pub(super) async fn check(session: &AwsSession, policy: &Value, bucket: Option<&str>) -> Vec<Check> {
    let place = session.endpoint().map_or_else(String::new, |endpoint| format!(" at {endpoint}"));
    let mut checks = vec![good("region", format!("{}{place}", session.region()))];
    let identity = match session.identity().await {
        Ok(identity) => identity,
        Err(error) => {
            checks.push(bad("identity", &error));
            return checks;
        }
    };
    checks.push(good("identity", format!("{} in account {}", identity.arn, identity.account)));
    checks.extend(quotas(session).await);
    checks.push(permissions(session, &identity.arn, policy).await);
    if let Some(bucket) = bucket {
        let place = super::bucket::BucketOf { session, name: bucket, account: &identity.account };
        checks.push(match place.check().await {
            Ok(()) => good("bucket", format!("{bucket} is there")),
            Err(error) => bad("bucket", &error),
        });
    }
    checks
}

async fn quotas(session: &AwsSession) -> Vec<Check> {
    let settings = session.lambda.get_account_settings().send().await;
    let settings = match settings.map_err(AwsError::of("read the account's limits")) {
        Ok(settings) => settings,
        Err(error) => return vec![bad("limits", &error)],
    };
    let limit = settings.account_limit();
    let executions = limit.map_or(0, |limit| limit.concurrent_executions());
    let unreserved = limit.and_then(|limit| limit.unreserved_concurrent_executions()).unwrap_or_default();
    let used = settings.account_usage().map_or(0, |usage| usage.total_code_size());
    let left = limit.map_or(0, |limit| limit.total_code_size()) - used;
    let concurrency = format!("{unreserved} of {executions} concurrent executions are not set aside");
    let code = format!("{} MiB of packages fit", left / (1 << 20));
    vec![
        // Lambda keeps 100 for functions without any of their own.
        Check {
            name: "concurrency",
            ok: unreserved > 0,
            message: concurrency,
            hint: if unreserved > 0 { String::new() } else { "ask AWS for a higher quota".to_owned() },
        },
        Check {
            name: "code storage",
            ok: left > 0,
            message: code,
            hint: if left > 0 {
                String::new()
            } else {
                "remove functions and versions that are not needed".to_owned()
            },
        },
    ]
}

/// Asks IAM whether what each statement of the policy allows is allowed, without doing any
/// of it.
async fn permissions(session: &AwsSession, arn: &str, policy: &Value) -> Check {
    let name = "permissions";
    let needed =
        || format!("this policy is enough:\n{}", serde_json::to_string_pretty(policy).unwrap_or_default());
    if arn.ends_with(":root") {
        return good(name, "the account's root may do everything".to_owned());
    }
    let statements = policy.get("Statement").and_then(Value::as_array).into_iter().flatten();
    let mut refused = BTreeSet::new();
    for statement in statements {
        let conditions = statement.pointer("/Condition/StringEquals").and_then(Value::as_object);
        let context = conditions.into_iter().flatten().map(|(key, values)| {
            let kind = ContextKeyTypeEnum::String;
            let values = texts(Some(values));
            ContextEntry::builder()
                .context_key_name(key)
                .context_key_type(kind)
                .set_context_key_values(Some(values))
                .build()
        });
        let call = session
            .iam
            .simulate_principal_policy()
            .policy_source_arn(principal(arn))
            .set_action_names(Some(texts(statement.get("Action"))))
            .set_resource_arns(Some(texts(statement.get("Resource"))))
            .set_context_entries(Some(context.collect()));
        match call.send().await.map_err(AwsError::of("ask IAM what is allowed")) {
            Ok(answer) => {
                let results = answer.evaluation_results().iter();
                let denied = results.filter(|result| result.eval_decision().as_str() != "allowed");
                refused.extend(denied.map(|result| result.eval_action_name().to_owned()));
            }
            // To ask takes a permission of its own that no deploy needs.
            Err(error) => {
                let message = format!("not known: {error}");
                return Check { name, ok: true, message, hint: needed() };
            }
        }
    }
    if refused.is_empty() {
        return good(name, "everything that a deploy does is allowed".to_owned());
    }
    let list: Vec<&str> = refused.iter().map(String::as_str).collect();
    Check { name, ok: false, message: format!("not allowed: {}", list.join(", ")), hint: needed() }
}

/// The texts of a policy's field, which may be one or a list.
fn texts(field: Option<&Value>) -> Vec<String> {
    match field {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::String(one)) => vec![one.clone()],
        _ => Vec::new(),
    }
}

/// The user or role behind a session (`arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`).
fn principal(arn: &str) -> String {
    let Some((head, rest)) = arn.split_once(":assumed-role/") else { return arn.to_owned() };
    let role = rest.split('/').next().unwrap_or_default();
    format!("{}:role/{role}", head.replace(":sts:", ":iam:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_asked_about_by_its_role() {
        assert_eq!(
            principal("arn:aws:sts::123456789012:assumed-role/deploy/me"),
            "arn:aws:iam::123456789012:role/deploy"
        );
        assert_eq!(principal("arn:aws:iam::123456789012:user/me"), "arn:aws:iam::123456789012:user/me");
    }

    #[test]
    fn fields_are_read_in_both_forms() {
        let policy = serde_json::json!({"Action": ["a:B", "a:C"], "Resource": "*"});
        assert_eq!(
            (texts(policy.get("Action")), texts(policy.get("Resource"))),
            (vec!["a:B".into(), "a:C".into()], vec!["*".to_owned()])
        );
    }
}
