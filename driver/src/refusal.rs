//! What an answer that is no frame means: whether another try may succeed, and what to do.
//!
//! A function's own refusals say why by `code`. Everything else comes from what stands
//! between: OpenFaaS's gateway and provider, of-watchdog, a proxy. Slices are pure, so
//! whatever may pass is tried again.

use crate::walk::{Failure, Retry};
use std::time::Duration;
use tranche_transport::aws::AwsError;
use tranche_transport::lambda::FunctionFailure;

/// Longest text taken from an answer that is an error.
pub(crate) const MAX_REASON_BYTES: usize = 4096;

/// What a status and its body mean. `location` and `retry_after` are the headers.
pub(crate) fn classify(
    status: u16,
    body: &[u8],
    retry_after: Option<Duration>,
    location: Option<&str>,
) -> Failure {
    let refusal = Refusal::read(body);
    let code = refusal.as_ref().and_then(|refusal| refusal.code.as_deref());
    let later = retry_after.map_or(Retry::Later, Retry::After);
    let (retry, hint) = match (code, status) {
        (Some(code), _) if may_pass(code) => (later, None),
        (Some(_), 408 | 429 | 502..=504) => (later, None),
        (Some(_), _) => (Retry::Never, None),
        (None, 408 | 429) => (later, None),
        (None, 500 | 502..=504) => (later, Some(GATEWAY_FAILS)),
        (None, 401 | 403) => (Retry::Never, Some(UNAUTHORISED)),
        (None, 404) => (Retry::Never, Some(NO_SUCH_FUNCTION)),
        (None, 413) => (Retry::Never, Some(TOO_LARGE)),
        (None, 300..=399) => (Retry::Never, Some(REDIRECTED)),
        (None, _) => (Retry::Never, None),
    };
    let said = match refusal.as_ref().and_then(|refusal| refusal.message.clone()) {
        Some(message) => message,
        None => String::from_utf8_lossy(body).into_owned(),
    };
    let mut reason = match said.trim() {
        "" => format!("HTTP {status}"),
        said => format!("HTTP {status}: {said}"),
    };
    if let (300..=399, Some(location)) = (status, location) {
        reason.push_str(&format!(" (to {location})"));
    }
    let own = refusal.filter(|refusal| refusal.code.is_some()).and_then(|refusal| refusal.hint);
    Failure { reason, retry, hint: own.or_else(|| hint.map(str::to_owned)) }
}

/// Whether what a function says with this code may be otherwise at another try.
fn may_pass(code: &str) -> bool {
    matches!(code, "busy" | "draining" | "deadline" | "slow-body" | "bad-body" | "store-failed")
}

/// What a failed invocation on Lambda means: the function's own failures say so by code, Lambda's
/// are of processes that ended, did not start, or were too slow.
pub(crate) fn classify_invocation(failure: &FunctionFailure) -> Failure {
    let said = match (failure.error_type.as_str(), failure.message.trim()) {
        ("", said) => said.to_owned(),
        (kind, "") => kind.to_owned(),
        (kind, said) => format!("{kind}: {said}"),
    };
    let (retry, hint) = match failure.code() {
        Some(code) if may_pass(code) => (Retry::Later, None),
        Some(_) => (Retry::Never, None),
        None if NO_START.contains(&failure.error_type.as_str()) => (Retry::Never, Some(DOES_NOT_START)),
        None if said.contains("timed out") => (Retry::Later, Some(TIMED_OUT)),
        None => (Retry::Later, Some(DIED)),
    };
    Failure { reason: said, retry, hint: hint.map(str::to_owned) }
}

/// What it means that AWS itself did not answer as asked.
pub(crate) fn classify_aws(error: &AwsError) -> Failure {
    let retry = match error.retry_after() {
        _ if !error.is_transient() => Retry::Never,
        Some(wait) => Retry::After(wait),
        None => Retry::Later,
    };
    Failure { reason: error.to_string(), retry, hint: Some(error.hint().to_owned()) }
}

/// Lambda's error types of packages that no try starts.
const NO_START: [&str; 4] = [
    "Runtime.InvalidEntrypoint",
    "Runtime.InvalidWorkingDir",
    "Runtime.InvalidTaskConfig",
    "Runtime.ImportModuleError",
];
const DOES_NOT_START: &str =
    "the package does not start on Lambda: check its architecture and libraries, then deploy again";
const TIMED_OUT: &str = "the function's own timeout is shorter than a cold start and a run; deploy with a longer one, or with more memory, which also gives more CPU";
const DIED: &str = "the function's process ended: out of memory if it was killed; `tranche logs` tells, more memory may help";
const GATEWAY_FAILS: &str = "the gateway did not reach the function: it may be starting again after it ran out of memory, or be scaled to zero; `tranche status` and `tranche logs` tell";
const UNAUTHORISED: &str = "something before the function wants credentials: OpenFaaS leaves /function/ open, so look for a proxy, or check the gateway's URL in deployment.json";
const NO_SUCH_FUNCTION: &str = "the gateway knows no such function: deploy the bundle again, or check the gateway's URL in deployment.json";
const TOO_LARGE: &str =
    "something before the function bounds bodies below what its tensors take; raise that bound";
