//! Where a function answers, and whether whoever keeps it is still there.

use crate::DriverError;
use std::path::PathBuf;
use tranche_schema::{Address, DeployedFunction, LocalSupervisor};

/// Base of the URLs of a function on a Unix socket; the name goes into `Host` only.
const SOCKET_BASE: &str = "http://function";

/// A function's address, checked.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// Without a final slash; paths are appended.
    pub(crate) base: String,
    /// The socket that requests go through, for a local function.
    pub(crate) socket: Option<PathBuf>,
}

impl Endpoint {
    /// # Errors
    /// When the URL is none, or not one that paths can be appended to.
    pub(crate) fn of(function: &DeployedFunction) -> Result<Self, DriverError> {
        let url = match &function.address {
            Address::Unix { path } => {
                return Ok(Self { base: SOCKET_BASE.to_owned(), socket: Some(path.clone()) });
            }
            Address::Http { url } => url,
            Address::Lambda { .. } => {
                return Err(DriverError::Client {
                    slice: function.slice.clone(),
                    reason: "functions on AWS Lambda are not called over HTTP".to_owned(),
                });
            }
        };
        let wrong = |reason: String| DriverError::Client {
            slice: function.slice.clone(),
            reason: format!("`{url}`: {reason}"),
        };
        let parsed = reqwest::Url::parse(url).map_err(|error| wrong(error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(wrong(format!("`{}` is neither http nor https", parsed.scheme())));
        }
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(wrong("it has a query or a fragment, but paths are appended to it".to_owned()));
        }
        Ok(Self { base: url.trim_end_matches('/').to_owned(), socket: None })
    }
}

/// Whether the supervisor that starts a local function again has ended: its process is gone, or
/// its id is another process's now. `false` where the system does not tell.
pub(crate) fn has_ended(supervisor: &LocalSupervisor) -> bool {
    if !std::path::Path::new("/proc/self/stat").exists() {
        return false;
    }
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", supervisor.process_id));
    match stat {
        Ok(stat) => start_ticks(&stat).is_some_and(|ticks| ticks != supervisor.process_start_ticks),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// Field 22 of /proc/PID/stat (proc_pid_stat(5)); the second field, a name in brackets, may hold
/// brackets and spaces itself.
fn start_ticks(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supervisor(process_id: u32, process_start_ticks: u64) -> LocalSupervisor {
        LocalSupervisor {
            process_id,
            process_start_ticks,
            control_socket: PathBuf::new(),
            shared_folder: PathBuf::new(),
            log_folder: PathBuf::new(),
            scale_to_zero_seconds: None,
        }
    }

    #[test]
    fn this_process_has_not_ended_and_another_of_its_id_has() {
        let id = std::process::id();
        let own = start_ticks(&std::fs::read_to_string("/proc/self/stat").unwrap()).unwrap();
        assert!(!has_ended(&supervisor(id, own)));
        assert!(has_ended(&supervisor(id, own + 1)));
        // Beyond what Linux gives out (PID_MAX_LIMIT is 2²²).
        assert!(has_ended(&supervisor(1 << 23, own)));
    }

    #[test]
    fn names_with_brackets_do_not_shift_fields() {
        let rest: Vec<String> = (3..=52).map(|field| field.to_string()).collect();
        assert_eq!(start_ticks(&format!("7 (a) b (c) {}", rest.join(" "))), Some(22));
    }
}
