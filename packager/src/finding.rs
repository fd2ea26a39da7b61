//! What would go wrong on a target, found before anything is sent.

use std::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It works, otherwise than asked for.
    Warning,
    /// It does not work.
    Error,
}

/// Something that would go wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// Of which function; of all when `None`.
    pub function: Option<String>,
    /// What.
    pub message: String,
    /// What to do about it.
    pub hint: &'static str,
}

/// `error: toy-s0: memory limit …`
impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        match &self.function {
            Some(function) => write!(formatter, "{severity}: {function}: {}", self.message),
            None => write!(formatter, "{severity}: {}", self.message),
        }
    }
}