const REDIRECTED: &str =
    "redirects are not followed: put the address that it leads to into deployment.json by deploying again";

/// The JSON of a refusal, as functions write it.
struct Refusal {
    code: Option<String>,
    message: Option<String>,
    hint: Option<String>,
}

impl Refusal {
    fn read(body: &[u8]) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_slice(body).ok()?;
        let text = |field: &str| Some(value.get(field)?.as_str()?.to_owned());
        Some(Self { code: text("code"), message: text("message"), hint: text("hint") })
    }
}

/// `Retry-After` in seconds; a date there is not read.
pub(crate) fn retry_after(value: Option<&str>) -> Option<Duration> {
    let seconds = value?.trim().parse::<u32>().ok()?;
    Some(Duration::from_secs(u64::from(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(status: u16, body: &str) -> Retry {
        classify(status, body.as_bytes(), None, None).retry
    }

    #[test]
    fn what_the_gateway_says_while_a_function_starts_again_may_pass() {
        for (status, body) in [
            (500, "Can't reach service for: toy-s0."),
            (500, "dial tcp 10.62.0.5:8080: connect: connection refused"),
            (500, ""),
            (502, "Bad Gateway"),
            (503, "no endpoints available"),
            (504, "exec request timed out"),
            (408, ""),
            (429, "Concurrent request limit exceeded"),
        ] {
            assert_eq!(retry(status, body), Retry::Later, "{status} {body}");
        }
    }

    #[test]
    fn what_no_try_changes_is_final() {
        for (status, body) in [
            (400, "bad request"),
            (401, "invalid credentials"),
            (403, ""),
            (404, "error finding function toy-s0.openfaas-fn: 404"),
            (413, "Request Entity Too Large"),
            (301, ""),
            (501, ""),
        ] {
            assert_eq!(retry(status, body), Retry::Never, "{status} {body}");
        }
    }

    #[test]
    fn a_function_says_itself_whether_to_try_again() {
        let of = |status, code: &str| retry(status, &format!("{{\"code\":\"{code}\",\"message\":\"m\"}}"));
        for code in ["engine-failed", "load-failed"] {
            assert_eq!(of(500, code), Retry::Never, "{code}");
        }
        for code in ["bad-frame", "wrong-slice", "bad-input"] {
            assert_eq!(of(400, code), Retry::Never, "{code}");
        }
        for (status, code) in
            [(429, "busy"), (503, "draining"), (504, "deadline"), (408, "slow-body"), (400, "bad-body")]
        {
            assert_eq!(of(status, code), Retry::Later, "{code}");
        }
        assert_eq!(of(503, "a-code-of-a-later-version"), Retry::Later);
    }

    #[test]
    fn invocations_that_died_may_be_repeated_and_failures_of_the_function_say_so_themselves() {
        let of = |kind: &str, message: &str| {
            classify_invocation(&FunctionFailure { error_type: kind.to_owned(), message: message.to_owned() })
        };
        for code in ["bad-frame", "wrong-slice", "bad-input", "load-failed", "engine-failed", "too-large"] {
            assert_eq!(of(&format!("tranche.{code}"), "m").retry, Retry::Never, "{code}");
        }
        for (kind, message) in [
            ("tranche.store-failed", "SlowDown"),
            ("tranche.deadline", "late"),
            ("Runtime.ExitError", "RequestId: 1 Error: Runtime exited with error: signal: killed"),
            ("Sandbox.Timedout", "RequestId: 1 Error: Task timed out after 3.00 seconds"),
            ("", "2026-01-01T00:00:00Z 1 Task timed out after 3.00 seconds"),
        ] {
            assert_eq!(of(kind, message).retry, Retry::Later, "{kind} {message}");
        }
        let entry = of("Runtime.InvalidEntrypoint", "exec format error");
        assert_eq!(entry.retry, Retry::Never);
        assert_eq!(entry.reason, "Runtime.InvalidEntrypoint: exec format error");
    }

    #[test]
    fn waits_asked_for_and_hints_given_are_kept() {
        let body = br#"{"code": "busy", "message": "16 in flight", "hint": "wait"}"#;
        let failure = classify(429, body, retry_after(Some(" 7 ")), None);
        assert_eq!(failure.retry, Retry::After(Duration::from_secs(7)));
        assert_eq!(
            (failure.reason.as_str(), failure.hint.as_deref()),
            ("HTTP 429: 16 in flight", Some("wait"))
        );
        assert_eq!(retry_after(Some("Wed, 21 Oct 2026 07:28:00 GMT")), None);
        let moved = classify(302, b"", None, Some("http://elsewhere/"));
        assert_eq!(moved.reason, "HTTP 302 (to http://elsewhere/)");
    }
}
