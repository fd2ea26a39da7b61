//! Faults on demand, and the record of calls.

use serde::{Deserialize, Serialize};
use std::sync::{Mutex, PoisonError};

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum FaultAction {
    /// The gateway answers with this status and does nothing.
    Status {
        /// The status.
        status: u16,
    },
    /// The connection is reset without an answer, and nothing is done.
    Reset,
    /// Nothing happens for a time, then the call goes its way.
    Stall {
        /// How long, in milliseconds.
        milliseconds: u64,
    },
    /// The answer's body comes in small pieces with pauses.
    SlowBody {
        /// Bytes of a piece.
        bytes: usize,
        /// Pause before each, in milliseconds.
        milliseconds: u64,
    },
    /// The answer is 200 with JSON that breaks off.
    WrongJson,
    /// The answer's body breaks off after this many bytes.
    ShortBody {
        /// Bytes that come.
        bytes: usize,
    },
    /// All replicas of a function are killed (SIGKILL), then the call goes its way.
    Kill {
        /// The function.
        function: String,
    },
    /// A function loses all replicas until it is scaled or deployed, then the call goes its way.
    Drop {
        /// The function.
        function: String,
    },
}

/// A fault and the calls that it hits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Only calls with this method; `None` for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Only calls whose path and query begin so.
    pub path: String,
    /// The first such call that is hit, counted from 1.
    #[serde(default = "one")]
    pub call: u64,
    /// How many are hit from there on.
    #[serde(default = "one")]
    pub times: u64,
    /// What happens to them.
    pub action: FaultAction,
}

fn one() -> u64 {
    1
}

impl Fault {
    /// Hits the first call whose path begins so.
    #[must_use]
    pub fn on(path: &str, action: FaultAction) -> Self {
        Self { method: None, path: path.to_owned(), call: 1, times: 1, action }
    }
}

/// A call that reached the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRecord {
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub path: String,
    /// The answer's status; `None` when there was no answer.
    pub status: Option<u16>,
    /// The fault that hit it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultAction>,
}

/// Faults to come, each with the calls that it has seen, and what was called.
#[derive(Debug, Default)]
pub(crate) struct Script {
    faults: Mutex<Vec<(Fault, u64)>>,
    calls: Mutex<Vec<CallRecord>>,
}

impl Script {
    pub fn inject(&self, fault: Fault) {
        self.faults().push((fault, 0));
    }

    pub fn clear(&self) {
        self.faults().clear();
    }

    /// Faults that are in.
    pub fn list(&self) -> Vec<Fault> {
        self.faults().iter().map(|(fault, _)| fault.clone()).collect()
    }

    /// The fault that hits this call. All that it matches count it; the first that is due hits.
    pub fn next(&self, method: &str, path: &str) -> Option<FaultAction> {
        let mut hit = None;
        for (fault, seen) in self.faults().iter_mut() {
            let meant = fault.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method));
            if !meant || !path.starts_with(&fault.path) {
                continue;
            }
            *seen += 1;
            let due = *seen >= fault.call && *seen - fault.call < fault.times;
            if due && hit.is_none() {
                hit = Some(fault.action.clone());
            }
        }
        hit
    }

    pub fn record(&self, call: CallRecord) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }

    pub fn calls(&self) -> Vec<CallRecord> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn forget_calls(&self) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn faults(&self) -> std::sync::MutexGuard<'_, Vec<(Fault, u64)>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_hits_the_calls_it_names_and_no_others() {
        let script = Script::default();
        let action = FaultAction::Status { status: 500 };
        let fault =
            Fault { method: Some("POST".into()), call: 2, times: 2, ..Fault::on("/function/a", action) };
        script.inject(fault);
        let hits = |method: &str, path: &str| script.next(method, path).is_some();
        assert!(!hits("GET", "/function/a"));
        assert!(!hits("POST", "/function/b"));
        let four = [1, 2, 3, 4].map(|_| hits("POST", "/function/a/x"));
        assert_eq!(four, [false, true, true, false]);
        script.clear();
        assert!(!hits("POST", "/function/a"));
    }

    #[test]
    fn faults_read_as_they_are_written_in_the_readme() {
        let text =
            r#"{"path": "/function/a", "action": {"kind": "slow-body", "bytes": 1, "milliseconds": 5}}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        let action = FaultAction::SlowBody { bytes: 1, milliseconds: 5 };
        assert_eq!(fault, Fault::on("/function/a", action));
    }
}
