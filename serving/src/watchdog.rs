//! of-watchdog's environment, read where tranche's own says nothing: OpenFaaS users know
//! these names, and their `stack.yaml` sets them.
//!
//! | of-watchdog | flag that it stands in for |
//! |---|---|
//! | `port` | `--listen`, as `0.0.0.0:PORT` |
//! | `max_inflight` | `--max-in-flight`; 0 is no wish |
//! | `exec_timeout` | `--exec-timeout-ms`; 0 is none |
//! | `read_timeout` | `--read-timeout-ms` and `--header-timeout-ms` |
//! | `write_timeout` | `--drain-deadline-ms` |
//! | `healthcheck_interval` | `--drain-delay-ms` |
//!
//! A flag wins over `TRANCHE_…`, that over of-watchdog's name, that over the default.

use std::time::Duration;
use tranche_transport::parse_go_duration;

/// A variable of of-watchdog's with a value that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}={value}` in the environment: {reason}")]
pub struct EnvironmentError {
    /// The variable.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// What is wrong.
    pub reason: &'static str,
}

impl EnvironmentError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "mend it under `environment` in stack.yaml, or set the TRANCHE_ variable of the same meaning"
    }
}

/// The command with of-watchdog's values as defaults of its flags; `variable` reads the environment.
/// Flags that the command lacks are passed over.
///
/// # Errors
/// When a value is not of its kind.
pub fn watchdog_defaults(
    command: clap::Command,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<clap::Command, EnvironmentError> {
    let mut defaults: Vec<(&'static str, String)> = Vec::new();
    let text = |name| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let wrong = |name, value: &str, reason| EnvironmentError { name, value: value.to_owned(), reason };
    if let Some(value) = text("port") {
        let port = value.parse::<u16>().map_err(|_| wrong("port", &value, "it is no port number"))?;
        defaults.push(("listen", format!("0.0.0.0:{port}")));
    }
    if let Some(value) = text("max_inflight") {
        let count =
            value.parse::<usize>().map_err(|_| wrong("max_inflight", &value, "it is no whole number"))?;
        if count > 0 {
            defaults.push(("max_in_flight", count.to_string()));
        }
    }
    let times: [(&'static str, &[&'static str]); 4] = [
        ("exec_timeout", &["exec_timeout"]),
        ("read_timeout", &["read_timeout", "header_timeout"]),
        ("write_timeout", &["drain_deadline"]),
        ("healthcheck_interval", &["drain_delay"]),
    ];
    for (name, flags) in times {
        let Some(value) = text(name) else { continue };
        let time = parse_go_duration(&value)
            .ok_or_else(|| wrong(name, &value, "it is no time as Go writes it, like 30s or 1m30s"))?;
        if time > Duration::ZERO {
            defaults.extend(flags.iter().map(|flag| (*flag, time.as_millis().to_string())));
        }
    }
    let known = |command: &clap::Command, flag: &str| {
        command.get_arguments().any(|argument| argument.get_id().as_str() == flag)
    };
    Ok(defaults.into_iter().fold(command, |command, (flag, value)| {
        if !known(&command, flag) {
            return command;
        }
        // A few bytes, once in the life of the process: the command keeps borrowed defaults.
        let value: &'static str = value.leak();
        command.mut_arg(flag, |argument| argument.required(false).default_value(value))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Listen, ServerOptions};
    use clap::{CommandFactory as _, FromArgMatches as _};

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        server: ServerOptions,
    }

    /// Options of a program with these arguments under these variables of of-watchdog's.
    fn options(arguments: &[&str], variables: &[(&str, &str)]) -> Result<ServerOptions, String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let command = watchdog_defaults(Program::command(), variable).map_err(|error| error.to_string())?;
        let matches = command
            .try_get_matches_from([&["program"], arguments].concat())
            .map_err(|error| error.to_string())?;
        Program::from_arg_matches(&matches).map(|program| program.server).map_err(|error| error.to_string())
    }

    #[test]
    fn the_environment_of_a_function_is_understood() {
        let options = options(
            &[],
            &[
                ("port", "8081"),
                ("max_inflight", "2"),
                ("exec_timeout", "1m30s"),
                ("read_timeout", "31s"),
                ("write_timeout", "45"),
                ("healthcheck_interval", "500ms"),
            ],
        )
        .unwrap();
        assert_eq!(options.listen, Listen::Tcp(([0, 0, 0, 0], 8081).into()));
        assert_eq!(options.max_in_flight, 2);
        assert_eq!(options.exec_timeout, Some(Duration::from_secs(90)));
        assert_eq!(options.read_timeout, Duration::from_secs(31));
        assert_eq!(options.header_timeout, Duration::from_secs(31));
        assert_eq!(options.drain_deadline, Duration::from_secs(45));
        assert_eq!(options.drain_delay, Duration::from_millis(500));
    }

    #[test]
    fn flags_win_and_zero_is_no_wish() {
        let given = ["--listen", "127.0.0.1:8082", "--max-in-flight", "7"];
        let options = options(
            &given,
            &[("port", "8080"), ("max_inflight", "2"), ("exec_timeout", "0"), ("write_timeout", "")],
        )
        .unwrap();
        assert_eq!(options.listen, Listen::Tcp(([127, 0, 0, 1], 8082).into()));
        assert_eq!((options.max_in_flight, options.exec_timeout), (7, None));
        assert_eq!(options.drain_deadline, ServerOptions::new(options.listen.clone()).drain_deadline);
        let unlimited = self::options(&given[..2], &[("max_inflight", "0")]).unwrap();
        assert_eq!(unlimited.max_in_flight, 16);
    }

    #[test]
    fn without_any_of_it_an_address_is_asked_for() {
        assert!(options(&[], &[]).unwrap_err().contains("--listen"));
    }

    #[test]
    fn values_that_are_none_are_named() {
        for (name, value) in
            [("port", "http"), ("max_inflight", "-1"), ("exec_timeout", "soon"), ("read_timeout", "1 s")]
        {
            let error = options(&["--listen", "127.0.0.1:0"], &[(name, value)]).unwrap_err();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
    }
}
