//! Whether an account can be deployed to.

use super::{AwsError, AwsSession};
pub use crate::openfaas::Check;
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

/// Asks IAM whether each action of the policy is allowed, without doing any.
async fn permissions(session: &AwsSession, arn: &str, policy: &Value) -> Check {
    let name = "permissions";
    let actions = actions(policy);
    let policy_text = serde_json::to_string_pretty(policy).unwrap_or_default();
    let call = session
        .iam
        .simulate_principal_policy()
        .policy_source_arn(principal(arn))
        .set_action_names(Some(actions.iter().cloned().collect()));
    match call.send().await.map_err(AwsError::of("ask IAM what is allowed")) {
        Ok(answer) => {
            let refused: Vec<&str> = answer
                .evaluation_results()
                .iter()
                .filter(|result| result.eval_decision().as_str() != "allowed")
                .map(|result| result.eval_action_name())
                .collect();
            if refused.is_empty() {
                return good(name, format!("all {} actions are allowed on some resource", actions.len()));
            }
            Check {
                name,
                ok: false,
                message: format!("not allowed on every resource: {}", refused.join(", ")),
                hint: format!("this policy is enough:\n{policy_text}"),
            }
        }
        Err(error) => Check {
            name,
            // It takes a permission of its own that no deploy needs.
            ok: true,
            message: format!("not known: {error}"),
            hint: format!("this policy is enough:\n{policy_text}"),
        },
    }
}

/// The user or role behind a session (`arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`).
fn principal(arn: &str) -> String {
    let Some((head, rest)) = arn.split_once(":assumed-role/") else { return arn.to_owned() };
    let role = rest.split('/').next().unwrap_or_default();
    format!("{}:role/{role}", head.replace(":sts:", ":iam:"))
}

/// Every action that a policy names.
fn actions(policy: &Value) -> BTreeSet<String> {
    let statements = policy.get("Statement").and_then(Value::as_array).into_iter().flatten();
    let of = |statement: &Value| match statement.get("Action") {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::String(one)) => vec![one.clone()],
        _ => Vec::new(),
    };
    statements.flat_map(of).collect()
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
    fn actions_are_found_in_both_forms() {
        let policy = serde_json::json!({"Statement": [{"Action": ["a:B", "a:C"]}, {"Action": "a:A"}, {}]});
        assert_eq!(actions(&policy).into_iter().collect::<Vec<_>>(), ["a:A", "a:B", "a:C"]);
    }
}
