use std::time::Duration;

use crate::{Listen, ServingError};

/// How a process serves. Every flag has an environment twin, because that is how platforms
/// configure functions.
#[derive(Clone, Debug, clap::Args)]
pub struct ServerOptions {
    /// Where to listen: `127.0.0.1:8080`, `unix:PATH`, or `stdin` for the listening socket that is standard input
    #[arg(long, env = "TRANCHE_LISTEN", value_name = "ADDRESS")]
    pub listen: Listen,
    /// Largest request body
    #[arg(long, env = "TRANCHE_MAX_BODY_BYTES", value_name = "BYTES", default_value_t = 256 << 20)]
    pub max_body_bytes: u64,
    /// Requests received, waiting or running at one time; more are answered 429
    #[arg(long, env = "TRANCHE_MAX_IN_FLIGHT", value_name = "COUNT", default_value_t = 16)]
    pub max_in_flight: usize,
    /// Connections open at one time; more wait to be accepted
    #[arg(long, env = "TRANCHE_MAX_CONNECTIONS", value_name = "COUNT", default_value_t = 256)]
    pub max_connections: usize,
    /// Longest time from a request's head to its answer, whatever the request asks for
    #[arg(long = "exec-timeout-ms", env = "TRANCHE_EXEC_TIMEOUT_MS", value_name = "MS",
          value_parser = milliseconds)]
    pub exec_timeout: Option<Duration>,
    /// Longest time to receive a request's body
    #[arg(long = "read-timeout-ms", env = "TRANCHE_READ_TIMEOUT_MS", value_name = "MS",
          default_value = "300000", value_parser = milliseconds)]
    pub read_timeout: Duration,
    /// Longest time to receive a request's head, and that a connection stays idle
    #[arg(long = "header-timeout-ms", env = "TRANCHE_HEADER_TIMEOUT_MS", value_name = "MS",
          default_value = "30000", value_parser = milliseconds)]
    pub header_timeout: Duration,
    /// Longest pause between two pieces of a body, or of an answer that nobody reads on
    #[arg(long = "body-timeout-ms", env = "TRANCHE_BODY_TIMEOUT_MS", value_name = "MS",
          default_value = "10000", value_parser = milliseconds)]
    pub body_timeout: Duration,
    /// Time to go on taking requests when told to stop, unready, so that callers can leave
    #[arg(long = "drain-delay-ms", env = "TRANCHE_DRAIN_DELAY_MS", value_name = "MS",
          default_value = "0", value_parser = milliseconds)]
    pub drain_delay: Duration,
    /// Time for requests in flight when told to stop
    #[arg(long = "drain-deadline-ms", env = "TRANCHE_DRAIN_DEADLINE_MS", value_name = "MS",
          default_value = "10000", value_parser = milliseconds)]
    pub drain_deadline: Duration,
}

impl ServerOptions {
    /// Options with every default.
    #[must_use]
    pub fn new(listen: Listen) -> Self {
        Self {
            listen,
            max_body_bytes: 256 << 20,
            max_in_flight: 16,
            max_connections: 256,
            exec_timeout: None,
            read_timeout: Duration::from_secs(300),
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(10),
            drain_delay: Duration::ZERO,
            drain_deadline: Duration::from_secs(10),
        }
    }

    /// # Errors
    /// When a bound is 0.
    pub fn check(&self) -> Result<(), ServingError> {
        let zero = [
            ("--max-in-flight", self.max_in_flight == 0),
            ("--max-connections", self.max_connections == 0),
            ("--max-body-bytes", self.max_body_bytes == 0),
        ];
        match zero.into_iter().find(|(_, is_zero)| *is_zero) {
            Some((flag, _)) => Err(ServingError::Zero { flag }),
            None => Ok(()),
        }
    }

    /// `asked`, but no longer than any request may take.
    #[must_use]
    pub fn bounded(&self, asked: Duration) -> Duration {
        self.exec_timeout.map_or(asked, |most| asked.min(most))
    }
}

/// Reads a flag in milliseconds.
///
/// # Errors
/// When it is no whole number.
pub fn milliseconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_millis)
}
